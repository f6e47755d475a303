"""The dbt process ends with the run that started it, and no other run builds before it has ended."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest
from refreshes import wait_until

from acl_assets.util.locks import LockHeldError, acquire_lock
from acl_assets.warehouse.dbt_process import applied_dbt_environment

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


def is_locked(lock_file: Path) -> bool:
    try:
        acquire_lock(lock_file, "").release()
    except LockHeldError:
        return True
    return False


def test_next_run_waits_for_dbt_which_ends_when_its_run_is_killed(tmp_path: Path) -> None:
    """kill -9 of a run reaches no child; an orphan would continue to write into the next build."""
    lock_file = tmp_path / "dbt.lock"
    with subprocess.Popen([sys.executable, "-c", RUN, str(lock_file)], stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        dbt = psutil.Process(int(run.stdout.readline()))
        wait_until(lambda: is_locked(lock_file), "dbt took its lock")
        dbt.send_signal(signal.SIGSTOP)
        waiting = threading.Thread(target=lambda: acquire_lock(lock_file, "", -1).release())
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


def test_foreign_variables_do_not_reach_dbt(monkeypatch: pytest.MonkeyPatch) -> None:
    """Variables that were replaced get their values back."""
    for name in ("DBT_PROFILES_DIR", "DBT_EMPTY", "DBT_ENGINE_TARGET", "ACL_UNKNOWN", "PYTHONWARNINGS"):
        monkeypatch.setenv(name, "default")
    before = dict(os.environ)
    variables = {"DBT_LOG_LEVEL_FILE": "none", "PYTHONWARNINGS": "ignore"}
    with applied_dbt_environment(variables):
        wanted = {name for name in os.environ if name.startswith(("ACL_", "DBT_"))}
        assert (wanted, os.environ["PYTHONWARNINGS"]) == ({"DBT_LOG_LEVEL_FILE"}, "ignore")
    assert dict(os.environ) == before
