"""Parquet files are read without loss and in bounded memory, or an error reports what is wrong."""

from __future__ import annotations

import base64
import io
import pickle
import subprocess
import sys
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from source_tables.landing import SCHEMA, START, Landing, as_parquet, parquet_bytes, performances

from acl_assets.landing_zone.manifest import BatchError
from acl_assets.source_tables import parquet_files
from acl_assets.source_tables.rejects import RejectedLinesError


@pytest.fixture
def landing(tmp_path: Path) -> Landing:
    return Landing(tmp_path)


# Types and columns ----------------------------------------------------------------------------------------------

PARQUET_TYPES: dict[str, tuple[str, pa.DataType, object, object]] = {
    "8 bits": ("band_id", pa.int8(), 5, 5),
    "16 bits without sign": ("band_id", pa.uint16(), 65_535, 65_535),
    "64 bits that fit into 32": ("band_id", pa.int64(), -(2**31), -(2**31)),
    "a decimal without fraction, as from Snowflake": ("band_id", pa.decimal128(38, 0), 2**31 - 1, 2**31 - 1),
    "a negative decimal": ("band_id", pa.decimal128(9, 0), -7, -7),
    "a decimal of 256 bits": ("band_id", pa.decimal256(76, 0), -(2**31), -(2**31)),
    "seconds": ("performance_start", pa.timestamp("s", "UTC"), START, START),
    "whole microseconds in nanoseconds": ("performance_start", pa.timestamp("ns", "UTC"), START, START),
    "another time zone": (
        "performance_start",
        pa.timestamp("us", "America/Chicago"),
        START.astimezone(timezone(timedelta(hours=-5))),
        START,
    ),
}


@pytest.mark.parametrize(("column", "data_type", "value", "expected"), PARQUET_TYPES.values(), ids=PARQUET_TYPES)
def test_reads_parquet_types_that_lose_nothing(
    column: str, data_type: pa.DataType, value: object, expected: object, landing: Landing
) -> None:
    schema = SCHEMA.set(SCHEMA.get_field_index(column), pa.field(column, data_type))
    rows = [{**performances(1, 1)[0], column: value}, {**performances(2, 2)[0], column: None}]
    landing.convert({"performances.parquet": as_parquet(rows, schema)})
    assert pq.read_table(landing.target)[column].to_pylist() == [expected, None]


TEXT_TYPES = [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int8(), pa.string())]


@pytest.mark.parametrize("data_type", TEXT_TYPES)
def test_reads_parquet_texts_however_they_are_stored(data_type: pa.DataType, tmp_path: Path) -> None:
    venues = Landing(tmp_path, "venues")
    schema = pa.schema([("name", data_type), ("capacity", pa.int16()), ("id", pa.int32())])
    venues.convert({"venues.parquet": as_parquet([{"id": 1, "name": "Stage ½", "capacity": 500}, {"id": 2}], schema)})
    assert venues.made() == [
        {"id": 1, "name": "Stage ½", "capacity": 500},
        {"id": 2, "name": None, "capacity": None},
    ]


@pytest.mark.parametrize(
    ("field", "message"),
    [
        (pa.field("band_id", pa.float64()), "'band_id' is double"),
        (pa.field("band_id", pa.decimal128(9, 2)), r"'band_id' is decimal128\(9, 2\)"),
        (pa.field("band_id", pa.bool_()), "'band_id' is bool"),
        (pa.field("band_id", pa.string()), "'band_id' is string"),
        (pa.field("performance_start", pa.timestamp("us")), r"'performance_start' is timestamp\[us\]"),
        (pa.field("performance_start", pa.date32()), "'performance_start' is date32"),
        (pa.field("performance_start", pa.string()), "'performance_start' is string"),
    ],
)
def test_refuses_parquet_types_that_may_lose_something(field: pa.Field, message: str, landing: Landing) -> None:
    """A timestamp without a time zone could be any of a day's instants."""
    schema = SCHEMA.set(SCHEMA.get_field_index(field.name), field)
    with pytest.raises(BatchError, match=message):
        landing.convert({"performances.parquet": as_parquet([], schema)})


def test_refuses_parquet_columns_that_are_not_the_tables(landing: Landing) -> None:
    schema = pa.schema([("id", pa.int32()), ("id", pa.int32()), ("fee", pa.int32()), *list(SCHEMA)[1:3]])
    table = pa.table([pa.array([], field.type) for field in schema], schema=schema)
    with pytest.raises(BatchError) as raised:
        landing.convert({"performances.parquet": parquet_bytes(table)})
    for problem in ("unknown 'fee'", "missing 'venue_id'", "'id' twice"):
        assert problem in str(raised.value)


def test_explains_the_index_that_pandas_writes_to_parquet(landing: Landing) -> None:
    frame = pa.Table.from_pylist(performances(1, 10), SCHEMA).to_pandas().iloc[[4, 2, 3]]
    stream = io.BytesIO()
    frame.to_parquet(stream)
    with pytest.raises(
        BatchError, match=r"'__index_level_0__' \(an index that pandas wrote: export with index=False\)"
    ):
        landing.convert({"performances.parquet": stream.getvalue()})


@pytest.mark.parametrize("data_type", [pa.decimal128(38, 0), pa.decimal256(76, 0), pa.int64(), pa.uint32()])
def test_rejects_parquet_numbers_beyond_32_bits(data_type: pa.DataType, landing: Landing) -> None:
    schema = SCHEMA.set(2, pa.field("band_id", data_type))
    rows = performances(1, 500)
    rows[411]["band_id"] = 2**31
    if pa.types.is_decimal(data_type):
        rows[412]["band_id"] = -(10**37)
    with pytest.raises(RejectedLinesError, match=r"row 412, column band_id: '2147483648' is outside") as raised:
        landing.convert({"performances.parquet": as_parquet(rows, schema, row_group_size=100)})
    rejected = [(reject.line, reject.text) for reject in raised.value.rejects]
    assert rejected == [(412, str(2**31)), (413, str(-(10**37)))][: len(rejected)]
    assert len(rejected) == 1 + pa.types.is_decimal(data_type)


# Rejected values ------------------------------------------------------------------------------------------------


def test_counts_the_rows_of_rejects_across_row_groups(landing: Landing) -> None:
    """Types may be wider than declared as long as every value fits."""
    schema = pa.schema(
        [("id", pa.int64()), ("performance_start", pa.timestamp("ns", "UTC")), ("band_id", pa.uint32()), SCHEMA[3]]
    )
    table = pa.Table.from_pylist(performances(1, 2_500), schema)
    ids = table["id"].to_pylist()
    ids[1_700] = 2**31
    nanoseconds = table["performance_start"].cast(pa.int64()).to_pylist()
    nanoseconds[2_400] += 1
    table = table.set_column(0, schema[0], pa.array(ids, pa.int64()))
    table = table.set_column(1, schema[1], pa.array(nanoseconds, pa.int64()).cast(schema[1].type))
    landing.land({"performances.parquet": parquet_bytes(table, row_group_size=1_000)})
    with pytest.raises(RejectedLinesError, match=r"performances\.parquet row 1701, column id: '2147483648'") as raised:
        landing.make()
    assert [(reject.line, reject.column) for reject in raised.value.rejects] == [
        (1_701, "id"),
        (2_401, "performance_start"),
    ]


def test_rejects_timestamps_outside_the_calendar(landing: Landing) -> None:
    """Parquet counts beyond the year 9999; hardly any reader of the table can."""
    seconds = pa.array([0, 600_000_000_000, -70_000_000_000]).cast(pa.timestamp("s", "UTC"))
    columns = {name: pa.array([1, 2, 3], pa.int32()) for name in ["id", "band_id", "venue_id"]}
    landing.land({"performances.parquet": parquet_bytes(pa.table({**columns, "performance_start": seconds}))})
    with pytest.raises(RejectedLinesError, match="years 1 to 9999") as raised:
        landing.make()
    assert [reject.line for reject in raised.value.rejects] == [2, 3]


@pytest.mark.parametrize("text_type", [pa.string(), pa.large_string()])
def test_rejects_texts_that_are_not_utf_8(text_type: pa.DataType, tmp_path: Path) -> None:
    """Parquet does not guarantee it, and later readers would fail on it."""
    offsets = pa.array([0, 4], pa.int64() if text_type == pa.large_string() else pa.int32()).buffers()[1]
    names = pa.Array.from_buffers(text_type, 1, [None, offsets, pa.py_buffer(b"Ros\xe9")])
    bands = Landing(tmp_path, "bands")
    table = pa.table({"id": pa.array([1], pa.int32()), "name": names, "fee": pa.array([1], pa.int32())})
    bands.land({"bands.parquet": parquet_bytes(table)})
    with pytest.raises(RejectedLinesError, match=r"row 1, column name: .*Ros\\\\xe9' holds the byte 0xE9"):
        bands.make()


# int96 ----------------------------------------------------------------------------------------------------------


def int96(
    values: list[int | None], unit: str, *, spark: bool = False, time_zone: str | None = None, **options: Any
) -> bytes:
    """Return performances whose timestamps are int96.

    Args:
        values: the timestamps, as numbers since the epoch.
        unit: of the numbers; `s` reaches beyond the years that Arrow can count in nanoseconds.
        spark: whether Spark's key is in the file's metadata.
        time_zone: what Arrow's own schema in the metadata says; None leaves that schema out.
        options: of the Parquet writer.
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


def instants(landing: Landing) -> list[datetime | None]:
    return [row["performance_start"] for row in landing.made()]


def seconds_of(year: int) -> int:
    return int((datetime(year, 1, 2, 3, 4, 5, tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds())


@pytest.mark.parametrize("signed", [{"spark": True}, {"time_zone": "UTC"}], ids=["Spark", "Arrow"])
def test_reads_int96_as_utc_when_the_file_says_so(signed: dict[str, Any], landing: Landing) -> None:
    moment = datetime(2021, 10, 1, 19, 30, 0, 123_456, tzinfo=UTC)
    microseconds = (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    content = int96([microseconds, None, microseconds + 1], "us", **signed)
    assert pq.ParquetFile(io.BytesIO(content)).schema.column(1).physical_type == "INT96"
    landing.convert({"performances.parquet": content})
    assert instants(landing) == [moment, None, moment + timedelta(microseconds=1)]


def test_refuses_int96_without_a_time_zone(landing: Landing) -> None:
    """It could be local time, as Hive and Impala write it."""
    with pytest.raises(BatchError, match="'performance_start' is int96, which has no time zone"):
        landing.convert({"performances.parquet": int96([0], "us")})


@pytest.mark.parametrize("year", [2, 1677, 2263, 9998])
def test_reads_int96_of_years_that_nanoseconds_do_not_reach(year: int, landing: Landing) -> None:
    landing.convert({"performances.parquet": int96([seconds_of(2021), seconds_of(year)], "s", spark=True)})
    assert instants(landing) == [datetime(year, 1, 2, 3, 4, 5, tzinfo=UTC) for year in (2021, year)]


def test_rejects_int96_finer_than_a_microsecond(landing: Landing) -> None:
    landing.land({"performances.parquet": int96([1_000, 2_000, 3_000, 4_001, None, 5_999], "ns", spark=True)})
    with pytest.raises(RejectedLinesError, match="has more than six fractional digits of a second") as raised:
        landing.make()
    assert [(reject.line, reject.column) for reject in raised.value.rejects] == [
        (4, "performance_start"),
        (6, "performance_start"),
    ]


# The nanoseconds within a microsecond are those that overflow hides: 2 ** 64 % 1_000 is 616.
FAR = ["2300-01-01 00:00:00.000000616", "9999-12-31 23:59:59.999999999", "0001-01-01 00:00:00.000000001"]


@pytest.mark.parametrize("text", FAR)
def test_rejects_int96_finer_than_a_microsecond_in_any_year(text: str, landing: Landing) -> None:
    """The other values of the file stay what they are: nanoseconds of such years overflow."""
    known = [seconds_of(1582), seconds_of(2021)]
    content = bytearray(int96(known, "s", spark=True, compression="none", use_dictionary=False))
    fraction = int(text.partition(".")[2])
    day = datetime.fromisoformat(text[:19]).replace(tzinfo=UTC)
    put_int96(content, seconds_of(2021), int(day.timestamp()), fraction)
    landing.land({"performances.parquet": bytes(content)})
    with pytest.raises(RejectedLinesError) as raised:
        landing.make()
    assert [(reject.line, reject.text.removesuffix("Z")) for reject in raised.value.rejects] == [(2, text)]
    assert "six fractional digits" in raised.value.rejects[0].reason


def put_int96(content: bytearray, old: int, seconds: int, nanoseconds: int) -> None:
    """Replace a value of an uncompressed Parquet file, given in seconds since the epoch."""
    written, wanted = (
        ((number % 86_400) * 10**9 + fraction).to_bytes(8, "little")
        + (number // 86_400 + 2_440_588).to_bytes(4, "little")
        for number, fraction in ((old, 0), (seconds, nanoseconds))
    )
    assert content.count(written) == 1
    start = content.index(written)
    content[start : start + 12] = wanted


@pytest.mark.parametrize("text", ["?", "é", base64.b64encode(b"no schema")])
def test_refuses_metadata_that_is_no_arrow_schema(text: str | bytes, landing: Landing) -> None:
    """The metadata comes from outside, and whatever it holds must become an error about the file."""
    table = pq.read_table(io.BytesIO(int96([0], "us")))
    landing.land({"performances.parquet": written(table, {"ARROW:schema": text}, store_schema=False)})
    with pytest.raises(BatchError):
        landing.make()


# Size -----------------------------------------------------------------------------------------------------------

LONG = "x" * (2 << 20)
TEXT_TYPES_OF_A_FILE = [*TEXT_TYPES, pa.dictionary(pa.int32(), pa.large_string())]


@pytest.mark.parametrize("use_dictionary", [True, False], ids=["dictionary", "plain"])
@pytest.mark.parametrize("text_type", TEXT_TYPES_OF_A_FILE)
def test_rejects_a_text_longer_than_one_mebibyte(text_type: pa.DataType, use_dictionary: bool, tmp_path: Path) -> None:
    """CSV has the same limit, and a few kilobytes of Parquet can hold such texts by the thousand."""
    bands = Landing(tmp_path, "bands")
    names = pa.array(["a", LONG[: 1 << 20], LONG, None, LONG[: (1 << 20) + 1], "é" * (1 << 19)])
    columns = {"id": pa.array(range(6), pa.int32()), "name": names.cast(text_type), "fee": pa.nulls(6, pa.int32())}
    content = parquet_bytes(pa.table(columns), use_dictionary=use_dictionary, compression="zstd")
    assert len(content) < 100_000
    bands.land({"bands.parquet": content})
    with pytest.raises(RejectedLinesError, match=r"row 3, column name: .* is longer than 1 MiB") as raised:
        bands.make()
    assert [reject.line for reject in raised.value.rejects] == [3, 5]
    assert len(bands.rejects_file.read_bytes()) < 5_000


@pytest.mark.parametrize("row_group_size", [100, 1_000])
def test_refuses_large_categories_that_were_written_as_plain_text(
    row_group_size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Arrow reads such a column as a dictionary and keeps all of it in memory."""
    monkeypatch.setattr(parquet_files, "_MOST_DICTIONARY_BYTES", 100_000)
    bands = Landing(tmp_path, "bands")
    ids = pa.array(range(1_000), pa.int32())
    names = pa.array([f"{number} {'x' * 500}" for number in range(1_000)]).dictionary_encode()
    table = pa.table({"fee": ids, "name": names, "id": ids})
    bands.land({"bands.parquet": parquet_bytes(table, use_dictionary=False, row_group_size=row_group_size)})
    if row_group_size == 100:
        bands.make()
        assert [row["name"] for row in bands.made()] == names.to_pylist()
    else:
        with pytest.raises(BatchError, match="export it as plain text"):
            bands.make()


# Makes a table and prints how much memory that took at most, in KiB. The peak of getrusage would include the memory of
# the parent process, from which the child was forked.
CONVERT = """
import pickle, re, sys
from pathlib import Path
from typing import Any
from acl_assets.source_tables.conversion import make_table

print(make_table(pickle.load(sys.stdin.buffer)).rows_by_file)
print(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])
"""
ROWS = 16_384
LONG_NAME = "x" * 36_000


def long_names(use_dictionary: bool) -> bytes:
    """Return one row group of bands that have 590 MB of names in less than 4 MB, all the same or all different."""
    ids = pa.array(range(ROWS), pa.int32())
    repeated = pa.array([LONG_NAME]).take(pa.array([0] * ROWS))
    different = pc.binary_join_element_wise(pc.cast(ids, pa.string()), repeated, "")
    columns = {"id": ids, "name": repeated if use_dictionary else different, "fee": pa.nulls(ROWS, pa.int32())}
    options = {"compression": "zstd", "use_dictionary": use_dictionary, "store_schema": False}
    return parquet_bytes(pa.table(columns), row_group_size=ROWS, **options)


@pytest.mark.slow
@pytest.mark.parametrize("use_dictionary", [True, pytest.param(False, marks=pytest.mark.exhaustive)])
def test_reads_a_small_file_of_very_much_text_in_bounded_memory(use_dictionary: bool, tmp_path: Path) -> None:
    bands = Landing(tmp_path, "bands")
    content = long_names(use_dictionary)
    assert len(content) < 4 << 20
    assert pq.read_metadata(io.BytesIO(content)).num_row_groups == 1
    bands.land({"bands.parquet": content})
    child = subprocess.run(
        [sys.executable, "-c", CONVERT], input=pickle.dumps(bands.order()), capture_output=True, check=True, timeout=300
    )
    read, peak_kib = child.stdout.decode().split("\n")[:2]
    assert read == f"[{{'bands.parquet': {ROWS}}}]"
    assert int(peak_kib) < 500 << 10
    wanted = f"{'' if use_dictionary else 'id || '}repeat('x', {len(LONG_NAME)})"
    query = f"select count(*), count(distinct id), bool_and(name = {wanted}) from '{bands.target}'"
    assert duckdb.sql(query).fetchall() == [(ROWS, ROWS, True)]
