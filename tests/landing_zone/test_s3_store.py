"""A landing zone on object storage: what is a batch there, and what interrupted uploads leave."""

from __future__ import annotations

import pickle
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from object_storage import remote_settings
from refreshes import festival_settings, land_batch, land_plain_batch, wait_until

from acl_assets.landing_zone import s3_store
from acl_assets.landing_zone.batches import Listing, list_batches, resolve_chain
from acl_assets.landing_zone.folder_store import open_verified
from acl_assets.landing_zone.manifest import BatchError, ExportBatch
from acl_assets.landing_zone.s3_store import land_remotely, remove_unfinished
from acl_assets.landing_zone.store import landing_zone_at
from acl_assets.settings import PROJECT_DIR, Settings
from acl_assets.util.object_storage import ObjectStorageError, list_files, remove, write_file

pytestmark = pytest.mark.slow


@pytest.fixture
def remote(bucket: str, tmp_path: Path) -> Settings:
    """An installation without any data, on object storage."""
    return remote_settings(tmp_path / "data", f"{bucket}/acl")


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    """Six CSV files without a manifest, on this machine."""
    return land_plain_batch(festival_settings(tmp_path / "here"))


def listing(settings: Settings, settle_seconds: float = 0.0, now: float | None = None) -> Listing:
    return list_batches(landing_zone_at(settings.exports_dir), settle_seconds, now)


def newest(settings: Settings) -> ExportBatch:
    return resolve_chain(listing(settings)).newest


def complete_ids(settings: Settings) -> list[str]:
    return [header.found.batch_id for header in listing(settings).headers]


def read_verified(settings: Settings, batch: ExportBatch, table: str, scratch: Path) -> list[bytes]:
    """Return the verified content of the files of a table, as a refresh reads it."""
    contents: list[bytes] = []
    with landing_zone_at(settings.exports_dir).local_files(batch, table, scratch) as folder:
        for file in batch.tables[table].files:
            with open_verified(folder, file, f"{batch.folder}/{file.path}") as stream:
                contents.append(stream.read())
    return contents


def test_batch_has_the_same_digest_as_in_a_folder(remote: Settings, first_batch: Path) -> None:
    """The digest names the content, wherever it lies."""
    assert land_remotely(first_batch, str(remote.exports_dir)) == f"{remote.exports_dir}/first"
    landed = newest(remote)
    (here,) = resolve_chain(list_batches(landing_zone_at(first_batch.parent), 0.0)).batches
    assert landed.digest == here.digest
    assert landed.tables == here.tables
    assert landed.folder == f"{remote.exports_dir}/first"


def test_batch_is_landed_once(remote: Settings, first_batch: Path) -> None:
    land_remotely(first_batch, str(remote.exports_dir))
    with pytest.raises(BatchError, match=f"{remote.exports_dir}/first is there already and batches are immutable"):
        land_remotely(first_batch, str(remote.exports_dir))


def test_plain_files_are_a_batch_once_they_are_complete_and_settled(remote: Settings, plain: Path) -> None:
    tickets = (plain / "tickets.csv").rename(plain.parent / "tickets.csv")
    land_remotely(plain, str(remote.exports_dir))
    assert "neither manifest.json nor files of tickets" in listing(remote).skipped["first"]
    write_file(f"{remote.exports_dir}/first/tickets.csv", tickets.read_bytes())
    assert "must be unchanged for 3600 s" in listing(remote, settle_seconds=3600).skipped["first"]
    assert newest(remote).tables["tickets"].files[0].bytes == tickets.stat().st_size


def test_hidden_folders_are_ignored_and_other_objects_are_named(remote: Settings, first_batch: Path) -> None:
    for path in ("_hidden/manifest.json", ".hidden/manifest.json", "manifest.json", "deep/er/manifest.json", "a.txt"):
        write_file(f"{remote.exports_dir}/{path}", b"{")
    land_remotely(first_batch, str(remote.exports_dir))
    assert complete_ids(remote) == ["first"]
    skipped = listing(remote).skipped
    assert sorted(skipped) == ["deep", "manifest.json"]
    assert "it is a file, and a batch is a folder" in skipped["manifest.json"]
    assert "er (no file; move its files one level up)" in skipped["deep"]


@pytest.mark.parametrize("content", [b"", bytes((16 << 20) + 1)], ids=["empty", "too large"])
def test_broken_manifest_fails_until_a_newer_full_batch_lands(
    content: bytes, remote: Settings, first_batch: Path
) -> None:
    write_file(f"{remote.exports_dir}/bad/manifest.json", content)
    with pytest.raises(BatchError, match=rf"^{remote.exports_dir}/bad/manifest\.json: "):
        newest(remote)
    wait_until(lambda: _second_of_now() > _second_of(remote, "bad/manifest.json"), "a second has passed")
    land_remotely(first_batch, str(remote.exports_dir))
    assert newest(remote).batch_id == "first"


def _second_of(remote: Settings, path: str) -> float:
    return list_files(str(remote.exports_dir))[path].modified_ns // 1_000_000_000


def _second_of_now() -> float:
    return time.time() // 1


@pytest.mark.parametrize("cause", [PermissionError("Access Denied")])
def test_manifest_that_cannot_be_read_stops_no_other_batch(
    cause: OSError, remote: Settings, first_batch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was removed after it was listed, or has an access rule of its own."""
    land_remotely(first_batch, str(remote.exports_dir))
    write_file(f"{remote.exports_dir}/bad/manifest.json", b"{}")
    fail_to_read_in(monkeypatch, "/bad/", cause)
    assert newest(remote).batch_id == "first"
    assert f"cannot be read ({cause})" in listing(remote).skipped["bad"]


def test_landing_zone_that_does_not_answer_is_an_error(
    remote: Settings, first_batch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Skipping a batch for a network error would publish older data."""
    land_remotely(first_batch, str(remote.exports_dir))
    fail_to_read_in(monkeypatch, "/first/", ConnectionError("no route"))
    with pytest.raises(ObjectStorageError):
        newest(remote)


def fail_to_read_in(monkeypatch: pytest.MonkeyPatch, part: str, cause: OSError) -> None:
    real = s3_store.object_storage.read_file

    def read_file(url: str, most_bytes: int) -> bytes:
        if part in url:
            raise ObjectStorageError(f"Cannot read {url}") from cause
        return real(url, most_bytes)

    monkeypatch.setattr(s3_store.object_storage, "read_file", read_file)


def test_upload_of_csv_files_is_no_batch_before_its_manifest(remote: Settings, tmp_path: Path) -> None:
    """All six CSV files are there, and the process that sends them is killed before the manifest."""
    here = land_batch(festival_settings(tmp_path / "here"), form="csv")
    write_file(f"{remote.exports_dir}/first/.manifest.json.unfinished", b"")
    for file in here.glob("*.csv"):
        write_file(f"{remote.exports_dir}/first/{file.name}", file.read_bytes())
    assert "the manifest is still to come" in listing(remote).skipped["first"]
    remove_unfinished(str(remote.exports_dir), "first")
    assert list_files(str(remote.exports_dir)) == {}


def test_landed_batch_is_not_removed_as_unfinished(remote: Settings, first_batch: Path) -> None:
    land_remotely(first_batch, str(remote.exports_dir))
    files = list_files(str(remote.exports_dir))
    remove_unfinished(str(remote.exports_dir), "first")
    assert list_files(str(remote.exports_dir)) == files


LAND = "import sys; from pathlib import Path; from acl_assets.landing_zone.s3_store import land_remotely; \
land_remotely(Path(sys.argv[1]), sys.argv[2])"


@pytest.mark.exhaustive
def test_killed_upload_leaves_no_batch_and_can_be_repeated(remote: Settings, first_batch: Path, tmp_path: Path) -> None:
    here = tmp_path / "first"
    here.mkdir()
    for file in first_batch.iterdir():
        (here / file.name).write_bytes(file.read_bytes())
    with (here / "performances.parquet").open("ab") as stream:
        stream.truncate(400_000_000)
    process = subprocess.Popen([sys.executable, "-c", LAND, here, remote.exports_dir], cwd=PROJECT_DIR)
    wait_until(lambda: "first/people.parquet" in list_files(str(remote.exports_dir)), "a file has arrived")
    process.kill()
    process.wait()
    assert "the manifest is still to come" in listing(remote).skipped["first"]
    remove_unfinished(str(remote.exports_dir), "first")
    land_remotely(first_batch, str(remote.exports_dir))
    assert newest(remote).batch_id == "first"


def test_failed_upload_removes_its_objects(remote: Settings, first_batch: Path, tmp_path: Path) -> None:
    here = tmp_path / "first"
    here.mkdir()
    for file in first_batch.iterdir():
        (here / file.name).symlink_to(file if file.name != "tickets.parquet" else tmp_path / "nowhere")
    with pytest.raises(Exception, match=f"Cannot write {remote.exports_dir}/first/tickets.parquet"):
        land_remotely(here, str(remote.exports_dir))
    assert list_files(str(remote.exports_dir)) == {}


def test_copies_of_files_exist_while_they_are_used(remote: Settings, first_batch: Path, tmp_path: Path) -> None:
    land_remotely(first_batch, str(remote.exports_dir))
    zone, batch = landing_zone_at(remote.exports_dir), newest(remote)
    with zone.local_files(batch, "bands", tmp_path / "scratch") as folder:
        (file,) = batch.tables["bands"].files
        assert (folder / file.path).read_bytes() == (first_batch / file.path).read_bytes()
        assert [path.name for path in folder.iterdir()] == ["bands.parquet"]
    assert not list((tmp_path / "scratch").rglob("*.parquet"))


@pytest.mark.parametrize(
    ("damage", "found"),
    [
        (lambda url: remove([url]), "the batch has this file, but it is not there"),
        (lambda url: write_file(url, b"PAR1"), "it has 4 bytes where"),
    ],
    ids=["removed", "cut"],
)
def test_damaged_file_is_named_by_its_url(
    remote: Settings, first_batch: Path, tmp_path: Path, damage: Callable[[str], None], found: str
) -> None:
    """People look for it in the landing zone, not where it was copied to; the error crosses a process."""
    land_remotely(first_batch, str(remote.exports_dir))
    damage(f"{remote.exports_dir}/first/bands.parquet")
    with pytest.raises(BatchError) as raised:
        read_verified(remote, newest(remote), "bands", tmp_path / "scratch")
    error = pickle.loads(pickle.dumps(raised.value))  # noqa: S301, pickled here
    assert str(error).startswith(f"{remote.exports_dir}/first/bands.parquet: {found}")


def test_verified_copy_is_read_when_its_object_is_replaced(remote: Settings, first_batch: Path, tmp_path: Path) -> None:
    land_remotely(first_batch, str(remote.exports_dir))
    batch = newest(remote)
    (file,) = batch.tables["bands"].files
    with landing_zone_at(remote.exports_dir).local_files(batch, "bands", tmp_path / "scratch") as folder:
        write_file(f"{batch.folder}/{file.path}", b"x" * file.bytes)
        with open_verified(folder, file) as stream:
            assert stream.read() == (first_batch / file.path).read_bytes()
    with pytest.raises(BatchError, match="SHA-256"):
        read_verified(remote, batch, "bands", tmp_path / "scratch")


def test_plain_files_replaced_after_they_were_listed_are_refused(remote: Settings, plain: Path, tmp_path: Path) -> None:
    """Their sizes and times are all that is known of them; the new ones are another batch."""
    land_remotely(plain, str(remote.exports_dir))
    batch = newest(remote)
    content = (plain / "bands.csv").read_bytes()
    write_file(f"{remote.exports_dir}/first/bands.csv", content + b"5000,Late,1\n")
    with pytest.raises(BatchError, match=f"^{remote.exports_dir}/first: it changed while it was read"):
        read_verified(remote, batch, "bands", tmp_path / "scratch")
