"""Readers of the extraction benchmark: commands that copy all tables of the ticketing database."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from math import inf
from pathlib import Path

from acl_assets.simulator.live_system import EXPORT_ROLE
from acl_assets.simulator.postgres_server import PostgresServer
from acl_assets.source_schema import SOURCE_TABLES
from benchmarks.extraction.source import is_read
from benchmarks.measuring import CommandFailedError

EXTRACT = "extract"
Command = Callable[[PostgresServer], list[str]]
_EXTRACTION = (sys.executable, "-m", "acl_assets.extraction.extract", "--full")
# Run a command repeatedly until it fails, each time in a new folder.
_AGAIN = 'while cd "$(mktemp --directory --tmpdir="$0")" && ACL_EXPORTS_DIR="$PWD" "$@"; do :; done; exit 1'
_SECONDS_UNTIL_READING = 300.0


def _copy(server: PostgresServer) -> list[str]:
    copies = [f"--command=\\copy {table} to '{table}.csv' csv header" for table in SOURCE_TABLES]
    return [str(server.bin_dir / "psql"), "--no-psqlrc", server.dsn("ticketing", EXPORT_ROLE), *copies]


READERS: Mapping[str, Command] = {
    EXTRACT: lambda server: [*_EXTRACTION],
    "extract, unthrottled": lambda server: [*_EXTRACTION, "--mb-per-second", "0"],
    "psql \\copy": _copy,
}


@contextmanager
def reading(command: Command, server: PostgresServer, folder: Path) -> Iterator[None]:
    """Run a reader repeatedly until the block ends. The block starts with the first query of the reader.

    Raises:
        CommandFailedError: the reader failed, or did not begin to read.
    """
    settings = ("ACL_", "DAGSTER_", "PG")
    variables = {name: value for name, value in os.environ.items() if not name.startswith(settings)}
    variables["ACL_TICKETING_DSN"] = server.dsn("ticketing", EXPORT_ROLE)
    log_file = folder / "log"
    with log_file.open("wb") as log:
        process = subprocess.Popen(
            ["/bin/sh", "-c", _AGAIN, str(folder), *command(server)],
            env=variables,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    # In production buyers and reader run on different machines, so here the reader yields the processors to them.
    os.sched_setscheduler(process.pid, os.SCHED_IDLE, os.sched_param(0))
    try:
        deadline = time.monotonic() + _SECONDS_UNTIL_READING
        while not is_read(server):
            _require_running(process, log_file, deadline)
            time.sleep(0.05)
        yield
        _require_running(process, log_file)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _require_running(process: subprocess.Popen[bytes], log_file: Path, deadline: float = inf) -> None:
    if process.poll() is not None:
        raise CommandFailedError(f"The reader failed. Its output:\n{log_file.read_text(errors='replace')}")
    if time.monotonic() > deadline:
        raise CommandFailedError(f"The reader did not begin to read within {_SECONDS_UNTIL_READING:.0f} s.")
