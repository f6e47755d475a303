"""Superset's processes read the published file while it is replaced.

The module under test runs in Superset's environment, so each test is a program that Superset's Python runs.
"""

import json
import subprocess
from pathlib import Path
from typing import Any

import duckdb
import pytest

from acl_assets.settings import PROJECT_DIR

pytestmark = pytest.mark.server

SUPERSET = PROJECT_DIR / "superset"

BEGIN = """
import json, os, threading, time
import warehouse_connections
from sqlalchemy import create_engine
from sqlalchemy.engine.url import make_url
from sqlalchemy.pool import NullPool

warehouse_connections.listen({limit})

def connect():
    # Superset makes an engine for every query.
    return create_engine("duckdb:///live.duckdb?access_mode=read_only", poolclass=NullPool).connect()

def version(connection):
    return connection.exec_driver_sql("select number from version").scalar()

def publish_next():
    os.replace("next.duckdb", "live.duckdb")

def in_thread(function):
    thread = threading.Thread(target=function, daemon=True)
    thread.start()
    return thread

"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with version 1 of a file, and version 2 to put in its place."""
    for number, name in ((1, "live"), (2, "next"), (3, "other")):
        with duckdb.connect(str(tmp_path / f"{name}.duckdb")) as file:
            file.execute(f"create table version as select {number} as number")
    return tmp_path


def run(folder: Path, program: str, limit: float = 100.0) -> Any:
    """Run a program, require that it succeeds, and return its output as parsed JSON."""
    ended = subprocess.run(
        [SUPERSET / ".venv" / "bin" / "python", "-c", BEGIN.format(limit=limit) + program],
        cwd=folder,
        env={"PYTHONPATH": str(SUPERSET), "SUPERSET_HOME": str(folder)},
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)


def test_a_query_after_the_replacement_sees_the_new_file_although_others_still_read_the_old(folder: Path) -> None:
    """DuckDB alone would read the old file as long as any query does, under steady load without end."""
    program = """
seen = []
def read_slowly():
    with connect() as connection:
        both_read.wait()
        time.sleep(1)
        seen.append(version(connection))
both_read = threading.Barrier(3, timeout=10)
readers = [in_thread(read_slowly), in_thread(read_slowly)]
both_read.wait()
publish_next()
with connect() as connection:
    seen.append(version(connection))
for reader in readers: reader.join()
print(json.dumps(seen))
"""
    assert run(folder, program) == [1, 1, 2]


def test_a_connection_within_another_one_reads_what_that_one_reads(folder: Path) -> None:
    program = """
with connect() as outer:
    publish_next()
    with connect() as inner:
        seen = [version(outer), version(inner)]
with connect() as connection:
    seen.append(version(connection))
print(json.dumps(seen))
"""
    assert run(folder, program) == [1, 1, 2]


def test_waiting_and_queries_end_when_their_time_is_over(folder: Path) -> None:
    """A connection that is never closed does not block other queries: an old version is better than no answer."""
    program = """
opened = threading.Event()
def keep():
    with connect():
        opened.set()
        time.sleep(30)
in_thread(keep)
opened.wait()
publish_next()
with connect() as connection:
    seen = [version(connection)]
    try:
        connection.exec_driver_sql("select count(*) from range(1000000000) a, range(1000000000) b").fetchall()
    except Exception as error:
        seen.append(str(error))
print(json.dumps(seen))
"""
    number, error = run(folder, program, limit=1.0)
    assert number == 1
    assert "Interrupted" in error


def test_what_a_database_says_beside_its_uri_sets_nothing_free(folder: Path) -> None:
    """Administrators can give a database parameters for its connections; only the URI was validated.

    DuckDB refuses a second connection with another configuration, and dashboards and SQL Lab ask side by side.
    """
    (folder / "secret").write_text("saved by somebody else")
    program = """
def connect_with(**arguments):
    uri, parameters = warehouse_connections.one_configuration(
        make_url("duckdb:///live.duckdb?access_mode=read_only&enable_external_access=false&lock_configuration=true"),
        {"poolclass": NullPool, "connect_args": arguments}, "admin", None, None,
    )
    return create_engine(uri, **parameters).connect()
seen = []
with connect_with(config={"custom_user_agent": "SQL Lab"}):
    for arguments in ({"url_config": {}}, {"database": "other.duckdb", "url_config": {}}):
        with connect_with(**arguments) as connection:
            seen.append(version(connection))
            try:
                seen.append(connection.exec_driver_sql("select content from read_text('secret')").scalar())
            except Exception as error:
                seen.append("file system operations are disabled" in str(error))
print(json.dumps(seen))
"""
    assert run(folder, program) == [1, True, 1, True]
