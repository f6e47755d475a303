"""A landing zone in a folder of this machine.

Others write there, so nothing is trusted: only regular files are opened, each of them once and without following a
link, and what is hashed is what is read.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from acl_assets.landing_zone.manifest import (
    MANIFEST_NAME,
    MOST_MANIFEST_BYTES,
    UNFINISHED_MANIFEST_NAME,
    ExportBatch,
    FileUnreadableError,
    ManifestFile,
    contract_breach,
)
from acl_assets.landing_zone.store import FileStamp, LandedEntry, LandingZoneError

_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class FolderLandingZone:
    """Batches as folders of a folder; a missing folder is an empty landing zone."""

    path: Path

    @property
    def location(self) -> str:
        """The path of the landing zone."""
        return str(self.path)

    @property
    def is_local(self) -> bool:
        """Return True."""
        return True

    def entries(self) -> Iterator[LandedEntry]:
        """List the folders by names and file times alone, in the order of names."""
        try:
            names = sorted(os.listdir(self.path))
        except FileNotFoundError:
            return
        except OSError as error:
            raise LandingZoneError(
                f"The landing zone {self.path} cannot be listed ({error.strerror}). Let this user read the folder, or "
                "correct ACL_EXPORTS_DIR."
            ) from None
        for name in names:
            if name.startswith((".", "_")):
                continue
            location = os.path.join(self.path, name)
            try:
                found = os.stat(location)
                is_folder = stat.S_ISDIR(found.st_mode)
                entry = _look_into(name, location) if is_folder else LandedEntry(name, location, is_folder=False)
            except OSError as error:
                entry = LandedEntry(name, location, problem=_why_unreadable(error, location))
            yield entry

    def read_manifest(self, folder: str) -> bytes:
        """Return the content of a batch's manifest."""
        with open_regular(Path(folder), MANIFEST_NAME) as stream:
            content = stream.read(MOST_MANIFEST_BYTES + 1)
        if len(content) > MOST_MANIFEST_BYTES:
            raise contract_breach(os.path.join(folder, MANIFEST_NAME), "it is larger than 16 MiB")
        return content

    @contextmanager
    def local_files(self, batch: ExportBatch, table: str, scratch: Path) -> Iterator[Path]:
        """Give the batch's own folder."""
        yield Path(batch.folder)


def _look_into(name: str, location: str) -> LandedEntry:
    """Describe a folder; a manifest is enough to know, without one every file is looked at."""
    try:
        manifest = os.lstat(os.path.join(location, MANIFEST_NAME))
    except FileNotFoundError:
        return _without_manifest(name, location)
    if not stat.S_ISREG(manifest.st_mode):
        kind = "a symbolic link" if stat.S_ISLNK(manifest.st_mode) else "not a regular file"
        return LandedEntry(name, location, problem=f"its {MANIFEST_NAME} is {kind}")
    return LandedEntry(name, location, manifest=FileStamp(manifest.st_size, manifest.st_mtime_ns))


def _without_manifest(name: str, location: str) -> LandedEntry:
    files: dict[str, FileStamp] = {}
    others: list[str] = []
    last_change = os.stat(location).st_mtime
    for child in sorted(os.listdir(location)):
        found = os.lstat(os.path.join(location, child))
        # A copy can keep old modification times, but not old change times.
        last_change = max(last_change, found.st_mtime, found.st_ctime)
        if stat.S_ISREG(found.st_mode):
            files[child] = FileStamp(found.st_size, found.st_mtime_ns)
        else:
            others.append(child)
    is_unfinished = UNFINISHED_MANIFEST_NAME in files
    return LandedEntry(
        name,
        location,
        files=files,
        others=tuple(others),
        is_unfinished=is_unfinished,
        last_change=last_change,
    )


def _why_unreadable(error: OSError, location: str) -> str:
    if error.errno == errno.ELOOP:
        return "it is a link that leads back to itself"
    if isinstance(error, FileNotFoundError) and os.path.islink(location):
        return "it is a link to something that is not there"
    if isinstance(error, PermissionError):
        return "this user may not read it"
    return f"it cannot be read ({error.strerror})"


# Files ----------------------------------------------------------------------------------------------------------


@contextmanager
def open_regular(folder: Path, name: str, where: str | None = None) -> Iterator[BinaryIO]:
    """Open a regular file that lies directly in a folder, without following a link or waiting for a pipe.

    Args:
        folder: of this machine, where the file lies.
        name: of the file.
        where: how errors name the file; its path when None.

    Raises:
        FileUnreadableError: there is no such file, it is no regular file, or this user may not read it.
    """
    where = where or str(folder / name)
    try:
        folder_descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            descriptor = os.open(name, flags, dir_fd=folder_descriptor)
        finally:
            os.close(folder_descriptor)
    except FileNotFoundError:
        raise FileUnreadableError(where, "the batch has this file, but it is not there") from None
    except OSError as error:
        what = "it is a symbolic link" if error.errno == errno.ELOOP else f"it cannot be read ({error.strerror})"
        raise FileUnreadableError(where, what) from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise FileUnreadableError(where, "it is not a regular file")
    with os.fdopen(descriptor, "rb") as stream:
        yield stream


@contextmanager
def open_verified(folder: Path, file: ManifestFile, where: str | None = None) -> Iterator[BinaryIO]:
    """Open a file of a batch once, compare it with its manifest, and give it at its start.

    Size and SHA-256 are taken of the same open file that is given, so a file put in its place changes nothing.

    Args:
        folder: of this machine, where the file lies.
        file: what it must be.
        where: how errors name the file; its path when None.

    Raises:
        BatchError: the file is missing, not a regular file or not the one of the manifest, or it changed while the
            block ran.
    """
    where = where or str(folder / file.path)
    with open_regular(folder, file.path, where) as stream:
        before = os.fstat(stream.fileno())
        _require_described(stream, before, file, where)
        stream.seek(0)
        yield stream
        after = os.fstat(stream.fileno())
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise contract_breach(where, "it changed while it was read")


def _require_described(stream: BinaryIO, found: os.stat_result, file: ManifestFile, where: str) -> None:
    if found.st_size != file.bytes:
        raise contract_breach(
            where, f"it has {found.st_size:,} bytes where {file.bytes:,} were exported; it was cut or changed"
        )
    if file.modified_ns is not None and found.st_mtime_ns != file.modified_ns:
        raise contract_breach(where, "it changed since the landing zone was listed")
    if file.sha256 is not None:
        digest = hashlib.sha256()
        while chunk := stream.read(_CHUNK_BYTES):
            digest.update(chunk)
        if digest.hexdigest() != file.sha256:
            raise contract_breach(
                where, f"its SHA-256 is {digest.hexdigest()}, the manifest says {file.sha256}; its content changed"
            )
