"""A run converts the batch chain, describes it in metadata and checks, and leaves the current tables if it fails."""

import os
import shutil
import stat
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
from refreshes import LATER, land_batch, land_increment, land_plain_batch, sha256
from source_tables.landing import BUYERS, names_in

from acl_assets.asset_keys import source_table_key
from acl_assets.settings import Settings
from acl_assets.source_schema import SOURCE_TABLES
from acl_assets.source_tables.assets import EXPORT_FILES_CHECK, source_tables
from acl_assets.source_tables.current_state import EXPORT_BATCHES, REJECTS
from acl_assets.util.refresh_lock import RefreshLock
from acl_assets.warehouse.checks import source_row_counts

pytestmark = pytest.mark.slow


def run(settings: Settings, instance: DagsterInstance, *others: Any, select: Any = None) -> ExecuteInProcessResult:
    """Materialize the selected source tables, or all of them, with other assets and checks."""
    resources = {"settings": settings, "refresh_lock": RefreshLock(lock_file=str(settings.refresh_lock_file))}
    assets = [source_tables, *others]
    return materialize(assets, instance=instance, resources=resources, selection=select, raise_on_error=False)


def metadata_of(result: ExecuteInProcessResult) -> dict[str, dict[str, Any]]:
    """Return the metadata values of the source tables that a run materialized, by name."""
    return {
        event.asset_key.path[-1]: {
            name: value.value for name, value in event.step_materialization_data.materialization.metadata.items()
        }
        for event in result.all_events
        if event.is_step_materialization and event.asset_key
    }


def check(result: ExecuteInProcessResult, table: str) -> AssetCheckEvaluation:
    (found,) = [one for one in result.get_asset_check_evaluations() if one.asset_key.path[-1] == table]
    assert found.check_name == EXPORT_FILES_CHECK
    return found


def error_of(result: ExecuteInProcessResult) -> str:
    (event,) = [event for event in result.all_events if event.is_step_failure]
    assert event.step_failure_data.error is not None
    return event.step_failure_data.error.message


def current_file(settings: Settings, table: str) -> Path:
    """Return the current file of a source table, without the link to its folder."""
    return (settings.source_tables_dir / "current").resolve() / f"{table}.parquet"


def preview_of(described: dict[str, dict[str, Any]], table: str) -> list[dict[str, Any]]:
    preview = described[table]["preview"]
    assert isinstance(preview, TableMetadataValue)
    return [dict(record.data) for record in preview.records]


def test_metadata_describes_what_was_converted(landed: Settings, instance: DagsterInstance) -> None:
    """All users of the UI see it, so names of people are masked."""
    described = metadata_of(run(landed, instance))
    tickets, converted = described["tickets"], current_file(landed, "tickets")
    rows = pq.read_metadata(converted).num_rows
    assert tickets["dagster/row_count"] == tickets["rows_of_batch"] == rows
    assert tickets["rows_by_file"] == {"tickets.parquet": rows}
    assert tickets["exported_bytes"] == (landed.exports_dir / "first" / "tickets.parquet").stat().st_size
    assert (tickets["path"], tickets["bytes"]) == (str(converted), converted.stat().st_size)
    assert tickets["batch_id"] == described[EXPORT_BATCHES]["batch_id"] == "first"
    assert preview_of(described, "bands") == pq.read_table(current_file(landed, "bands"))[:5].to_pylist()
    assert [record["name"] for record in preview_of(described, "people")] == ["(personal data)"] * 5


def test_a_converted_batch_is_not_converted_again_and_changed_files_are(
    settings: Settings, instance: DagsterInstance
) -> None:
    """At real size conversion takes long. A folder without a manifest can be filled again under its name."""
    folder = land_plain_batch(settings)
    run(settings, instance)
    assert metadata_of(run(settings, instance))["bands"]["converted_in_this_run"] is False
    with (folder / "bands.csv").open("a") as stream:
        stream.write("1000000,A Late Addition,500" + "," * (len(SOURCE_TABLES["bands"].columns) - 3) + "\n")
    assert metadata_of(run(settings, instance))["bands"]["converted_in_this_run"] is True
    assert pq.read_table(current_file(settings, "bands"))["name"].to_pylist()[-1] == "A Late Addition"


def test_a_selection_converts_all_tables_of_a_new_batch(landed: Settings, instance: DagsterInstance) -> None:
    """Models must never read the bands of one batch with the tickets of another, and the event log records all."""
    run(landed, instance)
    second = land_batch(landed, "second", exported_at=LATER, seed=21)
    result = run(landed, instance, select=[source_table_key("bands")])
    assert result.success
    assert metadata_of(result).keys() == set(SOURCE_TABLES)
    for table in SOURCE_TABLES:
        exported = pq.read_table(second / f"{table}.parquet").select(SOURCE_TABLES[table].column_names)
        assert pq.read_table(current_file(landed, table)).equals(exported)


def test_every_bad_table_is_reported_and_the_current_tables_stay(settings: Settings, instance: DagsterInstance) -> None:
    """Dagster's UI renders descriptions as Markdown, and its browser would send the request of an image."""
    folder, image = land_plain_batch(settings), "![i](/graphql?query=mutation)"
    run(settings, instance)
    current, digest = os.readlink(settings.source_tables_dir / "current"), sha256(current_file(settings, "tickets"))
    bad = {"bands", "tickets"}
    for table in bad:
        with (folder / f"{table}.csv").open("a") as stream:
            stream.write(f"{image},1,1\n")
    result = run(settings, instance)
    assert not result.success
    assert {table for table in SOURCE_TABLES if not check(result, table).passed} == bad
    for table in bad:
        failed = check(result, table)
        assert failed.description == f"The files of {table} break the contract: see the reason."
        reason = failed.metadata["reason"]
        assert isinstance(reason, TextMetadataValue)
        assert image in reason.value
        assert reason.value in error_of(result)
    assert os.readlink(settings.source_tables_dir / "current") == current
    assert sha256(current_file(settings, "tickets")) == digest


@pytest.mark.parametrize("row", ["{},{}\n", "{},,{}\n"], ids=["good rows", "shifted columns"])
def test_a_run_shows_no_name_of_a_buyer(row: str, settings: Settings, instance: DagsterInstance) -> None:
    """Logs, errors, check results and metadata are kept for years. The owner alone can read a failed run's files."""
    people = land_plain_batch(settings) / "people.csv"
    people.write_text("id,name\n" + "".join(row.format(number, name) for number, name in enumerate(BUYERS)))
    result = run(settings, instance, source_row_counts)
    events = instance.all_logs(result.run_id)
    assert result.success is (row == "{},{}\n")
    assert len(events) > 20
    assert names_in(*(event.to_json() for event in events), *map(str, events)) == set()
    left = [path for path in settings.source_tables_dir.rglob("*") if not path.is_symlink()]
    assert result.success or settings.source_tables_dir / REJECTS / "people.jsonl" in left
    for path in (settings.source_tables_dir, *left):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


def test_batches_converted_one_by_one_give_the_tables_of_all_at_once(
    landed: Settings, instance: DagsterInstance
) -> None:
    """The metadata separates the rows of the newest batch from those of the table."""

    def rows() -> dict[str, list[Any]]:
        return {table: pq.read_table(current_file(landed, table)).sort_by("id").to_pylist() for table in SOURCE_TABLES}

    before = metadata_of(run(landed, instance))["tickets"]
    land_increment(landed)
    after = metadata_of(run(landed, instance))["tickets"]
    assert (before["batch_id"], after["batch_id"]) == ("first", "second")
    assert 0 < after["rows_of_batch"] < before["dagster/row_count"]
    assert after["dagster/row_count"] == before["dagster/row_count"] + after["rows_of_batch"]
    one_by_one = rows()
    shutil.rmtree(landed.source_tables_dir)
    assert run(landed, instance).success
    assert rows() == one_by_one


@pytest.mark.parametrize("obstacle", ["build", f"source_tables/{REJECTS}"])
def test_folder_that_cannot_be_written_is_one_error_with_what_to_do(
    landed: Settings, instance: DagsterInstance, obstacle: str
) -> None:
    file = landed.data_dir / obstacle
    file.parent.mkdir(exist_ok=True)
    file.touch()
    folder = landed.data_dir / Path(obstacle).parts[0]
    assert f"{folder} cannot be written: [Errno " in error_of(run(landed, instance))


def test_object_storage_that_fails_is_one_error_with_what_to_do(
    landed: Settings, instance: DagsterInstance, bucket: str
) -> None:
    message = error_of(run(landed.with_changes(data_url=f"{bucket}-2/acl"), instance))
    assert f"Failure: Cannot list {bucket}-2/acl/source_tables: " in message
    assert f"If the bucket {bucket}-2 is missing, make it" in message
