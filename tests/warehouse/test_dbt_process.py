"""dbt under guard: it ends with the run that started it, and no other builds before it has ended."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from refreshes import wait_until

from acl_assets.warehouse.dbt_process import PARENT_VARIABLE, guarded_dbt, wait_for_dbt

# Stands for a run: it starts dbt on a project and says its process id, then waits to be killed.
RUN = """
import os, subprocess, sys
from pathlib import Path
from acl_assets.warehouse.dbt_process import PARENT_VARIABLE, guarded_dbt
command = guarded_dbt(Path(sys.argv[1]))
dbt = subprocess.Popen(
    [command["dbt_executable"], *command["global_config_flags"], "--help"],
    env={**os.environ, PARENT_VARIABLE: str(os.getpid())},
    stdout=open(sys.argv[2], "w"),
)
print(dbt.pid, flush=True)
dbt.wait()
"""


@pytest.fixture
def lock_file(tmp_path: Path) -> Path:
    return tmp_path / "build" / "dbt.lock"


def command_line(lock_file: Path, *arguments: str) -> list[str]:
    command = guarded_dbt(lock_file)
    return [command["dbt_executable"], *command["global_config_flags"], *arguments]


def output_file(lock_file: Path) -> Path:
    """Where dbt's output goes."""
    return lock_file.with_name("output")


@pytest.fixture
def run(lock_file: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that stands for a run whose dbt is at work."""
    lock_file.parent.mkdir()
    command = [sys.executable, "-c", RUN, str(lock_file), str(output_file(lock_file))]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        yield process
        process.kill()


def test_it_runs_dbt_with_the_arguments_it_is_given(lock_file: Path) -> None:
    """To Dagster it looks like dbt itself."""
    lock_file.parent.mkdir()
    version = subprocess.run(
        command_line(lock_file, "--version"),
        env={**os.environ, PARENT_VARIABLE: str(os.getpid())},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "duckdb" in version.stdout


def test_it_ends_when_its_run_is_killed(lock_file: Path, run: subprocess.Popen[str]) -> None:
    """kill -9 of a run reaches no child; an orphan would go on writing into the next run's build."""
    assert run.stdout is not None
    dbt = psutil.Process(int(run.stdout.readline()))
    wait_until(lambda: _is_locked(lock_file), "dbt took its lock")
    run.kill()
    run.wait()
    wait_until(lambda: not dbt.is_running(), "the orphan ended")
    assert output_file(lock_file).read_text() == "", "it went on to its end"


def test_it_does_not_begin_after_its_run_has_ended(lock_file: Path) -> None:
    """Killed between starting dbt and dbt's first look: whoever holds the lock now must not be disturbed."""
    lock_file.parent.mkdir()
    nobody = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True, check=True
    )
    ended = subprocess.run(
        command_line(lock_file, "--version"),
        env={**os.environ, PARENT_VARIABLE: nobody.stdout.strip()},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 1
    assert ended.stdout == ""


def test_the_next_run_waits_for_it(lock_file: Path, run: subprocess.Popen[str]) -> None:
    """Removing the build under a dbt process that still writes would leave a mixture of both."""
    assert run.stdout is not None
    dbt = int(run.stdout.readline())
    wait_until(lambda: _is_locked(lock_file), "dbt took its lock")
    os.kill(dbt, signal.SIGSTOP)
    waiting = threading.Thread(target=wait_for_dbt, args=(lock_file,))
    waiting.start()
    waiting.join(timeout=1)
    assert waiting.is_alive()
    os.kill(dbt, signal.SIGCONT)
    waiting.join(timeout=120)
    assert not waiting.is_alive()


def _is_locked(file: Path) -> bool:
    try:
        with file.open() as stream:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def test_waiting_for_nobody_is_no_wait(lock_file: Path) -> None:
    """The first refresh of all."""
    wait_for_dbt(lock_file)
    assert lock_file.exists()
