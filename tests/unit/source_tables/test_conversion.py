"""The files of a batch become one typed Parquet file with exactly the exported values, or an error says why not."""

import gzip
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from source_tables.landing import SCHEMA, Landing, as_csv, as_parquet, performances

from acl_assets.landing_zone.manifest import BatchError
from acl_assets.source_tables import conversion, csv_files
from acl_assets.source_tables.csv_files import read_csv_file
from acl_assets.source_tables.rejects import OpenFile

FINE = as_csv(performances(1, 10))


@pytest.fixture
def landing(tmp_path: Path) -> Landing:
    return Landing(tmp_path)


# Results --------------------------------------------------------------------------------------------------------


def test_joins_parts_of_any_format_in_their_order_with_the_declared_types(landing: Landing) -> None:
    """Both engines read the file and find the same types and time zone in it."""
    made = landing.convert(
        {
            "performances-0001.csv": FINE,
            "performances-0002.csv.gz": gzip.compress(as_csv(performances(11, 20))),
            "performances-0003.csv.zst": pa.compress(as_csv(performances(21, 30)), codec="zstd", asbytes=True),
            "performances-0004.parquet": as_parquet(performances(31, 43)),
        }
    )
    assert list(made.rows_by_file[0].values()) == [10, 10, 10, 13]
    assert landing.made() == performances(1, 43)
    metadata = pq.read_metadata(landing.target)
    assert metadata.schema.to_arrow_schema().remove_metadata() == SCHEMA
    assert metadata.row_group(0).column(0).compression == "ZSTD"
    described = duckdb.sql(f"describe from '{landing.target}'").fetchall()
    assert [column[1] for column in described] == ["INTEGER", "TIMESTAMP WITH TIME ZONE", "INTEGER", "INTEGER"]
    assert [path.name for path in landing.target.parent.iterdir()] == ["performances.parquet"]


# Merging --------------------------------------------------------------------------------------------------------


@pytest.fixture
def venues(tmp_path: Path) -> Landing:
    return Landing(tmp_path, "venues")


def test_keeps_the_newest_row_of_every_id_and_repairs_nothing(venues: Landing) -> None:
    """An id that is twice in one batch, and a row without an id, reach the checks that find them.

    A composed and a decomposed letter look the same; the source has them as two names.
    """
    composed, decomposed = "Bj\u00f6rk", "Bjo\u0308rk"
    venues.land({"venues.parquet": venues.rows_as_parquet((None, "n", 1), (1, "a", 10), (1, "a", 10), (2, "b", 20))})
    venues.land(
        {
            "venues-1.csv": f"id,name,capacity\n2,c,21\n3,{composed},1\n".encode(),
            "venues-2.csv": f"id,capacity,name\n3,2,{decomposed}\n".encode(),
        }
    )
    venues.land({"venues.csv": b"id,name,capacity\n2,f,\n2,f,\n"})
    made = venues.make()
    assert sorted((row["id"] or 0, row["name"], row["capacity"]) for row in venues.made()) == [
        (0, "n", 1),
        (1, "a", 10),
        (1, "a", 10),
        (2, "f", None),
        (2, "f", None),
        (3, decomposed, 2),
        (3, composed, 1),
    ]
    assert (made.file.rows, made.file.sums) == (7, {"capacity": 24})
    assert made.rows_by_file == [{"venues.parquet": 4}, {"venues-1.csv": 2, "venues-2.csv": 1}, {"venues.csv": 2}]


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


def test_reads_and_writes_only_the_named_folder_whatever_its_name(tmp_path: Path) -> None:
    """DuckDB takes paths for glob patterns, which can find the tables of another installation."""
    odd, sibling = "it's {x} d[12]", "it's {x} d1"
    for folder, fee in ((sibling, 5), (odd, 7)):
        bands = Landing(tmp_path / folder, "bands")
        bands.land({"bands.csv": b"id,name,fee\n1,a,%d\n2,b,%d\n" % (fee, fee)})
        bands.land({"bands.csv": b"id,name,fee\n2,c,%d\n3,d,%d\n" % (fee, fee)})
        made = bands.make()
        assert sorted((row["name"], row["fee"]) for row in bands.made()) == [("a", fee), ("c", fee), ("d", fee)]
        assert made.file.sums == {"fee": 3 * fee}
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([odd, sibling])


# Refused files --------------------------------------------------------------------------------------------------


def test_stops_reading_when_a_file_holds_more_rows_than_its_manifest_says(
    landing: Landing, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A small compressed file can hold rows without end."""
    read_rows: list[int] = []

    def counted(file: OpenFile) -> Iterator[pa.Table]:
        for piece in read_csv_file(file):
            read_rows.append(piece.num_rows)
            yield piece

    monkeypatch.setattr(csv_files, "READ_BYTES", 1_000)
    monkeypatch.setattr(conversion, "read_csv_file", counted)
    name = "performances.csv.gz"
    with pytest.raises(BatchError, match=f"{name}: it holds more than the 20 rows its manifest says"):
        landing.convert({name: gzip.compress(as_csv(performances(1, 1_000)))}, rows={name: 20})
    assert sum(read_rows) < 100


# Rejects --------------------------------------------------------------------------------------------------------


def test_reports_the_first_rejects_and_stores_all_of_them_until_the_next_refresh(landing: Landing) -> None:
    """The rejects of all parts of the table are reported together; long texts are cut."""
    bad = FINE + b"".join(b"%d,x,,\n" % number for number in range(7))
    folder = landing.land(
        {"performances-1.csv": bad, "performances-2.csv": FINE + b"x" * 100_000 + b"\n"}, has_manifest=False
    )
    with pytest.raises(BatchError) as raised:
        landing.make()
    message = str(raised.value)
    assert message.startswith(
        f"performances: 8 lines or values are rejected in {folder}:\n  performances-1.csv line 12"
    )
    # Dagster's UI shows line breaks as spaces, so every line is a sentence.
    reason = "'x' is not a whole number of 32 bits in plain digits, such as 25 or -3"
    assert f"line 12, column id: {reason}.\n" in message
    assert "line 16" in message
    assert "line 17" not in message
    assert str(landing.rejects_file) in message
    stored = landing.rejects()
    assert len(stored) == 8
    reason = "has 1 field where the header names 4"
    where = {"file": "performances-2.csv", "line": 12, "column": None}
    assert stored[-1] == {**where, "text": "x" * 2_000, "reason": reason}
    assert not landing.target.exists()
    # A batch without a manifest can be corrected in place.
    landing.batches.clear()
    shutil.rmtree(folder)
    shutil.rmtree(landing.target.with_suffix(".parts"))
    landing.convert({"performances.csv": FINE})
    assert not landing.rejects_file.exists()


def test_one_reject_is_counted_as_one(landing: Landing) -> None:
    with pytest.raises(BatchError, match=r"performances: 1 line or value is rejected in /"):
        landing.convert({"performances.csv": FINE + b"x\n"})
