"""From the files of export batches to the typed Parquet file of one source table.

A full batch is converted. Incremental batches are converted and merged into a new file: of every id the row of the
newest batch stays.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from acl_assets.landing_zone.folder_store import open_verified
from acl_assets.landing_zone.manifest import ExportBatch, ManifestFile, contract_breach
from acl_assets.landing_zone.store import LandingZone
from acl_assets.source_schema import SourceTable, arrow_schema
from acl_assets.source_tables.csv_files import read_csv_file
from acl_assets.source_tables.open_file import OpenFile, require_format
from acl_assets.source_tables.parquet_files import read_parquet_file
from acl_assets.source_tables.rejects import RejectLog
from acl_assets.util.atomic_write import fsync_path
from acl_assets.util.sql import duckdb_files, quoted_text

SECONDS_BETWEEN_PROGRESS = 5.0
# Two tables are merged at a time. This is enough for four million rows, half of them changed, and as fast as more.
_MERGE_MEMORY_LIMIT = "512MB"

Log = Callable[[str], None]


@dataclass(frozen=True)
class TableOrder:
    """The input and output of making one source table of a batch chain.

    Attributes:
        zone: where the batches are.
        batches: the batches to read, in the order of the chain.
        table: the source table.
        base: the table's file of the batches before them, None when `batches` begins with the full batch.
        target: the file to write; its folder belongs to this order, and temporary files are made in it.
        rejects_file: where rejects are stored, one JSON object per line.
    """

    zone: LandingZone
    batches: tuple[ExportBatch, ...]
    table: SourceTable
    base: Path | None
    target: Path
    rejects_file: Path


@dataclass(frozen=True)
class MadeTable:
    """A source table that was made.

    Attributes:
        rows_by_file: rows read per file, batch by batch.
        rows: of the table.
        sums: of its whole-number columns but the key.
        seconds: that it took.
    """

    rows_by_file: list[dict[str, int]]
    rows: int
    sums: Mapping[str, int]
    seconds: float

    @property
    def rows_read(self) -> int:
        """Rows of all files together."""
        return sum(sum(rows.values()) for rows in self.rows_by_file)


def make_table(order: TableOrder, *, log: Log = lambda message: None) -> MadeTable:
    """Write the table of a batch chain to `order.target`.

    Args:
        order: what to make.
        log: receives a line of progress now and then, and one per file.

    Raises:
        RejectedLinesError: lines or values break the contract.
        BatchError: a file is not the one that was exported, or not readable as what its name says.
        ObjectStorageError: a file cannot be fetched.
    """
    started = time.perf_counter()
    order.rejects_file.unlink(missing_ok=True)
    scratch = order.target.parent / f"{order.table.name}.parts"
    scratch.mkdir(mode=0o700)
    parts = [order.base] if order.base else []
    rows_by_file: list[dict[str, int]] = []
    for number, batch in enumerate(order.batches):
        part = scratch / f"{number}.parquet"
        # A full batch without an optional table gives a file without rows.
        if batch.tables[order.table.name].files or not parts:
            with order.zone.local_files(batch, order.table.name, scratch) as folder:
                rows_by_file.append(convert_batch(order, batch, folder, part, log))
        else:
            rows_by_file.append({})
        # An incremental batch can bring a file without rows.
        if not parts or any(rows_by_file[-1].values()):
            parts.append(part)
    if len(parts) == 1:
        _link_or_move(parts[0], order.target, is_base=order.base is not None)
    else:
        rows = merge(parts, order.table, order.target)
        log(f"{order.table.name}: merged {len(parts) - 1} incremental batches, {rows:,} rows now")
    shutil.rmtree(scratch)
    rows, sums = totals_of(order.target, order.table)
    made = MadeTable(rows_by_file, rows, sums, time.perf_counter() - started)
    log(
        f"{order.table.name}: {made.rows_read:,} rows of {len(order.batches)} batches converted "
        f"in {made.seconds:.2f} s ({order.target.stat().st_size:,} bytes)."
    )
    return made


def _link_or_move(part: Path, target: Path, *, is_base: bool) -> None:
    """Take over the only part: an unchanged table is linked, so that it takes no space twice."""
    if not is_base:
        part.replace(target)
        return
    try:
        os.link(part, target)
    except OSError:
        # Not every file system has links.
        with _new_file(target) as stream, part.open("rb") as source:
            shutil.copyfileobj(source, stream)


# Converting -----------------------------------------------------------------------------------------------------


def convert_batch(
    order: TableOrder, batch: ExportBatch, folder: Path, target: Path, log: Log = lambda message: None
) -> dict[str, int]:
    """Verify the files of one table of a batch and convert them to one Parquet file; return the rows per file.

    Rows keep the order of the files and, within each, of its rows; memory is bounded whatever the size.

    Args:
        order: which table it is for.
        batch: the batch to read.
        folder: of this machine, where the files of the table lie.
        target: the Parquet file to write: zstd; int32, string and timestamp[us, UTC] columns as declared.
        log: receives a line of progress now and then, and one per file.

    Raises:
        RejectedLinesError: lines or values break the contract.
        BatchError: a file is not the one that was exported, or not readable as what its name says.
    """
    table = order.table
    rejects = RejectLog()
    rows_by_file: dict[str, int] = {}
    with _new_file(target) as stream, _parquet_writer(stream, table) as writer:
        for file in batch.tables[table.name].files:
            if rejects.is_full:
                break
            where = f"{batch.folder}/{file.path}"
            with open_verified(folder, file, where) as content:
                rows_by_file[file.path] = 0
                pieces = _read(OpenFile(content, file.path, where), file, table, rejects)
                for piece in _with_progress(pieces, file.path, log):
                    rows_by_file[file.path] += piece.num_rows
                    _require_no_more_rows(rows_by_file[file.path], file, where)
                    writer.write_table(piece)
        rejects.raise_for_rejects(table, order.rejects_file)
    return rows_by_file


def _read(opened: OpenFile, file: ManifestFile, table: SourceTable, rejects: RejectLog) -> Iterator[pa.Table]:
    require_format(opened, table)
    read = read_parquet_file if file.path.endswith(".parquet") else read_csv_file
    return read(opened, table, rejects)


def _require_no_more_rows(rows: int, file: ManifestFile, where: str) -> None:
    """Stop at a file that goes on after its last row: it could be endless."""
    if file.rows is not None and rows > file.rows:
        raise contract_breach(where, f"it holds more than the {file.rows:,} rows its manifest says")


def _with_progress(pieces: Iterator[pa.Table], name: str, log: Log) -> Iterator[pa.Table]:
    rows = 0
    logged_at = time.monotonic()
    for piece in pieces:
        yield piece
        rows += piece.num_rows
        if time.monotonic() - logged_at > SECONDS_BETWEEN_PROGRESS:
            logged_at = time.monotonic()
            log(f"{name}: {rows:,} rows so far")
    log(f"{name}: {rows:,} rows read")


@contextmanager
def _new_file(target: Path) -> Iterator[BinaryIO]:
    """Open a new file that only its owner may read, and flush it to disk at the end."""
    descriptor = os.open(target, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w+b") as stream:
        yield stream
        stream.flush()
        os.fsync(stream.fileno())


def _parquet_writer(stream: BinaryIO, table: SourceTable) -> pq.ParquetWriter:
    # Most columns are keys and unique texts, for which dictionaries cost time and space.
    return pq.ParquetWriter(stream, arrow_schema(table), compression="zstd", use_dictionary=False)


# Merging --------------------------------------------------------------------------------------------------------


def merge(parts: list[Path], table: SourceTable, target: Path) -> int:
    """Merge files of a table, the oldest first, into one and return how many rows it has.

    A row replaces those of earlier files with its id; an id twice in one file stays there twice, so that the check of
    unique keys finds it. What does not fit into memory is spilled beside the target.
    """
    columns = ", ".join(table.column_names)
    base, increments = duckdb_files(parts[:1]), duckdb_files(parts[1:])
    # DuckDB creates the file with the usual mode, so it is created here first.
    target.touch(mode=0o600, exist_ok=False)
    with duckdb.connect() as connection:
        connection.execute(f"set memory_limit = '{_MERGE_MEMORY_LIMIT}'; set TimeZone = 'UTC'")
        connection.execute(f"set temp_directory = {quoted_text(str(target.with_suffix('.spilled')))}")
        row = connection.execute(
            f"copy (with increments as (select {columns} from (select *, file_index as batch from "
            f"read_parquet({increments})) qualify batch = max(batch) over (partition by id)) "
            f"select {columns} from read_parquet({base}) as earlier "
            "where not exists (select 1 from increments where increments.id = earlier.id) "
            f"union all select {columns} from increments) to {quoted_text(str(target))} "
            "(format parquet, compression zstd)"
        ).fetchone()
    os.chmod(target, 0o600)
    fsync_path(target)
    return int(row[0]) if row else 0


def totals_of(file: Path, table: SourceTable) -> tuple[int, Mapping[str, int]]:
    """Return rows of a source table's file, and the sum of every whole-number column but the key; nulls count as 0."""
    columns = [column.name for column in table.columns if column.type == "int" and column.name != "id"]
    sums = "".join(f", coalesce(sum({column}), 0)" for column in columns)
    with duckdb.connect() as connection:
        ((rows, *totals),) = connection.execute(
            f"select count(*){sums} from read_parquet({duckdb_files([file])})"
        ).fetchall()
    return int(rows), dict(zip(columns, map(int, totals), strict=True))
