"""The ticketing database while it sells: its schema, the history it starts with, and buyers at work.

The clock of the box office starts at the last purchase, so that a history that ends in the middle of a sale is followed
by the rest of that sale, whatever the date is.
"""

import os
import subprocess
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from importlib.resources import as_file, files
from typing import Any

import psycopg2
import pyarrow as pa
from pyarrow import csv

from acl_assets.simulator.postgres_server import PostgresServer
from acl_assets.simulator.sales import TicketingHistory
from acl_assets.source_schema import SOURCE_TABLES

EXPORT_ROLE = "acl_export"
Log = Callable[[str], None]


class LiveSystemError(Exception):
    """The ticketing database is in another state than the command needs; the message names what to do."""


def open_ticketing_database(server: PostgresServer, history: TicketingHistory, log: Log) -> str:
    """Create the database `ticketing` with schema, history and export role, or what is missing, and return its DSN."""
    dsn = server.dsn("ticketing")
    if not execute(server.dsn(), "select 1 from pg_database where datname = 'ticketing'"):
        execute(server.dsn(), "create database ticketing")
    if execute(dsn, "select to_regclass('tickets')") == [(None,)]:
        create_schema(dsn)
    if not execute(dsn, "select 1 from tickets limit 1"):
        load_history(dsn, history, log)
    execute(dsn, (files("acl_assets.extraction") / "export_role.sql").read_text(encoding="utf-8"))
    return dsn


def create_schema(dsn: str) -> None:
    """Create the tables of the ticketing system in a database that does not have them."""
    execute(dsn, (files("acl_assets.simulator") / "ticketing_schema.sql").read_text(encoding="utf-8"))


def load_history(dsn: str, history: TicketingHistory, log: Log | None = None) -> None:
    """Fill the empty tables with the history, in one transaction; the next ids follow those of the history."""
    loaded = 0
    with closing(psycopg2.connect(dsn)) as connection, connection, connection.cursor() as cursor:
        # The history has every referenced row: do not check foreign keys.
        cursor.execute("set local session_replication_role = replica")
        for table, rows in history.stream():
            lines = pa.BufferOutputStream()
            csv.write_csv(rows, lines)
            copy = f"copy {table} from stdin with (format csv, header)"
            cursor.copy_expert(copy, pa.BufferReader(lines.getvalue()), size=1 << 20)
            loaded += rows.num_rows if table == "tickets" else 0
            if log and table == "tickets":
                log(f"{loaded:,} of about {history.expected_tickets:,} tickets are loaded.")
        for table in SOURCE_TABLES:
            cursor.execute(f"select setval(pg_get_serial_sequence('{table}', 'id'), max(id)) from {table}")
    execute(dsn, f"vacuum (analyze) {', '.join(SOURCE_TABLES)}")


@dataclass(frozen=True)
class Demand:
    """Settings of the buyers of a sale.

    `refund_percent` of their transactions are refunds, which set prices to 0 or delete tickets and purchase. The
    others are purchases, of which one in ten is committed up to `longest_payment_seconds` after the order.
    """

    turns_per_second: float = 20.0
    buyers: int = 8
    deletes_refunds: bool = False
    refund_percent: int = 3
    longest_payment_seconds: float = 2.0
    # A sale without end: 30 years.
    seconds: int = 10**9


_SALE = """
    with last_purchase as (select id, purchase_date as at from purchases order by id desc limit 1)

    select
        json_build_object(
            'first_purchase', coalesce(min(tickets.purchase_id), last_purchase.id),
            'last_purchase', last_purchase.id,
            'opened_at', extract(epoch from last_purchase.at),
            'seconds_behind', extract(epoch from now() - last_purchase.at),
            'person_count', (select max(id) from people)
        ) as variables
    from performances
    cross join last_purchase
    left join tickets on performances.id = tickets.performance_id
    where performances.performance_start > last_purchase.at
    group by last_purchase.id, last_purchase.at
"""


def sell(server: PostgresServer, dsn: str, demand: Demand) -> None:
    """Let the clients of a pgbench buy and refund, which reports every ten seconds on the error output.

    Raises:
        LiveSystemError: no performance is on sale, or the database refuses what a buyer does.
    """
    if not (sale := execute(dsn, _SALE)):
        raise LiveSystemError(
            "No performance is on sale after the last purchase. Load a history that ends before a festival."
        )
    [(variables,)] = sale
    variables["longest_payment_ms"] = round(demand.longest_payment_seconds * 1000)
    variables["is_deleted"] = int(demand.deletes_refunds)
    scripts = {"buyer.sql": 100 - demand.refund_percent, "refund.sql": demand.refund_percent}
    with as_file(files("acl_assets.simulator")) as folder:
        command = [
            *(str(server.bin_dir / "pgbench"), "--no-vacuum", "--progress=10", f"--time={demand.seconds}"),
            *(f"--client={demand.buyers}", f"--rate={demand.turns_per_second}"),
            *(f"--file={folder / name}@{weight}" for name, weight in scripts.items()),
            *(f"--define={name}={value}" for name, value in variables.items()),
            dsn,
        ]
        # The summary of a sale that ends by itself is for benchmarks.
        environment = {**os.environ, "PGAPPNAME": "box office"}
        ended = subprocess.run(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=False
        )
        if ended.returncode:
            raise LiveSystemError(
                f"The sale has ended: pgbench has exit code {ended.returncode}. Its messages above say why."
            )


def execute(dsn: str, statements: str, parameters: Sequence[object] | None = None) -> list[tuple[Any, ...]]:
    """Execute statements at once, several of them as one transaction, and return the rows of the last one."""
    with closing(psycopg2.connect(dsn)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(statements, parameters)
            return cursor.fetchall() if cursor.description else []
