"""The live ticketing database holds the simulated history, and concurrent buyers change it."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import psycopg2
import pyarrow as pa
import pytest
from postgres import execute
from refreshes import SMALL, wait_until

from acl_assets.simulator.live_system import (
    EXPORT_ROLE,
    Demand,
    LiveSystemError,
    Sold,
    load_history,
    open_ticketing_database,
    sell,
)
from acl_assets.simulator.postgres_server import PostgresServer
from acl_assets.simulator.sales import TicketingHistory
from acl_assets.source_schema import SOURCE_TABLES

pytestmark = pytest.mark.server

AT_ONCE = Demand(turns_per_second=None, slow_share=0.0)


def count(dsn: str, table: str, condition: str = "true") -> int:
    return execute(dsn, f"select count(*) from {table} where {condition}")[0][0]


def turns(number: int, **demand: object) -> Demand:
    """A demand of so many turns, taken as fast as they can be."""
    return Demand(**{"turns_per_second": None, "slow_share": 0.0, "turns": number, **demand})


def only_purchases(number: int, **demand: object) -> Demand:
    nothing_else = {"refund_share": 0.0, "correction_share": 0.0, "abandoned_share": 0.0}
    return turns(number, **{**nothing_else, **demand})


class TestHistory:
    def test_every_table_holds_the_rows_of_the_simulator(self, ticketing_dsn: str):
        expected: dict[str, list[pa.Table]] = {table: [] for table in SOURCE_TABLES}
        for table, rows in TicketingHistory(SMALL).stream():
            expected[table].append(rows)
        for table, pieces in expected.items():
            columns = ", ".join(SOURCE_TABLES[table].column_names)
            loaded = execute(ticketing_dsn, f"select {columns} from {table} order by id")
            assert loaded == [tuple(row.values()) for row in pa.concat_tables(pieces).to_pylist()], table
            following = f"select nextval(pg_get_serial_sequence('{table}', 'id')) - max(id) from {table}"
            assert execute(ticketing_dsn, following) == [(1,)], table

    def test_existing_parts_of_a_database_are_kept(self, postgres_server: PostgresServer):
        told: list[str] = []
        try:
            dsn = open_ticketing_database(postgres_server, TicketingHistory(SMALL), told.append)
            assert len([line for line in told if line.endswith(" tickets are loaded.")]) >= 5
            assert sell(dsn, turns(20)).tickets > 0
            tickets = count(dsn, "tickets")
            assert open_ticketing_database(postgres_server, TicketingHistory(SMALL)) == dsn
            assert count(postgres_server.dsn("ticketing", EXPORT_ROLE), "tickets") == tickets
            with pytest.raises(LiveSystemError, match="bands has rows"):
                load_history(dsn, TicketingHistory(SMALL))
        finally:
            execute(postgres_server.dsn(), "drop database if exists ticketing with (force)")


class TestSale:
    def test_the_counts_are_what_has_changed(self, ticketing_dsn: str):
        before = {table: count(ticketing_dsn, table) for table in SOURCE_TABLES}
        sold = sell(ticketing_dsn, turns(300))
        after = {table: count(ticketing_dsn, table) for table in SOURCE_TABLES}
        assert min(sold.purchases, sold.refunds, sold.corrections, sold.abandoned) > 0
        assert after["purchases"] - before["purchases"] == sold.purchases
        assert after["tickets"] - before["tickets"] == sold.tickets
        assert after["people"] > before["people"]
        assert sold.purchases + sold.refunds + sold.corrections + sold.abandoned + sold.turned_away == 300

    def test_refunds_set_prices_to_zero_or_delete(self, ticketing_dsn: str):
        sold = sell(ticketing_dsn, turns(50, refund_share=1.0))
        assert 0 < sold.refunds < sold.refunded_tickets == count(ticketing_dsn, "tickets", "price = 0")
        tickets, purchases = count(ticketing_dsn, "tickets"), count(ticketing_dsn, "purchases")
        sold = sell(ticketing_dsn, turns(50, refund_share=1.0, refunds="delete"))
        assert 0 < sold.refunds < sold.refunded_tickets
        assert count(ticketing_dsn, "tickets") == tickets - sold.refunded_tickets
        assert count(ticketing_dsn, "purchases") == purchases - sold.refunds

    def test_the_clock_goes_on_from_the_last_purchase_of_the_history(self, ticketing_dsn: str):
        """The machine's date would put every purchase years after the shows it is for."""
        ((last, last_id),) = execute(ticketing_dsn, "select max(purchase_date), max(id) from purchases")
        sell(ticketing_dsn, only_purchases(30))
        ((first_sold,),) = execute(ticketing_dsn, f"select min(purchase_date) from purchases where id > {last_id}")
        assert 0 < (first_sold - last).total_seconds() < 3600

    def test_no_performance_is_oversold_by_buyers_who_want_the_last_seats_at_once(self, ticketing_dsn: str):
        by_performance = "select performance_id, count(*) as sold from tickets group by performance_id"
        few_seats = f"""
            update venues
            set capacity = seats.needed + 3
            from (
                select venue_id, max(sold) as needed
                from performances
                inner join ({by_performance}) as sales on performances.id = sales.performance_id
                group by venue_id
            ) as seats
            where venues.id = seats.venue_id
        """
        execute(ticketing_dsn, few_seats)
        sold = sell(ticketing_dsn, only_purchases(600))
        oversold = f"""
            select count(*)
            from performances
            inner join venues on performances.venue_id = venues.id
            inner join ({by_performance}) as sales on performances.id = sales.performance_id
            where sold > capacity
        """
        assert execute(ticketing_dsn, oversold) == [(0,)]
        assert 0 < sold.purchases < 600
        assert sold.turned_away == 600 - sold.purchases

    def test_slow_payments_are_committed_after_purchases_with_higher_ids(self, ticketing_dsn: str):
        """Whoever remembers the highest id it has seen would never see these."""
        (last,) = execute(ticketing_dsn, "select max(id) from purchases")[0]
        sell(ticketing_dsn, only_purchases(60, slow_share=0.2, slow_seconds=1.0))
        overtaken = f"""
            select count(*)
            from purchases as slow
            where
                id > {last}
                and pg_xact_commit_timestamp(xmin) - interval '0.2 seconds' > (
                    select min(pg_xact_commit_timestamp(quick.xmin)) from purchases as quick where quick.id > slow.id
                )
        """
        assert execute(ticketing_dsn, overtaken)[0][0] > 0


class TestEndOfASale:
    def test_sale_ends_at_once_when_told_to(self, ticketing_dsn: str):
        stop, sold = threading.Event(), Sold()
        with ThreadPoolExecutor(1) as pool:
            demand = Demand(turns_per_second=None, slow_share=0.02, slow_seconds=3600)
            sale = pool.submit(sell, ticketing_dsn, demand, stop=stop, sold=sold)
            wait_until(lambda: sold.purchases >= 20, "some purchases are made")
            stop.set()
        assert sale.result() is sold
        assert count(ticketing_dsn, "pg_stat_activity", "application_name = 'box office'") == 0

    def test_what_the_database_refuses_ends_it_with_the_reason(self, ticketing_dsn: str):
        execute(ticketing_dsn, "alter table tickets add constraint cheap check (price < 0) not valid")
        with pytest.raises(psycopg2.errors.CheckViolation, match="cheap"):
            sell(ticketing_dsn, AT_ONCE)
        execute(ticketing_dsn, "update performances set performance_start = '2002-10-04 18:00+00'")
        with pytest.raises(LiveSystemError, match="No performance is on sale after the last purchase"):
            sell(ticketing_dsn, AT_ONCE)
