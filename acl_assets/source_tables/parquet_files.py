"""Parquet files of an export batch, read without loss and in bounded memory."""

from collections.abc import Iterator
from functools import partial

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from acl_assets.landing_zone.manifest import contract_breach
from acl_assets.landing_zone.values import convert_values
from acl_assets.source_schema import SourceColumn
from acl_assets.source_tables.rejects import OpenFile
from acl_assets.source_tables.typed_columns import require_columns, typed_rows

_ROWS_AT_ONCE = 131_072
_BYTES_AT_ONCE = 32 << 20
_DICTIONARIES = {"PLAIN_DICTIONARY", "RLE_DICTIONARY"}
_open = partial(pq.ParquetFile, buffer_size=1 << 20, page_checksum_verification=True)


def read_parquet_file(file: OpenFile) -> Iterator[pa.Table]:
    """Read a Parquet file as typed tables in the order of the file, as far as there are fewer than 1,000 rejects.

    Raises:
        BatchError: the file's columns are not the table's, or it is damaged.
    """
    try:
        with _open(file.stream, coerce_int96_timestamp_unit="us") as parquet:
            names = parquet.schema_arrow.names
            columns = [column for column in file.table.columns if names.count(column.name) == 1]
            problems = ((column.name, _type_problem(parquet, column)) for column in columns)
            require_columns(names, file, [f"{name!r} {problem}" for name, problem in problems if problem])
            first_row = 1
            for batch in _batches(parquet, file, columns):
                lines = partial(range, first_row, first_row + batch.num_rows)
                yield from typed_rows(batch, file, convert_values, lines)
                if file.rejects.is_full:
                    return
                first_row += batch.num_rows
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        # The library's message can quote what it found.
        reason = "" if file.table.personal_columns else f" ({error})"
        raise contract_breach(
            file.where, f"it cannot be read as Parquet: cut short, damaged or not what its name says{reason}"
        ) from None


def _type_problem(parquet: pq.ParquetFile, column: SourceColumn) -> str | None:
    """Return why values of a column cannot be held by the declared type, as far as its type alone shows."""
    position = parquet.schema_arrow.get_field_index(column.name)
    found: pa.DataType = parquet.schema_arrow.field(position).type
    if pa.types.is_nested(found):
        # Its fields are named by the file, perhaps after people.
        return "is nested"
    if pa.types.is_null(found):
        # pandas writes columns without any value so, also those of a table without rows.
        return None
    if column.type == "timestamptz":
        is_int96 = parquet.schema.column(position).physical_type == "INT96"
        # int96 has no time zone, but Spark adjusts it to UTC, and to microseconds as all of its timestamps:
        # spark.sql.parquet.outputTimestampType.
        is_utc = is_int96 and b"org.apache.spark.version" in (parquet.metadata.metadata or {})
        is_held = pa.types.is_timestamp(found) and (found.tz is not None or is_utc)
        return None if is_held else f"is {'int96' if is_int96 else found}, which has no time zone"
    if column.type == "int":
        is_held = pa.types.is_integer(found) or (pa.types.is_decimal(found) and found.scale == 0)
    else:
        groups = map(parquet.metadata.row_group, range(parquet.num_row_groups))
        if any("DELTA_BYTE_ARRAY" in group.column(position).encodings for group in groups):
            # Texts that share beginnings: a file of a few kilobytes can hold gigabytes, and nothing in it shows that.
            return "has the encoding DELTA_BYTE_ARRAY, not that of dictionaries or of plain texts"
        # The library would keep all texts of a dictionary column until the end of the row group.
        is_held = found in (pa.string(), pa.large_string(), pa.string_view())
    return None if is_held else f"is {found}"


def _batches(parquet: pq.ParquetFile, file: OpenFile, columns: list[SourceColumn]) -> Iterator[pa.RecordBatch]:
    """Give the rows in batches of bounded size."""
    texts = [column.name for column in columns if column.type == "text"]
    dictionaries = _open(file.stream, read_dictionary=texts)
    # One iteration over all row groups would keep what it has read until the end.
    for group in range(parquet.num_row_groups):
        rows = _rows_at_once(dictionaries, group, texts)
        yield from parquet.iter_batches(rows, row_groups=[group], columns=[column.name for column in columns])


def _rows_at_once(parquet: pq.ParquetFile, group: int, texts: list[str]) -> int:
    """Return how many rows of a row group may be read at once.

    Texts take as much as the row group does before compression or, where they are in a dictionary, as the longest of
    it in every row: a file of a few kilobytes can hold gigabytes of repeated text.
    """
    metadata = parquet.metadata.row_group(group)
    bytes_per_row = max(1, metadata.total_byte_size // max(1, metadata.num_rows))
    texts = [
        chunk.path_in_schema
        for chunk in map(metadata.column, range(metadata.num_columns))
        if chunk.path_in_schema in texts and _DICTIONARIES.intersection(chunk.encodings)
    ]
    # Any row comes with the whole dictionary. All rows would be kept until the end of the row group.
    for column in next(parquet.iter_batches(1, row_groups=[group], columns=texts), pa.table({})).columns:
        if pa.types.is_dictionary(column.type) and len(column.dictionary):
            bytes_per_row = max(bytes_per_row, pc.max(pc.binary_length(column.dictionary)).as_py())
    return max(1, min(_ROWS_AT_ONCE, _BYTES_AT_ONCE // bytes_per_row))
