"""Writes what the ticketing database holds as an export batch, in any format the landing zone accepts.

What belongs here: files, their names and the manifest. What does not: the rows (`sales`), what a batch is
(`ingestion.export_batch`).
"""

from __future__ import annotations

import gzip
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from tqdm import tqdm

from acl_assets.ingestion.export_batch import (
    BatchError,
    Manifest,
    ManifestTable,
    begin_batch,
    describe_file,
    write_manifest,
)
from acl_assets.ingestion.source_schema import SOURCE_TABLES
from acl_assets.simulator.sales import ARROW_SCHEMAS, TicketingHistory

BatchFormat = Literal["parquet", "csv", "csv.gz", "csv.zst"]
BATCH_FORMATS: tuple[BatchFormat, ...] = ("parquet", "csv", "csv.gz", "csv.zst")

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
    with _removed_on_failure(folder):
        files = _write_tables(folder, history, batch_format, rows_per_file)
        tables = {
            name: ManifestTable(
                rows_at_source=sum(rows for _, rows in files[name]),
                files=tuple(describe_file(folder, path, rows) for path, rows in files[name]),
            )
            for name in SOURCE_TABLES
        }
        snapshot = {"simulated": True, "scale": history.scale, "seed": history.seed}
        write_manifest(folder, Manifest(batch_id, "full", history.exported_at, tables, snapshot))
    return folder


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
        _write_tables(folder, history, "csv", rows_per_file=None)
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


def _write_tables(
    folder: Path, history: TicketingHistory, batch_format: BatchFormat, rows_per_file: int | None
) -> dict[str, list[tuple[str, int]]]:
    """Write all six tables, and give each one's files as (path in the folder, rows)."""
    writers = {name: _TableWriter(folder, name, batch_format, rows_per_file) for name in SOURCE_TABLES}
    try:
        with tqdm(
            desc=folder.name, total=history.expected_tickets, unit=" tickets", unit_scale=True, disable=None
        ) as progress:
            for name, rows in history.stream():
                writers[name].write(rows)
                if name == "tickets":
                    progress.update(rows.num_rows)
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
    """Writes CSV as PostgreSQL does: quotes where needed, NULL empty, an empty text quoted, times in UTC."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._stream = _open_compressed(path)
        self._stream.write(f"{','.join(schema.names)}\n".encode())

    def write_table(self, rows: pa.Table) -> None:
        """Append rows; their instants must be whole seconds."""
        for piece in rows.to_batches():
            fields = [_csv_field(column) for column in piece.columns]
            lines = pc.binary_join_element_wise(*fields, ",", null_handling="replace", null_replacement="")
            text = pc.binary_join_element_wise(lines, "", "\n")
            _, offsets, characters = text.buffers()
            # The buffer can be longer than the text: that of no lines at all is.
            self._stream.write(characters.slice(0, np.frombuffer(offsets, np.int32)[len(text)]))

    def close(self) -> None:
        """Finish the file."""
        self._stream.close()


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
