"""Write small festivals as source tables, and run the real dbt project on them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from dbt.adapters.duckdb.connections import DuckDBConnectionManager
from dbt.artifacts.schemas.run import RunExecutionResult
from dbt.cli.main import dbtRunner, dbtRunnerResult
from dbt.contracts.graph.manifest import Manifest

from acl_assets.settings import DBT_PROJECT_DIR

_INSTANT = pa.timestamp("us", tz="UTC")
_SCHEMAS = {
    "bands": [("id", pa.int32()), ("name", pa.string()), ("fee", pa.int32())],
    "venues": [("id", pa.int32()), ("name", pa.string()), ("capacity", pa.int32())],
    "performances": [
        ("id", pa.int32()), ("performance_start", _INSTANT), ("band_id", pa.int32()), ("venue_id", pa.int32()),
    ],
    "people": [("id", pa.int32()), ("name", pa.string())],
    "purchases": [("id", pa.int32()), ("purchase_date", _INSTANT), ("person_id", pa.int32())],
    "tickets": [
        ("id", pa.int32()), ("price", pa.int32()), ("performance_id", pa.int32()), ("purchase_id", pa.int32()),
        ("ticketnum", pa.string()),
    ],
    "export_batches": [
        ("batch_id", pa.string()), ("kind", pa.string()), ("exported_at", _INSTANT), ("manifest_digest", pa.string()),
        ("has_manifest", pa.bool_()),
    ],
}  # fmt: skip


def instant(text: str) -> datetime:
    """A moment in UTC, as `2021-01-01 03:00`."""
    return datetime.fromisoformat(f"{text}+00:00")


@dataclass
class Festival:
    """The rows of the source tables, each a tuple in the order of the columns; a festival is empty until filled."""

    bands: list[tuple[Any, ...]] = field(default_factory=list)
    venues: list[tuple[Any, ...]] = field(default_factory=list)
    performances: list[tuple[Any, ...]] = field(default_factory=list)
    people: list[tuple[Any, ...]] = field(default_factory=list)
    purchases: list[tuple[Any, ...]] = field(default_factory=list)
    tickets: list[tuple[Any, ...]] = field(default_factory=list)
    export_batches: list[tuple[Any, ...]] = field(default_factory=list)

    def export(self, exported_at: datetime) -> None:
        """Add the batch that was exported at this moment."""
        number = len(self.export_batches) + 1
        self.export_batches.append((f"batch-{number}", "full", exported_at, f"{number:064x}", True))

    def sell(self, performance_id: int | None, moments: Sequence[datetime], price: int | None = 10) -> None:
        """Sell one ticket at each moment, each in a purchase of its own by the first person."""
        for moment in moments:
            number = len(self.purchases) + 1
            self.purchases.append((number, moment, 1))
            self.tickets.append((number, price, performance_id, number, f"TT{number:014d}"))

    def frame(self, table: str) -> pd.DataFrame:
        """One source table as a data frame."""
        return self._arrow(table).to_pandas()

    def write(self, data_dir: Path) -> None:
        """Write the source tables where dbt reads them."""
        (data_dir / "build").mkdir(parents=True, exist_ok=True)
        folder = data_dir / "source_tables" / "current"
        folder.mkdir(parents=True, exist_ok=True)
        for table in _SCHEMAS:
            pq.write_table(self._arrow(table), folder / f"{table}.parquet")

    def _arrow(self, table: str) -> pa.Table:
        schema = pa.schema(_SCHEMAS[table])
        rows = [dict(zip(schema.names, row, strict=True)) for row in getattr(self, table)]
        return pa.Table.from_pylist(rows, schema=schema)


@cache
def dbt_manifest() -> Manifest:
    """The parsed project; parsed once, for it takes longer than a run."""
    with TemporaryDirectory() as folder:
        parsed = _invoke(Path(folder), ["parse", "--no-partial-parse"], None)
    if parsed.exception:
        raise parsed.exception
    assert isinstance(parsed.result, Manifest)
    return parsed.result


def run_dbt(data_dir: Path, *arguments: str) -> dbtRunnerResult:
    """Run a dbt command on the source tables below the folder; its artifacts are in `target` there."""
    return _invoke(data_dir, arguments, dbt_manifest())


def outcomes(result: dbtRunnerResult) -> dict[str, str]:
    """Per test that was run: `pass`, `warn`, `fail`, `error` or `skipped`."""
    if result.exception:
        raise result.exception
    assert isinstance(result.result, RunExecutionResult)
    return {
        node_result.node.name: str(node_result.status)
        for node_result in result.result.results
        if node_result.node.resource_type in ("test", "unit_test")
    }


@contextmanager
def warehouse(data_dir: Path, *, read_only: bool = True) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection to the file dbt built."""
    with duckdb.connect(str(data_dir / "build" / "acl.duckdb"), read_only=read_only) as connection:
        yield connection


def _invoke(data_dir: Path, arguments: Sequence[str], manifest: Manifest | None) -> dbtRunnerResult:
    folders = {"project-dir": DBT_PROJECT_DIR, "profiles-dir": DBT_PROJECT_DIR}
    artifacts = {"target-path": data_dir / "target", "log-path": data_dir / "logs"}
    options = [f"--{name}={path}" for name, path in {**folders, **artifacts}.items()]
    here, environment = Path.cwd(), dict(os.environ)
    os.environ["ACL_DATA_DIR"] = str(data_dir)
    try:
        return dbtRunner(manifest=manifest).invoke(["--quiet", *arguments, *options])
    finally:
        # dbt moves into the project and keeps the file open for the life of the process.
        DuckDBConnectionManager.close_all_connections()
        os.chdir(here)
        os.environ.clear()
        os.environ.update(environment)
