"""The hand-written contender does the work of a refresh: otherwise comparing their times would mean nothing."""

from __future__ import annotations

import shutil
from pathlib import Path

import duckdb
import pytest
from refreshes import SMALL

from acl_assets.settings import Settings
from acl_assets.simulator.defects import DEFECTS, write_defective_batch
from acl_assets.simulator.sales import TicketingHistory
from benchmarks.equality import WarehousesDifferError, require_equal
from benchmarks.hand_written import CheckFailedError, build

_STOPPING = [
    defect.name
    for defect in DEFECTS.values()
    if defect.outcome == "check" and "parquet" in defect.forms and not defect.needs_published
]


@pytest.fixture
def by_hand(first_batch: Path, tmp_path: Path) -> Path:
    return build(first_batch, tmp_path / "by_hand")


@pytest.mark.slow
def test_script_makes_the_warehouse_of_a_refresh(published: Settings, by_hand: Path) -> None:
    rows = require_equal(published.published_file, by_hand)

    assert len(rows) == 17
    assert all(rows.values())


def test_script_without_checks_makes_the_same(first_batch: Path, by_hand: Path, tmp_path: Path) -> None:
    unchecked = build(first_batch, tmp_path / "unchecked", checked=False)

    assert require_equal(by_hand, unchecked)["data_products.ticket_sales"] > 0


@pytest.mark.parametrize("name", _STOPPING)
def test_script_stops_at_what_stops_a_refresh(name: str, tmp_path: Path) -> None:
    batch = write_defective_batch(tmp_path, "bad", TicketingHistory(SMALL, seed=20), DEFECTS[name], "parquet")

    with pytest.raises(CheckFailedError):
        build(batch, tmp_path / "by_hand")

    assert not (tmp_path / "by_hand" / "acl.duckdb").exists()


def test_script_stops_at_a_file_that_is_not_the_exported_one(tmp_path: Path) -> None:
    history = TicketingHistory(SMALL, seed=20)
    batch = write_defective_batch(tmp_path, "bad", history, DEFECTS["wrong_checksum"], "parquet")

    with pytest.raises(CheckFailedError, match=r"tickets.*\.parquet"):
        build(batch, tmp_path / "by_hand")


@pytest.mark.parametrize(
    ("change", "table"),
    [
        ("update star_schema.fct_performances set revenue = revenue + 1 where performance_id = 1", "fct_performances"),
        ("update star_schema.fct_ticket_sales set ticketnum = 'x' where ticket_id = 1", "ticket_sales"),
        ("delete from data_products.all_star_candidates where rank_in_venue = 1", "all_star_candidates"),
        ("drop table data_products.performance_attendance", "performance_attendance"),
        ("alter table star_schema.dim_venues alter capacity type bigint", "dim_venues"),
    ],
)
def test_warehouses_that_differ_are_told_apart(by_hand: Path, tmp_path: Path, change: str, table: str) -> None:
    other = Path(shutil.copy(by_hand, tmp_path / "other.duckdb"))
    with duckdb.connect(str(other)) as connection:
        connection.execute(change)

    with pytest.raises(WarehousesDifferError, match=table):
        require_equal(by_hand, other)
