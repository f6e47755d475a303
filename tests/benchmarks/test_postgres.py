"""The PostgreSQL contender does the work of a refresh: otherwise comparing their times would mean nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from refreshes import SMALL

from acl_assets.settings import Settings
from acl_assets.simulator.batch import write_batch
from acl_assets.simulator.sales import TicketingHistory
from benchmarks.equality import require_equal
from benchmarks.postgres import warehouse

pytestmark = [pytest.mark.server, pytest.mark.slow]


def test_models_in_postgres_make_the_warehouse_of_a_refresh(published: Settings, tmp_path: Path) -> None:
    """From the same rows, as CSV; every test of the project passes there too."""
    batch = write_batch(tmp_path, "first", TicketingHistory(SMALL, seed=20), "csv")
    output = tmp_path / "postgres"
    warehouse.prepare(output)
    warehouse.build(batch, output)

    copied = warehouse.write_as_duckdb(output, published.published_file, tmp_path / "copied.duckdb")

    rows = require_equal(published.published_file, copied)
    assert len(rows) == 17
    assert all(rows.values())
