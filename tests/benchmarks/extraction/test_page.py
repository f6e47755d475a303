"""The page shows what was measured and nothing else: every figure on it comes from the results."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from extraction_results import COST, INCREMENTAL, LATENCY

from benchmarks.extraction.page import write_page


@pytest.fixture
def page(tmp_path: Path) -> str:
    return write_page(LATENCY, COST, INCREMENTAL, tmp_path).read_text()


def test_limits_are_held_against_what_was_measured(page: str) -> None:
    assert "| buyers' p95 during an extract, in their p95 without | 1.05 | 1.04 | kept |" in page
    assert "| server's CPU time of an extract, in that of plain COPY | 1.3 | 1.38 | missed |" in page
    assert "| peak memory of an extract at scale 1 | 300 MB | 90 MB | kept |" in page
    assert "| peak memory of an extract at scale 10, unthrottled | 300 MB | 310 MB | missed |" in page
    assert "| 1 % incremental at scale 10, end to end, in CPU times of the full batch | 0.35 | 0.3 | kept |" in page


def test_limit_that_is_missed_by_a_little_is_missed(tmp_path: Path) -> None:
    """Rounding must not decide."""
    pair = LATENCY.pairs[0]
    slower = replace(pair, during=replace(pair.during, latency_ms={50: 5.0, 95: 10.52, 99: 30.0}))

    page = write_page(replace(LATENCY, pairs=[slower]), None, None, tmp_path).read_text()

    assert "| 1.05 | 1.052 | missed |" in page


def test_readers_are_shown_with_and_without(page: str) -> None:
    assert "| extract | 5.00, 5.20 | 10.00, 10.40 | 30.00, 31.20 | 1.04 (0.50 to 2.00) | 1.04 | 90% | 3 |" in page
    assert "| psql \\copy, all at once | 5.00, 15.00 | 10.00, 30.00 | 30.00, 90.00 | 3.00 | 3.00 | 90% | 1 |" in page


def test_cost_is_per_million_rows(page: str) -> None:
    assert "| extract | 0.33 | 1.38 (1.25 to 1.50) | 1.00 | 30.0 (30.0 to 30.0) | 90 | 70 |" in page


def test_batches_are_shown_with_their_parts_and_ratios(page: str) -> None:
    assert "| incremental | 600,000 | 5.0 | 4.0 | 21.0 | 30.0 | 30.0 | 310 | 900 |" in page
    assert "| end to end, CPU time | 0.67 | 0.30 |" in page
    assert "At scale 10 both warehouses were compared: all 77,000,000 rows" in page


def test_parts_that_were_not_measured_are_not_on_the_page(tmp_path: Path) -> None:
    page = write_page(None, COST, None, tmp_path).read_text()

    assert "## What reading costs" in page
    assert "## What buyers notice" not in page
    assert "## What increments save" not in page
    assert "p95" not in page


def test_page_of_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Nothing has been measured"):
        write_page(None, None, None, tmp_path)


def test_tables_are_not_torn_apart(page: str) -> None:
    """Markdown ends a table at an empty line: header, rule and rows must follow each other."""
    lines = page.splitlines()
    rules = [number for number, line in enumerate(lines) if line.startswith("|--")]
    assert len(rules) == 6
    for rule in rules:
        columns = lines[rule].count("|")
        assert lines[rule - 1].count("|") == lines[rule + 1].count("|") == columns


def test_load_machine_day_and_versions_are_named(page: str) -> None:
    assert "pgbench makes 400 of them a second" in page
    assert "use 40% of that while nobody reads" in page
    assert page.count("Measured on 2026-01-02 on a machine with 2 cores and 24 GiB of memory") == 3
    assert page.count("Versions: PostgreSQL 18.6, dlt 1.3.") == 3


def test_page_says_when_nobody_was_kept_apart(tmp_path: Path) -> None:
    together = replace(LATENCY, server_processors=0, client_processors=0, output_in_memory=False)

    page = write_page(together, None, None, tmp_path).read_text()

    assert "too few processors to keep server, buyers and readers apart" in page
    assert "written to the server's disk" in page


def test_plot_is_drawn_beside_the_page(page: str, tmp_path: Path) -> None:
    assert "(images/benchmarks_extraction.svg)" in page
    plot = (tmp_path / "images" / "benchmarks_extraction.svg").read_text()
    assert plot.startswith("<svg")
    assert "scale 10, incremental" in plot
