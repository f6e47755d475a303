"""The private members of Dagster that the run launchers use, and the health check of runs on this machine."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from dagster import DagsterEvent, DagsterEventType, DefaultRunLauncher, job
from dagster._grpc.client import DagsterGrpcClient
from refreshes import dagster_home, open_instance

PRIVATE = [
    (DefaultRunLauncher, "_get_grpc_client_for_termination"),
    (DefaultRunLauncher, "supports_check_run_worker_health"),
    (DefaultRunLauncher, "check_run_worker_health"),
    (DagsterGrpcClient, "get_current_runs"),
]
"""Those that no test on this machine uses; the others are imported or used below."""


@pytest.mark.parametrize(("owner", "member"), PRIVATE)
def test_private_members_of_dagster_exist(owner: type, member: str) -> None:
    assert hasattr(owner, member), (
        f"{owner.__name__}.{member} is gone from Dagster, and the run launchers need it to tell whether the process of "
        "a run still exists. Find the new name in acl_assets/util/run_launcher.py."
    )


@job
def refresh() -> None:
    """A job for records of runs."""


def _ended() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


@pytest.mark.parametrize(
    ("process", "started", "health"),
    [
        pytest.param(os.getpid, "now", "RUNNING", id="a process that runs"),
        pytest.param(lambda: 1, "now", "RUNNING", id="a process of another user"),
        pytest.param(_ended, "now", "NOT_FOUND", id="a process that has ended"),
        pytest.param(os.getpid, "before it", "NOT_FOUND", id="a process that got its number later, after a reboot"),
        pytest.param(lambda: None, "now", "NOT_FOUND", id="no process recorded"),
    ],
)
def test_make_dev_learns_that_a_run_was_killed(
    process: Callable[[], int | None], started: str, health: str, tmp_path: Path
) -> None:
    with open_instance(dagster_home(tmp_path / "home")) as instance:
        run = instance.create_run_for_job(refresh)
        event = DagsterEvent(DagsterEventType.RUN_START.value, run.job_name, pid=process())
        earlier = psutil.Process().create_time() - 3600
        instance.report_dagster_event(event, run.run_id, timestamp=None if started == "now" else earlier)
        assert instance.run_launcher.check_run_worker_health(run).status.name == health
