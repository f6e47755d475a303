"""A landing zone on object storage: listing it, landing a batch there, fetching files.

An object appears as a whole, so nothing is renamed: the manifest is the last object of a batch.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from acl_assets.landing_zone.manifest import (
    MANIFEST_NAME,
    MOST_MANIFEST_BYTES,
    UNFINISHED_MANIFEST_NAME,
    BatchError,
    ExportBatch,
    FileUnreadableError,
    ManifestFile,
    contract_breach,
)
from acl_assets.landing_zone.store import FileStamp, LandedEntry
from acl_assets.util import object_storage
from acl_assets.util.object_storage import ObjectStorageError, StoredFile


@dataclass(frozen=True)
class S3LandingZone:
    """Batches as folders below a URL such as `s3://bucket/acl/exports`."""

    url: str

    @property
    def location(self) -> str:
        """The URL of the landing zone."""
        return self.url

    @property
    def is_local(self) -> bool:
        """Return False."""
        return False

    def entries(self) -> Iterator[LandedEntry]:
        """List the folders by names, sizes and times alone, in the order of names."""
        folders: dict[str, dict[str, StoredFile]] = {}
        for path, file in object_storage.list_files(self.url).items():
            folder, separator, name = path.partition("/")
            if folder.startswith((".", "_")):
                continue
            if separator:
                folders.setdefault(folder, {})[name] = file
            else:
                yield LandedEntry(folder, f"{self.url}/{folder}", is_folder=False)
        for folder in sorted(folders):
            yield _entry(folder, f"{self.url}/{folder}", folders[folder])

    def read_manifest(self, folder: str) -> bytes:
        """Return the content of a batch's manifest."""
        url = f"{folder}/{MANIFEST_NAME}"
        try:
            content = object_storage.read_file(url, MOST_MANIFEST_BYTES + 1)
        except ObjectStorageError as error:
            # The folder could be listed, so this is about the one object.
            if isinstance(error.__cause__, FileNotFoundError | PermissionError):
                raise FileUnreadableError(url, f"it cannot be read ({error.__cause__})") from None
            raise
        if len(content) > MOST_MANIFEST_BYTES:
            raise contract_breach(url, "it is larger than 16 MiB")
        return content

    @contextmanager
    def local_files(self, batch: ExportBatch, table: str, scratch: Path) -> Iterator[Path]:
        """Give a folder with copies of the files of one table, removed afterwards."""
        folder = scratch / f"{batch.digest}-{table}"
        try:
            for file in batch.tables[table].files:
                # A missing file is found when the copy is verified.
                object_storage.download(f"{batch.folder}/{file.path}", folder / file.path)
            if not batch.has_manifest:
                self._require_unchanged(batch, table)
                _set_listed_times(folder, batch.tables[table].files)
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _require_unchanged(self, batch: ExportBatch, table: str) -> None:
        """Refuse a batch whose objects were replaced while they were fetched."""
        found = object_storage.list_files(batch.folder)
        for file in batch.tables[table].files:
            if file.path not in found or tuple(found[file.path]) != (file.bytes, file.modified_ns):
                raise contract_breach(batch.folder, "it changed while it was read")


def _set_listed_times(folder: Path, files: Iterable[ManifestFile]) -> None:
    """Give copies the times of their objects, by which they are verified."""
    for file in files:
        if file.modified_ns is not None:
            os.utime(folder / file.path, ns=(file.modified_ns, file.modified_ns))


def _entry(name: str, url: str, files: dict[str, StoredFile]) -> LandedEntry:
    if manifest := files.get(MANIFEST_NAME):
        return LandedEntry(name, url, manifest=FileStamp(*manifest))
    direct = {file: FileStamp(*stored) for file, stored in files.items() if file and "/" not in file}
    deeper = sorted({file.partition("/")[0] for file in files if "/" in file})
    return LandedEntry(
        name,
        url,
        files=direct,
        others=tuple(deeper),
        is_unfinished=UNFINISHED_MANIFEST_NAME in direct,
        last_change=max((stored.modified_ns for stored in files.values()), default=0) / 1e9,
    )


# Landing --------------------------------------------------------------------------------------------------------


def land_remotely(folder: Path, exports_url: str) -> str:
    """Send a complete batch of this machine to a landing zone on object storage, its manifest last; return its URL.

    Until then a mark tells it from a batch without a manifest.

    Raises:
        BatchError: something of that name is there; batches are immutable.
        ObjectStorageError: it cannot be sent; what was sent until then is removed as far as possible.
    """
    url = f"{exports_url}/{folder.name}"
    if object_storage.list_files(url):
        raise BatchError(f"{url} is there already and batches are immutable; choose another batch id or remove it.")
    mark = f"{url}/{UNFINISHED_MANIFEST_NAME}"
    files = sorted(folder.iterdir(), key=lambda file: (file.name == MANIFEST_NAME, file.name))
    try:
        if files[-1].name == MANIFEST_NAME:
            object_storage.write_file(mark, b"")
        for file in files:
            object_storage.upload(file, f"{url}/{file.name}")
    except BaseException:
        with suppress(ObjectStorageError):
            remove_unfinished(exports_url, folder.name)
        raise
    object_storage.remove([mark])
    return url


def remove_unfinished(exports_url: str, batch_id: str) -> None:
    """Remove the objects of a batch whose manifest is still to come.

    Raises:
        ObjectStorageError: they cannot be removed.
    """
    url = f"{exports_url}/{batch_id}"
    files = object_storage.list_files(url)
    if MANIFEST_NAME not in files:
        # The mark goes last: without it the files could be taken for a batch without a manifest.
        object_storage.remove(f"{url}/{name}" for name in files if name != UNFINISHED_MANIFEST_NAME)
        object_storage.remove([f"{url}/{UNFINISHED_MANIFEST_NAME}"])
