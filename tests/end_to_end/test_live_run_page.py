"""The webserver sends the events of a run to its subscribers, such as the run page, while the run goes on."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import pytest
from dagster import DagsterInstance, DagsterRunStatus
from dagster._core.utils import make_new_run_id
from processes import free_port, kill_family
from refreshes import dagster_home, open_instance, wait_until
from websockets import Subprotocol
from websockets.sync.client import connect

STEPS = 6
SECONDS_BETWEEN_STEPS = 0.5
AT_MOST_SECONDS = 2.0
GIVE_UP_SECONDS = 20.0

RUN = f"""
import sys, time
from pathlib import Path
from dagster import DagsterInstance, Definitions, job, op

@op
def log_step_by_step(context) -> None:
    while not Path(sys.argv[2]).exists():
        time.sleep(0.05)
    for step in range({STEPS}):
        context.log.info(f"step sent at {{time.time()}}")
        time.sleep({SECONDS_BETWEEN_STEPS})

@job
def slow_job() -> None:
    log_step_by_step()

defs = Definitions(jobs=[slow_job])

if __name__ == "__main__":
    with DagsterInstance.get() as instance:
        slow_job.execute_in_process(instance=instance, run_id=sys.argv[1])
"""

EVENTS = """
subscription ($runId: ID!) {
  pipelineRunLogs(runId: $runId) {
    ... on PipelineRunLogsSubscriptionSuccess { messages { ... on MessageEvent { message } } }
    ... on PipelineRunLogsSubscriptionFailure { message }
  }
}
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return dagster_home(tmp_path / "dagster")


@pytest.fixture
def script(tmp_path: Path) -> Path:
    file = tmp_path / "slow_job.py"
    file.write_text(RUN)
    return file


@pytest.fixture
def webserver(home: Path, script: Path) -> Iterator[str]:
    """The host and port of a webserver over the instance."""
    address = f"127.0.0.1:{free_port()}"
    host, _, port = address.partition(":")
    command = [sys.executable, "-m", "dagster_webserver", "-h", host, "-p", port, "-f", str(script)]
    log = home / "webserver.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=home, env=environment(home), stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL
        )
    try:
        wait_until(lambda: answers(address), f"the webserver answers; see {log}", 120, 0.2)
        yield address
    finally:
        kill_family(process)


def environment(home: Path) -> dict[str, str]:
    return {**os.environ, "DAGSTER_HOME": str(home)}


def answers(address: str) -> bool:
    with suppress(URLError, ConnectionError), urlopen(f"http://{address}/server_info", timeout=5) as response:
        return bool(response.status == 200)
    return False


@pytest.mark.server
def test_events_of_a_running_run_reach_a_subscriber_within_two_seconds(
    webserver: str, home: Path, script: Path, tmp_path: Path
) -> None:
    """The run page shows what the subscription `pipelineRunLogs` sends."""
    run_id, subscribed = make_new_run_id(), tmp_path / "subscribed"
    with open_instance(home) as instance:
        command = [sys.executable, str(script), run_id, str(subscribed)]
        run = subprocess.Popen(command, cwd=home, env=environment(home), stdin=subprocess.DEVNULL)
        try:
            wait_until(lambda: is_running(instance, run_id), "the run has started", 60)
            delays: list[float] = []
            with subscription(webserver, EVENTS, runId=run_id) as answers:
                while len(delays) < STEPS:
                    answer = next(answers)
                    subscribed.touch()
                    delays += [time.time() - sent for sent in times_of_steps(answer)]
        finally:
            kill_family(run)
    assert max(delays) < AT_MOST_SECONDS, delays


@contextmanager
def subscription(address: str, query: str, **variables: Any) -> Iterator[Iterator[Mapping[str, Any]]]:
    """The answers to a GraphQL subscription, in the protocol graphql-ws, which Dagster's own pages use."""
    with connect(f"ws://{address}/graphql", subprotocols=[Subprotocol("graphql-ws")]) as socket:
        socket.send(json.dumps({"type": "connection_init", "payload": {}}))
        socket.send(json.dumps({"id": "1", "type": "start", "payload": {"query": query, "variables": variables}}))
        received = (json.loads(socket.recv(GIVE_UP_SECONDS)) for _ in itertools.count())
        yield (message["payload"]["data"] for message in received if message["type"] == "data")


def is_running(instance: DagsterInstance, run_id: str) -> bool:
    run = instance.get_run_by_id(run_id)
    return run is not None and run.status == DagsterRunStatus.STARTED


def times_of_steps(answer: Mapping[str, Any]) -> Iterator[float]:
    for event in answer["pipelineRunLogs"]["messages"]:
        if event.get("message", "").startswith("step sent at "):
            yield float(event["message"].rpartition(" ")[2])
