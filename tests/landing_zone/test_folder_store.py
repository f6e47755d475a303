"""A landing zone in a folder that others write to: what is opened, what is refused, and what only gets a name."""

import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest
from landing_zones import SETTLE_SECONDS, FolderZone, as_ordinary_user, hours, listed_ids

from acl_assets.landing_zone import folder_store
from acl_assets.landing_zone.batches import Listing, list_batches, resolve_chain
from acl_assets.landing_zone.folder_store import FolderLandingZone, open_verified
from acl_assets.landing_zone.manifest import BatchError, ManifestFile


def turn_into_fifo(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


def turn_into_link(file: Path) -> None:
    """The target is as good, but it lies outside of the folder."""
    file.rename(file.parents[2] / file.name)
    file.symlink_to(f"../../{file.name}")


# Entries that cannot be used ------------------------------------------------------------------------------------


def land_bad(landing_zone: Path) -> Path:
    """Land a newer batch than the good one, and return its manifest."""
    return FolderZone(landing_zone).land("bad", hours(1)) / "manifest.json"


def land_bad_plain(landing_zone: Path) -> Path:
    """Land a batch without a manifest, and return one of its files."""
    return FolderZone(landing_zone).land_plain("bad") / "tickets.csv"


BAD_ENTRIES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "unreadable folder": (lambda zone: land_bad(zone).parent.chmod(0o000), "it cannot be read (Permission denied)"),
    "folder that cannot be listed": (lambda zone: land_bad_plain(zone).parent.chmod(0o111), "(Permission denied)"),
    "unreadable manifest": (lambda zone: land_bad(zone).chmod(0o000), "manifest.json: it cannot be read (Permission"),
    "link to itself": (lambda zone: (zone / "bad").symlink_to("bad"), "the target of this link cannot be read"),
    "dangling link": (lambda zone: (zone / "bad").symlink_to("nowhere"), "the target of this link cannot be read"),
    "FIFO as manifest": (lambda zone: turn_into_fifo(land_bad(zone)), "its manifest.json is not a regular file"),
    "link as manifest": (lambda zone: turn_into_link(land_bad(zone)), "its manifest.json is not a regular file"),
    "FIFO as file": (lambda zone: turn_into_fifo(land_bad_plain(zone)), "tickets.csv (not a regular file)"),
    "link as file": (lambda zone: turn_into_link(land_bad_plain(zone)), "tickets.csv (not a regular file)"),
    "name not UTF-8": (lambda zone: FolderZone(zone).land_plain(os.fsdecode(b"bad\xff")), "not UTF-8"),
    "control characters": (lambda zone: FolderZone(zone).land_plain("bad\n\x1b[2J"), "control characters"),
    "long name": (lambda zone: land_bad(zone).parent.rename(zone / ("bad" + "x" * 247)), "250 characters"),
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
    listed = as_ordinary_user(partial(list_batches, FolderLandingZone(Path("exports")), SETTLE_SECONDS, now))
    return cast("Listing", listed)


@pytest.mark.parametrize(("plant", "expected"), BAD_ENTRIES.values(), ids=BAD_ENTRIES)
def test_bad_entry_is_named_and_good_batches_beside_it_are_used(
    plant: Callable[[Path], Any], expected: str, landing_zone: Path
) -> None:
    plant(landing_zone)
    listing = list_as_ordinary_user(os.stat(landing_zone).st_ctime + 10 * SETTLE_SECONDS)
    assert listed_ids(listing) == ["good"]
    assert listing.broken == ()
    ((name, reason),) = listing.skipped.items()
    assert name.startswith("bad")
    assert expected in reason
    assert listing.skipped_text.isprintable()
    assert len(listing.skipped_text) < 2_000
    assert [batch.batch_id for batch in resolve_chain(listing).batches] == ["good"]


def test_manifest_that_becomes_a_fifo_after_it_was_listed_is_skipped(
    zone: FolderZone, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Opening it must not wait for somebody who writes."""
    zone.land("good")
    manifest = land_bad(zone.folder)
    entries = list(FolderLandingZone(zone.folder).entries())
    turn_into_fifo(manifest)
    monkeypatch.setattr(FolderLandingZone, "entries", lambda zone: iter(entries))
    assert zone.ids() == ["good"]
    assert "not a regular file" in zone.listing().skipped["bad"]


# Verified files -------------------------------------------------------------------------------------------------


@pytest.fixture
def people(zone: FolderZone) -> tuple[Path, ManifestFile]:
    """The folder of a batch, and one of its files as its manifest describes it."""
    folder = zone.land("a", content="id\n1\n")
    return folder, zone.chain().newest.tables["people"].files[0]


@pytest.fixture
def plain_people(zone: FolderZone) -> tuple[Path, ManifestFile]:
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


REFUSED_FILES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "removed": (Path.unlink, "it is not there"),
    "cut": (lambda file: file.write_text("id\n"), "it has 3 bytes where 5 were exported"),
    "changed": (lambda file: file.write_text("id\n2\n"), "its SHA-256 is"),
    "FIFO": (turn_into_fifo, "it is not a regular file"),
    "link to the same content": (turn_into_link, "it is a symbolic link"),
}


@pytest.mark.parametrize(("change", "expected"), REFUSED_FILES.values(), ids=REFUSED_FILES)
def test_file_that_is_not_the_described_one_is_refused(
    change: Callable[[Path], Any], expected: str, people: tuple[Path, ManifestFile]
) -> None:
    change(people[0] / "people.csv")
    assert expected in refusal(people)


def test_plain_file_replaced_after_it_was_listed_is_refused(plain_people: tuple[Path, ManifestFile]) -> None:
    """Its size and time are all that is known of it."""
    assert content_of(plain_people) == b"id\n"
    (plain_people[0] / "people.csv").write_text("no\n")
    assert "it changed since the landing zone was listed" in refusal(plain_people)


def test_batches_in_a_linked_landing_zone_are_read(zone: FolderZone, tmp_path: Path) -> None:
    """The landing zone may be a mount or a link, and so may a batch's folder."""
    zone.land("a").rename(tmp_path / "a")
    (zone.folder / "a").symlink_to(tmp_path / "a")
    (tmp_path / "link").symlink_to(zone.folder)
    batch = FolderZone(tmp_path / "link").chain().newest
    assert content_of((Path(batch.folder), batch.tables["bands"].files[0])) == b"id\n"


# Files that are replaced ----------------------------------------------------------------------------------------


def act_after_hashing(monkeypatch: pytest.MonkeyPatch, act: Callable[[], Any]) -> None:
    """Act between the check of a file and its first reader."""
    hash_file = hashlib.file_digest

    def file_digest(*arguments: Any) -> Any:
        digest = hash_file(*arguments)
        act()
        return digest

    monkeypatch.setattr(folder_store.hashlib, "file_digest", file_digest)


def test_file_replaced_after_it_was_hashed_is_read_as_it_was(
    people: tuple[Path, ManifestFile], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What is read comes from the open file that was hashed, never from its name."""
    (tmp_path / "other.csv").write_text("id\n2\n")
    act_after_hashing(monkeypatch, lambda: os.replace(tmp_path / "other.csv", people[0] / "people.csv"))
    assert content_of(people) == b"id\n1\n"
    assert (people[0] / "people.csv").read_text() == "id\n2\n"


def test_file_overwritten_after_it_was_hashed_is_refused(
    people: tuple[Path, ManifestFile], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same open file shows the new bytes, so the file must be the same at the end."""
    act_after_hashing(monkeypatch, lambda: (people[0] / "people.csv").write_text("id\n2\n"))
    assert "it changed while it was read" in refusal(people)
