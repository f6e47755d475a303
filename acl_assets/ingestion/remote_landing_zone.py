"""A landing zone on object storage: which batches it shows, how one is landed there, how its files are fetched.

There is no renaming there and none is needed: an object appears as a whole, and the manifest is the last one. What
belongs here: batches as objects. What does not: what a batch is (`export_batch`), moving bytes (`object_storage`).
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from acl_assets.ingestion import object_storage
from acl_assets.ingestion.export_batch import (
    MANIFEST_NAME,
    UNFINISHED_MANIFEST_NAME,
    BatchError,
    ExportBatch,
    LandedFolder,
    LandingZoneListing,
    contract_breach,
    find_batches,
    plain_batch,
)
from acl_assets.ingestion.object_storage import ObjectStorageError, StoredFile
from acl_assets.ingestion.source_schema import SOURCE_TABLES


def list_remote_landing_zone(exports_url: str, settle_seconds: float, now: float) -> LandingZoneListing:
    """List a landing zone on object storage by names, sizes and times alone, as `list_landing_zone` does.

    Raises:
        ObjectStorageError: it cannot be listed.
    """
    folders: dict[str, dict[str, StoredFile]] = {}
    for path, file in object_storage.list_files(exports_url).items():
        folder, _, name = path.partition("/")
        if name and not folder.startswith((".", "_")):
            folders.setdefault(folder, {})[name] = file
    complete: list[LandedFolder] = []
    incomplete: dict[str, str] = {}
    for folder in sorted(folders):
        found = _landed(folder, f"{exports_url}/{folder}", folders[folder], settle_seconds, now)
        if isinstance(found, str):
            incomplete[folder] = found
        else:
            complete.append(found)
    return LandingZoneListing(tuple(complete), incomplete)


def _landed(
    name: str, url: str, files: Mapping[str, StoredFile], settle_seconds: float, now: float
) -> LandedFolder | str:
    if manifest := files.get(MANIFEST_NAME):
        return LandedFolder(name, url, has_manifest=True, stamp=((MANIFEST_NAME, *manifest),))
    if UNFINISHED_MANIFEST_NAME in files:
        return "its export has not finished: the manifest is still to come"
    stamp = [(f"{table}.csv", *files[f"{table}.csv"]) for table in SOURCE_TABLES if f"{table}.csv" in files]
    last_change = max((modified_ns for _, _, modified_ns in stamp), default=0) / 1e9
    return plain_batch(name, url, stamp, now - last_change, settle_seconds)


def land_remotely(folder: Path, exports_url: str) -> str:
    """Send a complete batch of this machine to a landing zone on object storage, its manifest last; its URL there.

    Until then a mark tells it from a batch of CSV files without a manifest.

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
    """Remove what there is of a batch whose manifest is still to come.

    Raises:
        ObjectStorageError: it cannot be removed.
    """
    url = f"{exports_url}/{batch_id}"
    files = object_storage.list_files(url)
    if MANIFEST_NAME not in files:
        # The mark goes last: without it CSV files would be a batch.
        object_storage.remove(f"{url}/{name}" for name in files if name != UNFINISHED_MANIFEST_NAME)
        object_storage.remove([f"{url}/{UNFINISHED_MANIFEST_NAME}"])


@contextmanager
def on_this_machine(batch: ExportBatch, table: str, scratch: Path) -> Iterator[ExportBatch]:
    """A batch whose files of one table are on this machine: itself or, from object storage, a copy for the time being.

    Args:
        scratch: the folder below which the copy is made.

    Raises:
        BatchError: what it was raised for while the copy was used, or the batch has changed since it was listed.
        ObjectStorageError: a file cannot be fetched.
    """
    if isinstance(batch.folder, Path):
        yield batch
        return
    folder = scratch / batch.batch_id / table
    try:
        for file in batch.tables[table].files:
            # One that is missing is found by whoever verifies the copy.
            object_storage.download(f"{batch.folder}/{file.path}", folder / file.path)
        if not batch.has_manifest:
            listing = list_remote_landing_zone(batch.folder.rpartition("/")[0], settle_seconds=0, now=float("inf"))
            try:
                find_batches(listing, [(batch.batch_id, batch.digest)])
            except BatchError:
                raise contract_breach(batch.folder, "it changed while it was read") from None
        yield replace(batch, folder=folder)
    except BatchError as error:
        error.args = (str(error).replace(str(folder), batch.folder),)
        raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)
