"""Exporting from Superset to YAML: without changes there is no diff, and a change is the whole diff."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from superset.conftest import SupersetUnderTest
from superset.test_bundle import another_administrator

from acl_assets.superset.bundle import (
    BUNDLE_DIR,
    Bundle,
    BundleError,
    Document,
    import_bundle,
    read_bundle,
)
from acl_assets.superset.client import SupersetClient
from acl_assets.superset.export import as_yaml, canonical_bundle, export_bundle, stable_number

SLUG = "acl-all-stars"


def renumbered(bundle: Bundle, offset: int) -> Bundle:
    """The bundle as an installation would export it that has other numbers for the charts."""
    [dashboard] = bundle.of_kind("dashboards")
    content = copy.deepcopy(dashboard.content)
    for part in content["position"].values():
        if isinstance(part, dict) and part["type"] == "CHART":
            part["meta"]["chartId"] += offset
    for chosen in content["metadata"]["native_filter_configuration"]:
        chosen["scope"]["excluded"] = [number + offset for number in chosen["scope"]["excluded"]][::-1]
        chosen["chartsInScope"] = [offset]
    content["metadata"]["chart_configuration"] = {
        str(part["meta"]["chartId"]): {"id": offset, "crossFilters": {"scope": "global", "chartsInScope": [offset]}}
        for part in content["position"].values()
        if isinstance(part, dict) and part["type"] == "CHART"
    }
    rest = [document for document in bundle.documents if document.kind != "dashboards"]
    return Bundle((*rest, Document(dashboard.path, content)))


def texts(bundle: Bundle) -> dict[str, str]:
    return {document.path: as_yaml(document) for document in bundle.documents}


def test_the_repository_keeps_the_canonical_form() -> None:
    """Otherwise the first export would change files in which nothing was changed."""
    kept = {file.relative_to(BUNDLE_DIR).as_posix(): file.read_text() for file in BUNDLE_DIR.rglob("*.yaml")}
    assert texts(canonical_bundle(read_bundle())) == kept


def test_the_numbers_of_an_installation_leave_no_trace() -> None:
    bundle = read_bundle()
    assert texts(canonical_bundle(renumbered(bundle, 1000))) == texts(canonical_bundle(bundle))


def test_what_a_filter_leaves_alone_stays_left_alone() -> None:
    [dashboard] = canonical_bundle(renumbered(read_bundle(), 7)).of_kind("dashboards")
    numbers = {
        part["meta"]["chartId"]
        for part in dashboard.content["position"].values()
        if isinstance(part, dict) and part["type"] == "CHART"
    }
    for chosen in dashboard.content["metadata"]["native_filter_configuration"]:
        assert chosen["scope"]["excluded"]
        assert set(chosen["scope"]["excluded"]) < numbers


def test_two_charts_of_one_name_are_refused() -> None:
    bundle = read_bundle()
    chart = bundle.of_kind("charts")[0]
    twin = Document(chart.path, {**chart.content, "uuid": "00000000-0000-4000-8000-000000000000"})
    with pytest.raises(BundleError, match=f"Two of charts are named '{chart.name}'"):
        canonical_bundle(Bundle((*bundle.documents, twin)))


def test_numbers_of_charts_in_the_metadata_are_stable_too() -> None:
    """Descriptions that are open and charts that are not refreshed are kept by the numbers of the charts."""
    bundle = renumbered(read_bundle(), 1000)
    [dashboard] = bundle.of_kind("dashboards")
    charts = [part["meta"] for part in dashboard.content["position"].values() if "chartId" in part_meta(part)]
    number, uuid = charts[0]["chartId"], charts[0]["uuid"]
    dashboard.content["metadata"] |= {
        "expanded_slices": {str(number): True},
        "timed_refresh_immune_slices": [number, 7],
    }
    metadata = canonical_bundle(bundle).of_kind("dashboards")[0].content["metadata"]
    assert metadata["expanded_slices"] == {str(stable_number(uuid)): True}
    assert metadata["timed_refresh_immune_slices"] == [stable_number(uuid)]


def part_meta(component: Any) -> dict[str, Any]:
    meta: dict[str, Any] = component.get("meta", {}) if isinstance(component, dict) else {}
    return meta


def test_a_chart_without_a_uuid_in_the_yaml_is_named() -> None:
    bundle = renumbered(read_bundle(), 0)
    [dashboard] = bundle.of_kind("dashboards")
    del dashboard.content["position"]["CHART-venues-2-1"]["meta"]["uuid"]
    with pytest.raises(
        BundleError, match="acl-all-stars has a chart without a uuid: CHART-venues-2-1, 'Tickets by venue'"
    ):
        canonical_bundle(bundle)


@pytest.mark.server
def test_an_administrator_without_the_saved_queries_exports_the_rest(
    superset: SupersetUnderTest, bundle_folder: Path
) -> None:
    """Superset lists saved queries to whoever made them alone; their files stay as they are."""
    with another_administrator(superset) as other:
        assert export_bundle(other, bundle_folder) == []
    assert texts(read_bundle(bundle_folder)) == texts(read_bundle())


@pytest.mark.server
def test_edits_come_back_as_their_diff_and_go_in_again(edited_superset: SupersetUnderTest, bundle_folder: Path) -> None:
    """A dashboard is renamed, a chart renamed, one added and one taken off: as Superset's own pages send it."""
    with edited_superset.client() as client:
        [dashboard] = [entry for entry in client.everything("/api/v1/dashboard/") if entry["slug"] == "acl-all-stars"]
        charts = {entry["slice_name"]: entry for entry in client.everything("/api/v1/chart/")}

        client.put(f"/api/v1/chart/{charts['Sold nothing']['id']}", json={"slice_name": "Empty houses"})
        # A query of another name is somebody's own; the repository's stays as it is.
        query = next(client.everything("/api/v1/saved_query/"))
        client.put(f"/api/v1/saved_query/{query['id']}", json={"label": "Mine"})
        added = client.post(
            "/api/v1/chart/",
            json={
                "slice_name": "Bands that ever played",
                "viz_type": "big_number_total",
                "datasource_id": charts["Candidates"]["datasource_id"],
                "datasource_type": "table",
                "params": json.dumps({"viz_type": "big_number_total", "metric": "count"}),
                "dashboards": [dashboard["id"]],
            },
        )["id"]
        position = json.loads(client.get(f"/api/v1/dashboard/{dashboard['id']}")["result"]["position_json"])
        taken_off = {
            name
            for name, part in position.items()
            if isinstance(part, dict) and part.get("meta", {}).get("chartId") == charts["Fill by venue"]["id"]
        }
        for name in taken_off:
            del position[name]
        for part in position.values():
            if isinstance(part, dict):
                part["children"] = [child for child in part.get("children", []) if child not in taken_off]
        metadata = {"positions": position}
        client.put(
            f"/api/v1/dashboard/{dashboard['id']}",
            json={"dashboard_title": "All stars", "json_metadata": json.dumps(metadata)},
        )
        client.put(f"/api/v1/chart/{added}", json={"dashboards": [dashboard["id"]]})

        assert export_bundle(client, bundle_folder) == [
            "charts/bands_that_ever_played.yaml",
            "charts/empty_houses.yaml",
            "charts/fill_by_venue.yaml",
            "charts/sold_nothing.yaml",
            "dashboards/acl_all_stars.yaml",
        ]
        assert export_bundle(client, bundle_folder) == []
        assert title_of(bundle_folder) == "All stars"
        assert placed(bundle_folder) >= {"Bands that ever played"}
        edited = texts(read_bundle(bundle_folder))

        import_bundle(client, edited_superset.settings, bundle_folder)
        assert export_bundle(client, bundle_folder) == []
        client.put(f"/api/v1/saved_query/{query['id']}", json={"label": query["label"]})
    assert texts(read_bundle(bundle_folder)) == edited


@pytest.mark.server
@pytest.mark.exhaustive
def test_what_a_bundle_cannot_hold_is_named_and_no_file_is_changed(
    edited_superset: SupersetUnderTest, bundle_folder: Path
) -> None:
    with edited_superset.client() as client:
        [dashboard] = [entry["id"] for entry in client.everything("/api/v1/dashboard/") if entry["slug"] == SLUG]
        [database] = client.numbers("/api/v1/database/").values()
        table = {"database": database, "schema": "star_schema", "table_name": "dim_bands"}
        dataset = client.post("/api/v1/dataset/", json=table)["id"]
        add_in_explore(client, dashboard, dataset, "All bands", "TAB-bands")
        with pytest.raises(BundleError, match=r"the chart 'All bands' reads 'dim_bands'\. Make them from a dataset"):
            export_bundle(client, bundle_folder)
        client.delete(f"/api/v1/dataset/{dataset}")
        with pytest.raises(BundleError, match="the chart 'All bands' reads a dataset that was deleted"):
            export_bundle(client, bundle_folder)
        theme = client.post("/api/v1/theme/", json={"theme_name": "Night", "json_data": '{"algorithm": "dark"}'})["id"]
        client.put(f"/api/v1/dashboard/{dashboard}", json={"theme_id": theme})
        with pytest.raises(BundleError, match=r"uses themes/Night.*\.yaml, and Superset does not import themes"):
            export_bundle(client, bundle_folder)
    assert texts(read_bundle(bundle_folder)) == texts(read_bundle())


def part(kind: str, *children: str, **meta: Any) -> dict[str, Any]:
    return {"type": kind, "children": list(children), "meta": meta}


def add_in_explore(client: SupersetClient, dashboard: int, dataset: int, name: str, tab: str) -> str:
    """Save a new chart to a tab as Explore's dialog does, and return its uuid."""
    params = {"viz_type": "big_number_total", "metric": "count"}
    number = client.post(
        "/api/v1/chart/",
        json={
            "slice_name": name,
            "viz_type": "big_number_total",
            "datasource_id": dataset,
            "datasource_type": "table",
            "params": json.dumps(params),
            "dashboards": [dashboard],
        },
    )["id"]
    layout = json.loads(client.get(f"/api/v1/dashboard/{dashboard}")["result"]["position_json"])
    row, place, parents = f"ROW-of-{number}", f"CHART-{number}", ["ROOT_ID", "GRID_ID", tab]
    meta = {"chartId": number, "height": 50, "sliceName": name, "width": 4}
    layout[row] = {**part("ROW", place, background="BACKGROUND_TRANSPARENT"), "id": row, "parents": parents}
    layout[place] = {"type": "CHART", "id": place, "children": [], "parents": [*parents, row], "meta": meta}
    layout[tab]["children"].append(row)
    client.put(f"/api/v1/dashboard/{dashboard}", json={"position_json": json.dumps(layout)})
    return str(client.get(f"/api/v1/chart/{number}")["result"]["uuid"])


def title_of(folder: Path) -> str:
    return read_bundle(folder).of_kind("dashboards")[0].name


def placed(folder: Path) -> set[str]:
    """Names of the charts that can be reached from the top of the dashboard."""
    bundle = read_bundle(folder)
    names = {chart.uuid: chart.name for chart in bundle.of_kind("charts")}
    position: dict[str, Any] = bundle.of_kind("dashboards")[0].content["position"]
    reached, waiting = set(), ["ROOT_ID"]
    while waiting:
        part = position[waiting.pop()]
        waiting += part.get("children", [])
        if part["type"] == "CHART":
            reached.add(names[part["meta"]["uuid"]])
    return reached
