"""Source tables on object storage, as on this machine: one folder per batch chain and a pointer to the current one.

They are for machines that have no source tables yet, and for a Spark cluster. The pointer is an object, `current`,
whose text is the digest of the chain; it is written last, so a reader never sees tables of two chains.
"""

from collections.abc import Container
from pathlib import Path

from acl_assets.landing_zone.batches import BatchChain
from acl_assets.source_tables.current_state import CURRENT, begin_folder, folder_files, give_final_name
from acl_assets.util import object_storage


def fetch_prefix(source_tables_url: str, source_tables_dir: Path, chain: BatchChain, held: int) -> None:
    """Fetch the current source tables of object storage if they hold more than the first `held` batches of a chain.

    What is fetched is verified where it is used, by `longest_prefix`.

    Raises:
        ObjectStorageError: object storage cannot be read.
    """
    digest = _pointed_digest(source_tables_url, object_storage.list_files(source_tables_url))
    if digest not in chain.prefix_digests()[held:]:
        return
    unfinished = begin_folder(source_tables_dir, digest)
    for name in folder_files():
        if not object_storage.download(f"{source_tables_url}/{digest}/{name}", unfinished / name):
            return
        (unfinished / name).chmod(0o600)
    give_final_name(unfinished, digest)


def _pointed_digest(source_tables_url: str, present: Container[str]) -> str:
    """Return the text of the pointer object, nothing without one; it comes from outside and is not used as a path."""
    if CURRENT not in present:
        return ""
    return object_storage.read_file(f"{source_tables_url}/{CURRENT}", 65).decode(errors="replace")


def send_current(source_tables_url: str, folder: Path) -> None:
    """Send a folder of source tables, point to it, and remove all but it and the one before it.

    Files that are there already in the same size are not sent again.

    Raises:
        ObjectStorageError: it cannot be written.
    """
    found = object_storage.list_files(source_tables_url)
    previous = _pointed_digest(source_tables_url, found)
    for name in folder_files():
        path = f"{folder.name}/{name}"
        if path not in found or found[path].size != (folder / name).stat().st_size:
            object_storage.upload(folder / name, f"{source_tables_url}/{path}")
    object_storage.write_file(f"{source_tables_url}/{CURRENT}", folder.name.encode())
    if previous != folder.name:
        kept = {folder.name, previous}
        outdated = (path for path in found if path != CURRENT and path.split("/")[0] not in kept)
        object_storage.remove(f"{source_tables_url}/{path}" for path in outdated)
