"""The way back from Superset to the YAML: nothing changed is no diff, and a change is all the diff there is."""

from __future__ import annotations

import copy
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from visualization.superset.conftest import SupersetUnderTest
from visualization.superset.test_bundle import another_administrator

from acl_assets.visualization.superset.bundle import (
    BUNDLE_DIR,
    Bundle,
    BundleError,
    Document,
    import_bundle,
    read_bundle,
)
from acl_assets.visualization.superset.export import as_yaml, canonical_bundle, export_bundle


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the repository's bundle, to be written over."""
    return Path(shutil.copytree(BUNDLE_DIR, tmp_path / "bundle"))


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


@pytest.mark.server
def test_nothing_changed_is_no_diff(superset: SupersetUnderTest, folder: Path) -> None:
    with superset.client() as client:
        assert export_bundle(client, folder) == []
    assert texts(read_bundle(folder)) == texts(read_bundle())


@pytest.mark.server
def test_who_did_not_import_the_saved_queries_exports_all_the_rest(superset: SupersetUnderTest, folder: Path) -> None:
    """Superset lists saved queries to whoever made them alone; their files stay as they are."""
    with another_administrator(superset) as other:
        assert export_bundle(other, folder) == []
    assert texts(read_bundle(folder)) == texts(read_bundle())


@pytest.mark.server
def test_what_superset_does_not_hold_is_named(superset: SupersetUnderTest, folder: Path) -> None:
    dashboard = folder / read_bundle(folder).of_kind("dashboards")[0].path
    unknown = "00000000-0000-4000-8000-000000000000"
    text = dashboard.read_text()
    dashboard.write_text(text.replace(read_bundle(folder).of_kind("dashboards")[0].uuid, unknown))
    with superset.client() as client, pytest.raises(BundleError, match=f"does not hold {unknown} of dashboards"):
        export_bundle(client, folder)
    assert dashboard.read_text() == text.replace(read_bundle().of_kind("dashboards")[0].uuid, unknown)


@pytest.mark.server
def test_edits_come_back_as_their_diff_and_go_in_again(own_superset: SupersetUnderTest, folder: Path) -> None:
    """A dashboard is renamed, a chart renamed, one added and one taken off: as Superset's own pages send it."""
    with own_superset.client() as client:
        import_bundle(client, own_superset.settings)
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

        assert export_bundle(client, folder) == [
            "charts/bands_that_ever_played.yaml",
            "charts/empty_houses.yaml",
            "charts/fill_by_venue.yaml",
            "charts/sold_nothing.yaml",
            "dashboards/acl_all_stars.yaml",
        ]
        assert export_bundle(client, folder) == []
        assert title_of(folder) == "All stars"
        assert placed(folder) >= {"Bands that ever played"}
        edited = texts(read_bundle(folder))

        import_bundle(client, own_superset.settings, folder)
        assert export_bundle(client, folder) == []
    assert texts(read_bundle(folder)) == edited


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
