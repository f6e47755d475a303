"""Links of the bundle, checked without a server: dashboard to chart to dataset to dbt model and column, and back."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from functools import cache
from typing import Any
from uuid import UUID

import duckdb
import pytest
from refreshes import published_rows

from acl_assets.settings import Settings
from acl_assets.superset.bundle import PLACEHOLDER_URI, Document, read_bundle, without_mark
from acl_assets.warehouse.project import dbt_project, load_manifest

BUNDLE = read_bundle()
# What a column of each type of the contracts is called in DuckDB, and so by Superset.
TYPES = {
    "int": "INTEGER",
    "bigint": "BIGINT",
    "double": "DOUBLE",
    "boolean": "BOOLEAN",
    "date": "DATE",
    "timestamp": "TIMESTAMP",
    "string": "VARCHAR",
}


def of_kind(kind: str) -> Any:
    return pytest.mark.parametrize("document", BUNDLE.of_kind(kind), ids=lambda document: document.path)


@cache
def models() -> Mapping[str, Mapping[str, Any]]:
    """Models of dbt by `schema.name`."""
    manifest = load_manifest(dbt_project())
    nodes = [node for node in manifest["nodes"].values() if node["resource_type"] == "model"]
    return {f"{node['schema']}.{node['name']}": node for node in nodes}


def table(dataset: Document) -> str:
    return f"{dataset.content['schema']}.{dataset.content['table_name']}"


def columns_of(dataset: Document) -> set[str]:
    return {column["column_name"] for column in dataset.content["columns"]}


def queries_of(chart: Document) -> list[dict[str, Any]]:
    queries: list[dict[str, Any]] = json.loads(chart.content["query_context"])["queries"]
    return queries


def placed_charts(dashboard: Document) -> list[dict[str, Any]]:
    """What a dashboard says of each chart it places."""
    position = dashboard.content["position"].values()
    return [element["meta"] for element in position if isinstance(element, dict) and element["type"] == "CHART"]


def plain_name(column: str | dict[str, Any]) -> str:
    """The column that is meant, where it is nothing but one."""
    if isinstance(column, str):
        return column
    assert column["columnType"] == "BASE_AXIS"
    return str(column["sqlExpression"])


def as_list(value: Any) -> list[Any]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def test_uuids_are_unique() -> None:
    """Of two files with one uuid Superset would keep the later."""
    counts = Counter(str(UUID(document.uuid)) for document in BUNDLE.documents)
    assert [uuid for uuid, count in counts.items() if count > 1] == []


@pytest.mark.parametrize("kind", ["datasets", "charts", "dashboards", "queries"])
def test_names_are_unique(kind: str) -> None:
    """People know a chart by its name, and saved queries are told apart by nothing else."""
    counts = Counter(document.name for document in BUNDLE.of_kind(kind))
    assert [name for name, count in counts.items() if count > 1] == []


def test_nothing_of_one_installation_is_kept() -> None:
    """No path of a machine, no mark of an import."""
    assert [document.path for document in BUNDLE.documents if without_mark(document) != document] == []
    assert [database.content["sqlalchemy_uri"] for database in BUNDLE.of_kind("databases")] == [PLACEHOLDER_URI]


@of_kind("databases")
def test_the_database_is_for_reading(document: Document) -> None:
    allowed = {name for name, value in document.content.items() if name.startswith("allow_") and value}
    assert allowed == set()


def test_every_chart_is_on_a_dashboard_and_every_place_has_its_chart() -> None:
    """Superset drops a chart it does not know, and all that come after it, without a word."""
    placed = {chart["uuid"] for dashboard in BUNDLE.of_kind("dashboards") for chart in placed_charts(dashboard)}
    assert placed == {chart.uuid for chart in BUNDLE.of_kind("charts")}


@of_kind("dashboards")
def test_every_part_of_the_layout_is_reached_from_its_root(document: Document) -> None:
    """What is not reached is not painted."""
    elements = {name: part for name, part in document.content["position"].items() if isinstance(part, dict)}
    reached: list[str] = []
    waiting = ["ROOT_ID"]
    while waiting:
        name = waiting.pop()
        reached.append(name)
        waiting += elements[name].get("children", [])
    # Superset keeps the place of a layout without tabs where there are some.
    outside = {"HEADER_ID"} if elements["GRID_ID"]["children"] else {"HEADER_ID", "GRID_ID"}
    assert sorted(reached) == sorted(elements.keys() - outside)


@of_kind("dashboards")
def test_filters_filter_by_a_column_there_is(document: Document) -> None:
    filters = document.content["metadata"]["native_filter_configuration"]
    datasets = {dataset.uuid: dataset for dataset in BUNDLE.of_kind("datasets")}
    targets = [target for entry in filters for target in entry["targets"]]
    assert {target["column"]["name"] for target in targets} == {"festival_year", "venue_name"}
    for target in targets:
        assert target["column"]["name"] in columns_of(datasets[target["datasetUuid"]])


@of_kind("charts")
def test_a_chart_holds_no_sql_function(document: Document) -> None:
    """Superset rewrites SQL on its way to DuckDB, some of it into something else. What needs one is a column of dbt."""
    params = document.content["params"]
    metrics = [*as_list(params.get("metrics")), *as_list(params.get("metric"))]
    filters = as_list(params.get("adhoc_filters"))
    for query in queries_of(document):
        metrics += as_list(query.get("metrics"))
        metrics += [column for column, _ in query.get("orderby") or [] if isinstance(column, dict)]
        assert not query.get("extras", {}).get("where")
        assert not query.get("extras", {}).get("having")
        for column in query.get("columns") or []:
            assert plain_name(column).isidentifier()
    assert {entry["expressionType"] for entry in [*metrics, *filters]} <= {"SIMPLE"}
    assert {metric["aggregate"] for metric in metrics} <= {"SUM", "MIN", "MAX", "AVG", "COUNT"}


def test_horizontal_bars_are_labelled_alike_and_without_line_breaks() -> None:
    """`test_bar_labels` looks at one of these charts; line breaks move a label by a distance that fonts decide."""
    params = [chart.content["params"] for chart in BUNDLE.of_kind("charts")]
    [options] = {param["echart_options"] for param in params if param.get("orientation") == "horizontal"}
    assert "formatter" not in options


def test_axes_of_festivals_are_categorical() -> None:
    """An axis of numbers has ticks between two years, which are labelled like the years: "2020 2021 2021"."""
    params = [chart.content["params"] for chart in BUNDLE.of_kind("charts")]
    of_festivals = [param for param in params if param.get("x_axis") == "festival_year"]
    assert of_festivals
    assert all(param["xAxisForceCategorical"] for param in of_festivals)


@of_kind("datasets")
def test_a_dataset_holds_no_sql_but_plain_sums(document: Document) -> None:
    assert not document.content.get("sql")
    assert [column for column in document.content["columns"] if column.get("expression")] == []
    for metric in document.content.get("metrics") or []:
        assert re.fullmatch(r"(SUM|MIN|MAX|AVG|COUNT)\((\w+|\*)\)", metric["expression"])


def test_every_data_product_is_a_dataset_and_the_other_way_round() -> None:
    """A dataset without a model fails on the dashboard; a model without a dataset cannot be explored."""
    products = {name for name in models() if name.startswith("data_products.")}
    assert {table(dataset) for dataset in BUNDLE.of_kind("datasets")} == products


@of_kind("datasets")
def test_a_dataset_has_the_columns_of_its_model_with_their_descriptions(document: Document) -> None:
    declared = {
        name: (TYPES[column["data_type"]], column["description"])
        for name, column in models()[table(document)]["columns"].items()
    }
    columns = document.content["columns"]
    assert {column["column_name"]: (column["type"], column["description"]) for column in columns} == declared


def test_the_dashboard_is_an_exposure_of_what_it_reads() -> None:
    exposure = load_manifest(dbt_project())["exposures"]["exposure.acl_assets.superset_dashboard"]
    read = {table(dataset) for dataset in BUNDLE.of_kind("datasets")}
    assert set(exposure["depends_on"]["nodes"]) == {models()[name]["unique_id"] for name in read}


@of_kind("queries")
def test_a_saved_query_runs_on_what_is_published(document: Document, published: Settings) -> None:
    """On sound data those that count what is wrong find nothing, and those that compare find equals."""
    with duckdb.connect(str(published.published_file), read_only=True) as connection:
        cursor = connection.execute(document.content["sql"])
        names = [column[0] for column in cursor.description]
        rows = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
    assert all(row.get("is_equal", True) for row in rows)
    wrong = [name for name in names if name.startswith(("tickets_without_", "only_in_tickets"))]
    assert [row[name] for row in rows for name in wrong if row[name] != 0] == []
    if document.name.startswith("6."):
        assert rows == []


def test_saved_queries_find_what_went_wrong(published: Settings) -> None:
    """A query that says 0 whatever happens would be worse than none."""
    loss = "delete from star_schema.dim_{0}s where {0}_id = (select max({0}_id) from star_schema.fct_ticket_sales)"
    with duckdb.connect(str(published.published_file)) as connection:
        for dimension in ("venue", "band", "performance"):
            connection.execute(loss.format(dimension))
        connection.execute("update data_products.performance_attendance set revenue = revenue + 1")
    found = {query.name[:1]: published_rows(published, query.content["sql"]) for query in BUNDLE.of_kind("queries")}
    assert all(count > 0 for count in found["1"][0])
    assert found["2"][0][2] == 1
    assert {row[0] for row in found["4"] if not row[-1]} == {
        "data_products.performance_attendance",
        "data_products.ticket_sales",
    }
