"""How Superset's processes read the published file while it is replaced.

The module under test runs in Superset's environment, so each test is a program that Superset's Python runs; what it
prints is held against what is expected.
"""

from __future__ import annotations

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
import json, os, sys, threading, time
import warehouse_connections
from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool

LIMIT = {limit}
warehouse_connections.listen(LIMIT)

def connect():
    # Superset makes an engine for every query.
    return create_engine("duckdb:///live.duckdb?access_mode=read_only", poolclass=NullPool).connect()

def version(connection):
    return connection.exec_driver_sql("select number from version").scalar()

def publish_next():
    os.replace("next.duckdb", "live.duckdb")

"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with version 1 of a file, and version 2 to put in its place."""
    for number, name in ((1, "live"), (2, "next")):
        with duckdb.connect(str(tmp_path / f"{name}.duckdb")) as file:
            file.execute(f"create table version as select {number} as number")
    return tmp_path


def run(folder: Path, program: str, limit: float = 100.0) -> Any:
    """What a program prints as JSON; it fails when the program does."""
    ended = subprocess.run(
        [SUPERSET / ".venv" / "bin" / "python", "-c", BEGIN.format(limit=limit) + program],
        cwd=folder,
        env={"PYTHONPATH": str(SUPERSET)},
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)


def test_a_query_after_the_replacement_sees_the_new_file_although_another_still_reads_the_old(folder: Path) -> None:
    """DuckDB alone would give both the old one, and under steady load for ever."""
    program = """
seen = []
def read_slowly():
    with connect() as connection:
        seen.append(version(connection))
        opened.set()
        time.sleep(1)
        seen.append(version(connection))
opened = threading.Event()
reader = threading.Thread(target=read_slowly)
reader.start()
opened.wait()
publish_next()
with connect() as connection:
    seen.append(version(connection))
reader.join()
print(json.dumps(seen))
"""
    assert run(folder, program) == [1, 1, 2]


def test_readers_of_the_same_version_do_not_wait_for_each_other(folder: Path) -> None:
    program = """
both = threading.Barrier(2, timeout=10)
def read():
    with connect() as connection:
        both.wait()
        seen.append(version(connection))
seen = []
readers = [threading.Thread(target=read) for _ in range(2)]
for reader in readers: reader.start()
for reader in readers: reader.join()
print(json.dumps(seen))
"""
    assert run(folder, program) == [1, 1]


def test_nobody_waits_for_themselves(folder: Path) -> None:
    """A connection within another one gets what that one reads."""
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


def test_a_forgotten_connection_keeps_nobody_waiting(folder: Path) -> None:
    program = """
def forget():
    connect()
forgotten = threading.Thread(target=forget)
forgotten.start()
forgotten.join()
publish_next()
with connect() as connection:
    print(json.dumps(version(connection)))
"""
    assert run(folder, program) == 2


def test_a_connection_that_could_not_be_prepared_keeps_nobody_waiting(folder: Path) -> None:
    """SQLAlchemy drops it and does not close it."""
    program = """
from sqlalchemy import event
from sqlalchemy.pool import Pool
def fail():
    try:
        connect()
    except OSError:
        failed.append(True)
def refuse(*_):
    raise OSError("not prepared")
failed = []
event.listen(Pool, "connect", refuse)
failing = threading.Thread(target=fail)
failing.start()
failing.join()
event.remove(Pool, "connect", refuse)
assert failed
publish_next()
with connect() as connection:
    print(json.dumps(version(connection)))
"""
    assert run(folder, program) == 2


def test_an_old_version_is_better_than_no_answer(folder: Path) -> None:
    """A connection that is kept open for ever does not stop everybody else."""
    program = """
opened = threading.Event()
def keep():
    with connect():
        opened.set()
        time.sleep(30)
threading.Thread(target=keep, daemon=True).start()
opened.wait()
publish_next()
with connect() as connection:
    print(json.dumps(version(connection)))
"""
    assert run(folder, program, limit=1.0) == 1


def test_a_query_is_ended_when_its_time_is_over(folder: Path) -> None:
    program = """
try:
    with connect() as connection:
        connection.exec_driver_sql("select count(*) from range(1000000000) a, range(1000000000) b").fetchall()
except Exception as error:
    print(json.dumps(str(error)))
"""
    assert "Interrupted" in run(folder, program, limit=0.5)


def test_who_asks_makes_no_difference_to_the_connection(folder: Path) -> None:
    """DuckDB refuses a second connection with another configuration, and dashboards and SQL Lab ask side by side."""
    program = """
from sqlalchemy.engine.url import make_url
def connect_as(agent):
    uri, parameters = warehouse_connections.one_configuration(
        make_url("duckdb:///live.duckdb?access_mode=read_only"),
        {"poolclass": NullPool, "connect_args": {"config": {"custom_user_agent": agent}}},
        "admin", None, None,
    )
    return create_engine(uri, **parameters).connect()
with connect_as("dashboard") as one, connect_as("sql lab") as other:
    print(json.dumps([version(one), version(other)]))
"""
    assert run(folder, program) == [1, 1]


@pytest.mark.parametrize("loosened", [{"url_config": {}}, {"database": "other.duckdb", "url_config": {}}])
def test_what_a_database_says_beside_its_uri_sets_nothing_free(folder: Path, loosened: dict[str, Any]) -> None:
    """Administrators can give a database parameters for its connections; only the URI was validated."""
    (folder / "secret").write_text("saved by somebody else")
    with duckdb.connect(str(folder / "other.duckdb")) as other:
        other.execute("create table version as select 3 as number")
    program = f"""
from sqlalchemy.engine.url import make_url
uri = make_url("duckdb:///live.duckdb?access_mode=read_only&enable_external_access=false&lock_configuration=true")
parameters = {{"poolclass": NullPool, "connect_args": {loosened!r}}}
uri, parameters = warehouse_connections.one_configuration(uri, parameters, "admin", None, None)
with create_engine(uri, **parameters).connect() as connection:
    answers = [version(connection)]
    try:
        answers.append(connection.exec_driver_sql("select content from read_text('secret')").scalar())
    except Exception as error:
        answers.append(str(error))
print(json.dumps(answers))
"""
    number, refusal = run(folder, program)
    assert number == 1
    assert "file system operations are disabled" in refusal
