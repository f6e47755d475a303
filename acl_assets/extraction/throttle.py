"""Throttle an extract: a rate limit, and pauses while buyers wait for locks or a probe query is slow."""

from __future__ import annotations

import logging
import math
import random
import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import psycopg2
from psycopg2.extras import RealDictCursor

from acl_assets.extraction.connection import connection_info, patiently, server_message
from acl_assets.extraction.extracted_batch import ExtractionError
from acl_assets.util.sql import qualified_name

_BLIND_BYTES_PER_S = 2e6
_CATCH_UP_SECONDS = 0.25
_PROBES = 5
_NEWEST_TICKETS = 10_000

_log = logging.getLogger(__name__)

# Everybody may see locks. A role sees the state of its own sessions without further rights.
_SIGNALS = """
    with waiting as (
        select distinct pid from pg_locks where not granted
    )
    select
        (select count(*) from waiting) as lock_waits,
        (select count(*) from waiting where %(reader)s = any(pg_blocking_pids(pid))) as blocked_by_reader,
        not exists (
            select from pg_stat_activity where pid = %(reader)s and state <> 'active'
        ) as is_sending,
        case
            when pg_is_in_recovery() and pg_last_wal_receive_lsn() is distinct from pg_last_wal_replay_lsn()
                then extract(epoch from clock_timestamp() - pg_last_xact_replay_timestamp())::float
            else 0
        end as replay_lag
"""


@dataclass(frozen=True)
class ThrottleLimits:
    """Beyond any of these an extract pauses.

    Attributes:
        lock_waits: sessions that wait for a lock.
        probe_factor: latency of the probe query, in multiples of its latency before the extract began.
        probe_ms: bounds of that limit in milliseconds: a faster probe is never slow, a slower one always is.
        replay_lag_seconds: lag of the standby that is read.
        seconds_between_looks: interval of the checks.
        longest_pause_seconds: a longer pause ends the extract, because its snapshot holds vacuum back.
    """

    lock_waits: int = 5
    probe_factor: float = 8.0
    probe_ms: tuple[float, float] = (25.0, 500.0)
    replay_lag_seconds: float = 30.0
    seconds_between_looks: float = 1.0
    longest_pause_seconds: float = 600.0


class Throttle:
    """Keep the reader of a server to a rate, and pause it while the server is under stress.

    It looks at the server through a second session. While that session cannot be opened, reading is slow.
    `reader_pid` is the server's process of the reader, -1 while there is none.
    """

    def __init__(self, dsn: str, schema: str, mb_per_s: float, limits: ThrottleLimits) -> None:
        self.reader_pid = -1
        self._dsn, self._limits = dsn, limits
        self._tickets = qualified_name(schema, "tickets")
        self._bytes_per_s = mb_per_s * 1e6 or math.inf
        self._session: Any = None
        self._slow_probe_ms: float | None = None
        self._is_blind = False
        self._looked_at = self._may_read_at = -math.inf

    def __enter__(self) -> Throttle:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._session is not None:
            self._session.close()

    def wait(self, received: int = 0) -> None:
        """Return when the reader, which has received this number of bytes, may continue.

        Raises:
            ExtractionError: sessions wait for a lock of the reader, or the server is under stress for too long.
        """
        began = time.monotonic()
        while (stress := self._stress()) is not None:
            if time.monotonic() - began > self._limits.longest_pause_seconds:
                raise ExtractionError(
                    f"The server has been under stress for {time.monotonic() - began:.0f} s ({stress}); the extract "
                    "gave up, because its snapshot keeps vacuum from its work. Extract again at a quieter time."
                )
            _log.info(f"Reading pauses: {stress}.")
            time.sleep(self._limits.seconds_between_looks)
        bytes_per_s = min(self._bytes_per_s, _BLIND_BYTES_PER_S) if self._is_blind else self._bytes_per_s
        now = time.monotonic()
        # A pause is not caught up with, or a burst would follow it.
        self._may_read_at = max(self._may_read_at, now - _CATCH_UP_SECONDS) + received / bytes_per_s
        time.sleep(max(0.0, self._may_read_at - now))

    def _stress(self) -> str | None:
        """Return why the reader has to pause, or None; look again only after `seconds_between_looks`."""
        if time.monotonic() - self._looked_at < self._limits.seconds_between_looks:
            return None
        try:
            self._session = self._session or patiently(self._open)
            signals, probe_ms = self._row(_SIGNALS, {"reader": self.reader_pid}), self._probe()
            if self._slow_probe_ms is None:
                lowest, highest = self._limits.probe_ms
                self._slow_probe_ms = min(max(self._limits.probe_factor * probe_ms, lowest), highest)
        except psycopg2.Error as error:
            self._session = None
            if not self._is_blind:
                message = server_message(str(error), self._dsn)
                _log.warning(f"The server's load cannot be measured, so reading is slow: {message}.")
            self._is_blind = True
            return None
        finally:
            self._looked_at = time.monotonic()
        self._is_blind = False
        if signals["blocked_by_reader"]:
            raise ExtractionError(
                f"{signals['blocked_by_reader']} sessions wait for a lock of the extract, which blocked a change of a "
                "table's structure and everybody behind it. It gave way; extract again after the change."
            )
        # Rows that were sent cost the server nothing more, and it ends a session that leaves a transaction idle.
        if signals["is_sending"]:
            if signals["lock_waits"] > self._limits.lock_waits:
                return f"{signals['lock_waits']} sessions wait for locks"
            if probe_ms > self._slow_probe_ms:
                return f"a look-up takes {probe_ms:,.1f} ms"
            if (signals["replay_lag"] or 0.0) > self._limits.replay_lag_seconds:
                return f"the standby is {signals['replay_lag']:,.0f} s behind"
        return None

    def _open(self) -> Any:
        session = psycopg2.connect(connection_info(self._dsn), cursor_factory=RealDictCursor)
        session.set_session(readonly=True, autocommit=True)
        with session.cursor() as cursor:
            cursor.execute("set statement_timeout = '2s'")
        return session

    def _probe(self) -> float:
        """Return the median latency, in milliseconds, of looking up some of the newest tickets, as buyers do."""
        table, latencies = self._tickets, []
        for offset in random.sample(range(_NEWEST_TICKETS), _PROBES):
            began = time.perf_counter()
            try:
                self._row(f"select price from {table} where id = (select max(id) - {offset} from {table})")
            except psycopg2.errors.QueryCanceled:
                return math.inf
            latencies.append((time.perf_counter() - began) * 1_000)
        return statistics.median(latencies)

    def _row(self, query: str, parameters: Mapping[str, Any] | None = None) -> Any:
        with self._session.cursor() as cursor:
            cursor.execute(query, parameters)
            return cursor.fetchone()
