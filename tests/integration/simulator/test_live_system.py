"""The live ticketing database holds the simulated history, and concurrent buyers change it."""

import pyarrow as pa
import pytest
from postgres import execute
from refreshes import SMALL

from acl_assets.simulator.live_system import Demand, LiveSystemError, sell
from acl_assets.simulator.postgres_server import PostgresServer
from acl_assets.simulator.sales import TicketingHistory
from acl_assets.source_schema import SOURCE_TABLES, arrow_schema

pytestmark = pytest.mark.server

SALES = "select performance_id, count(*) as sold from tickets group by performance_id"


def count(dsn: str, table: str, condition: str = "true") -> int:
    return execute(dsn, f"select count(*) from {table} where {condition}")[0][0]


def sell_at_once(server: PostgresServer, dsn: str, seconds: int = 1, **demand: object) -> None:
    sell(server, dsn, Demand(**{"turns_per_second": 1000, "seconds": seconds, "refund_percent": 0, **demand}))


def test_every_table_holds_the_rows_of_the_simulator(ticketing_dsn: str):
    expected = {name: [arrow_schema(table).empty_table()] for name, table in SOURCE_TABLES.items()}
    for table, rows in TicketingHistory(SMALL).stream():
        expected[table].append(rows)
    for table, pieces in expected.items():
        columns = ", ".join(SOURCE_TABLES[table].column_names)
        loaded = execute(ticketing_dsn, f"select {columns} from {table} order by id")
        assert loaded == [tuple(row.values()) for row in pa.concat_tables(pieces).to_pylist()], table
        following = f"select nextval(pg_get_serial_sequence('{table}', 'id')) - coalesce(max(id), 0) from {table}"
        assert execute(ticketing_dsn, following) == [(1,)], table


def test_sale_continues_the_history_with_slow_payments(postgres_server: PostgresServer, ticketing_dsn: str):
    """Sales follow the clock of the history. A reader that remembers only the highest id misses slow payments."""
    ((last, last_id),) = execute(ticketing_dsn, "select max(purchase_date), max(id) from purchases")
    people, tickets = count(ticketing_dsn, "people"), count(ticketing_dsn, "tickets")
    sell_at_once(postgres_server, ticketing_dsn, seconds=2, turns_per_second=100, longest_payment_seconds=1.0)
    ((first_sold, ids, purchases),) = execute(
        ticketing_dsn, f"select min(purchase_date), max(id) - {last_id}, count(*) from purchases where id > {last_id}"
    )
    assert 0 < (first_sold - last).total_seconds() < 3600
    assert 20 < purchases < ids, "abandoned purchases leave gaps"
    assert purchases < count(ticketing_dsn, "tickets") - tickets < 4 * purchases
    assert count(ticketing_dsn, "people") > people
    assert execute(ticketing_dsn, "select count(distinct ticketnum) = count(*) from tickets") == [(True,)]
    overtaken = (
        f"select 1 from purchases as slow where id > {last_id} "
        "and pg_xact_commit_timestamp(xmin) - interval '0.2 seconds' > "
        "(select min(pg_xact_commit_timestamp(quick.xmin)) from purchases as quick where quick.id > slow.id)"
    )
    assert execute(ticketing_dsn, overtaken)


def test_refunds_set_prices_to_zero_or_delete(postgres_server: PostgresServer, ticketing_dsn: str):
    tickets, purchases = count(ticketing_dsn, "tickets"), count(ticketing_dsn, "purchases")
    sell_at_once(postgres_server, ticketing_dsn, refund_percent=100)
    assert count(ticketing_dsn, "tickets", "price = 0") > 0
    assert count(ticketing_dsn, "tickets") == tickets
    sell_at_once(postgres_server, ticketing_dsn, refund_percent=100, deletes_refunds=True)
    assert count(ticketing_dsn, "tickets") < tickets
    assert count(ticketing_dsn, "purchases") < purchases
    assert count(ticketing_dsn, "purchases", "id not in (select purchase_id from tickets)") == 0


def test_no_performance_is_oversold_by_buyers_who_want_the_last_seats_at_once(
    postgres_server: PostgresServer, ticketing_dsn: str
):
    sales = f"performances inner join ({SALES}) as sales on performances.id = sales.performance_id"
    needed = f"select max(sold) + 3 from {sales} where venue_id = venues.id"
    execute(ticketing_dsn, f"update venues set capacity = ({needed}) where id in (select venue_id from performances)")
    sell_at_once(postgres_server, ticketing_dsn, longest_payment_seconds=0.01)
    seats_left = (
        f"select capacity - sold from {sales} inner join venues on performances.venue_id = venues.id "
        "where performance_start > (select max(purchase_date) from purchases)"
    )
    left = [seats for (seats,) in execute(ticketing_dsn, seats_left)]
    assert min(left) == 0
    assert max(left) < 4, "all are nearly sold out"


def test_what_the_database_refuses_ends_a_sale_with_the_reason(
    postgres_server: PostgresServer, ticketing_dsn: str, capfd: pytest.CaptureFixture[str]
):
    execute(ticketing_dsn, "alter table tickets add constraint cheap check (price < 0) not valid")
    with pytest.raises(LiveSystemError, match="pgbench has exit code 2"):
        sell_at_once(postgres_server, ticketing_dsn)
    assert 'violates check constraint "cheap"' in capfd.readouterr().err
    execute(ticketing_dsn, "update performances set performance_start = '2002-10-04 18:00+00'")
    with pytest.raises(LiveSystemError, match="No performance is on sale after the last purchase"):
        sell_at_once(postgres_server, ticketing_dsn)
