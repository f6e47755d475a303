"""Dagster's shared SQLite files stay open between transactions, and pages of runs follow them live."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from dagster import DagsterInstance, DagsterRunStatus, OpExecutionContext, job, op

from acl_assets.util.sqlite_storage import keep_shared_files_open

_COUNT = "import sqlite3, sys; print(*sqlite3.connect(sys.argv[1]).execute('select count(*) from runs').fetchone())"


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[DagsterInstance]:
    keep_shared_files_open()
    with DagsterInstance.local_temp(str(tmp_path), {"telemetry": {"enabled": False}}) as instance:
        yield instance


@job
def _do_nothing() -> None: ...


def test_a_transaction_stays_in_the_write_ahead_log_and_other_processes_see_it(
    instance: DagsterInstance, tmp_path: Path
) -> None:
    _do_nothing.execute_in_process(instance=instance)
    for file in (tmp_path / "history" / "runs.db", tmp_path / "history" / "runs" / "index.db"):
        assert file.with_name(f"{file.name}-wal").stat().st_size > 0, file
    command = [sys.executable, "-c", _COUNT, str(tmp_path / "history" / "runs.db")]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "1\n"


def test_the_page_of_a_run_shows_its_events_while_it_goes_on(instance: DagsterInstance) -> None:
    seen = threading.Event()

    @op
    def wait_until_seen(context: OpExecutionContext) -> None:
        instance.watch_event_logs(context.run.run_id, None, lambda entry, _: seen.set())
        context.log.info("an event to be seen")
        assert seen.wait(30)

    @job
    def watched() -> None:
        wait_until_seen()

    run = watched.execute_in_process(instance=instance, raise_on_error=False)
    assert instance.get_run_by_id(run.run_id).status == DagsterRunStatus.SUCCESS
