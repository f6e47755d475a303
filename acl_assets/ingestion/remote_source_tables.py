"""The current source tables on object storage: for machines that have none yet, and for a Spark cluster.

They are copies of what `source_state` shows on this machine, under one glob, `current/<table>/*.parquet`. A name tells
the file's content: the place of its newest batch in the state, the name it has on this machine, and that batch's
digest. Many files cannot be switched at once there, so a reader between the first and the last of them sees two
states: read them in the refresh that switched them, of which there is one at a time.

What belongs here: what is kept there. What does not: what is current (`source_state`), moving bytes (`object_storage`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from acl_assets.ingestion import object_storage
from acl_assets.ingestion.compaction import compacted_folder, is_compacted_stem
from acl_assets.ingestion.converted_table import ConvertedTable
from acl_assets.ingestion.export_batch import ExportBatch, LandingZoneState
from acl_assets.ingestion.source_schema import SOURCE_TABLES
from acl_assets.ingestion.source_state import EXPORT_BATCHES, converted_file, table_files

_REMOTE_NAME = re.compile(r"(?P<position>\d{5,})-(?P<stem>.+)-(?P<digest>[0-9a-f]{16})\.parquet")


def fetch_conversions(
    source_tables_url: str,
    source_tables_dir: Path,
    table: str,
    batches: Sequence[ExportBatch],
    known: Sequence[ConvertedTable | None],
) -> None:
    """Fetch what another machine has made of the batches of a state, as far as this one knows none of it.

    Args:
        source_tables_url: where source tables are kept on object storage.
        source_tables_dir: where they are on this machine.
        table: name of the table.
        batches: the batches of the state, in order.
        known: what this machine has of each.

    Raises:
        ObjectStorageError: it cannot be fetched.
    """
    folder = f"{source_tables_url}/current/{table}"
    for name in object_storage.list_files(folder):
        found = _REMOTE_NAME.fullmatch(name)
        position = int(found["position"]) if found else len(batches)
        if found is None or position >= len(batches) or found["digest"] != batches[position].digest[:16]:
            continue
        # Whoever may write there names files as they like: a name is a path here only where it is one of ours.
        if found["stem"] == batches[position].batch_id:
            if known[position] is None:
                object_storage.download(f"{folder}/{name}", converted_file(source_tables_dir, table, batches[position]))
        elif is_compacted_stem(found["stem"]):
            object_storage.download(
                f"{folder}/{name}", compacted_folder(source_tables_dir, table) / f"{found['stem']}.parquet"
            )


def send_current(source_tables_url: str, source_tables_dir: Path, state: LandingZoneState) -> None:
    """Bring the source tables on object storage in step with the state that has become current on this machine.

    What is there already is not sent again; what no longer belongs there is removed, last.

    Raises:
        ObjectStorageError: it cannot be written.
    """
    wanted = {
        f"{table}/{position:05}-{file.stem}-{state.batches[position].digest[:16]}.parquet": file
        for table in SOURCE_TABLES
        for position, file in table_files(source_tables_dir, table, state.batches).items()
    }
    provenance = f"{EXPORT_BATCHES}/{state.digest}.parquet"
    wanted[provenance] = source_tables_dir / provenance
    current = f"{source_tables_url}/current"
    found = object_storage.list_files(current)
    for path, file in wanted.items():
        if path not in found or found[path].size != file.stat().st_size:
            object_storage.upload(file, f"{current}/{path}")
    object_storage.remove(f"{current}/{path}" for path in found.keys() - wanted.keys())
