"""Which source columns a column of a model comes from, on models whose answer is known by reading them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from refreshes import Refreshed

from acl_assets.warehouse.column_lineage import Lineage, lineage_of_models

BANDS = "source.shop.festival.bands"
TICKETS = "source.shop.festival.tickets"
MODEL = "model.shop.sales"


def column(data_type: str) -> dict[str, str]:
    return {"data_type": data_type}


def manifest_of(columns: list[str], parents: list[str]) -> dict[str, Any]:
    """A manifest of one model over two source tables, in the shape dbt writes it."""
    return {
        "nodes": {
            MODEL: {
                "package_name": "shop",
                "original_file_path": "models/sales.sql",
                "schema": "main",
                "alias": "sales",
                "columns": {name: column("int") for name in columns},
                "depends_on": {"nodes": parents},
            }
        },
        "sources": {
            BANDS: {
                "schema": "festival",
                "identifier": "bands",
                "columns": {"id": column("int"), "name": column("string")},
            },
            TICKETS: {
                "schema": "festival",
                "identifier": "tickets",
                "columns": {"id": column("int"), "price": column("int"), "band_id": column("int")},
            },
        },
    }


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "target"


def lineage_of(sql: str, columns: list[str], parents: list[str], target: Path) -> Lineage:
    compile_model(sql, target)
    return lineage_of_models(manifest_of(columns, parents), target, [MODEL], pytest.fail)[MODEL]


def compile_model(sql: str, target: Path) -> None:
    compiled = target / "compiled" / "shop" / "models" / "sales.sql"
    compiled.parent.mkdir(parents=True, exist_ok=True)
    compiled.write_text(sql)


def test_a_renamed_column_comes_from_the_one_it_renames(target: Path) -> None:
    """The simplest case, with the database's name in front as dbt writes it."""
    lineage = lineage_of('select name as band_name from "acl"."festival"."bands"', ["band_name"], [BANDS], target)
    assert lineage == {"band_name": [(BANDS, "name")]}


def test_an_expression_comes_from_all_its_columns(target: Path) -> None:
    """Through joins, common table expressions and aggregates."""
    sql = """
        with sales as (
            select bands.name, tickets.price
            from festival.tickets as tickets
            inner join festival.bands as bands on bands.id = tickets.band_id
        )
        select concat(name, cast(max(price) as varchar)) as label, count(*) as sold from sales group by name
    """
    lineage = lineage_of(sql, ["label", "sold"], [BANDS, TICKETS], target)
    assert lineage["label"] == [(BANDS, "name"), (TICKETS, "price")]


def test_a_literal_comes_from_nowhere(target: Path) -> None:
    """No source is better than a wrong one."""
    assert lineage_of("select 1 as one from festival.bands", ["one"], [BANDS], target) == {"one": []}


def test_a_model_that_was_not_compiled_is_left_out(target: Path) -> None:
    """dbt compiles the models of a run only."""
    target.mkdir()
    assert lineage_of_models(manifest_of(["one"], [BANDS]), target, [MODEL], pytest.fail) == {}


def test_it_is_worked_out_once_per_model_text(target: Path) -> None:
    """Parsing SQL takes longer than building a small model; the answer is kept, and found by what it follows from."""
    sql = "select name as band_name from festival.bands"
    lineage_of(sql, ["band_name"], [BANDS], target)
    cache_file = target / "column_lineage.json"
    cache = json.loads(cache_file.read_text())
    assert list(cache.values()) == [{"band_name": [[BANDS, "name"]]}]
    planted = {digest: {"band_name": [[BANDS, "planted"]]} for digest in cache}
    cache_file.write_text(json.dumps(planted))
    assert lineage_of(sql, ["band_name"], [BANDS], target) == {"band_name": [(BANDS, "planted")]}


@pytest.mark.parametrize("content", ["", '{"a": {"band', "[]", '{"a": 1}', '{"a": {"one": [["only"]]}}', "\0"])
def test_damaged_cache_is_named_and_replaced(target: Path, content: str) -> None:
    """A full disk leaves an empty file."""
    sql = "select name as band_name from festival.bands"
    before = lineage_of(sql, ["band_name"], [BANDS], target)
    cache_file = target / "column_lineage.json"
    cache_file.write_text(content)
    warnings: list[str] = []
    manifest = manifest_of(["band_name"], [BANDS])
    assert lineage_of_models(manifest, target, [MODEL], warnings.append) == {MODEL: before}
    assert [str(cache_file) in warning for warning in warnings] == [True]
    assert lineage_of_models(manifest, target, [MODEL], pytest.fail) == {MODEL: before}


def test_a_changed_model_is_worked_out_anew(target: Path) -> None:
    """Lineage of yesterday's SQL would be a lie."""
    lineage_of("select name as band from festival.bands", ["band"], [BANDS], target)
    changed = lineage_of("select cast(id as varchar) as band from festival.bands", ["band"], [BANDS], target)
    assert changed == {"band": [(BANDS, "id")]}


def test_the_models_of_the_project_show_their_lineage(first_refresh: Refreshed) -> None:
    """On the project's own models, in Dagster's terms."""

    def sources(asset: str, name: str) -> set[tuple[str, str]]:
        deps = first_refresh.metadata[asset]["dagster/column_lineage"].deps_by_column[name]
        return {(dep.asset_key.to_user_string(), dep.column_name) for dep in deps}

    assert sources("star_schema/dim_bands", "band_name") == {("festival/bands", "name")}
    assert sources("data_products/band_sales_by_venue", "band_name") == {("star_schema/dim_bands", "band_name")}


def test_no_model_comes_from_the_names_of_people(first_refresh: Refreshed) -> None:
    """Personal data stays in the source tables: no column of any model is derived from it."""
    from_people = {
        (asset, column)
        for asset, metadata in first_refresh.metadata.items()
        if "dagster/column_lineage" in metadata
        for column, deps in metadata["dagster/column_lineage"].deps_by_column.items()
        for dep in deps
        if (dep.asset_key.to_user_string(), dep.column_name) == ("festival/people", "name")
    }
    assert from_people == set()
