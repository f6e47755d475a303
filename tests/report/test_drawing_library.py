"""The script that draws the charts of the report is put together once for each version of it."""

from __future__ import annotations

from pathlib import Path

from acl_assets.report.drawing_library import drawing_library


def test_it_is_kept_and_an_outdated_one_removed(tmp_path: Path) -> None:
    """Putting it together takes longer than writing the report."""
    folder = tmp_path / "report"
    folder.mkdir()
    outdated = folder / ".vega-0.1.js"
    outdated.write_text("old", encoding="utf-8")
    drawing_library(folder)
    [kept] = folder.glob(".vega-*.js")
    assert kept != outdated
    assert kept.read_text(encoding="utf-8") == drawing_library()
    kept.write_text("kept", encoding="utf-8")
    assert drawing_library(folder) == "kept"
