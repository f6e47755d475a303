"""Source tables made from a landing zone on object storage, and kept there for other machines."""

from __future__ import annotations

import stat
from datetime import timedelta
from pathlib import Path
from typing import Literal

import pyarrow.parquet as pq
import pytest
from dagster import DagsterInstance, ExecuteInProcessResult, materialize
from object_storage import remote_settings
from refreshes import WEEKS_LATER, festival_settings, land_batch, land_increment, land_plain_batch, sha256

from acl_assets.asset_keys import source_table_key
from acl_assets.landing_zone.batches import list_batches, resolve_chain
from acl_assets.landing_zone.s3_store import land_remotely
from acl_assets.landing_zone.store import landing_zone_at
from acl_assets.settings import Settings
from acl_assets.simulator.batch import BatchFormat
from acl_assets.source_schema import SOURCE_TABLES
from acl_assets.source_tables.assets import source_tables
from acl_assets.source_tables.current_state import CHAIN_FILE, CURRENT, EXPORT_BATCHES, read_current
from acl_assets.source_tables.remote import fetch_prefix
from acl_assets.util.object_storage import list_files, read_file, remove, write_file
from acl_assets.util.refresh_lock import RefreshLock

pytestmark = pytest.mark.slow


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
    """Return the tables that a run has converted itself."""
    assert result.success, [event.message for event in result.all_events if event.is_step_failure]
    return {
        table
        for table in SOURCE_TABLES
        for event in result.get_asset_materialization_events()
        if event.asset_key == source_table_key(table)
        and event.step_materialization_data.materialization.metadata["converted_in_this_run"].value
    }


@pytest.mark.parametrize("form", ["csv.gz", "plain"])
def test_every_form_of_a_batch_gives_the_tables_it_gives_on_this_machine(
    bucket: str, tmp_path: Path, ephemeral: DagsterInstance, first_batch: Path, form: BatchFormat | Literal["plain"]
) -> None:
    here = festival_settings(tmp_path / "here")
    folder = land_plain_batch(here) if form == "plain" else land_batch(here, form=form)
    settings = remote_settings(tmp_path / "data", f"{bucket}/acl")
    land_remotely(folder, str(settings.exports_dir))
    assert converted_tables(convert(settings, ephemeral)) == set(SOURCE_TABLES)
    for table in SOURCE_TABLES:
        rows = pq.read_table(settings.source_tables_dir / "current" / f"{table}.parquet").sort_by("id")
        assert rows.equals(pq.read_table(first_batch / f"{table}.parquet").sort_by("id"))
    files = {path.name for path in (settings.source_tables_dir / "current").resolve().iterdir()}
    assert files == {CHAIN_FILE, *(f"{table}.parquet" for table in (*SOURCE_TABLES, EXPORT_BATCHES))}


def kept(settings: Settings) -> dict[str, int]:
    """Return the objects of the source tables with their sizes."""
    return {path: file.size for path, file in list_files(str(settings.source_tables_url)).items()}


def digest_of(settings: Settings) -> str:
    return read_current(settings.source_tables_dir).digest


def land_second(remote: Settings, tmp_path: Path) -> None:
    """Land an increment after the batch `first`."""
    here = festival_settings(tmp_path / "here")
    land_batch(here)
    land_remotely(land_increment(here), str(remote.exports_dir))


def test_current_is_an_object_with_the_digest_of_the_chain(remote: Settings, ephemeral: DagsterInstance) -> None:
    convert(remote, ephemeral)
    digest = digest_of(remote)
    assert read_file(f"{remote.source_tables_url}/{CURRENT}", 1_000) == digest.encode()
    folder = remote.source_tables_dir / digest
    assert kept(remote) == {
        CURRENT: 64,
        **{f"{digest}/{file.name}": file.stat().st_size for file in folder.iterdir()},
    }


def test_another_machine_fetches_what_was_converted(
    remote: Settings, tmp_path: Path, ephemeral: DagsterInstance
) -> None:
    """It reads only the manifest of the exports: the files are gone, and no table is converted again."""
    convert(remote, ephemeral)
    remove(f"{remote.exports_dir}/first/{table}.parquet" for table in SOURCE_TABLES)
    other = remote.with_changes(data_dir=tmp_path / "other")
    before = list_files(str(remote.source_tables_url))
    assert converted_tables(convert(other, ephemeral)) == set()
    for table in (*SOURCE_TABLES, EXPORT_BATCHES):
        one, two = (settings.source_tables_dir / CURRENT / f"{table}.parquet" for settings in (remote, other))
        assert sha256(one) == sha256(two)
        assert stat.S_IMODE(two.stat().st_mode) == 0o600
    assert list_files(str(remote.source_tables_url)).keys() == before.keys()


def test_another_machine_adds_an_increment_to_what_it_fetched(
    remote: Settings, tmp_path: Path, ephemeral: DagsterInstance
) -> None:
    convert(remote, ephemeral)
    remove(f"{remote.exports_dir}/first/{table}.parquet" for table in SOURCE_TABLES)
    land_second(remote, tmp_path)
    other = remote.with_changes(data_dir=tmp_path / "other")
    assert converted_tables(convert(other, ephemeral)) == set(SOURCE_TABLES)
    assert [batch.batch_id for batch in read_current(other.source_tables_dir).batches] == ["first", "second"]


def test_a_pointer_that_leads_elsewhere_is_not_followed(
    remote: Settings, tmp_path: Path, ephemeral: DagsterInstance
) -> None:
    """A user who may write to the bucket must not be able to write elsewhere on this machine."""
    convert(remote, ephemeral)
    write_file(f"{remote.source_tables_url}/{CURRENT}", b"../../../elsewhere")
    other = remote.with_changes(data_dir=tmp_path / "other")
    assert converted_tables(convert(other, ephemeral)) == set(SOURCE_TABLES)
    assert not list(tmp_path.rglob("elsewhere*"))
    assert read_file(f"{remote.source_tables_url}/{CURRENT}", 1_000) == digest_of(other).encode()


@pytest.mark.parametrize("text", [b"", b"0" * 64, b"\xff" * 64, b"a" * 100_000])
def test_a_pointer_that_names_no_tables_is_ignored(text: bytes, remote: Settings, tmp_path: Path) -> None:
    chain = resolve_chain(list_batches(landing_zone_at(remote.exports_dir), settle_seconds=0))
    write_file(f"{remote.source_tables_url}/{CURRENT}", text)
    fetch_prefix(str(remote.source_tables_url), tmp_path / "source_tables", chain, held=0)
    assert not (tmp_path / "source_tables").exists()


DAMAGES = ["the description is cut", "a table is missing"]


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_tables_on_object_storage_are_made_and_sent_again(
    damage: str, remote: Settings, tmp_path: Path, ephemeral: DagsterInstance
) -> None:
    """Whether another machine meets them or the one that sent them."""
    convert(remote, ephemeral)
    before, chain = kept(remote), read_current(remote.source_tables_dir)
    other = remote.with_changes(data_dir=tmp_path / "other")
    for settings in (other,) if "cut" in damage else (remote,):
        name = CHAIN_FILE if "description" in damage else "tickets.parquet"
        url = f"{remote.source_tables_url}/{chain.digest}/{name}"
        remove([url]) if "missing" in damage else write_file(url, b"PAR1")
        assert convert(settings, ephemeral).success
        assert read_current(settings.source_tables_dir).tables["tickets"].sums == chain.tables["tickets"].sums
        assert kept(remote).keys() == before.keys()
        assert kept(remote)[f"{chain.digest}/{name}"] > 4


@pytest.mark.exhaustive
def test_the_previous_tables_are_kept_and_older_ones_removed(
    remote: Settings, tmp_path: Path, ephemeral: DagsterInstance
) -> None:
    digests = []
    convert(remote, ephemeral)
    digests.append(digest_of(remote))
    land_second(remote, tmp_path)
    convert(remote, ephemeral)
    digests.append(digest_of(remote))
    assert {path.split("/")[0] for path in kept(remote)} == {CURRENT, *digests}
    here = festival_settings(tmp_path / "here")
    land_remotely(land_batch(here, "third", exported_at=WEEKS_LATER + timedelta(days=1)), str(remote.exports_dir))
    convert(remote, ephemeral)
    digests.append(digest_of(remote))
    assert {path.split("/")[0] for path in kept(remote)} == {CURRENT, *digests[1:]}
