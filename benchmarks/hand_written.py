"""Run hand_written.sql, a refresh without Dagster and dbt: `python -m benchmarks.hand_written BATCH OUTPUT`.

This module verifies checksums, writes the files of the data products and replaces the warehouse file atomically.
"""

import hashlib
import json
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import duckdb

SCRIPT = Path(__file__).with_suffix(".sql")


class CheckFailedError(RuntimeError):
    """The batch or the warehouse fails a check."""


def build(batch: Path, output: Path, memory_limit: str) -> Path:
    """Build the warehouse file of a batch of Parquet files in an empty folder, and return its path.

    The data products are also written as files, in the folder `data_products` next to it. DuckDB uses at most
    `memory_limit`, as it does in a refresh.

    Raises:
        CheckFailedError: a check failed; the folder has no warehouse file.
    """
    source_tables, data_products = output / "source_tables", output / "data_products"
    for folder in (source_tables, data_products):
        folder.mkdir(parents=True)
    building, warehouse = output / "building.duckdb", output / "acl.duckdb"
    _verify_files(batch)
    with duckdb.connect(str(building)) as connection:
        connection.execute("set memory_limit = ?", [memory_limit])
        connection.execute("set variable batch = ?", [str(batch)])
        connection.execute("set variable source_tables = ?", [str(source_tables)])
        connection.execute("set variable data_products = ?", [str(data_products)])
        connection.execute(SCRIPT.read_text())
        if broken := connection.execute("select * from failures where failing <> 0").fetchall():
            raise CheckFailedError(
                f"{batch} fails checks, with these numbers of rows: {dict(broken)}. Correct the export."
            )
        _write_data_products(connection)
    os.replace(building, warehouse)
    return warehouse


def _write_data_products(connection: duckdb.DuckDBPyConnection) -> None:
    """Write the files that a refresh writes: every data product as Parquet, and all but the tickets as CSV."""
    names = "select table_name from information_schema.tables where table_schema = 'data_products'"
    for (name,) in connection.execute(names).fetchall():
        copy = f"copy (from data_products.{name}) to (getvariable('data_products') || '/{name}"
        connection.execute(f"{copy}.parquet') (format parquet, compression zstd, compression_level 1)")
        if name != "ticket_sales":
            connection.execute(f"{copy}.csv') (format csv, header)")


def _verify_files(batch: Path) -> None:
    def verify(file: dict[str, str]) -> None:
        with (batch / file["path"]).open("rb") as stream:
            if hashlib.file_digest(stream, "sha256").hexdigest() != file["sha256"]:
                raise CheckFailedError(
                    f"{batch / file['path']} has another SHA-256 than its manifest. Export it again."
                )

    tables = json.loads((batch / "manifest.json").read_bytes())["tables"].values()
    with ThreadPoolExecutor() as threads:
        list(threads.map(verify, [file for table in tables for file in table["files"]]))


if __name__ == "__main__":
    build(Path(sys.argv[1]), Path(sys.argv[2]), os.environ["ACL_MEMORY_LIMIT"])
