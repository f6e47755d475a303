"""Dashboards keep answering while refreshes replace the published file under them, and show what is new at once."""

from __future__ import annotations

import os
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import duckdb
import pytest
from superset.conftest import SupersetUnderTest

from acl_assets.superset.bundle import import_bundle

SWAPS = 50
READERS = 4


def versions(published: Path, folder: Path) -> list[Path]:
    """Two published files that differ in what every month sold."""
    files = []
    for tickets in (1, 2):
        file = Path(shutil.copy(published, folder / f"version_{tickets}.duckdb"))
        with duckdb.connect(str(file)) as connection:
            connection.execute(f"update data_products.ticket_sales_over_time set tickets_sold = {tickets}")
        files.append(file)
    return files


def publish(version: Path, published: Path) -> None:
    """As a refresh does: another file is at the place of the one before, at once."""
    new = published.with_suffix(".new")
    shutil.copy(version, new)
    os.replace(new, published)


@pytest.mark.server
@pytest.mark.slow
def test_every_query_is_answered_from_the_newest_file_through_fifty_swaps(
    own_superset: SupersetUnderTest, tmp_path: Path
) -> None:
    published = own_superset.settings.published_file
    with own_superset.client() as client:
        import_bundle(client, own_superset.settings)
        numbers = [chart["id"] for chart in client.everything("/api/v1/chart/")]
        watched = next(c["id"] for c in client.everything("/api/v1/chart/") if c["slice_name"] == "Tickets sold")
    both = versions(published, tmp_path)
    publish(both[0], published)
    done = threading.Event()

    def read(reader: int) -> int:
        """Ask for the charts of the dashboard, one after the other, until the last swap; any error ends it."""
        answered = 0
        with own_superset.client() as client:
            while not done.is_set():
                number = numbers[(reader + answered) % len(numbers)]
                for answer in client.get(f"/api/v1/chart/{number}/data/", force="true")["result"]:
                    assert answer["error"] is None
                    assert answer["data"]
                answered += 1
        return answered

    stale = []
    with ThreadPoolExecutor(READERS) as readers, own_superset.client() as client:
        reading = [readers.submit(read, reader) for reader in range(READERS)]
        try:
            for swap in range(1, SWAPS + 1):
                version = both[swap % 2]
                publish(version, published)
                (answer,) = client.get(f"/api/v1/chart/{watched}/data/", force="true")["result"]
                with duckdb.connect(str(version), read_only=True) as connection:
                    expected = connection.execute(
                        "select sum(tickets_sold) from data_products.ticket_sales_over_time where is_completed"
                    ).fetchone()
                if [tuple(row.values()) for row in answer["data"]] != [expected]:
                    stale.append((swap, answer["data"], expected))
        finally:
            done.set()
        answered = [future.result() for future in reading]
    assert stale == []
    assert all(count > 0 for count in answered)
