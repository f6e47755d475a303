"""A landing zone in a folder that others write to: verified files are read, all others are refused or named."""

import hashlib
import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from io import BufferedReader
from pathlib import Path
from typing import Any

import pytest
from landing_zones import FolderZone, hours

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


def land_bad(zone: FolderZone) -> Path:
    """Land a newer batch than the good one, and return its manifest."""
    return zone.land("bad", hours(1)) / "manifest.json"


BAD_ENTRIES: dict[str, tuple[Callable[[FolderZone], Any], str]] = {
    "dangling link": (lambda zone: (zone.folder / "bad").symlink_to("nowhere"), "the target of this link cannot be"),
    "FIFO as manifest": (lambda zone: turn_into_fifo(land_bad(zone)), "its manifest.json is not a regular file"),
    "link as file": (lambda zone: turn_into_link(zone.land_plain("bad") / "tickets.csv"), "tickets.csv (not a regular"),
    "name not UTF-8": (lambda zone: zone.land_plain(os.fsdecode(b"bad\xff")), "not UTF-8"),
    "long name": (
        lambda zone: zone.land_plain(f"bad{'x' * 126}"),
        "129 characters, and a batch's name at most 128",
    ),
    "control characters": (lambda zone: zone.land_plain("bad\n\x1b[2J"), "control characters"),
}


@pytest.mark.parametrize(("plant", "expected"), BAD_ENTRIES.values(), ids=BAD_ENTRIES)
def test_bad_entry_is_named_and_good_batches_beside_it_are_used(
    plant: Callable[[FolderZone], Any], expected: str, zone: FolderZone
) -> None:
    zone.land("good")
    plant(zone)
    listing = zone.settled()
    ((name, reason),) = listing.skipped.items()
    assert name.startswith("bad")
    assert expected in reason
    assert listing.skipped_text.isprintable()
    assert zone.ids() == ["good"]


def test_manifest_that_cannot_be_opened_is_skipped(zone: FolderZone, monkeypatch: pytest.MonkeyPatch) -> None:
    """Opening a pipe in its place must not wait for somebody who writes."""
    zone.land("good")
    manifest = land_bad(zone)
    entries = list(FolderLandingZone(str(zone.folder)).entries())
    turn_into_fifo(manifest)
    monkeypatch.setattr(FolderLandingZone, "entries", lambda zone: iter(entries))
    assert zone.ids() == ["good"]
    assert "not a regular file" in zone.listing().skipped["bad"]


# Verified files -------------------------------------------------------------------------------------------------


Described = tuple[Path, ManifestFile]


def described(batch: Path) -> Described:
    """Return the folder of a batch, and one of its files as it was listed."""
    return batch, FolderZone(batch.parent).chain().newest.tables["people"].files[0]


@pytest.fixture
def people(zone: FolderZone) -> Described:
    return described(zone.land("a", content="id\n1\n"))


def verified(people: Described) -> AbstractContextManager[BufferedReader]:
    folder, file = people
    return open_verified(folder, file, f"{folder}/{file.path}")


def content_of(people: Described) -> bytes:
    with verified(people) as stream:
        return stream.read()


REFUSED_FILES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "removed": (Path.unlink, "the batch has this file, but it is not there"),
    "cut": (lambda file: file.write_text("id\n"), "it has 3 bytes where 5 were exported"),
    "changed": (lambda file: file.write_text("id\n2\n"), "its SHA-256 is"),
    "link to the same content": (turn_into_link, "it is a symbolic link"),
}


@pytest.mark.parametrize(("change", "expected"), REFUSED_FILES.values(), ids=REFUSED_FILES)
def test_file_that_is_not_the_described_one_is_refused(
    change: Callable[[Path], Any], expected: str, people: Described
) -> None:
    change(people[0] / "people.csv")
    with pytest.raises(BatchError, match=rf"^{people[0]}/people\.csv: {expected}"):
        content_of(people)


def test_plain_file_replaced_after_it_was_listed_is_refused(zone: FolderZone) -> None:
    """Its size and time are all that is known of it."""
    people = described(zone.land_plain("plain"))
    assert content_of(people) == b"id\n"
    (people[0] / "people.csv").write_text("no\n")
    with pytest.raises(BatchError, match="it changed since the landing zone was listed"):
        content_of(people)


def test_file_replaced_after_it_was_hashed_is_read_as_it_was(
    people: Described, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The reader uses the open file that was hashed and never opens the name again."""
    (tmp_path / "other.csv").write_text("id\n2\n")
    hash_file = hashlib.file_digest

    def hash_and_replace(*arguments: Any) -> Any:
        digest = hash_file(*arguments)
        os.replace(tmp_path / "other.csv", people[0] / "people.csv")
        return digest

    monkeypatch.setattr(hashlib, "file_digest", hash_and_replace)
    assert content_of(people) == b"id\n1\n"


def test_file_overwritten_after_it_was_hashed_is_refused(people: Described) -> None:
    """The same open file shows the new bytes, so the file must be the same at the end."""
    with pytest.raises(BatchError, match=r"people\.csv: it changed while it was read"), verified(people):
        (people[0] / "people.csv").write_text("id\n2\n")
