"""A landing zone on object storage: listing it, landing a batch there, fetching files.

An object appears as a whole, so nothing is renamed: the manifest is the last object of a batch.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from acl_assets.landing_zone.manifest import (
    MANIFEST_NAME,
    MOST_MANIFEST_BYTES,
    UNFINISHED_MANIFEST_NAME,
    ExportBatch,
    FileUnreadableError,
    already_there,
    contract_breach,
)
from acl_assets.landing_zone.store import LandedEntry
from acl_assets.util import object_storage
from acl_assets.util.object_storage import ObjectStorageError, StoredFile


@dataclass(frozen=True)
class S3LandingZone:
    """Batches as folders below a URL such as `s3://bucket/acl/exports`."""

    location: str

    def entries(self) -> Iterator[LandedEntry]:
        """List the files, then the folders, by names, sizes and times alone."""
        folders: dict[str, dict[str, StoredFile]] = {}
        for path, file in object_storage.list_files(self.location).items():
            name, separator, path_in_folder = path.partition("/")
            if name.startswith((".", "_")):
                continue
            if separator:
                folders.setdefault(name, {})[path_in_folder] = file
            else:
                yield LandedEntry(name, f"{self.location}/{name}", is_folder=False)
        for name, found in sorted(folders.items()):
            files = {path: file for path, file in found.items() if path and "/" not in path}
            others = sorted({path.partition("/")[0] for path in found if "/" in path})
            last_change = max(file.modified_ns for file in found.values()) / 1e9
            yield LandedEntry(name, f"{self.location}/{name}", files, tuple(others), last_change)

    def read_manifest(self, folder: str) -> bytes:
        """Return the content of a batch's manifest, or its first 16 MiB and one byte."""
        url = f"{folder}/{MANIFEST_NAME}"
        try:
            return object_storage.read_file(url, MOST_MANIFEST_BYTES + 1)
        except ObjectStorageError as error:
            # The folder could be listed, so this is about the one object.
            if isinstance(error.__cause__, FileNotFoundError | PermissionError):
                raise contract_breach(url, f"it cannot be read ({error.__cause__})", FileUnreadableError) from None
            raise

    @contextmanager
    def local_files(self, batch: ExportBatch, table: str, scratch: Path) -> Iterator[Path]:
        """Give a folder with copies of the files of one table, removed afterwards."""
        folder = scratch / f"{batch.digest}-{table}"
        files = batch.tables[table].files
        try:
            for file in files:
                # A missing file is found when the copy is verified.
                object_storage.download(f"{batch.folder}/{file.path}", folder / file.path)
            if not batch.has_manifest:
                found = object_storage.list_files(batch.folder)
                for file in files:
                    if found.get(file.path) != (file.bytes, file.modified_ns):
                        raise contract_breach(batch.folder, "it changed while it was read")
                    # A copy is verified by the time of its object.
                    os.utime(folder / file.path, ns=(found[file.path].modified_ns,) * 2)
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def land_remotely(folder: Path, exports_url: str) -> str:
    """Send a complete batch of this machine to a landing zone on object storage, its manifest last; return its URL.

    A mark keeps it from being taken for a complete batch until then. What was sent is removed if the rest fails.

    Raises:
        BatchError: something of that name is there; batches are immutable.
        ObjectStorageError: it cannot be sent.
    """
    url = f"{exports_url}/{folder.name}"
    if object_storage.list_files(url):
        raise already_there(url)
    mark = f"{url}/{UNFINISHED_MANIFEST_NAME}"
    try:
        object_storage.write_file(mark, b"")
        for file in sorted(folder.iterdir(), key=lambda file: (file.name == MANIFEST_NAME, file.name)):
            object_storage.upload(file, f"{url}/{file.name}")
    except BaseException:
        with suppress(ObjectStorageError):
            remove_unfinished(exports_url, folder.name)
        raise
    object_storage.remove([mark])
    return url


def remove_unfinished(exports_url: str, batch_id: str) -> None:
    """Remove the objects of a batch whose manifest is still to come, or raise ObjectStorageError."""
    url = f"{exports_url}/{batch_id}"
    files = object_storage.list_files(url)
    if MANIFEST_NAME not in files:
        # The mark goes last: without it the files could be taken for a batch without a manifest.
        object_storage.remove(f"{url}/{name}" for name in files if name != UNFINISHED_MANIFEST_NAME)
        object_storage.remove([f"{url}/{UNFINISHED_MANIFEST_NAME}"])
