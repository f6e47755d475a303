"""Results are stored by scale, and the pages in docs are made from them."""

from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from benchmarks import page
from benchmarks.page import extraction_budgets, refresh_budgets
from benchmarks.results import Circumstances, ExtractionResult, RefreshResult, read, store

CIRCUMSTANCES = Circumstances(date(2026, 1, 2), "2 cores", 0.5, {"duckdb": "2.0.0"})
REFRESHED = RefreshResult(1.0, CIRCUMSTANCES, 3_751_006, {}, [])


def test_budget_without_runs_is_not_measured_yet() -> None:
    budgets = [*refresh_budgets({1.0: REFRESHED}), *extraction_budgets({})]
    assert {budget.holds for budget in budgets} == {"not measured yet"}


def test_stored_result_replaces_that_of_the_same_scale_only(tmp_path: Path) -> None:
    file = tmp_path / "results" / "refresh.json"
    small, later = replace(REFRESHED, scale=0.1), replace(REFRESHED, tickets=7)
    for result in (REFRESHED, small, later):
        store(result, file)

    assert read(RefreshResult, file) == {0.1: small, 1.0: later}


@pytest.mark.parametrize(
    ("write", "kind", "stored", "made"),
    [
        (page.write_refresh_page, RefreshResult, page.REFRESH_FILE, page.REFRESH_PAGE),
        (page.write_extraction_page, ExtractionResult, page.EXTRACTION_FILE, page.EXTRACTION_PAGE),
    ],
)
def test_page_in_docs_is_made_from_the_stored_results(tmp_path: Path, write, kind, stored: Path, made: Path) -> None:
    write(read(kind, stored), tmp_path / "page.md")

    assert made.read_text() == (tmp_path / "page.md").read_text()
