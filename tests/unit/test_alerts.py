"""Alerts: one message per incident, delivered or tried again, with ids and no personal data."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from dagster import (
    AssetCheckResult,
    AssetChecksDefinition,
    AssetCheckSeverity,
    DagsterInstance,
    SensorResult,
    asset,
    asset_check,
    build_sensor_context,
    materialize,
)

from acl_assets.alerts import UndeliveredAlertError, build_alert_sensor
from acl_assets.asset_keys import BATCH_TAG
from acl_assets.settings import Settings
from acl_assets.util.metadata_tables import metadata_table

REASON = "2 tickets were bought after the show."


class Webhook:
    """A local server that keeps the messages that it takes; `is_down` lets it refuse them."""

    def __init__(self) -> None:
        self.messages: list[dict[str, str]] = []
        self.is_down = False
        webhook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                if not webhook.is_down:
                    webhook.messages.append(body)
                self.send_response(503 if webhook.is_down else 200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    webhook = Webhook()
    thread = threading.Thread(target=webhook.server.serve_forever)
    thread.start()
    yield webhook
    webhook.server.shutdown()
    thread.join()
    webhook.server.server_close()


class Pipeline:
    """A pipeline of one asset and a warning check in an instance, and the ticks of the sensor that watches it."""

    def __init__(self, settings: Settings, instance: DagsterInstance, webhook: Webhook) -> None:
        address = f"json://127.0.0.1:{webhook.server.server_port}/?retry=0"
        self.settings = settings.with_changes(alert_urls=address, dagster_url="https://dagster.example.org/")
        self.instance = instance
        self.cursor: str | None = None

    def run(self, warning: str | None = None, error: str | None = None) -> str:
        """Run the pipeline, with a check that warns or an asset that fails for these reasons, and return its id."""

        @asset
        def ticket_sales() -> None:
            if error:
                raise ValueError(error)

        result = materialize(
            [ticket_sales, _bought_before_the_show(warning)],
            instance=self.instance,
            raise_on_error=False,
            tags={BATCH_TAG: "night-1"},
        )
        return result.run_id

    def tick(self) -> None:
        """Tick once, as the daemon does: a tick that fails leaves the cursor as it was."""
        context = build_sensor_context(self.instance, self.cursor, resources={"settings": self.settings})
        result = build_alert_sensor(self.settings)(context)
        assert isinstance(result, SensorResult)
        self.cursor = result.cursor or self.cursor


def _bought_before_the_show(warning: str | None) -> AssetChecksDefinition:
    @asset_check(asset="ticket_sales", blocking=False)
    def bought_before_the_show() -> AssetCheckResult:
        columns, rows = ["ticket_id", "performance_id", "buyer"], [[7, 3, "Ann Buyer"], [9, 3, "Bob Buyer"]]
        return AssetCheckResult(
            passed=warning is None,
            severity=AssetCheckSeverity.WARN,
            description=warning,
            metadata={"failing_rows": metadata_table(columns, rows)} if warning else {},
        )

    return bought_before_the_show


@pytest.fixture
def pipeline(settings: Settings, webhook: Webhook) -> Iterator[Pipeline]:
    with DagsterInstance.ephemeral() as instance:
        pipeline = Pipeline(settings, instance, webhook)
        pipeline.run(warning="This happened before alerts were turned on.")
        pipeline.tick()
        yield pipeline


def test_warning_is_told_with_batch_keys_and_link_but_without_personal_data(
    pipeline: Pipeline, webhook: Webhook
) -> None:
    run_id = pipeline.run(warning=REASON)
    pipeline.tick()
    (message,) = webhook.messages
    assert message["title"].endswith("ended with 1 warning")
    assert message["message"].splitlines() == [
        "Batch: night-1",
        f"Warning bought_before_the_show of ticket_sales: {REASON} First failing rows: performance_id 3, ticket_id 7; "
        "performance_id 3, ticket_id 9.",
        f"Run: https://dagster.example.org/runs/{run_id}",
    ]


def test_incident_is_told_once_until_it_changes_or_comes_back(pipeline: Pipeline, webhook: Webhook) -> None:
    for warning, messages in [(REASON, 1), (REASON, 1), ("3 tickets …", 2), (None, 2), ("3 tickets …", 3)]:
        pipeline.run(warning=warning)
        pipeline.tick()
        pipeline.tick()
        assert len(webhook.messages) == messages


def test_failed_run_is_told_with_its_step_and_reason_once(pipeline: Pipeline, webhook: Webhook) -> None:
    for _ in range(2):
        pipeline.run(error="tickets.csv line 41, column price: '24.99' is not a whole number.")
        pipeline.tick()
    (message,) = webhook.messages
    assert message["title"].endswith(" failed")
    assert "Step ticket_sales failed: ValueError: tickets.csv line 41, column price" in message["message"]


def test_alerts_that_nobody_took_are_tried_again_and_told_one_by_one(pipeline: Pipeline, webhook: Webhook) -> None:
    webhook.is_down = True
    pipeline.run(warning=REASON)
    pipeline.run(error="The disk is full.")
    with pytest.raises(UndeliveredAlertError, match="JSON did not take it") as raised:
        pipeline.tick()
    assert str(webhook.server.server_port) not in str(raised.value)
    webhook.is_down = False
    for _ in range(3):
        pipeline.tick()
    assert ["warning" in webhook.messages[0]["title"], "failed" in webhook.messages[1]["title"]] == [True, True]
    assert len(webhook.messages) == 2


def test_nothing_is_sent_without_addresses(pipeline: Pipeline, webhook: Webhook) -> None:
    pipeline.settings = pipeline.settings.with_changes(alert_urls=None)
    pipeline.run(warning=REASON)
    pipeline.tick()
    assert not webhook.messages
