"""Source tables on object storage, as on this machine: one folder per batch chain and a pointer to the current one.

They are for machines that have no source tables yet, and for a Spark cluster. The pointer is an object, `current`,
whose text is the digest of the chain; it is written last, so a reader never sees tables of two chains.
"""

from __future__ import annotations

from collections.abc import Container
from pathlib import Path

from pydantic import ValidationError

from acl_assets.landing_zone.batches import BatchChain
from acl_assets.source_schema import SOURCE_TABLES
from acl_assets.source_tables.current_state import (
    CHAIN_FILE,
    CURRENT,
    EXPORT_BATCHES,
    ConvertedChain,
    DamagedStateError,
    begin_folder,
    give_final_name,
    is_digest,
    read_chain,
)
from acl_assets.util import object_storage

_MOST_CHAIN_BYTES = 64 << 20


def fetch_prefix(source_tables_url: str, source_tables_dir: Path, chain: BatchChain, held: int) -> None:
    """Fetch the current source tables of object storage if they hold more than the first `held` batches of a chain.

    Raises:
        ObjectStorageError: object storage cannot be read.
    """
    present = object_storage.list_files(source_tables_url)
    digest = _pointed_digest(source_tables_url, present)
    if digest is None or f"{digest}/{CHAIN_FILE}" not in present:
        return
    url = f"{source_tables_url}/{digest}"
    try:
        found = ConvertedChain.model_validate_json(object_storage.read_file(f"{url}/{CHAIN_FILE}", _MOST_CHAIN_BYTES))
    except ValidationError:
        return
    if found.digest != digest or not found.begins(chain) or len(found.batches) <= held:
        return
    ungive_final_name = begin_folder(source_tables_dir, digest)
    for name in _file_names():
        if not object_storage.download(f"{url}/{name}", ungive_final_name / name):
            return
        (ungive_final_name / name).chmod(0o600)
    try:
        read_chain(ungive_final_name)
    except DamagedStateError:
        return
    give_final_name(ungive_final_name, digest)


def _file_names() -> list[str]:
    return [*(f"{table}.parquet" for table in (*SOURCE_TABLES, EXPORT_BATCHES)), CHAIN_FILE]


def _pointed_digest(source_tables_url: str, present: Container[str]) -> str | None:
    """Return the digest of the pointer object, None without one; a name from outside is checked before it is used."""
    if CURRENT not in present:
        return None
    text = object_storage.read_file(f"{source_tables_url}/{CURRENT}", 65).decode(errors="replace")
    return text if is_digest(text) else None


def send_current(source_tables_url: str, folder: Path) -> None:
    """Send a folder of source tables, point to it, and remove all but it and the one before it.

    Files that are there already in the same size are not sent again.

    Raises:
        ObjectStorageError: it cannot be written.
    """
    found = object_storage.list_files(source_tables_url)
    previous = _pointed_digest(source_tables_url, found)
    for name in _file_names():
        path = f"{folder.name}/{name}"
        if path not in found or found[path].size != (folder / name).stat().st_size:
            object_storage.upload(folder / name, f"{source_tables_url}/{path}")
    object_storage.write_file(f"{source_tables_url}/{CURRENT}", folder.name.encode())
    if previous != folder.name:
        kept = {folder.name, previous}
        outdated = (path for path in found if path != CURRENT and path.split("/")[0] not in kept)
        object_storage.remove(f"{source_tables_url}/{path}" for path in outdated)
