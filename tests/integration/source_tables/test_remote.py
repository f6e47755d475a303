"""Source tables made from a landing zone on object storage, and kept there for other machines."""

import stat
from datetime import timedelta
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from landing_zones import chain_at
from object_storage import remote_settings
from refreshes import WEEKS_LATER, festival_settings, land_batch, land_increment, land_plain_batch, sha256
from source_tables.landing import convert

from acl_assets.landing_zone.s3_store import land_remotely
from acl_assets.settings import Settings
from acl_assets.source_schema import SOURCE_TABLES
from acl_assets.source_tables.current_state import CURRENT
from acl_assets.source_tables.remote import fetch_prefix
from acl_assets.util.object_storage import list_files, read_file, remove, write_file

pytestmark = pytest.mark.slow


@pytest.fixture
def remote(bucket: str, tmp_path: Path, first_batch: Path) -> Settings:
    """An installation on object storage, in whose landing zone the batch `first` lies."""
    settings = remote_settings(tmp_path / "data", f"{bucket}/acl")
    land_remotely(first_batch, str(settings.exports_dir))
    return settings


def kept(settings: Settings) -> dict[str, int]:
    """Return the objects of the source tables with their sizes."""
    return {path: file.size for path, file in list_files(str(settings.source_tables_url)).items()}


def test_plain_files_give_the_tables_they_give_on_this_machine(bucket: str, tmp_path: Path, first_batch: Path) -> None:
    """They are verified by the times of their objects."""
    settings = remote_settings(tmp_path / "data", f"{bucket}/acl")
    land_remotely(land_plain_batch(festival_settings(tmp_path / "here")), str(settings.exports_dir))
    convert(settings)
    for table in SOURCE_TABLES:
        rows = pq.read_table(settings.source_tables_dir / CURRENT / f"{table}.parquet").sort_by("id")
        assert rows.equals(pq.read_table(first_batch / f"{table}.parquet").sort_by("id"))


def test_another_machine_fetches_what_was_converted_and_adds_an_increment(remote: Settings, tmp_path: Path) -> None:
    """`current` is an object with the digest of the chain. The other machine reads only the manifest of the exports."""
    chain, _ = convert(remote)
    folder = remote.source_tables_dir / chain.digest
    assert read_file(f"{remote.source_tables_url}/{CURRENT}", 1_000) == chain.digest.encode()
    sent = {f"{chain.digest}/{file.name}": file.stat().st_size for file in folder.iterdir()}
    assert kept(remote) == {CURRENT: 64, **sent}
    remove(f"{remote.exports_dir}/first/{table}.parquet" for table in SOURCE_TABLES)
    other = remote.with_changes(data_dir=tmp_path / "other")
    assert convert(other)[0] == chain
    for table in SOURCE_TABLES:
        one, two = (settings.source_tables_dir / CURRENT / f"{table}.parquet" for settings in (remote, other))
        assert sha256(one) == sha256(two)
        assert stat.S_IMODE(two.stat().st_mode) == 0o600
    assert kept(remote) == {CURRENT: 64, **sent}
    here = festival_settings(tmp_path / "here")
    land_batch(here)
    digests = [chain.digest]
    for folder in (land_increment(here), land_batch(here, "full", exported_at=WEEKS_LATER + timedelta(days=1))):
        land_remotely(folder, str(remote.exports_dir))
        digests.append(convert(other)[0].digest)
        assert {path.split("/")[0] for path in kept(remote)} == {CURRENT, *digests[-2:]}


def test_a_pointer_that_leads_elsewhere_is_not_followed(remote: Settings, tmp_path: Path) -> None:
    """A user who may write to the bucket must not be able to write elsewhere on this machine."""
    chain, _ = convert(remote)
    folder = tmp_path / "other" / "source_tables"
    for text in (b"../../../elsewhere", b"0" * 64, b"\xff" * 64, b"a" * 100_000):
        write_file(f"{remote.source_tables_url}/{CURRENT}", text)
        fetch_prefix(str(remote.source_tables_url), folder, chain_at(remote.exports_dir), held=0)
        assert not folder.exists()
    convert(remote)
    assert read_file(f"{remote.source_tables_url}/{CURRENT}", 1_000) == chain.digest.encode()


def test_damaged_tables_on_object_storage_are_made_and_sent_again(remote: Settings, tmp_path: Path) -> None:
    """Another machine replaces a damaged object; the machine that sent it replaces a missing one."""
    chain, _ = convert(remote)
    before, url = kept(remote), f"{remote.source_tables_url}/{chain.digest}/tickets.parquet"
    write_file(url, b"PAR1")
    other = remote.with_changes(data_dir=tmp_path / "other")
    assert convert(other)[0].tables["tickets"].sums == chain.tables["tickets"].sums
    assert kept(remote).keys() == before.keys()
    assert kept(remote)[f"{chain.digest}/tickets.parquet"] > 4
    remove([url])
    convert(remote)
    assert kept(remote) == before
