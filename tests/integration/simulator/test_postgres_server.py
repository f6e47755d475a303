"""A PostgreSQL server is there when a block begins and gone when it ends, whoever runs it and however that ends."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

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


def setting(server: PostgresServer, name: str) -> str:
    return execute(server.dsn(), f"show {name}")[0][0]


def test_server_is_durable_on_the_loopback_only_and_keeps_its_data(folder: Path):
    with running_postgres(folder / "data") as server:
        assert (setting(server, "listen_addresses"), setting(server, "unix_socket_directories")) == ("127.0.0.1", "")
        assert setting(server, "fsync") == "on"
        execute(server.dsn(), "create table kept as select 1 as id")
        pid = server.pid
        assert server.dsn("a b", "x@y", "p/w:") == f"postgresql://x%40y:p%2Fw%3A@127.0.0.1:{server.port}/a%20b"
    assert not psutil.pid_exists(pid)
    with running_postgres(folder / "data", configuration={"fsync": "off", "work_mem": "5MB"}) as server:
        assert (setting(server, "fsync"), setting(server, "work_mem")) == ("off", "5MB")
        server.stop()
        with pytest.raises(psycopg2.OperationalError):
            execute(server.dsn(), "select 1")
        server.start()
        assert execute(server.dsn(), "select id from kept") == [(1,)]


def test_it_ends_with_its_owner_however_that_ends(folder: Path):
    """A killed process runs no handler; a server it leaves behind would hold the data directory for ever."""
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(folder / "data")],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd=PROJECT_DIR,
        env={**os.environ, "TMPDIR": str(folder)},
    )
    assert owner.stdout is not None
    pid = int(owner.stdout.readline())
    assert psutil.pid_exists(pid)
    owner.kill()
    owner.communicate()
    wait_until(lambda: not psutil.pid_exists(pid), "the server is gone")
    assert "database system is shut down" in (folder / "data" / "server.log").read_text()


def test_error_names_what_the_server_refuses(postgres_server: PostgresServer, folder: Path):
    (folder / "mine").mkdir()
    (folder / "mine" / "letter.txt").write_text("Dear all")
    (folder / "file").touch()
    assert "has files in it and is no data directory of PostgreSQL" in refusal(folder / "mine")
    assert "cannot be a data directory" in refusal(folder / "file")
    assert 'lock file "postmaster.pid" already exists' in refusal(postgres_server.data_dir)
    refused = refusal(folder / "data", port=postgres_server.port)
    assert f"on port {postgres_server.port} did not start" in refused
    assert "Address already in use" in refused


def refusal(data_dir: Path, **options: Any) -> str:
    with pytest.raises(PostgresError) as refused, running_postgres(data_dir, **options):
        pass
    return str(refused.value)
