"""The ticketing database while it sells: its schema, the history it starts with, and buyers at work.

The clock of the box office starts at the last purchase, so that a history that ends in the middle of a sale is followed
by the rest of that sale, whatever the date is.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timedelta
from importlib.resources import files
from typing import Any, Literal

import numpy as np
import psycopg2
import pyarrow as pa
from psycopg2 import extensions
from psycopg2.extras import execute_values

from acl_assets.simulator.batch import csv_lines
from acl_assets.simulator.names import invent_people_names
from acl_assets.simulator.postgres_server import PostgresServer
from acl_assets.simulator.sales import PRICE_STEPS, TICKETS_IN_A_PURCHASE, TicketingHistory, ticket_numbers
from acl_assets.source_schema import SOURCE_TABLES

EXPORT_ROLE = "acl_export"
Log = Callable[[str], None]


class LiveSystemError(Exception):
    """The ticketing database is in another state than the command needs; the message names what to do."""


def open_ticketing_database(server: PostgresServer, history: TicketingHistory, log: Log | None = None) -> str:
    """Create the database `ticketing` with schema, history and export role, or what is missing, and return its DSN."""
    dsn = server.dsn("ticketing")
    if not _execute(server.dsn(), "select 1 from pg_database where datname = 'ticketing'"):
        _execute(server.dsn(), "create database ticketing")
    if _execute(dsn, "select to_regclass('tickets')") == [(None,)]:
        create_schema(dsn)
    if not _execute(dsn, "select 1 from tickets limit 1"):
        load_history(dsn, history, log)
    _execute(dsn, files("acl_assets.extraction").joinpath("export_role.sql").read_text(encoding="utf-8"))
    return dsn


def create_schema(dsn: str) -> None:
    """Create the tables of the ticketing system in a database that does not have them."""
    _execute(dsn, files("acl_assets.simulator").joinpath("ticketing_schema.sql").read_text(encoding="utf-8"))


def load_history(dsn: str, history: TicketingHistory, log: Log | None = None) -> None:
    """Fill the empty tables with the history, in one transaction; the next ids follow those of the history.

    Raises:
        LiveSystemError: the tables are not empty.
    """
    loaded = 0
    with closing(psycopg2.connect(dsn)) as connection, connection, connection.cursor() as cursor:
        cursor.execute(f"lock table {', '.join(SOURCE_TABLES)} in access exclusive mode")
        # The history has every referenced row: do not check foreign keys.
        cursor.execute("set local session_replication_role = replica")
        for table in SOURCE_TABLES:
            if _value(cursor, f"select exists (select from {table})"):
                raise LiveSystemError(f"The table {table} has rows; a history is loaded into empty tables only.")
        for table, rows in history.stream():
            for piece in rows.to_batches():
                lines = pa.BufferReader(csv_lines(piece))
                cursor.copy_expert(f"copy {table} from stdin with (format csv)", lines, size=1 << 20)
            loaded += rows.num_rows if table == "tickets" else 0
            if log and table == "tickets":
                log(f"{loaded:,} of about {history.expected_tickets:,} tickets are loaded.")
        for table in SOURCE_TABLES:
            cursor.execute(f"select setval(pg_get_serial_sequence('{table}', 'id'), max(id)) from {table}")
    _execute(dsn, f"vacuum (analyze) {', '.join(SOURCE_TABLES)}")


# The sale ---------------------------------------------------------------------------------------------------

_LOG_SECONDS = 10.0
_CATCH_UP_SECONDS = 1.0
_PERFORMANCES_LOOKED_AT = 8
_TWO_PERFORMANCES_SHARE = 0.15
_NEW_ACCOUNT_SHARE = 0.1

_SEATS_LEFT = """
    select
        venues.capacity - count(tickets.id),
        coalesce(mode() within group (order by tickets.price) filter (where tickets.price > 0), 25)
    from performances
    inner join venues on performances.venue_id = venues.id
    left join tickets on performances.id = tickets.performance_id
    where performances.id = %s
    group by venues.capacity
"""
_ANY_ROW = "select id from {table} where id >= (select %s * max(id) from {table}) order by id limit 1"
_REFUNDABLE = """
    select id
    from purchases
    where id >= (select %s + (max(id) - %s) * %s from purchases)
    order by id
    limit 1
    for update skip locked
"""
_CORRECTIONS = (
    ("tickets", "price = price + 5"),
    ("bands", "name = case when right(name, 10) = ' & Friends' then left(name, -10) else name || ' & Friends' end"),
    ("performances", "performance_start = performance_start + interval '15 minutes'"),
)


@dataclass(frozen=True)
class Demand:
    """Settings of the buyers of a sale.

    Attributes:
        turns_per_second: how often one of all buyers acts; None for as often as they can.
        buyers: how many act at the same time, each in a session of its own.
        slow_share: share (0-1) of purchases whose commit comes up to `slow_seconds` after the order.
        abandoned_share: share (0-1) of purchases that are rolled back; their ids are never used.
        refund_share: share (0-1) of turns that refund a purchase.
        refunds: set the `price` to 0, or `delete` the tickets and their purchase.
        correction_share: share (0-1) of turns that correct a ticket's price, a band's name or a performance's start.
        turns: how many turns there are; without end when None.
        seed: chooses, with a turn's number, what happens in it.
    """

    turns_per_second: float | None = 20.0
    buyers: int = 8
    slow_share: float = 0.1
    slow_seconds: float = 2.0
    abandoned_share: float = 0.03
    refund_share: float = 0.03
    refunds: Literal["price", "delete"] = "price"
    correction_share: float = 0.03
    turns: int | None = None
    seed: int = 20


@dataclass
class Sold:
    """Counts of the rows that a sale committed, and of its turns without a commit."""

    purchases: int = 0
    tickets: int = 0
    refunds: int = 0
    refunded_tickets: int = 0
    corrections: int = 0
    abandoned: int = 0
    turned_away: int = 0

    def __str__(self) -> str:
        return (
            f"{self.purchases:,} purchases of {self.tickets:,} tickets, {self.refunds:,} refunds, "
            f"{self.corrections:,} corrections; {self.abandoned:,} purchases abandoned, "
            f"{self.turned_away:,} buyers turned away"
        )


def sell(
    dsn: str,
    demand: Demand | None = None,
    *,
    stop: threading.Event | None = None,
    sold: Sold | None = None,
    log: Log | None = None,
) -> Sold:
    """Let concurrent buyers buy until `stop` is set or their turns are over, and return the counts.

    `sold` counts while the sale goes on; `log` gets a line every ten seconds.

    Raises:
        LiveSystemError: no performance is on sale.
        psycopg2.Error: the database cannot be reached, or refuses what a buyer does.
    """
    demand, stop, sold = demand or Demand(), stop or threading.Event(), sold or Sold()
    with closing(psycopg2.connect(dsn)) as connection, connection, connection.cursor() as cursor:
        sale = _Sale(cursor, dsn, demand, stop, sold)
    with ThreadPoolExecutor(demand.buyers, thread_name_prefix="buyer") as pool:
        buyers = [pool.submit(sale.take_turns) for _ in range(demand.buyers)]
        try:
            while wait(buyers, _LOG_SECONDS, FIRST_EXCEPTION).not_done and not stop.is_set():
                if log:
                    log(str(sold))
        finally:
            stop.set()
    for buyer in buyers:
        buyer.result()
    return sold


class _Sale:
    """One sale: what is on sale, whose turn it is, and what a buyer does in a turn."""

    def __init__(self, cursor: extensions.cursor, dsn: str, demand: Demand, stop: threading.Event, sold: Sold) -> None:
        self._dsn, self._demand, self._stop, self._sold = dsn, demand, stop, sold
        self._opened_at: datetime = _value(cursor, "select purchase_date from purchases order by id desc limit 1")
        self._opened_on = self._next_turn_at = time.monotonic()
        self._turns_given = 0
        self._lock = threading.Lock()
        cursor.execute("select id from performances where performance_start > %s order by id", [self._opened_at])
        self._performances = [performance for (performance,) in cursor.fetchall()]
        if not self._performances:
            raise LiveSystemError(
                f"No performance is on sale after the last purchase, which was made at {self._opened_at}."
            )
        first = "select coalesce(min(purchase_id), 0) from tickets where performance_id = any (%s)"
        self._first_purchase: int = _value(cursor, first, [self._performances])

    def take_turns(self) -> None:
        """Act as one buyer until there is no further turn; a buyer who fails ends the sale."""
        try:
            with closing(psycopg2.connect(self._dsn, application_name="box office")) as connection:
                while (turn := self._next_turn()) is not None:
                    self._act(connection, np.random.default_rng([self._demand.seed, turn]))
        except BaseException:
            self._stop.set()
            raise

    def _next_turn(self) -> int | None:
        """Wait for the next turn and return its number, or None if there is no further one."""
        with self._lock:
            if self._demand.turns is not None and self._turns_given >= self._demand.turns:
                return None
            self._turns_given += 1
            turn = self._turns_given
            interval = 1 / self._demand.turns_per_second if self._demand.turns_per_second else 0.0
            # Turns that nobody took in time are not made up for: they would come all at once.
            at = self._next_turn_at = max(self._next_turn_at + interval, time.monotonic() - _CATCH_UP_SECONDS)
        return None if self._stop.wait(max(0.0, at - time.monotonic())) else turn

    def _act(self, connection: extensions.connection, choice: np.random.Generator) -> None:
        kind = choice.random()
        with connection.cursor() as cursor:
            if kind < self._demand.refund_share:
                counts = self._refund(cursor, choice)
            elif kind < self._demand.refund_share + self._demand.correction_share:
                counts = self._correct(cursor, choice)
            else:
                counts = self._buy(cursor, choice)
        is_done = not counts.keys() & {"turned_away", "abandoned"}
        (connection.commit if is_done else connection.rollback)()
        with self._lock:
            for name, count in counts.items():
                setattr(self._sold, name, getattr(self._sold, name) + count)

    def _buy(self, cursor: extensions.cursor, choice: np.random.Generator) -> dict[str, int]:
        offer = self._find_seats(cursor, choice, int(choice.choice(TICKETS_IN_A_PURCHASE)))
        if not offer:
            return {"turned_away": 1}
        if choice.random() < _NEW_ACCOUNT_SHARE:
            name = invent_people_names(choice, 1)[0].as_py()
            person = _value(cursor, "insert into people (name) values (%s) returning id", [name])
        else:
            person = _value(cursor, _ANY_ROW.format(table="people"), [choice.random()])
        order = "insert into purchases (purchase_date, person_id) values (%s, %s) returning id"
        now = self._opened_at + timedelta(seconds=time.monotonic() - self._opened_on)
        purchase = _value(cursor, order, [now, person])
        sequence = "select nextval(pg_get_serial_sequence('tickets', 'id')) from generate_series(1, %s)"
        cursor.execute(sequence, [len(offer)])
        ids = [number for (number,) in cursor.fetchall()]
        numbers = ticket_numbers(np.array(ids)).to_pylist()
        rows = [
            (number, price, performance, purchase, ticketnum)
            for number, (performance, price), ticketnum in zip(ids, offer, numbers, strict=True)
        ]
        insert = "insert into tickets (id, price, performance_id, purchase_id, ticketnum) values %s"
        execute_values(cursor, insert, rows)
        if choice.random() < self._demand.slow_share:
            self._stop.wait(choice.random() * self._demand.slow_seconds)
        if choice.random() < self._demand.abandoned_share:
            return {"abandoned": 1}
        return {"purchases": 1, "tickets": len(rows)}

    def _find_seats(self, cursor: extensions.cursor, choice: np.random.Generator, wanted: int) -> list[tuple[int, int]]:
        """Return (performance id, price) of seats at one performance, or now and then at two."""
        offer: list[tuple[int, int]] = []
        performances = choice.permutation(self._performances)[:_PERFORMANCES_LOOKED_AT].tolist()
        parts = [wanted - wanted // 2, wanted // 2] if choice.random() < _TWO_PERFORMANCES_SHARE else [wanted]
        while parts and parts[0] and performances:
            performance = performances.pop()
            # Locks its seats until the end of the transaction; other buyers look elsewhere.
            free = "select id from performances where id = %s for no key update skip locked"
            if _value(cursor, free, [performance]) is None:
                continue
            cursor.execute(_SEATS_LEFT, [performance])
            left, usual_price = cursor.fetchone()
            if left >= parts[0]:
                seats = parts.pop(0)
                offer += [(performance, max(0, usual_price + int(step))) for step in choice.choice(PRICE_STEPS, seats)]
        return offer

    def _refund(self, cursor: extensions.cursor, choice: np.random.Generator) -> dict[str, int]:
        purchase = _value(cursor, _REFUNDABLE, [self._first_purchase, self._first_purchase, choice.random()])
        if self._demand.refunds == "price":
            cursor.execute("update tickets set price = 0 where purchase_id = %s and price > 0", [purchase])
            tickets = cursor.rowcount
        else:
            cursor.execute("delete from tickets where purchase_id = %s", [purchase])
            tickets = cursor.rowcount
            cursor.execute("delete from purchases where id = %s", [purchase])
        return {"refunds": 1, "refunded_tickets": tickets} if tickets else {"turned_away": 1}

    def _correct(self, cursor: extensions.cursor, choice: np.random.Generator) -> dict[str, int]:
        table, change = _CORRECTIONS[choice.integers(len(_CORRECTIONS))]
        row = _value(cursor, _ANY_ROW.format(table=table), [choice.random()])
        cursor.execute(f"update {table} set {change} where id = %s", [row])
        return {"corrections": cursor.rowcount} if cursor.rowcount else {"turned_away": 1}


def _value(cursor: extensions.cursor, query: str, parameters: list[Any] | None = None) -> Any:
    """Return the only value of a query, or None without a row."""
    cursor.execute(query, parameters)
    row = cursor.fetchone()
    return None if row is None else row[0]


def _execute(dsn: str, statements: str) -> list[tuple[Any, ...]]:
    """Execute statements at once, several of them as one transaction, and return the rows of the last one."""
    with closing(psycopg2.connect(dsn)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(statements)
            return cursor.fetchall() if cursor.description else []
