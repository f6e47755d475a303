"""Ratios are of what was measured next to each other, and nothing is lost on the way to a file and back."""

from __future__ import annotations

from pathlib import Path

import pytest
from extraction_results import COST, INCREMENTAL, LATENCY

from benchmarks.extraction import results
from benchmarks.extraction.contenders import CONNECTORX, CONTENDERS, EXTRACT, PLAIN_COPY, PSQL
from benchmarks.extraction.results import Cost, Incremental, Latency


def test_latency_ratios_are_of_pairs() -> None:
    """The medians of both kinds of block would say 1.0."""
    ratio = LATENCY.ratio(EXTRACT, 95)

    assert ratio is not None
    assert (ratio.lowest, ratio.median, ratio.highest) == pytest.approx((0.5, 1.04, 2.0))
    assert LATENCY.ratio(CONNECTORX, 95) is None


def test_server_cpu_is_compared_within_a_round() -> None:
    ratio = COST.server_cpu_ratio(EXTRACT, PLAIN_COPY)

    assert ratio is not None
    assert (ratio.lowest, ratio.highest) == pytest.approx((1.25, 1.5))
    assert COST.server_cpu_ratio(PSQL, PLAIN_COPY) is None


def test_increment_is_compared_end_to_end_with_the_full_batch_of_its_round() -> None:
    ratio = INCREMENTAL.ratio(10, lambda run: run.cpu_seconds)

    assert ratio is not None
    assert ratio.median == pytest.approx((5 + 4 + 21) / (20 + 10 + 70))


@pytest.mark.parametrize("part", [LATENCY, COST, INCREMENTAL])
def test_parts_survive_being_written_and_read(part: Latency | Cost | Incremental, tmp_path: Path) -> None:
    results.write(part, tmp_path / "results" / "part.json")

    assert results.read(type(part), tmp_path / "results" / "part.json") == part


def test_part_that_was_not_measured_is_none(tmp_path: Path) -> None:
    assert results.read(Cost, tmp_path / "cost.json") is None


def test_results_are_complete_when_nothing_was_left_out() -> None:
    some = [PLAIN_COPY, EXTRACT, PSQL]

    assert results.are_complete(LATENCY, COST, INCREMENTAL, some, [1, 10])
    assert not results.are_complete(LATENCY, COST, INCREMENTAL, CONTENDERS, [1, 10])
    assert not results.are_complete(LATENCY, COST, INCREMENTAL, some, [1, 20])
    assert not results.are_complete(LATENCY, COST, INCREMENTAL, some, [2, 10])
    assert not results.are_complete(LATENCY, None, INCREMENTAL, some, [1, 10])
