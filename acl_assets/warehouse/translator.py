"""Translate dbt nodes into Dagster assets: keys, groups, owners, kinds and freshness."""

from collections.abc import Mapping
from typing import Any

from dagster import AssetCheckSpec, AssetKey, AssetSpec, MetadataValue, TableColumn, TableColumnConstraints, TableSchema

from acl_assets.asset_keys import (
    CODE_METADATA,
    COLUMN_SCHEMA_METADATA,
    DATA_PRODUCTS_PREFIX,
    FRESHNESS,
    OWNERS,
    source_table_key,
)
from acl_assets.settings import DBT_PROJECT_DIR
from acl_assets.warehouse.lean_dagster_dbt import DagsterDbtTranslator, DagsterDbtTranslatorSettings, DbtProject

_STAGING_PREFIX = "stg_ticketing__"
_TESTS_OF_UNIQUENESS = {"unique", "unique_whole_number"}


class FestivalDbtTranslator(DagsterDbtTranslator):
    """Keys and groups models by their layer, such as `star_schema/<model>`; the engine is one of their kinds."""

    def __init__(self, engine: str) -> None:
        self._engine = engine
        super().__init__(DagsterDbtTranslatorSettings(enable_source_tests_as_checks=True))

    def get_asset_spec(self, manifest: Mapping[str, Any], unique_id: str, project: DbtProject | None) -> AssetSpec:
        """Return the default spec, with key, group, kinds and freshness of the model's layer.

        The description is that of the YAML, without the SQL, which the link to the code shows better.
        """
        spec = super().get_asset_spec(manifest, unique_id, project)
        node = self.get_resource_props(manifest, unique_id)
        if node["resource_type"] != "model":
            return spec
        layer = node["schema"]
        return spec.replace_attributes(
            key=self.get_asset_key(node),
            group_name=layer,
            owners=list(OWNERS),
            description=node["description"],
            metadata={
                **spec.metadata,
                COLUMN_SCHEMA_METADATA: _column_schema(manifest, unique_id),
                CODE_METADATA: MetadataValue.path(f"{DBT_PROJECT_DIR.name}/{node['original_file_path']}"),
            },
            kinds={"dbt", self._engine, "view" if node["config"]["materialized"] == "view" else "table"},
            freshness_policy=FRESHNESS if layer == DATA_PRODUCTS_PREFIX else None,
        )

    def get_asset_check_spec(
        self, asset_spec: AssetSpec, manifest: Mapping[str, Any], unique_id: str, project: DbtProject | None
    ) -> AssetCheckSpec | None:
        """Return the default check, with the description of its dbt test."""
        spec = super().get_asset_check_spec(asset_spec, manifest, unique_id, project)
        description = self.get_resource_props(manifest, unique_id).get("description")
        return spec._replace(description=description) if spec and description else spec

    def get_asset_key(self, dbt_resource_props: Mapping[str, Any]) -> AssetKey:
        """Return a model's layer and name, and for a staging model, which is no asset, the key of its source table.

        A source's key is in its YAML.
        """
        if dbt_resource_props["resource_type"] == "model":
            name = dbt_resource_props["name"]
            if name.startswith(_STAGING_PREFIX):
                return source_table_key(name.removeprefix(_STAGING_PREFIX))
            return AssetKey([dbt_resource_props["schema"], name])
        return super().get_asset_key(dbt_resource_props)


def _column_schema(manifest: Mapping[str, Any], unique_id: str) -> TableSchema:
    """Return the columns of a model: not null by its contract, unique by its tests."""
    unique = {
        node["column_name"]
        for node in manifest["nodes"].values()
        if node.get("attached_node") == unique_id and node.get("test_metadata", {}).get("name") in _TESTS_OF_UNIQUENESS
    }
    return TableSchema(
        [
            TableColumn(
                name,
                column["data_type"],
                column["description"],
                TableColumnConstraints(
                    nullable="not_null" not in [constraint["type"] for constraint in column["constraints"]],
                    unique=name in unique,
                ),
            )
            for name, column in manifest["nodes"][unique_id]["columns"].items()
        ]
    )
