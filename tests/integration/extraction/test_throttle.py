"""An extract pauses while the server it reads is under stress."""

from __future__ import annotations

import logging
import threading
import time
from contextlib import closing

import psycopg2
import pytest
from extracts import run
from postgres import execute
from refreshes import wait_until

from acl_assets.extraction.connection import SourceConnection
from acl_assets.extraction.extracted_batch import ExtractionError
from acl_assets.extraction.throttle import Throttle, ThrottleLimits

pytestmark = pytest.mark.server


def throttle(dsn: str, mb_per_s: float = 0.0, **limits: object) -> closing[Throttle]:
    """A throttle that looks at every call and, but for the limits given, never pauses."""
    never = {"lock_waits": 10**9, "probe_ms": (1e9, 1e9), "seconds_between_looks": 0.0, "longest_pause_seconds": 0.0}
    return closing(Throttle(dsn, "public", mb_per_s, ThrottleLimits(**{**never, **limits})))


def test_reading_is_as_fast_as_the_rate_limit(export_dsn: str) -> None:
    with throttle(export_dsn, mb_per_s=1.0) as limited:
        limited.wait()
        began = time.monotonic()
        for _ in range(5):
            limited.wait(received=200_000)
        assert 0.7 < time.monotonic() - began < 5.0


def test_reading_pauses_while_sessions_wait_for_locks(
    ticketing_dsn: str, export_dsn: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    with (
        throttle(export_dsn, lock_waits=0, longest_pause_seconds=60.0) as calm,
        closing(psycopg2.connect(ticketing_dsn)) as owner,
    ):
        calm.wait()
        run(owner, "update bands set fee = 1 where id = 1")
        waiting = threading.Thread(target=execute, args=(ticketing_dsn, "update bands set fee = 2 where id = 1"))
        waiting.start()
        query = "select 1 from pg_locks where not granted and locktype = 'transactionid'"
        wait_until(lambda: bool(execute(ticketing_dsn, query)), "a session waits")
        threading.Timer(0.3, owner.rollback).start()
        calm.wait()
        waiting.join()
    assert "Reading pauses: 1 sessions wait for locks." in caplog.text


def test_slow_probe_pauses_reading_and_a_long_pause_ends_it(ticketing_dsn: str, export_dsn: str) -> None:
    """The probe is cancelled after two seconds: what blocks it blocks buyers too."""
    with throttle(export_dsn, probe_ms=(500, 500)) as slowed, closing(psycopg2.connect(ticketing_dsn)) as owner:
        slowed.wait()
        run(owner, "lock table tickets in access exclusive mode")
        with pytest.raises(ExtractionError, match=r"has been under stress for . s \(a look-up takes inf ms\)"):
            slowed.wait()
        owner.rollback()
        slowed.wait()


def test_reader_is_not_paused_once_all_rows_were_sent(export_dsn: str) -> None:
    """They cost the server nothing, and it ends a session that leaves a transaction idle."""
    with throttle(export_dsn, probe_ms=(0, 0)) as stressed, closing(SourceConnection(export_dsn)) as reader:
        reader.rows("begin", "begin a transaction")
        stressed.reader_pid = reader.rows("select pg_backend_pid() as pid", "ask for the process")[0]["pid"]
        stressed.wait()
        stressed.reader_pid = -1
        with pytest.raises(ExtractionError, match="has been under stress"):
            stressed.wait()


def test_reading_is_slow_while_the_server_cannot_be_looked_at(
    ticketing_dsn: str, export_dsn: str, caplog: pytest.LogCaptureFixture
) -> None:
    def seconds(blind: Throttle) -> float:
        began = time.monotonic()
        blind.wait(received=2_000_000)
        return time.monotonic() - began

    execute(ticketing_dsn, "alter role acl_export connection limit 0")
    with throttle(export_dsn) as blind:
        assert seconds(blind) > 0.5
        execute(ticketing_dsn, "alter role acl_export connection limit 20")
        assert seconds(blind) < 0.5
        execute(
            ticketing_dsn, "select pg_terminate_backend(pid, 5000) from pg_stat_activity where usename = 'acl_export'"
        )
        assert seconds(blind) > 0.5
        assert seconds(blind) < 0.5
    assert caplog.text.count("load cannot be measured") == 2
    assert 'too many connections for role "acl_export"' in caplog.text
