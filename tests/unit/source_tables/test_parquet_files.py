"""Parquet files are read without loss and in bounded memory, or an error reports what is wrong."""

from __future__ import annotations

import base64
import io
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from source_tables.landing import SCHEMA, START, Landing, as_parquet, parquet_bytes, performances

from acl_assets.landing_zone.manifest import BatchError
from acl_assets.source_tables import parquet_files
from acl_assets.source_tables.rejects import RejectedLinesError


@pytest.fixture
def landing(tmp_path: Path) -> Landing:
    return Landing(tmp_path)


@pytest.fixture
def bands(tmp_path: Path) -> Landing:
    return Landing(tmp_path, "bands")


def rejects_of(landing: Landing, content: bytes) -> list[tuple[int, str | None, str]]:
    """Return line, column and reason of the rejects of a Parquet file."""
    landing.land({f"{landing.table.name}.parquet": content})
    with pytest.raises(RejectedLinesError) as raised:
        landing.make()
    return [(reject.line, reject.column, reject.reason) for reject in raised.value.rejects]


# Types and columns ----------------------------------------------------------------------------------------------

PARQUET_TYPES: dict[str, tuple[str, pa.DataType, object, object]] = {
    "16 bits without sign": ("band_id", pa.uint16(), 65_535, 65_535),
    "64 bits that fit into 32": ("band_id", pa.int64(), -(2**31), -(2**31)),
    "a decimal without fraction, as from Snowflake": ("band_id", pa.decimal128(38, 0), 2**31 - 1, 2**31 - 1),
    "whole microseconds in nanoseconds": ("performance_start", pa.timestamp("ns", "UTC"), START, START),
    "another time zone": (
        "performance_start",
        pa.timestamp("us", "America/Chicago"),
        START.astimezone(timezone(timedelta(hours=-5))),
        START,
    ),
}


@pytest.mark.parametrize(("column", "data_type", "value", "expected"), PARQUET_TYPES.values(), ids=PARQUET_TYPES)
def test_reads_types_that_lose_nothing(
    column: str, data_type: pa.DataType, value: object, expected: object, landing: Landing
) -> None:
    schema = SCHEMA.set(SCHEMA.get_field_index(column), pa.field(column, data_type))
    rows = [{**performances(1, 1)[0], column: value}, {**performances(2, 2)[0], column: None}]
    landing.convert({"performances.parquet": as_parquet(rows, schema)})
    assert pq.read_table(landing.target)[column].to_pylist() == [expected, None]


@pytest.mark.parametrize(
    "data_type", [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int8(), pa.string())]
)
def test_reads_texts_however_they_are_stored(data_type: pa.DataType, bands: Landing) -> None:
    schema = pa.schema([("name", data_type), ("fee", pa.int16()), ("id", pa.int32())])
    bands.convert({"bands.parquet": as_parquet([{"id": 1, "name": "½", "fee": 500}, {"id": 2}], schema)})
    assert bands.made() == [{"id": 1, "name": "½", "fee": 500}, {"id": 2, "name": None, "fee": None}]


@pytest.mark.parametrize(
    ("field", "message"),
    [
        (pa.field("band_id", pa.float64()), "'band_id' is double"),
        (pa.field("band_id", pa.decimal128(9, 2)), r"'band_id' is decimal128\(9, 2\)"),
        (pa.field("performance_start", pa.timestamp("us")), r"'performance_start' is timestamp\[us\]"),
        (pa.field("performance_start", pa.string()), "'performance_start' is string"),
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


@pytest.mark.parametrize("position", [2_600, 9_800])
def test_refuses_damaged_pages(position: int, landing: Landing) -> None:
    content = bytearray(
        as_parquet(performances(1, 1_000), write_page_checksum=True, compression="none", use_dictionary=False)
    )
    content[position] ^= 0x10
    landing.land({"performances.parquet": bytes(content)})
    with pytest.raises(BatchError, match="cut short or damaged"):
        landing.make()
    assert not landing.target.exists()


# Rejected values ------------------------------------------------------------------------------------------------


def test_counts_the_rows_of_rejects_across_row_groups(landing: Landing) -> None:
    """Types may be wider than declared as long as every value fits."""
    schema = pa.schema(
        [
            ("id", pa.int64()),
            ("performance_start", pa.timestamp("ns", "UTC")),
            ("band_id", pa.decimal128(38, 0)),
            SCHEMA[3],
        ]
    )
    rows = performances(1, 2_500)
    rows[1_700]["id"] = 2**31
    rows[1_800]["band_id"] = -(10**37)
    table = pa.Table.from_pylist(rows, schema)
    nanoseconds = table["performance_start"].cast(pa.int64()).to_pylist()
    nanoseconds[2_400] += 1
    table = table.set_column(1, schema[1], pa.array(nanoseconds, pa.int64()).cast(schema[1].type))
    assert rejects_of(landing, parquet_bytes(table, row_group_size=1_000)) == [
        (1_701, "id", "is outside the range of a 32-bit whole number"),
        (1_801, "band_id", "is outside the range of a 32-bit whole number"),
        (2_401, "performance_start", "has more than six fractional digits of a second"),
    ]


def test_rejects_timestamps_outside_the_calendar(landing: Landing) -> None:
    """Parquet counts beyond the year 9999; hardly any reader of the table can."""
    seconds = pa.array([0, 600_000_000_000, -70_000_000_000]).cast(pa.timestamp("s", "UTC"))
    columns = {name: pa.array([1, 2, 3], pa.int32()) for name in ["id", "band_id", "venue_id"]}
    found = rejects_of(landing, parquet_bytes(pa.table({**columns, "performance_start": seconds})))
    assert [line for line, *_ in found] == [2, 3]
    assert all("years 1 to 9999" in reason for *_, reason in found)


def test_rejects_texts_that_are_not_utf_8(bands: Landing) -> None:
    """Parquet does not guarantee it, and later readers would fail on it."""
    offsets = pa.array([0, 4], pa.int32()).buffers()[1]
    names = pa.Array.from_buffers(pa.string(), 1, [None, offsets, pa.py_buffer(b"Ros\xe9")])
    table = pa.table({"id": pa.array([1], pa.int32()), "name": names, "fee": pa.array([1], pa.int32())})
    assert rejects_of(bands, parquet_bytes(table)) == [(1, "name", "holds the byte 0xE9, which is not UTF-8 there")]


# int96 ----------------------------------------------------------------------------------------------------------


def int96(
    values: list[int | None], unit: str, *, spark: bool = False, time_zone: str | None = None, **options: Any
) -> bytes:
    """Return performances whose timestamps are int96, given as numbers since the epoch.

    `spark` adds Spark's key to the file's metadata; with a `time_zone` Arrow's own schema is in it.
    """
    ids = pa.array(range(1, len(values) + 1), pa.int32())
    instants = pa.array(values, pa.int64()).cast(pa.timestamp(unit, time_zone))
    table = pa.table({"id": ids, "performance_start": instants, "band_id": ids, "venue_id": ids})
    metadata: dict[str, str | bytes] = {"org.apache.spark.version": "3.5.1"} if spark else {}
    return written(table, metadata, store_schema=time_zone is not None, **options)


def written(table: pa.Table, metadata: dict[str, str | bytes], **options: Any) -> bytes:
    """Return a table as a Parquet file with int96 timestamps and these entries in its metadata."""
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(sink, table.schema, use_deprecated_int96_timestamps=True, **options) as writer:
        writer.write_table(table, row_group_size=2)
        writer.add_key_value_metadata(metadata)
    return bytes(sink.getvalue())


def seconds_of(year: int) -> int:
    return int((datetime(year, 1, 2, 3, 4, 5, tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds())


@pytest.mark.parametrize("signed", [{"spark": True}, {"time_zone": "UTC"}], ids=["Spark", "Arrow"])
def test_reads_int96_as_utc_when_the_file_says_so(signed: dict[str, Any], landing: Landing) -> None:
    moment = datetime(2021, 10, 1, 19, 30, 0, 123_456, tzinfo=UTC)
    microseconds = (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    content = int96([microseconds, None, microseconds + 1], "us", **signed)
    assert pq.ParquetFile(io.BytesIO(content)).schema.column(1).physical_type == "INT96"
    landing.convert({"performances.parquet": content})
    found = [row["performance_start"] for row in landing.made()]
    assert found == [moment, None, moment + timedelta(microseconds=1)]


def test_refuses_int96_without_a_time_zone(landing: Landing) -> None:
    """It could be local time, as Hive and Impala write it."""
    with pytest.raises(BatchError, match="'performance_start' is int96, which has no time zone"):
        landing.convert({"performances.parquet": int96([0], "us")})


def test_reads_int96_of_years_that_nanoseconds_do_not_reach(landing: Landing) -> None:
    years = [2, 1677, 2021, 2263, 9998]
    landing.convert({"performances.parquet": int96([seconds_of(year) for year in years], "s", spark=True)})
    found = [row["performance_start"] for row in landing.made()]
    assert found == [datetime(year, 1, 2, 3, 4, 5, tzinfo=UTC) for year in years]


# 2 ** 64 % 1_000 is 616: these are the nanoseconds that overflow hides.
@pytest.mark.parametrize(("year", "nanoseconds"), [(2021, 1), (2300, 616)])
def test_rejects_int96_finer_than_a_microsecond_in_any_year(year: int, nanoseconds: int, landing: Landing) -> None:
    content = bytearray(
        int96([seconds_of(1582), seconds_of(year)], "s", spark=True, compression="none", use_dictionary=False)
    )
    old, new = (
        ((seconds_of(year) % 86_400) * 10**9 + fraction).to_bytes(8, "little")
        + (seconds_of(year) // 86_400 + 2_440_588).to_bytes(4, "little")
        for fraction in (0, nanoseconds)
    )
    assert content.count(old) == 1
    reason = "has more than six fractional digits of a second"
    assert rejects_of(landing, bytes(content).replace(old, new)) == [(2, "performance_start", reason)]


@pytest.mark.parametrize("text", ["?", "abc", base64.b64encode(b"no schema")])
def test_refuses_metadata_that_is_no_arrow_schema(text: str | bytes, landing: Landing) -> None:
    """The metadata comes from outside, and whatever it holds must become an error about the file."""
    table = pq.read_table(io.BytesIO(int96([0], "us")))
    landing.land({"performances.parquet": written(table, {"ARROW:schema": text}, store_schema=False)})
    with pytest.raises(BatchError):
        landing.make()


# Size -----------------------------------------------------------------------------------------------------------

MIB = "x" * (1 << 20)


@pytest.mark.parametrize("use_dictionary", [True, False], ids=["dictionary", "plain"])
@pytest.mark.parametrize("text_type", [pa.string(), pa.dictionary(pa.int32(), pa.large_string())])
def test_rejects_a_text_longer_than_one_mebibyte(text_type: pa.DataType, use_dictionary: bool, bands: Landing) -> None:
    """CSV has the same limit, and a few kilobytes of Parquet can hold such texts by the thousand."""
    names = pa.array(["a", MIB, MIB * 2, None, MIB + "x", "é" * (1 << 19)])
    columns = {"id": pa.array(range(6), pa.int32()), "name": names.cast(text_type), "fee": pa.nulls(6, pa.int32())}
    content = parquet_bytes(pa.table(columns), use_dictionary=use_dictionary, compression="zstd")
    assert len(content) < 100_000
    assert rejects_of(bands, content) == [(line, "name", "is longer than 1 MiB") for line in (3, 5)]
    assert len(bands.rejects_file.read_bytes()) < 5_000


def test_refuses_large_categories_that_were_written_as_plain_text(
    bands: Landing, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Arrow reads such a column as a dictionary and keeps all of it in memory."""
    monkeypatch.setattr(parquet_files, "_MOST_DICTIONARY_BYTES", 100_000)
    ids = pa.array(range(1_000), pa.int32())
    names = pa.array([f"{number} {'x' * 500}" for number in range(1_000)]).dictionary_encode()
    table = pa.table({"fee": ids, "name": names, "id": ids})
    bands.land({"bands.parquet": parquet_bytes(table, use_dictionary=False)})
    with pytest.raises(BatchError, match="export it as plain text"):
        bands.make()


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
