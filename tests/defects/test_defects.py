"""Every known way for an export to be bad: conversion refuses it, or a check stops or names it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from defects.catalogue import DEFECTS, Defect
from defects.damage import edit_rows, put
from refreshes import LATER, Refreshed, festival_settings, land_batch, published_batches, refresh, sha256

from acl_assets.settings import Settings

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def good_batch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a good batch `second`."""
    return land_batch(festival_settings(tmp_path_factory.mktemp("good")), "second", exported_at=LATER)


def land_defective(settings: Settings, good: Path, *defects: Defect) -> None:
    """Plant defects in a copy of a good batch, and then land it."""
    folder = shutil.copytree(good, settings.data_dir / "staging" / good.name)
    for defect in defects:
        defect.plant(folder)
    folder.rename(settings.exports_dir / good.name)


@pytest.mark.parametrize("name", [name for name, defect in DEFECTS.items() if defect.outcome == "batch error"])
def test_batch_error_fails_refresh_and_publishes_nothing(published: Settings, good_batch: Path, name: str) -> None:
    before = sha256(published.published_file)
    land_defective(published, good_batch, DEFECTS[name])
    refreshed = refresh(published, with_report=True)
    assert [text for text in DEFECTS[name].caught_by if text not in refreshed.errors] == []
    assert refreshed.failed_steps == {"source_tables"}
    assert {"dbt_models", "published_warehouse", "all_stars_report"} <= refreshed.skipped_steps
    assert sha256(published.published_file) == before


def test_every_check_finds_its_bad_rows_and_nothing_is_published(published: Settings, good_batch: Path) -> None:
    """All bad rows together: those that keep the first tickets only go first, so that the others stay."""
    together = [defect for name, defect in DEFECTS.items() if defect.outcome == "check" and name != "header_only"]
    require_stopped(published, good_batch, *sorted(together, key=lambda defect: not defect.needs_published))


def test_doubtful_rows_are_published_with_warnings(
    published: Settings, first_refresh: Refreshed, good_batch: Path
) -> None:
    """A band's name with line ends in it is published too."""
    doubtful = [defect for defect in DEFECTS.values() if defect.outcome == "warning"]
    lines = edit_rows("bands", put("name", "First Line\nSecond Line\r\nThird", at=0))
    require_warned(published, first_refresh, good_batch, *doubtful, Defect("several_lines", "warning", lines, ()))


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", [name for name, defect in DEFECTS.items() if defect.outcome != "batch error"])
def test_each_defect_alone_is_found(published: Settings, first_refresh: Refreshed, good_batch: Path, name: str) -> None:
    defect = DEFECTS[name]
    if defect.outcome == "check":
        require_stopped(published, good_batch, defect)
    else:
        require_warned(published, first_refresh, good_batch, defect)


def require_stopped(settings: Settings, good_batch: Path, *defects: Defect) -> None:
    before = sha256(settings.published_file)
    land_defective(settings, good_batch, *defects)
    refreshed = refresh(settings, with_report=True)
    assert {check for defect in defects for check in defect.caught_by} - {
        name for _, name in refreshed.failed_checks
    } == set()
    assert {"published_warehouse", "all_stars_report"} <= refreshed.skipped_steps
    assert sha256(settings.published_file) == before


def require_warned(settings: Settings, good: Refreshed, good_batch: Path, *defects: Defect) -> None:
    land_defective(settings, good_batch, *defects)
    refreshed = refresh(settings)
    assert refreshed.success, refreshed.errors
    assert published_batches(settings) == ["second"]
    expected = {check for defect in defects for check in defect.caught_by}
    warned = {key for key in refreshed.warnings if refreshed.check_results[key] != good.check_results[key]}
    assert expected - {name for _, name in warned} == set()
