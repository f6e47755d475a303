"""Extracts through a failover, a wrap-around of transaction ids, and up to the published figures."""

from __future__ import annotations

import os
import subprocess
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from extracts import (
    buy,
    make_export_role,
    merged_rows,
    open_sale,
    run,
    session,
    source_rows,
    when_logged,
)
from postgres import QUICK, execute, server_folder
from refreshes import SMALL, published_rows, refresh, wait_until

from acl_assets.extraction.extract import extract
from acl_assets.extraction.extracted_batch import ExtractionError
from acl_assets.extraction.throttle import Throttle, ThrottleLimits
from acl_assets.settings import Settings
from acl_assets.simulator.live_system import create_schema, load_history
from acl_assets.simulator.postgres_server import PostgresServer, running_postgres
from acl_assets.simulator.sales import TicketingHistory

pytestmark = [pytest.mark.server, pytest.mark.slow]


@pytest.mark.exhaustive
def test_figures_published_from_an_extract_are_those_of_the_source(extractable: Settings, ticketing_dsn: str) -> None:
    """The round trip: what people read is what SQL says in the ticketing database, after every kind of batch."""
    by_venue = "select {venue}, count(*), sum({price}) from {tables} group by {venue} order by 1"
    at_source = by_venue.format(
        venue="venue_id", price="price", tables="tickets join performances on performances.id = performance_id"
    )
    published = by_venue.format(venue="venue_id", price="ticket_price", tables="star_schema.fct_ticket_sales")
    kinds = []
    for correction in (
        "select",
        "update tickets set price = 40 where id % 10 = 0",
        "delete from tickets where id % 9 = 0",
    ):
        execute(ticketing_dsn, correction)
        kinds.append(extract(extractable).kind)
        refreshed = refresh(extractable)
        assert refreshed.success, refreshed.errors
        assert published_rows(extractable, published) == execute(ticketing_dsn, at_source)
    assert kinds == ["full", "incremental", "full"]


def test_transaction_ids_may_wrap_around(tmp_path: Path, settings: Settings) -> None:
    """They have 32 bits on disk: after four billion transactions the newest rows have the smallest ids."""
    with server_folder() as folder, running_postgres(folder / "data", configuration=QUICK) as server:
        dsn = server.dsn()
        create_schema(dsn)
        load_history(dsn, TicketingHistory(SMALL))
        open_sale(dsn)
        for next_xid in (1_500_000_000, 3_000_000_000, 2**32 - 30):
            advance_transactions(server, next_xid)
        extractable = settings.with_changes(ticketing_dsn=make_export_role(dsn), extract_mb_per_s=0.0)
        kinds = [extract(extractable).kind]
        for _ in range(3):
            for _ in range(20):
                with session(dsn) as buyer:
                    buy(buyer)
                    run(buyer, "update tickets set price = price + 5 where id % 50 = 0")
                buyer.close()
            kinds.append(extract(extractable).kind)
            assert merged_rows(extractable, "tickets") == source_rows(dsn, "tickets")
        assert execute(dsn, "select pg_snapshot_xmin(pg_current_snapshot())::text::bigint")[0][0] > 2**32
    assert kinds == ["full", *["incremental"] * 3]


def advance_transactions(server: PostgresServer, next_xid: int) -> None:
    """Make a server give out transaction ids from `next_xid` on, no further than half the circle from the last."""
    execute(server.dsn(), "alter database template0 with allow_connections true")
    for (name,) in execute(server.dsn(), "select datname from pg_database"):
        execute(server.dsn(name), "vacuum freeze")
    server.stop()
    owner = server.data_dir.stat()
    # A server expects a page of commit states for the ids it begins with; one file holds those of 2^20 transactions.
    states = server.data_dir / "pg_xact" / f"{next_xid >> 20:04X}"
    states.write_bytes(bytes(262_144))
    os.chown(states, owner.st_uid, owner.st_gid)
    identity: dict[str, Any] = {}
    if os.geteuid() == 0:
        identity = {"user": owner.st_uid, "group": owner.st_gid, "extra_groups": []}
    command = [str(server.bin_dir / "pg_resetwal"), "-x", str(next_xid), "-D", str(server.data_dir)]
    subprocess.run(command, check=True, capture_output=True, cwd=server.data_dir, **identity)
    server.start()


def test_a_standby_is_preferred_and_followed_through_a_failover(settings: Settings) -> None:
    with server_folder() as folder, running_postgres(folder / "primary", configuration=QUICK) as primary:
        create_schema(primary.dsn())
        load_history(primary.dsn(), TicketingHistory(SMALL))
        open_sale(primary.dsn())
        make_export_role(primary.dsn())
        with running_postgres(folder / "standby", standby_of=primary) as standby:
            extractable = settings.with_changes(
                ticketing_dsn=primary.dsn(user="acl_export"),
                ticketing_standby_dsn=standby.dsn(user="acl_export"),
                extract_mb_per_s=0.0,
            )
            first = extract(extractable)
            assert (first.kind, first.source_snapshot["in_recovery"]) == ("full", True)
            sell_one(primary.dsn())
            wait_until_followed(primary.dsn(), standby.dsn())
            second = extract(extractable)
            assert (second.kind, second.source_snapshot["in_recovery"]) == ("incremental", True)
            assert second.tables["tickets"].rows == 1

            # The primary continues what was read from its standby, and the other way around.
            sell_one(primary.dsn())
            from_primary = extract(extractable.with_changes(ticketing_standby_dsn=None))
            assert (from_primary.kind, from_primary.source_snapshot["in_recovery"]) == ("incremental", False)
            sell_one(primary.dsn())
            wait_until_followed(primary.dsn(), standby.dsn())
            assert extract(extractable).kind == "incremental"
            assert merged_rows(extractable, "tickets") == source_rows(primary.dsn(), "tickets")

            # What the standby has not replayed yet is read from the primary.
            execute(standby.dsn(), "select pg_wal_replay_pause()")
            sell_one(primary.dsn())
            lags = "select pg_last_wal_receive_lsn() > pg_last_wal_replay_lsn()"
            wait_until(lambda: execute(standby.dsn(), lags) == [(True,)], "the standby lags")
            limits = ThrottleLimits(replay_lag_seconds=0.0, probe_ms=(1e9, 1e9), longest_pause_seconds=0.0)
            with (
                Throttle(standby.dsn(user="acl_export"), "public", 0.0, limits) as throttle,
                pytest.raises(ExtractionError, match=r"the standby is .* s behind"),
            ):
                throttle.wait()
            extract(extractable.with_changes(ticketing_standby_dsn=None))
            with when_logged("Extracting from the primary instead of the standby", lambda: None):
                fallen_back = extract(extractable)
            assert fallen_back.source_snapshot["in_recovery"] is False
            execute(standby.dsn(), "select pg_wal_replay_resume()")
            wait_until_followed(primary.dsn(), standby.dsn())

            primary.stop()
            execute(standby.dsn(), "select pg_promote()")
            sell_one(standby.dsn())
            after_failover = extract(extractable)
            assert after_failover.full_because is not None
            assert after_failover.full_because.startswith("the cluster's timeline is 2 where")
            assert merged_rows(extractable, "tickets") == source_rows(standby.dsn(), "tickets")


def sell_one(dsn: str) -> None:
    with closing(session(dsn)) as buyer:
        buy(buyer)
        buyer.commit()


def wait_until_followed(primary: str, standby: str) -> None:
    (written,) = execute(primary, "select pg_current_wal_lsn()")[0]
    query = "select pg_last_wal_replay_lsn() >= %s::pg_lsn"
    wait_until(lambda: bool(execute(standby, query, [written])[0][0]), "the standby has caught up")
