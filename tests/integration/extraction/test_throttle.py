"""An extract pauses while the server it reads is under stress."""

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager

import psycopg2
import pytest
from extracts import run, set_limits
from postgres import execute
from refreshes import wait_until

from acl_assets.extraction.connection import SourceConnection
from acl_assets.extraction.extracted_batch import ExtractionError
from acl_assets.extraction.throttle import Throttle

pytestmark = pytest.mark.server


@pytest.fixture(autouse=True)
def _limits(monkeypatch: pytest.MonkeyPatch) -> None:
    set_limits(monkeypatch)


@contextmanager
def throttle(dsn: str, mb_per_s: float = 0.0) -> Iterator[Throttle]:
    """The throttle of a reader that does nothing."""
    with closing(SourceConnection(dsn)) as reader, closing(Throttle(reader, dsn, "public", mb_per_s)) as made:
        yield made


def seconds_of(throttled: Throttle, size: int, worked: float = 0.0) -> float:
    began = time.monotonic()
    throttled.wait(size, worked)
    return time.monotonic() - began


def test_a_statement_is_followed_by_a_pause_for_its_size_and_a_longer_one_for_its_time(export_dsn: str) -> None:
    with throttle(export_dsn, mb_per_s=10.0) as limited:
        assert 0.2 < seconds_of(limited, 3_000_000) < 0.8
        assert 0.9 < seconds_of(limited, 3_000_000, worked=0.025) < 2.5
        # However long a statement takes, reading goes on at 0.5 MB/s.
        assert seconds_of(limited, 150_000, worked=0.3) < 0.5
    with throttle(export_dsn) as unlimited:
        assert seconds_of(unlimited, 10**9, worked=1.0) < 0.5


def test_the_reader_gives_signs_of_life_in_a_long_pause(
    ticketing_dsn: str, export_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server ends a session whose transaction is idle."""
    monkeypatch.setattr("acl_assets.extraction.throttle._LONGEST_SLEEP_SECONDS", 0.2)
    execute(ticketing_dsn, "alter role acl_export set idle_in_transaction_session_timeout = '700ms'")
    with (
        closing(SourceConnection(export_dsn)) as reader,
        closing(Throttle(reader, export_dsn, "public", 1.0)) as limited,
    ):
        reader.rows("begin", "begin a transaction")
        assert seconds_of(limited, 2_000_000) > 1.5
        assert reader.rows("select 1 as alive", "look whether the session lives") == [{"alive": 1}]


def test_reading_pauses_while_sessions_wait_for_locks(
    ticketing_dsn: str, export_dsn: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO)
    set_limits(monkeypatch, MOST_LOCK_WAITS=0, LONGEST_PAUSE_SECONDS=60.0)
    with (
        throttle(export_dsn) as calm,
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


def test_slow_probe_pauses_reading_and_a_long_pause_ends_it(
    ticketing_dsn: str, export_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The probe is cancelled after two seconds: what blocks it blocks buyers too."""
    set_limits(monkeypatch, SLOW_PROBE_MS=(500, 500))
    with throttle(export_dsn) as slowed, closing(psycopg2.connect(ticketing_dsn)) as owner:
        slowed.wait()
        run(owner, "lock table tickets in access exclusive mode")
        with pytest.raises(ExtractionError, match=r"has been under stress for . s \(a look-up takes inf ms\)"):
            slowed.wait()
        owner.rollback()
        slowed.wait()


def test_reading_is_slow_while_the_server_cannot_be_looked_at(
    ticketing_dsn: str, export_dsn: str, caplog: pytest.LogCaptureFixture
) -> None:
    with throttle(export_dsn) as blind:
        execute(ticketing_dsn, "alter role acl_export connection limit 0")
        assert seconds_of(blind, 500_000) > 0.5
        execute(ticketing_dsn, "alter role acl_export connection limit 20")
        assert seconds_of(blind, 500_000) < 0.5
        execute(
            ticketing_dsn,
            "select pg_terminate_backend(pid, 5000) from pg_stat_activity where usename = 'acl_export' "
            "order by backend_start desc limit 1",
        )
        assert seconds_of(blind, 500_000) > 0.5
        assert seconds_of(blind, 500_000) < 0.5
    assert caplog.text.count("load cannot be measured") == 2
    assert 'too many connections for role "acl_export"' in caplog.text
