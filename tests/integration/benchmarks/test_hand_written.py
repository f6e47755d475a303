"""The hand-written script does the same work as a refresh. Otherwise a comparison of their times is meaningless."""

import shutil
from pathlib import Path

import duckdb
import pytest
from defects.catalogue import DEFECTS

from benchmarks.equality import WarehousesDifferError, require_equal
from benchmarks.hand_written import CheckFailedError, build

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def by_hand(first_batch: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the warehouse of the batch `first` with the script."""
    return build(first_batch, tmp_path_factory.mktemp("by_hand"), "1GB")


@pytest.mark.parametrize("defect", ["orphan_ticket", "negative_price", "wrong_checksum"])
def test_script_stops_at_defects_that_stop_a_refresh(defect: str, first_batch: Path, tmp_path: Path) -> None:
    batch = Path(shutil.copytree(first_batch, tmp_path / "bad"))
    DEFECTS[defect].plant(batch)

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
    other = Path(shutil.copy(by_hand, tmp_path / "other.duckdb"))
    with duckdb.connect(str(other)) as connection:
        connection.execute(change)

    with pytest.raises(WarehousesDifferError, match=table):
        require_equal(by_hand, other)
