"""The deployment with its instance in PostgreSQL: the commands of its systemd units, against a real server."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest
from postgres import execute, server_folder
from processes import free_port, kill_family
from refreshes import environment, festival_settings, land_batch, published_batches, wait_until
from systemd import DEPLOYMENT, environment_file, start_command

from acl_assets.settings import PROJECT_DIR, Settings
from acl_assets.simulator.postgres_server import PostgresServer
from acl_assets.util.refresh_lock import RefreshLock

pytestmark = [pytest.mark.server, pytest.mark.slow, pytest.mark.exhaustive]

CODE_SERVER, DAEMON, WEBSERVER = "acl-assets-code-server", "acl-assets-daemon", "acl-assets-webserver"
PASSWORD = "pass word@with:all/of%it"  # noqa: S105 # of a server that ends with the test

LAUNCH = """
mutation Launch($job: JobOrPipelineSelector!) {
  launchRun(executionParams: {selector: $job, runConfigData: {}}) {
    __typename
    ... on LaunchRunSuccess { run { runId } }
    ... on PythonError { message }
  }
}
"""
REFRESH = {
    "repositoryLocationName": "acl_assets.definitions",
    "repositoryName": "__repository__",
    "jobName": "refresh",
}


class Deployment:
    """Code server, daemon and webserver over a database of their own."""

    def __init__(self, folder: Path, server: PostgresServer) -> None:
        self.settings: Settings = festival_settings(folder / "data")
        self.environment = {
            **environment_file(DEPLOYMENT / "environment.example"),
            "DAGSTER_HOME": str(folder / "home"),
            "DAGSTER_POSTGRES_HOST": "127.0.0.1",
            "DAGSTER_POSTGRES_PORT": str(server.port),
            "DAGSTER_POSTGRES_PASSWORD": PASSWORD,
            "DAGSTER_COMPUTE_LOGS_DIR": str(folder / "compute_logs"),
            "DAGSTER_CODE_SERVER_SOCKET": str(folder / "code_server.sock"),
            "DAGSTER_WEBSERVER_PORT": str(free_port()),
        }
        (folder / "home").mkdir()
        shutil.copy(DEPLOYMENT / "dagster.yaml", folder / "home")
        self._folder, self._server = folder, server
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, service: str) -> subprocess.Popen[bytes]:
        """Start a service as systemd does."""
        with (self._folder / f"{service}.log").open("ab") as log:
            self.processes[service] = subprocess.Popen(
                start_command(service, self.environment),
                cwd=PROJECT_DIR,
                env={**self.environment, **environment(self.settings, Path(self.environment["DAGSTER_HOME"]))},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return self.processes[service]

    def said(self, service: str) -> str:
        """Return what a service has logged so far."""
        return (self._folder / f"{service}.log").read_text(errors="replace")

    def query(self, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """Return rows of the instance's database, read as its own role."""
        return execute(self._server.dsn("dagster", "dagster", PASSWORD), statement, parameters)

    def request_refresh(self) -> str:
        """Launch the job in the webserver, and return the id of the run."""
        request = Request(
            f"http://127.0.0.1:{self.environment['DAGSTER_WEBSERVER_PORT']}/graphql",
            json.dumps({"query": LAUNCH, "variables": {"job": REFRESH}}).encode(),
            {"Content-Type": "application/json"},
        )
        with urlopen(request, timeout=60) as response:  # noqa: S310 # of the webserver above
            launched = json.load(response)["data"]["launchRun"]
        assert launched["__typename"] == "LaunchRunSuccess", launched
        return str(launched["run"]["runId"])

    def status(self, run_id: str) -> str:
        """Return a run's status in the database."""
        return str(self.query("select status from runs where run_id = %s", run_id)[0][0])

    def wait_for(self, run_id: str, status: str) -> None:
        """Wait until a run has a status, and fail when it ends with another one."""
        awaited = {status, "SUCCESS", "FAILURE", "CANCELED"}
        try:
            wait_until(lambda: self.status(run_id) in awaited, f"run {run_id} is {status}", 120.0, 0.2)
        finally:
            assert self.status(run_id) == status, f"{self.said(DAEMON)}\n{self.said(CODE_SERVER)}"


@pytest.fixture(scope="module")
def deployment(postgres_server: PostgresServer) -> Iterator[Deployment]:
    """A deployment set up as its page says; the first batch has landed, and its refresh has ended."""
    with _database(postgres_server), server_folder() as folder:
        deployed = Deployment(folder, postgres_server)
        land_batch(deployed.settings)
        try:
            assert deployed.start("acl-assets-migrate").wait() == 0, deployed.said("acl-assets-migrate")
            deployed.start(CODE_SERVER)
            wait_until(lambda: "Started Dagster code server" in deployed.said(CODE_SERVER), "the code server started")
            deployed.start(DAEMON)
            deployed.start(WEBSERVER)
            wait_until(lambda: deployed.query("select 1 from runs") != [], "the sensor requested a run")
            ((run_id,),) = deployed.query("select run_id from runs")
            deployed.wait_for(run_id, "SUCCESS")
            yield deployed
        finally:
            for process in deployed.processes.values():
                kill_family(process)


@contextmanager
def _database(server: PostgresServer) -> Iterator[None]:
    """The role and the database of the deployment; the server lets the role in by its password alone."""
    for statement in (DEPLOYMENT / "instance_database.sql").read_text(encoding="utf-8").split(";")[:-1]:
        execute(server.dsn(), statement)
    execute(server.dsn(), "alter role dagster password %s", [PASSWORD])
    rules = server.data_dir / "pg_hba.conf"
    before = rules.read_text()
    rules.write_text(f"host all dagster 127.0.0.1/32 scram-sha-256\n{before}")
    execute(server.dsn(), "select pg_reload_conf()")
    try:
        yield
    finally:
        rules.write_text(before)
        execute(server.dsn(), "drop database dagster with (force)")
        execute(server.dsn(), "drop role dagster")
        execute(server.dsn(), "select pg_reload_conf()")


def test_a_landed_batch_is_refreshed_from_by_way_of_the_queue(deployment: Deployment) -> None:
    """Sensor, queue, run and UI are processes that meet in the database alone."""
    ((run_id,),) = deployment.query("select run_id from run_tags where key = 'acl/export_batch' and value = 'first'")
    assert published_batches(deployment.settings) == ["first"]

    events = deployment.query("select dagster_event_type from event_logs where run_id = %s order by id", run_id)
    of_the_run = [event for (event,) in events if event and event.startswith("PIPELINE_")]
    assert of_the_run == [f"PIPELINE_{name}" for name in ("ENQUEUED", "STARTING", "START", "SUCCESS")]
    assert list(Path(deployment.environment["DAGSTER_COMPUTE_LOGS_DIR"]).rglob("*.err"))
    assert not list(Path(deployment.environment["DAGSTER_HOME"]).rglob("*.db"))


def test_a_run_whose_code_server_dies_fails_and_the_next_one_starts(deployment: Deployment) -> None:
    """Neither run can go on while the test holds the lock of a refresh, and the pool admits one at a time."""
    lock = RefreshLock(lock_file=str(deployment.settings.refresh_lock_file), wait_seconds=0)
    lock.acquire("the test", lambda message: None)
    try:
        first, second = (deployment.request_refresh() for _ in range(2))
        deployment.wait_for(first, "STARTED")
        assert deployment.status(second) == "QUEUED"
        kill_family(deployment.processes[CODE_SERVER])
        deployment.start(CODE_SERVER)
        deployment.wait_for(first, "FAILURE")
        assert "the code server has been restarted since" in deployment.said(DAEMON)
        deployment.wait_for(second, "STARTED")
        deployment.request_refresh()

        failed, queued = re.findall("`(select .* from runs .*)`", (PROJECT_DIR / "docs/deployment.md").read_text())
        assert (first, "refresh") in deployment.query(failed)
        assert deployment.query(queued) != [(None,)]
    finally:
        lock.release()
