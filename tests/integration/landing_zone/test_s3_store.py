"""A landing zone on object storage: listing, landing and interrupted uploads."""

from pathlib import Path

import pytest
from landing_zones import FolderZone, chain_at

from acl_assets.landing_zone import s3_store
from acl_assets.landing_zone.batches import Listing, list_batches
from acl_assets.landing_zone.folder_store import open_verified
from acl_assets.landing_zone.manifest import BatchError, ExportBatch
from acl_assets.landing_zone.s3_store import land_remotely, remove_unfinished
from acl_assets.landing_zone.store import landing_zone_at
from acl_assets.util.object_storage import ObjectStorageError, list_files, remove, write_file

pytestmark = pytest.mark.slow


@pytest.fixture
def exports_url(bucket: str) -> str:
    """The URL of an empty landing zone."""
    return f"{bucket}/acl/exports"


@pytest.fixture
def first(zone: FolderZone) -> Path:
    """A batch on this machine."""
    return zone.land("first", content="id\n1\n")


def listing(exports_url: str, settle_seconds: float = 0.0) -> Listing:
    return list_batches(landing_zone_at(exports_url), settle_seconds)


def read_verified(exports_url: str, batch: ExportBatch, scratch: Path) -> bytes:
    """Return the verified content of the file of bands, as a refresh reads it."""
    (file,) = batch.tables["bands"].files
    with (
        landing_zone_at(exports_url).local_files(batch, "bands", scratch) as folder,
        open_verified(folder, file, f"{batch.folder}/{file.path}") as stream,
    ):
        assert [path.name for path in folder.iterdir()] == ["bands.csv"]
        return stream.read()


def test_landed_batch_is_read_and_has_the_digest_of_the_same_batch_in_a_folder(
    exports_url: str, zone: FolderZone, first: Path, tmp_path: Path
) -> None:
    """The digest names the content, wherever it lies; copies exist while they are used."""
    assert land_remotely(first, exports_url) == f"{exports_url}/first"
    landed, here = chain_at(exports_url).newest, zone.chain().newest
    assert (landed.digest, landed.tables) == (here.digest, here.tables)
    assert landed.folder == f"{exports_url}/first"
    assert read_verified(exports_url, landed, tmp_path / "scratch") == b"id\n1\n"
    assert list((tmp_path / "scratch").iterdir()) == []
    remove([f"{exports_url}/first/bands.csv"])
    with pytest.raises(BatchError, match=rf"^{exports_url}/first/bands\.csv: the batch has this file, but it is not"):
        read_verified(exports_url, landed, tmp_path / "scratch")


def test_batch_is_landed_once_and_never_removed_as_unfinished(exports_url: str, first: Path) -> None:
    land_remotely(first, exports_url)
    files = list_files(exports_url)
    with pytest.raises(BatchError, match=f"{exports_url}/first is there already and batches are immutable"):
        land_remotely(first, exports_url)
    remove_unfinished(exports_url, "first")
    assert list_files(exports_url) == files


def test_plain_files_are_a_batch_once_they_are_complete_and_settled(
    exports_url: str, zone: FolderZone, tmp_path: Path
) -> None:
    plain = zone.land_plain("plain")
    (plain / "tickets.csv").unlink()
    land_remotely(plain, exports_url)
    assert "neither manifest.json nor files of tickets" in listing(exports_url).skipped["plain"]
    write_file(f"{exports_url}/plain/tickets.csv", b"id\n")
    assert "must be unchanged for 3600 s" in listing(exports_url, settle_seconds=3600).skipped["plain"]
    batch = chain_at(exports_url).newest
    assert read_verified(exports_url, batch, tmp_path / "scratch") == b"id\n"
    # Sizes and times are all that is known of the files, so new ones are another batch.
    write_file(f"{exports_url}/plain/bands.csv", b"id\n5000\n")
    with pytest.raises(BatchError, match=f"^{exports_url}/plain: it changed while it was read"):
        read_verified(exports_url, batch, tmp_path / "scratch")


def test_hidden_folders_are_ignored_and_other_objects_are_named(exports_url: str, first: Path) -> None:
    for path in ("_hidden/manifest.json", "manifest.json", "deep/er/manifest.json", "a.txt"):
        write_file(f"{exports_url}/{path}", b"{")
    land_remotely(first, exports_url)
    assert chain_at(exports_url).newest.batch_id == "first"
    skipped = listing(exports_url).skipped
    assert sorted(skipped) == ["deep", "manifest.json"]
    assert "found instead: er (not a regular file)" in skipped["deep"]


def test_broken_manifest_fails_the_refresh(exports_url: str, first: Path) -> None:
    land_remotely(first, exports_url)
    for content in (bytes((16 << 20) + 1), b""):
        write_file(f"{exports_url}/bad/manifest.json", content)
        with pytest.raises(BatchError, match=rf"^{exports_url}/bad/manifest\.json: "):
            chain_at(exports_url)


def test_unreadable_manifest_stops_no_other_batch_and_a_silent_server_stops_all(
    exports_url: str, first: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One has an access rule of its own; skipping batches for a network error would publish older data."""
    read_file = s3_store.object_storage.read_file

    def fail(url: str, most_bytes: int) -> bytes:
        if "/bad/" in url:
            raise ObjectStorageError(f"Cannot read {url}") from cause
        return read_file(url, most_bytes)

    monkeypatch.setattr(s3_store.object_storage, "read_file", fail)
    land_remotely(first, exports_url)
    write_file(f"{exports_url}/bad/manifest.json", b"{}")
    cause: OSError = PermissionError("Access Denied")
    assert chain_at(exports_url).newest.batch_id == "first"
    assert "cannot be read (Access Denied)" in listing(exports_url).skipped["bad"]
    cause = ConnectionError("no route")
    with pytest.raises(ObjectStorageError):
        chain_at(exports_url)


def test_interrupted_upload_is_no_batch_and_leaves_nothing(
    exports_url: str, first: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All data files are there when it ends; a killed process leaves them behind."""
    (first / "manifest.json").unlink()
    (first / "manifest.json").symlink_to("nowhere")
    with monkeypatch.context() as patch:
        patch.setattr(s3_store, "remove_unfinished", lambda *_: None)
        with pytest.raises(ObjectStorageError, match=rf"Cannot write {exports_url}/first/manifest\.json"):
            land_remotely(first, exports_url)
    assert "the manifest is still to come" in listing(exports_url).skipped["first"]
    remove_unfinished(exports_url, "first")
    with pytest.raises(ObjectStorageError):
        land_remotely(first, exports_url)
    assert list_files(exports_url) == {}
