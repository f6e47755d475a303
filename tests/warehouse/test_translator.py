"""How dbt nodes become Dagster assets: keys, groups, owners, kinds and checks, read from the project's manifest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from dagster import AssetKey, AssetsDefinition, AssetSpec

from acl_assets.asset_keys import OWNERS
from acl_assets.source_schema import SOURCE_TABLES
from acl_assets.warehouse.dbt_assets import build_dbt_assets
from acl_assets.warehouse.project import dbt_project, load_manifest
from acl_assets.warehouse.translator import FestivalDbtTranslator

Manifest = Mapping[str, Any]


@pytest.fixture(scope="module")
def manifest() -> Manifest:
    return load_manifest(dbt_project())


@pytest.fixture(scope="module")
def models(manifest: Manifest) -> AssetsDefinition:
    return build_dbt_assets(dbt_project(), manifest)


def spec(manifest: Manifest, name: str) -> AssetSpec:
    return FestivalDbtTranslator().get_asset_spec(manifest, f"model.acl_assets.{name}", None)


def test_a_model_is_keyed_and_grouped_by_its_layer(manifest: Manifest) -> None:
    """The asset's name is the name of the table: `data_products/ticket_sales` is `data_products.ticket_sales`."""
    venues = spec(manifest, "dim_venues")
    assert venues.key == AssetKey(["star_schema", "dim_venues"])
    assert venues.group_name == "star_schema"
    assert spec(manifest, "ticket_sales_by_venue").group_name == "data_products"


def test_every_model_has_an_owner_and_kinds(models: AssetsDefinition) -> None:
    """Whoever finds a failed asset must find whom to ask."""
    for found in models.specs:
        assert list(found.owners) == list(OWNERS)
        assert {"dbt", "duckdb"} < found.kinds


def test_kinds_tell_the_engine(manifest: Manifest) -> None:
    """Whoever looks at the graph sees where a model is built."""
    models = build_dbt_assets(dbt_project(), manifest, "spark")
    assert all({"dbt", "spark"} < found.kinds and "duckdb" not in found.kinds for found in models.specs)


def test_views_are_told_from_tables(manifest: Manifest) -> None:
    """The wide table of tickets costs nothing to keep, and the graph shows it."""
    assert "view" in spec(manifest, "ticket_sales").kinds
    assert "table" in spec(manifest, "fct_ticket_sales").kinds


def test_what_people_read_must_be_fresh(manifest: Manifest) -> None:
    """The star schema is as fresh as the products made from it; one alarm for a missed night is enough."""
    assert spec(manifest, "all_star_candidates").freshness_policy is not None
    assert spec(manifest, "fct_ticket_sales").freshness_policy is None


def test_descriptions_come_from_the_project(manifest: Manifest) -> None:
    """What a table means is written once, beside its SQL."""
    node = manifest["nodes"]["model.acl_assets.fct_performances"]
    assert node["description"]
    assert node["description"].strip() in str(spec(manifest, "fct_performances").description)


def test_columns_are_described_and_typed(models: AssetsDefinition) -> None:
    """The catalogue shows columns before anything was ever built."""
    for found in models.specs:
        columns = found.metadata["dagster/column_schema"].columns
        assert columns
        assert not [column.name for column in columns if not column.description or column.type == "?"]


def test_models_depend_on_source_tables_by_their_asset_keys(models: AssetsDefinition) -> None:
    """The graph has no gap between ingestion and transformation."""
    upstream = {dep.asset_key for found in models.specs for dep in found.deps}
    expected = {AssetKey(["festival", table]) for table in SOURCE_TABLES}
    assert expected <= upstream


def test_tests_of_sources_are_checks_on_source_tables(models: AssetsDefinition) -> None:
    """A bad export fails where it came in, not three models later."""
    checked = {check.asset_key for check in models.check_specs}
    assert {AssetKey(["festival", table]) for table in SOURCE_TABLES} <= checked


def test_every_test_of_the_project_is_a_check(manifest: Manifest, models: AssetsDefinition) -> None:
    """A test that is no check fails without anybody seeing it."""
    tests = {node["name"] for node in manifest["nodes"].values() if node["resource_type"] == "test"}
    assert {check.name for check in models.check_specs} == tests


def test_a_test_blocks_exactly_when_it_is_an_error(manifest: Manifest, models: AssetsDefinition) -> None:
    """dbt's severity is the one place that says whether a finding stops the publication."""
    severities = {
        node["name"]: node["config"]["severity"].lower()
        for node in manifest["nodes"].values()
        if node["resource_type"] == "test"
    }
    assert {check.name for check in models.check_specs if not check.blocking} == {
        name for name, severity in severities.items() if severity == "warn"
    }
