"""Dagster's default run launcher, which can also tell whether a run's process is still there.

A code server notices when the process of a run of its own dies. When it dies itself, with the machine for instance,
nobody does: Dagster's launcher has no answer for run monitoring, so the run counts as started for ever, holds its
pool, and no other refresh begins. This one asks the code server; `deploy/postgres/dagster.yaml` names it.

What belongs here: where a run's process is. What does not: how runs are launched, and what becomes of a dead one.
"""

from __future__ import annotations

from dagster import DagsterRun, DefaultRunLauncher
from dagster._core.errors import DagsterUserCodeUnreachableError
from dagster._core.launcher import CheckRunHealthResult, WorkerStatus
from dagster._grpc.types import GetCurrentRunsResult
from dagster._serdes import deserialize_value


class WatchedRunLauncher(DefaultRunLauncher):
    """Launches runs on their code server, and asks it about them."""

    @property
    def supports_check_run_worker_health(self) -> bool:
        """True: run monitoring may ask."""
        return True

    def check_run_worker_health(self, run: DagsterRun) -> CheckRunHealthResult:
        """Whether the code server that was given a run still has it.

        A server that does not answer tells nothing about its runs, which may well go on: they pass for running until
        it answers.
        """
        server = self._get_grpc_client_for_termination(run.run_id)
        if server is None:
            return CheckRunHealthResult(WorkerStatus.RUNNING, "the run has ended, or was not given to a code server")
        try:
            current = deserialize_value(server.get_current_runs(), GetCurrentRunsResult)
        except DagsterUserCodeUnreachableError:
            return CheckRunHealthResult(WorkerStatus.RUNNING, "the code server does not answer")
        if run.run_id in current.current_runs:
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        return CheckRunHealthResult(
            WorkerStatus.NOT_FOUND, "the code server has been restarted since and has no such run"
        )
