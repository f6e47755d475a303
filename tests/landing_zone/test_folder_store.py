"""A landing zone in a folder that others write to: what is opened, what is refused, and what only gets a name."""

import os
import signal
import stat
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
from landing_zones import SETTLE_SECONDS, FolderZone, as_ordinary_user, hours, listed_ids

from acl_assets.landing_zone import folder_store
from acl_assets.landing_zone.batches import Listing, list_batches, resolve_chain
from acl_assets.landing_zone.folder_store import FolderLandingZone, open_verified
from acl_assets.landing_zone.manifest import BatchError, FileUnreadableError, ManifestFile
from acl_assets.landing_zone.store import LandingZoneError


@pytest.fixture(autouse=True)
def _no_endless_waiting() -> Iterator[None]:
    """Fail a test that waits for somebody to write into a FIFO."""

    def fail(*_: object) -> None:
        pytest.fail("the test has waited for 60 s")

    before = signal.signal(signal.SIGALRM, fail)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


# Entries that cannot be used ------------------------------------------------------------------------------------


def unreadable_folder(landing_zone: Path) -> None:
    FolderZone(landing_zone).land("bad", exported_at=hours(1)).chmod(0o000)


def plain_folder_that_cannot_be_listed(landing_zone: Path) -> None:
    FolderZone(landing_zone).land_plain("bad").chmod(0o111)


def unreadable_manifest(landing_zone: Path) -> None:
    (FolderZone(landing_zone).land("bad", exported_at=hours(1)) / "manifest.json").chmod(0o000)


def link_to_itself(landing_zone: Path) -> None:
    (landing_zone / "bad").symlink_to("bad")


def dangling_link(landing_zone: Path) -> None:
    (landing_zone / "bad").symlink_to("nowhere")


def fifo_as_manifest(landing_zone: Path) -> None:
    _replace_manifest(landing_zone, os.mkfifo)


def link_as_manifest(landing_zone: Path) -> None:
    """The target is a good manifest, but it lies outside of the folder."""
    manifest = landing_zone / "bad" / "manifest.json"
    content = FolderZone(landing_zone).land("bad", exported_at=hours(1)) / "manifest.json"
    content.rename(landing_zone.parent / "manifest.json")
    manifest.symlink_to("../../manifest.json")


def _replace_manifest(landing_zone: Path, make: Callable[[Path], None]) -> None:
    manifest = FolderZone(landing_zone).land("bad", exported_at=hours(1)) / "manifest.json"
    manifest.unlink()
    make(manifest)


def name_that_is_not_utf_8(landing_zone: Path) -> None:
    FolderZone(landing_zone).land_plain(os.fsdecode(b"bad\xff\xe9"))


def name_with_control_characters(landing_zone: Path) -> None:
    FolderZone(landing_zone).land_plain("bad\n\x1b[2J")


def batch_of_a_name_of_250_characters(landing_zone: Path) -> None:
    FolderZone(landing_zone).land("bad", exported_at=hours(1)).rename(landing_zone / ("bad" + "x" * 247))


def fifo_as_data_file(landing_zone: Path) -> None:
    batch = FolderZone(landing_zone).land_plain("bad")
    (batch / "tickets.csv").unlink()
    os.mkfifo(batch / "tickets.csv")


def link_as_data_file(landing_zone: Path) -> None:
    batch = FolderZone(landing_zone).land_plain("bad")
    (batch / "tickets.csv").rename(landing_zone.parent / "tickets.csv")
    (batch / "tickets.csv").symlink_to("../../tickets.csv")


BAD_ENTRIES: dict[Callable[[Path], None], str] = {
    unreadable_folder: "may not read",
    plain_folder_that_cannot_be_listed: "may not read",
    unreadable_manifest: "manifest.json cannot be used, because it cannot be read",
    link_to_itself: "link that leads back to itself",
    dangling_link: "link to something that is not there",
    fifo_as_manifest: "manifest.json is not a regular file",
    link_as_manifest: "manifest.json is a symbolic link",
    name_that_is_not_utf_8: "not UTF-8",
    name_with_control_characters: "control characters",
    batch_of_a_name_of_250_characters: "250 characters",
    fifo_as_data_file: "tickets.csv (no regular file",
    link_as_data_file: "tickets.csv (no regular file",
}


@pytest.fixture
def landing_zone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A landing zone below the current folder, with a good batch `good`; pytest can remove it afterwards."""
    monkeypatch.chdir(tmp_path)
    tmp_path.chmod(0o755)
    exports = tmp_path / "exports"
    FolderZone(exports).land("good")
    yield exports
    exports.chmod(0o755)
    for entry in exports.iterdir():
        if stat.S_ISDIR(entry.lstat().st_mode):
            entry.chmod(0o755)


def list_as_ordinary_user(now: float) -> Listing:
    """List the landing zone below the current folder, as a user whom permissions concern."""
    act = partial(list_batches, FolderLandingZone(Path("exports")), SETTLE_SECONDS, now)
    listing: Listing = as_ordinary_user(act)
    return listing


@pytest.mark.parametrize("plant", BAD_ENTRIES, ids=lambda plant: plant.__name__)
def test_bad_entry_is_named_and_good_batches_beside_it_are_used(
    plant: Callable[[Path], None], landing_zone: Path
) -> None:
    plant(landing_zone)
    later = os.stat(landing_zone).st_ctime + 10 * SETTLE_SECONDS
    listing = list_as_ordinary_user(later)
    assert listed_ids(listing) == ["good"]
    assert listing.broken == ()
    ((name, reason),) = listing.skipped.items()
    assert name.startswith("bad")
    assert BAD_ENTRIES[plant] in reason
    text = listing.skipped_text
    assert text.isprintable()
    assert text.encode("utf-8").decode() == text
    assert len(text) < 2_000
    assert [batch.batch_id for batch in resolve_chain(listing).batches] == ["good"]

    FolderZone(landing_zone).land("newer", exported_at=hours(2))
    assert [batch.batch_id for batch in resolve_chain(list_as_ordinary_user(later)).batches] == ["newer"]


def test_landing_zone_that_cannot_be_read_is_an_error_that_names_the_setting(landing_zone: Path) -> None:
    landing_zone.chmod(0o000)
    with pytest.raises(LandingZoneError, match=r"exports cannot be listed .*ACL_EXPORTS_DIR"):
        list_as_ordinary_user(0)
    landing_zone.chmod(0o755)


def test_manifest_that_becomes_a_fifo_after_it_was_listed_is_skipped(
    zone: FolderZone, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Opening it must not wait for somebody who writes."""
    zone.land("good")
    manifest = zone.land("bad", exported_at=hours(1)) / "manifest.json"
    entries = list(FolderLandingZone(zone.folder).entries())
    manifest.unlink()
    os.mkfifo(manifest)
    monkeypatch.setattr(FolderLandingZone, "entries", lambda zone: iter(entries))
    assert zone.ids() == ["good"]
    assert "not a regular file" in zone.listing().skipped["bad"]


def test_manifest_that_grows_after_it_was_listed_is_read_in_part(zone: FolderZone) -> None:
    batch = zone.land("a")
    os.truncate(batch / "manifest.json", 1 << 40)
    with pytest.raises(BatchError, match="16 MiB"):
        FolderLandingZone(zone.folder).read_manifest(str(batch))


# Verified files -------------------------------------------------------------------------------------------------


@pytest.fixture
def people(zone: FolderZone) -> tuple[Path, ManifestFile]:
    """A file of a batch as its manifest describes it: the folder and the file."""
    folder = zone.land("a", content="id\n1\n")
    return folder, zone.chain().newest.tables["people"].files[0]


@pytest.fixture
def plain_people(zone: FolderZone) -> tuple[Path, ManifestFile]:
    """A file of a batch without a manifest: the folder and the file as it was listed."""
    folder = zone.land_plain("plain")
    return folder, zone.chain().newest.tables["people"].files[0]


def content_of(described: tuple[Path, ManifestFile]) -> bytes:
    with open_verified(*described) as stream:
        return stream.read()


def refusal(described: tuple[Path, ManifestFile]) -> str:
    with pytest.raises(BatchError) as raised:
        content_of(described)
    folder, file = described
    assert str(raised.value).startswith(f"{folder / file.path}: ")
    return str(raised.value)


def test_file_as_its_manifest_describes_it_is_read(people: tuple[Path, ManifestFile]) -> None:
    assert content_of(people) == b"id\n1\n"


def test_file_without_a_checksum_is_compared_by_size(plain_people: tuple[Path, ManifestFile]) -> None:
    folder, file = plain_people
    assert content_of(plain_people) == b"id\n"
    assert "it has 3 bytes where 6" in refusal((folder, replace(file, bytes=6)))


def removed(file: Path) -> None:
    file.unlink()


def cut(file: Path) -> None:
    file.write_text("id\n")


def changed(file: Path) -> None:
    file.write_text("id\n2\n")


def fifo(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


def link_to_the_same_content(file: Path) -> None:
    file.rename(file.parents[1] / "elsewhere.csv")
    file.symlink_to("../elsewhere.csv")


REFUSED_FILES: dict[Callable[[Path], None], str] = {
    removed: "it is not there",
    cut: "it has 3 bytes where 5 were exported",
    changed: "its SHA-256 is",
    fifo: "it is not a regular file",
    link_to_the_same_content: "symbolic link",
}


@pytest.mark.parametrize("change", REFUSED_FILES, ids=lambda change: change.__name__)
def test_file_that_is_not_the_described_one_is_refused(
    change: Callable[[Path], None], people: tuple[Path, ManifestFile]
) -> None:
    change(people[0] / "people.csv")
    assert REFUSED_FILES[change] in refusal(people)


@pytest.mark.parametrize("change", [changed, fifo, link_to_the_same_content])
def test_plain_file_replaced_after_it_was_listed_is_refused(
    change: Callable[[Path], None], plain_people: tuple[Path, ManifestFile]
) -> None:
    """Its size and time are all that is known of it."""
    change(plain_people[0] / "people.csv")
    refusal(plain_people)


def test_refused_files_leave_no_descriptor_open(people: tuple[Path, ManifestFile]) -> None:
    (people[0] / "people.csv").unlink()
    (people[0] / "people.csv").mkdir()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        refusal(people)
    assert len(os.listdir("/proc/self/fd")) == before


def test_errors_name_a_copied_file_where_it_landed(people: tuple[Path, ManifestFile]) -> None:
    folder, file = people
    (folder / "people.csv").unlink()
    with (
        pytest.raises(FileUnreadableError, match=r"^s3://bucket/a/people\.csv: ") as raised,
        open_verified(folder, file, "s3://bucket/a/people.csv"),
    ):
        pass
    assert raised.value.where == "s3://bucket/a/people.csv"


def test_batches_in_a_linked_landing_zone_are_read(zone: FolderZone, tmp_path: Path) -> None:
    """The landing zone may be a mount or a link, and so may a batch's folder."""
    zone.land("a").rename(tmp_path / "a")
    (zone.folder / "a").symlink_to(tmp_path / "a")
    (tmp_path / "link").symlink_to(zone.folder)
    batch = FolderZone(tmp_path / "link").chain().newest
    assert content_of((Path(batch.folder), batch.tables["bands"].files[0])) == b"id\n"


# Files that are replaced ----------------------------------------------------------------------------------------


def swap_while_hashing(monkeypatch: pytest.MonkeyPatch, act: Callable[[], object]) -> None:
    """Act once, after the first bytes of a file were hashed and before the last."""
    real = folder_store.hashlib.sha256
    done: list[object] = []

    def sha256() -> SimpleNamespace:
        digest = real()

        def update(chunk: bytes) -> None:
            digest.update(chunk)
            if not done:
                done.append(act())

        return SimpleNamespace(update=update, hexdigest=digest.hexdigest)

    monkeypatch.setattr(folder_store, "hashlib", SimpleNamespace(sha256=sha256))
    monkeypatch.setattr(folder_store, "_CHUNK_BYTES", 2)


def test_file_replaced_while_it_is_hashed_is_read_as_it_was(
    people: tuple[Path, ManifestFile], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What is read comes from the open file that was hashed, never from its name."""
    (tmp_path / "other.csv").write_text("id\n2\n")
    swap_while_hashing(monkeypatch, lambda: os.replace(tmp_path / "other.csv", people[0] / "people.csv"))
    assert content_of(people) == b"id\n1\n"
    assert (people[0] / "people.csv").read_text() == "id\n2\n"


@pytest.mark.parametrize("written", ["id\n2\n", "id\n1\n2\n", "i"])
def test_file_overwritten_while_it_is_hashed_is_refused(
    written: str, people: tuple[Path, ManifestFile], monkeypatch: pytest.MonkeyPatch
) -> None:
    swap_while_hashing(monkeypatch, lambda: (people[0] / "people.csv").write_text(written))
    refusal(people)


def test_file_overwritten_after_it_was_hashed_is_refused(people: tuple[Path, ManifestFile]) -> None:
    """The same open file shows the new bytes, so the file must be the same at the end."""
    folder, file = people
    with pytest.raises(BatchError, match=r"people\.csv: it changed while it was read"), open_verified(folder, file):
        (folder / "people.csv").write_text("id\n2\n")
