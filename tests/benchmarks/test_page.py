"""The page shows what was measured and nothing else: every figure on it comes from the results."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import results as results_module
from benchmarks.contenders import DBT_BUILD, HAND_WRITTEN, HAND_WRITTEN_UNCHECKED, REFRESH
from benchmarks.page import write_page
from benchmarks.phases import PHASES
from benchmarks.results import Batch, Measurement, Results


def _run(contender: str, scale: float, turn: int, wall: float, memory: float = 500e6) -> Measurement:
    is_refresh = contender == REFRESH
    return Measurement(
        contender=contender,
        scale=scale,
        round=turn,
        wall_seconds=wall,
        cpu_seconds=wall * 1.5,
        peak_memory_bytes=int(memory),
        output_bytes=80_000_000,
        phases={phase: wall / len(PHASES) for phase in PHASES} if is_refresh else {},
        slowest_nodes=[("fct_ticket_sales", 2.25)] if is_refresh else [],
    )


@pytest.fixture
def results() -> Results:
    return Results(
        taken_on="2026-01-02",
        machine="2 cores and 24 GiB of memory",
        load_before=0.25,
        versions={"Python": "3.11.0", "duckdb": "2.0.0"},
        batches={1.0: Batch(3_750_934, 76_000_000), 10.0: Batch(37_509_340, 760_000_000)},
        equal_rows={1.0: 7_680_000},
        measurements=[
            _run(REFRESH, 1.0, 1, 20.0),
            _run(DBT_BUILD, 1.0, 1, 10.0),
            _run(HAND_WRITTEN, 1.0, 1, 4.0),
            _run(REFRESH, 1.0, 2, 33.0, memory=700e6),
            _run(DBT_BUILD, 1.0, 2, 11.0),
            _run(HAND_WRITTEN, 1.0, 2, 5.0),
            _run(REFRESH, 1.0, 3, 21.0, memory=700e6),
            _run(DBT_BUILD, 1.0, 3, 10.0),
            _run(HAND_WRITTEN, 1.0, 3, 6.0),
            _run(REFRESH, 10.0, 1, 60.0),
            _run(HAND_WRITTEN, 10.0, 1, 40.0),
            _run(HAND_WRITTEN_UNCHECKED, 10.0, 1, 30.0),
        ],
    )


@pytest.fixture
def page(results: Results, tmp_path: Path) -> str:
    return write_page(results, tmp_path).read_text()


def test_contenders_are_shown_with_median_and_extremes(page: str) -> None:
    assert "| refresh | 21.0 (20.0 to 33.0) | 31.5 | 700 | 80 |" in page
    assert "Scale 1: 3,750,934 tickets, 76 MB of Parquet exported." in page


def test_ratios_are_of_runs_of_the_same_round(page: str) -> None:
    """The median ratio of the rounds is 2.1; the ratio of the medians would be 2.1 too, but not its extremes."""
    assert "| refresh : dbt build | 2.10 (2.00 to 3.00) |  |" in page
    assert "| refresh : hand-written | 5.00 (3.50 to 6.60) | 1.50 |" in page


def test_limits_are_held_against_what_was_measured(page: str) -> None:
    assert "| refresh at scale 1, in wall times of `dbt build` | 2.5 | 2.1 | kept |" in page
    assert "| refresh at scale 1, peak memory | 600 MB | 700 MB | missed |" in page
    assert "| refresh at scale 10, in wall times of the hand-written script | 1.8 | 1.5 | kept |" in page


def test_contenders_that_did_not_run_have_no_row(page: str) -> None:
    scale_1, scale_10 = page.split("Scale 1: ")[1].split("Scale 10: ")
    assert "| hand-written, unchecked |" not in scale_1
    assert "| hand-written, unchecked |" in scale_10
    assert "| dbt build |" not in scale_10.split("Ratios")[0]


def test_phases_of_a_refresh_add_up(page: str) -> None:
    assert "| **all** | **21.0 s** | **60.0 s** |" in page
    assert "`fct_ticket_sales` 2.2" in page


def test_tables_are_not_torn_apart(page: str) -> None:
    """Markdown ends a table at an empty line: header, rule and rows must follow each other."""
    lines = page.splitlines()
    rules = [number for number, line in enumerate(lines) if line.startswith("|--")]
    assert len(rules) == 5
    for rule in rules:
        columns = lines[rule].count("|")
        assert lines[rule - 1].count("|") == lines[rule + 1].count("|") == columns


def test_machine_day_and_versions_are_named(page: str) -> None:
    assert "2026-01-02" in page
    assert "2 cores and 24 GiB of memory" in page
    assert "Versions: Python 3.11.0, duckdb 2.0.0." in page


def test_plot_is_drawn_beside_the_page(page: str, tmp_path: Path) -> None:
    assert "(images/benchmarks.svg)" in page
    plot = (tmp_path / "images" / "benchmarks.svg").read_text()
    assert plot.startswith("<svg")
    assert "hand-written, unchecked" in plot


def test_results_survive_being_written_and_read(results: Results, tmp_path: Path) -> None:
    results_module.write(results, tmp_path / "results.json")

    assert results_module.read(tmp_path / "results.json") == results
