"""From the files of export batches to the typed Parquet file of one source table.

A full batch is converted. Incremental batches are converted and merged into a new file: of every id the row of the
newest batch stays.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow.parquet as pq

from acl_assets.landing_zone.folder_store import open_verified
from acl_assets.landing_zone.manifest import ExportBatch, contract_breach
from acl_assets.landing_zone.store import LandingZone
from acl_assets.source_schema import SourceTable, arrow_schema
from acl_assets.source_tables.csv_files import read_csv_file
from acl_assets.source_tables.current_state import TableFile, private_file
from acl_assets.source_tables.open_file import OpenFile, require_format
from acl_assets.source_tables.parquet_files import read_parquet_file
from acl_assets.source_tables.rejects import RejectLog
from acl_assets.util.sql import duckdb_files, quoted_text

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
    """A source table that was made: rows read per file, batch by batch, its file, and the seconds that it took."""

    rows_by_file: list[dict[str, int]]
    file: TableFile
    seconds: float

    @property
    def rows_read(self) -> int:
        """Rows of all files together."""
        return sum(sum(rows.values()) for rows in self.rows_by_file)


def make_table(order: TableOrder, *, log: Log = lambda message: None) -> MadeTable:
    """Write the table of a batch chain to `order.target`; `log` receives a line per file.

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
        with order.zone.local_files(batch, order.table.name, scratch) as folder:
            rows_by_file.append(_convert_batch(order, batch, folder, part, log))
        # An incremental batch can bring no row. A full batch without an optional table gives a file without rows.
        if not parts or any(rows_by_file[-1].values()):
            parts.append(part)
    if len(parts) > 1:
        merge(parts, order.table, order.target)
        log(f"{order.table.name}: merged {len(parts) - 1} incremental batches")
    elif order.base:
        _link(order.base, order.target)
    else:
        parts[0].replace(order.target)
    shutil.rmtree(scratch)
    made = MadeTable(rows_by_file, _described(order.target, order.table), time.perf_counter() - started)
    log(
        f"{order.table.name}: {made.rows_read:,} rows of {len(order.batches)} batches converted "
        f"in {made.seconds:.2f} s, {made.file.rows:,} rows now ({made.file.bytes:,} bytes)."
    )
    return made


def _link(base: Path, target: Path) -> None:
    """Take over the file of a table that did not change, without a copy where the file system has links."""
    try:
        os.link(base, target)
    except OSError:
        shutil.copy(base, target)


def _convert_batch(order: TableOrder, batch: ExportBatch, folder: Path, target: Path, log: Log) -> dict[str, int]:
    """Verify the files of one table of a batch and convert them to one Parquet file; return the rows per file.

    Rows keep the order of the files and, within each, of its rows; memory is bounded whatever the size.
    """
    table = order.table
    rejects = RejectLog()
    rows_by_file: dict[str, int] = {}
    with (
        private_file(target) as stream,
        # Most columns are keys and unique texts, for which dictionaries cost time and space.
        pq.ParquetWriter(stream, arrow_schema(table), compression="zstd", use_dictionary=False) as writer,
    ):
        for file in batch.tables[table.name].files:
            if rejects.is_full:
                break
            where = f"{batch.folder}/{file.path}"
            read = read_parquet_file if file.path.endswith(".parquet") else read_csv_file
            rows = 0
            with open_verified(folder, file, where) as content:
                opened = OpenFile(content, file.path, where)
                require_format(opened, table)
                for piece in read(opened, table, rejects):
                    rows += piece.num_rows
                    # A file that goes on after its last row could be endless.
                    if file.rows is not None and rows > file.rows:
                        raise contract_breach(where, f"it holds more than the {file.rows:,} rows its manifest says")
                    writer.write_table(piece)
            rows_by_file[file.path] = rows
            log(f"{file.path}: {rows:,} rows read")
        rejects.raise_for_rejects(table, order.rejects_file)
    return rows_by_file


def merge(parts: list[Path], table: SourceTable, target: Path) -> None:
    """Merge files of a table, the oldest first, into one.

    A row replaces those of earlier files with its id; an id twice in one file stays there twice, so that the check of
    unique keys finds it. DuckDB spills what does not fit into memory to the target's folder.
    """
    columns = ", ".join(table.column_names)
    base, increments = duckdb_files(parts[:1]), duckdb_files(parts[1:])
    with private_file(target), duckdb.connect() as connection:
        connection.execute(f"set memory_limit = '{_MERGE_MEMORY_LIMIT}'; set TimeZone = 'UTC'")
        connection.execute(f"set temp_directory = {quoted_text(str(target.with_suffix('.spilled')))}")
        connection.execute(
            f"copy (with increments as (select {columns} from (select *, file_index as batch from "
            f"read_parquet({increments})) qualify batch = max(batch) over (partition by id)) "
            f"select {columns} from read_parquet({base}) as earlier "
            "where not exists (select 1 from increments where increments.id = earlier.id) "
            f"union all select {columns} from increments) to {quoted_text(str(target))} "
            "(format parquet, compression zstd, use_tmp_file false)"
        )


def _described(file: Path, table: SourceTable) -> TableFile:
    """Return size, rows and sums of a source table's file; nulls count as 0."""
    columns = [column.name for column in table.columns if column.type == "int" and column.name != "id"]
    sums = "".join(f", coalesce(sum({column}), 0)" for column in columns)
    with duckdb.connect() as connection:
        ((rows, *totals),) = connection.execute(
            f"select count(*){sums} from read_parquet({duckdb_files([file])})"
        ).fetchall()
    return TableFile(bytes=file.stat().st_size, rows=rows, sums=dict(zip(columns, map(int, totals), strict=True)))
