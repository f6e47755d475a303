"""Where the time of a refresh goes: every second in one phase, none lost, none twice."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from benchmarks import phases
from benchmarks.phases import RunRecord, slowest_nodes, split

_MIDNIGHT = datetime(2026, 1, 1, tzinfo=UTC).timestamp()


def _node(unique_id: str, start: float, end: float) -> dict[str, Any]:
    times = {
        name: datetime.fromtimestamp(_MIDNIGHT + seconds, UTC).isoformat().replace("+00:00", "Z")
        for name, seconds in (("started_at", start), ("completed_at", end))
    }
    return {"unique_id": unique_id, "timing": [{"name": "execute", **times}], "execution_time": end - start}


@pytest.fixture
def dbt_results() -> dict[str, Any]:
    """Two tests beside each other for a second, a pause, then a model beside a test."""
    return {
        "results": [
            _node("test.acl_assets.first", 10, 12),
            _node("test.acl_assets.second", 11, 12),
            _node("model.acl_assets.sales", 13, 17),
            _node("test.acl_assets.third", 15, 17),
            {"unique_id": "exposure.acl_assets.report", "timing": [], "execution_time": 0.0},
        ]
    }


@pytest.fixture
def run() -> RunRecord:
    steps = {
        "source_tables": (5.0, 7.0),
        "dbt_models": (7.0, 18.5),
        "source_row_counts": (18.5, 18.75),
        "published_warehouse": (19.0, 20.0),
        "all_stars_report": (20.0, 22.0),
        "step_without_a_phase_of_its_own": (22.0, 22.5),
    }
    return RunRecord(_MIDNIGHT + 4, {step: (_MIDNIGHT + a, _MIDNIGHT + b) for step, (a, b) in steps.items()})


def test_phases_add_up_to_the_wall_time(run: RunRecord, dbt_results: dict[str, Any]) -> None:
    seconds = split(_MIDNIGHT, _MIDNIGHT + 23, run, dbt_results)

    assert sum(seconds.values()) == pytest.approx(23)
    assert tuple(seconds) == phases.PHASES


def test_time_is_divided_between_nodes_that_run_together(run: RunRecord, dbt_results: dict[str, Any]) -> None:
    seconds = split(_MIDNIGHT, _MIDNIGHT + 23, run, dbt_results)

    assert seconds[phases.TESTS] == pytest.approx(2 + 1)
    assert seconds[phases.MODELS] == pytest.approx(2 + 1)
    assert seconds[phases.DBT_BETWEEN] == pytest.approx(1)


def test_steps_and_what_lies_around_them_have_phases_of_their_own(run: RunRecord, dbt_results: dict[str, Any]) -> None:
    seconds = split(_MIDNIGHT, _MIDNIGHT + 23, run, dbt_results)

    assert seconds[phases.IMPORTS] == pytest.approx(4)
    assert seconds[phases.SOURCE_TABLES] == pytest.approx(2)
    assert seconds[phases.DBT_STARTS] == pytest.approx(3)
    assert seconds[phases.DBT_ENDS] == pytest.approx(1.5)
    assert seconds[phases.CHECKS] == pytest.approx(0.25)
    assert seconds[phases.PUBLICATION] == pytest.approx(1)
    assert seconds[phases.REPORT] == pytest.approx(2)
    assert seconds[phases.DAGSTER] == pytest.approx(1 + 0.25 + 1)


def test_slowest_nodes_come_first(dbt_results: dict[str, Any]) -> None:
    assert slowest_nodes(dbt_results, count=2) == [("sales", 4), ("first", 2)]
