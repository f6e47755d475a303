"""The webserver sends the events of a run to its subscribers, such as the run page, while the run goes on."""

import json
import os
import threading
import time

import pytest
from dagster import DagsterInstance, OpExecutionContext, job, op
from dagster._core.utils import make_new_run_id
from processes import dagster_webserver
from refreshes import wait_until
from websockets import Subprotocol
from websockets.sync.client import connect

pytestmark = [pytest.mark.server, pytest.mark.slow]

STEPS = 6
AT_MOST_SECONDS = 2.0
EVENTS = """
subscription ($runId: ID!) {
  pipelineRunLogs(runId: $runId) {
    ... on PipelineRunLogsSubscriptionSuccess { messages { ... on MessageEvent { message } } }
  }
}
"""

subscribed = threading.Event()


@op
def log_step_by_step(context: OpExecutionContext) -> None:
    subscribed.wait(60)
    for _ in range(STEPS):
        context.log.info(f"step sent at {time.time()}")
        time.sleep(0.5)


@job
def slow_job() -> None:
    log_step_by_step()


def test_events_of_a_running_run_reach_a_subscriber_within_two_seconds(instance: DagsterInstance) -> None:
    """The run page shows what the subscription `pipelineRunLogs` sends, over the protocol graphql-ws."""
    run_id = make_new_run_id()
    run = threading.Thread(target=slow_job.execute_in_process, kwargs={"instance": instance, "run_id": run_id})
    delays: list[float] = []
    with dagster_webserver({**os.environ, "DAGSTER_HOME": instance.root_directory}, "--empty-workspace") as server:
        run.start()
        wait_until(lambda: instance.has_run(run_id), "the run has started", 60)
        with connect(f"{server.replace('http', 'ws')}/graphql", subprotocols=[Subprotocol("graphql-ws")]) as socket:
            socket.send(json.dumps({"type": "connection_init", "payload": {}}))
            query = {"query": EVENTS, "variables": {"runId": run_id}}
            socket.send(json.dumps({"id": "1", "type": "start", "payload": query}))
            while len(delays) < STEPS:
                answer = json.loads(socket.recv(timeout=20))
                if answer["type"] == "data":
                    subscribed.set()
                    messages = answer["payload"]["data"]["pipelineRunLogs"]["messages"]
                    delays += [time.time() - sent for sent in map(sent_at, messages) if sent]
        run.join()
    assert max(delays) < AT_MOST_SECONDS, delays


def sent_at(event: dict[str, str]) -> float | None:
    """Return when a message of the job was logged, None for another event."""
    text = event.get("message", "")
    return float(text.rpartition(" ")[2]) if text.startswith("step sent at ") else None
