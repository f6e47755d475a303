"""Run the ticketing database of the benchmark: a PostgreSQL server with 20 years of simulated sales."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from acl_assets.simulator.live_system import EXPORT_ROLE, execute, open_ticketing_database
from acl_assets.simulator.postgres_server import PostgresServer, running_postgres
from acl_assets.simulator.sales import TicketingHistory
from benchmarks.measuring import process_tree

# A small server. Each block begins after a checkpoint, and the next checkpoint must not fall into it.
_CONFIGURATION = {"shared_buffers": "1GB", "max_wal_size": "16GB", "checkpoint_timeout": "1h"}


@contextmanager
def running_source(folder: Path, scale: float) -> Iterator[PostgresServer]:
    """Run a server with a ticketing database of a scale, on separate processors if there are two or more."""
    with running_postgres(folder, configuration=_CONFIGURATION) as server:
        open_ticketing_database(server, TicketingHistory(scale), log=print)
        processors = sorted(os.sched_getaffinity(0))
        half = len(processors) // 2
        if half:
            # Sessions inherit the processors of the server. Buyers and readers inherit those of this process.
            for process in process_tree(server.pid):
                with suppress(psutil.NoSuchProcess):
                    process.cpu_affinity(processors[:half])
            psutil.Process().cpu_affinity(processors[half:])
        try:
            yield server
        finally:
            psutil.Process().cpu_affinity(processors)


def query(server: PostgresServer, statement: str) -> list[tuple[Any, ...]]:
    """Run a statement in the ticketing database and return its rows."""
    return execute(server.dsn("ticketing"), statement)


def is_read(server: PostgresServer) -> bool:
    """Return whether a reader has a session."""
    return bool(query(server, f"select pid from pg_stat_activity where usename = '{EXPORT_ROLE}'"))


def settle(server: PostgresServer) -> None:
    """End the sessions of readers and write all data to disk, so that neither happens in the next block."""
    query(server, f"select pg_terminate_backend(pid, 10000) from pg_stat_activity where usename = '{EXPORT_ROLE}'")
    query(server, "checkpoint")
    os.sync()
