"""One sensor per address of ACL_ALERT_URLS, which sends what is new about every run that ends."""

import re
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from dagster import (
    DagsterEventType,
    DagsterInstance,
    DefaultSensorStatus,
    EventLogRecord,
    RunStatusChangeRecordsFilter,
    SensorDefinition,
    SensorEvaluationContext,
    SensorResult,
    SkipReason,
    sensor,
)
from pydantic import BaseModel

from acl_assets.alerts.incidents import alert, findings
from acl_assets.settings import Settings

if TYPE_CHECKING:
    from apprise import NotifyBase

_EVENTS = {
    DagsterEventType.ASSET_CHECK_EVALUATION,
    DagsterEventType.ASSET_MATERIALIZATION,
    DagsterEventType.STEP_FAILURE,
}
_RUNS_PER_TICK = 25


class AlertCursor(BaseModel):
    """The end of a run that was looked at last, and the reason of every open incident by what failed."""

    storage_id: int
    reasons: dict[str, str] = {}


def build_alert_sensors(settings: Settings) -> list[SensorDefinition]:
    """Return a sensor for every address, none if there are none.

    With a cursor of its own, an address that cannot be reached neither delays nor repeats what others get.
    """
    if settings.alert_urls is None:
        return []
    # Only installations that send alerts load the library.
    from acl_assets.util.notifications import services_at

    names: Counter[str] = Counter()
    sensors = []
    for service in services_at(settings.alert_urls.get_secret_value()):
        name = "alerts_to_" + re.sub(r"\W+", "_", str(service.service_name).lower()).strip("_")
        names[name] += 1
        sensors.append(_alert_sensor(f"{name}_{names[name]}" if names[name] > 1 else name, service, settings))
    return sensors


def _alert_sensor(name: str, service: "NotifyBase", settings: Settings) -> SensorDefinition:
    from acl_assets.util.notifications import send

    @sensor(
        name=name,
        default_status=DefaultSensorStatus.RUNNING,
        minimum_interval_seconds=30,
        description=f"Sends failed runs and failed checks to {service.service_name}, once until they pass or change.",
    )
    def alert_sensor(context: SensorEvaluationContext) -> SensorResult:
        """Send at most one message per tick: a failed delivery keeps the cursor, so nothing is lost or repeated."""
        instance = context.instance
        if context.cursor is None:
            newest = instance.event_log_storage.get_maximum_record_id()
            return _result("Alerts begin with the next run that ends.", AlertCursor(storage_id=newest or 0))
        cursor = AlertCursor.model_validate_json(context.cursor)
        for record in _ended_runs(instance, cursor.storage_id):
            cursor.storage_id = record.storage_id
            run = instance.get_run_by_id(record.run_id)
            if run is None:
                continue
            logs = instance.all_logs(run.run_id, of_type=_EVENTS)
            events = [entry.dagster_event for entry in logs if entry.dagster_event]
            is_failed = record.event_log_entry.dagster_event_type == DagsterEventType.RUN_FAILURE
            found = findings(run, events, failed=is_failed)
            new = [i for subject, i in found.items() if i and cursor.reasons.get(subject) != i.reason]
            cursor.reasons = {
                **{subject: reason for subject, reason in cursor.reasons.items() if subject not in found},
                **{subject: incident.reason for subject, incident in found.items() if incident},
            }
            if new:
                title, body = alert(run, events, new, settings.dagster_url)
                send(service, title, body)
                return _result(f"Sent: {title}.", cursor)
        return _result("Nothing new has failed.", cursor)

    return alert_sensor


def _result(text: str, cursor: AlertCursor) -> SensorResult:
    return SensorResult(skip_reason=SkipReason(text), cursor=cursor.model_dump_json())


def _ended_runs(instance: DagsterInstance, after: int) -> Sequence[EventLogRecord]:
    """Return the ends of successful and failed runs after a storage id, oldest first."""
    filters = (
        RunStatusChangeRecordsFilter(DagsterEventType.RUN_SUCCESS, after_storage_id=after),
        RunStatusChangeRecordsFilter(DagsterEventType.RUN_FAILURE, after_storage_id=after),
    )
    ends = [
        record
        for records_filter in filters
        for record in instance.fetch_run_status_changes(records_filter, _RUNS_PER_TICK, ascending=True).records
    ]
    return sorted(ends, key=lambda record: record.storage_id)[:_RUNS_PER_TICK]
