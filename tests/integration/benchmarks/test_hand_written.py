"""The hand-written script does the same work as a refresh. Otherwise a comparison of their times is meaningless."""

from __future__ import annotations

import shutil
from pathlib import Path

import duckdb
import pytest
from defects.catalogue import DEFECTS
from refreshes import SMALL

from acl_assets.simulator.batch import write_batch
from acl_assets.simulator.sales import TicketingHistory
from benchmarks.equality import WarehousesDifferError, require_equal
from benchmarks.hand_written import CheckFailedError, build

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def by_hand(first_batch: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the warehouse of the batch `first` with the script."""
    return build(first_batch, tmp_path_factory.mktemp("by_hand"), "1GB")


def changed(warehouse: Path, folder: Path, statement: str) -> Path:
    other = Path(shutil.copy(warehouse, folder / "other.duckdb"))
    with duckdb.connect(str(other)) as connection:
        connection.execute(statement)
    return other


def write_damaged(folder: Path, defect: str) -> Path:
    batch = write_batch(folder, "bad", TicketingHistory(SMALL, seed=20))
    DEFECTS[defect].plant(batch)
    return batch


@pytest.mark.parametrize("defect", ["orphan_ticket", "negative_price", "wrong_checksum"])
def test_script_stops_at_defects_that_stop_a_refresh(defect: str, tmp_path: Path) -> None:
    batch = write_damaged(tmp_path, defect)

    with pytest.raises(CheckFailedError):
        build(batch, tmp_path / "by_hand", "1GB")

    assert not (tmp_path / "by_hand" / "acl.duckdb").exists()


@pytest.mark.parametrize(
    ("change", "table"),
    [
        ("update star_schema.fct_performances set revenue = revenue + 1 where performance_id = 1", "fct_performances"),
        ("delete from data_products.all_star_candidates where rank_in_venue = 1", "all_star_candidates"),
        ("drop table data_products.performance_attendance", "performance_attendance"),
        ("alter table star_schema.dim_venues alter capacity type bigint", "dim_venues"),
    ],
)
def test_comparison_finds_a_difference(by_hand: Path, tmp_path: Path, change: str, table: str) -> None:
    other = changed(by_hand, tmp_path, change)

    with pytest.raises(WarehousesDifferError, match=table):
        require_equal(by_hand, other)
