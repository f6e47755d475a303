"""Alerts: one message per incident, about failed runs, failed checks and data that is too old.

The sensor looks at runs that ended since its last tick. A problem that is in the next run of the same job again is the
same incident, until a run of that job ends without it.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from dagster import (
    AssetCheckEvaluation,
    DagsterEvent,
    DagsterEventType,
    DagsterInstance,
    DagsterRun,
    DefaultSensorStatus,
    EventLogRecord,
    ResourceParam,
    RunStatusChangeRecordsFilter,
    SensorDefinition,
    SensorEvaluationContext,
    SensorResult,
    SkipReason,
    TableMetadataValue,
    sensor,
)
from pydantic import BaseModel

from acl_assets.asset_keys import BATCH_TAG, source_table_key
from acl_assets.settings import Settings, alert_addresses
from acl_assets.source_schema import EXPORT_BATCHES_TABLE
from acl_assets.util.text import visible_text

_EXPORT_BATCHES = source_table_key(EXPORT_BATCHES_TABLE.name)
_RUNS_PER_TICK = 100
_ROWS_NAMED = 3
_CHECKS_NAMED = 10


class AlertCursor(BaseModel):
    """The state of the sensor: the last event that it looked at, and by job the digests of its open problems."""

    storage_id: int
    open_problems: dict[str, list[str]] = {}


@dataclass(frozen=True)
class RunReport:
    """What people must hear of an ended run.

    Attributes:
        problems: one sentence per failed step or failed check, without anything that differs from run to run.
    """

    job: str
    run_id: str
    failed: bool
    batch: str | None
    problems: Sequence[str] = ()

    @property
    def digests(self) -> list[str]:
        """The problems as they are compared with those of other runs."""
        return [hashlib.sha256(problem.encode()).hexdigest()[:16] for problem in self.problems]

    @property
    def title(self) -> str:
        """The subject of the message."""
        count = len(self.problems)
        problem = "failed" if self.failed else f"ended with {count} warning{'s' * (count > 1)}"
        return f"acl_assets: {self.job} {problem}"

    def message(self, dagster_url: str) -> str:
        """The text of the message, with a link to the run."""
        named = [*self.problems[:_CHECKS_NAMED]]
        if more := len(self.problems) - len(named):
            named.append(f"{more} more: see the run.")
        batch = f"Batch: {self.batch}" if self.batch else "Batch: unknown, the run ended before it read one"
        return "\n".join([batch, *named, f"Run: {dagster_url.rstrip('/')}/runs/{self.run_id}"])


def report_on(run: DagsterRun, events: Sequence[DagsterEvent]) -> RunReport:
    """Return the report on an ended run from its events, oldest first."""
    problems = [*_failed_steps(run, events), *_failed_checks(events)]
    if not run.is_success and not problems:
        problems = ["The run ended without a failed step: its process was killed or could not be started."]
    return RunReport(run.job_name, run.run_id, not run.is_success, _batch(run, events), problems)


def _failed_steps(run: DagsterRun, events: Sequence[DagsterEvent]) -> Iterator[str]:
    for event in events:
        if event.event_type is not DagsterEventType.STEP_FAILURE:
            continue
        failure = event.step_failure_data
        reason = failure.user_failure_data.description if failure.user_failure_data else None
        if not reason and (error := failure.error):
            reason = (error.cause or error).message
        yield f"Step {event.step_key} failed: {visible_text((reason or 'no reason given').replace(run.run_id, '…'))}"


def _failed_checks(events: Sequence[DagsterEvent]) -> Iterator[str]:
    """Yield a sentence per check whose last result is a failure, with the keys of its first failing rows."""
    last: dict[tuple[str, str], AssetCheckEvaluation] = {}
    for event in events:
        if event.event_type is DagsterEventType.ASSET_CHECK_EVALUATION:
            evaluation = event.asset_check_evaluation_data
            last[evaluation.asset_key.to_user_string(), evaluation.check_name] = evaluation
    for (asset, check), evaluation in last.items():
        if not evaluation.passed:
            kind = "Error" if evaluation.blocking else "Warning"
            yield (
                f"{kind} {check} of {asset}: {visible_text(evaluation.description or 'see the run')}"
                f"{_failing_keys(evaluation)}"
            )


def _failing_keys(evaluation: AssetCheckEvaluation) -> str:
    """Return the ids of the first failing rows; other columns may hold personal data."""
    table = evaluation.metadata.get("failing_rows")
    if not isinstance(table, TableMetadataValue):
        return ""
    rows = [
        ", ".join(f"{name} {value}" for name, value in record.data.items() if name == "id" or name.endswith("_id"))
        for record in table.records[:_ROWS_NAMED]
    ]
    named = "; ".join(row for row in rows if row)
    return f" First failing rows: {named}." if named else ""


def _batch(run: DagsterRun, events: Sequence[DagsterEvent]) -> str | None:
    for event in events:
        if event.event_type is DagsterEventType.ASSET_MATERIALIZATION and event.asset_key == _EXPORT_BATCHES:
            recorded = event.step_materialization_data.materialization.metadata.get("batch_id")
            return str(recorded.value) if recorded else None
    for event in events:
        if event.event_type is DagsterEventType.ASSET_CHECK_EVALUATION:
            recorded = event.asset_check_evaluation_data.metadata.get("batch_id")
            if recorded:
                return str(recorded.value)
    return run.tags.get(BATCH_TAG)


def new_incident(report: RunReport, open_problems: Mapping[str, Sequence[str]]) -> bool:
    """Return whether a run has a problem that the run of its job before it did not have."""
    return not set(report.digests).issubset(open_problems.get(report.job, ()))


# Delivery -------------------------------------------------------------------------------------------------------


class UndeliveredAlertError(Exception):
    """No address took an alert; the message names the kinds of services, never an address, which holds a secret."""


def deliver(addresses: Sequence[str], title: str, message: str) -> list[str]:
    """Send a message to every address and return the kinds of services that did not take it.

    Raises:
        UndeliveredAlertError: none took it.
    """
    # Takes 0.2 s to import, which only installations with alerts should spend.
    from apprise import Apprise, NotifyFormat

    refused = []
    for address in addresses:
        service = Apprise.instantiate(address)
        if not (service and service.notify(title=title, body=message, body_format=NotifyFormat.TEXT)):
            refused.append(str(service.service_name if service else "an unknown service"))
    if len(refused) == len(addresses):
        raise UndeliveredAlertError(
            f"'{title}' was not delivered: {', '.join(refused)} did not take it. The next tick tries again; correct "
            "ACL_ALERT_URLS if the address is wrong."
        )
    return refused


# Sensor ---------------------------------------------------------------------------------------------------------


def build_alert_sensor(settings: Settings) -> SensorDefinition:
    """Return the sensor that sends alerts; it runs by default where `ACL_ALERT_URLS` is set."""

    @sensor(
        name="alerts",
        default_status=DefaultSensorStatus.RUNNING if settings.alert_urls else DefaultSensorStatus.STOPPED,
        minimum_interval_seconds=30,
        description="Sends a message to ACL_ALERT_URLS when a run fails or a check of it does, once per incident.",
    )
    def alerts(context: SensorEvaluationContext, settings: ResourceParam[Settings]) -> SensorResult:
        addresses = alert_addresses(settings.alert_urls)
        if not addresses:
            return SensorResult(skip_reason=SkipReason("No alerts are sent: ACL_ALERT_URLS is not set."))
        if not context.cursor:
            # What happened before alerts were turned on is history.
            cursor = AlertCursor(storage_id=_newest_storage_id(context.instance))
            return SensorResult(skip_reason=SkipReason("Watching from now on."), cursor=cursor.model_dump_json())
        cursor = AlertCursor.model_validate_json(context.cursor)
        for record in _ended_runs(context.instance, cursor.storage_id):
            report = _report_on_run(context.instance, record.run_id)
            is_new = new_incident(report, cursor.open_problems)
            if is_new:
                refused = deliver(addresses, report.title, report.message(settings.dagster_url))
                if refused:
                    context.log.error(f"'{report.title}' was not taken by {', '.join(refused)}; others took it.")
            cursor.open_problems[report.job] = report.digests
            cursor.storage_id = record.storage_id
            if is_new:
                # A second message that cannot be delivered would fail the tick, and the first would be sent again.
                break
        return SensorResult(skip_reason=SkipReason("Every incident was sent."), cursor=cursor.model_dump_json())

    return alerts


def _ended_runs(instance: DagsterInstance, after: int) -> list[EventLogRecord]:
    """Return the events with which runs succeeded or failed after an event, oldest first."""
    ended: list[EventLogRecord] = []
    last = math.inf
    for kind in (DagsterEventType.RUN_SUCCESS, DagsterEventType.RUN_FAILURE):
        records = instance.fetch_run_status_changes(
            RunStatusChangeRecordsFilter(kind, after_storage_id=after), limit=_RUNS_PER_TICK, ascending=True
        ).records
        if len(records) == _RUNS_PER_TICK:
            last = min(last, records[-1].storage_id)
        ended += records
    return sorted((record for record in ended if record.storage_id <= last), key=lambda record: record.storage_id)


def _newest_storage_id(instance: DagsterInstance) -> int:
    kinds = (DagsterEventType.RUN_SUCCESS, DagsterEventType.RUN_FAILURE)
    newest = [record for kind in kinds for record in instance.fetch_run_status_changes(kind, limit=1).records]
    return max((record.storage_id for record in newest), default=0)


def _report_on_run(instance: DagsterInstance, run_id: str) -> RunReport:
    run = instance.get_run_by_id(run_id)
    if run is None:
        return RunReport("a deleted job", run_id, failed=False, batch=None)
    kinds = {
        DagsterEventType.STEP_FAILURE,
        DagsterEventType.ASSET_CHECK_EVALUATION,
        DagsterEventType.ASSET_MATERIALIZATION,
    }
    events = [entry.dagster_event for entry in instance.all_logs(run_id, of_type=kinds) if entry.dagster_event]
    return report_on(run, events)
