"""The files of a batch become one typed Parquet file with exactly the exported values, or an error says why not."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import zipfile
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from landing_zones import as_ordinary_user
from source_tables.landing import SCHEMA, Landing, as_csv, as_parquet, performances

from acl_assets.landing_zone.manifest import BatchError
from acl_assets.source_tables import conversion
from acl_assets.source_tables.conversion import TableOrder, make_table, merge, totals_of
from acl_assets.source_tables.rejects import RejectedLinesError


@pytest.fixture
def landing(tmp_path: Path) -> Landing:
    return Landing(tmp_path)


# Results --------------------------------------------------------------------------------------------------------


def test_joins_parts_of_any_format_in_their_order(landing: Landing) -> None:
    zstd = pa.compress(as_csv(performances(21, 30)), codec="zstd", asbytes=True)
    rows = landing.convert(
        {
            "performances-0001.csv": as_csv(performances(1, 10)),
            "performances-0002.csv.gz": gzip.compress(as_csv(performances(11, 20))),
            "performances-0003.csv.zst": zstd,
            "performances-0004.parquet": as_parquet(performances(31, 43)),
        }
    )
    assert landing.made() == performances(1, 43)
    assert rows == {
        "performances-0001.csv": 10,
        "performances-0002.csv.gz": 10,
        "performances-0003.csv.zst": 10,
        "performances-0004.parquet": 13,
    }
    assert [path.name for path in landing.target.parent.iterdir()] == ["performances.parquet"]


@pytest.mark.parametrize("name", ["performances.csv", "performances.parquet"])
def test_writes_the_declared_types_compressed(name: str, landing: Landing) -> None:
    """Both engines read these files and find the same types and time zone in them."""
    rows = performances(1, 20_000)
    landing.convert({name: as_csv(rows) if name.endswith("csv") else as_parquet(rows)})
    metadata = pq.read_metadata(landing.target)
    assert metadata.schema.to_arrow_schema().remove_metadata() == SCHEMA
    assert metadata.row_group(0).column(0).compression == "ZSTD"
    assert landing.made() == rows
    described = duckdb.sql(f"describe from '{landing.target}'").fetchall()
    assert [column[1] for column in described] == ["INTEGER", "TIMESTAMP WITH TIME ZONE", "INTEGER", "INTEGER"]


@pytest.mark.parametrize(
    "files",
    [{"performances.csv": as_csv([])}, {"performances.parquet": as_parquet([])}],
    ids=["a header alone", "Parquet without rows"],
)
def test_makes_an_empty_table_of_files_without_rows(files: Mapping[str, bytes], landing: Landing) -> None:
    assert set(landing.convert(files).values()) == {0}
    assert pq.read_schema(landing.target).remove_metadata() == SCHEMA
    assert totals_of(landing.target, landing.table) == (0, {"band_id": 0, "venue_id": 0})


def test_logs_progress_while_a_file_is_read(landing: Landing, monkeypatch: pytest.MonkeyPatch) -> None:
    """A table of a hundred million rows takes a minute."""
    monkeypatch.setattr(conversion, "SECONDS_BETWEEN_PROGRESS", 0)
    messages: list[str] = []
    landing.land({"performances.parquet": as_parquet(performances(1, 2_500), row_group_size=1_000)})
    landing.make(log=messages.append)
    assert messages[:-1] == [
        "performances.parquet: 1,000 rows so far",
        "performances.parquet: 2,000 rows so far",
        "performances.parquet: 2,500 rows so far",
        "performances.parquet: 2,500 rows read",
    ]
    assert messages[-1].startswith("performances: 2,500 rows of 1 batches converted in ")


def test_adds_up_whole_numbers_and_counts_null_as_zero(tmp_path: Path) -> None:
    landing = Landing(tmp_path, "bands")
    landing.convert({"bands.csv": b"id,name,fee\n1,a,10\n2,b,\n3,c,-5\n"})
    assert totals_of(landing.target, landing.table) == (3, {"fee": 5})


# Merging --------------------------------------------------------------------------------------------------------

Venue = tuple[int | None, str | None, int | None]


@pytest.fixture
def venues(tmp_path: Path) -> Landing:
    return Landing(tmp_path, "venues")


def merged(venues: Landing, *batches: list[Venue]) -> list[Venue]:
    """Return the table that is made of batches of venues, in the order of ids."""
    for rows in batches:
        venues.land({"venues.parquet": venues.rows_as_parquet(*rows)})
    venues.make()
    found = [(row["id"], row["name"], row["capacity"]) for row in venues.made()]
    return sorted(found, key=lambda row: (row[0] is not None, row))


def test_keeps_the_newest_row_of_every_id(venues: Landing) -> None:
    """An increment holds rows that are new or changed; rows it repeats unchanged do no harm."""
    found = merged(
        venues,
        [(1, "a", 10), (2, "b", 20), (4, "d", 40)],
        [(2, "c", 21), (3, "d", 30), (4, "d", 40)],
        [(3, None, None), (2, "e", 22)],
    )
    assert found == [(1, "a", 10), (2, "e", 22), (3, None, None), (4, "d", 40)]


def test_keeps_an_id_that_is_twice_in_one_batch_twice(venues: Landing) -> None:
    """Merging must not repair what the checks have to find, whether in the full batch or in an increment."""
    first: list[Venue] = [(1, "a", 10), (1, "a", 10), (2, "b", 20)]
    found = merged(venues, first, [(3, "c", 1), (3, "c", 2)], [(2, "b", 21)])
    assert found == [(1, "a", 10), (1, "a", 10), (2, "b", 21), (3, "c", 1), (3, "c", 2)]


def test_keeps_rows_without_an_id(venues: Landing) -> None:
    """They have to reach the check of keys that are not null."""
    assert (None, "a", 1) in merged(venues, [(None, "a", 1), (1, "b", 2)], [(2, "c", 3)])


def test_reads_increments_in_any_number_of_files(venues: Landing) -> None:
    venues.land({"venues.csv": b"id,name,capacity\n1,a,1\n2,b,1\n"})
    venues.land({"venues-1.csv": b"id,name,capacity\n2,c,2\n", "venues-2.csv": b"id,capacity,name\n3,3,d\n"})
    venues.make()
    assert sorted(row["name"] for row in venues.made()) == ["a", "c", "d"]


def test_merges_timestamps_to_the_microsecond(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Timestamps stay in UTC, whatever the time zone of the machine."""
    monkeypatch.setenv("TZ", "America/Chicago")
    purchases = Landing(tmp_path, "purchases")
    moment = datetime(2022, 11, 6, 6, 30, 0, 123_456, tzinfo=UTC)
    for number in range(2):
        purchases.land({"purchases.parquet": purchases.rows_as_parquet((number, moment, 1))})
    purchases.make()
    table = pq.read_table(purchases.target)
    assert table["purchase_date"].to_pylist() == [moment, moment]
    assert table.schema.types == [pa.int32(), pa.timestamp("us", tz="UTC"), pa.int32()]


@pytest.mark.parametrize("has_file", [True, False], ids=["a file without rows", "no file"])
def test_links_the_table_of_earlier_batches_when_an_increment_brings_no_row(
    has_file: bool, venues: Landing, tmp_path: Path
) -> None:
    """A table that did not change takes no space twice."""
    base = tmp_path / "base.parquet"
    base.write_bytes(venues.rows_as_parquet((1, "a", 10)))
    venues.land({})
    venues.land({"venues.parquet": venues.rows_as_parquet()} if has_file else {})
    assert venues.make(base=base) == [{"venues.parquet": 0} if has_file else {}]
    assert os.path.samefile(venues.target, base)


def test_copies_the_table_of_earlier_batches_where_links_are_not_supported(
    venues: Landing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_arguments: object) -> None:
        raise PermissionError("Operation not permitted")

    monkeypatch.setattr(conversion.os, "link", refuse)
    base = tmp_path / "base.parquet"
    base.write_bytes(venues.rows_as_parquet((1, "a", 10)))
    venues.land({})
    venues.land({})
    venues.make(base=base)
    assert venues.target.read_bytes() == base.read_bytes()


def test_merges_increments_into_the_table_of_earlier_batches(venues: Landing, tmp_path: Path) -> None:
    """The file of the earlier batches stays as it was: another chain can begin with it too."""
    base = tmp_path / "base.parquet"
    base.write_bytes(venues.rows_as_parquet((1, "a", 10), (2, "b", 20)))
    before = base.read_bytes()
    venues.land({})
    venues.land({"venues.csv": b"id,name,capacity\n2,c,21\n"})
    venues.make(base=base)
    assert sorted(row["name"] for row in venues.made()) == ["a", "c"]
    assert base.read_bytes() == before


@pytest.mark.exhaustive
def test_merges_more_than_fits_into_memory(venues: Landing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What does not fit is written to a folder beside the target, which is removed afterwards."""
    monkeypatch.setattr(conversion, "_MERGE_MEMORY_LIMIT", "100MB")
    parts = [tmp_path / "base.parquet", tmp_path / "increment.parquet"]
    for part, capacity in zip(parts, (1, 2), strict=True):
        columns = "range::int as id, repeat(md5(range::varchar), 4) as name, {}::int as capacity"
        duckdb.sql(f"copy (select {columns.format(capacity)} from range(400_000)) to '{part}'")
    assert merge(parts, venues.table, venues.target) == 400_000
    assert totals_of(venues.target, venues.table) == (400_000, {"capacity": 800_000})
    assert [path.name for path in venues.target.parent.iterdir()] == ["venues.parquet"]


# Refused files --------------------------------------------------------------------------------------------------

FINE = as_csv(performances(1, 10))


def zipped(content: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("performances.csv", content)
    return stream.getvalue()


REFUSED: dict[str, tuple[str, bytes, str]] = {
    "an empty CSV file": ("performances.csv", b"", "it is empty"),
    "an empty gzip file": ("performances.csv.gz", b"", "it is empty"),
    "an empty Parquet file": ("performances.parquet", b"", "it is empty"),
    "gzip called CSV": ("performances.csv", gzip.compress(FINE), "says CSV text, it holds gzip data"),
    "bzip2 called CSV": ("performances.csv", bz2.compress(FINE), "says CSV text, it holds bzip2 data"),
    "xz called CSV": ("performances.csv", lzma.compress(FINE), "says CSV text, it holds xz data"),
    "a zip archive called CSV": ("performances.csv", zipped(FINE), "says CSV text, it holds a zip archive"),
    "a zip archive called gzip": ("performances.csv.gz", zipped(FINE), "says gzip data, it holds a zip archive"),
    "Zstandard called CSV": (
        "performances.csv",
        pa.compress(FINE, codec="zstd", asbytes=True),
        "says CSV text, it holds Zstandard data",
    ),
    "CSV called gzip": ("performances.csv.gz", FINE, "says gzip data, it holds something else, starting with b'band'"),
    "CSV called Parquet": ("performances.parquet", FINE, "says Parquet, it holds something else"),
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
    folder = landing.land({name: content})
    with pytest.raises(BatchError, match=message) as raised:
        landing.make()
    assert str(folder / name) in str(raised.value)
    assert not landing.target.exists()


@pytest.mark.parametrize("position", range(200, 14_000, 2_400))
def test_refuses_damaged_parquet_or_reads_its_values_exactly(position: int, landing: Landing) -> None:
    """Pages are compared with their checksums."""
    rows = performances(1, 1_000)
    content = bytearray(as_parquet(rows, write_page_checksum=True, compression="none", use_dictionary=False))
    content[position] ^= 0x10
    try:
        landing.convert({"performances.parquet": bytes(content)})
    except BatchError:
        assert not landing.target.exists()
    else:
        assert landing.made() == rows


def test_refuses_a_file_that_differs_from_its_manifest(landing: Landing) -> None:
    """A file is verified before a row is read: it is reported as damaged, not for a strange value."""
    folder = landing.land({"performances.csv": FINE})
    (folder / "performances.csv").write_bytes(FINE.replace(b"1", b"x"))
    with pytest.raises(BatchError, match="its content changed"):
        landing.make()


def test_refuses_a_file_that_changes_while_it_is_read(landing: Landing) -> None:
    """A folder without a manifest has no checksum to compare with."""
    folder = landing.land({"performances.csv": FINE}, has_manifest=False)

    def write_on(_message: str) -> None:
        with (folder / "performances.csv").open("ab") as stream:
            stream.write(b"1,2,,\n")

    with pytest.raises(BatchError, match="it changed while it was read"):
        landing.make(log=write_on)
    assert not landing.target.exists()


def test_refuses_a_file_that_this_user_may_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    landing = Landing(Path())
    folder = landing.land({"performances.csv": FINE})
    (folder / "performances.csv").chmod(0)
    for path in (Path(), landing.target.parent):
        path.chmod(0o777)
    message = as_ordinary_user(partial(error_of, landing.order()))
    assert f"{folder}/performances.csv: it cannot be read (Permission denied)" in message


def error_of(order: TableOrder) -> str:
    """Return the message of the error with which making a table fails."""
    with pytest.raises(BatchError) as raised:
        make_table(order)
    return str(raised.value)


# More rows than stated ------------------------------------------------------------------------------------------

MANY = as_csv(performances(1, 1_000))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("performances.csv", MANY),
        ("performances.csv.gz", gzip.compress(MANY)),
        ("performances.csv.zst", pa.compress(MANY, codec="zstd", asbytes=True)),
        ("performances.parquet", as_parquet(performances(1, 1_000), row_group_size=20)),
    ],
    ids=["csv", "csv.gz", "csv.zst", "parquet"],
)
def test_stops_reading_when_a_file_holds_more_rows_than_its_manifest_says(
    name: str, content: bytes, landing: Landing, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A small compressed file can hold rows without end."""
    read_rows = 0

    def counted(pieces: Iterator[pa.Table]) -> Iterator[pa.Table]:
        nonlocal read_rows
        for piece in pieces:
            read_rows += piece.num_rows
            yield piece

    read_csv, read_parquet = conversion.read_csv_file, conversion.read_parquet_file
    monkeypatch.setattr(conversion, "read_csv_file", lambda *given: counted(read_csv(*given, read_bytes=1_000)))
    monkeypatch.setattr(conversion, "read_parquet_file", lambda *given: counted(read_parquet(*given)))
    landing.land({name: content}, rows={name: 20})
    with pytest.raises(BatchError, match=f"{name}: it holds more than the 20 rows its manifest says"):
        landing.make()
    assert read_rows < 100


@pytest.mark.parametrize("stated", [10, 12])
def test_reads_a_file_that_holds_as_many_rows_as_its_manifest_says_or_fewer(stated: int, landing: Landing) -> None:
    """Missing rows are reported by the check of row counts."""
    assert landing.convert({"performances.csv": FINE}, rows={"performances.csv": stated}) == {"performances.csv": 10}


# Rejects --------------------------------------------------------------------------------------------------------


def test_reports_the_first_rejects_and_stores_all_of_them(landing: Landing) -> None:
    """The rejects of all parts of the table are reported together."""
    first = FINE + b"".join(b"%d,x,,\n" % number for number in range(7))
    landing.land({"performances-1.csv": first, "performances-2.csv": FINE + b"1\n"})
    with pytest.raises(RejectedLinesError) as raised:
        landing.make()
    message = str(raised.value)
    assert message.startswith("performances: 8 rejected")
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
    assert not landing.target.exists()


def test_cuts_long_texts_in_the_report_and_in_the_rejects_file(landing: Landing) -> None:
    landing.land({"performances.csv": FINE + b"x" * 100_000 + b"\n"})
    with pytest.raises(RejectedLinesError) as raised:
        landing.make()
    assert len(str(raised.value)) < 1_000
    assert len(landing.rejects_file.read_text("utf-8")) < 3_000


def test_removes_the_rejects_of_an_earlier_refresh(tmp_path: Path) -> None:
    """A batch without a manifest can be corrected in place."""
    bad, good = Landing(tmp_path / "bad"), Landing(tmp_path / "good")
    good.rejects_file = bad.rejects_file
    with pytest.raises(RejectedLinesError):
        bad.convert({"performances.csv": FINE + b"x\n"})
    good.convert({"performances.csv": FINE})
    assert not good.rejects_file.exists()


# Names and places -----------------------------------------------------------------------------------------------

ODD_FOLDERS = {
    "every special character": ('it\'s [a-z] {x} * ? ä "q" ` $HOME %20 #1', 'it\'s a {x} more ? ä "q" ` $HOME %20 #1'),
    "a backslash": ("a\\b", "a"),
    "a Hive partition": ("name=x", "name=y"),
    "a class of characters": ("data[12]", "data1"),
    "a star": ("*", "anything"),
    "braces": ("{a,b}", "a"),
}


@pytest.mark.parametrize(("odd", "sibling"), ODD_FOLDERS.values(), ids=ODD_FOLDERS)
def test_reads_and_writes_only_the_named_folder_whatever_its_name(odd: str, sibling: str, tmp_path: Path) -> None:
    """DuckDB takes paths for glob patterns, which can find the tables of another installation."""
    for folder, fee in ((sibling, 5), (odd, 7)):
        bands = Landing(tmp_path / folder, "bands")
        bands.land({"bands.csv": b"id,name,fee\n1,a,%d\n2,b,%d\n" % (fee, fee)})
        bands.land({"bands.csv": b"id,name,fee\n2,c,%d\n3,d,%d\n" % (fee, fee)})
        bands.make()
        assert pq.read_schema(bands.target).names == ["id", "name", "fee"]
        assert sorted((row["id"], row["name"], row["fee"]) for row in bands.made()) == [
            (1, "a", fee),
            (2, "c", fee),
            (3, "d", fee),
        ]
        assert totals_of(bands.target, bands.table) == (3, {"fee": 3 * fee})
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([odd, sibling])


def test_keeps_names_that_differ_only_in_their_unicode_form_distinct(tmp_path: Path) -> None:
    """A composed and a decomposed letter look the same; the source has them as two bands."""
    composed, decomposed = "Bj\u00f6rk", "Bjo\u0308rk"
    bands = Landing(tmp_path, "bands")
    bands.land({"bands.csv": f"id,name,fee\n1,{composed},1\n2,{decomposed},1\n".encode()})
    bands.land({"bands.parquet": bands.rows_as_parquet((3, decomposed, 1))})
    bands.make()
    names = {row["id"]: row["name"] for row in bands.made()}
    assert names == {1: composed, 2: decomposed, 3: decomposed}
    assert composed != decomposed
