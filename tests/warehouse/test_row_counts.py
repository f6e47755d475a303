"""Row counts and sums are compared with the manifest, the source and the published file."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from acl_assets.landing_zone.manifest import ManifestFile, ManifestTable
from acl_assets.warehouse.row_counts import MOST_LOSS, disagreements, drift, lost_share, merged_disagreements


def exported(rows_at_source: int | None, **rows: int | None) -> ManifestTable:
    """Return a table as a manifest lists it: rows at the source, and rows per file."""
    files = tuple(ManifestFile(f"{name}.csv", bytes=1, sha256=None, rows=count) for name, count in rows.items())
    return ManifestTable(rows_at_source, files)


@pytest.mark.parametrize(
    ("manifest", "converted", "found"),
    [
        (exported(3, bands=3), {"bands.csv": 3}, []),
        (exported(0, bands=0), {"bands.csv": 0}, []),
        (exported(5, a=2, b=3), {"a.csv": 2, "b.csv": 3}, []),
        (exported(None, bands=None), {"bands.csv": 3}, []),
        (exported(3, bands=4), {"bands.csv": 3}, ["bands.csv holds 3 rows, its manifest says 4"]),
        (exported(4, bands=3), {"bands.csv": 3}, ["the batch holds 3 rows, the source had 4"]),
        (exported(2, bands=3), {"bands.csv": 3}, ["the batch holds 3 rows, the source had 2"]),
        (
            exported(5, a=2, b=3),
            {"a.csv": 3, "b.csv": 2},
            ["a.csv holds 3 rows, its manifest says 2", "b.csv holds 2 rows, its manifest says 3"],
        ),
        (
            exported(1_000, bands=1_000),
            {},
            ["bands.csv holds 0 rows, its manifest says 1,000", "the batch holds 0 rows, the source had 1,000"],
        ),
    ],
    ids=[
        "all agree",
        "an empty table is a table",
        "parts add up",
        "a batch without a manifest states nothing",
        "manifest counted more",
        "source counted more",
        "source counted fewer",
        "parts swapped, which the total hides",
        "never converted",
    ],
)
def test_rows_in_the_table_are_those_of_manifest_and_source(
    manifest: ManifestTable, converted: Mapping[str, int], found: list[str]
) -> None:
    """Every difference is reported with both numbers."""
    assert disagreements(manifest, converted) == found


def test_an_incremental_batch_does_not_hold_the_rows_of_the_source() -> None:
    """Its files are compared with their manifest all the same."""
    assert disagreements(exported(1_000, bands=3), {"bands.csv": 3}, whole=False) == []
    found = disagreements(exported(1_000, bands=4), {"bands.csv": 3}, whole=False)
    assert found == ["bands.csv holds 3 rows, its manifest says 4"]


@pytest.mark.parametrize(
    ("rows", "said"),
    [(10, None), (12, "rows were deleted there, which increments do not say"), (9, "rows are missing")],
)
def test_a_merged_table_has_the_rows_of_its_source(rows: int, said: str | None) -> None:
    """More rows were deleted at the source, fewer rows are a fault; a full batch corrects both."""
    found = merged_disagreements(exported(10, bands=3), rows)
    assert found == (
        []
        if said is None
        else [f"the table has {rows} rows after the newest batch, the source had 10: {said}; export a full batch"]
    )
    assert merged_disagreements(exported(None, bands=None), rows) == []


def test_drift_is_reported_with_both_numbers() -> None:
    """Rows can agree where sums differ; sums that the manifest does not state are not compared."""
    stated = ManifestTable(2, (), {"price": 1_000})
    assert drift(stated, 2, {"price": 1_000}) == []
    assert drift(stated, 2, {"price": 995}) == ["price adds up to 995, at the source to 1,000"]
    assert drift(stated, 1_003, {"price": 1_000}) == ["it has 1,003 rows, the source had 2"]
    assert drift(ManifestTable(None, ()), 7, {}) == []


@pytest.mark.parametrize(
    ("rows", "published", "lost"),
    [
        (100, 100, 0.0),
        (150, 100, 0.0),
        (75, 100, 0.25),
        (50, 100, 0.5),
        (49, 100, 0.51),
        (0, 100, 1.0),
        (0, 0, 0.0),
        (10, None, 0.0),
    ],
)
def test_the_share_of_published_rows_that_is_gone(rows: int, published: int | None, lost: float) -> None:
    """Growth is no loss, and a first publication has nothing to lose."""
    assert lost_share(rows, published) == pytest.approx(lost)


def test_losing_half_of_a_table_is_allowed() -> None:
    assert not lost_share(50, 100) > MOST_LOSS
    assert lost_share(49, 100) > MOST_LOSS
