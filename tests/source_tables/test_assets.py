"""A run converts the batch chain, describes it in metadata and checks, and leaves the current tables if it fails."""

from __future__ import annotations

import csv
import os
import shutil
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from dagster import (
    AssetCheckEvaluation,
    DagsterInstance,
    ExecuteInProcessResult,
    TableMetadataValue,
    TextMetadataValue,
    materialize,
)
from refreshes import (
    LATER,
    WEEKS_LATER,
    festival_settings,
    land_batch,
    land_increment,
    land_plain_batch,
    sha256,
)

from acl_assets.asset_keys import source_table_key
from acl_assets.settings import Settings
from acl_assets.source_schema import SOURCE_TABLES
from acl_assets.source_tables.assets import EXPORT_FILES_CHECK, source_tables
from acl_assets.util.refresh_lock import RefreshLock

pytestmark = pytest.mark.slow


@pytest.fixture
def plain(tmp_path: Path) -> Settings:
    """An installation in which six CSV files without a manifest have landed."""
    settings = festival_settings(tmp_path / "data")
    land_plain_batch(settings)
    return settings


def convert(settings: Settings, instance: DagsterInstance, *tables: str) -> ExecuteInProcessResult:
    """Materialize the named source tables, or all of them, and nothing else."""
    return materialize(
        [source_tables],
        instance=instance,
        resources={"settings": settings, "refresh_lock": RefreshLock(lock_file=str(settings.refresh_lock_file))},
        selection=[source_table_key(table) for table in tables] or None,
        raise_on_error=False,
    )


def metadata(result: ExecuteInProcessResult, table: str) -> dict[str, object]:
    """Metadata values of a table's materialization."""
    (event,) = [
        event for event in result.get_asset_materialization_events() if event.asset_key == source_table_key(table)
    ]
    return {name: value.value for name, value in event.step_materialization_data.materialization.metadata.items()}


def materialized(result: ExecuteInProcessResult) -> set[str]:
    """Names of the source tables materialized in a run."""
    return {
        event.asset_key.path[-1]
        for event in result.all_events
        if event.is_step_materialization and event.asset_key is not None
    }


def check(result: ExecuteInProcessResult, table: str) -> AssetCheckEvaluation:
    (evaluation,) = [
        found for found in result.get_asset_check_evaluations() if found.asset_key == source_table_key(table)
    ]
    assert evaluation.check_name == EXPORT_FILES_CHECK
    return evaluation


def error_of(result: ExecuteInProcessResult) -> str:
    (event,) = [event for event in result.all_events if event.is_step_failure]
    assert event.step_failure_data.error is not None
    return event.step_failure_data.error.message


def current_file(settings: Settings, table: str) -> Path:
    """Return the current file of a source table, without the link to its folder."""
    return (settings.source_tables_dir / "current").resolve() / f"{table}.parquet"


def current_rows(settings: Settings, table: str) -> list[dict[str, Any]]:
    """Return the current rows of a source table in the order of ids."""
    return list(pq.read_table(current_file(settings, table)).sort_by("id").to_pylist())


def test_metadata_describes_what_was_converted(landed: Settings, ephemeral: DagsterInstance) -> None:
    """People look for row counts, bytes and the batch when figures surprise them."""
    tickets = metadata(convert(landed, ephemeral), "tickets")
    converted = current_file(landed, "tickets")
    rows = pq.read_metadata(converted).num_rows
    assert tickets["dagster/row_count"] == rows
    assert tickets["rows_by_file"] == {"tickets.parquet": rows}
    assert tickets["exported_bytes"] == (landed.exports_dir / "first" / "tickets.parquet").stat().st_size
    assert tickets["bytes"] == converted.stat().st_size
    assert tickets["batch_id"] == "first"
    assert tickets["path"] == str(converted)
    assert tickets["converted_in_this_run"] is True
    assert isinstance(tickets["rows_per_second"], int)


def test_preview_shows_rows_of_this_installation_only(settings: Settings, ephemeral: DagsterInstance) -> None:
    """DuckDB takes paths for glob patterns, here one that finds the file of the folder beside it too."""
    ours, theirs = (festival_settings(settings.data_dir / name) for name in ("data[12]", "data1"))
    land_batch(ours)
    convert(ours, ephemeral)
    rows = pq.read_table(current_file(ours, "bands"))
    shutil.copytree(ours.source_tables_dir, theirs.source_tables_dir, symlinks=True)
    pq.write_table(rows.slice(5), current_file(theirs, "bands"))
    preview = metadata(convert(ours, ephemeral), "bands")["preview"]
    assert isinstance(preview, TableMetadataValue)
    assert [record.data for record in preview.records] == rows[:5].to_pylist()


def test_preview_masks_names_of_people(landed: Settings, ephemeral: DagsterInstance) -> None:
    """Metadata is kept for years in the event log, and everybody who opens the UI reads it."""
    preview = metadata(convert(landed, ephemeral), "people")["preview"]
    assert isinstance(preview, TableMetadataValue)
    assert [record.data["name"] for record in preview.records] == ["(personal data)"] * 5
    names = pq.read_table(current_file(landed, "people")).column("name").to_pylist()
    assert not [name for name in names if name in str(preview)]


def test_a_converted_batch_is_not_converted_again(landed: Settings, ephemeral: DagsterInstance) -> None:
    """At real size conversion takes long, and a refresh after a change of a model must not repeat it."""
    convert(landed, ephemeral)
    converted = current_file(landed, "tickets")
    before = (converted.stat().st_ino, converted.stat().st_mtime_ns)
    tickets = metadata(convert(landed, ephemeral), "tickets")
    assert tickets["converted_in_this_run"] is False
    assert "rows_per_second" not in tickets
    assert (converted.stat().st_ino, converted.stat().st_mtime_ns) == before


def test_changed_plain_files_are_converted_again(plain: Settings, ephemeral: DagsterInstance) -> None:
    """A folder without a manifest can be filled again under its name, and old rows must not stay."""
    convert(plain, ephemeral)
    bands = plain.exports_dir / "first" / "bands.csv"
    with bands.open("a", encoding="utf-8", newline="") as stream:
        csv.writer(stream, lineterminator="\n").writerow([1_000_000, "A Late Addition", 500])
    result = convert(plain, ephemeral)
    assert metadata(result, "bands")["converted_in_this_run"] is True
    names = pq.read_table(current_file(plain, "bands"))["name"].to_pylist()
    assert names[-1] == "A Late Addition"


def test_a_selection_converts_all_tables_of_a_new_batch(landed: Settings, ephemeral: DagsterInstance) -> None:
    """Models must never read the bands of one batch with the tickets of another, and the event log records all."""
    convert(landed, ephemeral)
    land_batch(landed, "second", exported_at=LATER, seed=21)
    result = convert(landed, ephemeral, "bands")
    assert result.success
    assert materialized(result) == set(SOURCE_TABLES)
    second = landed.exports_dir / "second"
    for table in SOURCE_TABLES:
        exported = pq.read_table(second / f"{table}.parquet").select(SOURCE_TABLES[table].column_names)
        assert pq.read_table(current_file(landed, table)).equals(exported)


def test_every_bad_table_is_reported(landed: Settings, ephemeral: DagsterInstance) -> None:
    """One refresh reports everything that is wrong with an export."""
    for table in ("bands", "tickets"):
        file = landed.exports_dir / "first" / f"{table}.parquet"
        file.write_bytes(file.read_bytes() + b"x")
    result = convert(landed, ephemeral)
    assert not result.success
    for table in ("bands", "tickets"):
        assert f"{table}.parquet: it has" in error_of(result)
        assert not check(result, table).passed
        assert f"{table}.parquet" in str(check(result, table).metadata["reason"].value)
    for table in ("venues", "performances", "people", "purchases"):
        assert check(result, table).passed


def test_text_of_a_rejected_line_stays_out_of_the_description_of_its_check(
    plain: Settings, ephemeral: DagsterInstance
) -> None:
    """Dagster's UI renders descriptions as Markdown, and its browser would send the request of an image."""
    image = "![i](/graphql?query=mutation)"
    with (plain.exports_dir / "first" / "bands.csv").open("a", encoding="utf-8") as stream:
        stream.write(f"1000000,A Band,{image}\n")
    failed = check(convert(plain, ephemeral), "bands")
    assert failed.description == "The files of bands break the contract: see the reason."
    reason = failed.metadata["reason"]
    assert isinstance(reason, TextMetadataValue)
    assert image in reason.value


def test_a_bad_table_leaves_the_current_tables_unchanged(landed: Settings, ephemeral: DagsterInstance) -> None:
    convert(landed, ephemeral)
    current = os.readlink(landed.source_tables_dir / "current")
    digest = sha256(current_file(landed, "tickets"))
    second = land_batch(landed, "second", exported_at=LATER, seed=21)
    (second / "tickets.parquet").unlink()
    assert not convert(landed, ephemeral).success
    assert os.readlink(landed.source_tables_dir / "current") == current
    assert sha256(current_file(landed, "tickets")) == digest


def test_an_incremental_batch_adds_to_the_tables(landed: Settings, ephemeral: DagsterInstance) -> None:
    """The metadata separates the rows of the batch from those of the table."""
    before = metadata(convert(landed, ephemeral), "tickets")
    land_increment(landed)
    tickets = metadata(convert(landed, ephemeral), "tickets")
    assert tickets["converted_in_this_run"] is True
    assert tickets["batch_id"] == "second"
    assert 0 < tickets["rows_of_batch"] < before["dagster/row_count"]
    assert tickets["dagster/row_count"] == before["dagster/row_count"] + tickets["rows_of_batch"]
    again = metadata(convert(landed, ephemeral), "tickets")
    assert again["converted_in_this_run"] is False
    assert again["dagster/row_count"] == tickets["dagster/row_count"]


def test_batches_converted_one_by_one_give_the_tables_of_all_at_once(
    landed: Settings, ephemeral: DagsterInstance
) -> None:
    rows = [metadata(convert(landed, ephemeral), "tickets")["dagster/row_count"]]
    land_increment(landed, "second")
    rows += [metadata(convert(landed, ephemeral), "tickets")["dagster/row_count"]]
    land_increment(landed, "third", after="second", since=WEEKS_LATER, exported_at=WEEKS_LATER + timedelta(weeks=1))
    rows += [metadata(convert(landed, ephemeral), "tickets")["dagster/row_count"]]
    one_by_one = {table: current_rows(landed, table) for table in SOURCE_TABLES}
    shutil.rmtree(landed.source_tables_dir)
    assert metadata(convert(landed, ephemeral), "tickets")["dagster/row_count"] == rows[-1]
    for table, expected in one_by_one.items():
        assert current_rows(landed, table) == expected
    assert rows == sorted(set(rows))


def test_an_empty_landing_zone_is_reported_with_what_to_do(settings: Settings, ephemeral: DagsterInstance) -> None:
    """Many people see this first after cloning the repository."""
    message = error_of(convert(settings, ephemeral))
    assert f"No complete full export batch in {settings.exports_dir}" in message
    assert "Put the files of all tables" in message
    assert "make run" in message
