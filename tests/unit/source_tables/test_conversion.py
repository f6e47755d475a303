"""The files of a batch become one typed Parquet file with exactly the exported values, or an error says why not."""

from __future__ import annotations

import gzip
import io
import json
import os
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from source_tables.landing import SCHEMA, Landing, as_csv, as_parquet, performances

from acl_assets.landing_zone.manifest import BatchError
from acl_assets.source_tables import conversion
from acl_assets.source_tables.conversion import make_table
from acl_assets.source_tables.rejects import RejectedLinesError

FINE = as_csv(performances(1, 10))


@pytest.fixture
def landing(tmp_path: Path) -> Landing:
    return Landing(tmp_path)


def zstd(content: bytes) -> bytes:
    return bytes(pa.compress(content, codec="zstd", asbytes=True))


def zipped(content: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("performances.csv", content)
    return stream.getvalue()


# Results --------------------------------------------------------------------------------------------------------


def test_joins_parts_of_any_format_in_their_order_with_the_declared_types(landing: Landing) -> None:
    """Both engines read the file and find the same types and time zone in it."""
    rows = landing.convert(
        {
            "performances-0001.csv": FINE,
            "performances-0002.csv.gz": gzip.compress(as_csv(performances(11, 20))),
            "performances-0003.csv.zst": zstd(as_csv(performances(21, 30))),
            "performances-0004.parquet": as_parquet(performances(31, 43)),
        }
    )
    assert list(rows.values()) == [10, 10, 10, 13]
    assert landing.made() == performances(1, 43)
    metadata = pq.read_metadata(landing.target)
    assert metadata.schema.to_arrow_schema().remove_metadata() == SCHEMA
    assert metadata.row_group(0).column(0).compression == "ZSTD"
    described = duckdb.sql(f"describe from '{landing.target}'").fetchall()
    assert [column[1] for column in described] == ["INTEGER", "TIMESTAMP WITH TIME ZONE", "INTEGER", "INTEGER"]
    assert [path.name for path in landing.target.parent.iterdir()] == ["performances.parquet"]


def test_makes_an_empty_table_of_a_header_alone(landing: Landing) -> None:
    landing.land({"performances.csv": as_csv([])})
    made = make_table(landing.order())
    assert (made.file.rows, made.file.sums) == (0, {"band_id": 0, "venue_id": 0})
    assert pq.read_schema(landing.target).remove_metadata() == SCHEMA


def test_keeps_names_that_differ_only_in_their_unicode_form_distinct(tmp_path: Path) -> None:
    """A composed and a decomposed letter look the same; the source has them as two bands."""
    composed, decomposed = "Bj\u00f6rk", "Bjo\u0308rk"
    bands = Landing(tmp_path, "bands")
    bands.land({"bands.csv": f"id,name,fee\n1,{composed},1\n2,{decomposed},1\n".encode()})
    bands.land({"bands.parquet": bands.rows_as_parquet((3, decomposed, 1))})
    bands.make()
    assert {row["id"]: row["name"] for row in bands.made()} == {1: composed, 2: decomposed, 3: decomposed}


# Merging --------------------------------------------------------------------------------------------------------


@pytest.fixture
def venues(tmp_path: Path) -> Landing:
    return Landing(tmp_path, "venues")


def test_keeps_the_newest_row_of_every_id_and_repairs_nothing(venues: Landing) -> None:
    """An id that is twice in one batch, and a row without an id, reach the checks that find them."""
    venues.land({"venues.parquet": venues.rows_as_parquet((None, "n", 1), (1, "a", 10), (1, "a", 10), (2, "b", 20))})
    venues.land({"venues-1.csv": b"id,name,capacity\n2,c,21\n3,d,1\n", "venues-2.csv": b"id,capacity,name\n3,2,e\n"})
    venues.land({"venues.csv": b"id,name,capacity\n2,f,\n"})
    made = make_table(venues.order())
    assert sorted((row["id"] or 0, row["name"], row["capacity"]) for row in venues.made()) == [
        (0, "n", 1),
        (1, "a", 10),
        (1, "a", 10),
        (2, "f", None),
        (3, "d", 1),
        (3, "e", 2),
    ]
    assert (made.file.rows, made.file.sums) == (6, {"capacity": 24})
    assert made.rows_by_file == [{"venues.parquet": 4}, {"venues-1.csv": 2, "venues-2.csv": 1}, {"venues.csv": 1}]


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


@pytest.mark.parametrize("rows", [None, b"", b"2,c,21\n"], ids=["no file", "a file without rows", "a row"])
def test_base_is_linked_unless_an_increment_brings_a_row(rows: bytes | None, venues: Landing, tmp_path: Path) -> None:
    """A table that did not change takes no space twice; one that did leaves the file of earlier batches as it was."""
    base = tmp_path / "base.parquet"
    base.write_bytes(content := venues.rows_as_parquet((1, "a", 10), (2, "b", 20)))
    venues.land({})
    venues.land({} if rows is None else {"venues.csv": b"id,name,capacity\n" + rows})
    venues.make(base=base)
    assert os.path.samefile(venues.target, base) is not bool(rows)
    assert base.read_bytes() == content
    assert sorted(row["name"] for row in venues.made()) == ["a", "c" if rows else "b"]


def test_copies_the_base_where_links_are_not_supported(
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


@pytest.mark.parametrize(("odd", "sibling"), [('it\'s {x} * ä "q" $HOME', "it's"), ("a=x", "a=y"), ("d[12]", "d1")])
def test_reads_and_writes_only_the_named_folder_whatever_its_name(odd: str, sibling: str, tmp_path: Path) -> None:
    """DuckDB takes paths for glob patterns, which can find the tables of another installation."""
    for folder, fee in ((sibling, 5), (odd, 7)):
        bands = Landing(tmp_path / folder, "bands")
        bands.land({"bands.csv": b"id,name,fee\n1,a,%d\n2,b,%d\n" % (fee, fee)})
        bands.land({"bands.csv": b"id,name,fee\n2,c,%d\n3,d,%d\n" % (fee, fee)})
        made = make_table(bands.order())
        assert pq.read_schema(bands.target).names == ["id", "name", "fee"]
        assert sorted((row["name"], row["fee"]) for row in bands.made()) == [("a", fee), ("c", fee), ("d", fee)]
        assert made.file.sums == {"fee": 3 * fee}
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([odd, sibling])


# Refused files --------------------------------------------------------------------------------------------------

REFUSED: dict[str, tuple[str, bytes, str]] = {
    "an empty file": ("performances.csv", b"", "it is empty"),
    "gzip called CSV": ("performances.csv", gzip.compress(FINE), "says CSV text, it holds gzip data"),
    "a zip archive called CSV": ("performances.csv", zipped(FINE), "says CSV text, it holds a zip archive"),
    "CSV called gzip": ("performances.csv.gz", FINE, "says gzip data, it holds something else, starting with b'band'"),
    "CSV called Parquet": ("performances.parquet", FINE, "says Parquet, it holds something else"),
    "Parquet called CSV": ("performances.csv", as_parquet([]), "says CSV text, it holds Parquet"),
    "a gzip file cut in the middle": ("performances.csv.gz", gzip.compress(FINE)[:60], "cut short or damaged"),
    "a Parquet file cut in the middle": ("performances.parquet", as_parquet([])[:300], "cut short or damaged"),
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


def test_refuses_a_file_that_differs_from_its_manifest(landing: Landing) -> None:
    """A file is verified before a row is read: it is reported as damaged, not for a strange value."""
    folder = landing.land({"performances.csv": FINE})
    (folder / "performances.csv").write_bytes(FINE.replace(b"1", b"x"))
    with pytest.raises(BatchError, match="its content changed"):
        landing.make()


def test_refuses_a_file_that_changes_while_it_is_read(landing: Landing, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder without a manifest has no checksum to compare with."""
    folder = landing.land({"performances.csv": FINE}, has_manifest=False)

    def write_on(pieces: Iterator[pa.Table]) -> Iterator[pa.Table]:
        yield from pieces
        with (folder / "performances.csv").open("ab") as stream:
            stream.write(b"1,2,,\n")

    read = conversion.read_csv_file
    monkeypatch.setattr(conversion, "read_csv_file", lambda *given: write_on(read(*given)))
    with pytest.raises(BatchError, match="it changed while it was read"):
        landing.make()
    assert not landing.target.exists()


MANY = performances(1, 1_000)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("performances.csv.gz", gzip.compress(as_csv(MANY))),
        ("performances.parquet", as_parquet(MANY, row_group_size=20)),
    ],
)
def test_stops_reading_when_a_file_holds_more_rows_than_its_manifest_says(
    name: str, content: bytes, landing: Landing, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A small compressed file can hold rows without end."""
    read_rows: list[int] = []

    def counted(pieces: Iterator[pa.Table]) -> Iterator[pa.Table]:
        for piece in pieces:
            read_rows.append(piece.num_rows)
            yield piece

    read_csv, read_parquet = conversion.read_csv_file, conversion.read_parquet_file
    monkeypatch.setattr(conversion, "read_csv_file", lambda *given: counted(read_csv(*given, read_bytes=1_000)))
    monkeypatch.setattr(conversion, "read_parquet_file", lambda *given: counted(read_parquet(*given)))
    landing.land({name: content}, rows={name: 20})
    with pytest.raises(BatchError, match=f"{name}: it holds more than the 20 rows its manifest says"):
        landing.make()
    assert sum(read_rows) < 100


@pytest.mark.parametrize("stated", [10, 12])
def test_reads_a_file_that_holds_as_many_rows_as_its_manifest_says_or_fewer(stated: int, landing: Landing) -> None:
    """Missing rows are reported by the check of row counts."""
    assert landing.convert({"performances.csv": FINE}, rows={"performances.csv": stated}) == {"performances.csv": 10}


# Rejects --------------------------------------------------------------------------------------------------------


def test_reports_the_first_rejects_and_stores_all_of_them_until_the_next_refresh(landing: Landing) -> None:
    """The rejects of all parts of the table are reported together; long texts are cut."""
    bad = FINE + b"".join(b"%d,x,,\n" % number for number in range(7))
    folder = landing.land(
        {"performances-1.csv": bad, "performances-2.csv": FINE + b"x" * 100_000 + b"\n"}, has_manifest=False
    )
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
    reason = "has 1 field where the header names 4"
    assert stored[-1] == {
        "file": "performances-2.csv",
        "line": 12,
        "column": None,
        "text": "x" * 2_000,
        "reason": reason,
    }
    assert not landing.target.exists()
    # A batch without a manifest can be corrected in place.
    corrected = Landing(folder.parent.parent / "corrected")
    corrected.rejects_file = landing.rejects_file
    corrected.convert({"performances.csv": FINE})
    assert not landing.rejects_file.exists()
