"""The PostgreSQL contender does the same work as dbt in a refresh."""

import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import adbc_driver_postgresql.dbapi
import duckdb
import psutil
import pytest
from refreshes import SMALL, wait_until

from acl_assets.settings import Settings
from acl_assets.simulator.batch import write_batch
from acl_assets.simulator.sales import TicketingHistory
from benchmarks import postgres_warehouse
from benchmarks.equality import require_equal
from benchmarks.measuring import process_tree


@pytest.mark.exhaustive
@pytest.mark.server
@pytest.mark.slow
def test_models_in_postgres_make_the_warehouse_of_a_refresh(published: Settings, tmp_path: Path) -> None:
    batch = write_batch(tmp_path, "first", TicketingHistory(SMALL, seed=20), "csv")
    output = tmp_path / "postgres"
    postgres_warehouse.prepare(output)
    with subprocess.Popen([sys.executable, "-m", postgres_warehouse.__name__, "build", output, batch]) as building:
        wait_until(lambda: has_server_and_dbt(building.pid), "the server is measured with the build", 60)
    assert building.returncode == 0

    rows = require_equal(published.published_file, copy_to_duckdb(output, published.published_file))

    assert rows["data_products.all_star_candidates"] > 0


def has_server_and_dbt(pid: int) -> bool:
    """Return whether both run under a process; pg_ctl, which starts the server, ends before dbt starts."""
    with suppress(psutil.NoSuchProcess):
        commands = [" ".join(process.cmdline()) for process in process_tree(pid)]
        return all(any(part in command for command in commands) for part in ("postgres: checkpointer", "dbt.cli.main"))
    return False


def copy_to_duckdb(output: Path, like: Path) -> Path:
    """Copy the tables of a warehouse in PostgreSQL to a file with the columns and types of another file."""
    with duckdb.connect(str(like), read_only=True) as connection:
        tables = connection.execute(
            "select table_schema, table_name, list(column_name order by ordinal_position), "
            "list(data_type order by ordinal_position) from information_schema.columns "
            "where table_schema in ('star_schema', 'data_products') group by all"
        ).fetchall()
    copied = output / "acl.duckdb"
    with (
        postgres_warehouse.running_warehouse(output) as server,
        adbc_driver_postgresql.dbapi.connect(server.dsn("warehouse")) as source,
        duckdb.connect(str(copied)) as target,
    ):
        for schema, table, columns, types in tables:
            declared = ", ".join(f"{column} {type_}" for column, type_ in zip(columns, types, strict=True))
            target.execute(f"create schema if not exists {schema}")
            target.execute(f"create table {schema}.{table} ({declared})")
            with source.cursor() as cursor:
                cursor.execute(f"select {', '.join(columns)} from {schema}.{table}")
                rows = cursor.fetch_record_batch()  # noqa: F841 # DuckDB finds it by its name
                target.execute(f"insert into {schema}.{table} from rows")
    return copied
