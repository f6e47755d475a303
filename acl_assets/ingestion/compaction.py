"""Source tables in few files, however many batches they were made of.

Every increment brings a file per table, and what reads the tables opens all of them. So once there are too many,
files of neighbouring batches are merged into one that holds the newest row of every id among them, as the view on
all of them would. Merged are always the newest ones, together with older ones that are not much larger: a row is
written again a few times, not with every increment, and the number of files stays as it is.

What belongs here: which files are merged, how, and what is known of merged ones. What does not: which files make up
the current state (`source_state`).
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb

from acl_assets.ingestion.converted_table import PROVENANCE_KEY, ConvertedTable
from acl_assets.ingestion.export_batch import ExportBatch, state_line
from acl_assets.ingestion.source_schema import SourceTable

MOST_FILES = 8
# The newest batch may be bad and be taken away again, and then the one before it is the newest.
FILES_LEFT = 2
# An older file joins a merge unless it holds more than so many times the rows of what is merged without it.
TIMES_AS_LARGE = 2
# Two tables are merged at a time. A fifth of it is enough for four million rows, half of them changed, and as fast.
_MEMORY_LIMIT = "512MB"
_STEM = re.compile(r"(?P<first>\d{5,})-(?P<last>\d{5,})-(?P<digest>[0-9a-f]{64})", re.ASCII)


@dataclass(frozen=True)
class CompactedFile:
    """The rows of several neighbouring batches of a state in one file, of every id those of the newest of them.

    `first` and `last` are positions of batches in the state.
    """

    path: Path
    first: int
    last: int


@dataclass(frozen=True)
class Merge:
    """Files of a source table to be merged into one, in the order of their batches.

    Attributes:
        files: what to merge.
        conversions: what is known of the batches in them.
        target: the file to make.
    """

    files: tuple[Path, ...]
    conversions: tuple[ConvertedTable, ...]
    target: Path


def compacted_folder(source_tables_dir: Path, table: str) -> Path:
    """Where the compacted files of a table are kept."""
    return source_tables_dir / table / "compacted"


def compacted_files(source_tables_dir: Path, table: str, batches: Sequence[ExportBatch]) -> list[CompactedFile]:
    """The compacted files that hold batches of a state, in order: no batch twice, and never the newest.

    A file is named for its batches and all before them, with their digests: where one of those has changed since, or
    is gone, the file is none of the state's.
    """
    folder = compacted_folder(source_tables_dir, table)
    if not folder.is_dir():
        return []
    digests = list(_prefix_digests(batches))[:-1]
    found: dict[int, CompactedFile] = {}
    for path in sorted(folder.glob("*.parquet")):
        name = _STEM.fullmatch(path.stem)
        if name is None:
            continue
        first, last = int(name["first"]), int(name["last"])
        # Sorted by name, the longest of those with the same beginning comes last.
        if last < len(digests) and name["digest"] == digests[last]:
            found[first] = CompactedFile(path, first, last)
    chosen: list[CompactedFile] = []
    for _, file in sorted(found.items()):
        if not chosen or file.first > chosen[-1].last:
            chosen.append(file)
    return chosen


def is_compacted_stem(stem: str) -> bool:
    """Whether a file of that name, without its ending, is a compacted one."""
    return _STEM.fullmatch(stem) is not None


def files_to_merge(sizes: Sequence[int]) -> range | None:
    """Which of a table's files to merge, by their places: never the newest ones; None as long as there are few.

    Args:
        sizes: bytes of the files, in the order of their batches.
    """
    if len(sizes) <= MOST_FILES:
        return None
    end = len(sizes) - FILES_LEFT
    first = end - 2
    merged = sum(sizes[first:end])
    while first > 0 and sizes[first - 1] <= TIMES_AS_LARGE * merged:
        first -= 1
        merged += sizes[first]
    return range(first, end)


def compacted_path(source_tables_dir: Path, table: str, batches: Sequence[ExportBatch], first: int, last: int) -> Path:
    """Where the file of the batches from one position to another is kept."""
    *_, digest = _prefix_digests(batches[: last + 1])
    return compacted_folder(source_tables_dir, table) / f"{first:05}-{last:05}-{digest}.parquet"


def merge_files(merge: Merge, table: SourceTable) -> int:
    """Merge files of a source table and return how many rows the new one has; it is there as a whole or not at all.

    A row takes the place of those of earlier files with its id; an id twice in one file stays there twice. Memory is
    bounded: what does not fit is spilled beside the target.
    """
    target = merge.target
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_suffix(".unfinished")
    columns = ", ".join(table.column_names)
    first, *later = (_literal(file) for file in merge.files)
    provenance = json.dumps([[known.batch_id, known.batch_digest, known.rows_by_file] for known in merge.conversions])
    with duckdb.connect() as connection:
        connection.execute(f"set memory_limit = '{_MEMORY_LIMIT}'; set TimeZone = 'UTC'")
        connection.execute(f"set temp_directory = {_literal(target.with_suffix('.spilled'))}")
        row = connection.execute(
            f"copy (with later as (select {columns} from (select *, file_index as file from "
            f"read_parquet([{', '.join(later)}])) qualify file = max(file) over (partition by id)) "
            f"select {columns} from read_parquet({first}) as earlier "
            "where not exists (select 1 from later where later.id = earlier.id) "
            f"union all select {columns} from later) to {_literal(unfinished)} (format parquet, compression zstd, "
            f"kv_metadata {{{PROVENANCE_KEY.decode()}: {_quoted(provenance)}}})"
        ).fetchone()
    with unfinished.open("rb") as stream:
        os.fsync(stream.fileno())
    os.replace(unfinished, target)
    return int(row[0]) if row else 0


def read_compacted(file: CompactedFile) -> list[ConvertedTable]:
    """What is known of the batches in a compacted file, in their order; `path` and `bytes` are those of the file."""
    with duckdb.connect() as connection:
        ((text,),) = connection.execute(
            "select value from parquet_kv_metadata(?) where key = ?", [str(file.path), PROVENANCE_KEY]
        ).fetchall()
    size = file.path.stat().st_size
    return [
        ConvertedTable(file.path, sum(rows_by_file.values()), size, rows_by_file, batch_id, batch_digest)
        for batch_id, batch_digest, rows_by_file in json.loads(text)
    ]


def prune_compacted(source_tables_dir: Path, table: str, keep: Iterable[CompactedFile]) -> None:
    """Remove the compacted files of a table but the given ones, and what killed merges left."""
    kept = {file.path for file in keep}
    folder = compacted_folder(source_tables_dir, table)
    for path in folder.iterdir() if folder.is_dir() else ():
        if path not in kept and path.is_file():
            path.unlink(missing_ok=True)


def _prefix_digests(batches: Sequence[ExportBatch]) -> Iterable[str]:
    """The digest of the state that ends with each batch."""
    digest = hashlib.sha256()
    for batch in batches:
        digest.update(state_line(batch.batch_id, batch.digest))
        yield digest.hexdigest()


def _literal(path: Path) -> str:
    return _quoted(str(path))


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
