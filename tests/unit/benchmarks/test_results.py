"""Ratios, budgets and pages are computed from stored results."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from benchmarks import page
from benchmarks.contenders import AFTER_INCREMENT, DBT_BUILD, REFRESH
from benchmarks.extraction.readers import EXTRACT
from benchmarks.page import extraction_budgets, refresh_budgets
from benchmarks.results import (
    Circumstances,
    ExtractionResult,
    Figure,
    Pair,
    RefreshResult,
    Run,
    latency_ratio,
    read,
    store,
    wall_ratio,
)

CIRCUMSTANCES = Circumstances(date(2026, 1, 2), "2 cores", 0.5, {"duckdb": "2.0.0"})


def runs_of(contender: str, *wall_seconds: float) -> list[Run]:
    return [Run(contender, turn, wall, 1.0, 500_000_000) for turn, wall in enumerate(wall_seconds, start=1)]


RUNS = [*runs_of(REFRESH, 20, 30, 40), *runs_of(DBT_BUILD, 20, 10, 20), *runs_of(AFTER_INCREMENT, 30, 30, 60)]
REFRESHED = RefreshResult(1.0, CIRCUMSTANCES, 3_751_006, {DBT_BUILD: 42}, RUNS)
PERCENTILES = {50: 1.0, 95: 2.0, 99: 4.0}
EXTRACTED = ExtractionResult(
    1.0, CIRCUMSTANCES, 3_751_006, 200, 500.0, 20.0, [Pair(EXTRACT, 1, PERCENTILES, {**PERCENTILES, 95: 2.2})]
)


def test_ratio_divides_runs_of_the_same_round() -> None:
    assert wall_ratio(REFRESHED, REFRESH, DBT_BUILD) == Figure(median=2.0, lowest=1.0, highest=3.0)
    assert wall_ratio(REFRESHED, REFRESH, "nobody") is None
    assert latency_ratio(EXTRACTED, EXTRACT, 95) == Figure(*[pytest.approx(1.1)] * 3)


def test_budget_holds_up_to_its_limit() -> None:
    verdicts = {budget.text.partition(",")[0]: budget.holds for budget in refresh_budgets({1.0: REFRESHED})}

    assert verdicts["refresh : dbt build"] == "yes"
    assert verdicts["refresh after a 1 % incremental batch : refresh"] == "**no**"
    assert verdicts["refresh : hand-written SQL"] == "not measured yet"
    assert [budget.holds for budget in extraction_budgets({1.0: EXTRACTED})] == ["**no**"]


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
