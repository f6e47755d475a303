"""Dagster's default run launcher, extended by a health check for run monitoring.

A code server notices when a process of its runs dies, but not its own end. Dagster's launcher has no health check, so
such a run would count as started for ever, hold its pool and block the next refresh. These launchers have one, with
private members of Dagster that `tests/unit/util/test_run_launcher.py` names: `deploy/postgres/dagster.yaml` configures
`WatchedRunLauncher`, the `dagster.yaml` of `make dev` configures `LocalRunLauncher`.
"""

from contextlib import suppress

import psutil
from dagster import DagsterEventType, DagsterRun, DefaultRunLauncher
from dagster._core.errors import DagsterUserCodeUnreachableError
from dagster._core.launcher import CheckRunHealthResult, WorkerStatus
from dagster._grpc.types import GetCurrentRunsResult
from dagster._serdes import deserialize_value

# The creation time of a process moves when the clock is set.
_CLOCK_TOLERANCE_SECONDS = 60


class WatchedRunLauncher(DefaultRunLauncher):
    """Launches runs on their code server, and checks that it still has them."""

    @property
    def supports_check_run_worker_health(self) -> bool:
        """Return True, so that run monitoring checks the health of runs."""
        return True

    def check_run_worker_health(self, run: DagsterRun) -> CheckRunHealthResult:
        """Return whether the code server that was given a run still has it.

        If the server does not answer, its runs may go on, so they count as running until it answers.
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


class LocalRunLauncher(WatchedRunLauncher):
    """Launches runs, and checks that their processes exist on this machine, also those of runs by `make run`."""

    def check_run_worker_health(self, run: DagsterRun) -> CheckRunHealthResult:
        """Return whether the process that started a run still exists.

        After a reboot another process can have its number, so one that is younger than the run is not the run's.
        """
        (started,) = self._instance.all_logs(run.run_id, of_type=DagsterEventType.RUN_START)
        number = started.get_dagster_event().pid
        with suppress(psutil.NoSuchProcess):
            if number and psutil.Process(number).create_time() <= started.timestamp + _CLOCK_TOLERANCE_SECONDS:
                return CheckRunHealthResult(WorkerStatus.RUNNING)
        return CheckRunHealthResult(WorkerStatus.NOT_FOUND, f"process {number} of the run has ended")
