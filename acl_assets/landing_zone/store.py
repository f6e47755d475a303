"""The interface of a landing zone, and the store for a location: a folder of this machine or object storage."""

from collections.abc import Hashable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from acl_assets.landing_zone.manifest import ExportBatch
from acl_assets.util.object_storage import StoredFile


class LandingZoneError(Exception):
    """The landing zone itself cannot be listed; the message says why and what to do."""


@dataclass(frozen=True)
class LandedEntry:
    """One entry of a landing zone as the store lists it, before any file is opened.

    `files` are its regular files by name, `others` names what else lies in it. `last_change` is in seconds since the
    epoch, by change times where the store has them. `problem` is why a folder cannot be looked into.
    """

    name: str
    location: str
    files: dict[str, StoredFile] = field(default_factory=dict)
    others: tuple[str, ...] = ()
    last_change: float = 0.0
    problem: str | None = None
    is_folder: bool = True


class LandingZone(Hashable, Protocol):
    """A place in which batches land. Its methods raise `ObjectStorageError` when object storage cannot be used."""

    @property
    def location(self) -> str:
        """The path or URL of the landing zone."""

    def entries(self) -> Iterator[LandedEntry]:
        """List what no leading dot or underscore hides, by names, sizes and times, or raise LandingZoneError."""

    def read_manifest(self, folder: str) -> bytes:
        """Return a manifest, or its first 16 MiB and one byte, or raise FileUnreadableError."""

    def local_files(self, batch: ExportBatch, table: str, scratch: Path) -> AbstractContextManager[Path]:
        """Give a folder with the files of one table, copies below `scratch` for a while, or raise BatchError."""


def landing_zone_at(location: Path | str) -> LandingZone:
    """Return the landing zone at a folder of this machine or, given as text, at a URL of object storage."""
    if isinstance(location, Path):
        from acl_assets.landing_zone.folder_store import FolderLandingZone

        return FolderLandingZone(str(location))
    from acl_assets.landing_zone.s3_store import S3LandingZone

    return S3LandingZone(location)
