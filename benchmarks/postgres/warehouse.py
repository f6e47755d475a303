"""Load a batch of CSV files into PostgreSQL and let dbt build and test the models there.

What belongs here: server, loading, dbt, and reading the result for comparison. What does not: how it is measured.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from acl_assets.ingestion.source_schema import SOURCE_TABLES
from acl_assets.settings import DBT_PROJECT_DIR
from acl_assets.simulator.postgres_server import PostgresServer, running_postgres

DATABASE = "warehouse"
_HERE = Path(__file__).parent
_OVERLAY = _HERE / "overlay"
_PREPARE = _HERE / "prepare.sql"
_SCHEMAS = ("star_schema", "data_products", "source_keys")
_TYPES = {"int": "integer", "text": "text", "timestamptz": "timestamptz"}
# As somebody who knows it sets up a warehouse on a machine it has to itself: much memory, no log of what is loaded.
_TUNED = {
    "shared_buffers": "2GB",
    "work_mem": "256MB",
    "maintenance_work_mem": "512MB",
    "effective_cache_size": "12GB",
    "max_wal_size": "16GB",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "synchronous_commit": "off",
    "random_page_cost": "1.1",
    "max_parallel_workers_per_gather": "2",
}


@contextmanager
def server_of(output: Path, *, tuned: bool = False) -> Iterator[PostgresServer]:
    """Run the server of an output folder, always on the same port: dbt parses everything anew when that changes."""
    port_file = output / "port"
    output.mkdir(parents=True, exist_ok=True)
    port = int(port_file.read_text()) if port_file.exists() else None
    with running_postgres(output / "server", configuration=_TUNED if tuned else {}, port=port) as server:
        port_file.write_text(str(server.port))
        yield server


def prepare(output: Path, *, tuned: bool = False) -> None:
    """Make the database empty, and the dbt project one that PostgreSQL understands.

    Where it is tuned, dbt lets the planner know every table it has built before it is read.
    """
    shutil.copytree(
        DBT_PROJECT_DIR, output / "dbt", dirs_exist_ok=True, ignore=shutil.ignore_patterns("target", "logs")
    )
    shutil.copytree(_OVERLAY, output / "dbt", dirs_exist_ok=True)
    if tuned:
        _analyze_models(output / "dbt" / "dbt_project.yml")
    with server_of(output, tuned=tuned) as server:
        _execute(server.dsn(), f"drop database if exists {DATABASE}")
        _execute(server.dsn(), f"create database {DATABASE}")
        _execute(server.dsn(DATABASE), _PREPARE.read_text())


def _analyze_models(project_file: Path) -> None:
    import yaml

    project = yaml.safe_load(project_file.read_text())
    project["models"]["acl_assets"]["+post-hook"] = "analyze {{ this }}"
    project_file.write_text(yaml.safe_dump(project))


def build(batch: Path, output: Path, *, tuned: bool = False) -> None:
    """Load the CSV files of a batch into the empty database, then build and test every model.

    Raises:
        CalledProcessError: a model or a test failed; dbt has said which.
    """
    with server_of(output, tuned=tuned) as server:
        load(batch, server.dsn(DATABASE))
        command = [sys.executable, "-P", "-m", "dbt.cli.main", "build", "--exclude-resource-type", "unit_test"]
        folders = ["--project-dir", str(output / "dbt"), "--profiles-dir", str(output / "dbt")]
        artifacts = ["--target-path", str(output / "target"), "--log-path", str(output / "target")]
        environment = {**os.environ, "ACL_BENCHMARK_POSTGRES_PORT": str(server.port)}
        subprocess.run([*command, *folders, *artifacts], env=environment, check=True)
        # What has been built is in the log; to write it into place is the work of another moment.
        server.stop("immediate")


def load(batch: Path, dsn: str) -> None:
    r"""Do what `\copy … csv header` does with the six tables, and let the planner know them."""
    import psycopg2

    manifest = (batch / "manifest.json").read_bytes()
    document = json.loads(manifest)
    with closing(psycopg2.connect(dsn)) as connection:
        with connection, connection.cursor() as cursor:
            for table in SOURCE_TABLES.values():
                columns = ", ".join(f"{column.name} {_TYPES[column.type]}" for column in table.columns)
                cursor.execute(f"create table festival.{table.name} ({columns})")
                for file in document["tables"][table.name]["files"]:
                    with (batch / file["path"]).open("rb") as stream:
                        header = stream.readline().decode().strip()
                        cursor.copy_expert(
                            f"copy festival.{table.name} ({header}) from stdin with (format csv)", stream
                        )
            cursor.execute(
                "insert into festival.export_batches values (%s, %s, %s, %s, true)",
                [batch.name, document["kind"], document["exported_at"], hashlib.sha256(manifest).hexdigest()],
            )
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute("analyze")


def write_as_duckdb(output: Path, like: Path, target: Path) -> Path:
    """Write what was built into a DuckDB file with the tables, columns and types of another, to compare both."""
    import duckdb

    target.unlink(missing_ok=True)
    with server_of(output) as server, tempfile.TemporaryDirectory(dir=output) as folder:
        with duckdb.connect(str(like), read_only=True) as connection:
            tables = connection.execute(
                "select table_schema, table_name, list(column_name order by ordinal_position), "
                "list(data_type order by ordinal_position) from information_schema.columns "
                "where table_schema in (select unnest(?)) group by all",
                [list(_SCHEMAS)],
            ).fetchall()
        with duckdb.connect(str(target)) as connection:
            for schema, table, columns, types in tables:
                file = Path(folder) / f"{table}.csv"
                _copy_out(server.dsn(DATABASE), f"{schema}.{table}", columns, file)
                declared = dict(zip(columns, types, strict=True))
                connection.execute(f"create schema if not exists {schema}")
                connection.execute(
                    f"create table {schema}.{table} as from read_csv(?, columns = ?, header = false, "
                    "auto_detect = false, delim = ',', quote = '\"', escape = '\"', nullstr = '\\N', "
                    "allow_quoted_nulls = false)",
                    [str(file), declared],
                )
                file.unlink()
    return target


def _copy_out(dsn: str, table: str, columns: list[str], file: Path) -> None:
    import psycopg2

    query = f"copy (select {', '.join(columns)} from {table}) to stdout with (format csv, null '\\N')"
    with closing(psycopg2.connect(dsn)) as connection, connection.cursor() as cursor, file.open("wb") as stream:
        cursor.copy_expert(query, stream)


def _execute(dsn: str, statements: str) -> None:
    import psycopg2

    with closing(psycopg2.connect(dsn)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(statements)


def main() -> None:
    """Build from the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.postgres.warehouse", description="Build the warehouse in PostgreSQL."
    )
    parser.add_argument("batch", type=Path, help="folder of an export batch of CSV files with a manifest")
    parser.add_argument("output", type=Path, help="folder that was prepared for it")
    parser.add_argument("--tuned", action="store_true", help="with a server that is set up as a warehouse")
    options = parser.parse_args()
    build(options.batch, options.output, tuned=options.tuned)


if __name__ == "__main__":
    main()
