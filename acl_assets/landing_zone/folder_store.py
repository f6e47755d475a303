"""A landing zone in a folder of this machine.

Others write there, so nothing is trusted: only regular files are opened, each of them once and without following a
link, and what is hashed is what is read.
"""

import errno
import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path

from acl_assets.landing_zone.manifest import (
    MANIFEST_NAME,
    MOST_MANIFEST_BYTES,
    ExportBatch,
    FileUnreadableError,
    ManifestFile,
    contract_breach,
)
from acl_assets.landing_zone.store import LandedEntry, LandingZoneError
from acl_assets.util.object_storage import StoredFile


@dataclass(frozen=True)
class FolderLandingZone:
    """Batches as folders of a folder; a missing folder is an empty landing zone."""

    location: str

    def entries(self) -> Iterator[LandedEntry]:
        """List the folders by names and file times alone, in the order of names."""
        try:
            names = sorted(os.listdir(self.location))
        except FileNotFoundError:
            return
        except OSError as error:
            raise LandingZoneError(
                f"The landing zone {self.location} cannot be listed ({error.strerror}). Let this user read the folder, "
                "or correct ACL_EXPORTS_DIR."
            ) from None
        for name in names:
            if not name.startswith((".", "_")):
                yield _look_into(name, os.path.join(self.location, name))

    def read_manifest(self, folder: str) -> bytes:
        """Return the content of a batch's manifest, or its first 16 MiB and one byte."""
        path = Path(folder, MANIFEST_NAME)
        with _open_regular(path, str(path)) as stream:
            return stream.read(MOST_MANIFEST_BYTES + 1)

    @contextmanager
    def local_files(self, batch: ExportBatch, table: str, scratch: Path) -> Iterator[Path]:
        """Give the batch's own folder."""
        yield Path(batch.folder)


def _look_into(name: str, location: str) -> LandedEntry:
    """Describe an entry; a manifest is enough to know, without one every file is looked at."""
    try:
        folder = os.stat(location)
        if not stat.S_ISDIR(folder.st_mode):
            return LandedEntry(name, location, is_folder=False)
        has_manifest = os.path.lexists(os.path.join(location, MANIFEST_NAME))
        files: dict[str, StoredFile] = {}
        others: list[str] = []
        last_change = folder.st_mtime
        for child in [MANIFEST_NAME] if has_manifest else sorted(os.listdir(location)):
            found = os.lstat(os.path.join(location, child))
            # A copy can keep old modification times, but not old change times.
            last_change = max(last_change, found.st_mtime, found.st_ctime)
            if stat.S_ISREG(found.st_mode):
                files[child] = StoredFile(found.st_size, found.st_mtime_ns)
            else:
                others.append(child)
        return LandedEntry(name, location, files, tuple(others), last_change)
    except OSError as error:
        what = "the target of this link" if os.path.islink(location) else "it"
        return LandedEntry(name, location, problem=f"{what} cannot be read ({error.strerror})")


@contextmanager
def open_verified(folder: Path, file: ManifestFile, where: str) -> Iterator[BufferedReader]:
    """Open a file of a batch once, compare it with its manifest, and give it at its start; errors name it `where`.

    Size and SHA-256 are taken of the same open file that is given, so a file put in its place changes nothing. A file
    that is missing, not regular, not the one of the manifest, or changes while the block runs raises BatchError.
    """
    with _open_regular(folder / file.path, where) as stream:
        before = os.fstat(stream.fileno())
        if before.st_size != file.bytes:
            raise contract_breach(
                where, f"it has {before.st_size:,} bytes where {file.bytes:,} were exported; it was cut or changed"
            )
        if file.modified_ns is not None and before.st_mtime_ns != file.modified_ns:
            raise contract_breach(where, "it changed since the landing zone was listed")
        if file.sha256 is not None:
            found = hashlib.file_digest(stream, "sha256").hexdigest()
            if found != file.sha256:
                raise contract_breach(
                    where, f"its SHA-256 is {found}, the manifest says {file.sha256}; its content changed"
                )
            stream.seek(0)
        yield stream
        after = os.fstat(stream.fileno())
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise contract_breach(where, "it changed while it was read")


@contextmanager
def _open_regular(path: Path, where: str) -> Iterator[BufferedReader]:
    """Open a regular file without following a link or waiting for somebody to write into a pipe."""
    as_it_is = os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        stream = open(path, "rb", opener=lambda name, flags: os.open(name, flags | as_it_is))  # noqa: SIM115 # closed by `with stream`
    except FileNotFoundError:
        raise contract_breach(where, "the batch has this file, but it is not there", FileUnreadableError) from None
    except OSError as error:
        known = {errno.ELOOP: "it is a symbolic link", errno.EISDIR: "it is not a regular file"}
        what = known.get(error.errno or 0, f"it cannot be read ({error.strerror})")
        raise contract_breach(where, what, FileUnreadableError) from None
    with stream:
        if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
            raise contract_breach(where, "it is not a regular file", FileUnreadableError)
        yield stream
