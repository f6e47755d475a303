"""How dbt nodes become Dagster assets: keys, groups, owners, kinds and checks, read from the project's manifest."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from dagster import AssetKey, AssetsDefinition
from refreshes import festival_settings

from acl_assets.asset_keys import OWNERS
from acl_assets.source_schema import SOURCE_TABLES
from acl_assets.warehouse.dbt_assets import build_dbt_assets
from acl_assets.warehouse.duckdb_engine import DuckDBEngine
from acl_assets.warehouse.engine import Engine
from acl_assets.warehouse.project import dbt_project, load_manifest
from acl_assets.warehouse.spark_engine import SparkEngine

Manifest = Mapping[str, Any]
SOURCES = {AssetKey(["festival", table]) for table in SOURCE_TABLES}


@pytest.fixture(scope="module")
def manifest() -> Manifest:
    return load_manifest(dbt_project())


@pytest.fixture(scope="module")
def models(manifest: Manifest) -> AssetsDefinition:
    return build_dbt_assets(dbt_project(), manifest, DuckDBEngine(festival_settings(Path("/data"))))


def test_models_are_described_by_their_layer_and_yaml(manifest: Manifest, models: AssetsDefinition) -> None:
    """The asset's name is the name of the table: `data_products/ticket_sales` is `data_products.ticket_sales`."""
    for found in models.specs:
        layer, name = found.key.path
        node = manifest["nodes"][f"model.acl_assets.{name}"]
        assert layer == found.group_name == node["schema"]
        assert list(found.owners) == list(OWNERS)
        assert found.kinds == {"dbt", "duckdb", "view" if node["config"]["materialized"] == "view" else "table"}
        assert node["description"].strip() in str(found.description)
        assert (found.freshness_policy is not None) == (layer == "data_products")
        columns = found.metadata["dagster/column_schema"].columns
        assert columns
        assert not [column.name for column in columns if not column.description or column.type == "?"]


@pytest.mark.parametrize("engine", [DuckDBEngine, SparkEngine])
def test_kinds_name_the_engine(manifest: Manifest, engine: type[Engine]) -> None:
    models = build_dbt_assets(dbt_project(), manifest, engine(festival_settings(Path("/data"))))
    assert {kind for found in models.specs for kind in found.kinds} == {"dbt", engine.name, "view", "table"}


def test_models_depend_on_source_tables_and_check_them(models: AssetsDefinition) -> None:
    assert {dep.asset_key for found in models.specs for dep in found.deps} >= SOURCES
    assert {check.asset_key for check in models.check_specs} >= SOURCES


def test_every_test_is_a_check_that_blocks_when_its_severity_is_error(
    manifest: Manifest, models: AssetsDefinition
) -> None:
    severities = {
        node["name"]: node["config"]["severity"].lower()
        for node in manifest["nodes"].values()
        if node["resource_type"] == "test"
    }
    assert {check.name: check.blocking for check in models.check_specs} == {
        name: severity == "error" for name, severity in severities.items()
    }
