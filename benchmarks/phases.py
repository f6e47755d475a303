"""Where the time of a refresh goes, read from what the run itself recorded.

What belongs here: Dagster's event log and dbt's run results, turned into consecutive phases. What does not: measuring
(`measuring`), and any change to the product for the sake of being measured.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any
from unittest.mock import patch

IMPORTS = "Python, imports, definitions"
SOURCE_TABLES = "source tables"
DBT_STARTS = "dbt starts"
MODELS = "dbt models"
TESTS = "dbt tests"
DBT_BETWEEN = "dbt between nodes"
DBT_ENDS = "dbt ends, metadata"
CHECKS = "checks on row counts"
PUBLICATION = "publication"
REPORT = "report"
DAGSTER = "Dagster between steps, exit"
PHASES = (
    *(IMPORTS, SOURCE_TABLES, DBT_STARTS, MODELS, TESTS, DBT_BETWEEN, DBT_ENDS),
    *(CHECKS, PUBLICATION, REPORT, DAGSTER),
)

_PHASE_OF_STEP = {
    "source_tables": SOURCE_TABLES,
    "source_row_counts": CHECKS,
    "star_schema__fct_ticket_sales_amounts_as_source": CHECKS,
    "published_warehouse": PUBLICATION,
    "all_stars_report": REPORT,
}
_DBT_STEP = "dbt_models"


@dataclass(frozen=True)
class RunRecord:
    """What the newest run recorded; all instants are seconds since the epoch.

    Attributes:
        started_at: when the run began, that is after all imports.
        steps: start and end of every step.
    """

    started_at: float
    steps: Mapping[str, tuple[float, float]]


def read_newest_run(dagster_home: Path) -> RunRecord:
    """Read the newest run of a Dagster instance.

    Raises:
        ValueError: the instance has no finished run.
    """
    from dagster import DagsterEventType, DagsterInstance

    # The instance's configuration says where it is through this variable.
    with patch.dict(os.environ, DAGSTER_HOME=str(dagster_home)), DagsterInstance.get() as instance:
        records = instance.get_run_records(limit=1)
        entries = instance.all_logs(records[0].dagster_run.run_id) if records else []
    started_at: float | None = None
    starts: dict[str, float] = {}
    steps: dict[str, tuple[float, float]] = {}
    for entry in entries:
        event = entry.dagster_event
        if event is None:
            continue
        if event.event_type == DagsterEventType.RUN_START:
            started_at = entry.timestamp
        elif event.event_type == DagsterEventType.STEP_START and event.step_key:
            starts[event.step_key] = entry.timestamp
        elif event.event_type == DagsterEventType.STEP_SUCCESS and event.step_key:
            steps[event.step_key] = (starts[event.step_key], entry.timestamp)
    if started_at is None or not steps:
        raise ValueError(f"There is no finished run in {dagster_home}.")
    return RunRecord(started_at, steps)


def split(started_at: float, ended_at: float, run: RunRecord, dbt_results: Mapping[str, Any]) -> dict[str, float]:
    """Split the wall time of a refresh into seconds per phase; they add up to the whole.

    dbt runs several nodes at once: each instant counts for the nodes running in it, in equal parts.

    Args:
        started_at: when the process was made, seconds since the epoch.
        ended_at: when it was gone.
        run: what Dagster recorded.
        dbt_results: dbt's `run_results.json`.
    """
    seconds = dict.fromkeys(PHASES, 0.0)
    seconds[IMPORTS] = run.started_at - started_at
    for step, (start, end) in run.steps.items():
        if step != _DBT_STEP:
            seconds[_PHASE_OF_STEP.get(step, DAGSTER)] += end - start
    if _DBT_STEP in run.steps:
        start, end = run.steps[_DBT_STEP]
        nodes = _node_times(dbt_results)
        first, last = min(begun for _, begun, _ in nodes), max(done for _, _, done in nodes)
        seconds[DBT_STARTS] = first - start
        seconds[DBT_ENDS] = end - last
        for phase, share in _shared_time(nodes).items():
            seconds[phase] = share
    seconds[DAGSTER] += (ended_at - started_at) - sum(seconds.values())
    return seconds


def read_dbt_results(file: Path) -> dict[str, Any]:
    """Read dbt's `run_results.json`."""
    results: dict[str, Any] = json.loads(file.read_bytes())
    return results


def _node_times(dbt_results: Mapping[str, Any]) -> list[tuple[str, float, float]]:
    """Phase, start and end of every node dbt ran."""
    nodes = []
    for result in dbt_results["results"]:
        times = [datetime.fromisoformat(timing[name]).timestamp() for timing in result["timing"] for name in _ENDS]
        if times:
            phase = TESTS if result["unique_id"].startswith("test.") else MODELS
            nodes.append((phase, min(times), max(times)))
    return nodes


_ENDS = ("started_at", "completed_at")


def _shared_time(nodes: Sequence[tuple[str, float, float]]) -> dict[str, float]:
    shares = dict.fromkeys((MODELS, TESTS, DBT_BETWEEN), 0.0)
    instants = sorted({instant for _, start, end in nodes for instant in (start, end)})
    for start, end in pairwise(instants):
        running = [phase for phase, begun, done in nodes if begun <= start and done >= end] or [DBT_BETWEEN]
        for phase in running:
            shares[phase] += (end - start) / len(running)
    return shares


def slowest_nodes(dbt_results: Mapping[str, Any], count: int) -> list[tuple[str, float]]:
    """The dbt nodes that ran longest: name and seconds."""
    times = [(result["unique_id"].split(".")[2], result["execution_time"]) for result in dbt_results["results"]]
    return sorted(times, key=lambda entry: -entry[1])[:count]
