"""Dashboards answer while refreshes replace the published file, and show the newest file at once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from superset.conftest import SupersetUnderTest

from acl_assets.superset.bundle import read_bundle

READERS = 3


@pytest.mark.server
@pytest.mark.parametrize("swaps", [5, pytest.param(50, marks=pytest.mark.exhaustive)])
def test_every_query_is_answered_from_the_newest_file(
    superset: SupersetUnderTest, swapped: Callable[..., None], swaps: int
) -> None:
    with superset.client() as client:
        ids = client.numbers("/api/v1/chart/")
    numbers = {chart.name: ids[chart.uuid] for chart in read_bundle().of_kind("charts")}
    done = threading.Event()

    def read(reader: int) -> int:
        """Ask for the charts of the dashboard, one after the other, until the last swap; any error ends it."""
        answered = 0
        with superset.client() as client:
            while not done.is_set():
                number = list(numbers.values())[(reader + answered) % len(numbers)]
                for answer in client.get(f"/api/v1/chart/{number}/data/", force="true")["result"]:
                    assert answer["error"] is None
                    assert answer["data"]
                answered += 1
        return answered

    seen = []
    with ThreadPoolExecutor(READERS) as readers, superset.client() as client:
        reading = [readers.submit(read, reader) for reader in range(READERS)]
        try:
            for swap in range(swaps):
                # One row counts, with the number of the swap.
                swapped(
                    "update data_products.ticket_sales_over_time set tickets_sold = 0",
                    f"update data_products.ticket_sales_over_time set tickets_sold = {swap} "
                    "where festival_year = 2019 and sale_month = (select min(sale_month) "
                    "from data_products.ticket_sales_over_time where festival_year = 2019)",
                )
                [answer] = client.get(f"/api/v1/chart/{numbers['Tickets sold']}/data/", force="true")["result"]
                seen.append([list(row.values()) for row in answer["data"]])
        finally:
            done.set()
        answered = [future.result() for future in reading]
    assert seen == [[[swap]] for swap in range(swaps)]
    assert all(count > 0 for count in answered)
