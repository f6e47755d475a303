"""The ticketing database while it sells: its schema, the history it starts with, and buyers at work.

What belongs here: what a database holds and what concurrent sessions do to it, over any connection. What does not:
the server (`postgres_server`), the rows of the past (`sales`).

The box office's clock goes on from its last purchase at the speed of the machine's clock, so that a history that ends
in the middle of a sale is followed by the rest of that sale, whatever the date is.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
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

Log = Callable[[str], None]

EXPORT_ROLE = "acl_export"
"""The role that exports connect as."""


class LiveSystemError(Exception):
    """The ticketing database is not in a state to do what was asked; the message says what to do."""


def _silently(message: str) -> None:
    """Say nothing."""


def open_ticketing_database(server: PostgresServer, history: TicketingHistory, log: Log = _silently) -> str:
    """Make the database `ticketing` with its schema, history and export role, or what of these is missing.

    Returns:
        The superuser's DSN of the database.
    """
    dsn = server.dsn("ticketing")
    if not _ask(server.dsn(), "select exists (select from pg_database where datname = 'ticketing')"):
        _execute(server.dsn(), "create database ticketing")
    if _ask(dsn, "select to_regclass('tickets') is null"):
        create_schema(dsn)
    if _ask(dsn, "select exists (select from tickets)"):
        log("The history is there already, and what was sold since.")
    else:
        load_history(dsn, history, log)
    _execute(dsn, files("acl_assets.extraction").joinpath("export_role.sql").read_text(encoding="utf-8"))
    return dsn


# The history ------------------------------------------------------------------------------------------------


def create_schema(dsn: str) -> None:
    """Create the tables of the ticketing system in a database that does not have them.

    Raises:
        psycopg2.Error: the tables are there, or may not be created.
    """
    _execute(dsn, files("acl_assets.simulator").joinpath("ticketing_schema.sql").read_text(encoding="utf-8"))


def load_history(dsn: str, history: TicketingHistory, log: Log = _silently) -> None:
    """Fill the empty tables with the history, in one transaction; the next ids follow those of the history.

    Keys and indexes are dropped before and made again after: that takes a third of the time to keep them up.

    Raises:
        LiveSystemError: the tables are not empty.
    """
    with closing(psycopg2.connect(dsn)) as connection, connection, connection.cursor() as cursor:
        _lock_empty_tables(cursor)
        keys_and_indexes = _drop_keys_and_indexes(cursor)
        _copy_history(cursor, history, log)
        log("Building keys and indexes.")
        cursor.execute("set local maintenance_work_mem = '256MB'")
        for statement in keys_and_indexes:
            cursor.execute(statement)
        for table in SOURCE_TABLES:
            cursor.execute(f"select setval(pg_get_serial_sequence('{table}', 'id'), max(id)) from {table}")
    _execute(dsn, f"vacuum (analyze) {', '.join(SOURCE_TABLES)}")
    log("The history is loaded.")


def _lock_empty_tables(cursor: extensions.cursor) -> None:
    cursor.execute(f"lock table {', '.join(SOURCE_TABLES)} in access exclusive mode")
    for table in SOURCE_TABLES:
        if _value(cursor, f"select exists (select from {table})"):
            raise LiveSystemError(f"The table {table} has rows; a history is loaded into empty tables only.")


def _drop_keys_and_indexes(cursor: extensions.cursor) -> list[str]:
    """Drop foreign keys, primary keys, unique constraints and indexes; give the statements that make them again."""
    tables = list(SOURCE_TABLES)
    cursor.execute(
        """
        select
            format('alter table %%s drop constraint %%I', conrelid::regclass, conname),
            format('alter table %%s add constraint %%I %%s', conrelid::regclass, conname, pg_get_constraintdef(oid))
        from pg_constraint
        where conrelid = any (%s::regclass[]) and contype in ('p', 'u', 'f')
        order by contype <> 'f', conrelid, conname
        """,
        [tables],
    )
    constraints = cursor.fetchall()
    cursor.execute(
        """
        select format('drop index %%s', indexrelid::regclass), pg_get_indexdef(indexrelid)
        from pg_index
        where
            indrelid = any (%s::regclass[])
            and not exists (select from pg_constraint where conindid = indexrelid)
        order by indrelid, indexrelid
        """,
        [tables],
    )
    indexes = cursor.fetchall()
    for drop, _ in constraints + indexes:
        cursor.execute(drop)
    return [create for _, create in indexes + constraints[::-1]]


def _copy_history(cursor: extensions.cursor, history: TicketingHistory, log: Log) -> None:
    expected = max(1, history.expected_tickets)
    tickets = tenths = 0
    for table, rows in history.stream():
        for piece in rows.to_batches():
            lines = pa.BufferReader(csv_lines(piece))
            cursor.copy_expert(f"copy {table} from stdin with (format csv)", lines, size=1 << 20)
        if table == "tickets":
            tickets += rows.num_rows
        if 10 * tickets // expected > tenths:
            tenths = 10 * tickets // expected
            log(f"{tickets:,} of about {expected:,} tickets are loaded.")


# The sale ---------------------------------------------------------------------------------------------------

_LOG_SECONDS = 10.0
_RECONNECT_SECONDS = 0.2
_CATCH_UP_SECONDS = 1.0
_PERFORMANCES_LOOKED_AT = 8
_TWO_PERFORMANCES_SHARE = 0.15

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
    (
        "bands",
        "name = case when right(name, 10) = ' & Friends' then left(name, -10) else name || ' & Friends' end",
    ),
    ("performances", "performance_start = performance_start + interval '15 minutes'"),
)


@dataclass(frozen=True)
class Demand:
    """What the buyers of a sale do.

    Attributes:
        turns_per_second: how often one of all buyers acts; None for as often as they can.
        buyers: how many act at the same time, each in a session of its own.
        slow_share: part (0-1) of the purchases that are paid slowly: the order is entered, its commit comes later.
        slow_seconds: how long the slowest payment takes.
        abandoned_share: part (0-1) of the purchases that are rolled back at the end; their ids are never used.
        new_account_share: part (0-1) of the purchases made by people who were not in the database.
        refund_share: part (0-1) of the turns that refund all tickets of a purchase.
        refunds: what a refund does: set the `price` to 0, or `delete` the tickets and their purchase.
        correction_share: part (0-1) of the turns that correct a row: a ticket's price, a band's name or the start of
            a performance.
        turns: how many turns there are; without end when None.
        seed: chooses, with a turn's number, what happens in it; the rows it happens to depend on what is in the
            database then.
    """

    turns_per_second: float | None = 20.0
    buyers: int = 8
    slow_share: float = 0.1
    slow_seconds: float = 2.0
    abandoned_share: float = 0.03
    new_account_share: float = 0.1
    refund_share: float = 0.03
    refunds: Literal["price", "delete"] = "price"
    correction_share: float = 0.03
    turns: int | None = None
    seed: int = 20


@dataclass
class Sold:
    """What was committed during a sale, and what was not.

    Attributes:
        purchases: with `tickets` tickets in them.
        refunds: refunded purchases, with `refunded_tickets` tickets in them.
        corrections: corrected rows.
        abandoned: purchases that were rolled back by their buyers.
        turned_away: turns that found nothing to buy, refund or correct.
        interrupted: turns that ended with an error of the connection or the server, as in a restart.
    """

    purchases: int = 0
    tickets: int = 0
    refunds: int = 0
    refunded_tickets: int = 0
    corrections: int = 0
    abandoned: int = 0
    turned_away: int = 0
    interrupted: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    def __str__(self) -> str:
        return (
            f"{self.purchases:,} purchases of {self.tickets:,} tickets, {self.refunds:,} refunds, "
            f"{self.corrections:,} corrections; {self.abandoned:,} purchases abandoned, "
            f"{self.turned_away:,} buyers turned away, {self.interrupted:,} interrupted"
        )

    def add(self, **counts: int) -> None:
        """Count what a buyer has done; for several threads at a time."""
        with self._lock:
            for name, count in counts.items():
                setattr(self, name, getattr(self, name) + count)


def sell(
    dsn: str,
    demand: Demand | None = None,
    *,
    stop: threading.Event | None = None,
    sold: Sold | None = None,
    log: Log = _silently,
) -> Sold:
    """Let concurrent buyers buy, until `stop` is set or they have had their turns; then every session has ended.

    A buyer whose connection is cut connects again, so a sale outlives a restart of the server.

    Args:
        sold: counts as the sale goes on; the result when it has ended.
        log: told every ten seconds how the sale goes.

    Raises:
        LiveSystemError: no performance is on sale.
        psycopg2.Error: the database cannot be reached to begin with, or refuses what a buyer does.
    """
    demand = Demand() if demand is None else demand
    stop = threading.Event() if stop is None else stop
    sold = Sold() if sold is None else sold
    with closing(psycopg2.connect(dsn)) as connection, connection, connection.cursor() as cursor:
        sale = _Sale.open(cursor)
    queue = _Queue(demand, stop)
    with ThreadPoolExecutor(demand.buyers, thread_name_prefix="buyer") as pool:
        buyers = [_Buyer(dsn, demand, sale, queue, sold) for _ in range(demand.buyers)]
        done = [pool.submit(buyer.take_turns) for buyer in buyers]
        try:
            while wait(done, _LOG_SECONDS, FIRST_EXCEPTION).not_done and not stop.is_set():
                log(str(sold))
        finally:
            stop.set()
    for buyer in done:
        buyer.result()
    return sold


@contextmanager
def selling(dsn: str, demand: Demand | None = None) -> Iterator[Sold]:
    """Sell in the background until the block ends; gives the counts as they grow.

    Raises:
        LiveSystemError: no performance is on sale.
        psycopg2.Error: as `sell`.
    """
    stop, sold = threading.Event(), Sold()
    with ThreadPoolExecutor(1, thread_name_prefix="sale") as pool:
        sale = pool.submit(sell, dsn, demand, stop=stop, sold=sold)
        try:
            yield sold
        finally:
            stop.set()
    sale.result()


@dataclass(frozen=True)
class _Sale:
    """What is on sale, by the box office's clock.

    `first_purchase` is the id of the first purchase of this sale; `opened_at` is what the clock showed when the
    machine's monotonic clock showed `opened_on`.
    """

    performances: tuple[int, ...]
    first_purchase: int
    opened_at: datetime
    opened_on: float

    @classmethod
    def open(cls, cursor: extensions.cursor) -> _Sale:
        opened_at = _value(cursor, "select purchase_date from purchases order by id desc limit 1")
        cursor.execute("select id from performances where performance_start > %s order by id", [opened_at])
        performances = tuple(performance for (performance,) in cursor.fetchall())
        if not performances:
            raise LiveSystemError(f"No performance is on sale after the last purchase, which was made at {opened_at}.")
        first_purchase = _value(
            cursor,
            "select coalesce(min(purchase_id), 0) from tickets where performance_id = any (%s)",
            [list(performances)],
        )
        return cls(performances, first_purchase, opened_at, time.monotonic())

    @property
    def now(self) -> datetime:
        return self.opened_at + timedelta(seconds=time.monotonic() - self.opened_on)


class _Queue:
    """Gives turns to the buyers, one after the other, so many a second, until `stop` is set."""

    def __init__(self, demand: Demand, stop: threading.Event) -> None:
        self.stop = stop
        self._interval = 1 / demand.turns_per_second if demand.turns_per_second else 0.0
        self._turns = demand.turns
        self._given = 0
        self._next_at = time.monotonic()
        self._lock = threading.Lock()

    def next_turn(self) -> int | None:
        """Wait for the next turn and give its number; None when there is no further one."""
        with self._lock:
            if self._turns is not None and self._given >= self._turns:
                return None
            self._given += 1
            turn = self._given
            # Turns that nobody was free to take for long are not made up for: they would come all at once.
            self._next_at = max(self._next_at + self._interval, time.monotonic() - _CATCH_UP_SECONDS)
            at = self._next_at
        return None if self.stop.wait(max(0.0, at - time.monotonic())) else turn


class _Buyer:
    """One session at a time, and what is done in it."""

    def __init__(self, dsn: str, demand: Demand, sale: _Sale, queue: _Queue, sold: Sold) -> None:
        self._dsn = dsn
        self._demand = demand
        self._sale = sale
        self._queue = queue
        self._sold = sold

    def take_turns(self) -> None:
        """Act until there is no further turn, connecting again after the connection was cut."""
        try:
            while (turn := self._queue.next_turn()) is not None:
                try:
                    with closing(psycopg2.connect(self._dsn, application_name="box office")) as connection:
                        while turn is not None:
                            self._act(connection, np.random.default_rng([self._demand.seed, turn]))
                            turn = self._queue.next_turn()
                        return
                except (psycopg2.OperationalError, psycopg2.InterfaceError):
                    self._sold.add(interrupted=1)
                    self._queue.stop.wait(_RECONNECT_SECONDS)
        except BaseException:
            self._queue.stop.set()
            raise

    def _act(self, connection: extensions.connection, choice: np.random.Generator) -> None:
        kind = choice.random()
        with connection.cursor() as cursor:
            if kind < self._demand.refund_share:
                counts = self._refund(cursor, choice)
            elif kind < self._demand.refund_share + self._demand.correction_share:
                counts = self._correct(cursor, choice)
            else:
                counts = self._buy(cursor, choice)
        if counts.keys() <= {"turned_away", "abandoned"}:
            connection.rollback()
        else:
            connection.commit()
        self._sold.add(**counts)

    def _buy(self, cursor: extensions.cursor, choice: np.random.Generator) -> dict[str, int]:
        offer = self._find_seats(cursor, choice, int(choice.choice(TICKETS_IN_A_PURCHASE)))
        if not offer:
            return {"turned_away": 1}
        person = self._sign_in(cursor, choice)
        purchase = _value(
            cursor,
            "insert into purchases (purchase_date, person_id) values (%s, %s) returning id",
            [self._sale.now, person],
        )
        cursor.execute(
            "select nextval(pg_get_serial_sequence('tickets', 'id')) from generate_series(1, %s)", [len(offer)]
        )
        ids = [id_ for (id_,) in cursor.fetchall()]
        numbers = ticket_numbers(np.array(ids)).to_pylist()
        rows = [
            (id_, price, performance, purchase, number)
            for id_, (performance, price), number in zip(ids, offer, numbers, strict=True)
        ]
        execute_values(
            cursor, "insert into tickets (id, price, performance_id, purchase_id, ticketnum) values %s", rows
        )
        if choice.random() < self._demand.slow_share:
            self._queue.stop.wait(choice.random() * self._demand.slow_seconds)
        if choice.random() < self._demand.abandoned_share:
            return {"abandoned": 1}
        return {"purchases": 1, "tickets": len(rows)}

    def _find_seats(self, cursor: extensions.cursor, choice: np.random.Generator, wanted: int) -> list[tuple[int, int]]:
        """Find seats at one performance, or two now and then; gives (performance id, price) for each seat."""
        offer: list[tuple[int, int]] = []
        performances = choice.permutation(self._sale.performances)[:_PERFORMANCES_LOOKED_AT].tolist()
        parts = [wanted - wanted // 2, wanted // 2] if choice.random() < _TWO_PERFORMANCES_SHARE else [wanted]
        while parts and parts[0] and performances:
            performance = performances.pop()
            # Its seats are this buyer's until the end of the transaction; whoever finds that looks elsewhere.
            free = "select id from performances where id = %s for no key update skip locked"
            if _value(cursor, free, [performance]) is None:
                continue
            cursor.execute(_SEATS_LEFT, [performance])
            left, usual_price = cursor.fetchone()
            if left >= parts[0]:
                seats = parts.pop(0)
                offer += [(performance, max(0, usual_price + int(step))) for step in choice.choice(PRICE_STEPS, seats)]
        return offer

    def _sign_in(self, cursor: extensions.cursor, choice: np.random.Generator) -> int:
        if choice.random() < self._demand.new_account_share:
            name = invent_people_names(choice, 1)[0].as_py()
            return _value(cursor, "insert into people (name) values (%s) returning id", [name])
        return _value(cursor, _ANY_ROW.format(table="people"), [choice.random()])

    def _refund(self, cursor: extensions.cursor, choice: np.random.Generator) -> dict[str, int]:
        purchase = _value(cursor, _REFUNDABLE, [self._sale.first_purchase, self._sale.first_purchase, choice.random()])
        if purchase is None:
            return {"turned_away": 1}
        if self._demand.refunds == "price":
            cursor.execute("update tickets set price = 0 where purchase_id = %s and price > 0", [purchase])
        else:
            cursor.execute("delete from tickets where purchase_id = %s", [purchase])
        tickets = cursor.rowcount
        if self._demand.refunds == "delete":
            cursor.execute("delete from purchases where id = %s", [purchase])
        return {"refunds": 1, "refunded_tickets": tickets} if tickets else {"turned_away": 1}

    def _correct(self, cursor: extensions.cursor, choice: np.random.Generator) -> dict[str, int]:
        table, change = _CORRECTIONS[choice.integers(len(_CORRECTIONS))]
        row = _value(cursor, _ANY_ROW.format(table=table), [choice.random()])
        cursor.execute(f"update {table} set {change} where id = %s", [row])
        return {"corrections": cursor.rowcount} if cursor.rowcount else {"turned_away": 1}


def _value(cursor: extensions.cursor, query: str, parameters: list[Any] | None = None) -> Any:
    """The only value a query gives; None without a row."""
    cursor.execute(query, parameters)
    row = cursor.fetchone()
    return None if row is None else row[0]


def _ask(dsn: str, query: str) -> Any:
    with closing(psycopg2.connect(dsn)) as connection, connection.cursor() as cursor:
        return _value(cursor, query)


def _execute(dsn: str, statements: str) -> None:
    """Execute statements at once; several of them are one transaction."""
    with closing(psycopg2.connect(dsn)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(statements)
