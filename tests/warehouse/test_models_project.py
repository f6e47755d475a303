"""The dbt project as a whole: described, typed, under contract, portable, and free of personal data."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import duckdb
import pytest
from dagster_dbt import DbtProject
from dagster_dbt.asset_utils import get_asset_check_key_for_test
from dbt.cli.main import dbtRunner
from sqlglot import ErrorLevel, exp, parse_one, transpile
from sqlglot.dialects import DuckDB
from sqlglot.lineage import lineage
from sqlglot.tokens import TokenType
from warehouse.dbt_festivals import Festival, dbt_manifest, instant, outcomes, run_dbt

from acl_assets.settings import DBT_PROJECT_DIR
from acl_assets.warehouse.translator import FestivalDbtTranslator

LAYERS = ("star_schema", "data_products", "source_keys")
CONTRACT_TYPES = {"int", "bigint", "double", "boolean", "date", "timestamp", "string"}
SOURCE_TYPES = {"int", "string", "timestamp with time zone", "boolean"}
WITHOUT_VALUE = {
    "dim_dates.festival_year",
    "band_sales_by_venue.rank_in_venue",
    "band_sales_by_venue.gap_to_next",
    "band_sales_by_venue.tier",
    "all_star_candidates.gap_to_next",
}
# Written by the DuckDB half of a dispatched macro; the Spark half writes its own.
KNOWN_FUNCTIONS = {"TIMEZONE", "EPOCH_US"}


@cache
def artifacts() -> Mapping[str, Any]:
    """The manifest of a run on an empty festival, with the SQL it ran."""
    with TemporaryDirectory() as folder:
        Festival().write(Path(folder))
        assert run_dbt(Path(folder), "build", "--exclude-resource-type", "unit_test").success
        manifest: dict[str, Any] = json.loads((Path(folder) / "target" / "manifest.json").read_bytes())
    return manifest


def nodes(resource_type: str) -> list[Mapping[str, Any]]:
    return [node for node in artifacts()["nodes"].values() if node["resource_type"] == resource_type]


def model_names() -> list[str]:
    return sorted(path.stem for folder in LAYERS for path in (DBT_PROJECT_DIR / "models" / folder).glob("*.sql"))


def model(name: str) -> Mapping[str, Any]:
    return next(node for node in nodes("model") if node["name"] == name)


def compiled(node: Mapping[str, Any]) -> exp.Expression:
    """The SQL that ran, without the name of the database."""
    statement = parse_one(node["compiled_code"], dialect="duckdb")
    for table in statement.find_all(exp.Table):
        table.set("catalog", None)
    return statement


def test_the_project_parses_without_a_warning(tmp_path: Path) -> None:
    """Nothing deprecated, nothing unused, nothing ambiguous."""
    folders = ["--project-dir", str(DBT_PROJECT_DIR), "--profiles-dir", str(DBT_PROJECT_DIR)]
    artifacts_go_to = ["--target-path", str(tmp_path), "--log-path", str(tmp_path)]
    checks = ["--quiet", "--warn-error", "parse", "--no-partial-parse", "--show-all-deprecations"]
    result = dbtRunner().invoke([*checks, *folders, *artifacts_go_to])
    assert result.success, result.exception


@pytest.mark.parametrize("name", model_names())
def test_every_model_is_described_typed_and_under_contract(name: str) -> None:
    """Who reads a column finds its meaning beside it, and a column that changes breaks the build, not the reader."""
    node = model(name)
    assert "Grain: one row per" in node["description"]
    assert node["config"]["contract"]["enforced"]
    assert node["schema"] in LAYERS
    for column in node["columns"].values():
        assert column["description"], column["name"]
        assert column["data_type"] in CONTRACT_TYPES, column["name"]
        not_null = [constraint["type"] for constraint in column["constraints"]] == ["not_null"]
        is_view = node["config"]["materialized"] == "view"
        assert not_null != (is_view or f"{name}.{column['name']}" in WITHOUT_VALUE), column["name"]


def test_every_source_table_is_described_typed_and_a_dagster_asset() -> None:
    sources = artifacts()["sources"].values()
    assert {source["name"] for source in sources} == {
        "bands", "venues", "performances", "people", "purchases", "tickets", "export_batches",
    }  # fmt: skip
    for source in sources:
        assert source["description"]
        assert source["config"]["meta"]["dagster"]["asset_key"] == ["festival", source["name"]]
        for column in source["columns"].values():
            assert column["description"], column["name"]
            assert column["data_type"] in SOURCE_TYPES, column["name"]


@pytest.mark.parametrize(
    "name", ["bands", "venues", "performances", "people", "purchases", "tickets", "export_batches"]
)
def test_a_source_declares_the_columns_it_holds(name: str) -> None:
    source = next(source for source in artifacts()["sources"].values() if source["name"] == name)
    assert list(source["columns"]) == list(Festival().frame(name).columns)


def test_every_check_is_shown_on_the_asset_it_is_about() -> None:
    """A test Dagster cannot place is run and seen by nobody."""
    project = DbtProject(project_dir=DBT_PROJECT_DIR, profiles_dir=DBT_PROJECT_DIR)
    places = {
        node["name"]: get_asset_check_key_for_test(artifacts(), FestivalDbtTranslator("duckdb"), unique_id, project)
        for unique_id, node in artifacts()["nodes"].items()
        if node["resource_type"] == "test"
    }
    assert [name for name, place in places.items() if place is None] == []
    assert places["tickets_have_known_venue_and_band"].asset_key.path == ["festival", "tickets"]
    assert places["venue_totals_add_up"].asset_key.path == ["data_products", "ticket_sales_by_venue"]


def test_every_check_is_described() -> None:
    """What is wrong when it fails is read beside it, in the UI and in the report."""
    assert [node["name"] for node in nodes("test") if not node["description"]] == []


def test_the_report_is_an_exposure_of_what_it_reads() -> None:
    exposure = artifacts()["exposures"]["exposure.acl_assets.all_stars_report"]
    assert {unique_id.split(".")[-1] for unique_id in exposure["depends_on"]["nodes"]} == {
        "ticket_sales_over_time", "ticket_sales_by_venue", "band_sales_by_venue", "all_star_candidates",
        "performance_attendance",
    }  # fmt: skip


@cache
def source_columns_of(name: str) -> Mapping[str, set[str]]:
    """Per column of a model: the source columns it is made of, followed through every model between."""
    schema: dict[str, dict[str, dict[str, str]]] = {}
    for node in [*nodes("model"), *artifacts()["sources"].values()]:
        columns = {column: entry["data_type"] for column, entry in node["columns"].items()}
        schema.setdefault(node["schema"], {})[node["name"]] = columns
    upstream = {f"{node['schema']}.{node['name']}": compiled(node).sql("duckdb") for node in nodes("model")}
    found: dict[str, set[str]] = {}
    for column in model(name)["columns"]:
        root = lineage(column, compiled(model(name)).sql("duckdb"), schema=schema, sources=upstream, dialect="duckdb")
        leaves = [node for node in root.walk() if not node.downstream and isinstance(node.expression, exp.Table)]
        found[column] = {f"{leaf.expression.name}.{exp.to_column(leaf.name).name}" for leaf in leaves}
    return found


@pytest.mark.parametrize("name", model_names())
def test_no_name_of_a_person_reaches_a_model(name: str) -> None:
    """Of the people only the key leaves the source tables, however a column is derived."""
    reached = set().union(*source_columns_of(name).values())
    assert not {column for column in reached if column.startswith("people.")} - {"people.id"}


def test_lineage_sees_through_models_between() -> None:
    """The proof above is worth something: it does find where names of bands and ids of people come from."""
    assert source_columns_of("all_star_candidates")["band_name"] == {"bands.name"}
    assert source_columns_of("dim_people")["person_id"] == {"people.id"}
    assert source_columns_of("ticket_sales")["purchased_at"] == {"purchases.purchase_date"}


def test_only_the_dimension_of_people_reads_the_people() -> None:
    """A name can neither be shown nor used to filter or join where the table is not read."""
    readers = {
        node["name"]: {column.name for column in compiled(node).find_all(exp.Column)}
        for node in nodes("model")
        if any(table.name == "people" for table in compiled(node).find_all(exp.Table))
    }
    assert readers == {"dim_people": {"id"}}


def all_sql() -> list[Any]:
    return [
        pytest.param(path, id=path.stem)
        for folder in ("models", "tests")
        for path in sorted((DBT_PROJECT_DIR / folder).rglob("*.sql"))
    ]


@pytest.mark.parametrize("path", all_sql())
def test_no_sql_is_written_that_only_one_engine_reads(path: Path) -> None:
    """The same models run on Spark; what one engine alone understands stands in dispatched macros."""
    tokens = [token for token in DuckDB().tokenize(path.read_text()) if token.token_type is not TokenType.COMMENT]
    kinds = {token.token_type for token in tokens}
    assert not kinds & {TokenType.DCOLON, TokenType.QUALIFY, TokenType.FILTER, TokenType.INTERVAL, TokenType.ILIKE}
    words = [token.text.lower() for token in tokens]
    assert not {"any_value", "arg_max", "arg_min", "list", "unnest", "generate_series", "exclude"} & set(words)
    assert ("group", "by", "all") not in list(zip(words, words[1:], words[2:], strict=False))


def test_every_statement_is_spark_sql_too() -> None:
    """What ran here parses as Spark SQL as it is, and says nothing that has no translation."""
    for node in [*nodes("model"), *nodes("test")]:
        sql = compiled(node).sql("duckdb", identify=False).replace('"', "")
        transpile(sql, read="duckdb", write="spark", unsupported_level=ErrorLevel.RAISE)
        as_spark_reads_it = parse_one(node["compiled_code"].replace('"', ""), dialect="spark")
        unknown = {function.name.upper() for function in as_spark_reads_it.find_all(exp.Anonymous)}
        assert unknown <= KNOWN_FUNCTIONS, node["name"]


def test_a_copy_of_the_warehouse_works_under_any_name(tmp_path: Path) -> None:
    """The published file is copied and renamed; a view that remembers the name of its database would break."""
    festival = Festival(bands=[(1, "!!!", 500)], venues=[(1, "Meadow", 10)], people=[(1, "Ada Buyer")])
    festival.performances.append((1, instant("2021-10-05 20:00"), 1, 1))
    festival.sell(1, [instant("2021-05-01 12:00")])
    festival.export(instant("2022-08-01 06:00"))
    festival.write(tmp_path)
    assert run_dbt(tmp_path, "run").success
    copy = (tmp_path / "build" / "acl.duckdb").rename(tmp_path / "acl-2022.duckdb")
    with duckdb.connect(str(copy), read_only=True) as connection:
        assert connection.sql("select band_name from data_products.ticket_sales").fetchall() == [("!!!",)]


def test_unit_tests_pass(tmp_path: Path) -> None:
    """They need the relations they stand in for, not their rows: models built on an empty festival will do."""
    Festival().write(tmp_path)
    assert run_dbt(tmp_path, "run").success
    found = outcomes(run_dbt(tmp_path, "test", "--select", "test_type:unit"))
    assert len(found) == len(dbt_manifest().unit_tests) > 0
    assert set(found.values()) == {"pass"}
