"""Throttle an extract: limits of rate and of processing power, and pauses while the server is under stress."""

import logging
import math
import random
import statistics
import time

from acl_assets.extraction.connection import SourceConnection
from acl_assets.extraction.extracted_batch import ExtractionError
from acl_assets.util.sql import qualified_name

# Of one processor. Buyers' latency grows with the server's load: docs/benchmarks_extraction.md.
_SHARE_OF_PROCESSOR = 0.025
# Even where the network makes statements look slow, or the load of the server is unknown.
_SLOWEST_BYTES_PER_S = 0.5e6
_LONGEST_SLEEP_SECONDS = 1.0
_PROBES = 5
_NEWEST_TICKETS = 10_000
_QUERY_CANCELED = "57014"  # SQLSTATE

# Beyond any of these an extract pauses.
_MOST_LOCK_WAITS = 5
_MOST_REPLAY_LAG_SECONDS = 30.0
# The limit for a look-up, as a multiple of its latency before the extract began, and the bounds of that limit.
_SLOW_PROBE_FACTOR = 8.0
_SLOW_PROBE_MS = (25.0, 500.0)
_SECONDS_BETWEEN_LOOKS = 1.0
# A longer pause ends the extract, because its snapshot holds vacuum back.
_LONGEST_PAUSE_SECONDS = 600.0

_log = logging.getLogger(__name__)

# For the reader's session; everybody may see locks.
_SIGNALS = """
    with waiting as (
        select distinct pid from pg_locks where not granted
    )
    select
        (select count(*) from waiting) as lock_waits,
        (select count(*) from waiting where pg_backend_pid() = any(pg_blocking_pids(pid))) as blocked_by_reader,
        case
            when pg_is_in_recovery() and pg_last_wal_receive_lsn() is distinct from pg_last_wal_replay_lsn()
                then extract(epoch from clock_timestamp() - pg_last_xact_replay_timestamp())::float
            else 0
        end as replay_lag
"""


class Throttle:
    """Keep the reader of a server to a pace, and pause it while the server is under stress.

    It looks at the server also during its pauses, and measures look-ups in a second session, because the reader's
    snapshot would slow them. While that session cannot be opened, reading is slow.
    """

    def __init__(self, reader: SourceConnection, dsn: str, schema: str, mb_per_s: float) -> None:
        self._reader, self._dsn = reader, dsn
        self._tickets = qualified_name(schema, "tickets")
        self._mb_per_s = mb_per_s
        self._session: SourceConnection | None = None
        self._slow_probe_ms: float | None = None
        self._is_blind = False
        self._looked_at = -math.inf

    def close(self) -> None:
        """End the second session."""
        if self._session is not None:
            self._session.close()
            self._session = None

    def wait(self, size: int = 0, seconds: float = 0.0) -> None:
        """Return when the reader, whose last statement took some seconds for some bytes of a table, may continue.

        Raises:
            ExtractionError: sessions wait for a lock of the reader, or the server is under stress for too long, or has
                ended the reader's session.
        """
        ended = time.monotonic()
        self._wait_for_calm()
        resume_at = ended - seconds + self._pace(size, seconds)
        while (left := resume_at - time.monotonic()) > 0:
            time.sleep(min(left, _LONGEST_SLEEP_SECONDS))
            self._wait_for_calm()

    def _wait_for_calm(self) -> None:
        began = time.monotonic()
        while (stress := self._stress()) is not None:
            if time.monotonic() - began > _LONGEST_PAUSE_SECONDS:
                raise ExtractionError(
                    f"The server has been under stress for {time.monotonic() - began:.0f} s ({stress}); the extract "
                    "gave up, because its snapshot keeps vacuum from its work. Extract again at a quieter time."
                )
            _log.info(f"Reading pauses: {stress}.")
            time.sleep(_SECONDS_BETWEEN_LOOKS)

    def _pace(self, size: int, seconds: float) -> float:
        """Return how many seconds a statement may take, with the pause after it."""
        slowest = size / _SLOWEST_BYTES_PER_S
        if self._mb_per_s:
            by_rate, by_share = size / (self._mb_per_s * 1e6), min(seconds / _SHARE_OF_PROCESSOR, slowest)
            return max(by_rate, slowest if self._is_blind else by_share)
        return slowest if self._is_blind else 0.0

    def _stress(self) -> str | None:
        """Return why the reader has to pause, or None; look again only after `_SECONDS_BETWEEN_LOOKS`."""
        if time.monotonic() - self._looked_at < _SECONDS_BETWEEN_LOOKS:
            return None
        # Also a sign of life: the server ends a session that is silent for a minute.
        (signals,) = self._reader.rows(_SIGNALS, "measure the load")
        if signals["blocked_by_reader"]:
            raise ExtractionError(
                "A lock of the extract blocked a change of a table's structure and everybody behind it. The extract "
                "gave way; extract again after the change."
            )
        slow_probe_ms = self._slow_probe()
        if signals["lock_waits"] > _MOST_LOCK_WAITS:
            return f"{signals['lock_waits']} sessions wait for locks"
        if slow_probe_ms is not None:
            return f"a look-up takes {slow_probe_ms:,.1f} ms"
        if (signals["replay_lag"] or 0.0) > _MOST_REPLAY_LAG_SECONDS:
            return f"the standby is {signals['replay_lag']:,.0f} s behind"
        return None

    def _slow_probe(self) -> float | None:
        """Return the latency of look-ups if it is slow, in milliseconds; None if not, or if it cannot be measured."""
        try:
            probe_ms = self._probe(self._open())
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
            lowest, highest = _SLOW_PROBE_MS
            self._slow_probe_ms = min(max(_SLOW_PROBE_FACTOR * probe_ms, lowest), highest)
        return probe_ms if probe_ms > self._slow_probe_ms else None

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
