"""Links of the bundle, checked without a server: dashboard to chart to dataset to dbt model and column, and back."""

import json
import re
from collections.abc import Mapping
from functools import cache
from typing import Any

import pytest
import yaml

from acl_assets.report.drawing import PAPER
from acl_assets.settings import PROJECT_DIR
from acl_assets.superset.bundle import PLACEHOLDER_URI, Document, read_bundle, without_mark
from acl_assets.warehouse.project import dbt_project, load_manifest

BUNDLE = read_bundle()
[DATABASE] = BUNDLE.of_kind("databases")
[DASHBOARD] = BUNDLE.of_kind("dashboards")
CHARTS = BUNDLE.of_kind("charts")
DATASETS = BUNDLE.of_kind("datasets")
# Names of the types of the contracts in DuckDB and Superset.
TYPES = {
    "int": "INTEGER",
    "bigint": "BIGINT",
    "double": "DOUBLE",
    "boolean": "BOOLEAN",
    "date": "DATE",
    "timestamp": "TIMESTAMP",
    "string": "VARCHAR",
}


@cache
def models() -> Mapping[str, Mapping[str, Any]]:
    """Models of dbt by `schema.name`."""
    manifest = load_manifest(dbt_project())
    nodes = [node for node in manifest["nodes"].values() if node["resource_type"] == "model"]
    return {f"{node['schema']}.{node['name']}": node for node in nodes}


def table(dataset: Document) -> str:
    return f"{dataset.content['schema']}.{dataset.content['table_name']}"


def as_list(value: Any) -> list[Any]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def test_uuids_are_unique_and_nothing_of_one_installation_is_kept() -> None:
    """Of two files with one uuid Superset would keep the later. No path of a machine, no mark of an import."""
    uuids = [document.uuid for document in BUNDLE.documents]
    assert len(uuids) == len(set(uuids))
    assert [document.path for document in BUNDLE.documents if without_mark(document) != document] == []
    assert DATABASE.content["sqlalchemy_uri"] == PLACEHOLDER_URI
    assert [name for name, value in DATABASE.content.items() if name.startswith("allow_") and value] == []


def test_every_chart_has_one_place_and_the_age_of_the_data_one_on_every_tab() -> None:
    """A downloaded picture of a tab would show each place."""
    parts = [part for part in DASHBOARD.content["position"].values() if isinstance(part, dict)]
    places = [(part["meta"]["sliceName"], part["parents"][2]) for part in parts if part["type"] == "CHART"]
    tabs = {part["id"] for part in parts if part["type"] == "TAB"}
    age = [(name, tab) for name, tab in places if name == "Age of the data"]
    assert {tab for _, tab in age} == tabs
    assert len(places) - len(age) + 1 == len({name for name, _ in places})
    assert len(age) == len(tabs)


def test_verdicts_have_the_same_words_and_all_have_a_colour() -> None:
    checks = {node["name"]: node for node in load_manifest(dbt_project())["nodes"].values()}
    bands, venues = (
        set(checks[f"{model}_verdict_is_known"]["test_metadata"]["kwargs"]["values"])
        for model in ("all_star_candidates", "venue_verdicts")
    )
    colours, texts = DASHBOARD.content["metadata"]["label_colors"], json.dumps(DASHBOARD.content["position"]).lower()
    assert bands <= colours.keys()
    assert colours["completed"] == PAPER["accent"]
    assert [colours[f"top venue {rank}"] for rank in (1, 2, 3)] == [PAPER[f"venue-{rank}"] for rank in (1, 2, 3)]
    assert [word for word in bands | venues if word not in texts] == []
    for chart in CHARTS:
        params = chart.content["params"]
        used = [rule["targetValue"] for rule in params.get("conditional_formatting", []) if rule["column"] == "verdict"]
        used += [rule["comparator"] for rule in params.get("adhoc_filters", []) if rule["subject"] == "verdict"]
        assert set(used) <= bands | venues, chart.name


def test_filters_filter_by_a_column_there_is() -> None:
    columns = {dataset.uuid: {column["column_name"] for column in dataset.content["columns"]} for dataset in DATASETS}
    for entry in DASHBOARD.content["metadata"]["native_filter_configuration"]:
        assert entry["scope"]["excluded"]
        for target in entry["targets"]:
            assert target["column"]["name"] in columns[target["datasetUuid"]]


@pytest.mark.parametrize("chart", CHARTS, ids=lambda chart: chart.name)
def test_a_chart_holds_no_sql_function(chart: Document) -> None:
    """Superset rewrites SQL on its way to DuckDB, some of it wrongly. Functions belong into dbt models."""
    params = chart.content["params"]
    [dataset] = [dataset for dataset in DATASETS if dataset.uuid == chart.content["dataset_uuid"]]
    saved = {metric["metric_name"] for metric in dataset.content["metrics"]}
    metrics = [*as_list(params.get("metrics")), *as_list(params.get("metric"))]
    for query in json.loads(chart.content["query_context"])["queries"]:
        metrics += as_list(query.get("metrics"))
        metrics += [column for column, _ in query.get("orderby") or [] if isinstance(column, dict)]
        assert not query.get("extras", {}).get("where")
        assert not query.get("extras", {}).get("having")
        for column in query.get("columns") or []:
            name = column["sqlExpression"] if isinstance(column, dict) else column
            assert name.isidentifier()
    assert {metric for metric in metrics if isinstance(metric, str)} <= saved
    metrics = [metric for metric in metrics if isinstance(metric, dict)]
    assert {entry["expressionType"] for entry in [*metrics, *as_list(params.get("adhoc_filters"))]} <= {"SIMPLE"}
    assert {metric["aggregate"] for metric in metrics} <= {"SUM", "MIN", "MAX", "AVG", "COUNT"}


def test_labels_of_bars_and_festivals_stand_at_what_they_name() -> None:
    """Line breaks move a label by a distance that fonts decide; an axis of numbers has ticks between two years.

    A year without a festival keeps its place on an axis of years.
    """
    params = [chart.content["params"] for chart in CHARTS]
    [options] = {param["echart_options"] for param in params if param.get("orientation") == "horizontal"}
    assert "formatter" not in options
    assert all(param["xAxisForceCategorical"] for param in params if param.get("x_axis") == "festival_year")
    of_years = [param for param in params if param.get("time_grain_sqla") == "P1Y"]
    assert of_years
    assert all(param["force_max_interval"] and param["resample_method"] == "asfreq" for param in of_years)


def test_every_top_venue_has_its_pair_of_charts() -> None:
    top_venues = yaml.safe_load((PROJECT_DIR / "dbt" / "dbt_project.yml").read_text())["vars"]["top_venues"]
    names = {chart.name for chart in BUNDLE.of_kind("charts")}
    ranks = range(1, top_venues + 1)
    wanted = {f"{chart} {rank}" for chart in ("Top venue", "Bands at top venue") for rank in ranks}
    held = {name for name in names if re.fullmatch(r"(Top venue|Bands at top venue) \d+", name)}
    assert held == wanted, (
        f"top_venues is {top_venues} in dbt/dbt_project.yml. In Superset, copy the charts 'Top venue 1' and "
        "'Bands at top venue 1' for every further rank and change their filter on venue_rank. Add both to the tab "
        "Bands, and take the charts of lower ranks off. Then run make superset-export."
    )


def test_every_data_product_is_a_dataset_and_an_exposure_and_the_other_way_round() -> None:
    """A dataset without a model fails on the dashboard; a model without a dataset cannot be explored."""
    products = {name: model["unique_id"] for name, model in models().items() if name.startswith("data_products.")}
    assert {table(dataset) for dataset in DATASETS} == {*products, "publication.summary"}
    exposure = load_manifest(dbt_project())["exposures"]["exposure.acl_assets.superset_dashboard"]
    assert set(exposure["depends_on"]["nodes"]) == set(products.values())


@pytest.mark.parametrize("dataset", DATASETS, ids=lambda dataset: dataset.name)
def test_a_dataset_has_the_columns_of_its_model_and_certified_metrics_of_plain_sums(dataset: Document) -> None:
    columns = dataset.content["columns"]
    # The publication writes its summary; dbt has no model of it.
    if dataset.name != "summary":
        declared = {
            name: (TYPES[column["data_type"]], column["description"])
            for name, column in models()[table(dataset)]["columns"].items()
        }
        assert {column["column_name"]: (column["type"], column["description"]) for column in columns} == declared
    assert [column["column_name"] for column in columns if not column.get("verbose_name")] == []
    assert not dataset.content.get("sql")
    assert [column for column in columns if column.get("expression")] == []
    assert dataset.content["metrics"]
    for metric in dataset.content["metrics"]:
        assert set(re.findall(r"(\w+)\(", metric["expression"])) <= {"SUM", "MIN", "MAX", "AVG", "COUNT", "NULLIF"}
        assert metric["verbose_name"]
        assert metric["description"]
        assert metric["extra"]["certification"]["certified_by"] == "acl_assets"
