"""The private members of Dagster that the run launchers use, and the health check of runs on this machine."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
from dagster import DagsterEvent, DagsterEventType, job
from refreshes import dagster_home, open_instance

PRIVATE = [
    ("dagster", "DefaultRunLauncher", "_get_grpc_client_for_termination"),
    ("dagster", "DefaultRunLauncher", "supports_check_run_worker_health"),
    ("dagster", "DefaultRunLauncher", "check_run_worker_health"),
    ("dagster", "DefaultRunLauncher", "_instance"),
    ("dagster._core.errors", "DagsterUserCodeUnreachableError", None),
    ("dagster._core.launcher", "CheckRunHealthResult", None),
    ("dagster._core.launcher", "WorkerStatus", "NOT_FOUND"),
    ("dagster._grpc.client", "DagsterGrpcClient", "get_current_runs"),
    ("dagster._grpc.types", "GetCurrentRunsResult", None),
    ("dagster._serdes", "deserialize_value", None),
]


@pytest.mark.parametrize(("module", "name", "member"), PRIVATE)
def test_private_members_of_dagster_exist(module: str, name: str, member: str | None) -> None:
    found = getattr(importlib.import_module(module), name, None)
    assert hasattr(found, member or "__name__"), (
        f"{module}.{name}{f'.{member}' if member else ''} is gone from Dagster, and the run launchers need it to "
        "tell whether the process of a run still exists. Find the new name in acl_assets/util/run_launcher.py."
    )


@job
def refresh() -> None:
    """A job for records of runs."""


def test_make_dev_learns_that_a_run_was_killed(tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    with open_instance(dagster_home(tmp_path / "home")) as instance:
        health = []
        for process in (os.getpid(), ended.pid):
            run = instance.create_run_for_job(refresh)
            event = DagsterEvent(DagsterEventType.RUN_START.value, run.job_name, pid=process)
            instance.report_dagster_event(event, run.run_id)
            health.append(instance.run_launcher.check_run_worker_health(run).status.name)
    assert health == ["RUNNING", "NOT_FOUND"]
