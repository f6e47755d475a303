"""The dbt project as a whole: described, typed, under contract, portable, and free of personal data."""

import pytest
from dagster_dbt.asset_utils import get_asset_check_key_for_test
from sqlglot import exp, parse_one
from warehouse.dbt_festivals import Festival, compiled_manifest, nodes

from acl_assets.source_schema import EXPORT_BATCHES_TABLE, SOURCE_TABLES
from acl_assets.warehouse.project import dbt_project
from acl_assets.warehouse.translator import FestivalDbtTranslator

pytestmark = pytest.mark.slow

LAYERS = ("star_schema", "evidence", "data_products")
CONTRACT_TYPES = {"int", "bigint", "double", "boolean", "date", "timestamp", "string"}
SOURCE_TYPES = {"int", "string", "timestamp with time zone", "boolean"}


def test_every_model_is_described_typed_and_under_contract() -> None:
    """A column that changes breaks the build, not its readers."""
    for node in nodes("model"):
        assert "Grain: one row per" in node["description"]
        assert node["config"]["contract"]["enforced"]
        assert node["schema"] in LAYERS
        assert node["access"] == ("public" if node["schema"] == "data_products" else "protected")
        for column in node["columns"].values():
            place = f"{node['name']}.{column['name']}"
            assert column["description"], place
            assert column["data_type"] in CONTRACT_TYPES, place


def test_every_source_declares_the_columns_it_holds() -> None:
    sources = compiled_manifest()["sources"].values()
    assert {source["name"] for source in sources} == {*SOURCE_TABLES, EXPORT_BATCHES_TABLE.name}
    for source in sources:
        assert source["description"]
        assert source["config"]["meta"]["dagster"]["asset_key"] == ["festival", source["name"]]
        assert list(source["columns"]) == Festival().arrow(source["name"]).column_names
        for column in source["columns"].values():
            assert column["description"], column["name"]
            assert column["data_type"] in SOURCE_TYPES, column["name"]


def test_every_check_is_described_and_shown_on_the_asset_it_is_about() -> None:
    """Dagster runs a test that belongs to no asset, but does not show it."""
    manifest = compiled_manifest()
    for test in nodes("test"):
        assert test["description"], test["name"]
        key = get_asset_check_key_for_test(manifest, FestivalDbtTranslator("duckdb"), test["unique_id"], dbt_project())
        assert key, test["name"]
        read = {manifest["sources"].get(parent, {}).get("name") for parent in test["depends_on"]["nodes"]}
        layer, name = key.asset_key.path
        assert layer in LAYERS or (layer == "festival" and name in read), test["name"]


def test_only_the_dimension_of_people_reads_the_people_and_only_their_keys() -> None:
    """So no column of a model can hold, filter or join by the name of a person."""
    readers = {}
    for node in nodes("model"):
        people = [
            select
            for select in parse_one(node["compiled_code"], dialect="duckdb").find_all(exp.Select)
            if any(table.name == "people" for table in select.find_all(exp.Table))
        ]
        if people:
            readers[node["name"]] = {column.name for select in people for column in select.find_all(exp.Column)}
    assert readers == {"dim_people": {"id", "person_id"}}
