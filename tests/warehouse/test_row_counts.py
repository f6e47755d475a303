"""Row counts and sums are compared with the manifest, the source and the published file."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from acl_assets.landing_zone.manifest import ManifestFile, ManifestTable
from acl_assets.warehouse.row_counts import MAX_LOSS, disagreements, drift, lost_share, merged_disagreements


def exported(rows_at_source: int | None, **rows: int | None) -> ManifestTable:
    """Return a table as a manifest lists it: rows at the source, and rows per file."""
    files = tuple(ManifestFile(f"{name}.csv", bytes=1, sha256=None, rows=count) for name, count in rows.items())
    return ManifestTable(rows_at_source, files)


SWAPPED = ["a.csv holds 3 rows, its manifest says 2", "b.csv holds 2 rows, its manifest says 3"]
NOT_CONVERTED = ["bands.csv holds 0 rows, its manifest says 1,000", "the batch holds 0 rows, the source had 1,000"]


@pytest.mark.parametrize(
    ("manifest", "converted", "whole", "found"),
    [
        pytest.param(exported(0, bands=0), {"bands.csv": 0}, True, [], id="an empty table agrees"),
        pytest.param(exported(5, a=2, b=3), {"a.csv": 2, "b.csv": 3}, True, [], id="parts add up"),
        pytest.param(exported(None, bands=None), {"bands.csv": 3}, True, [], id="no manifest states nothing"),
        pytest.param(exported(4, bands=3), {"bands.csv": 3}, True, ["the batch holds 3 rows, the source had 4"]),
        pytest.param(exported(2, bands=3), {"bands.csv": 3}, True, ["the batch holds 3 rows, the source had 2"]),
        pytest.param(exported(5, a=2, b=3), {"a.csv": 3, "b.csv": 2}, True, SWAPPED, id="the total hides the swap"),
        pytest.param(exported(1_000, bands=1_000), {}, True, NOT_CONVERTED, id="never converted"),
        pytest.param(exported(1_000, bands=3), {"bands.csv": 3}, False, [], id="an increment is not the whole table"),
        pytest.param(
            exported(1_000, bands=4), {"bands.csv": 3}, False, ["bands.csv holds 3 rows, its manifest says 4"]
        ),
    ],
)
def test_rows_are_those_of_manifest_and_source(
    manifest: ManifestTable, converted: Mapping[str, int], whole: bool, found: list[str]
) -> None:
    assert disagreements(manifest, converted, whole=whole) == found


@pytest.mark.parametrize(
    ("rows", "reason"),
    [(10, None), (12, "rows were deleted there, which increments do not say"), (9, "rows are missing")],
)
def test_merged_table_has_the_rows_of_its_source(rows: int, reason: str | None) -> None:
    message = f"the table has {rows} rows after the newest batch, the source had 10: {reason}; export a full batch"
    assert merged_disagreements(exported(10, bands=3), rows) == ([message] if reason else [])
    assert merged_disagreements(exported(None, bands=None), rows) == []


def test_drift_is_reported_with_both_numbers() -> None:
    stated = ManifestTable(2, (), {"price": 1_000})
    assert drift(stated, 2, {"price": 1_000}) == []
    assert drift(stated, 2, {"price": 995}) == ["price adds up to 995, at the source to 1,000"]
    assert drift(stated, 1_003, {"price": 1_000}) == ["it has 1,003 rows, the source had 2"]
    assert drift(ManifestTable(None, ()), 7, {}) == []


@pytest.mark.parametrize(
    ("rows", "published", "lost"),
    [(150, 100, 0.0), (75, 100, 0.25), (50, 100, 0.5), (49, 100, 0.51), (0, 100, 1.0), (0, 0, 0.0), (10, None, 0.0)],
)
def test_lost_share_of_published_rows(rows: int, published: int | None, lost: float) -> None:
    assert lost_share(rows, published) == pytest.approx(lost)
    assert (lost_share(rows, published) > MAX_LOSS) == (lost > 0.5)
