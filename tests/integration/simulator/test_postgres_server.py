"""A PostgreSQL server runs for the length of a block and ends with it, also if the process is killed."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg2
import pytest
from postgres import execute, server_folder
from refreshes import wait_until

from acl_assets.settings import PROJECT_DIR
from acl_assets.simulator.postgres_server import PostgresError, PostgresServer, running_postgres

pytestmark = pytest.mark.server

OWNER = """
import sys, time
from pathlib import Path
from acl_assets.simulator.postgres_server import running_postgres
with running_postgres(Path(sys.argv[1])) as server:
    print(server.pid, flush=True)
    time.sleep(3600)
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    with server_folder() as folder:
        yield folder


def test_server_is_durable_on_the_loopback_only_and_keeps_its_data(folder: Path):
    """It ends with its owner, also when that is killed and runs no handler."""
    command = [sys.executable, "-c", OWNER, str(folder / "data")]
    owner = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=PROJECT_DIR)
    assert owner.stdout is not None
    pid = int(owner.stdout.readline())
    assert psutil.pid_exists(pid)
    owner.kill()
    owner.communicate()
    wait_until(lambda: not psutil.pid_exists(pid), "the server is gone")
    assert "database system is shut down" in (folder / "data" / "server.log").read_text()

    with running_postgres(folder / "data", configuration={"work_mem": "5MB"}) as server:
        names = ("listen_addresses", "unix_socket_directories", "fsync", "work_mem")
        values = [execute(server.dsn(), f"show {name}")[0][0] for name in names]
        assert values == ["127.0.0.1", "", "on", "5MB"]
        execute(server.dsn(), "create table kept as select 1 as id")
        server.stop()
        with pytest.raises(psycopg2.OperationalError):
            execute(server.dsn(), "select 1")
        server.start()
        assert execute(server.dsn(), "select id from kept") == [(1,)]
        assert server.dsn("a b", "x@y", "p/w:") == f"postgresql://x%40y:p%2Fw%3A@127.0.0.1:{server.port}/a%20b"


def test_error_names_what_the_server_refuses(postgres_server: PostgresServer, folder: Path):
    (folder / "mine").mkdir()
    (folder / "mine" / "letter.txt").write_text("Dear all")
    (folder / "file").touch()
    port = postgres_server.port
    for data_dir, error in (
        (folder / "mine", "has files in it and is no data directory of PostgreSQL"),
        (folder / "file", "cannot be a data directory"),
        (postgres_server.data_dir, 'lock file "postmaster.pid" already exists'),
        (folder / "data", rf"(?s)on port {port} did not start.*Address already in use"),
    ):
        with pytest.raises(PostgresError, match=error), running_postgres(data_dir, port=port):
            pass
    assert execute(postgres_server.dsn(), "select 1") == [(1,)]
