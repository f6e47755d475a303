"""A webhook receives each incident of the runs that ended, tick by tick, as the daemon makes the ticks."""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest
from dagster import (
    AssetCheckResult,
    AssetCheckSeverity,
    AssetCheckSpec,
    DagsterInstance,
    Definitions,
    Failure,
    MaterializeResult,
    SensorDefinition,
    asset,
    build_sensor_context,
    define_asset_job,
)
from processes import free_port, json_server

from acl_assets.alerts.sensors import build_alert_sensors
from acl_assets.settings import Settings
from acl_assets.util.metadata_tables import metadata_table
from acl_assets.util.notifications import DeliveryError, send, services_at

TOKEN = "t0k3n"  # noqa: S105 # of nothing


@dataclass
class Webhook:
    """Keeps what is posted to it."""

    port: int
    received: list[dict[str, Any]] = field(default_factory=list)

    @property
    def address(self) -> str:
        return f"json://127.0.0.1:{self.port}/{TOKEN}"

    def serve(self) -> AbstractContextManager[int]:
        return json_server(self.received.append, self.port)


@dataclass
class Ticks:
    """Ticks of a sensor: each starts with the cursor of the last one that did not fail."""

    sensor: SensorDefinition
    instance: DagsterInstance
    cursor: str | None = None

    def next(self) -> None:
        context = build_sensor_context(self.instance, self.cursor)
        self.cursor = self.sensor(context).cursor


def failing_rows(*ids: int) -> AssetCheckResult:
    """A warning as dbt's tests give it, with failing rows that hold more than keys."""
    rows = [[number, f"Buyer {number}"] for number in ids]
    return AssetCheckResult(
        passed=not ids,
        severity=AssetCheckSeverity.WARN,
        description="Tickets were bought after the show.",
        metadata={
            "dagster_dbt/failed_row_count": len(ids),
            "failing_rows": metadata_table(["ticket_id", "name"], rows),
        },
    )


def refresh(instance: DagsterInstance, outcome: AssetCheckResult | Exception, batch: str = "night-1") -> str:
    """Run a job `refresh` of one asset with one check, and return the id of the run."""

    @asset(check_specs=[AssetCheckSpec("bought_before_the_show", asset="tickets")])
    def tickets() -> MaterializeResult:
        if isinstance(outcome, Exception):
            raise outcome
        return MaterializeResult(metadata={"batch_id": batch}, check_results=[outcome])

    job = Definitions(assets=[tickets], jobs=[define_asset_job("refresh")]).resolve_job_def("refresh")
    return job.execute_in_process(instance=instance, raise_on_error=False).run_id


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    webhook = Webhook(free_port())
    with webhook.serve():
        yield webhook


@pytest.fixture
def ticks(instance: DagsterInstance, webhook: Webhook) -> Ticks:
    """Ticks of a sensor that has started and ignores runs that ended before."""
    refresh(instance, failing_rows(1))
    (sensor,) = build_alert_sensors(Settings(alert_urls=webhook.address, dagster_url="https://dagster.example.com/"))
    ticks = Ticks(sensor, instance)
    ticks.next()
    return ticks


def test_warning_of_a_successful_run_arrives_with_batch_check_keys_and_link(ticks: Ticks, webhook: Webhook) -> None:
    run_id = refresh(ticks.instance, failing_rows(5, 9))
    ticks.next()
    (received,) = webhook.received
    assert received["title"] == "acl_assets: Check bought_before_the_show of tickets warns"
    assert received["message"].splitlines() == [
        "Batch night-1",
        "Check bought_before_the_show of tickets warns: Tickets were bought after the show. Failing rows: 2. "
        "First: ticket_id 5; ticket_id 9.",
        f"https://dagster.example.com/runs/{run_id}",
    ]


def test_check_sends_one_message_until_it_passes_or_changes(ticks: Ticks, webhook: Webhook) -> None:
    sent = []
    for ids in [(5,), (5,), (5, 6), (6, 5), (), (5, 6)]:
        refresh(ticks.instance, failing_rows(*ids))
        ticks.next()
        ticks.next()
        sent.append(len(webhook.received))
    assert sent == [1, 1, 2, 2, 2, 3]


def test_failed_run_sends_one_message_until_it_fails_for_another_reason_or_succeeds(
    ticks: Ticks, webhook: Webhook
) -> None:
    for outcome in (
        Failure("venues.csv line 4 is **not** <CSV>."),
        Failure("venues.csv line 4 is **not** <CSV>."),
        KeyError("Buyer 17"),
        failing_rows(),
        Failure("venues.csv line 4 is **not** <CSV>."),
    ):
        refresh(ticks.instance, outcome)
        ticks.next()
    lines = [received["message"].splitlines()[0] for received in webhook.received]
    own = "Job refresh failed: step tickets: venues.csv line 4 is   not   (CSV)."
    assert lines == [own, "Job refresh failed: step tickets: KeyError", own]


def test_alerts_that_were_not_delivered_are_sent_in_order_once_the_service_answers(
    instance: DagsterInstance, webhook: Webhook
) -> None:
    silent = Webhook(free_port())
    sensors = build_alert_sensors(Settings(alert_urls=f"{webhook.address}, {silent.address}"))
    assert [sensor.name for sensor in sensors] == ["alerts_to_json", "alerts_to_json_2"]
    good, late = (Ticks(sensor, instance) for sensor in sensors)
    for ticks in (good, late):
        ticks.next()
    for number in (1, 2):
        refresh(instance, failing_rows(number), batch=f"night-{number}")
        good.next()
        with pytest.raises(DeliveryError, match=r"^JSON did not take the alert") as failed:
            late.next()
        assert TOKEN not in str(failed.value)
        assert str(silent.port) not in str(failed.value)
    with silent.serve():
        for _ in range(3):
            late.next()
    assert [received["message"].splitlines()[0] for received in silent.received] == ["Batch night-1", "Batch night-2"]
    assert len(webhook.received) == 2


class Redirect(BaseHTTPRequestHandler):
    """Sends a post elsewhere, as a proxy does that wants https, and answers what arrives there."""

    def do_POST(self) -> None:
        self.send_response(302)
        self.send_header("Location", "/elsewhere")
        self.end_headers()

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()


def test_message_to_an_address_that_redirects_counts_as_not_delivered() -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Redirect) as server:
        Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        (service,) = services_at(f"json://127.0.0.1:{server.server_port}/")
        with pytest.raises(DeliveryError):
            send(service, "title", "body")
        server.shutdown()
