"""The dbt process ends with the run that started it, and no other run builds before it has ended."""

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

from acl_assets.warehouse.dbt_process import PARENT_VARIABLE, applied_dbt_environment, guarded_dbt, wait_for_dbt

pytestmark = pytest.mark.slow

# Stands for a run: it starts dbt, prints dbt's process id and waits to be killed.
RUN = """
import os, subprocess, sys
from pathlib import Path
from acl_assets.warehouse.dbt_process import PARENT_VARIABLE, guarded_dbt
command = guarded_dbt(Path(sys.argv[1]))
dbt = subprocess.Popen(
    [command["dbt_executable"], *command["global_config_flags"], "--help"],
    env={**os.environ, PARENT_VARIABLE: str(os.getpid())},
    stdout=open(sys.argv[1] + ".output", "w"),
)
print(dbt.pid, flush=True)
dbt.wait()
"""


@pytest.fixture
def lock_file(tmp_path: Path) -> Path:
    return tmp_path / "dbt.lock"


def dbt_version(lock_file: Path, parent: int) -> subprocess.CompletedProcess[str]:
    command = guarded_dbt(lock_file)
    return subprocess.run(
        [command["dbt_executable"], *command["global_config_flags"], "--version"],
        env={**os.environ, PARENT_VARIABLE: str(parent)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def run(lock_file: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that stands for a run whose dbt is at work."""
    with subprocess.Popen([sys.executable, "-c", RUN, str(lock_file)], stdout=subprocess.PIPE, text=True) as process:
        yield process
        process.kill()


def test_dbt_gets_its_arguments_and_does_not_begin_after_its_run_has_ended(lock_file: Path) -> None:
    assert "duckdb" in dbt_version(lock_file, os.getpid()).stdout
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        ended.wait()
    refused = dbt_version(lock_file, ended.pid)
    assert (refused.returncode, refused.stdout) == (1, "")


def test_next_run_waits_for_dbt_which_ends_when_its_run_is_killed(lock_file: Path, run: subprocess.Popen[str]) -> None:
    """kill -9 of a run reaches no child; an orphan would go on writing into the next run's build."""
    assert run.stdout is not None
    dbt = psutil.Process(int(run.stdout.readline()))
    wait_until(lambda: _is_locked(lock_file), "dbt took its lock")
    dbt.send_signal(signal.SIGSTOP)
    waiting = threading.Thread(target=wait_for_dbt, args=(lock_file,))
    waiting.start()
    waiting.join(timeout=0.5)
    assert waiting.is_alive()
    run.kill()
    run.wait()
    dbt.send_signal(signal.SIGCONT)
    waiting.join(timeout=120)
    assert not waiting.is_alive()
    wait_until(lambda: not dbt.is_running(), "the orphan ended")
    assert Path(f"{lock_file}.output").read_text() == "", "it went on to its end"


def _is_locked(file: Path) -> bool:
    try:
        with file.open() as stream:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def test_foreign_variables_do_not_reach_dbt(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DBT_PROFILES_DIR", "DBT_EMPTY", "DBT_ENGINE_TARGET", "ACL_UNKNOWN"):
        monkeypatch.setenv(name, "/nowhere")
    before = dict(os.environ)
    with applied_dbt_environment({"DBT_LOG_LEVEL_FILE": "none"}):
        found = {name: value for name, value in os.environ.items() if name.startswith(("ACL_", "DBT_"))}
        assert found == {"DBT_LOG_LEVEL_FILE": "none"}
    assert dict(os.environ) == before
