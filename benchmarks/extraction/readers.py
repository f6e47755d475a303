"""The readers of the extraction benchmark: commands that copy all tables of the ticketing database."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from acl_assets.ingestion.source_schema import SOURCE_TABLES
from acl_assets.simulator.live_system import EXPORT_ROLE
from acl_assets.simulator.postgres_server import PostgresServer
from benchmarks.extraction.source import is_read
from benchmarks.measuring import PROJECT_DIR, CommandFailedError

EXTRACT = "extract"
_POLL_SECONDS = 0.05
_SECONDS_UNTIL_READING = 60.0


@dataclass(frozen=True)
class Reader:
    """One way to read the tables into files of a folder."""

    name: str
    command: Callable[[PostgresServer, Path], Sequence[str]]


def _extract(*options: str) -> Callable[[PostgresServer, Path], list[str]]:
    return lambda server, folder: [sys.executable, "-m", "acl_assets.ingestion.extraction", "--full", *options]


def _copy(server: PostgresServer, folder: Path) -> list[str]:
    copies = [f"--command=\\copy {table} to '{folder / table}' csv header" for table in SOURCE_TABLES]
    return [str(server.bin_dir / "psql"), "--no-psqlrc", server.dsn("ticketing", EXPORT_ROLE), *copies]


READERS: Mapping[str, Reader] = {
    reader.name: reader
    for reader in (
        Reader(EXTRACT, _extract()),
        Reader("extract, unthrottled", _extract("--mb-per-second", "0")),
        Reader("psql \\copy", _copy),
    )
}


@contextmanager
def reading(reader: Reader, server: PostgresServer, folder: Path) -> Iterator[None]:
    """Let a reader read again and again, from its first query until the end of the block.

    Raises:
        CommandFailedError: it failed, or did not begin to read.
    """
    ended = threading.Event()
    failures: list[str] = []

    def read() -> None:
        turn = 0
        while not ended.is_set() and not failures:
            turn += 1
            output = folder / f"{turn}"
            output.mkdir()
            exit_code = _run_until(ended, reader.command(server, output), server, output)
            if exit_code and not ended.is_set():
                log = (output / "log").read_text()
                failures.append(f"{reader.name} ended with exit code {exit_code}. Its output is:\n{log}")

    thread = threading.Thread(target=read)
    thread.start()
    try:
        deadline = time.monotonic() + _SECONDS_UNTIL_READING
        while not failures and not is_read(server):
            if time.monotonic() > deadline:
                failures.append(f"{reader.name} has not begun to read after {_SECONDS_UNTIL_READING:.0f} s.")
            time.sleep(_POLL_SECONDS)
        if not failures:
            yield
    finally:
        ended.set()
        thread.join()
    if failures:
        raise CommandFailedError(failures[0])


def _run_until(ended: threading.Event, command: Sequence[str], server: PostgresServer, folder: Path) -> int:
    """Run a command at idle priority to its end, or kill it when the event is set, and return its exit code."""
    settings = ("ACL_", "DAGSTER_", "PG")
    variables = {name: value for name, value in os.environ.items() if not name.startswith(settings)}
    variables |= {"ACL_TICKETING_DSN": server.dsn("ticketing", EXPORT_ROLE), "ACL_EXPORTS_DIR": str(folder / "exports")}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            command, env=variables, cwd=PROJECT_DIR, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
    os.sched_setscheduler(process.pid, os.SCHED_IDLE, os.sched_param(0))
    while process.poll() is None:
        if ended.wait(_POLL_SECONDS):
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    return process.returncode
