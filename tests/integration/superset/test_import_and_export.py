"""Importing the bundle into Superset, finding what has left it, and exporting what people changed."""

import json
import zipfile
from pathlib import Path

import pytest
import yaml
from superset.bundles import texts
from superset.conftest import SupersetUnderTest, new_chart

from acl_assets.superset import __main__ as command_line
from acl_assets.superset.bundle import Bundle, find_orphans, import_bundle, is_imported, read_bundle
from acl_assets.superset.client import SupersetClient, SupersetError
from acl_assets.superset.export import export_bundle, find_edited

pytestmark = pytest.mark.server

SLUG = "acl-all-stars"
NAMES = {"dashboard": "dashboard_title", "chart": "slice_name", "dataset": "table_name", "saved_query": "label"}


def contents(client: SupersetClient) -> dict[str, dict[str, int]]:
    """Ids by name, of everything in Superset."""
    return {
        kind: {entry[name]: entry["id"] for entry in client.everything(f"/api/v1/{kind}/")}
        for kind, name in NAMES.items()
    }


def test_importing_twice_changes_nothing_and_what_left_the_bundle_is_found(
    edited_superset: SupersetUnderTest,
    bundle_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    settings = edited_superset.settings
    with edited_superset.client() as client:
        bundle = read_bundle(bundle_folder).for_installation(settings)
        assert is_imported(client, bundle)
        client.post("/api/v1/chart/", json=new_chart("My chart", next(iter(contents(client)["dataset"].values()))))
        client.post("/api/v1/dashboard/", json={"dashboard_title": "My dashboard"})
        before = contents(client)
        import_bundle(client, settings, bundle_folder)
        assert contents(client) == before
        assert find_orphans(client, bundle) == []
        assert {orphan.name for orphan in find_orphans(client, Bundle(()))} == {
            document.name for kind in ("dashboards", "charts", "datasets") for document in bundle.of_kind(kind)
        }

        removed = sorted((bundle_folder / "charts").glob("*.yaml"))[0]
        gone = yaml.safe_load(removed.read_text())["slice_name"]
        removed.unlink()
        smaller = read_bundle(bundle_folder)
        monkeypatch.setattr(command_line, "read_bundle", lambda: smaller)
        for name, value in {"DATA_DIR": settings.data_dir, "SUPERSET_URL": edited_superset.url}.items():
            monkeypatch.setenv(f"ACL_{name}", str(value))
        assert command_line.main(["orphans"]) == 0
        assert f"chart {gone!r} (id {before['chart'][gone]})" in capsys.readouterr().out
        assert contents(client) == before
        assert command_line.main(["orphans", "--remove"]) == 0
        [copy] = (settings.data_dir / "superset" / "removed").glob("*/chart.zip")
        assert str(copy.parent) in capsys.readouterr().out
        with zipfile.ZipFile(copy) as files:
            assert any(gone.encode() in files.read(name) for name in files.namelist() if "/charts/" in name)
        left = contents(client)
        assert gone not in left["chart"]
        assert "My chart" in left["chart"]
        assert "My dashboard" in left["dashboard"]
        # A bundle of which Superset lacks something is not imported.
        assert not is_imported(client, bundle)
        assert command_line.main(["import"]) == 0
        assert is_imported(client, bundle)


def test_an_import_drops_edits_of_what_the_bundle_leaves_empty(edited_superset: SupersetUnderTest) -> None:
    """So it does when another version of the bundle had set them."""
    with edited_superset.client() as client:
        held = contents(client)
        client.put(f"/api/v1/chart/{held['chart']['Revenue']}", json={"description": "Mine", "cache_timeout": 60})
        path = f"/api/v1/dataset/{held['dataset']['summary']}"
        columns = [
            {key: column[key] for key in ("id", "column_name", "type", "verbose_name", "description", "is_dttm")}
            for column in client.get(path)["result"]["columns"]
        ]
        columns[0]["python_date_format"] = "%Y"
        client.put(path, json={"columns": columns, "default_endpoint": "/mine", "cache_timeout": 60})
        assert find_edited(client, read_bundle()) == ["chart 'Revenue'", "dataset 'summary'"]
        import_bundle(client, edited_superset.settings)
        assert find_edited(client, read_bundle()) == []


def test_an_administrator_without_the_saved_queries_exports_the_rest(
    superset: SupersetUnderTest, bundle_folder: Path
) -> None:
    """Superset lists saved queries only to their owner; their files stay as they are."""
    with superset.add_user("another-administrator", "Admin") as other:
        assert contents(other)["saved_query"] == {}
        assert is_imported(other, read_bundle().for_installation(superset.settings))
        assert export_bundle(other, bundle_folder) == []


def add_in_explore(client: SupersetClient, dashboard: int, dataset: int, name: str, tab: str) -> None:
    """Save a new chart to a tab as Explore's dialog does."""
    number = client.post("/api/v1/chart/", json=new_chart(name, dataset, dashboards=[dashboard]))["id"]
    layout = json.loads(client.get(f"/api/v1/dashboard/{dashboard}")["result"]["position_json"])
    row, place, parents = f"ROW-of-{number}", f"CHART-{number}", ["ROOT_ID", "GRID_ID", tab]
    meta = {"chartId": number, "height": 50, "sliceName": name, "width": 4}
    layout[row] = {"type": "ROW", "id": row, "children": [place], "parents": parents, "meta": {}}
    layout[place] = {"type": "CHART", "id": place, "children": [], "parents": [*parents, row], "meta": meta}
    layout[tab]["children"].append(row)
    client.put(f"/api/v1/dashboard/{dashboard}", json={"position_json": json.dumps(layout)})


def test_edits_come_back_as_their_diff_and_go_in_again(edited_superset: SupersetUnderTest, bundle_folder: Path) -> None:
    """A dashboard is renamed, a chart renamed, one added and one taken off: as Superset's own pages send it."""
    with edited_superset.client() as client:
        dashboard = client.get(f"/api/v1/dashboard/{SLUG}")["result"]["id"]
        charts = {entry["slice_name"]: entry for entry in client.everything("/api/v1/chart/")}
        client.put(f"/api/v1/chart/{charts['Sold nothing']['id']}", json={"slice_name": "Empty houses"})
        # A query of another name is somebody's own; the repository's stays as it is.
        query = client.everything("/api/v1/saved_query/")[0]
        client.put(f"/api/v1/saved_query/{query['id']}", json={"label": "Mine"})
        add_in_explore(client, dashboard, charts["Candidates"]["datasource_id"], "Bands that ever played", "TAB-bands")
        layout = json.loads(client.get(f"/api/v1/dashboard/{dashboard}")["result"]["position_json"])
        taken_off = {
            name
            for name, part in layout.items()
            if isinstance(part, dict) and part.get("meta", {}).get("chartId") == charts["Fill by venue"]["id"]
        }
        for name in taken_off:
            del layout[name]
        for part in layout.values():
            if isinstance(part, dict):
                part["children"] = [child for child in part.get("children", []) if child not in taken_off]
        client.put(
            f"/api/v1/dashboard/{dashboard}",
            json={"dashboard_title": "All stars", "json_metadata": json.dumps({"positions": layout})},
        )

        assert export_bundle(client, bundle_folder) == [
            "charts/bands_that_ever_played.yaml",
            "charts/empty_houses.yaml",
            "charts/fill_by_venue.yaml",
            "charts/sold_nothing.yaml",
            "dashboards/acl_all_stars.yaml",
        ]
        edited = read_bundle(bundle_folder)
        [exported] = edited.of_kind("dashboards")
        [added] = [chart for chart in edited.of_kind("charts") if chart.name == "Bands that ever played"]
        assert exported.name == "All stars"
        assert f"CHART-{added.uuid}" in exported.content["position"]
        assert len(find_edited(client, read_bundle())) == 2
        assert find_edited(client, edited) == []
        import_bundle(client, edited_superset.settings, bundle_folder)
        assert export_bundle(client, bundle_folder) == []
    assert texts(read_bundle(bundle_folder)) == texts(edited)


def test_what_a_bundle_cannot_hold_is_named_and_no_file_is_changed(
    edited_superset: SupersetUnderTest, bundle_folder: Path
) -> None:
    with edited_superset.client() as client:
        dashboard = client.get(f"/api/v1/dashboard/{SLUG}")["result"]["id"]
        [database] = client.numbers("/api/v1/database/").values()
        table = {"database": database, "schema": "star_schema", "table_name": "dim_bands"}
        dataset = client.post("/api/v1/dataset/", json=table)["id"]
        add_in_explore(client, dashboard, dataset, "All bands", "TAB-bands")
        with pytest.raises(SupersetError, match=r"charts/All bands of Superset, datasets/dim_bands of Superset\. Use"):
            export_bundle(client, bundle_folder)
        client.delete(f"/api/v1/dataset/{dataset}")
        with pytest.raises(SupersetError, match=r": charts/All bands of Superset\. Use"):
            export_bundle(client, bundle_folder)
        theme = client.post("/api/v1/theme/", json={"theme_name": "Night", "json_data": '{"algorithm": "dark"}'})["id"]
        client.put(f"/api/v1/dashboard/{dashboard}", json={"theme_id": theme})
        with pytest.raises(SupersetError, match=r"uses themes/Night.*\.yaml, and Superset does not import themes"):
            export_bundle(client, bundle_folder)
    assert texts(read_bundle(bundle_folder)) == texts(read_bundle())
