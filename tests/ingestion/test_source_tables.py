"""The source tables as assets: what a run converts, what it says about it, and what happens to a bad batch."""

from __future__ import annotations

import csv
import os
import shutil
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

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

from acl_assets.ingestion import compaction
from acl_assets.ingestion.refresh_lock import RefreshLock
from acl_assets.ingestion.source_schema import SOURCE_TABLES
from acl_assets.ingestion.source_state import EXPORT_BATCHES, current_files
from acl_assets.ingestion.source_tables import EXPORT_FILES_CHECK, source_asset_key, source_tables
from acl_assets.settings import Settings


@pytest.fixture
def ephemeral() -> Iterator[DagsterInstance]:
    with DagsterInstance.ephemeral() as instance:
        yield instance


@pytest.fixture
def plain(tmp_path: Path) -> Settings:
    """An installation in which six CSV files without a manifest have landed."""
    settings = festival_settings(tmp_path / "data")
    land_plain_batch(settings)
    return settings


def convert(settings: Settings, instance: DagsterInstance, *tables: str) -> ExecuteInProcessResult:
    """Materialize some source tables and nothing else, all of them unless named."""
    return materialize(
        [source_tables],
        instance=instance,
        resources={"settings": settings, "refresh_lock": RefreshLock(lock_file=str(settings.refresh_lock_file))},
        selection=[source_asset_key(table) for table in tables] or None,
        raise_on_error=False,
    )


def metadata(result: ExecuteInProcessResult, table: str) -> dict[str, object]:
    """Metadata values of a table's materialization."""
    (event,) = [
        event for event in result.get_asset_materialization_events() if event.asset_key == source_asset_key(table)
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
        found for found in result.get_asset_check_evaluations() if found.asset_key == source_asset_key(table)
    ]
    assert evaluation.check_name == EXPORT_FILES_CHECK
    return evaluation


def error_of(result: ExecuteInProcessResult) -> str:
    (event,) = [event for event in result.all_events if event.is_step_failure]
    assert event.step_failure_data.error is not None
    return event.step_failure_data.error.message


def test_metadata_says_what_was_converted(landed: Settings, ephemeral: DagsterInstance) -> None:
    """Row counts, bytes and the batch are what people look for when figures surprise them."""
    tickets = metadata(convert(landed, ephemeral), "tickets")
    converted = landed.source_tables_dir / "tickets" / "first.parquet"
    rows = pq.read_metadata(converted).num_rows
    assert tickets["dagster/row_count"] == rows
    assert tickets["rows_by_file"] == {"tickets.parquet": rows}
    assert tickets["exported_bytes"] == (landed.exports_dir / "first" / "tickets.parquet").stat().st_size
    assert tickets["bytes"] == converted.stat().st_size
    assert tickets["batch_id"] == "first"
    assert tickets["path"] == str(converted)
    assert tickets["converted_in_this_run"] is True
    assert isinstance(tickets["rows_per_second"], int)


def test_the_preview_shows_the_first_rows(landed: Settings, ephemeral: DagsterInstance) -> None:
    """A look at five rows answers many questions."""
    preview = metadata(convert(landed, ephemeral), "bands")["preview"]
    assert isinstance(preview, TableMetadataValue)
    rows = pq.read_table(landed.source_tables_dir / "bands" / "first.parquet").slice(0, 5).to_pylist()
    assert [column.name for column in preview.schema.columns] == ["id", "name", "fee"]
    assert [record.data for record in preview.records] == rows


def test_the_preview_masks_names_of_people(landed: Settings, ephemeral: DagsterInstance) -> None:
    """Metadata is kept for years in the event log, and everybody who opens the UI reads it."""
    preview = metadata(convert(landed, ephemeral), "people")["preview"]
    assert isinstance(preview, TableMetadataValue)
    assert [record.data["name"] for record in preview.records] == ["(personal data)"] * 5
    names = pq.read_table(landed.source_tables_dir / "people" / "first.parquet").column("name").to_pylist()
    assert not [name for name in names if name in str(preview)]


def test_the_state_is_an_asset_too(landed: Settings, ephemeral: DagsterInstance) -> None:
    """When the figures are from is the first thing people ask."""
    state = metadata(convert(landed, ephemeral), EXPORT_BATCHES)
    assert state["batch_id"] == "first"
    assert state["dagster/row_count"] == 1
    assert state["exported_at_is_file_time"] is False


def test_a_batch_without_a_manifest_says_that_its_time_is_file_time(
    plain: Settings, ephemeral: DagsterInstance
) -> None:
    """Six plain files state no export time; the stand-in must not pass for the real thing."""
    assert metadata(convert(plain, ephemeral), EXPORT_BATCHES)["exported_at_is_file_time"] is True


def test_a_converted_batch_is_not_converted_again(landed: Settings, ephemeral: DagsterInstance) -> None:
    """At full size conversion is most of the work; refreshing after a change of a model must not repeat it."""
    convert(landed, ephemeral)
    converted = landed.source_tables_dir / "tickets" / "first.parquet"
    before = (converted.stat().st_ino, converted.stat().st_mtime_ns)
    tickets = metadata(convert(landed, ephemeral), "tickets")
    assert tickets["converted_in_this_run"] is False
    assert "rows_per_second" not in tickets
    assert (converted.stat().st_ino, converted.stat().st_mtime_ns) == before


def test_changed_plain_files_are_converted_anew(plain: Settings, ephemeral: DagsterInstance) -> None:
    """Without a manifest a folder can be filled again under the same name, and old rows must not stay."""
    convert(plain, ephemeral)
    bands = plain.exports_dir / "first" / "bands.csv"
    with bands.open("a", encoding="utf-8", newline="") as stream:
        csv.writer(stream, lineterminator="\n").writerow([1_000_000, "A Late Addition", 500])
    result = convert(plain, ephemeral)
    assert metadata(result, "bands")["converted_in_this_run"] is True
    names = pq.read_table(plain.source_tables_dir / "current" / "bands").column("name").to_pylist()
    assert names[-1] == "A Late Addition"


def test_a_selection_materializes_the_selected_tables(landed: Settings, ephemeral: DagsterInstance) -> None:
    """One table can be looked at alone, once its state is there."""
    convert(landed, ephemeral)
    result = convert(landed, ephemeral, "bands", "venues")
    assert result.success
    assert materialized(result) == {"bands", "venues"}


def test_a_selection_moves_on_to_a_new_state_as_a_whole(landed: Settings, ephemeral: DagsterInstance) -> None:
    """Models must never read the bands of one batch with the tickets of another, and the event log must say so."""
    convert(landed, ephemeral)
    land_batch(landed, "second", exported_at=LATER, seed=21)
    result = convert(landed, ephemeral, "bands")
    assert result.success
    assert materialized(result) == set(SOURCE_TABLES)
    for table in SOURCE_TABLES:
        current = landed.source_tables_dir / "current" / table
        assert [file.name for file in current.iterdir()] == ["00000-second.parquet"]


def test_a_selection_does_not_move_on_to_a_bad_state(landed: Settings, ephemeral: DagsterInstance) -> None:
    """The selected table is fine, and still the state it belongs to must not be read."""
    convert(landed, ephemeral)
    current = os.readlink(landed.source_tables_dir / "current")
    (land_batch(landed, "second", exported_at=LATER, seed=21) / "tickets.parquet").unlink()
    result = convert(landed, ephemeral, "bands")
    assert "tickets.parquet" in error_of(result)
    assert os.readlink(landed.source_tables_dir / "current") == current


def test_every_bad_table_is_reported(landed: Settings, ephemeral: DagsterInstance) -> None:
    """Whoever repairs an export wants to know all that is wrong with it, not one thing per night."""
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


def test_a_bad_table_leaves_the_current_state(landed: Settings, ephemeral: DagsterInstance) -> None:
    """The models keep reading the last good state until a whole new one is there."""
    convert(landed, ephemeral)
    current = os.readlink(landed.source_tables_dir / "current")
    digest = sha256(landed.source_tables_dir / "current" / "tickets" / "00000-first.parquet")
    second = land_batch(landed, "second", exported_at=LATER, seed=21)
    (second / "tickets.parquet").unlink()
    assert not convert(landed, ephemeral).success
    assert os.readlink(landed.source_tables_dir / "current") == current
    assert sha256(landed.source_tables_dir / "current" / "tickets" / "00000-first.parquet") == digest


def test_an_incremental_batch_adds_to_the_tables(landed: Settings, ephemeral: DagsterInstance) -> None:
    """Only the new batch is converted; the metadata tells what it brought from what the table holds by then."""
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


def test_tables_of_many_batches_are_merged(
    landed: Settings, ephemeral: DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They have the rows they would have in many files; a later run finds what was merged, and converts nothing."""
    monkeypatch.setattr(compaction, "MOST_FILES", 2)
    monkeypatch.setattr(compaction, "FILES_LEFT", 1)
    land_increment(landed, "second")
    land_increment(landed, "third", after="second", since=WEEKS_LATER, exported_at=WEEKS_LATER + timedelta(weeks=1))
    rows = [metadata(convert(landed, ephemeral), "tickets")["dagster/row_count"]]
    assert len(current_files(landed.source_tables_dir, "tickets")) == 2
    again = metadata(convert(landed, ephemeral), "tickets")
    assert again["converted_in_this_run"] is False
    monkeypatch.setattr(compaction, "MOST_FILES", 8)
    shutil.rmtree(landed.source_tables_dir)
    rows += [again["dagster/row_count"], metadata(convert(landed, ephemeral), "tickets")["dagster/row_count"]]
    assert len(current_files(landed.source_tables_dir, "tickets")) == 3
    assert len(set(rows)) == 1


def test_an_incremental_batch_without_its_predecessor_is_refused_in_words(
    landed: Settings, ephemeral: DagsterInstance
) -> None:
    """What its predecessor brought would be missing, and nobody would see it."""
    second = land_increment(landed)
    land_increment(landed, "third", after="second", since=WEEKS_LATER, exported_at=WEEKS_LATER + timedelta(days=1))
    second.rename(landed.exports_dir / "_second")
    message = error_of(convert(landed, ephemeral))
    assert f"Batch third continues from batch second, which is not in {landed.exports_dir}" in message


def test_without_a_batch_it_says_what_to_do(settings: Settings, ephemeral: DagsterInstance) -> None:
    """The first thing many people will see of a fresh clone."""
    message = error_of(convert(settings, ephemeral))
    assert f"No complete full export batch in {settings.exports_dir}" in message
    assert "Drop the six tables there" in message
    assert "make run" in message


def test_the_run_names_the_batch_it_reads(landed: Settings, ephemeral: DagsterInstance) -> None:
    """The log must tell which batch a run was about, also when it fails later."""
    result = convert(landed, ephemeral)
    messages = [entry.user_message for entry in ephemeral.all_logs(result.run_id)]
    assert any("is batch first, exported at 2022-08-01T06:00:00+00:00." in message for message in messages)
