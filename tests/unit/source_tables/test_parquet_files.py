"""Parquet files are read without loss and in bounded memory, or an error reports what is wrong."""

import io
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from source_tables.landing import SCHEMA, START, Landing, as_parquet, parquet_bytes, performances

from acl_assets.landing_zone.manifest import BatchError
from acl_assets.source_schema import arrow_schema


@pytest.fixture
def landing(tmp_path: Path) -> Landing:
    return Landing(tmp_path)


@pytest.fixture
def bands(tmp_path: Path) -> Landing:
    return Landing(tmp_path, "bands")


def rejects_of(landing: Landing, content: bytes) -> list[tuple[int, str | None]]:
    """Return line and column of the rejects of a Parquet file."""
    with pytest.raises(BatchError, match="rejected"):
        landing.convert({f"{landing.table.name}.parquet": content})
    return [(reject["line"], reject["column"]) for reject in landing.rejects()]


# Types and columns ----------------------------------------------------------------------------------------------

PARQUET_TYPES: dict[str, tuple[str, pa.DataType, object]] = {
    "64 bits that fit into 32": ("band_id", pa.int64(), -(2**31)),
    "a decimal without fraction, as from Snowflake": ("band_id", pa.decimal128(38, 0), 2**31 - 1),
    "whole microseconds in nanoseconds": ("performance_start", pa.timestamp("ns", "UTC"), START),
    "nothing, as pandas writes a column without values": ("band_id", pa.null(), None),
}


@pytest.mark.parametrize(("column", "data_type", "value"), PARQUET_TYPES.values(), ids=PARQUET_TYPES)
def test_reads_types_that_lose_nothing(column: str, data_type: pa.DataType, value: object, landing: Landing) -> None:
    schema = SCHEMA.set(SCHEMA.get_field_index(column), pa.field(column, data_type))
    rows = [{**performances(1, 1)[0], column: value}, {**performances(2, 2)[0], column: None}]
    landing.convert({"performances.parquet": as_parquet(rows, schema)})
    assert [row[column] for row in landing.made()] == [value, None]


@pytest.mark.parametrize(
    "options",
    [
        {},
        # As DuckDB writes version 2 of the format.
        {"use_dictionary": False, "column_encoding": {"name": "DELTA_LENGTH_BYTE_ARRAY"}},
    ],
)
def test_reads_texts_however_they_are_stored(options: dict[str, Any], bands: Landing) -> None:
    schema = pa.schema([("name", pa.large_string()), ("fee", pa.int16()), ("id", pa.int32())])
    bands.convert({"bands.parquet": as_parquet([{"id": 1, "name": "½", "fee": 500}, {"id": 2}], schema, **options)})
    assert [(row["id"], row["name"], row["fee"]) for row in bands.made()] == [(1, "½", 500), (2, None, None)]


@pytest.mark.parametrize(
    ("field", "message"),
    [
        (pa.field("band_id", pa.float64()), "'band_id' is double"),
        (pa.field("band_id", pa.decimal128(9, 2)), r"'band_id' is decimal128\(9, 2\)"),
        (pa.field("performance_start", pa.timestamp("us")), r"'performance_start' is timestamp\[us\]"),
        (pa.field("venue_id", pa.list_(pa.int32())), "'venue_id' is nested"),
    ],
)
def test_refuses_types_that_may_lose_something(field: pa.Field, message: str, landing: Landing) -> None:
    """A timestamp without a time zone could be any of a day's instants."""
    schema = SCHEMA.set(SCHEMA.get_field_index(field.name), field)
    with pytest.raises(BatchError, match=message):
        landing.convert({"performances.parquet": as_parquet([], schema)})


def test_refuses_columns_that_are_not_the_tables(landing: Landing) -> None:
    schema = pa.schema([("id", pa.int32()), ("id", pa.int32()), ("fee", pa.int32()), *list(SCHEMA)[1:3]])
    table = pa.table([pa.array([], field.type) for field in schema], schema=schema)
    with pytest.raises(BatchError, match=r"unknown 'fee'; missing 'venue_id'; 'id' twice"):
        landing.convert({"performances.parquet": parquet_bytes(table)})


@pytest.mark.parametrize(
    ("data_type", "options", "message"),
    [
        (pa.dictionary(pa.int8(), pa.string()), {}, "'name' is dictionary"),
        (
            pa.string(),
            {"use_dictionary": False, "column_encoding": {"name": "DELTA_BYTE_ARRAY"}},
            "has the encoding DELTA",
        ),
    ],
)
def test_refuses_texts_whose_size_nothing_shows(
    data_type: pa.DataType, options: dict[str, Any], message: str, bands: Landing
) -> None:
    schema = arrow_schema(bands.table).set(1, pa.field("name", data_type))
    with pytest.raises(BatchError, match=message):
        bands.convert({"bands.parquet": as_parquet([{"id": 1, "name": "a"}], schema, **options)})


def test_refuses_damaged_pages(landing: Landing) -> None:
    options = {"write_page_checksum": True, "compression": "none", "use_dictionary": False}
    content = bytearray(as_parquet(performances(1, 1_000), **options))
    content[9_800] ^= 0x10
    with pytest.raises(BatchError, match="damaged"):
        landing.convert({"performances.parquet": bytes(content)})


def test_refuses_names_of_columns_that_are_not_text(landing: Landing) -> None:
    content = as_parquet(performances(1, 10)).replace(b"band_id", b"band_\xff\xff")
    with pytest.raises(BatchError, match="damaged"):
        landing.convert({"performances.parquet": content})


# Rejected values ------------------------------------------------------------------------------------------------


def test_counts_the_rows_of_rejects_across_row_groups(landing: Landing) -> None:
    """Types may be wider than declared as long as every value fits; timestamps, as long as Python's calendar does."""
    types = [pa.int64(), pa.timestamp("ns", "UTC"), pa.decimal128(38, 0), pa.int32()]
    rows = performances(1, 2_500)
    rows[1_700]["id"] = 2**31
    rows[1_800]["band_id"] = -(10**37)
    table = pa.Table.from_pylist(rows, pa.schema(zip(SCHEMA.names, types, strict=True)))
    nanoseconds = table["performance_start"].cast(pa.int64()).to_pylist()
    nanoseconds[2_400] += 1
    table = table.set_column(1, table.schema[1], pa.array(nanoseconds, pa.int64()).cast(types[1]))
    found = rejects_of(landing, parquet_bytes(table, row_group_size=1_000))
    assert found == [(1_701, "id"), (1_801, "band_id"), (2_401, "performance_start")]


def test_rejects_timestamps_outside_the_calendar(landing: Landing) -> None:
    """Parquet counts beyond the year 9999; hardly any reader of the table can."""
    seconds = pa.array([0, 600_000_000_000, -70_000_000_000]).cast(pa.timestamp("s", "UTC"))
    columns = {name: pa.array([1, 2, 3], pa.int32()) for name in ["id", "band_id", "venue_id"]}
    found = rejects_of(landing, parquet_bytes(pa.table({**columns, "performance_start": seconds})))
    assert found == [(2, "performance_start"), (3, "performance_start")]
    assert landing.rejects()[0]["text"].startswith("20983-")


MOMENTS = [datetime(year, 1, 2, 3, 4, 5, tzinfo=UTC) for year in (2, 1677, 2021, 2263, 9998)]


def int96(**metadata: str) -> bytes:
    """Return performances whose timestamps are int96."""
    ids = pa.array(range(len(MOMENTS)), pa.int32())
    instants = pa.array(MOMENTS, pa.timestamp("us"))
    table = pa.table({"id": ids, "performance_start": instants, "band_id": ids, "venue_id": ids})
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(sink, table.schema, store_schema=False, use_deprecated_int96_timestamps=True) as writer:
        writer.write_table(table)
        writer.add_key_value_metadata(metadata)
    return bytes(sink.getvalue())


def test_reads_int96_by_spark_as_utc_also_in_years_that_nanoseconds_do_not_reach(landing: Landing) -> None:
    content = int96(**{"org.apache.spark.version": "3.5.1"})
    assert pq.ParquetFile(io.BytesIO(content)).schema.column(1).physical_type == "INT96"
    landing.convert({"performances.parquet": content})
    assert [row["performance_start"] for row in landing.made()] == MOMENTS


def test_refuses_int96_without_a_time_zone(landing: Landing) -> None:
    """It could be local time, as Hive and Impala write it."""
    with pytest.raises(BatchError, match="'performance_start' is int96, which has no time zone"):
        landing.convert({"performances.parquet": int96()})


def test_rejects_a_text_longer_than_one_mebibyte(bands: Landing) -> None:
    """CSV has the same limit, and a few kilobytes of Parquet can hold such texts by the thousand."""
    mebibyte = "x" * (1 << 20)
    names = ["a", mebibyte, mebibyte * 2, None, mebibyte + "x", "é" * (1 << 19)]
    rows = [{"id": number, "name": name} for number, name in enumerate(names)]
    content = as_parquet(rows, arrow_schema(bands.table), compression="zstd")
    assert len(content) < 100_000
    assert rejects_of(bands, content) == [(3, "name"), (5, "name")]
    assert len(bands.rejects_file.read_bytes()) < 5_000


@pytest.mark.parametrize("use_dictionary", [True, False], ids=["the same name", "different names"])
def test_reads_a_small_file_of_very_much_text_in_bounded_memory(use_dictionary: bool, bands: Landing) -> None:
    """One row group has 300 MB of names in a few megabytes."""
    rows = 8_192
    names = [f"{'' if use_dictionary else number}{'x' * 36_000}" for number in range(rows)]
    columns = {"id": pa.array(range(rows), pa.int32()), "name": pa.array(names), "fee": pa.nulls(rows, pa.int32())}
    content = parquet_bytes(
        pa.table(columns), row_group_size=rows, compression="zstd", use_dictionary=use_dictionary, store_schema=False
    )
    assert len(content) < 4 << 20
    bands.land({"bands.parquet": content})
    pool = pa.default_memory_pool()
    measured = pa.proxy_memory_pool(pool)
    pa.set_memory_pool(measured)
    try:
        bands.make()
    finally:
        pa.set_memory_pool(pool)
    assert 10 << 20 < measured.max_memory() < 150 << 20
    assert pq.read_table(bands.target)["name"].to_pylist() == names
