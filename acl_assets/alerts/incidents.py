"""Turn the events of a run into incidents, and the new incidents into a message."""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dagster import (
    AssetCheckEvaluation,
    AssetCheckSeverity,
    DagsterEvent,
    DagsterEventType,
    DagsterRun,
    MetadataValue,
    TableMetadataValue,
)

from acl_assets.asset_keys import BATCH_TAG
from acl_assets.util.runs import failure_in_words, root_cause
from acl_assets.util.text import visible_text

_RUN_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_KEY_COLUMN = re.compile(r"id|.*_id|unique_field")
_MAX_INCIDENTS = 10
_MAX_KEYS = 5
_MAX_LENGTH = 500
# Chat services render Markdown, HTML and mentions in texts.
_INERT = str.maketrans("<>[]`*@|", "()()'  /")


@dataclass(frozen=True)
class Incident:
    """A failed run or check: a line for people, and a reason that stays the same while nothing changes."""

    text: str
    reason: str


def findings(run: DagsterRun, events: Sequence[DagsterEvent], *, failed: bool) -> dict[str, Incident | None]:
    """Return the incident of the job of an ended run and of each of its checks, None where all is well."""
    found: dict[str, Incident | None] = {f"job {run.job_name}": _failed_run(run, events) if failed else None}
    for event in events:
        if event.event_type == DagsterEventType.ASSET_CHECK_EVALUATION:
            check = event.asset_check_evaluation_data
            name = f"{check.check_name} of {check.asset_key.to_user_string()}"
            found[f"check {name}"] = None if check.passed else _failed_check(name, check)
    return found


def alert(run: DagsterRun, events: Sequence[DagsterEvent], incidents: Sequence[Incident], url: str) -> tuple[str, str]:
    """Return title and text of the message about the new incidents of a run; `url` is that of Dagster's UI."""
    batch = _batch(run, events)
    lines = [f"Batch {_inert(batch)}"] if batch else []
    lines += [incident.text for incident in incidents[:_MAX_INCIDENTS]]
    if len(incidents) > _MAX_INCIDENTS:
        lines.append(f"and {len(incidents) - _MAX_INCIDENTS} more")
    lines.append(f"{url}/runs/{run.run_id}")
    others = f" and {len(incidents) - 1} more" if len(incidents) > 1 else ""
    return f"acl_assets: {incidents[0].text.partition(':')[0]}{others}", "\n".join(lines)


def _failed_run(run: DagsterRun, events: Sequence[DagsterEvent]) -> Incident:
    """Describe a failed run by its failed steps; only our own errors are quoted, for others may hold anything."""
    steps = [event for event in events if event.event_type == DagsterEventType.STEP_FAILURE]
    causes = [f"step {event.step_key}: {_cause(event)}" for event in steps]
    job = "A run of selected assets" if run.job_name.startswith("__") else f"Job {run.job_name}"
    text = f"{job} failed: {'; '.join(causes) or 'no step did, see its page'}"
    return Incident(text, _digest(_RUN_ID.sub("", text)))


def _cause(event: DagsterEvent) -> str:
    if description := failure_in_words(event):
        return _inert(description)
    cause = root_cause(event)
    return cause[0] if cause else "unknown error"


def _failed_check(name: str, check: AssetCheckEvaluation) -> Incident:
    """Describe a failed check with the keys of its first failing rows, and no other value of theirs."""
    metadata, description = check.metadata, check.description
    rows, keys = _value(metadata, "dagster_dbt/failed_row_count"), _keys(metadata.get("failing_rows"))
    counted = f" Failing rows: {rows}." if rows else ""
    first = f" First: {'; '.join(keys[:_MAX_KEYS])}." if keys else ""
    level = "failed" if check.severity == AssetCheckSeverity.ERROR else "warns"
    # dbt stores failing rows in no certain order, so a part of them says nothing about a change.
    all_keys = sorted(keys) if len(keys) == rows else []
    return Incident(
        f"Check {name} {level}: {_inert(description or 'see its page')}{counted}{first}",
        _digest([check.severity.value, description, rows, all_keys]),
    )


def _keys(table: MetadataValue[Any] | None) -> list[str]:
    if not isinstance(table, TableMetadataValue):
        return []
    rows = [
        [
            f"{name} {value}"
            for name, value in row.data.items()
            if _KEY_COLUMN.fullmatch(name) and isinstance(value, int)
        ]
        for row in table.records
    ]
    return [", ".join(row) for row in rows if row]


def _batch(run: DagsterRun, events: Sequence[DagsterEvent]) -> str | None:
    """Return the id of the newest batch that a run was about: what its steps recorded, or the sensor's tag."""
    for event in events:
        if event.event_type == DagsterEventType.ASSET_MATERIALIZATION:
            metadata = event.step_materialization_data.materialization.metadata
        elif event.event_type == DagsterEventType.ASSET_CHECK_EVALUATION:
            metadata = event.asset_check_evaluation_data.metadata
        else:
            continue
        if batch := _value(metadata, "batch_id"):
            return str(batch)
    return run.tags.get(BATCH_TAG)


def _value(metadata: Mapping[str, MetadataValue[Any]], name: str) -> Any:
    return metadata[name].value if name in metadata else None


def _inert(text: str) -> str:
    return visible_text(" ".join(text.split()), _MAX_LENGTH).translate(_INERT)


def _digest(reason: object) -> str:
    return hashlib.sha256(json.dumps(reason).encode()).hexdigest()[:16]
