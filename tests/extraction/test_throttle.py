"""What the server's signs of stress do to the pace of an extract."""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import replace

import pytest
from extracts import make_export_role, run, session, when_logged
from postgres import QUICK, execute, server_folder
from psycopg2.errors import QueryCanceled
from refreshes import wait_until

from acl_assets.extraction.connection import SourceConnection
from acl_assets.extraction.extract import extract
from acl_assets.extraction.extracted_batch import ExtractionError
from acl_assets.extraction.throttle import PaceKeeper, Signs, StressLimits, StressMonitor, watching
from acl_assets.settings import Settings
from acl_assets.simulator.live_system import create_schema
from acl_assets.simulator.postgres_server import running_postgres

NEVER = (1e9, 1e9)
UNMOVED = StressLimits(
    busy_share=NEVER,
    waiting_for_locks=NEVER,
    replication_lag_seconds=NEVER,
    canary_ceiling_ms=NEVER,
    canary_floor_ms=NEVER,
    seconds_between_looks=0.0,
)
"""Limits that nothing on a test server exceeds, to be replaced one by one; every call looks."""

# Judging ------------------------------------------------------------------------------------------------------


def keeper(**limits: object) -> PaceKeeper:
    return PaceKeeper(replace(StressLimits(), **limits), canary_at_rest_ms=1.0)


@pytest.mark.parametrize(
    ("signs", "pace", "reason"),
    [
        (Signs(), "normal", ""),
        (Signs(busy_share=0.5, waiting_for_locks=5, replication_lag_seconds=10, canary_ms=5), "normal", ""),
        (Signs(busy_share=0.6), "slowed", "60% of the sessions the server admits are at work"),
        (Signs(busy_share=0.9), "paused", "90% of the sessions the server admits are at work"),
        (Signs(waiting_for_locks=6), "slowed", "6 sessions wait for locks"),
        (Signs(waiting_for_locks=21), "paused", "21 sessions wait for locks"),
        (Signs(replication_lag_seconds=11), "slowed", "replication lags 11 s behind"),
        (Signs(replication_lag_seconds=3600), "paused", "replication lags 3600 s behind"),
        (Signs(canary_ms=6), "slowed", "a look-up takes 6.0 ms, 1.0 ms before"),
        (Signs(canary_ms=math.inf), "paused", "a look-up takes inf ms, 1.0 ms before"),
        (Signs(busy_share=0.6, waiting_for_locks=21), "paused", "21 sessions wait for locks"),
    ],
)
def test_every_sign_has_a_limit_that_slows_and_one_that_pauses(signs: Signs, pace: str, reason: str) -> None:
    judge = keeper()
    assert judge.judge(signs) is (pace != "normal")
    assert (judge.pace, judge.reason) == (pace, reason)


@pytest.mark.parametrize(
    ("at_rest_ms", "limit"),
    [(0.1, (5, 50)), (2, (8, 50)), (10, (40, 150)), (100, (250, 1_000)), (math.inf, (250, 1_000))],
)
def test_the_canary_is_held_against_its_own_past_within_bounds(at_rest_ms: float, limit: tuple[float, float]) -> None:
    """A tenth of a millisecond can triple for no reason; a second is too long wherever it began."""
    assert StressLimits().canary_ms(at_rest_ms) == limit


def test_worse_is_believed_at_once_and_better_step_by_step() -> None:
    """Or the pace would follow every flicker of the signs."""
    judge = keeper(calm_looks=3)
    stressed, calm = Signs(busy_share=0.9), Signs(busy_share=0.1)
    paces = []
    for signs in [stressed, calm, calm, calm, calm, calm, calm, calm]:
        judge.judge(signs)
        paces.append(judge.pace)
    assert paces == ["paused", "paused", "paused", "slowed", "slowed", "slowed", "normal", "normal"]
    assert judge.reason == "the signs have been calm"


def test_calm_looks_must_follow_one_another() -> None:
    judge = keeper(calm_looks=2)
    for share in [0.9, 0.1, 0.9, 0.1, 0.9]:
        judge.judge(Signs(busy_share=share))
    assert judge.pace == "paused"


def test_just_below_a_limit_is_not_calm() -> None:
    """Between 70 % of the limit and the limit nothing changes."""
    judge = keeper(calm_looks=1)
    judge.judge(Signs(busy_share=0.6))
    judge.judge(Signs(busy_share=0.49))
    assert judge.pace == "slowed"
    judge.judge(Signs(busy_share=0.34))
    assert judge.pace == "normal"


# Looking ------------------------------------------------------------------------------------------------------


@contextmanager
def monitoring(dsn: str, **limits: object) -> Iterator[StressMonitor]:
    with watching(dsn, "public", replace(UNMOVED, **limits)) as monitor:
        yield monitor


@pytest.mark.server
def test_a_server_at_rest_is_read_at_the_normal_pace(export_dsn: str) -> None:
    with watching(export_dsn, "public", StressLimits(canary_ceiling_ms=NEVER, canary_floor_ms=NEVER)) as monitor:
        assert monitor.pace() == "normal"


@pytest.mark.server
@pytest.mark.parametrize("sees_all", [False, True])
def test_sessions_at_work_are_counted(ticketing_dsn: str, export_dsn: str, sees_all: bool) -> None:
    """Who may not see what other sessions do counts open transactions instead."""
    if sees_all:
        execute(ticketing_dsn, "grant pg_read_all_stats to acl_export")
    try:
        with monitoring(export_dsn, busy_share=(0.025, 1e9)) as monitor, ExitStack() as sessions:
            assert monitor.pace() == "normal"
            workers = [threading.Thread(target=sleep, args=(ticketing_dsn,)) for _ in range(3)]
            for worker in workers:
                worker.start()
            sessions.callback(end_sleepers, ticketing_dsn, workers)
            query = "select 1 from pg_stat_activity where state = 'active' and query = 'select pg_sleep(60)'"
            wait_until(lambda: len(execute(ticketing_dsn, query)) == 3, "three sessions are at work")
            assert monitor.pace() == "slowed"
    finally:
        execute(ticketing_dsn, "revoke pg_read_all_stats from acl_export")


def sleep(dsn: str) -> None:
    with suppress(QueryCanceled):
        execute(dsn, "select pg_sleep(60)")


def end_sleepers(dsn: str, workers: list[threading.Thread]) -> None:
    execute(dsn, "select pg_cancel_backend(pid) from pg_stat_activity where query = 'select pg_sleep(60)'")
    for worker in workers:
        worker.join()


@pytest.mark.server
def test_what_the_role_cannot_see_is_said_once(export_dsn: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with monitoring(export_dsn) as monitor:
        monitor.pace()
        monitor.pace()
    assert caplog.text.count("Granting it pg_read_all_stats would show both") == 1


@pytest.mark.server
def test_sessions_that_wait_for_locks_are_counted(ticketing_dsn: str, export_dsn: str) -> None:
    with monitoring(export_dsn, waiting_for_locks=(0, 1e9)) as monitor, closing(session(ticketing_dsn)) as owner:
        assert monitor.pace() == "normal"
        run(owner, "update bands set fee = 1 where id = 1")
        waiting = threading.Thread(target=execute, args=(ticketing_dsn, "update bands set fee = 2 where id = 1"))
        waiting.start()
        query = "select 1 from pg_locks where not granted and locktype = 'transactionid'"
        wait_until(lambda: bool(execute(ticketing_dsn, query)), "a session waits")
        assert monitor.pace() == "slowed"
        owner.rollback()
        waiting.join()


@pytest.mark.server
def test_a_canary_that_does_not_come_back_pauses_until_it_does(
    ticketing_dsn: str, export_dsn: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever keeps it keeps the buyers too."""
    caplog.set_level(logging.INFO)
    limits = {"canary_floor_ms": (500, 500), "canary_ceiling_ms": (500, 500), "calm_looks": 1}
    with monitoring(export_dsn, **limits) as monitor, closing(session(ticketing_dsn)) as owner:
        assert monitor.pace() == "normal"
        run(owner, "lock table tickets in access exclusive mode")
        let_go = threading.Timer(4, owner.rollback)
        let_go.start()
        assert monitor.pace() == "slowed"
        let_go.join()
        assert monitor.pace() == "normal"
    assert "Reading is paused now: a look-up takes inf ms" in caplog.text
    assert "Reading is normal now: the signs have been calm." in caplog.text


@pytest.mark.server
def test_a_pause_has_an_end(export_dsn: str) -> None:
    """A snapshot that is held for hours harms the server more than the reading that was put off."""
    with (
        monitoring(export_dsn, busy_share=(-1, -1), longest_pause_seconds=0.1) as monitor,
        pytest.raises(ExtractionError, match=r"has been under stress for 0 s \(0% of the sessions"),
    ):
        monitor.pace()


@pytest.mark.server
def test_rows_that_were_sent_already_are_not_waited_for(export_dsn: str) -> None:
    """They cost the server nothing, and it ends a session that leaves a transaction idle."""
    with monitoring(export_dsn, busy_share=(-1, -1)) as monitor, SourceConnection(export_dsn) as reader:
        reader.execute("begin", "begin a transaction")
        pid = reader.rows("select pg_backend_pid() as pid", "ask for the session's process")[0]["pid"]
        assert monitor.pace(pid) == "paused"


@pytest.mark.server
def test_a_monitor_that_is_not_let_in_slows_down_and_says_so(export_dsn: str, caplog: pytest.LogCaptureFixture) -> None:
    with monitoring(export_dsn) as monitor, SourceConnection(export_dsn):
        with SourceConnection(export_dsn):
            assert (monitor.pace(), monitor.pace()) == ("slowed", "slowed")
        wait_until(lambda: monitor.pace() == "normal", "the monitor is let in")
    assert caplog.text.count("signs of stress cannot be seen") == 1
    assert 'too many connections for role "acl_export"' in caplog.text


@pytest.mark.server
def test_a_monitor_that_is_cut_off_comes_back(ticketing_dsn: str, export_dsn: str) -> None:
    with monitoring(export_dsn) as monitor:
        assert monitor.pace() == "normal"
        execute(
            ticketing_dsn,
            "select pg_terminate_backend(pid, 5000) from pg_stat_activity "
            "where usename = 'acl_export' and datname = current_database()",
        )
        assert monitor.pace() == "slowed"
        assert monitor.pace() == "normal"


@pytest.mark.server
def test_a_standby_that_lags_is_a_sign() -> None:
    """The extract holds up what a standby has to replay."""
    with (
        server_folder() as folder,
        running_postgres(folder / "primary", configuration=QUICK) as primary,
        running_postgres(folder / "standby", standby_of=primary) as standby,
    ):
        create_schema(primary.dsn())
        make_export_role(primary.dsn())
        caught_up = "select pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn() and to_regrole('acl_export') > 0"
        wait_until(lambda: execute(standby.dsn(), caught_up) == [(True,)], "the standby has caught up")
        with monitoring(standby.dsn(user="acl_export"), replication_lag_seconds=(0, 1e9)) as monitor:
            assert monitor.pace() == "normal"
            execute(standby.dsn(), "select pg_wal_replay_pause()")
            execute(primary.dsn(), "insert into venues (name, capacity) values ('late', 1)")
            lags = "select pg_last_wal_receive_lsn() > pg_last_wal_replay_lsn()"
            wait_until(lambda: execute(standby.dsn(), lags) == [(True,)], "the standby lags")
            assert monitor.pace() == "slowed"


@pytest.mark.server
def test_an_extract_slows_down_while_the_server_is_under_stress(extractable: Settings) -> None:
    with when_logged("Reading is slowed now: 0% of the sessions", lambda: None):
        extraction = extract(
            extractable,
            limits=replace(UNMOVED, busy_share=(-1, 1e9), slowed_mb_per_s=0.1),
        )
    assert extraction.seconds > extraction.tables["tickets"].rows * 50 / 0.1e6
