"""Every known way for an export to be bad: conversion refuses it, a check stops or names it, or it loads."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from defects.catalogue import DEFECTS, BatchForm, Defect, Outcome
from defects.damage import put
from refreshes import (
    LATER,
    Refreshed,
    festival_settings,
    land_batch,
    land_plain_batch,
    published_batches,
    refresh,
    sha256,
)

from acl_assets.landing_zone.batches import list_batches, resolve_chain
from acl_assets.landing_zone.manifest import BatchError
from acl_assets.landing_zone.store import landing_zone_at
from acl_assets.settings import Settings
from acl_assets.source_schema import SOURCE_TABLES
from acl_assets.source_tables.conversion import make_table
from acl_assets.source_tables.rejects import RejectLog

pytestmark = pytest.mark.slow

GoodBatch = Callable[[BatchForm], Path]


@pytest.fixture(scope="module")
def good_batch(tmp_path_factory: pytest.TempPathFactory) -> GoodBatch:
    """Give the folder of a good batch `second` in a form, written once."""

    @cache
    def write(form: BatchForm) -> Path:
        settings = festival_settings(tmp_path_factory.mktemp("good"))
        if form == "plain":
            return land_plain_batch(settings, "second", exported_at=LATER)
        return land_batch(settings, "second", exported_at=LATER, form=form)

    return write


@pytest.fixture(scope="module")
def good_tables(good_batch: GoodBatch, tmp_path_factory: pytest.TempPathFactory) -> dict[str, pa.Table]:
    """The source tables of the good batch, which are the same in every form."""
    return convert(good_batch("parquet").parent, tmp_path_factory.mktemp("good_tables"))


def land_defective(settings: Settings, good: Path, *defects: Defect) -> None:
    """Plant defects in a copy of a good batch, and then land it with the files that lie next to it."""
    staging = settings.data_dir / "staging"
    folder = shutil.copytree(good, staging / good.name)
    for defect in defects:
        defect.plant(folder)
    settings.exports_dir.mkdir(parents=True, exist_ok=True)
    for path in staging.iterdir():
        path.rename(settings.exports_dir / path.name)


def convert(exports_dir: Path, folder: Path) -> dict[str, pa.Table]:
    """Convert the landing zone's batch chain in this process and return its tables."""
    zone = landing_zone_at(exports_dir)
    batches = resolve_chain(list_batches(zone, settle_seconds=0)).batches
    for name, table in SOURCE_TABLES.items():
        rejects = RejectLog(table, folder / f"{name}.jsonl")
        make_table(rejects, zone, batches, folder / f"{name}.parquet", log=print)
    return {name: pq.read_table(folder / f"{name}.parquet") for name in SOURCE_TABLES}


def defects_that(*outcomes: Outcome) -> pytest.MarkDecorator:
    """Parametrize with every defect of these outcomes."""
    found = [pytest.param(defect, id=name) for name, defect in DEFECTS.items() if defect.outcome in outcomes]
    assert found
    return pytest.mark.parametrize("defect", found)


def names(checks: frozenset[tuple[str, str]]) -> set[str]:
    return {name for _, name in checks}


@defects_that("batch error")
def test_conversion_refuses_batch_and_names_what_is_wrong(
    settings: Settings, good_batch: GoodBatch, defect: Defect, tmp_path: Path
) -> None:
    land_defective(settings, good_batch(defect.form), defect)
    with pytest.raises(BatchError) as raised:
        convert(settings.exports_dir, tmp_path)
    assert [text for text in defect.caught_by if text not in str(raised.value)] == []


@defects_that("loads")
def test_unusual_but_right_batch_loads_as_what_it_says(
    settings: Settings, good_batch: GoodBatch, good_tables: dict[str, pa.Table], defect: Defect, tmp_path: Path
) -> None:
    """The tables hold what the good batch holds, but for the values the defect put there on purpose."""
    expected = dict(good_tables)
    land_defective(settings, good_batch(defect.form), defect)
    for (table, row, column), value in defect.loads_as.items():
        expected[table] = put(column, value, at=row % expected[table].num_rows)(expected[table])
    loaded = convert(settings.exports_dir, tmp_path)
    for table in SOURCE_TABLES:
        assert loaded[table].equals(expected[table]), table


@defects_that("not a batch yet")
def test_export_still_being_written_is_left_alone(settings: Settings, good_batch: GoodBatch, defect: Defect) -> None:
    settings = settings.with_changes(settle_seconds=60.0)
    land_batch(settings)
    land_defective(settings, good_batch(defect.form), defect)
    listing = list_batches(landing_zone_at(settings.exports_dir), settings.settle_seconds)
    assert [text for text in defect.caught_by if text not in listing.skipped["second"]] == []
    assert [header.found.batch_id for header in listing.headers] == ["first"]


# Refreshes ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["decimal_price", "unknown_kind", "wrong_checksum"])
def test_batch_error_fails_refresh_and_publishes_nothing(published: Settings, good_batch: GoodBatch, name: str) -> None:
    before = sha256(published.published_file)
    defect = DEFECTS[name]
    land_defective(published, good_batch(defect.form), defect)
    refreshed = refresh(published)
    assert [text for text in defect.caught_by if text not in refreshed.errors] == []
    assert refreshed.failed_steps == {"source_tables"}
    assert {"dbt_models", "published_warehouse", "all_stars_report"} <= refreshed.skipped_steps
    assert sha256(published.published_file) == before


def test_every_check_finds_its_bad_rows_and_nothing_is_published(published: Settings, good_batch: GoodBatch) -> None:
    """All bad rows together: those that keep the first tickets only go first, so that the others stay."""
    together = [defect for name, defect in DEFECTS.items() if defect.outcome == "check" and name != "header_only"]
    require_stopped(published, good_batch, *sorted(together, key=lambda defect: not defect.needs_published))


def test_doubtful_rows_are_published_with_warnings(
    published: Settings, first_refresh: Refreshed, good_batch: GoodBatch
) -> None:
    """A band's name with line ends in it is published too."""
    doubtful = [defect for defect in DEFECTS.values() if defect.outcome == "warning"]
    require_warned(published, first_refresh, good_batch, *doubtful, DEFECTS["embedded_newline"])


@pytest.mark.exhaustive
@defects_that("check", "warning")
def test_each_defect_alone_is_found(
    published: Settings, first_refresh: Refreshed, good_batch: GoodBatch, defect: Defect
) -> None:
    if defect.outcome == "check":
        require_stopped(published, good_batch, defect)
    else:
        require_warned(published, first_refresh, good_batch, defect)


def require_stopped(settings: Settings, good_batch: GoodBatch, *defects: Defect) -> None:
    before = sha256(settings.published_file)
    land_defective(settings, good_batch("parquet"), *defects)
    refreshed = refresh(settings)
    assert {check for defect in defects for check in defect.caught_by} - names(refreshed.failed_checks) == set()
    assert {"published_warehouse", "all_stars_report"} <= refreshed.skipped_steps
    assert sha256(settings.published_file) == before


def require_warned(settings: Settings, good: Refreshed, good_batch: GoodBatch, *defects: Defect) -> None:
    land_defective(settings, good_batch("parquet"), *defects)
    refreshed = refresh(settings)
    assert refreshed.success, refreshed.errors
    assert published_batches(settings) == ["second"]
    expected = {check for defect in defects for check in defect.caught_by}
    warned = {key for key in refreshed.warnings if refreshed.check_results[key] != good.check_results[key]}
    assert expected - {name for _, name in warned} == set()
