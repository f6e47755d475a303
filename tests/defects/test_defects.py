"""Every known way for an export to be bad, from the landing zone to the published file.

A festival is published. Then a later batch lands with one defect planted, and a refresh runs. Whatever is wrong with
the batch must be found by what is meant to find it, and the published file must stay byte for byte as it was.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from dagster import DagsterInstance, materialize
from defects.catalogue import DEFECTS, BatchForm, Defect, Outcome
from refreshes import LATER, festival_settings, land_batch, land_plain_batch, published_batches, refresh, sha256

from acl_assets.landing_zone.batches import list_batches
from acl_assets.landing_zone.store import landing_zone_at
from acl_assets.settings import Settings
from acl_assets.source_schema import SOURCE_TABLES
from acl_assets.source_tables.assets import source_tables
from acl_assets.util.refresh_lock import RefreshLock
from acl_assets.warehouse.checks import source_row_counts

pytestmark = pytest.mark.slow

GoodBatch = Callable[[BatchForm], Path]
GoodTables = Callable[[BatchForm], Mapping[str, pa.Table]]


@pytest.fixture(scope="session")
def good_batch(tmp_path_factory: pytest.TempPathFactory) -> GoodBatch:
    """Gives the folder of a good batch `second` in a form, written once."""
    folders: dict[BatchForm, Path] = {}

    def write(form: BatchForm) -> Path:
        if form not in folders:
            settings = festival_settings(tmp_path_factory.mktemp("good"))
            if form == "plain":
                folders[form] = land_plain_batch(settings, "second", exported_at=LATER)
            else:
                folders[form] = land_batch(settings, "second", exported_at=LATER, form=form)
        return folders[form]

    return write


@pytest.fixture(scope="session")
def good_tables(good_batch: GoodBatch, tmp_path_factory: pytest.TempPathFactory) -> GoodTables:
    """Gives the source tables of the good batch in a form, converted once."""
    tables: dict[BatchForm, Mapping[str, pa.Table]] = {}

    def convert(form: BatchForm) -> Mapping[str, pa.Table]:
        if form not in tables:
            settings = festival_settings(tmp_path_factory.mktemp("good_tables"))
            shutil.copytree(good_batch(form), settings.exports_dir / "second")
            tables[form] = converted(settings)
        return tables[form]

    return convert


def land_defective(settings: Settings, good: Path, defect: Defect) -> None:
    """Plant a defect in a copy of a good batch, and only then let it land, with all that lies beside it."""
    staging = settings.data_dir / "staging"
    folder = shutil.copytree(good, staging / good.name)
    defect.plant(folder)
    settings.exports_dir.mkdir(parents=True, exist_ok=True)
    for path in staging.iterdir():
        path.rename(settings.exports_dir / path.name)


def defects_that(outcome: Outcome) -> pytest.MarkDecorator:
    """One case for every defect of which that must come."""
    return pytest.mark.parametrize(
        "defect", [pytest.param(defect, id=name) for name, defect in DEFECTS.items() if defect.outcome == outcome]
    )


def names(checks: frozenset[tuple[str, str]]) -> set[str]:
    return {name for _, name in checks}


@defects_that("batch error")
def test_a_batch_that_cannot_be_read_is_refused(published: Settings, good_batch: GoodBatch, defect: Defect) -> None:
    """The error names what was found and where, no model is built, and readers notice nothing."""
    before = sha256(published.published_file)
    land_defective(published, good_batch(defect.forms[0]), defect)
    refreshed = refresh(published)
    assert not refreshed.success
    assert [text for text in defect.caught_by if text not in refreshed.errors] == []
    assert refreshed.failed_steps == {"source_tables"}
    assert {"dbt_models", "published_warehouse", "all_stars_report"} <= refreshed.skipped_steps
    assert sha256(published.published_file) == before


@defects_that("check")
def test_bad_rows_are_caught_by_their_check(published: Settings, good_batch: GoodBatch, defect: Defect) -> None:
    """The check meant for it fails, and because it blocks, nothing is published."""
    before = sha256(published.published_file)
    land_defective(published, good_batch(defect.forms[0]), defect)
    refreshed = refresh(published)
    assert not refreshed.success
    assert set(defect.caught_by) <= names(refreshed.failed_checks)
    assert {"published_warehouse", "all_stars_report"} <= refreshed.skipped_steps
    assert sha256(published.published_file) == before


@defects_that("warning")
def test_doubtful_rows_are_published_with_a_warning(published: Settings, good_batch: GoodBatch, defect: Defect) -> None:
    """Odd but possible: people are told, and get their figures."""
    land_defective(published, good_batch(defect.forms[0]), defect)
    refreshed = refresh(published)
    assert refreshed.success, refreshed.errors
    assert set(defect.caught_by) <= names(refreshed.warnings)
    assert published_batches(published) == ["second"]


@defects_that("loads")
def test_unusual_but_right_exports_load_as_what_they_say(
    settings: Settings, good_batch: GoodBatch, good_tables: GoodTables, defect: Defect
) -> None:
    """The tables hold what the good batch holds, but for the values the defect put there on purpose."""
    form = defect.forms[0]
    expected = dict(good_tables(form))
    land_defective(settings, good_batch(form), defect)
    loaded = converted(settings)
    for (table, row, column), value in defect.loads_as.items():
        rows = expected[table].column(column).to_pylist()
        rows[row] = value
        position = expected[table].schema.get_field_index(column)
        typed = pa.array(rows, expected[table].schema.field(column).type)
        expected[table] = expected[table].set_column(position, expected[table].schema.field(column), typed)
    for table in SOURCE_TABLES:
        assert loaded[table].equals(expected[table]), table


def converted(settings: Settings) -> dict[str, pa.Table]:
    """The source tables after converting the landing zone's newest batch, all of whose checks must pass."""
    with DagsterInstance.ephemeral() as instance:
        result = materialize(
            [source_tables, source_row_counts],
            instance=instance,
            resources={"settings": settings, "refresh_lock": RefreshLock(lock_file=str(settings.refresh_lock_file))},
        )
    assert all(check.passed for check in result.get_asset_check_evaluations())
    return {
        table: pq.read_table(settings.source_tables_dir / "current" / f"{table}.parquet") for table in SOURCE_TABLES
    }


def test_what_loads_is_published(published: Settings, good_batch: GoodBatch) -> None:
    """Once its rows are in the source tables, nothing about a batch's form is left that could matter."""
    defect = DEFECTS["embedded_newline"]
    land_defective(published, good_batch(defect.forms[0]), defect)
    refreshed = refresh(published)
    assert refreshed.success, refreshed.errors
    assert published_batches(published) == ["second"]


@defects_that("not a batch yet")
def test_an_export_still_being_written_is_left_alone(
    published: Settings, good_batch: GoodBatch, defect: Defect
) -> None:
    """The refresh goes on with the newest whole batch, and the listing says why the other is none."""
    settings = replace(published, settle_seconds=60.0)
    land_defective(settings, good_batch(defect.forms[0]), defect)
    listing = list_batches(landing_zone_at(settings.exports_dir), settings.settle_seconds)
    assert [text for text in defect.caught_by if text not in listing.skipped["second"]] == []
    assert [header.found.batch_id for header in listing.headers] == ["first"]


def test_every_outcome_is_in_the_catalogue() -> None:
    """An empty list of cases would pass unseen."""
    assert {defect.outcome for defect in DEFECTS.values()} == {
        "batch error",
        "check",
        "warning",
        "loads",
        "not a batch yet",
    }
