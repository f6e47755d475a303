"""The ticketing database that is read: a PostgreSQL server of this benchmark, with a history in it.

What belongs here: the server, its roles and rows, what changes in them, and what the server's processes do. What does
not: who reads it (`contenders`) and who buys (`buyers`). SQL goes through psql, so that no driver is loaded here: see
`measuring`.
"""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from textwrap import shorten

from acl_assets.settings import PROJECT_DIR
from acl_assets.simulator.postgres_server import PostgresServer, running_postgres
from benchmarks.measuring import call_apart, process_tree

DATABASE = "ticketing"
BUYER = "box_office"
EXPORT_ROLE = "acl_export"
REPORTING_ROLE = "reporting"
"""The role of whoever reads without the export role's guard rails; it may read everything."""
READERS = (EXPORT_ROLE, REPORTING_ROLE)
TABLES = ("bands", "venues", "performances", "people", "purchases", "tickets")

_SEED = 20
# As a small server would be set up. Nothing is done at a checkpoint's leisure in the middle of a block: a block begins
# after one, and the next is far away.
_CONFIGURATION = {
    "shared_buffers": "1GB",
    "max_wal_size": "16GB",
    "checkpoint_timeout": "1h",
}
_WAIT_SECONDS = 60.0
_CHANGES = Path(__file__).with_name("changes.sql")
# Behind the client's address; everything else there is the name of a command.
_IDLE_TITLE = re.compile(r"\) (idle|authentication|startup|initializing)\b")


class SourceError(RuntimeError):
    """The ticketing database of the benchmark cannot be made or does not do what is asked."""


@dataclass(frozen=True)
class Source:
    """A ticketing database whose server runs; `scale` is the size of its history, 1 is 3.6 million tickets."""

    server: PostgresServer
    scale: float

    @property
    def bin_dir(self) -> Path:
        """Where `psql`, `pg_dump` and `pgbench` are."""
        return self.server.bin_dir

    @property
    def server_version(self) -> str:
        """Of PostgreSQL."""
        return self.ask("show server_version")[0][0]

    def dsn(self, role: str) -> str:
        """The address of the database for a role."""
        return self.server.dsn(DATABASE, role)

    def ask(self, query: str, **variables: object) -> list[list[str]]:
        """The rows of a query as text; variables stand in it as psql's `:name`."""
        settings = [f"--set={name}={value}" for name, value in variables.items()]
        told = _psql(self.server, DATABASE, *settings, statements=query)
        return [line.split("|") for line in told.splitlines()]

    def count(self, *tables: str) -> int:
        """Rows of some tables now, all together."""
        counts = " + ".join(f"(select count(*) from {table})" for table in tables)
        return int(self.ask(f"select {counts}")[0][0])

    def settle(self) -> None:
        """End the sessions of readers, and have the server write down what has changed, and the kernel after it.

        Else it does so half a minute later, beside whatever is measured then.
        """
        self.ask(
            "select pg_terminate_backend(pid) from pg_stat_activity where usename in (:readers); checkpoint;",
            readers=", ".join(f"'{role}'" for role in READERS),
        )
        self.wait_until_left()
        os.sync()

    def wait_until_left(self) -> None:
        """Return when no reader's session is left, so that the server's CPU time has all of theirs in it."""
        deadline = time.monotonic() + _WAIT_SECONDS
        while any(self.titles(READERS)):
            if time.monotonic() > deadline:
                raise SourceError(f"Sessions of {' and '.join(READERS)} have not ended after {_WAIT_SECONDS:.0f} s.")
            time.sleep(0.05)

    def titles(self, roles: tuple[str, ...]) -> Iterator[str]:
        """What the server's processes for sessions of some roles call themselves, from the system's own list."""
        for pid in process_tree(self.server.pid):
            with suppress(OSError):
                title = Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0 ").decode(errors="replace")
                if title.startswith(tuple(f"postgres: {role} " for role in roles)):
                    yield title

    def is_read(self) -> bool:
        """Whether the server is at work on a statement of a reader, or sends its rows."""
        return any(is_at_work(title) for title in self.titles(READERS))

    def change(self) -> None:
        """Sell so many tickets that there are 0.8 % more, in so many more purchases, and correct 0.2 % of the others.

        Whoever reads first what a transaction has written marks it as committed. That has nothing to do with the kind
        of a batch, so everything is read once before any is measured.

        Raises:
            SourceError: there are not so many seats left.
        """
        wanted, found = map(int, self.ask(_CHANGES.read_text(encoding="utf-8"))[-1])
        self.count(*TABLES)
        if found < wanted:
            raise SourceError(
                f"Only {found:,} of {wanted:,} seats are left; remove {self.server.data_dir} and do it again."
            )


def is_at_work(title: str) -> bool:
    """Whether a server's process that calls itself so works for a session, rather than waiting for its next word."""
    return _IDLE_TITLE.search(title) is None


@contextmanager
def open_source(folder: Path, scale: float, configuration: Mapping[str, str] | None = None) -> Iterator[Source]:
    """Run the server of a scale in `folder`, with a history loaded into it unless it has one, until the block ends.

    Raises:
        PostgresError: the server cannot be run.
        SourceError: psql refuses something.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with running_postgres(folder, configuration={**_CONFIGURATION, **(configuration or {})}) as server:
        there = _psql(server, "postgres", statements=f"select 1 from pg_database where datname = '{DATABASE}'")
        if not there:
            _psql(server, "postgres", statements=f"create database {DATABASE}")
            call_apart(_create_schema, server.dsn(DATABASE))
        if _psql(server, DATABASE, statements="select not exists (select from tickets)").strip() == "t":
            call_apart(_load_history, server.dsn(DATABASE), scale)
            # What autovacuum has long done to a history of 20 years; else it does so while others are measured.
            _psql(server, DATABASE, statements="vacuum analyze")
            _create_roles(server)
        yield Source(server, scale)


def _create_schema(dsn: str) -> None:
    from acl_assets.simulator.live_system import create_schema

    create_schema(dsn)


def _load_history(dsn: str, scale: float) -> None:
    from acl_assets.simulator.live_system import load_history
    from acl_assets.simulator.sales import TicketingHistory

    load_history(dsn, TicketingHistory(scale, _SEED))


def _create_roles(server: PostgresServer) -> None:
    export_role = PROJECT_DIR / "acl_assets" / "ingestion" / "export_role.sql"
    _psql(server, DATABASE, statements=export_role.read_text(encoding="utf-8"))
    _psql(
        server,
        DATABASE,
        statements=f"""
            create role {REPORTING_ROLE} login;
            grant pg_read_all_data to {REPORTING_ROLE};
            create role {BUYER} login;
            grant select, insert on all tables in schema public to {BUYER};
            grant usage on all sequences in schema public to {BUYER};
        """,
    )


def _psql(server: PostgresServer, database: str, *options: str, statements: str) -> str:
    """What psql says to statements: rows without decoration, values separated by bars."""
    command = [
        *(str(server.bin_dir / "psql"), "--no-psqlrc", "--quiet", "--tuples-only", "--no-align"),
        *("--set=ON_ERROR_STOP=1", *options, server.dsn(database)),
    ]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    told = subprocess.run(command, input=statements, env=environment, capture_output=True, text=True, check=False)
    if told.returncode:
        raise SourceError(f"psql cannot do '{shorten(statements, 200)}': {told.stderr.strip()}")
    return told.stdout
