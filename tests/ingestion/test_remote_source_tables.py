"""Source tables from, and on, object storage: every form of a batch, another machine, a state that moves on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Literal

import pyarrow.parquet as pq
import pytest
from dagster import DagsterInstance, ExecuteInProcessResult, materialize
from object_storage import remote_settings
from refreshes import WEEKS_LATER, festival_settings, land_batch, land_increment, land_plain_batch, sha256

from acl_assets.ingestion import compaction
from acl_assets.ingestion.object_storage import list_files, remove, write_file
from acl_assets.ingestion.refresh_lock import RefreshLock
from acl_assets.ingestion.remote_landing_zone import land_remotely
from acl_assets.ingestion.source_schema import SOURCE_TABLES
from acl_assets.ingestion.source_tables import source_asset_key, source_tables
from acl_assets.settings import Settings
from acl_assets.simulator.batch import BatchFormat


@pytest.fixture
def ephemeral() -> Iterator[DagsterInstance]:
    with DagsterInstance.ephemeral() as instance:
        yield instance


@pytest.fixture
def remote(bucket: str, tmp_path: Path, first_batch: Path) -> Settings:
    """An installation on object storage, in whose landing zone the batch `first` lies."""
    settings = remote_settings(tmp_path / "data", f"{bucket}/acl")
    land_remotely(first_batch, str(settings.exports_dir))
    return settings


def convert(settings: Settings, instance: DagsterInstance) -> ExecuteInProcessResult:
    return materialize(
        [source_tables],
        instance=instance,
        resources={"settings": settings, "refresh_lock": RefreshLock(lock_file=str(settings.refresh_lock_file))},
        raise_on_error=False,
    )


def converted_tables(result: ExecuteInProcessResult) -> set[str]:
    """The tables a run has converted itself."""
    assert result.success, [event.message for event in result.all_events if event.is_step_failure]
    return {
        table
        for table in SOURCE_TABLES
        for event in result.get_asset_materialization_events()
        if event.asset_key == source_asset_key(table)
        and event.step_materialization_data.materialization.metadata["converted_in_this_run"].value
    }


@pytest.mark.parametrize("form", ["csv", "csv.gz", "csv.zst", "parquet", "plain"])
def test_every_form_becomes_the_table_it_is_on_this_machine(
    bucket: str, tmp_path: Path, ephemeral: DagsterInstance, first_batch: Path, form: BatchFormat | Literal["plain"]
) -> None:
    here = festival_settings(tmp_path / "here")
    folder = land_plain_batch(here) if form == "plain" else land_batch(here, form=form)
    settings = remote_settings(tmp_path / "data", f"{bucket}/acl")
    land_remotely(folder, str(settings.exports_dir))
    assert converted_tables(convert(settings, ephemeral)) == set(SOURCE_TABLES)
    for table in SOURCE_TABLES:
        tables = pq.read_table(settings.source_tables_dir / "current" / table).sort_by("id")
        assert tables.equals(pq.read_table(first_batch / f"{table}.parquet").sort_by("id"))
    assert not (settings.source_tables_dir / "fetched").exists()


def test_another_machine_takes_over_what_was_converted(
    remote: Settings, tmp_path: Path, ephemeral: DagsterInstance
) -> None:
    """Of the exports it needs the manifest only: the files are gone, and nothing is converted again."""
    convert(remote, ephemeral)
    remove(f"{remote.exports_dir}/first/{table}.parquet" for table in SOURCE_TABLES)
    other = replace(remote, data_dir=tmp_path / "other")
    before = list_files(f"{remote.source_tables_url}/current")
    assert converted_tables(convert(other, ephemeral)) == set()
    for table in SOURCE_TABLES:
        one, two = (settings.source_tables_dir / table / "first.parquet" for settings in (remote, other))
        assert sha256(one) == sha256(two)
    assert list_files(f"{remote.source_tables_url}/current") == before


def test_another_machine_takes_over_merged_files(
    remote: Settings, tmp_path: Path, ephemeral: DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What they were merged from is not there any more, and need not be made again."""
    monkeypatch.setattr(compaction, "MOST_FILES", 2)
    monkeypatch.setattr(compaction, "FILES_LEFT", 1)
    here = festival_settings(tmp_path / "here")
    land_batch(here)
    land_remotely(land_increment(here), str(remote.exports_dir))
    later = WEEKS_LATER + timedelta(days=1)
    land_remotely(
        land_increment(here, "third", after="second", since=WEEKS_LATER, exported_at=later), str(remote.exports_dir)
    )
    convert(remote, ephemeral)
    before = list_files(f"{remote.source_tables_url}/current")
    assert all(len(files_of(before, table)) == 2 for table in SOURCE_TABLES)
    for batch in ("first", "second", "third"):
        remove(f"{remote.exports_dir}/{batch}/{table}.parquet" for table in SOURCE_TABLES)
    other = replace(remote, data_dir=tmp_path / "other")
    assert converted_tables(convert(other, ephemeral)) == set()
    assert list_files(f"{remote.source_tables_url}/current") == before


def test_a_name_that_leads_elsewhere_is_not_followed(
    remote: Settings, tmp_path: Path, ephemeral: DagsterInstance
) -> None:
    """Whoever may write to the bucket may not thereby write to this machine."""
    convert(remote, ephemeral)
    (genuine,) = files_of(list_files(f"{remote.source_tables_url}/current"), "venues")
    digest = genuine.rpartition("-")[2]
    write_file(f"{remote.source_tables_url}/current/venues/00000-../../elsewhere-{digest}", b"PAR1")
    other = replace(remote, data_dir=tmp_path / "other")

    assert converted_tables(convert(other, ephemeral)) == set()

    assert not list(tmp_path.rglob("elsewhere*"))


def test_what_is_there_is_in_step_with_the_state(remote: Settings, tmp_path: Path, ephemeral: DagsterInstance) -> None:
    """An increment is added to what is there, which is not sent again; a full batch replaces it."""
    convert(remote, ephemeral)
    first = list_files(f"{remote.source_tables_url}/current")
    assert batches_of(first) == {"00000-first"}
    here = festival_settings(tmp_path / "here")
    land_batch(here)
    land_remotely(land_increment(here), str(remote.exports_dir))
    convert(remote, ephemeral)
    both = list_files(f"{remote.source_tables_url}/current")
    assert batches_of(both) == {"00000-first", "00001-second"}
    assert {path: file for path, file in both.items() if "-first-" in path}.items() <= first.items()
    third = land_batch(here, "third", exported_at=WEEKS_LATER + timedelta(days=1))
    land_remotely(third, str(remote.exports_dir))
    convert(remote, ephemeral)
    assert batches_of(list_files(f"{remote.source_tables_url}/current")) == {"00000-third"}


def test_a_file_that_was_lost_or_cut_there_is_sent_again(remote: Settings, ephemeral: DagsterInstance) -> None:
    """By somebody, or by a refresh that was killed; and the next refresh needs not do more."""
    convert(remote, ephemeral)
    before = {path: file.size for path, file in list_files(f"{remote.source_tables_url}/current").items()}
    lost, cut = (next(path for path in before if path.startswith(table)) for table in ("bands", "venues"))
    remove([f"{remote.source_tables_url}/current/{lost}"])
    write_file(f"{remote.source_tables_url}/current/{cut}", b"PAR1")
    assert converted_tables(convert(remote, ephemeral)) == set()
    assert {path: file.size for path, file in list_files(f"{remote.source_tables_url}/current").items()} == before


def files_of(files: Iterable[str], table: str) -> list[str]:
    return [path for path in files if path.startswith(f"{table}/")]


def batches_of(files: Iterable[str]) -> set[str]:
    """Place and id of the batches in the names of files of source tables."""
    return {path.split("/")[1].rpartition("-")[0] for path in files if path.split("/")[0] in SOURCE_TABLES}


def test_a_landing_zone_that_cannot_be_reached_stops_the_refresh(remote: Settings, ephemeral: DagsterInstance) -> None:
    """With what to do, and not with the library's stack."""
    result = convert(replace(remote, exports_dir=f"{remote.data_url}-2".replace("/acl", "-2/acl")), ephemeral)
    (failure,) = [event.step_failure_data for event in result.all_events if event.is_step_failure]
    assert "Cannot list s3://" in failure.user_failure_data.description
    assert "make it, or correct ACL_DATA_DIR" in failure.user_failure_data.description
