"""The bundle without a server: reading it, marking it, and the canonical form in which an export writes it."""

from __future__ import annotations

import copy
import io
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from refreshes import festival_settings
from superset.bundles import texts

from acl_assets.superset.bundle import (
    BUNDLE_DIR,
    KINDS,
    Bundle,
    Document,
    read_bundle,
    without_mark,
)
from acl_assets.superset.client import SupersetError
from acl_assets.superset.export import canonical_bundle
from acl_assets.superset.layout import completed_layout


def test_an_archive_depends_on_the_content_alone(bundle_folder: Path) -> None:
    """Its digest decides whether the bundle is imported; neither time nor the order of files is in it."""
    assert {document.kind for document in read_bundle().documents} == set(KINDS)
    for file in sorted(bundle_folder.rglob("*.yaml"), reverse=True):
        file.touch()
    assert read_bundle(bundle_folder).archive == read_bundle().archive
    with zipfile.ZipFile(io.BytesIO(read_bundle().archive)) as archive:
        assert yaml.safe_load(archive.read("bundle/metadata.yaml"))["type"] == "assets"
    with next((bundle_folder / "charts").glob("*.yaml")).open("a") as chart:
        chart.write("certified_by: me\n")
    assert read_bundle(bundle_folder).digest != read_bundle().digest


@pytest.mark.parametrize(
    ("path", "text", "complaint"),
    [
        ("charts/broken.yaml", "uuid: [", "broken.yaml cannot be imported: ParserError.*must be YAML with a uuid"),
        ("charts/empty.yaml", "uuid: ''\nslice_name: a", "empty.yaml cannot be imported"),
        ("pictures/bands.yaml", "uuid: 1", "bands.yaml cannot be imported.*one of the folders databases, datasets"),
    ],
)
def test_files_that_superset_could_not_import_are_refused(
    bundle_folder: Path, path: str, text: str, complaint: str
) -> None:
    """Superset ignores a file of an unknown kind."""
    (bundle_folder / path).parent.mkdir(exist_ok=True)
    (bundle_folder / path).write_text(text)
    with pytest.raises(SupersetError, match=complaint):
        read_bundle(bundle_folder)


def test_an_installation_reads_its_own_published_file_read_only(tmp_path: Path) -> None:
    """Without the options SQL Lab could open any file."""
    settings, other = festival_settings(tmp_path / "data of the festival"), festival_settings(tmp_path / "other")
    bundle = read_bundle().for_installation(settings)
    (database,) = bundle.of_kind("databases")
    path, _, options = database.content["sqlalchemy_uri"].removeprefix("duckdb:///").partition("?")
    assert Path(path) == settings.published_file
    assert set(options.split("&")) == {
        "access_mode=read_only", "enable_external_access=false", "lock_configuration=true",
    }  # fmt: skip
    assert bundle.digest != read_bundle().for_installation(other).digest


def test_the_mark_can_be_taken_away_again(tmp_path: Path) -> None:
    """An export of the imported bundle equals the files in the repository."""
    marked = read_bundle().for_installation(festival_settings(tmp_path))
    assert any("certified_by" in document.content for document in marked.documents)
    for before, marked_document in zip(read_bundle().documents, marked.documents, strict=True):
        assert without_mark(marked_document).digest == before.digest


# The canonical form -------------------------------------------------------------------------------------------------


def with_other_numbers(bundle: Bundle, offset: int) -> Bundle:
    """The bundle as an installation would export it that has other numbers for the charts."""
    [dashboard] = bundle.of_kind("dashboards")
    content = copy.deepcopy(dashboard.content)
    numbers = []
    for part in content["position"].values():
        if isinstance(part, dict) and part["type"] == "CHART":
            part["meta"]["chartId"] += offset
            numbers.append(part["meta"]["chartId"])
    for chosen in content["metadata"]["native_filter_configuration"]:
        chosen["scope"]["excluded"] = [number + offset for number in chosen["scope"]["excluded"]][::-1]
        chosen["chartsInScope"] = [offset]
    content["metadata"]["chart_configuration"] = {
        str(number): {"id": offset, "crossFilters": {"scope": "global", "chartsInScope": [offset]}}
        for number in numbers
    }
    rest = [document for document in bundle.documents if document.kind != "dashboards"]
    return Bundle((*rest, Document(dashboard.path, content)))


def test_the_repository_keeps_the_canonical_form_without_numbers_of_an_installation() -> None:
    """Otherwise the first export would change files in which nothing was changed."""
    kept = {file.relative_to(BUNDLE_DIR).as_posix(): file.read_text() for file in BUNDLE_DIR.rglob("*.yaml")}
    assert texts(canonical_bundle(read_bundle())) == kept
    assert texts(canonical_bundle(with_other_numbers(read_bundle(), 1000))) == kept


def test_two_charts_of_one_name_are_refused() -> None:
    bundle = read_bundle()
    chart = bundle.of_kind("charts")[0]
    twin = chart.with_content(uuid="00000000-0000-4000-8000-000000000000")
    with pytest.raises(SupersetError, match=f"Two of charts are named '{chart.name}'"):
        canonical_bundle(Bundle((*bundle.documents, twin)))


# Layouts as Superset's pages leave them -----------------------------------------------------------------------------

BANDS, VENUES = "aaaaaaaa-0000-4000-8000-000000000000", "bbbbbbbb-0000-4000-8000-000000000000"
CHARTS = {5: {"uuid": BANDS, "slice_name": "Bands"}, 6: {"uuid": VENUES, "slice_name": "Venues"}}


def part(kind: str, *children: str, **meta: Any) -> dict[str, Any]:
    return {"type": kind, "children": list(children), "meta": meta}


def chart(number: int, **meta: Any) -> dict[str, Any]:
    return part("CHART", chartId=number, sliceName="as it was called", **meta)


def completed(**parts: dict[str, Any]) -> dict[str, Any]:
    """The completed layout of a dashboard with two tabs, which stays as it is when it is completed again."""
    tabs = {"ROOT_ID": part("ROOT", "TABS"), "TABS": part("TABS", "first", "second"), "second": part("TAB")}
    tabs |= {"DASHBOARD_VERSION_KEY": "v2", "GRID_ID": part("GRID"), "HEADER_ID": part("HEADER")}
    layout = completed_layout(tabs | parts, CHARTS)
    assert completed_layout(layout, CHARTS) == layout
    return layout


def test_charts_get_their_uuids_and_parents_and_explores_names_lose_the_number() -> None:
    """Explore names the grid as the parent of a tab."""
    row = {**part("ROW", "CHART-5", "CHART-mine"), "parents": ["ROOT_ID", "GRID_ID", "first"]}
    charts = {"CHART-5": chart(5), "CHART-mine": chart(6, uuid=None)}
    layout = completed(first=part("TAB", "row"), row=row, **charts)
    assert layout["row"]["children"] == [f"CHART-{BANDS}", "CHART-mine"]
    assert layout[f"CHART-{BANDS}"]["meta"]["uuid"] == BANDS
    assert layout["CHART-mine"]["meta"]["uuid"] == VENUES
    assert layout[f"CHART-{BANDS}"]["parents"] == ["ROOT_ID", "TABS", "first", "row"]


def test_charts_that_are_gone_leave_with_the_rows_and_columns_that_held_only_them() -> None:
    rows = {"row": part("ROW", "column"), "column": part("COLUMN", "gone"), "gone": chart(404)}
    shared = {"shared": part("ROW", "gone", "text", "a", "b"), "text": part("MARKDOWN"), "a": chart(5), "b": chart(6)}
    layout = completed(first=part("TAB", "row", "shared", "by_hand"), by_hand=part("ROW"), **rows, **shared)
    assert layout["first"]["children"] == ["shared", "by_hand"]
    assert layout["shared"]["children"] == ["text", "a", "b"]
    assert not {"row", "column", "gone"} & layout.keys()


def test_charts_without_a_place_end_the_first_tab_in_rows_of_their_own() -> None:
    """The name of the new row may be taken: that chart may have been moved out of its row."""
    layout = completed(
        first=part("TAB", f"ROW-{VENUES}"), a=chart(5), lost=chart(6), **{f"ROW-{VENUES}": part("ROW", "a")}
    )
    assert layout["first"]["children"] == [f"ROW-{VENUES}", f"ROW-{VENUES}-"]
    assert layout[f"ROW-{VENUES}-"]["children"] == [f"CHART-{VENUES}"]
    assert "lost" not in layout
