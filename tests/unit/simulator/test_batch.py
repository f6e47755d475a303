"""A simulated batch is valid in every format and never overwritten."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Literal

import duckdb
import pyarrow as pa
import pytest
from landing_zones import chain_at

from acl_assets.landing_zone.folder_store import open_verified
from acl_assets.landing_zone.manifest import BatchError
from acl_assets.simulator.batch import BATCH_FORMATS, BatchFormat, write_batch, write_plain_batch
from acl_assets.simulator.sales import ARROW_SCHEMAS, TicketingHistory
from acl_assets.source_schema import SOURCE_TABLES, SourceColumn, SourceTable, arrow_schema

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


@pytest.mark.parametrize("batch_format", [*BATCH_FORMATS, "plain"])
def test_every_format_holds_the_same_rows_and_a_true_manifest(
    history: TicketingHistory, batch_format: BatchFormat | Literal["plain"], tmp_path: Path
):
    def write(exports_dir: Path) -> Path:
        if batch_format == "plain":
            return write_plain_batch(exports_dir, "batch", history)
        return write_batch(exports_dir, "batch", history, batch_format)

    folder, again = write(tmp_path), write(tmp_path / "again")
    batch = chain_at(tmp_path).newest
    assert (batch.batch_id, batch.kind, batch.exported_at) == ("batch", "full", history.exported_at)
    assert batch.has_manifest is (batch_format != "plain")
    for name, table in batch.tables.items():
        rows_of_table = [rows for each, rows in history.stream() if each == name]
        streamed = pa.concat_tables([ARROW_SCHEMAS[name].empty_table(), *rows_of_table], promote_options="default")
        assert read_with_duckdb(folder, name) == sorted(tuple(row.values()) for row in streamed.to_pylist())
        assert [file.path for file in table.files] == [f"{name}.{'csv' if batch_format == 'plain' else batch_format}"]
        with open_verified(folder, table.files[0], table.files[0].path) as stream:
            assert stream.read(1)
        if batch.has_manifest:
            assert table.rows == table.rows_at_source == streamed.num_rows
    contents = [[path.read_bytes() for path in sorted(each.iterdir())] for each in (folder, again)]
    assert contents[0] == contents[1]


def test_an_optional_table_or_column_that_is_not_simulated_is_empty(
    history: TicketingHistory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    genre = SourceColumn("genre", "text", "Kind of music.", is_optional=True)
    bands = replace(SOURCE_TABLES["bands"], columns=(*SOURCE_TABLES["bands"].columns, genre))
    sponsors = SourceTable("sponsors", "Sponsors.", (SourceColumn("id", "int", "Primary key."),), is_optional=True)
    for table in (bands, sponsors):
        monkeypatch.setitem(SOURCE_TABLES, table.name, table)
        monkeypatch.setitem(ARROW_SCHEMAS, table.name, arrow_schema(table))
    folder = write_batch(tmp_path, "batch", history)
    assert {row[3] for row in read_with_duckdb(folder, "bands")} == {None}
    assert read_with_duckdb(folder, "sponsors") == []


def test_a_failed_export_leaves_nothing_and_a_batch_is_never_overwritten(history: TicketingHistory, tmp_path: Path):
    class InterruptedHistory(TicketingHistory):
        def stream(self) -> Iterator[tuple[str, pa.Table]]:
            yield next(super().stream())
            raise KeyboardInterrupt

    for write in (write_batch, write_plain_batch):
        with pytest.raises(KeyboardInterrupt):
            write(tmp_path, "batch", InterruptedHistory(0.001))
        assert not list(tmp_path.glob("[!.]*"))
        (tmp_path / "batch").mkdir()
        with pytest.raises(BatchError, match="is there already"):
            write(tmp_path, "batch", history)
        (tmp_path / "batch").rmdir()
