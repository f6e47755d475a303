"""From the files of an export batch to one typed Parquet file per source table.

What belongs here: verifying a table's files, reading each accepted format, and writing the result so that it
is there as a whole or not at all. What does not: how CSV is read (`csv_files`), how a value is judged
(`typed_columns`), what is remembered of a conversion (`converted_table`), where converted files lie and which of them
are current (`source_state`).
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from acl_assets.ingestion.converted_table import PROVENANCE_KEY, ConvertedTable
from acl_assets.ingestion.csv_files import read_csv_file
from acl_assets.ingestion.export_batch import (
    BatchError,
    ExportBatch,
    ManifestFile,
    contract_breach,
    verify_file,
)
from acl_assets.ingestion.rejects import MOST_REJECTS, RejectedLinesError, RejectLog
from acl_assets.ingestion.source_schema import ColumnType, SourceTable
from acl_assets.ingestion.typed_columns import arrow_schema, convert_values, explain, failing_rows

__all__ = ["RejectedLinesError", "convert_table"]

SECONDS_BETWEEN_PROGRESS = 5.0
_PARQUET_ROWS_AT_ONCE = 131_072
# A reader holds a row group in memory, and one per thread.
_MOST_ROWS_A_GROUP = 1_048_576
# The length of a Parquet file's metadata and its magic number follow them.
_AFTER_METADATA = 8
_COPIED_AT_ONCE = 1 << 20
_MAGIC_NUMBERS = {".gz": b"\x1f\x8b", ".zst": b"\x28\xb5\x2f\xfd", ".parquet": b"PAR1"}
_FORMAT_NAMES = {".csv": "CSV text", ".gz": "gzip data", ".zst": "Zstandard data", ".parquet": "Parquet"}


def convert_table(
    batch: ExportBatch,
    table: SourceTable,
    target: Path,
    rejects_file: Path,
    *,
    log: Callable[[str], None] = lambda message: None,
) -> ConvertedTable:
    """Verify the files of one table of a batch and turn them into one typed Parquet file, replacing `target`.

    Rows keep the order of the files and, within each, of its rows; memory is bounded whatever the size.
    Unless everything went well `target` is as it was and nothing else is left but the rejects.

    Args:
        batch: the batch to read.
        table: the source table to convert.
        target: the Parquet file to write: zstd; int32, string and timestamp[us, UTC] columns as declared.
        rejects_file: where rejects are stored, one JSON object (file, line, column, text, reason) per line.
        log: receives a line of progress now and then, and one per file.

    Raises:
        RejectedLinesError: lines or values break the contract.
        BatchError: a file is not the one that was exported, or is not readable as what its name says.
    """
    files = batch.tables[table.name].files
    rejects_file.unlink(missing_ok=True)
    rejects = RejectLog()
    rows_by_file: dict[str, int] = {}
    with _replacing(target) as stream, _writer(stream, batch, table) as writer:
        for file in files:
            if rejects.is_full:
                break
            with _verified(batch, file) as path:
                read = _read_parquet_file if path.suffix == ".parquet" else read_csv_file
                pieces = read(path, table, rejects)
                rows_by_file[file.path] = 0
                for piece in _with_progress(pieces, path.name, log):
                    rows_by_file[file.path] += piece.num_rows
                    writer.write(piece)
                writer.end_file(path)
        rejects.raise_for_rejects(table, rejects_file)
        writer.add_provenance({"batch_id": batch.batch_id, "batch_digest": batch.digest, "rows_by_file": rows_by_file})
    return ConvertedTable(
        path=target,
        rows=sum(rows_by_file.values()),
        bytes=target.stat().st_size,
        rows_by_file=rows_by_file,
        batch_id=batch.batch_id,
        batch_digest=batch.digest,
    )


def _with_progress(pieces: Iterator[pa.Table], name: str, log: Callable[[str], None]) -> Iterator[pa.Table]:
    rows = 0
    told_at = time.monotonic()
    for piece in pieces:
        yield piece
        rows += piece.num_rows
        if time.monotonic() - told_at > SECONDS_BETWEEN_PROGRESS:
            told_at = time.monotonic()
            log(f"{name}: {rows:,} rows so far")
    log(f"{name}: {rows:,} rows read")


# Reading ----------------------------------------------------------------------------------------------------


@contextmanager
def _verified(batch: ExportBatch, file: ManifestFile) -> Iterator[Path]:
    """Verify a file before it is read and that nobody wrote to it meanwhile.

    Raises:
        BatchError: the file is not the one that was exported, holds another format, or changed meanwhile.
    """
    path = verify_file(batch, file)
    before = path.stat()
    _require_format(path)
    yield path
    after = path.stat()
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise contract_breach(str(path), "it changed while it was read")


def _require_format(path: Path) -> None:
    with path.open("rb") as stream:
        start = stream.read(4)
    found = next((suffix for suffix, magic in _MAGIC_NUMBERS.items() if start.startswith(magic)), ".csv")
    if found != path.suffix:
        described = _FORMAT_NAMES[found] if found != ".csv" else f"something else, starting with {start!r}"
        what = "it is empty" if not start else f"its name says {_FORMAT_NAMES[path.suffix]}, it holds {described}"
        raise contract_breach(str(path), what)


def _read_parquet_file(path: Path, table: SourceTable, rejects: RejectLog) -> Iterator[pa.Table]:
    """Read a Parquet file as typed tables in the order of the file; values that do not fit go to `rejects`.

    Raises:
        BatchError: the file's columns are not the table's, or it is damaged.
    """
    try:
        with pq.ParquetFile(path, buffer_size=1 << 20, page_checksum_verification=True) as parquet:
            _require_columns(parquet.schema_arrow, table, path)
            first_row = 1
            for batch in _batches(parquet, table):
                typed = _typed(batch, first_row, path, table, rejects)
                if typed is not None:
                    yield typed
                if rejects.is_full:
                    return
                first_row += batch.num_rows
    except (pa.ArrowException, OSError) as error:
        what = f"it cannot be read as Parquet: cut short or damaged ({error})"
        raise contract_breach(str(path), what) from None


def _batches(parquet: pq.ParquetFile, table: SourceTable) -> Iterator[pa.RecordBatch]:
    # One iteration over all row groups would keep what it has read until the end.
    for row_group in range(parquet.num_row_groups):
        yield from parquet.iter_batches(_PARQUET_ROWS_AT_ONCE, row_groups=[row_group], columns=list(table.column_names))


def _require_columns(found: pa.Schema, table: SourceTable, path: Path) -> None:
    wanted = ", ".join(f"{column.name} {column.type}" for column in table.columns)
    problems = [f"unknown {name!r}" for name in sorted(set(found.names) - set(table.column_names))]
    for column in table.columns:
        positions = found.get_all_field_indices(column.name)
        if not positions:
            problems.append(f"missing {column.name!r}")
        elif len(positions) > 1:
            problems.append(f"{column.name!r} twice")
        elif not _is_lossless(found.field(positions[0]).type, column.type):
            problems.append(f"{column.name!r} is {found.field(positions[0]).type}")
    if problems:
        raise contract_breach(str(path), f"its columns must be {wanted}, in any order; found: {'; '.join(problems)}")


def _is_lossless(found: pa.DataType, wanted: ColumnType) -> bool:
    """Whether values of a Parquet type can be held by the declared type, as far as the type alone tells."""
    if wanted == "int":
        return bool(pa.types.is_integer(found))
    if wanted == "timestamptz":
        return bool(pa.types.is_timestamp(found)) and found.tz is not None
    plain = found.value_type if pa.types.is_dictionary(found) else found
    return plain in (pa.string(), pa.large_string(), pa.string_view())


def _typed(
    batch: pa.RecordBatch, first_row: int, path: Path, table: SourceTable, rejects: RejectLog
) -> pa.Table | None:
    typed: dict[str, pa.Array] = {}
    for column in table.columns:
        convert = partial(convert_values, column_type=column.type)
        values = batch.column(column.name)
        try:
            typed[column.name] = convert(values)
        except pa.ArrowInvalid:
            for row in islice(failing_rows(values, convert), MOST_REJECTS):
                text = _as_text(values[row], column.type)
                rejects.add(path.name, first_row + row, column.name, text, explain(text, column.type))
    return pa.table(typed) if len(typed) == len(table.columns) else None


def _as_text(value: pa.Scalar, column_type: ColumnType) -> str:
    if column_type == "text":
        return repr(value.as_buffer().to_pybytes())
    # Python's own calendar ends before Arrow's.
    return str(value.cast(pa.string()))


# Writing ----------------------------------------------------------------------------------------------------


@contextmanager
def _replacing(target: Path) -> Iterator[BinaryIO]:
    """Give a stream whose content replaces `target` when the block ends well, and is removed otherwise.

    Raises:
        BatchError: another process is converting to the same target.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_name(f".{target.name}.unfinished")
    unfinished.touch()
    with unfinished.open("r+b") as stream:
        if not _lock(stream, unfinished):
            raise BatchError(f"{target} is being written by another process; refresh again when it is done.")
        try:
            stream.truncate()
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
            unfinished.replace(target)
        except BaseException:
            unfinished.unlink(missing_ok=True)
            raise


def _lock(stream: BinaryIO, path: Path) -> bool:
    """Lock a file for this process; False where another one has it, or has renamed it since it was opened.

    A killed process leaves its file, but not its lock.
    """
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.path.samestat(os.fstat(stream.fileno()), path.stat())
    except (BlockingIOError, FileNotFoundError):
        return False


def _writer(stream: BinaryIO, batch: ExportBatch, table: SourceTable) -> _TableWriter | _FileKeeper:
    """What writes a table of a batch: a copy does where its one file is as it would be written."""
    files = batch.tables[table.name].files
    path = Path(batch.folder) / files[0].path if len(files) == 1 else None
    if path is not None and path.suffix == ".parquet" and _is_as_written(path, table):
        return _FileKeeper(stream, table)
    return _TableWriter(stream, table)


def _is_as_written(path: Path, table: SourceTable) -> bool:
    """Whether a Parquet file has the columns, types, compression and row groups of a converted one, and its library's
    word for the smallest and largest values, by which readers skip rows."""
    try:
        with pq.ParquetFile(path) as parquet:
            metadata, schema = parquet.metadata, parquet.schema_arrow
    except (pa.ArrowException, OSError):
        # What is wrong with it is said when it is read.
        return False
    groups = [metadata.row_group(position) for position in range(metadata.num_row_groups)]
    codecs = {group.column(position).compression for group in groups for position in range(metadata.num_columns)}
    return (
        metadata.created_by.startswith("parquet-cpp-arrow")
        and schema.equals(arrow_schema(table))
        and codecs <= {"ZSTD"}
        and all(group.num_rows <= _MOST_ROWS_A_GROUP for group in groups)
    )


class _FileKeeper:
    """Takes a Parquet file over as it is, when all of it has been read; only the end, where its origin is said, is new.

    A file says where its parts are by their distance from its beginning, which stays:
    https://parquet.apache.org/docs/file-format/
    """

    def __init__(self, stream: BinaryIO, table: SourceTable) -> None:
        self._stream, self._table = stream, table
        self._metadata: pq.FileMetaData | None = None

    def __enter__(self) -> _FileKeeper:
        return self

    def __exit__(self, *exception: object) -> None:
        pass

    def write(self, piece: pa.Table) -> None:
        """Nothing: its values were looked at, and are taken over with the file."""

    def end_file(self, path: Path) -> None:
        with path.open("rb") as source:
            self._metadata = pq.read_metadata(source)
            left = path.stat().st_size - self._metadata.serialized_size - _AFTER_METADATA
            source.seek(0)
            while left > 0:
                piece = source.read(min(left, _COPIED_AT_ONCE))
                if not piece:
                    raise contract_breach(str(path), "it was cut short while it was read")
                self._stream.write(piece)
                left -= len(piece)

    def add_provenance(self, provenance: Mapping[str, object]) -> None:
        without_rows = BytesIO()
        with pq.ParquetWriter(without_rows, arrow_schema(self._table)) as writer:
            writer.add_key_value_metadata({PROVENANCE_KEY: json.dumps(provenance)})
        metadata = pq.read_metadata(without_rows)
        metadata.append_row_groups(self._metadata)
        written = BytesIO()
        metadata.write_metadata_file(written)
        self._stream.write(written.getvalue().removeprefix(_MAGIC_NUMBERS[".parquet"]))


class _TableWriter:
    """Writes typed pieces to Parquet in a thread of its own, so that the next piece is read meanwhile."""

    def __init__(self, stream: BinaryIO, table: SourceTable) -> None:
        # Most columns are keys and unique texts, for which dictionaries cost time and space.
        self._writer = pq.ParquetWriter(stream, arrow_schema(table), compression="zstd", use_dictionary=False)
        self._thread = ThreadPoolExecutor(max_workers=1)
        self._writing: Future[None] | None = None

    def __enter__(self) -> _TableWriter:
        return self

    def write(self, piece: pa.Table) -> None:
        self._finish_writing()
        self._writing = self._thread.submit(self._writer.write_table, piece)

    def end_file(self, path: Path) -> None:
        """Nothing: what was in it has been written, or is being written."""

    def add_provenance(self, provenance: Mapping[str, object]) -> None:
        self._finish_writing()
        self._writer.add_key_value_metadata({PROVENANCE_KEY: json.dumps(provenance)})

    def _finish_writing(self) -> None:
        if self._writing is not None:
            self._writing.result()

    def __exit__(self, *exception: object) -> None:
        self._thread.shutdown()
        self._writer.close()
