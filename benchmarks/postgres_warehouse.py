"""Build the warehouse in PostgreSQL: load CSV files with COPY, then build and test the dbt models.

`python -m benchmarks.postgres_warehouse prepare|build OUTPUT [BATCH]` runs one step. Only `build` is measured.
"""

import ctypes
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import psycopg2
import yaml
from psycopg2.extensions import cursor as Cursor  # noqa: N812 # a class under a lower-case name

from acl_assets.settings import PROJECT_DIR
from acl_assets.simulator.live_system import execute
from acl_assets.simulator.postgres_server import PostgresServer, running_postgres
from acl_assets.source_schema import SOURCE_TABLES
from benchmarks.contenders import dbt_build

_HERE = Path(__file__).parent
_PR_SET_CHILD_SUBREAPER = 36  # Linux: /usr/include/linux/prctl.h
_TYPES = {"int": "integer", "text": "text", "timestamptz": "timestamptz"}
# Settings of a dedicated server. It needs no durable log, because the data can be loaded again.
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
def running_warehouse(output: Path) -> Iterator[PostgresServer]:
    """Run the server of an output folder, always on the same port, because dbt parses again when the port changes."""
    output.mkdir(parents=True, exist_ok=True)
    port_file = output / "port"
    port = int(port_file.read_text()) if port_file.exists() else None
    with running_postgres(output / "server", configuration=_TUNED, port=port) as server:
        port_file.write_text(str(server.port))
        yield server


def prepare(output: Path) -> None:
    """Create an empty database, and a copy of the dbt project with the overlay for PostgreSQL."""
    project = output / "dbt"
    shutil.copytree(PROJECT_DIR / "dbt", project, dirs_exist_ok=True, ignore=shutil.ignore_patterns("target", "logs"))
    shutil.copytree(_HERE / "postgres_overlay", project, dirs_exist_ok=True)
    settings = yaml.safe_load((project / "dbt_project.yml").read_text())
    # Without statistics the planner may choose nested loops for joins of large tables.
    settings["models"]["acl_assets"]["+post-hook"] = "analyze {{ this }}"
    (project / "dbt_project.yml").write_text(yaml.safe_dump(settings))
    with running_warehouse(output) as server:
        execute(server.dsn(), "drop database if exists warehouse")
        execute(server.dsn(), "create database warehouse")
        execute(server.dsn("warehouse"), (_HERE / "postgres_warehouse.sql").read_text())


def build(output: Path, batch: Path) -> None:
    """Load the CSV files of a batch into the empty database, then build and test every model.

    Raises:
        CalledProcessError: a model or a test failed; the output of dbt names it.
    """
    with running_warehouse(output) as server:
        with closing(psycopg2.connect(server.dsn("warehouse"))) as connection, connection.cursor() as cursor:
            connection.autocommit = True
            _load(cursor, batch)
        environment = {**os.environ, "BENCHMARK_POSTGRES_PORT": str(server.port)}
        subprocess.run(dbt_build(output / "dbt", output / "target"), env=environment, check=True)
        # An immediate shutdown: the write-ahead log is complete, so no checkpoint is needed.
        os.kill(server.pid, signal.SIGQUIT)


def _load(cursor: Cursor, batch: Path) -> None:
    manifest = (batch / "manifest.json").read_bytes()
    document = json.loads(manifest)
    for table in SOURCE_TABLES.values():
        columns = ", ".join(f"{column.name} {_TYPES[column.type]}" for column in table.columns)
        cursor.execute(f"create table festival.{table.name} ({columns})")
        for file in document["tables"][table.name]["files"]:
            with (batch / file["path"]).open("rb") as stream:
                header = stream.readline().decode().strip()
                cursor.copy_expert(f"copy festival.{table.name} ({header}) from stdin with (format csv)", stream)
    cursor.execute(
        "insert into festival.export_batches values (%s, %s, %s, %s, true)",
        [batch.name, document["kind"], document["exported_at"], hashlib.sha256(manifest).hexdigest()],
    )
    cursor.execute("analyze")


def _build_with_server(output: Path, batch: Path) -> None:
    """Build with the server as a child of this process, so that its CPU time and memory are measured too."""
    # pg_ctl leaves the server behind. Without this call the server would become a child of the system's first process.
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)
    build(output, batch)
    with suppress(ChildProcessError):
        os.wait()


if __name__ == "__main__":
    step, *paths = sys.argv[1:]
    if step == "prepare":
        prepare(Path(paths[0]))
    else:
        _build_with_server(*map(Path, paths))
