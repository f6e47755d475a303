"""A table's files become one typed Parquet file, whole and true to what was exported, or nothing changes."""

import gzip
import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from acl_assets.ingestion import conversion
from acl_assets.ingestion.conversion import RejectedLinesError, _lock, convert_table
from acl_assets.ingestion.converted_table import read_converted
from acl_assets.ingestion.export_batch import BatchError, ExportBatch, ManifestFile, ManifestTable, describe_file
from acl_assets.ingestion.source_schema import SOURCE_TABLES

PERFORMANCES = SOURCE_TABLES["performances"]
SCHEMA = pa.schema(
    [
        ("id", pa.int32()),
        ("performance_start", pa.timestamp("us", tz="UTC")),
        ("band_id", pa.int32()),
        ("venue_id", pa.int32()),
    ]
)
START = datetime(2021, 10, 1, 19, 30, tzinfo=UTC)


def performances(first: int, last: int) -> list[dict[str, Any]]:
    return [
        {"id": number, "performance_start": START + timedelta(hours=number), "band_id": number % 7, "venue_id": None}
        for number in range(first, last + 1)
    ]


def as_csv(rows: list[dict[str, Any]]) -> bytes:
    lines = [f"{row['band_id']},{row['id']},{row['performance_start']},\n" for row in rows]
    return "".join(["band_id,id,performance_start,venue_id\n", *lines]).encode()


def as_parquet(rows: list[dict[str, Any]], schema: pa.Schema = SCHEMA, **options: Any) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(rows, schema), sink, **options)
    return bytes(sink.getvalue())


class Landing:
    """A batch of performances whose files can be written, and the places its conversion writes to."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "batch"
        self.folder.mkdir()
        self.target = folder / "converted" / "performances.parquet"
        self.rejects_file = folder / "rejects" / "performances.jsonl"

    def batch(self, files: Mapping[str, bytes], has_manifest: bool = True) -> ExportBatch:
        for name, content in files.items():
            (self.folder / name).write_bytes(content)
        listed = [describe_file(self.folder, name, rows=None) for name in files]
        if not has_manifest:
            listed = [ManifestFile(file.path, file.bytes, sha256=None, rows=None) for file in listed]
        return ExportBatch(
            batch_id="2022-08-01",
            folder=self.folder,
            kind="full",
            exported_at=datetime(2022, 8, 1, tzinfo=UTC),
            digest="d1",
            has_manifest=has_manifest,
            tables={"performances": ManifestTable(None, tuple(listed))},
        )

    def convert(self, files: Mapping[str, bytes], **options: Any) -> Any:
        batch = self.batch(files)
        return convert_table(batch, PERFORMANCES, self.target, self.rejects_file, **options)

    @property
    def leftovers(self) -> list[str]:
        """Whatever lies beside the target."""
        return sorted(path.name for path in self.target.parent.iterdir() if path != self.target)


@pytest.fixture
def landing(tmp_path: Path) -> Landing:
    return Landing(tmp_path)


# What comes out -----------------------------------------------------------------------------------------------


def test_joins_parts_of_any_format_in_order(landing: Landing) -> None:
    """A table can be exported in numbered parts, and each may be what was convenient."""
    zstd = pa.compress(as_csv(performances(21, 30)), codec="zstd", asbytes=True)
    converted = landing.convert(
        {
            "performances-0001.csv": as_csv(performances(1, 10)),
            "performances-0002.csv.gz": gzip.compress(as_csv(performances(11, 20))),
            "performances-0003.csv.zst": zstd,
            "performances-0004.parquet": as_parquet(performances(31, 43)),
        }
    )
    assert pq.read_table(landing.target).to_pylist() == performances(1, 43)
    assert converted.rows == 43
    assert converted.rows_by_file == {
        "performances-0001.csv": 10,
        "performances-0002.csv.gz": 10,
        "performances-0003.csv.zst": 10,
        "performances-0004.parquet": 13,
    }
    assert converted.bytes == landing.target.stat().st_size


@pytest.mark.parametrize("name", ["performances.csv", "performances.parquet"])
def test_writes_the_declared_types_compressed(name: str, landing: Landing) -> None:
    """Both engines read these files, so types and time zone are theirs alike."""
    rows = performances(1, 20_000)
    landing.convert({name: as_csv(rows) if name.endswith("csv") else as_parquet(rows)})
    metadata = pq.read_metadata(landing.target)
    assert metadata.schema.to_arrow_schema().remove_metadata() == SCHEMA
    assert metadata.row_group(0).column(0).compression == "ZSTD"
    assert pq.read_table(landing.target).to_pylist() == rows
    described = duckdb.sql(f"describe from '{landing.target}'").fetchall()
    assert [column[1] for column in described] == ["INTEGER", "TIMESTAMP WITH TIME ZONE", "INTEGER", "INTEGER"]


@pytest.mark.parametrize(
    "files",
    [{"performances.csv": as_csv([])}, {"performances.parquet": as_parquet([])}, {}],
    ids=["a header alone", "Parquet without rows", "no file"],
)
def test_a_table_can_be_empty(files: Mapping[str, bytes], landing: Landing) -> None:
    """An incremental batch brings no file for a table that did not change."""
    assert landing.convert(files).rows == 0
    assert pq.read_schema(landing.target).remove_metadata() == SCHEMA


def test_tells_what_was_read(landing: Landing) -> None:
    messages: list[str] = []
    landing.convert({"performances.csv": as_csv(performances(1, 1_200))}, log=messages.append)
    assert messages == ["performances.csv: 1,200 rows read"]


def test_tells_how_far_it_is(landing: Landing, monkeypatch: pytest.MonkeyPatch) -> None:
    """A table of a hundred million rows takes a minute."""
    monkeypatch.setattr(conversion, "SECONDS_BETWEEN_PROGRESS", 0)
    messages: list[str] = []
    content = as_parquet(performances(1, 2_500), row_group_size=1_000)
    landing.convert({"performances.parquet": content}, log=messages.append)
    assert messages == [
        "performances.parquet: 1,000 rows so far",
        "performances.parquet: 2,000 rows so far",
        "performances.parquet: 2,500 rows so far",
        "performances.parquet: 2,500 rows read",
    ]


# What is remembered -------------------------------------------------------------------------------------------


def test_a_converted_file_tells_what_it_was_converted_from(landing: Landing) -> None:
    """The digest decides whether it still is the batch in the landing zone."""
    converted = landing.convert({"performances.csv": as_csv(performances(1, 10))})
    assert read_converted(landing.target) == converted
    assert (converted.batch_id, converted.batch_digest) == ("2022-08-01", "d1")


@pytest.mark.parametrize(
    "content",
    [None, b"", b"PAR1 cut short", as_parquet(performances(1, 3)), as_parquet([], store_schema=False)],
    ids=["missing", "empty", "damaged", "of another origin", "without any metadata"],
)
def test_anything_else_counts_as_not_converted(content: bytes | None, tmp_path: Path) -> None:
    target = tmp_path / "performances.parquet"
    if content is not None:
        target.write_bytes(content)
    assert read_converted(target) is None


# What is taken over ---------------------------------------------------------------------------------------------


def test_takes_over_a_file_that_is_as_it_would_be_written(landing: Landing, monkeypatch: pytest.MonkeyPatch) -> None:
    """Looking at its values takes a third of the time of writing them once more."""
    monkeypatch.setattr(conversion, "_COPIED_AT_ONCE", 1_000)
    rows = performances(1, 1_000)
    content = as_parquet(rows, compression="zstd", row_group_size=300)
    converted = landing.convert({"performances.parquet": content})
    assert landing.target.read_bytes().startswith(data_of(content))
    assert pq.read_table(landing.target).to_pylist() == rows
    assert read_converted(landing.target) == converted
    assert converted.rows_by_file == {"performances.parquet": 1_000}
    assert duckdb.sql(f"select count(*) from '{landing.target}' where id > 900").fetchall() == [(100,)]


def by_duckdb(folder: Path) -> bytes:
    file = folder / "by_duckdb.parquet"
    rows = pa.Table.from_pylist(performances(1, 10), SCHEMA)
    duckdb.from_arrow(rows).write_parquet(str(file), compression="zstd")
    return file.read_bytes()


WRITTEN_ANEW: dict[str, Callable[[Path], bytes]] = {
    "other compression": lambda _: as_parquet(performances(1, 10), compression="snappy"),
    "other types": lambda _: as_parquet(
        performances(1, 10), SCHEMA.set(0, pa.field("id", pa.int64())), compression="zstd"
    ),
    "columns in another order": lambda _: as_parquet(
        performances(1, 10), pa.schema([SCHEMA.field(position) for position in (1, 0, 2, 3)]), compression="zstd"
    ),
    "a library that may tell other values": by_duckdb,
}


@pytest.mark.parametrize("content", WRITTEN_ANEW.values(), ids=WRITTEN_ANEW)
def test_writes_anew_what_is_otherwise(content: Callable[[Path], bytes], landing: Landing) -> None:
    """Readers rely on the order of columns, and skip rows by what the file says of its values."""
    exported = content(landing.folder)
    landing.convert({"performances.parquet": exported})
    with pq.ParquetFile(landing.target) as parquet:
        assert parquet.schema_arrow.equals(SCHEMA)
        assert parquet.metadata.row_group(0).column(0).compression == "ZSTD"
        assert parquet.metadata.created_by.startswith("parquet-cpp-arrow")
        assert parquet.read().to_pylist() == performances(1, 10)
    assert not landing.target.read_bytes().startswith(data_of(exported))


def test_writes_anew_row_groups_that_are_too_large(landing: Landing, monkeypatch: pytest.MonkeyPatch) -> None:
    """Readers would need the memory."""
    monkeypatch.setattr(conversion, "_MOST_ROWS_A_GROUP", 400)
    monkeypatch.setattr(conversion, "_PARQUET_ROWS_AT_ONCE", 400)
    landing.convert({"performances.parquet": as_parquet(performances(1, 1_000), compression="zstd")})
    assert pq.read_metadata(landing.target).num_row_groups == 3


def test_a_file_to_be_taken_over_is_looked_at_as_any_other(landing: Landing) -> None:
    """Taking over is no way around the checks: values outside the calendar, and pages that are damaged."""
    rows = [{"id": 1, "performance_start": -(10**17), "band_id": 1, "venue_id": 1}]
    with pytest.raises(RejectedLinesError, match="not an instant within the years 1 to 9999"):
        landing.convert({"performances.parquet": as_parquet(rows, compression="zstd")})
    damaged = bytearray(as_parquet(performances(1, 1_000), compression="zstd", write_page_checksum=True))
    damaged[200] ^= 0x10
    with pytest.raises(BatchError, match="cut short or damaged"):
        landing.convert({"performances.parquet": bytes(damaged)})
    assert not landing.target.exists()


def data_of(parquet: bytes) -> bytes:
    """A Parquet file without the metadata at its end."""
    return parquet[: -8 - pq.read_metadata(pa.BufferReader(parquet)).serialized_size]


# What is refused ----------------------------------------------------------------------------------------------

FINE = as_csv(performances(1, 10))
REFUSED: dict[str, tuple[str, bytes, str]] = {
    "an empty CSV file": ("performances.csv", b"", "it is empty"),
    "an empty gzip file": ("performances.csv.gz", b"", "it is empty"),
    "an empty Parquet file": ("performances.parquet", b"", "it is empty"),
    "gzip called CSV": ("performances.csv", gzip.compress(FINE), "says CSV text, it holds gzip data"),
    "CSV called gzip": ("performances.csv.gz", FINE, "says gzip data, it holds something else, starting with b'band'"),
    "Parquet called CSV": ("performances.csv", as_parquet([]), "says CSV text, it holds Parquet"),
    "gzip called Zstandard": ("performances.csv.zst", gzip.compress(FINE), "says Zstandard data, it holds gzip"),
    "a gzip file cut in the middle": ("performances.csv.gz", gzip.compress(FINE)[:60], "cut short or damaged"),
    "a Parquet file cut in the middle": (
        "performances.parquet",
        as_parquet(performances(1, 1_000))[:3_000],
        "cut short or damaged",
    ),
    "a wrong header": ("performances.csv", b"id,venue_id\n", "missing 'performance_start'; missing 'band_id'"),
}


@pytest.mark.parametrize(("name", "content", "message"), REFUSED.values(), ids=REFUSED)
def test_refuses_a_file_that_is_not_what_its_name_says(
    name: str, content: bytes, message: str, landing: Landing
) -> None:
    with pytest.raises(BatchError, match=message) as raised:
        landing.convert({name: content})
    assert str(landing.folder / name) in str(raised.value)
    assert not landing.target.exists()


@pytest.mark.parametrize("position", range(200, 14_000, 600))
def test_never_reads_other_values_from_damaged_parquet(position: int, landing: Landing) -> None:
    """Pages that carry a checksum are held against it."""
    rows = performances(1, 1_000)
    content = bytearray(as_parquet(rows, write_page_checksum=True, compression="none", use_dictionary=False))
    content[position] ^= 0x10
    try:
        landing.convert({"performances.parquet": bytes(content)})
    except BatchError:
        assert not landing.target.exists()
    else:
        assert pq.read_table(landing.target).to_pylist() == rows


def test_refuses_a_file_that_is_not_the_one_in_the_manifest(landing: Landing) -> None:
    """Checked before a row is read: a damaged file is reported as damaged, not as a strange value."""
    batch = landing.batch({"performances.csv": FINE})
    (landing.folder / "performances.csv").write_bytes(FINE.replace(b"1", b"x"))
    with pytest.raises(BatchError, match="its content changed"):
        convert_table(batch, PERFORMANCES, landing.target, landing.rejects_file)


def test_refuses_a_file_that_changes_while_it_is_read(landing: Landing) -> None:
    """A folder without a manifest has no checksum to tell."""
    batch = landing.batch({"performances.csv": FINE}, has_manifest=False)

    def write_on(_message: str) -> None:
        with (landing.folder / "performances.csv").open("ab") as stream:
            stream.write(b"1,2,,\n")

    with pytest.raises(BatchError, match="it changed while it was read"):
        convert_table(batch, PERFORMANCES, landing.target, landing.rejects_file, log=write_on)
    assert not landing.target.exists()


PARQUET_TYPES: dict[str, tuple[str, pa.DataType, object, object]] = {
    "8 bits": ("band_id", pa.int8(), 5, 5),
    "16 bits without sign": ("band_id", pa.uint16(), 65_535, 65_535),
    "64 bits that fit into 32": ("band_id", pa.int64(), -(2**31), -(2**31)),
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
def test_accepts_parquet_types_that_lose_nothing(
    column: str, data_type: pa.DataType, value: object, expected: object, landing: Landing
) -> None:
    schema = SCHEMA.set(SCHEMA.get_field_index(column), pa.field(column, data_type))
    rows = [{**performances(1, 1)[0], column: value}, {**performances(2, 2)[0], column: None}]
    landing.convert({"performances.parquet": as_parquet(rows, schema)})
    assert pq.read_table(landing.target)[column].to_pylist() == [expected, None]


@pytest.mark.parametrize("data_type", [pa.large_string(), pa.string_view(), pa.dictionary(pa.int8(), pa.string())])
def test_accepts_parquet_texts_however_they_are_kept(data_type: pa.DataType, tmp_path: Path) -> None:
    landing = Landing(tmp_path)
    schema = pa.schema([("name", data_type), ("capacity", pa.int16()), ("id", pa.int32())])
    content = as_parquet([{"id": 1, "name": "Stage ½", "capacity": 500}, {"id": 2}], schema)
    (landing.folder / "venues.parquet").write_bytes(content)
    listed = ManifestTable(None, (describe_file(landing.folder, "venues.parquet", None),))
    batch = ExportBatch("b", landing.folder, "full", START, "d", True, {"venues": listed})
    convert_table(batch, SOURCE_TABLES["venues"], landing.target, landing.rejects_file)
    assert pq.read_table(landing.target).to_pylist() == [
        {"id": 1, "name": "Stage ½", "capacity": 500},
        {"id": 2, "name": None, "capacity": None},
    ]


@pytest.mark.parametrize(
    ("field", "message"),
    [
        (pa.field("band_id", pa.float64()), "'band_id' is double"),
        (pa.field("band_id", pa.decimal128(9, 0)), r"'band_id' is decimal128\(9, 0\)"),
        (pa.field("band_id", pa.bool_()), "'band_id' is bool"),
        (pa.field("band_id", pa.string()), "'band_id' is string"),
        (pa.field("performance_start", pa.timestamp("us")), r"'performance_start' is timestamp\[us\]"),
        (pa.field("performance_start", pa.date32()), "'performance_start' is date32"),
        (pa.field("performance_start", pa.string()), "'performance_start' is string"),
    ],
)
def test_refuses_parquet_types_that_may_lose_something(field: pa.Field, message: str, landing: Landing) -> None:
    """An instant without a time zone could be any of a day's."""
    schema = SCHEMA.set(SCHEMA.get_field_index(field.name), field)
    with pytest.raises(BatchError, match=message):
        landing.convert({"performances.parquet": as_parquet([], schema)})


def test_refuses_parquet_columns_that_are_not_the_tables(landing: Landing) -> None:
    schema = pa.schema([("id", pa.int32()), ("id", pa.int32()), ("fee", pa.int32()), *list(SCHEMA)[1:3]])
    table = pa.table([pa.array([], field.type) for field in schema], schema=schema)
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    with pytest.raises(BatchError, match="unknown 'fee'; 'id' twice; missing 'venue_id'"):
        landing.convert({"performances.parquet": bytes(sink.getvalue())})


def test_rejects_parquet_values_that_do_not_fit(landing: Landing) -> None:
    """The types may be wider as long as every value fits; rows are counted across row groups."""
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
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, row_group_size=1_000)
    with pytest.raises(RejectedLinesError, match=r"performances\.parquet row 1701, column id: '2147483648'") as raised:
        landing.convert({"performances.parquet": bytes(sink.getvalue())})
    assert [(reject.line, reject.column) for reject in raised.value.rejects] == [
        (1_701, "id"),
        (2_401, "performance_start"),
    ]


def test_rejects_parquet_instants_outside_the_calendar(landing: Landing) -> None:
    """Parquet counts seconds beyond the year 9999; hardly anything that reads the table later can."""
    seconds = pa.array([0, 600_000_000_000, -70_000_000_000]).cast(pa.timestamp("s", "UTC"))
    columns = {name: pa.array([1, 2, 3], pa.int32()) for name in ["id", "band_id", "venue_id"]}
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({**columns, "performance_start": seconds}), sink)
    with pytest.raises(RejectedLinesError, match="years 1 to 9999") as raised:
        landing.convert({"performances.parquet": bytes(sink.getvalue())})
    assert [reject.line for reject in raised.value.rejects] == [2, 3]


def test_rejects_parquet_texts_that_are_not_utf_8(tmp_path: Path) -> None:
    """Parquet does not promise it, and what reads the text next would stumble over it."""
    landing = Landing(tmp_path)
    names = pa.Array.from_buffers(
        pa.string(), 1, [None, pa.array([0, 4], pa.int32()).buffers()[1], pa.py_buffer(b"Ros\xe9")]
    )
    table = pa.table({"id": pa.array([1], pa.int32()), "name": names, "fee": pa.array([1], pa.int32())})
    pq.write_table(table, landing.folder / "bands.parquet")
    listed = ManifestTable(None, (describe_file(landing.folder, "bands.parquet", None),))
    batch = ExportBatch("b", landing.folder, "full", START, "d", True, {"bands": listed})
    with pytest.raises(RejectedLinesError, match=r"row 1, column name: .*Ros\\\\xe9.* is not UTF-8"):
        convert_table(batch, SOURCE_TABLES["bands"], landing.target, landing.rejects_file)


# What is left after a failure ---------------------------------------------------------------------------------


def test_rejects_are_reported_and_stored(landing: Landing) -> None:
    """The first few in the error, all of them in a file, those of every part of the table."""
    first = FINE + b"".join(b"%d,x,,\n" % number for number in range(7))
    with pytest.raises(RejectedLinesError) as raised:
        landing.convert({"performances-1.csv": first, "performances-2.csv": FINE + b"1\n"})
    message = str(raised.value)
    assert message.startswith("performances: 8 rejected lines or values, so nothing of the table was converted:\n")
    assert "performances-1.csv line 12, column id: 'x' is not a whole number in plain digits" in message
    assert "line 16" in message
    assert "line 17" not in message
    assert str(landing.rejects_file) in message
    stored = [json.loads(line) for line in landing.rejects_file.read_text("utf-8").splitlines()]
    assert len(stored) == 8
    assert stored[-1] == {
        "file": "performances-2.csv",
        "line": 12,
        "column": None,
        "text": "1",
        "reason": "has 1 field where the header names 4",
    }


def test_rejects_of_people_show_no_names(tmp_path: Path) -> None:
    """Errors end up in logs and alerts; names of people never leave the source tables and what lies beside them."""
    (tmp_path / "people.csv").write_bytes(b'id,name\nx1,Ada\n7,Ada "Lovelace\n8,Ada,Lovelace\n')
    people = ManifestTable(None, (describe_file(tmp_path, "people.csv", rows=None),))
    instant = datetime(2022, 8, 1, tzinfo=UTC)
    batch = ExportBatch("2022-08-01", tmp_path, "full", instant, "d1", has_manifest=True, tables={"people": people})
    rejects_file = tmp_path / "rejects.jsonl"
    with pytest.raises(RejectedLinesError) as raised:
        convert_table(batch, SOURCE_TABLES["people"], tmp_path / "people.parquet", rejects_file)
    message = str(raised.value)
    assert "people.csv line 2, column id: 'x1' is not a whole number" in message
    assert "people.csv line 3: (personal data) has a quote" in message
    assert "Ada" not in message
    assert rejects_file.read_text("utf-8").count("Ada") == 2


def test_rejects_are_bounded(landing: Landing) -> None:
    """A file that is wrong throughout is not worth a second gigabyte."""
    with pytest.raises(RejectedLinesError, match="at least 1,000 rejected") as raised:
        landing.convert({"performances-1.csv": FINE + b"x\n" * 5_000, "performances-2.csv": b"not even a header"})
    assert len(landing.rejects_file.read_text("utf-8").splitlines()) == 1_000
    assert not raised.value.is_complete


def test_rejects_of_parquet_are_bounded(landing: Landing) -> None:
    schema = SCHEMA.set(0, pa.field("id", pa.int64()))
    rows = [{**row, "id": 2**40} for row in performances(1, 3_000)]
    with pytest.raises(RejectedLinesError, match="at least 1,000 rejected"):
        landing.convert({"performances.parquet": as_parquet(rows, schema, row_group_size=500)})


def test_long_texts_are_cut_in_the_report(landing: Landing) -> None:
    with pytest.raises(RejectedLinesError) as raised:
        landing.convert({"performances.csv": FINE + b"x" * 100_000 + b"\n"})
    assert len(str(raised.value)) < 1_000
    assert len(landing.rejects_file.read_text("utf-8")) < 3_000


def test_a_failure_leaves_what_was_there_and_nothing_else(landing: Landing) -> None:
    landing.convert({"performances.csv": FINE})
    before = landing.target.read_bytes()
    with pytest.raises(RejectedLinesError):
        landing.convert({"performances.csv": FINE + b"x\n"})
    assert landing.target.read_bytes() == before
    assert landing.leftovers == []


def test_success_replaces_what_was_there_and_forgets_old_rejects(landing: Landing) -> None:
    """A batch without a manifest can be mended in place."""
    with pytest.raises(RejectedLinesError):
        landing.convert({"performances.csv": FINE + b"x\n"})
    landing.convert({"performances.csv": as_csv(performances(5, 6))})
    assert pq.read_table(landing.target).to_pylist() == performances(5, 6)
    assert landing.leftovers == []
    assert not landing.rejects_file.exists()


def test_what_a_killed_conversion_left_is_overwritten(landing: Landing) -> None:
    landing.target.parent.mkdir()
    unfinished = landing.target.with_name(".performances.parquet.unfinished")
    unfinished.write_bytes(b"x" * 100_000)
    landing.convert({"performances.csv": FINE})
    assert pq.read_table(landing.target).to_pylist() == performances(1, 10)
    assert landing.leftovers == []


def test_two_conversions_to_one_target_do_not_mix(landing: Landing) -> None:
    """The second one fails and says why; the first one's file is untouched by it."""
    errors: list[str] = []

    def convert_again(_message: str) -> None:
        with pytest.raises(BatchError) as raised:
            convert_table(landing.batch({"performances.csv": FINE}), PERFORMANCES, landing.target, landing.rejects_file)
        errors.append(str(raised.value))

    landing.convert({"performances-1.parquet": as_parquet(performances(1, 10))}, log=convert_again)
    assert errors == [f"{landing.target} is being written by another process; refresh again when it is done."]
    assert pq.read_table(landing.target).to_pylist() == performances(1, 10)


def test_a_conversion_never_writes_into_a_file_that_was_renamed(tmp_path: Path) -> None:
    """Between opening and locking, the other process may have finished: the file opened is its result now."""
    unfinished = tmp_path / "unfinished"
    unfinished.touch()
    with unfinished.open("r+b") as stream:
        assert _lock(stream, unfinished)
        unfinished.rename(tmp_path / "finished")
        assert not _lock(stream, unfinished)
        unfinished.touch()
        assert not _lock(stream, unfinished)
