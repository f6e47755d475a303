"""How the server that sells tickets is doing while it is read, and how fast that lets an extract read.

The signs are looked at about once a second on a second, light connection: sessions at work, sessions that wait for
locks, how far replication lags behind, and how long a canary takes, the kind of look-up a sale makes, against what it
took before. What belongs here: the signs, their limits, the pace. What does not: reading the tables (`extraction`).
"""

from __future__ import annotations

import logging
import math
import random
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import psycopg2

from acl_assets.extraction.connection import connection_info, patiently, qualified, told_by_server
from acl_assets.extraction.extracted_batch import ExtractionError

Pace = Literal["normal", "slowed", "paused"]
Limit: TypeAlias = tuple[float, float]
_PACES: tuple[Pace, ...] = ("normal", "slowed", "paused")
_CANARIES_AT_REST = 25
_CANARIES_PER_LOOK = 3
_NEWEST_TICKETS = 10_000
NO_READER = -1

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class StressLimits:
    """How much stress of the server an extract bears with; beyond a limit's first number it slows down, beyond its
    second it pauses.

    Attributes:
        busy_share: sessions at work, of those the server admits.
        waiting_for_locks: sessions that wait for a lock of another one.
        replication_lag_seconds: how far the standbys, or the standby that is read, are behind.
        canary_factor: how many times longer the canary takes than before the extract began.
        canary_floor_ms: a canary faster than this is no sign of stress, whatever it took before.
        canary_ceiling_ms: a canary slower than this is one, whatever it took before.
        slowed_mb_per_s: megabytes a second when slowed, unless the normal pace is slower still.
        seconds_between_looks: how often the signs are looked at.
        calm_share: signs below this share of every limit are calm; between the two nothing changes.
        calm_looks: so many calm looks in a row ease the pace by one step.
        longest_pause_seconds: a longer pause ends the extract: its snapshot holds vacuum back on the server.
    """

    busy_share: Limit = (0.5, 0.8)
    waiting_for_locks: Limit = (5, 20)
    replication_lag_seconds: Limit = (10, 60)
    canary_factor: Limit = (4, 15)
    canary_floor_ms: Limit = (5, 50)
    canary_ceiling_ms: Limit = (250, 1_000)
    slowed_mb_per_s: float = 2.0
    seconds_between_looks: float = 1.0
    calm_share: float = 0.7
    calm_looks: int = 5
    longest_pause_seconds: float = 600.0

    def canary_ms(self, at_rest_ms: float) -> Limit:
        """The canary's limits in milliseconds, given what it takes at rest."""
        slow, pause = (
            min(max(factor * at_rest_ms, floor), ceiling)
            for factor, floor, ceiling in zip(
                self.canary_factor, self.canary_floor_ms, self.canary_ceiling_ms, strict=True
            )
        )
        return slow, pause


@dataclass(frozen=True)
class Signs:
    """What one look at the server saw; None is what could not be seen.

    Attributes:
        busy_share: sessions at work besides the extract's own, of those the server admits.
        waiting_for_locks: sessions that wait for a lock.
        waiting_for_extract: those of them that wait for the extract itself.
        replication_lag_seconds: how far the standbys are behind, or the server itself when it is one.
        canary_ms: median of a few canaries; infinite when they did not come back in time.
        is_sending: whether the server is at work for the extract, rather than waiting for its next statement.
    """

    busy_share: float | None = None
    waiting_for_locks: int | None = None
    waiting_for_extract: int = 0
    replication_lag_seconds: float | None = None
    canary_ms: float | None = None
    is_sending: bool = True


@dataclass
class PaceKeeper:
    """Judges signs of stress: worse is believed at once, better only after several calm looks, one step at a time."""

    limits: StressLimits
    canary_at_rest_ms: float
    pace: Pace = "normal"
    reason: str = ""
    _calm_looks: int = field(default=0, init=False)

    def judge(self, signs: Signs) -> bool:
        """Take a look's signs into account; whether the pace changed."""
        before = self.pace
        wanted, reason = self._wanted(signs, share=1.0)
        if _PACES.index(wanted) >= _PACES.index(self.pace):
            self.pace = wanted
            self.reason = reason or self.reason
        calm, _ = self._wanted(signs, share=self.limits.calm_share)
        self._calm_looks = self._calm_looks + 1 if _PACES.index(calm) < _PACES.index(self.pace) else 0
        if self._calm_looks >= self.limits.calm_looks:
            self.pace = _PACES[_PACES.index(self.pace) - 1]
            self.reason = "the signs have been calm"
            self._calm_looks = 0
        return self.pace != before

    def _wanted(self, signs: Signs, share: float) -> tuple[Pace, str]:
        """The pace the signs ask for when every limit is taken times `share`, and the worst sign."""
        worst: tuple[Pace, str] = ("normal", "")
        for value, limit, told in self._readings(signs):
            if value is None:
                continue
            exceeded = sum(value > bound * share for bound in limit)
            pace = _PACES[exceeded]
            if _PACES.index(pace) > _PACES.index(worst[0]):
                worst = (pace, told.format(value))
        return worst

    def _readings(self, signs: Signs) -> Iterator[tuple[float | None, Limit, str]]:
        limits = self.limits
        yield signs.busy_share, limits.busy_share, "{:.0%} of the sessions the server admits are at work"
        yield signs.waiting_for_locks, limits.waiting_for_locks, "{} sessions wait for locks"
        yield signs.replication_lag_seconds, limits.replication_lag_seconds, "replication lags {:.0f} s behind"
        canary = f"a look-up takes {{:,.1f}} ms, {self.canary_at_rest_ms:,.1f} ms before"
        yield signs.canary_ms, limits.canary_ms(self.canary_at_rest_ms), canary


class StressMonitor:
    """Looks at a server's signs of stress while one of its sessions reads; `watching` makes one.

    Where it cannot look, because it is not let in or is cut off, it says so and the pace is slowed at best.
    """

    def __init__(self, dsn: str, schema: str, limits: StressLimits) -> None:
        self.limits = limits
        self._dsn = dsn
        self._schema = schema
        self._session: _Session | None = None
        self._keeper: PaceKeeper | None = None
        self._signs = Signs()
        self._looked_at = -math.inf
        self._is_blind_because = ""

    def close(self) -> None:
        """End the monitor's session."""
        if self._session is not None:
            self._session.connection.close()
            self._session = None

    def pace(self, reader_pid: int = NO_READER) -> Pace:
        """The pace at which the session `reader_pid` may go on reading; returns when a pause is over.

        Before anything is read there is no reader, and the pause costs nobody anything. A reader is not kept waiting
        once the server has sent all of a statement's rows: they cost it nothing more, and it would end an idle session.

        Raises:
            ExtractionError: sessions wait for a lock of the extract, or the server is under stress for too long.
        """
        self._look_when_due(reader_pid)
        began = time.monotonic()
        while self._pace() == "paused" and self._signs.is_sending:
            waited = time.monotonic() - began
            if waited > self.limits.longest_pause_seconds:
                reason = self._keeper.reason if self._keeper else ""
                raise ExtractionError(
                    f"The server has been under stress for {waited:.0f} s ({reason}); the extract gave up, because its "
                    "snapshot keeps vacuum from its work. Extract again at a quieter time."
                )
            time.sleep(self.limits.seconds_between_looks)
            self._look_when_due(reader_pid)
        return self._pace()

    def _pace(self) -> Pace:
        if self._is_blind_because or self._keeper is None:
            return "slowed"
        return self._keeper.pace

    def _look_when_due(self, reader_pid: int) -> None:
        if time.monotonic() - self._looked_at < self.limits.seconds_between_looks:
            return
        try:
            self._session = self._session or self._open_session()
            self._signs = self._session.look(reader_pid)
        except psycopg2.Error as error:
            self._go_blind(error)
        else:
            self._judge()
        self._looked_at = time.monotonic()

    def _open_session(self) -> _Session:
        session = _Session(self._dsn, self._schema)
        if self._keeper is None:
            self._keeper = PaceKeeper(self.limits, session.canary_ms(_CANARIES_AT_REST))
            if not session.sees_all:
                _log.info(
                    "This role does not see what other sessions do, nor how far standbys lag behind: open transactions "
                    "are counted instead of sessions at work. Granting it pg_read_all_stats would show both."
                )
        return session

    def _judge(self) -> None:
        if self._is_blind_because:
            _log.info("The server's signs of stress can be seen again.")
            self._is_blind_because = ""
        if self._signs.waiting_for_extract:
            raise ExtractionError(
                f"{self._signs.waiting_for_extract} sessions wait for a lock of the extract, which was in the way of a "
                "change of a table's structure and of everybody behind it. It gave way; extract again after the change."
            )
        if self._keeper is not None and self._keeper.judge(self._signs):
            _log.info(f"Reading is {self._keeper.pace} now: {self._keeper.reason}.")

    def _go_blind(self, error: psycopg2.Error) -> None:
        self.close()
        reason = told_by_server(str(error), self._dsn)
        if not self._is_blind_because:
            _log.warning(f"The server's signs of stress cannot be seen, and reading is slowed meanwhile: {reason}.")
        self._is_blind_because = reason
        self._signs = Signs()


class _Session:
    """The monitor's own session on the server.

    Attributes:
        sees_all: whether it sees what other sessions do.
    """

    def __init__(self, dsn: str, schema: str) -> None:
        self.connection = patiently(lambda: psycopg2.connect(connection_info(dsn)), seconds=1.0)
        self.connection.autocommit = True
        self._tickets = qualified(schema, "tickets")
        self._row("set default_transaction_read_only = on")
        self._row("set statement_timeout = '2s'")
        self.sees_all: bool = self._row("select pg_has_role(current_user, 'pg_read_all_stats', 'USAGE') as it")["it"]
        self._newest_ticket: int = self._row(f"select coalesce(max(id), 0) as id from {self._tickets}")["id"]

    def look(self, reader_pid: int) -> Signs:
        row = self._row(_SIGNS_QUERY, {"reader": reader_pid, "sees_all": self.sees_all})
        return Signs(canary_ms=self.canary_ms(_CANARIES_PER_LOOK), **row)

    def canary_ms(self, number: int) -> float:
        """The median time of a few look-ups among the newest tickets, which are those that buyers look at."""
        query = f"select count(*) as found from {self._tickets} where id = %(ticket)s"
        taken = []
        for ticket in random.sample(range(_NEWEST_TICKETS), number):
            began = time.perf_counter()
            try:
                self._row(query, {"ticket": self._newest_ticket - ticket})
            except psycopg2.errors.QueryCanceled:
                return math.inf
            taken.append((time.perf_counter() - began) * 1_000)
        return statistics.median(taken)

    def _row(self, query: str, parameters: dict[str, Any] | None = None) -> dict[str, Any]:
        with self.connection.cursor() as cursor:
            cursor.execute(query, parameters)
            if cursor.description is None:
                return {}
            names = [column.name for column in cursor.description]
            return dict(zip(names, cursor.fetchone() or (), strict=True))


@contextmanager
def watching(dsn: str, schema: str, limits: StressLimits) -> Iterator[StressMonitor]:
    """A monitor of a server's signs of stress, whose session ends with the block."""
    monitor = StressMonitor(dsn, schema, limits)
    try:
        yield monitor
    finally:
        monitor.close()


# Locks are shown to everybody; every transaction holds one on its own virtual id. The states of other sessions and the
# lag of standbys are shown to members of pg_read_all_stats only.
_SIGNS_QUERY = """
    with locks as (
        select pid, locktype, granted from pg_catalog.pg_locks where pid is distinct from pg_backend_pid()
    ),
    waiting as (
        select distinct pid from locks where not granted
    )
    select
        (
            case
                when %(sees_all)s then (
                    select count(*)
                    from pg_catalog.pg_stat_activity
                    where
                        state = 'active' and backend_type = 'client backend'
                        and pid not in (pg_backend_pid(), %(reader)s)
                )
                else (
                    select count(*) from locks where locktype = 'virtualxid' and granted and pid <> %(reader)s
                )
            end
        )::float / current_setting('max_connections')::int as busy_share,
        (select count(*) from waiting) as waiting_for_locks,
        (select count(*) from waiting where %(reader)s = any(pg_catalog.pg_blocking_pids(pid))) as waiting_for_extract,
        (
            case
                when not pg_catalog.pg_is_in_recovery()
                    then (select max(extract(epoch from replay_lag)) from pg_catalog.pg_stat_replication)
                when pg_catalog.pg_last_wal_receive_lsn() is distinct from pg_catalog.pg_last_wal_replay_lsn()
                    then extract(epoch from clock_timestamp() - pg_catalog.pg_last_xact_replay_timestamp())
                else 0
            end
        )::float as replication_lag_seconds,
        %(reader)s < 0 or exists (
            select from pg_catalog.pg_stat_activity where pid = %(reader)s and state = 'active'
        ) as is_sending
"""
