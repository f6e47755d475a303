"""Throttle an extract: a rate limit, and pauses while buyers wait for locks or a probe query is slow."""

from __future__ import annotations

import logging
import math
import random
import statistics
import time
from dataclasses import dataclass

from acl_assets.extraction.connection import SourceConnection
from acl_assets.extraction.extracted_batch import ExtractionError
from acl_assets.util.sql import qualified_name

_BLIND_BYTES_PER_S = 2e6
_CATCH_UP_SECONDS = 0.02
_PROBES = 5
_NEWEST_TICKETS = 10_000
_SLOW_PROBE_FACTOR = 8.0
_QUERY_CANCELED = "57014"  # SQLSTATE

_log = logging.getLogger(__name__)

# Everybody may see locks. A role sees the state of its own sessions without further rights.
_SIGNALS = """
    with waiting as (
        select distinct pid from pg_locks where not granted
    )
    select
        (select count(*) from waiting) as lock_waits,
        (select count(*) from waiting where {reader} = any(pg_blocking_pids(pid))) as blocked_by_reader,
        not exists (
            select from pg_stat_activity where pid = {reader} and state <> 'active'
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
        probe_ms: bounds of the limit for the probe query, in milliseconds; between them the limit is eight times the
            latency before the extract began.
        replay_lag_seconds: lag of the standby that is read.
        seconds_between_looks: interval of the checks.
        longest_pause_seconds: a longer pause ends the extract, because its snapshot holds vacuum back.
    """

    lock_waits: int = 5
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
        self._session: SourceConnection | None = None
        self._slow_probe_ms: float | None = None
        self._is_blind = False
        self._looked_at = self._may_read_at = -math.inf

    def close(self) -> None:
        """End the second session."""
        if self._session is not None:
            self._session.close()
            self._session = None

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
            session = self._open()
            (signals,) = session.rows(_SIGNALS.format(reader=self.reader_pid), "measure the load")
            probe_ms = self._probe(session)
        except ExtractionError as error:
            self.close()
            if not self._is_blind:
                # Without the advice for an extract that ended.
                reason = str(error).partition(". ")[0]
                _log.warning(f"The server's load cannot be measured, so reading is slow: {reason}.")
            self._is_blind = True
            return None
        finally:
            self._looked_at = time.monotonic()
        self._is_blind = False
        if self._slow_probe_ms is None:
            lowest, highest = self._limits.probe_ms
            self._slow_probe_ms = min(max(_SLOW_PROBE_FACTOR * probe_ms, lowest), highest)
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

    def _open(self) -> SourceConnection:
        if self._session is None:
            self._session = SourceConnection(self._dsn)
            self._session.rows("set statement_timeout = '2s'", "set a timeout")
        return self._session

    def _probe(self, session: SourceConnection) -> float:
        """Return the median latency, in milliseconds, of looking up some of the newest tickets, as buyers do."""
        table, latencies = self._tickets, []
        for offset in random.sample(range(_NEWEST_TICKETS), _PROBES):
            query = f"select price from {table} where id = (select max(id) - {offset} from {table})"
            began = time.perf_counter()
            try:
                session.rows(query, "look up a ticket")
            except ExtractionError as error:
                if error.sqlstate == _QUERY_CANCELED:
                    return math.inf
                raise
            latencies.append((time.perf_counter() - began) * 1_000)
        return statistics.median(latencies)
