"""Writes what the ticketing database holds as an export batch, in any format the landing zone accepts.

What belongs here: files, their names and the manifest. What does not: the rows (`sales`), what a batch is
(`landing_zone.manifest`).
"""

from __future__ import annotations

import gzip
import hashlib
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from tqdm import tqdm

from acl_assets.landing_zone.manifest import (
    MANIFEST_NAME,
    BatchError,
    Manifest,
    ManifestTable,
    Predecessor,
    begin_batch,
    describe_file,
    write_manifest,
)
from acl_assets.simulator.sales import ARROW_SCHEMAS, TicketingHistory
from acl_assets.source_schema import SOURCE_TABLES

BatchFormat = Literal["parquet", "csv", "csv.gz", "csv.zst"]
Rows = Iterable[tuple[str, pa.Table]]
"""Rows of all tables, as (table name, rows); a table may come in pieces."""

BATCH_FORMATS: tuple[BatchFormat, ...] = ("parquet", "csv", "csv.gz", "csv.zst")

SUMMED_COLUMN = ("tickets", "price")
"""What an export adds up at the source, besides counting rows."""

Hashes = npt.NDArray[np.uint64]

_REPETITIVE_COLUMNS = ["price", "performance_id"]


def write_batch(
    exports_dir: Path,
    batch_id: str,
    history: TicketingHistory,
    batch_format: BatchFormat = "parquet",
    rows_per_file: int | None = None,
) -> Path:
    """Write a full batch with its manifest, and return its folder.

    Args:
        rows_per_file: cut the tables into numbered files of at most so many rows; one file a table when None.

    Raises:
        BatchError: a batch of that name is there already; batches are immutable.
        ValueError: files cannot hold so few rows.
    """
    if rows_per_file is not None and rows_per_file < 1:
        raise ValueError(f"rows_per_file is {rows_per_file}; a file holds at least one row")
    folder = begin_batch(exports_dir, batch_id)
    totals = _Totals()
    with _removed_on_failure(folder):
        rows = totals.of(_with_progress(history, folder.name))
        tables = totals.describe(folder, _write_tables(folder, rows, batch_format, rows_per_file))
        snapshot = {"simulated": True, "scale": history.scale, "seed": history.seed}
        write_manifest(folder, Manifest(batch_id, "full", history.exported_at, tables, snapshot))
    return folder


def write_incremental_batch(
    predecessor: Path, batch_id: str, earlier: Rows, later: Rows, exported_at: datetime
) -> Path:
    """Write the rows that are new or changed since a batch beside it, and return their folder.

    Args:
        predecessor: the folder of the batch this one continues from.
        batch_id: name of the new batch.
        earlier: all rows when the predecessor was exported, such as `TicketingHistory.stream()`.
        later: all rows at the instant of this export. Rows that are only in `earlier` leave no trace, as in reality.
        exported_at: that instant.

    Raises:
        BatchError: a batch of that name is there already; batches are immutable.
    """
    folder = begin_batch(predecessor.parent, batch_id)
    totals = _Totals()
    with _removed_on_failure(folder):
        rows = _changed_rows(earlier, totals.of(later))
        tables = totals.describe(folder, _write_tables(folder, rows, "parquet", rows_per_file=None))
        manifest = (predecessor / MANIFEST_NAME).read_bytes()
        continues_from = Predecessor(predecessor.name, hashlib.sha256(manifest).hexdigest())
        snapshot = {"simulated": True}
        write_manifest(folder, Manifest(batch_id, "incremental", exported_at, tables, snapshot, continues_from))
    return folder


def _changed_rows(earlier: Rows, later: Rows) -> Iterator[tuple[str, pa.Table]]:
    """Of the later rows those that are not among the earlier ones as they are; of each row a hash is remembered."""
    known: dict[str, list[Hashes]] = {name: [np.zeros(0, np.uint64)] for name in SOURCE_TABLES}
    for name, rows in earlier:
        known[name].append(_row_hashes(rows))
    hashes = {name: np.sort(np.concatenate(pieces)) for name, pieces in known.items()}
    for name, rows in later:
        found = _row_hashes(rows)
        places = np.searchsorted(hashes[name], found).clip(max=max(0, len(hashes[name]) - 1))
        is_known = hashes[name][places] == found if len(hashes[name]) else np.zeros(len(found), bool)
        yield name, rows.filter(pa.array(~is_known))


def _row_hashes(rows: pa.Table) -> Hashes:
    return np.asarray(pd.util.hash_pandas_object(rows.to_pandas(), index=False), dtype=np.uint64)


class _Totals:
    """Counts the rows of every table as they pass, and adds up what an export adds up at the source."""

    def __init__(self) -> None:
        self._rows = dict.fromkeys(SOURCE_TABLES, 0)
        self._sum = 0

    def of(self, stream: Rows) -> Iterator[tuple[str, pa.Table]]:
        """Pass rows through."""
        table, column = SUMMED_COLUMN
        for name, rows in stream:
            self._rows[name] += rows.num_rows
            if name == table:
                self._sum += pc.sum(rows[column]).as_py() or 0
            yield name, rows

    def describe(self, folder: Path, files: dict[str, list[tuple[str, int]]]) -> dict[str, ManifestTable]:
        """The tables of a batch for its manifest, given each one's finished files as (path, rows)."""
        table, column = SUMMED_COLUMN
        return {
            name: ManifestTable(
                rows_at_source=self._rows[name],
                files=tuple(describe_file(folder, path, rows) for path, rows in files[name]),
                sums_at_source={column: self._sum} if name == table else {},
            )
            for name in SOURCE_TABLES
        }


def write_plain_batch(exports_dir: Path, batch_id: str, history: TicketingHistory) -> Path:
    r"""Write six CSV files as psql's `\copy … csv header` leaves them, no manifest, and return their folder.

    The files' modification time is the instant of the export.

    Raises:
        BatchError: a folder of that name is there already; batches are immutable.
    """
    folder = exports_dir / batch_id
    try:
        folder.mkdir(parents=True)
    except FileExistsError:
        raise BatchError(f"{folder} is there already; choose another batch id.") from None
    with _removed_on_failure(folder):
        _write_tables(folder, _with_progress(history, folder.name), "csv", rows_per_file=None)
        for path in folder.iterdir():
            os.utime(path, (history.exported_at.timestamp(),) * 2)
    return folder


@contextmanager
def _removed_on_failure(folder: Path) -> Iterator[None]:
    try:
        yield
    except BaseException:
        shutil.rmtree(folder)
        raise


def _with_progress(history: TicketingHistory, name: str) -> Iterator[tuple[str, pa.Table]]:
    """The rows of a history, their tickets counted on the screen."""
    with tqdm(desc=name, total=history.expected_tickets, unit=" tickets", unit_scale=True, disable=None) as progress:
        for table, rows in history.stream():
            yield table, rows
            if table == "tickets":
                progress.update(rows.num_rows)


def _write_tables(
    folder: Path, stream: Rows, batch_format: BatchFormat, rows_per_file: int | None
) -> dict[str, list[tuple[str, int]]]:
    """Write all six tables, and give each one's files as (path in the folder, rows)."""
    writers = {name: _TableWriter(folder, name, batch_format, rows_per_file) for name in SOURCE_TABLES}
    try:
        for name, rows in stream:
            writers[name].write(rows)
    finally:
        for writer in writers.values():
            writer.close()
    return {name: writer.files for name, writer in writers.items()}


class _TableWriter:
    """Writes one table piece by piece, into one file or numbered ones.

    `files` are those begun so far, as (path in the folder, rows).
    """

    def __init__(self, folder: Path, name: str, batch_format: BatchFormat, rows_per_file: int | None) -> None:
        self.files: list[tuple[str, int]] = []
        self._folder = folder
        self._name = name
        self._format = batch_format
        self._rows_per_file = rows_per_file
        self._open: CsvWriter | pq.ParquetWriter = self._begin_file()

    def write(self, rows: pa.Table) -> None:
        while rows.num_rows:
            path, written = self.files[-1]
            room = rows.num_rows if self._rows_per_file is None else self._rows_per_file - written
            if not room:
                self._open.close()
                self._open = self._begin_file()
                continue
            self._open.write_table(rows.slice(0, room))
            self.files[-1] = (path, written + min(room, rows.num_rows))
            rows = rows.slice(room)

    def close(self) -> None:
        self._open.close()

    def _begin_file(self) -> CsvWriter | pq.ParquetWriter:
        number = "" if self._rows_per_file is None else f"-{len(self.files) + 1:04}"
        path = f"{self._name}{number}.{self._format}"
        self.files.append((path, 0))
        return open_table_file(self._folder / path, ARROW_SCHEMAS[self._name])


def open_table_file(path: Path, schema: pa.Schema) -> CsvWriter | pq.ParquetWriter:
    """Begin a file of an export in the format its name says; both kinds have `write_table` and `close`."""
    if path.suffix != ".parquet":
        return CsvWriter(path, schema)
    repetitive = [name for name in _REPETITIVE_COLUMNS if name in schema.names]
    return pq.ParquetWriter(path, schema, compression="zstd", use_dictionary=repetitive, write_page_checksum=True)


class CsvWriter:
    """Writes a file of `csv_lines` below a header."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._stream = _open_compressed(path)
        self._stream.write(f"{','.join(schema.names)}\n".encode())

    def write_table(self, rows: pa.Table) -> None:
        """Append rows."""
        for piece in rows.to_batches():
            self._stream.write(csv_lines(piece))

    def close(self) -> None:
        """Finish the file."""
        self._stream.close()


def csv_lines(rows: pa.RecordBatch) -> pa.Buffer:
    """Write rows as PostgreSQL does: quotes where needed, NULL empty, an empty text quoted, times in UTC.

    Instants must be whole seconds.
    """
    fields = [_csv_field(column) for column in rows.columns]
    lines = pc.binary_join_element_wise(*fields, ",", null_handling="replace", null_replacement="")
    text = pc.binary_join_element_wise(lines, "", "\n")
    _, offsets, characters = text.buffers()
    # The buffer can be longer than the text: that of no lines at all is.
    return characters.slice(0, np.frombuffer(offsets, np.int32)[len(text)])


def _open_compressed(path: Path) -> gzip.GzipFile | pa.NativeFile:
    """Open a file for writing, compressed as its name says; equal content makes equal files."""
    if path.suffix == ".gz":
        return gzip.GzipFile(path, "wb", compresslevel=1, mtime=0)
    return pa.output_stream(path, compression="zstd" if path.suffix == ".zst" else None)


def _csv_field(column: pa.Array) -> pa.StringArray:
    if pa.types.is_timestamp(column.type):
        seconds = column.cast(pa.timestamp("s", tz="UTC")).cast(pa.timestamp("s"))
        return pc.binary_join_element_wise(seconds.cast(pa.string()), "+00", "")
    if pa.types.is_string(column.type):
        quoted = pc.binary_join_element_wise('"', pc.replace_substring(column, '"', '""'), '"', "")
        return pc.if_else(pc.match_substring_regex(column, r'^$|^\\\.$|[",\r\n]'), quoted, column)
    return column.cast(pa.string())
