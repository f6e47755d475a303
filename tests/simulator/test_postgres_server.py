"""A PostgreSQL server is there when a block begins and gone when it ends, whoever runs it and however that ends."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from postgres import QUICK, execute, server_folder
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


@pytest.fixture
def server(folder: Path) -> Iterator[PostgresServer]:
    """A server of the test's own."""
    with running_postgres(folder / "data", configuration=QUICK) as server:
        yield server


def setting(server: PostgresServer, name: str) -> str:
    return execute(server.dsn(), f"show {name}")[0][0]


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_it_listens_on_the_loopback_only(server: PostgresServer):
    assert setting(server, "listen_addresses") == "127.0.0.1"
    assert setting(server, "unix_socket_directories") == ""
    assert server.dsn() == f"postgresql://postgres@127.0.0.1:{server.port}/postgres"


def test_databases_hold_any_text_and_sort_it_by_code_point(server: PostgresServer):
    """The order and case of text must not depend on the machine the tests run on."""
    query = "select datname, pg_encoding_to_char(encoding), datcollate, datctype from pg_database order by datname"
    names = ("postgres", "template0", "template1")
    assert execute(server.dsn(), query) == [(name, "UTF8", "C.UTF-8", "C.UTF-8") for name in names]


def test_names_and_passwords_are_quoted_in_the_address(server: PostgresServer):
    assert server.dsn("a b", "x@y", "p/w:").endswith("a%20b")
    assert server.dsn("a b", "x@y", "p/w:").startswith("postgresql://x%40y:p%2Fw%3A@127.0.0.1:")


def test_it_is_durable_unless_told_otherwise_and_keeps_its_data(folder: Path):
    with running_postgres(folder / "data") as server:
        assert setting(server, "fsync") == "on"
        execute(server.dsn(), "create table kept as select 1 as id")
        pid = server.pid
    assert not is_alive(pid)
    with running_postgres(folder / "data", configuration={"fsync": "off", "work_mem": "5MB"}) as server:
        assert (setting(server, "fsync"), setting(server, "work_mem")) == ("off", "5MB")
        assert execute(server.dsn(), "select id from kept") == [(1,)]


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_a_restart_keeps_address_configuration_and_whatever_was_committed(server: PostgresServer, mode: str):
    execute(server.dsn(), "create table kept as select 1 as id")
    pid, dsn = server.pid, server.dsn()
    with closing(psycopg2.connect(dsn)) as connection:
        connection.cursor().execute("insert into kept values (2)")
        server.restart(mode)
    assert server.pid != pid
    assert execute(dsn, "select id from kept") == [(1,)]
    assert setting(server, "shared_buffers") == QUICK["shared_buffers"]


def test_a_stopped_server_does_not_answer_until_it_is_started(server: PostgresServer):
    server.stop()
    assert not server.is_running
    with pytest.raises(psycopg2.OperationalError):
        execute(server.dsn(), "select 1")
    with pytest.raises(PostgresError, match="is not running"):
        _ = server.pid
    server.stop()
    server.start()
    server.start()
    assert execute(server.dsn(), "select 1") == [(1,)]


def test_a_server_that_died_can_be_started_again(server: PostgresServer):
    os.kill(server.pid, signal.SIGKILL)
    wait_until(lambda: not server.is_running, "the server is gone")
    server.start()
    assert execute(server.dsn(), "select 1") == [(1,)]


@pytest.mark.parametrize("signal_number", [signal.SIGKILL, signal.SIGINT])
def test_it_ends_with_its_owner_however_that_ends(folder: Path, signal_number: int):
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
    assert is_alive(pid)
    owner.send_signal(signal_number)
    owner.communicate()
    wait_until(lambda: not is_alive(pid), "the server is gone")
    assert "database system is shut down" in (folder / "data" / "server.log").read_text()
    assert [path.name for path in folder.iterdir()] == ["data"], "nothing temporary is left"
    with running_postgres(folder / "data") as server:
        assert execute(server.dsn(), "select 1") == [(1,)]


def test_a_standby_follows_its_primary_and_cannot_be_written_to(server: PostgresServer, folder: Path):
    execute(server.dsn(), "create table counted as select 1 as id")
    with running_postgres(folder / "standby", standby_of=server) as standby:
        assert execute(standby.dsn(), "select pg_is_in_recovery(), count(*) from counted") == [(True, 1)]
        assert setting(standby, "fsync") == "off", "what holds for the primary holds for its standby"
        execute(server.dsn(), "insert into counted values (2)")
        wait_until(lambda: execute(standby.dsn(), "select count(*) from counted") == [(2,)], "the insert is replayed")
        with pytest.raises(psycopg2.errors.ReadOnlySqlTransaction):
            execute(standby.dsn(), "insert into counted values (3)")
        server.restart()
        execute(server.dsn(), "insert into counted values (3)")
        wait_until(lambda: execute(standby.dsn(), "select count(*) from counted") == [(3,)], "it has found its primary")


def test_a_private_parent_folder_is_no_obstacle(folder: Path):
    """As root the server runs as a user who cannot reach the data directory by its name."""
    private = folder / "private"
    private.mkdir(mode=0o700)
    with running_postgres(private / "data", configuration=QUICK) as server:
        execute(server.dsn(), "create table kept as select 1 as id")
        with running_postgres(private / "standby", standby_of=server) as standby:
            assert execute(standby.dsn(), "select id from kept") == [(1,)]
        server.restart()
        assert execute(server.dsn(), "select id from kept") == [(1,)]
    assert private.stat().st_mode & 0o777 == 0o700


def test_any_installed_postgresql_will_do_even_where_only_root_can_read_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch
):
    with running_postgres(folder / "data", configuration=QUICK) as server:
        package = server.bin_dir.parent.parent
    private = folder / "private"
    private.mkdir(mode=0o700)
    for part in (package, package.with_name(f"{package.name}.libs")):
        shutil.copytree(part, private / part.name)
    bin_dir = private / package.name / server.bin_dir.parent.name / "bin"
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setenv("PATH", str(bin_dir))
    with running_postgres(folder / "data", configuration=QUICK) as server:
        assert execute(server.dsn(), "select 1") == [(1,)]
        used = server.bin_dir
        assert (used == bin_dir) == (os.geteuid() != 0)
        server.restart()
    assert used.exists() == (used == bin_dir), "a copy is removed in the end"


class TestWhatCannotWorkIsSaid:
    def test_a_folder_with_other_files(self, folder: Path):
        (folder / "letter.txt").write_text("Dear all")
        assert "has files in it and is no data directory of PostgreSQL" in refusal(folder)
        assert [path.name for path in folder.iterdir()] == ["letter.txt"]

    def test_a_place_that_is_no_folder(self, folder: Path):
        (folder / "file").touch()
        assert "cannot be a data directory" in refusal(folder / "file")

    def test_a_data_directory_in_use(self, server: PostgresServer):
        assert 'lock file "postmaster.pid" already exists' in refusal(server.data_dir)
        assert execute(server.dsn(), "select 1") == [(1,)]

    def test_a_setting_the_server_does_not_know(self, folder: Path):
        refused = refusal(folder / "data", configuration={"speed": "high"})
        assert "did not start" in refused
        assert 'unrecognized configuration parameter "speed"' in refused

    def test_a_port_in_use(self, folder: Path):
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = taken.getsockname()[1]
            refused = refusal(folder / "data", port=port)
        assert f"on port {port} did not start" in refused
        assert "Address already in use" in refused

    def test_a_primary_that_does_not_run(self, server: PostgresServer, folder: Path):
        server.stop()
        refused = refusal(folder / "standby", standby_of=server)
        assert "pg_basebackup cannot set up" in refused
        assert "Connection refused" in refused


def refusal(data_dir: Path, **options: Any) -> str:
    with pytest.raises(PostgresError) as refused, running_postgres(data_dir, **options):
        pass
    return str(refused.value)
