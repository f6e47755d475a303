"""Small festivals as source tables, and the dbt project on them: run by dbt, or its compiled SQL in memory."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from sharing import made_once

from acl_assets.settings import DBT_PROJECT_DIR
from acl_assets.source_schema import EXPORT_BATCHES_TABLE, SOURCE_TABLES, arrow_schema
from acl_assets.warehouse import project

_SCHEMAS = {table.name: arrow_schema(table) for table in (*SOURCE_TABLES.values(), EXPORT_BATCHES_TABLE)}
_CHOICES = ("top_venues", "top_bands_per_venue", "min_performances", "min_festivals", "evidence_from_other_venues")


def instant(text: str) -> datetime:
    """A moment in UTC, as `2021-01-01 03:00`."""
    return datetime.fromisoformat(f"{text}+00:00")


class Show(NamedTuple):
    """A completed performance."""

    venue: int
    band: int
    year: int
    sold: int
    capacity: int


@dataclass
class Festival:
    """The rows of the source tables, each a tuple in the order of the columns; a festival is empty until filled.

    A table without a field here is empty, and columns after the last value of a row are null.
    """

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
        return self.arrow(table).to_pandas()

    def write(self, data_dir: Path) -> None:
        """Write the source tables where dbt reads them."""
        (data_dir / "build").mkdir(parents=True, exist_ok=True)
        folder = data_dir / "source_tables" / "current"
        folder.mkdir(parents=True, exist_ok=True)
        for table in _SCHEMAS:
            pq.write_table(self.arrow(table), folder / f"{table}.parquet")

    def arrow(self, table: str) -> pa.Table:
        """One source table with the types of its Parquet file."""
        schema = _SCHEMAS[table]
        rows = [dict(zip(schema.names[: len(row)], row, strict=True)) for row in getattr(self, table, [])]
        return pa.Table.from_pylist(rows, schema=schema)


def run_dbt(data_dir: Path, *arguments: str, **variables: str) -> dict[str, str]:
    """Run a dbt command on the source tables below the folder, and return the status of every node by its name.

    Its artifacts are in `target` there. A command that fails raises DbtProjectError.
    """
    folder = data_dir / "target"
    project.run_dbt(project.dbt_project(), {"ACL_DATA_DIR": str(data_dir), **variables}, folder, *arguments)
    results = json.loads((folder / "run_results.json").read_bytes())["results"]
    return {_name(result["unique_id"]): result["status"] for result in results}


def _name(unique_id: str) -> str:
    """The name in dbt's id of a node, in which that of its model stands before a unit test's."""
    return unique_id.split(".")[3 if unique_id.startswith("unit_test.") else 2]


@cache
def compiled_manifest() -> Mapping[str, Any]:
    """The manifest with the SQL of every model and test; a var of the choice of bands is a variable of DuckDB there.

    A warning of dbt is an error.
    """
    return made_once("compiled_manifest", _compile)


def _compile() -> dict[str, Any]:
    choices = {name: f"getvariable('{name}')" for name in _CHOICES}
    with TemporaryDirectory() as folder:
        Festival().write(Path(folder))
        run_dbt(Path(folder), "compile", "--warn-error", "--show-all-deprecations", "--vars", json.dumps(choices))
        manifest: dict[str, Any] = json.loads((Path(folder) / "target" / "manifest.json").read_bytes())
    return manifest


@cache
def nodes(resource_type: str) -> list[Mapping[str, Any]]:
    """The compiled models or tests, models after those they read; staging models are part of their readers."""
    found = {
        unique_id: node
        for unique_id, node in compiled_manifest()["nodes"].items()
        if node["resource_type"] == resource_type and node["config"]["materialized"] != "ephemeral"
    }
    order = TopologicalSorter({unique_id: node["depends_on"]["nodes"] for unique_id, node in found.items()})
    return [found[unique_id] for unique_id in order.static_order() if unique_id in found]


def source_tables_in_memory(festival: Festival) -> duckdb.DuckDBPyConnection:
    """Put the source tables into a DuckDB without a file."""
    connection = duckdb.connect(config={"threads": 1})
    connection.execute("attach ':memory:' as acl; use acl; set timezone = 'UTC'; create schema festival")
    for table in _SCHEMAS:
        connection.register("rows", festival.arrow(table))
        connection.execute(f"create table festival.{table} as from rows")
    return connection


@cache
def _project_vars() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((DBT_PROJECT_DIR / "dbt_project.yml").read_text())["vars"]
    return found


def build_models(connection: duckdb.DuckDBPyConnection, **choice: float) -> None:
    """Build every model by its compiled SQL from source tables in DuckDB, with the vars of the project unless given."""
    for name in _CHOICES:
        connection.execute(f"set variable {name} = {choice.get(name, _project_vars()[name])}")
    connection.execute("create schema star_schema; create schema evidence; create schema data_products")
    for model in nodes("model"):
        kind = model["config"]["materialized"]
        connection.execute(f"create {kind} {model['schema']}.{model['name']} as {model['compiled_code']}")


def built_in_memory(festival: Festival, **choice: float) -> duckdb.DuckDBPyConnection:
    """Build every model in a DuckDB without a file."""
    connection = source_tables_in_memory(festival)
    build_models(connection, **choice)
    return connection


def evidence_of(shows: Sequence[Show], *, other_venues: bool = True) -> dict[tuple[int, int], dict[str, Any]]:
    """Return the rows of band_levels, band_chances and band_verdicts, by (venue, band)."""
    names = ("performance_id", "venue_id", "band_id", "festival_year", "tickets_sold", "capacity")
    rows = [(number, *show) for number, show in enumerate(shows)]
    with duckdb.connect(config={"threads": 1}) as connection:
        connection.execute("attach ':memory:' as acl; use acl; create schema star_schema; create schema evidence")
        connection.register("fact", pd.DataFrame(rows, columns=names, dtype="int64"))
        connection.execute("create table star_schema.fct_performances as select *, true as is_completed from fact")
        connection.execute(f"set variable evidence_from_other_venues = {other_venues}")
        for model in nodes("model"):
            if model["schema"] == "evidence":
                connection.execute(f"create table evidence.{model['name']} as {model['compiled_code']}")
        found = connection.sql(
            "from evidence.band_levels full join evidence.band_chances using (venue_id, band_id) "
            "full join evidence.band_verdicts using (venue_id, band_id)"
        ).to_arrow_table()
    return {(row["venue_id"], row["band_id"]): row for row in found.to_pylist()}


def failing_rows(
    connection: duckdb.DuckDBPyConnection, *, of_sources: bool | None = None
) -> dict[str, list[tuple[Any, ...]]]:
    """The sorted failing rows of every test that fails or warns, by its name.

    With `of_sources` only the tests that read nothing but source tables, or only the others.
    """
    found = {}
    for test in nodes("test"):
        reads_sources = all(unique_id.startswith("source.") for unique_id in test["depends_on"]["nodes"])
        if of_sources is None or of_sources == reads_sources:
            found[test["name"]] = sorted(connection.execute(test["compiled_code"]).fetchall(), key=repr)
    return {name: rows for name, rows in found.items() if rows}
