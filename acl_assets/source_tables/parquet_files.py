"""Parquet files of an export batch, read without loss and in bounded memory."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import BinaryIO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from acl_assets.landing_zone.manifest import contract_breach
from acl_assets.source_schema import ARROW_TYPES, ColumnType, SourceColumn, SourceTable
from acl_assets.source_tables.open_file import OpenFile
from acl_assets.source_tables.rejects import RejectLog
from acl_assets.source_tables.typed_columns import convert_columns, convert_values, describe_columns

_ROWS_AT_ONCE = 131_072
_BYTES_AT_ONCE = 32 << 20
_MOST_DICTIONARY_BYTES = 128 << 20


def read_parquet_file(file: OpenFile, table: SourceTable, rejects: RejectLog) -> Iterator[pa.Table]:
    """Read a Parquet file as typed tables in the order of the file; values that do not fit go to `rejects`.

    Raises:
        BatchError: the file's columns are not the table's, or it is damaged.
    """
    try:
        with _open(file.stream) as parquet:
            columns = _declared_columns(parquet, file, table)
            first_row = 1
            for batch in _batches(parquet, file.stream, columns):
                typed = convert_columns(batch, columns, table, convert_values)
                if isinstance(typed, pa.Table):
                    yield typed
                else:
                    for row, *flaw in typed:
                        rejects.add(file.name, first_row + row, *flaw)
                if rejects.is_full:
                    return
                first_row += batch.num_rows
    except (pa.ArrowException, OSError) as error:
        # The library's message can quote what it found.
        reason = "" if table.personal_columns else f" ({error})"
        raise contract_breach(file.where, f"it cannot be read as Parquet: cut short or damaged{reason}") from None


def _open(stream: BinaryIO, dictionaries: list[str] | None = None, int96_unit: str = "ns") -> pq.ParquetFile:
    return pq.ParquetFile(
        stream,
        buffer_size=1 << 20,
        page_checksum_verification=True,
        read_dictionary=dictionaries,
        coerce_int96_timestamp_unit=int96_unit,
    )


# Columns --------------------------------------------------------------------------------------------------------


def _declared_columns(parquet: pq.ParquetFile, file: OpenFile, table: SourceTable) -> list[SourceColumn]:
    """Return the declared columns that the file has; it must have every required one, and no other."""
    found: pa.Schema = parquet.schema_arrow
    problems = describe_columns(found.names, table)
    for column in table.columns:
        positions = found.get_all_field_indices(column.name)
        if len(positions) == 1 and (problem := _type_problem(parquet, column.name, column.type)):
            problems.append(f"{column.name!r} {problem}")
    if problems:
        wanted = ", ".join(f"{column.name} {column.type}" for column in table.columns)
        raise contract_breach(file.where, f"its columns must be {wanted}, in any order; found: {'; '.join(problems)}")
    return [column for column in table.columns if column.name in found.names]


def _type_problem(parquet: pq.ParquetFile, name: str, wanted: ColumnType) -> str | None:
    """Return why values of a column cannot be held by the declared type, as far as its type alone shows."""
    position = parquet.schema_arrow.get_field_index(name)
    found: pa.DataType = parquet.schema_arrow.field(position).type
    if pa.types.is_nested(found):
        # Its fields are named by the file, perhaps after people.
        return "is nested"
    is_dictionary = pa.types.is_dictionary(found)
    if wanted == "int":
        is_held = pa.types.is_integer(found) or (pa.types.is_decimal(found) and found.scale == 0)
    elif wanted == "text":
        is_held = (found.value_type if is_dictionary else found) in (pa.string(), pa.large_string(), pa.string_view())
    elif name in _int96_columns(parquet):
        is_held, found = _is_int96_utc(parquet, name), "int96"
    else:
        is_held = pa.types.is_timestamp(found) and found.tz is not None
    if not is_held:
        return f"is {found}" + (", which has no time zone" if wanted == "timestamptz" else "")
    chunks = (parquet.metadata.row_group(group).column(position) for group in range(parquet.num_row_groups))
    # The library keeps all texts of such a column until the end of the row group.
    if is_dictionary and any(chunk.total_uncompressed_size > _MOST_DICTIONARY_BYTES for chunk in chunks):
        return f"is {found} and has more than 128 MiB in one row group; export it as plain text"
    return None


def _int96_columns(parquet: pq.ParquetFile) -> set[str]:
    columns = (parquet.schema.column(position) for position in range(parquet.metadata.num_columns))
    return {column.path for column in columns if column.physical_type == "INT96"}


def _is_int96_utc(parquet: pq.ParquetFile, name: str) -> bool:
    """Return whether the file's metadata says that an int96 column is in UTC.

    int96 has no time zone. Spark adjusts it to UTC (spark.sql.parquet.outputTimestampType) and signs its files; Arrow
    records the zone in its own schema.
    """
    metadata = parquet.metadata.metadata or {}
    if b"org.apache.spark.version" in metadata:
        return True
    if b"ARROW:schema" not in metadata:
        return False
    written = pa.ipc.read_schema(pa.py_buffer(base64.b64decode(metadata[b"ARROW:schema"])))
    recorded = written.field(name).type if name in written.names else None
    return recorded is not None and pa.types.is_timestamp(recorded) and recorded.tz is not None


# Rows -----------------------------------------------------------------------------------------------------------


def _batches(parquet: pq.ParquetFile, stream: BinaryIO, columns: list[SourceColumn]) -> Iterator[pa.RecordBatch]:
    """Give the rows in batches of bounded size, int96 as timestamps in UTC."""
    names = [column.name for column in columns]
    int96 = sorted(_int96_columns(parquet) & set(names))
    microseconds = _open(stream, int96_unit="us")
    texts = [column.name for column in columns if column.type == "text"]
    dictionaries = _open(stream, texts)
    # One iteration over all row groups would keep what it has read until the end.
    for group in range(parquet.num_row_groups):
        rows = _rows_at_once(dictionaries, group, texts)
        batches = parquet.iter_batches(rows, row_groups=[group], columns=names)
        if int96:
            batches = map(_with_instants, batches, microseconds.iter_batches(rows, row_groups=[group], columns=int96))
        yield from batches


def _rows_at_once(parquet: pq.ParquetFile, group: int, texts: list[str]) -> int:
    """Return how many rows of a row group may be read at once.

    Texts take as much as the row group does before compression or, where they are in a dictionary, as the longest of
    it in every row: a file of a few kilobytes can hold gigabytes of repeated text.
    """
    metadata = parquet.metadata.row_group(group)
    bytes_per_row = max(1, metadata.total_byte_size // max(1, metadata.num_rows))
    # Any row comes with the whole dictionary. All rows would be kept until the end of the row group.
    for column in next(parquet.iter_batches(1, row_groups=[group], columns=texts), pa.table({})).columns:
        if pa.types.is_dictionary(column.type) and len(column.dictionary):
            bytes_per_row = max(bytes_per_row, pc.max(pc.binary_length(column.dictionary)).as_py())
    return max(1, min(_ROWS_AT_ONCE, _BYTES_AT_ONCE // bytes_per_row))


def _with_instants(batch: pa.RecordBatch, exact: pa.RecordBatch) -> pa.RecordBatch:
    """Replace int96 columns by microseconds in UTC, or by texts if values are finer, so that these are rejected.

    int96 counts nanoseconds over a longer range than Arrow's, so it is read in both units. Nanoseconds overflow outside
    that range, but their difference from the microseconds does not: it is what a microsecond leaves.
    """
    for name in exact.schema.names:
        position = batch.schema.get_field_index(name)
        microseconds = exact.column(name)
        whole = pc.cast(pc.cast(microseconds, pa.timestamp("ns"), safe=False), pa.int64())
        rest = pc.subtract(pc.cast(batch.column(position), pa.int64()), whole)
        if pc.any(pc.not_equal(rest, 0)).as_py():
            instants = _as_texts(microseconds, rest)
        else:
            instants = pc.cast(microseconds, ARROW_TYPES["timestamptz"])
        batch = batch.set_column(position, name, instants)
    return batch


def _as_texts(microseconds: pa.Array, nanoseconds: pa.Array) -> pa.Array:
    """Return timestamps as texts in UTC, with nine digits where there are nanoseconds beyond the microseconds."""
    finer = pc.utf8_lpad(pc.cast(nanoseconds, pa.string()), 3, "0")
    digits = pc.if_else(pc.equal(nanoseconds, 0), "", finer)
    return pc.binary_join_element_wise(pc.cast(microseconds, pa.string()), digits, "Z", "")
