"""The bundle without a server: reading it, marking it, and the canonical form in which an export writes it."""

import io
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from refreshes import festival_settings
from superset.bundles import texts

from acl_assets.superset.bundle import BUNDLE_DIR, KINDS, Bundle, read_bundle
from acl_assets.superset.client import SupersetError
from acl_assets.superset.export import canonical_bundle
from acl_assets.superset.layout import completed_layout


def test_an_archive_depends_on_the_content_alone(bundle_folder: Path) -> None:
    """Nor does the digest, which decides whether the bundle is imported, depend on times and the order of files."""
    assert {document.kind for document in read_bundle().documents} == set(KINDS)
    for file in sorted(bundle_folder.rglob("*.yaml"), reverse=True):
        file.touch()
    read, kept = read_bundle(bundle_folder), read_bundle()
    assert (read.archive, read.digest) == (kept.archive, kept.digest)
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


def test_the_repository_keeps_the_canonical_form() -> None:
    """Otherwise the first export would change files in which nothing was changed."""
    kept = {file.relative_to(BUNDLE_DIR).as_posix(): file.read_text() for file in BUNDLE_DIR.rglob("*.yaml")}
    assert texts(canonical_bundle(read_bundle())) == kept


def test_charts_whose_names_have_no_latin_letter_get_files_of_their_own() -> None:
    """Superset ignores hidden files, such as one with no name before its ending."""
    charts = read_bundle().of_kind("charts")[:2]
    [database] = read_bundle().of_kind("databases")
    renamed = [chart.with_content(slice_name=name) for chart, name in zip(charts, ("収入", "!!!"), strict=True)]
    paths = {document.path for document in canonical_bundle(Bundle((database, *renamed))).of_kind("charts")}
    assert paths == {f"charts/{chart.uuid}.yaml" for chart in charts}


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


def chart(number: int) -> dict[str, Any]:
    return part("CHART", chartId=number, sliceName="as it was called")


def test_layouts_are_completed_for_the_import() -> None:
    """Explore names charts by number and the grid as the parent of a tab; a chart may have lost its place."""
    tabs = {"ROOT_ID": part("ROOT", "TABS"), "TABS": part("TABS", "first", "second"), "second": part("TAB")}
    others = {"DASHBOARD_VERSION_KEY": "v2", "GRID_ID": part("GRID"), "HEADER_ID": part("HEADER")}
    first = part("TAB", "row", "emptied", "by_hand", f"ROW-{VENUES}")
    row = {**part("ROW", "CHART-5", "gone", "text"), "parents": ["ROOT_ID", "GRID_ID", "first"]}
    emptied = {"emptied": part("ROW", "column"), "column": part("COLUMN", "gone"), "gone": chart(404)}
    rows = {"row": row, "by_hand": part("ROW"), f"ROW-{VENUES}": part("ROW", "text")}
    layout = completed_layout(
        {
            **(tabs | others | emptied | rows),
            "first": first,
            "CHART-5": chart(5),
            "text": part("MARKDOWN"),
            "lost": chart(6),
        },
        CHARTS,
    )
    assert layout["first"]["children"] == ["row", "by_hand", f"ROW-{VENUES}", f"ROW-{VENUES}-"]
    assert layout["row"]["children"] == [f"CHART-{BANDS}", "text"]
    assert layout[f"CHART-{BANDS}"]["meta"]["uuid"] == BANDS
    assert layout[f"CHART-{BANDS}"]["parents"] == ["ROOT_ID", "TABS", "first", "row"]
    assert layout[f"ROW-{VENUES}-"]["children"] == [f"CHART-{VENUES}"]
    assert not {"emptied", "column", "gone", "lost"} & layout.keys()
    assert completed_layout(layout, CHARTS) == layout
