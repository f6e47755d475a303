"""Run hand_written.sql, a refresh without Dagster and dbt: `python -m benchmarks.hand_written BATCH OUTPUT`.

This module verifies checksums and replaces the file atomically, because SQL cannot.
"""

from __future__ import annotations

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

    DuckDB uses at most `memory_limit`, as it does in a refresh.

    Raises:
        CheckFailedError: a check failed; the folder has no warehouse file.
    """
    source_tables = output / "source_tables"
    source_tables.mkdir(parents=True)
    building, warehouse = output / "building.duckdb", output / "acl.duckdb"
    _verify_files(batch)
    with duckdb.connect(str(building)) as connection:
        connection.execute("set memory_limit = ?", [memory_limit])
        connection.execute("set variable batch = ?", [str(batch)])
        connection.execute("set variable source_tables = ?", [str(source_tables)])
        connection.execute(SCRIPT.read_text())
        broken = connection.execute("select * from failures where failing <> 0").fetchall()
    if broken:
        raise CheckFailedError(f"{batch} fails checks, with these numbers of rows: {dict(broken)}. Correct the export.")
    os.replace(building, warehouse)
    return warehouse


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
