"""A simulated batch is valid in every format and never overwritten."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from acl_assets.landing_zone.batches import list_batches, resolve_chain
from acl_assets.landing_zone.folder_store import open_verified
from acl_assets.landing_zone.manifest import BatchError, ExportBatch
from acl_assets.landing_zone.store import landing_zone_at
from acl_assets.simulator.batch import (
    BATCH_FORMATS,
    BatchFormat,
    open_table_file,
    write_batch,
    write_incremental_batch,
    write_plain_batch,
)
from acl_assets.simulator.sales import ARROW_SCHEMAS, TicketingHistory
from acl_assets.source_schema import SOURCE_TABLES

SQL_TYPES = {"int": "INTEGER", "text": "VARCHAR", "timestamptz": "TIMESTAMPTZ"}


@pytest.fixture(scope="module")
def history() -> TicketingHistory:
    return TicketingHistory(0.002)


def read_with_duckdb(folder: Path, table: str) -> list[tuple[object, ...]]:
    """Read a table's files with a reader that shares no code with the writer."""
    columns = {column.name: SQL_TYPES[column.type] for column in SOURCE_TABLES[table].columns}
    if list(folder.glob(f"{table}*.parquet")):
        source = f"read_parquet('{folder}/{table}*.parquet')"
    else:
        source = (
            f"read_csv('{folder}/{table}*.csv*', columns = {columns}, header = true, quote = '\"', escape = '\"', "
            "nullstr = '', allow_quoted_nulls = false, strict_mode = true)"
        )
    with duckdb.connect() as connection:
        return connection.execute(f"from {source} order by id").fetchall()


def landed_batch(exports_dir: Path) -> ExportBatch:
    return resolve_chain(list_batches(landing_zone_at(exports_dir), settle_seconds=0)).newest


@pytest.mark.parametrize("batch_format", BATCH_FORMATS)
def test_every_format_holds_the_same_rows_and_a_true_manifest(
    history: TicketingHistory, batch_format: BatchFormat, tmp_path: Path
):
    folder = write_batch(tmp_path, "batch", history, batch_format)
    batch = landed_batch(tmp_path)
    assert (batch.batch_id, batch.kind, batch.exported_at) == ("batch", "full", history.exported_at)
    for name, table in batch.tables.items():
        streamed = pa.concat_tables([rows for each, rows in history.stream() if each == name])
        assert read_with_duckdb(folder, name) == sorted(tuple(row.values()) for row in streamed.to_pylist())
        assert [file.path for file in table.files] == [f"{name}.{batch_format}"]
        with open_verified(folder, table.files[0], table.files[0].path) as stream:
            assert stream.read(1)
        assert table.rows == table.rows_at_source == streamed.num_rows
    again = write_batch(tmp_path / "again", "batch", history, batch_format)
    assert [path.read_bytes() for path in sorted(folder.iterdir())] == [
        path.read_bytes() for path in sorted(again.iterdir())
    ]


def test_plain_batch_is_csv_files_as_old_as_the_export(history: TicketingHistory, tmp_path: Path):
    folder = write_plain_batch(tmp_path, "plain", history)
    batch = landed_batch(tmp_path)
    assert (batch.kind, batch.has_manifest, batch.exported_at) == ("full", False, history.exported_at)
    full = write_batch(tmp_path, "full", history)
    assert all(read_with_duckdb(folder, table) == read_with_duckdb(full, table) for table in SOURCE_TABLES)


def test_a_batch_is_never_overwritten(history: TicketingHistory, tmp_path: Path):
    for write in (write_batch, write_plain_batch):
        (tmp_path / "batch").mkdir(exist_ok=True)
        with pytest.raises(BatchError, match="is there already"):
            write(tmp_path, "batch", history)
    assert not list((tmp_path / "batch").iterdir())


def test_a_failed_export_leaves_nothing(tmp_path: Path):
    class InterruptedHistory(TicketingHistory):
        def stream(self) -> Iterator[tuple[str, pa.Table]]:
            for name, rows in super().stream():
                yield name, rows
                if name == "tickets":
                    raise KeyboardInterrupt

    for write in (write_batch, write_plain_batch):
        with pytest.raises(KeyboardInterrupt):
            write(tmp_path, "batch", InterruptedHistory(0.001))
    assert not list(tmp_path.iterdir())


def test_csv_is_written_as_postgresql_writes_it(tmp_path: Path):
    """Null is nothing at all, an empty text two quotes; an instant is in UTC, with an offset of two digits."""
    names = ["plain", None, "", "a,b", 'say "hi"', "two\nlines", "cr\r", r"\.", "'68", " space ", "NULL", "é"]
    rows = pa.table([range(12), names, [None] * 12], schema=ARROW_SCHEMAS["bands"])
    instant = datetime(2021, 10, 1, 19, 30, tzinfo=UTC)
    purchases = pa.table([[1], [instant], [2]], schema=ARROW_SCHEMAS["purchases"])
    written = []
    # Slices share their memory with the rows around them.
    for pieces in ([rows.slice(0, 0), rows.slice(1, 1)], [rows], [purchases]):
        writer = open_table_file(tmp_path / "table.csv", pieces[0].schema)
        for piece in pieces:
            writer.write_table(piece)
        writer.close()
        written.append((tmp_path / "table.csv").read_bytes().decode())
    assert written == [
        "id,name,fee\n1,,\n",
        'id,name,fee\n0,plain,\n1,,\n2,"",\n3,"a,b",\n4,"say ""hi""",\n5,"two\nlines",\n6,"cr\r",\n'
        '7,"\\.",\n8,\'68,\n9, space ,\n10,NULL,\n11,é,\n',
        "id,purchase_date,person_id\n1,2021-10-01 19:30:00+00,2\n",
    ]


def test_incremental_batch_holds_what_is_new_or_changed_and_counts_the_rest(tmp_path: Path):
    """Merged over its predecessor it is the later state; the totals are those of the whole table."""
    earlier = TicketingHistory(0.002, exported_at=datetime(2022, 6, 1, tzinfo=UTC))
    later = TicketingHistory(0.002, exported_at=datetime(2022, 8, 1, tzinfo=UTC))

    def with_first_ticket_refunded() -> Iterator[tuple[str, pa.Table]]:
        for name, rows in later.stream():
            if name == "tickets" and rows["id"][0].as_py() == 1:
                yield name, rows.set_column(1, "price", pa.array([0, *rows["price"].to_pylist()[1:]], pa.int32()))
            else:
                yield name, rows

    first = write_batch(tmp_path, "first", earlier)
    second = write_incremental_batch(first, "second", earlier.stream(), with_first_ticket_refunded(), later.exported_at)
    whole = write_batch(tmp_path / "other", "whole", later)
    for table in SOURCE_TABLES:
        merged = {row[0]: row for row in read_with_duckdb(first, table) + read_with_duckdb(second, table)}
        expected = {row[0]: row for row in read_with_duckdb(whole, table)}
        if table == "tickets":
            expected[1] = (1, 0, *expected[1][2:])
            assert len(read_with_duckdb(second, table)) == len(expected) - len(read_with_duckdb(first, table)) + 1
        assert merged == expected, table
    batch = landed_batch(tmp_path)
    assert batch.continues_from is not None
    assert batch.continues_from.batch_id == "first"
    prices = [0, *(row[1] for row in read_with_duckdb(whole, "tickets") if row[0] != 1)]
    assert (batch.tables["tickets"].rows_at_source, batch.tables["tickets"].sums_at_source) == (
        len(prices),
        {"price": sum(prices)},
    )
