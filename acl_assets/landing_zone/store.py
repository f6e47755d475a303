"""The interface of a landing zone, and the store for a location: a folder of this machine or object storage."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Protocol

from acl_assets.landing_zone.manifest import ExportBatch


class LandingZoneError(Exception):
    """The landing zone itself cannot be listed; the message says why and what to do."""


class FileStamp(NamedTuple):
    """Size in bytes and modification time in nanoseconds since the epoch."""

    size: int
    modified_ns: int


@dataclass(frozen=True)
class LandedEntry:
    """One entry of a landing zone as the store lists it, before any file is opened.

    Attributes:
        name: of the folder.
        location: its path or URL.
        manifest: stamp of its manifest, None without one.
        files: its regular files by name; empty where there is a manifest.
        others: names of what else lies in it, such as folders and links.
        is_unfinished: whether an exporter marked it as a batch whose manifest is still to come.
        last_change: seconds since the epoch of its newest change, by change times where the store has them.
        problem: why it cannot be looked into, None when it can.
        is_folder: False for a file that lies directly in the landing zone.
    """

    name: str
    location: str
    manifest: FileStamp | None = None
    files: dict[str, FileStamp] = field(default_factory=dict)
    others: tuple[str, ...] = ()
    is_unfinished: bool = False
    last_change: float = 0.0
    problem: str | None = None
    is_folder: bool = True


class LandingZone(Protocol):
    """Where export batches land. Implementations are hashable: what was read of a batch is cached by store."""

    def __hash__(self) -> int:
        """Return a hash, equal for the same landing zone."""

    @property
    def location(self) -> str:
        """The path or URL of the landing zone."""

    @property
    def is_local(self) -> bool:
        """Whether it is a folder of this machine."""

    def entries(self) -> Iterator[LandedEntry]:
        """List what lies in the landing zone, in the order of names; no file is opened.

        Raises:
            LandingZoneError: the folder cannot be listed.
            ObjectStorageError: the URL cannot be listed.
        """

    def read_manifest(self, folder: str) -> bytes:
        """Return the content of a batch's manifest, given the path or URL of the batch's folder.

        Raises:
            FileUnreadableError: it cannot be opened.
            BatchError: it is too large.
            ObjectStorageError: object storage does not give it.
        """

    def local_files(self, batch: ExportBatch, table: str, scratch: Path) -> AbstractContextManager[Path]:
        """Give a folder of this machine that holds the files of one table of a batch.

        Args:
            batch: a batch of this landing zone.
            table: name of a source table.
            scratch: the folder below which copies are made; they are removed afterwards.

        Raises:
            BatchError: the batch changed since it was listed.
            ObjectStorageError: a file cannot be fetched.
        """


def landing_zone_at(location: Path | str) -> LandingZone:
    """Return the landing zone at a folder of this machine or, given as text, at a URL of object storage."""
    if isinstance(location, Path):
        from acl_assets.landing_zone.folder_store import FolderLandingZone

        return FolderLandingZone(location)
    from acl_assets.landing_zone.s3_store import S3LandingZone

    return S3LandingZone(location)
