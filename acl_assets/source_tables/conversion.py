"""The conversion of a batch chain: from the files of export batches to one typed Parquet file per source table.

A full batch is converted. Incremental batches are converted and merged into new files: of every id the row of the
newest batch stays.
"""

import os
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import duckdb
import pyarrow.parquet as pq

from acl_assets.landing_zone.batches import BatchChain
from acl_assets.landing_zone.folder_store import open_verified
from acl_assets.landing_zone.manifest import BatchError, ExportBatch, contract_breach
from acl_assets.landing_zone.store import LandingZone, landing_zone_at
from acl_assets.settings import Settings
from acl_assets.source_schema import SOURCE_TABLES, SourceTable, arrow_schema
from acl_assets.source_tables import remote
from acl_assets.source_tables.csv_files import read_csv_file
from acl_assets.source_tables.current_state import (
    REJECTS,
    ConvertedBatch,
    ConvertedChain,
    TableFile,
    begin_folder,
    finish_folder,
    longest_prefix,
    private_file,
    switch_current,
    table_file,
)
from acl_assets.source_tables.parquet_files import read_parquet_file
from acl_assets.source_tables.rejects import OpenFile, RejectLog
from acl_assets.util.processes import ChildProcesses
from acl_assets.util.sql import duckdb_files, quoted_text

_MAKE_TABLE = "acl_assets.source_tables.conversion:make_table"
_BYTES_FOR_TWO = 20_000_000
# Two tables are merged at a time. This is enough for four million rows, half of them changed, and as fast as more.
_MERGE_MEMORY_LIMIT = "512MB"

Log = Callable[[str], None]


class BadTablesError(BatchError):
    """Tables of a batch break the contract; `errors` has the reason by table, the message all of them."""

    def __init__(self, errors: Mapping[str, BatchError]) -> None:
        super().__init__("\n".join(map(str, errors.values())))
        self.errors = errors


class MadeTable(NamedTuple):
    """A source table that was made: the rows read per file, batch by batch, and its file."""

    rows_by_file: list[dict[str, int]]
    file: TableFile


def convert_chain(settings: Settings, chain: BatchChain, *, log: Log, warn: Log) -> tuple[ConvertedChain, bool]:
    """Make the tables of a batch chain the current ones, beginning with what earlier refreshes have made.

    Return the current tables, and whether they were made now.

    Raises:
        BadTablesError: files of a batch break the contract.
        ObjectStorageError: a file cannot be fetched or sent.
    """
    folder, url = settings.source_tables_dir, settings.source_tables_url
    kept = longest_prefix(folder, chain, warn)
    if url and (kept is None or len(kept.batches) < len(chain.batches)):
        remote.fetch_prefix(url, folder, chain, len(kept.batches) if kept else 0)
        kept = longest_prefix(folder, chain, warn)
    held = kept.batches if kept else ()
    if held:
        log(f"Tables of {len(held)} of {len(chain.batches)} batches are converted already.")
    new = chain.batches[len(held) :]
    if kept is None or new:
        unfinished = begin_folder(folder, chain.digest)
        for table in SOURCE_TABLES:
            if kept:
                _link(table_file(folder / kept.digest, table), table_file(unfinished, table))
        made = _make_tables(settings, new, unfinished, log)
        added = [
            ConvertedBatch(**vars(batch), rows_by_file={table: one.rows_by_file[number] for table, one in made.items()})
            for number, batch in enumerate(new)
        ]
        kept = finish_folder(unfinished, [*held, *added], {table: one.file for table, one in made.items()})
    switch_current(folder, folder / kept.digest)
    if url:
        remote.send_current(url, folder / kept.digest)
    return kept, bool(new)


def _make_tables(settings: Settings, batches: tuple[ExportBatch, ...], target: Path, log: Log) -> dict[str, MadeTable]:
    """Make every table in worker processes, beginning with the files that are in `target`.

    Raises:
        BadTablesError: files of tables break the contract; the others have been read too.
    """
    exported = {
        table: sum(file.bytes for batch in batches for file in batch.tables[table].files) for table in SOURCE_TABLES
    }
    made: dict[str, MadeTable] = {}
    errors: dict[str, BatchError] = {}
    # Two tables hold nearly all rows, and a process takes time to start.
    with ChildProcesses(2 if sum(exported.values()) >= _BYTES_FOR_TWO else 1) as processes:
        calls = {
            table: processes.submit(
                _MAKE_TABLE,
                RejectLog(SOURCE_TABLES[table], settings.source_tables_dir / REJECTS / f"{table}.jsonl"),
                landing_zone_at(settings.exports_dir),
                batches,
                table_file(target, table),
                log=log,
            )
            for table in sorted(exported, key=exported.__getitem__, reverse=True)
        }
        for table in SOURCE_TABLES:
            try:
                made[table] = calls[table].result()
            except BatchError as error:
                errors[table] = error
    if errors:
        raise BadTablesError(errors)
    return made


def _link(base: Path, target: Path) -> None:
    """Take over the file of a table that did not change, without a copy where the file system has links."""
    try:
        os.link(base, target)
    except OSError:
        shutil.copy(base, target)


def make_table(
    rejects: RejectLog, zone: LandingZone, batches: tuple[ExportBatch, ...], target: Path, log: Log
) -> MadeTable:
    """Make the source table of batches, in the order of the chain; `log` receives a line per file.

    If `target` is there, it has the rows of the batches before them; it is replaced, because it can be a link.
    Temporary files are made next to it.

    Raises:
        BatchError: a file is not the one that was exported, not readable as what its name says, or has rejects.
        ObjectStorageError: a file cannot be fetched.
    """
    table = rejects.table
    started = time.perf_counter()
    rejects.file.unlink(missing_ok=True)
    scratch = target.with_suffix(".parts")
    scratch.mkdir(mode=0o700)
    parts = [target.rename(scratch / "earlier.parquet")] if target.exists() else []
    rows_by_file: list[dict[str, int]] = []
    for number, batch in enumerate(batches):
        part = scratch / f"{number}.parquet"
        with zone.local_files(batch, table.name, scratch) as folder:
            rows_by_file.append(_convert_batch(rejects, batch, folder, part, log))
        # An incremental batch can bring no row. A full batch without an optional table gives a file without rows.
        if not parts or any(rows_by_file[-1].values()):
            parts.append(part)
    if len(parts) > 1:
        _merge(parts, table, target)
    else:
        parts[0].replace(target)
    shutil.rmtree(scratch)
    file = _described(target, table)
    seconds = time.perf_counter() - started
    log(f"{table.name}: converted in {seconds:.2f} s, {file.rows:,} rows ({file.bytes:,} bytes)")
    return MadeTable(rows_by_file, file)


def _convert_batch(rejects: RejectLog, batch: ExportBatch, folder: Path, target: Path, log: Log) -> dict[str, int]:
    """Verify the files of one table of a batch and convert them to one Parquet file; return the rows per file.

    Rows keep the order of the files and, within each, of its rows; memory is bounded whatever the size.
    """
    rows_by_file: dict[str, int] = {}
    with (
        private_file(target) as stream,
        # Most columns are keys and unique texts, for which dictionaries cost time and space.
        pq.ParquetWriter(stream, arrow_schema(rejects.table), compression="zstd", use_dictionary=False) as writer,
    ):
        for file in batch.tables[rejects.table.name].files:
            if rejects.is_full:
                break
            where = f"{batch.folder}/{file.path}"
            read = read_parquet_file if file.path.endswith(".parquet") else read_csv_file
            rows = 0
            with open_verified(folder, file, where) as content:
                for piece in read(OpenFile(content, file.path, where, rejects)):
                    rows += piece.num_rows
                    # A file that goes on after its last row could be endless.
                    if file.rows is not None and rows > file.rows:
                        raise contract_breach(where, f"it holds more than the {file.rows:,} rows its manifest says")
                    writer.write_table(piece)
            rows_by_file[file.path] = rows
            log(f"{file.path}: {rows:,} rows read")
        rejects.raise_for_rejects(batch.folder)
    return rows_by_file


def _merge(parts: list[Path], table: SourceTable, target: Path) -> None:
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
