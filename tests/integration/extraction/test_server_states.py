"""Extracts from a standby, through a failover."""

from contextlib import closing

import pytest
from extracts import make_export_role, merged_rows, purchase, set_limits, source_rows, when_logged
from postgres import QUICK, execute, server_folder
from refreshes import SMALL, wait_until

from acl_assets.extraction.connection import SourceConnection
from acl_assets.extraction.extract import extract
from acl_assets.extraction.extracted_batch import ExtractionError
from acl_assets.extraction.throttle import Throttle
from acl_assets.settings import Settings
from acl_assets.simulator.live_system import create_schema, load_history
from acl_assets.simulator.postgres_server import running_postgres
from acl_assets.simulator.sales import TicketingHistory

pytestmark = [pytest.mark.server, pytest.mark.slow]


def test_a_standby_is_preferred_and_followed_through_a_failover(settings: Settings) -> None:
    with server_folder() as folder, running_postgres(folder / "primary", configuration=QUICK) as primary:
        source = primary.dsn()
        create_schema(source)
        load_history(source, TicketingHistory(SMALL))
        make_export_role(source)
        with running_postgres(folder / "standby", standby_of=primary) as standby:
            replica = standby.dsn()

            def sell_and_follow() -> None:
                execute(source, purchase())
                (written,) = execute(source, "select pg_current_wal_lsn()")[0]
                query = "select pg_last_wal_replay_lsn() >= %s::pg_lsn"
                wait_until(lambda: execute(replica, query, [written]) == [(True,)], "the standby has caught up")

            both = settings.with_changes(
                ticketing_dsn=primary.dsn(user="acl_export"),
                ticketing_standby_dsn=standby.dsn(user="acl_export"),
                extract_mb_per_s=0.0,
            )
            primary_only = both.with_changes(ticketing_standby_dsn=None)
            first = extract(both)
            assert (first.kind, first.source_snapshot["in_recovery"]) == ("full", True)

            # The primary continues what was read from its standby, and the other way around.
            for extractable in (both, primary_only, both):
                sell_and_follow()
                extraction = extract(extractable)
                assert (extraction.kind, extraction.tables["tickets"].rows) == ("incremental", 1)
                assert extraction.source_snapshot["in_recovery"] is (extractable is both)
            assert merged_rows(both, "tickets") == source_rows(source, "tickets")

            # Rows that the standby has not replayed yet are read from the primary.
            execute(replica, "select pg_wal_replay_pause()")
            execute(source, purchase())
            lags = "select pg_last_wal_receive_lsn() > pg_last_wal_replay_lsn()"
            wait_until(lambda: execute(replica, lags) == [(True,)], "the standby lags")
            dsn = standby.dsn(user="acl_export")
            with pytest.MonkeyPatch.context() as patch, closing(SourceConnection(dsn)) as reader:
                set_limits(patch, MOST_REPLAY_LAG_SECONDS=0.0)
                throttle = Throttle(reader, dsn, "public", 0.0)
                with closing(throttle), pytest.raises(ExtractionError, match=r"the standby is .* s behind"):
                    throttle.wait()
            extract(primary_only)
            with when_logged("Extracting from the primary instead of the standby"):
                assert extract(both).source_snapshot["in_recovery"] is False
            execute(replica, "select pg_wal_replay_resume()")
            sell_and_follow()

            # Without its primary a standby cannot tell whether rows are missing.
            primary.stop()
            query = "select 1 from pg_stat_wal_receiver"
            wait_until(lambda: not execute(replica, query), "the standby receives nothing")
            ((last_commit,),) = execute(replica, "select pg_last_xact_replay_timestamp()")
            assert extract(both).exported_at == last_commit
            with pytest.raises(ExtractionError, match="No connection to"):
                extract(both)

            execute(replica, "select pg_promote()")
            execute(replica, purchase())
            after_failover = extract(both)
            assert str(after_failover.full_because).startswith("the cluster's timeline is 2 where")
            assert merged_rows(both, "tickets") == source_rows(replica, "tickets")
