"""An extract into a landing zone on object storage: written on this machine, sent as a whole, and nothing left here."""

import pytest
from postgres import execute

from acl_assets.extraction.extract import extract
from acl_assets.extraction.extracted_batch import ExtractionError
from acl_assets.landing_zone.batches import list_batches
from acl_assets.landing_zone.manifest import begin_batch
from acl_assets.landing_zone.store import landing_zone_at
from acl_assets.settings import Settings
from acl_assets.util.object_storage import list_files, remove, write_file

pytestmark = pytest.mark.server


@pytest.fixture
def remote(extractable: Settings, bucket: str) -> Settings:
    """An installation without data, with a ticketing database and a landing zone on object storage."""
    return extractable.with_changes(exports_dir=f"{bucket}/exports")


def test_batches_are_landed_and_what_killed_extracts_left_is_removed(remote: Settings, ticketing_dsn: str) -> None:
    """One was killed while it sent its files. Rows that the second batch counts as known are only on object storage."""
    killed = begin_batch(remote.extracts_dir, "ticketing-killed")
    (killed / "bands.parquet").touch()
    for name in (".manifest.json.unfinished", "bands.parquet"):
        write_file(f"{remote.exports_dir}/{killed.name}/{name}", b"")
    full = extract(remote)
    assert (full.kind, full.folder) == ("full", f"{remote.exports_dir}/{full.batch_id}")
    execute(ticketing_dsn, "insert into bands (name, fee) values ('Late', 1)")
    changes = extract(remote)
    assert (changes.kind, changes.tables["bands"].rows) == ("incremental", 1)
    listing = list_batches(landing_zone_at(remote.exports_dir), 0.0)
    assert [header.found.batch_id for header in listing.headers] == [full.batch_id, changes.batch_id]
    assert (listing.broken, listing.skipped) == ((), {})
    assert [path.name for path in remote.extracts_dir.iterdir()] == [".extract.lock"]
    remove([f"{full.folder}/bands.parquet"])
    execute(ticketing_dsn, "insert into bands (name, fee) values ('Later', 1)")
    assert "landed files of bands cannot be read" in str(extract(remote).full_because)
    execute(ticketing_dsn, "delete from bands where id not in (select band_id from performances)")
    assert "rows of bands have been deleted" in str(extract(remote).full_because)


def test_an_extract_that_cannot_be_sent_leaves_nothing(remote: Settings, bucket: str) -> None:
    nowhere = remote.with_changes(exports_dir=f"{bucket}-2/exports")
    with pytest.raises(ExtractionError, match=rf"Cannot list {bucket}-2/exports.*Nothing was landed"):
        extract(nowhere)
    assert list_files(bucket) == {}
    assert not list(remote.extracts_dir.glob("ticketing-*"))
