"""The private members of Dagster that the run launcher uses."""

from __future__ import annotations

import importlib

import pytest

PRIVATE = [
    ("dagster", "DefaultRunLauncher", "_get_grpc_client_for_termination"),
    ("dagster", "DefaultRunLauncher", "supports_check_run_worker_health"),
    ("dagster", "DefaultRunLauncher", "check_run_worker_health"),
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
        f"{module}.{name}{f'.{member}' if member else ''} is gone from Dagster, and WatchedRunLauncher needs it to "
        "tell whether the process of a run still exists. Find the new name in acl_assets/util/run_launcher.py."
    )
