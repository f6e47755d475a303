"""One refresh at a time: the lock belongs to a run and is released when the run ends or is killed."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from dagster import build_init_resource_context

from acl_assets.util.refresh_lock import RefreshLock, RefreshLockTimeoutError

pytestmark = pytest.mark.slow

HOLD = """
import sys
from acl_assets.util.refresh_lock import RefreshLock
lock = RefreshLock(lock_file=sys.argv[1])
lock.acquire("other-run", print)
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def lock_file(tmp_path: Path) -> Path:
    return tmp_path / "build" / "refresh.lock"


def test_a_run_holds_the_lock_from_its_first_step_to_its_end(lock_file: Path) -> None:
    """The first refresh of a fresh clone finds no data folder. A daemon runs several refreshes in one process."""
    held, other = (RefreshLock(lock_file=str(lock_file), wait_seconds=0) for _ in range(2))
    for _ in range(2):
        held.acquire("run-1", print)
    assert lock_file.read_text() == f"run run-1, process {os.getpid()}"
    with pytest.raises(RefreshLockTimeoutError):
        other.acquire("run-2", print)
    held.teardown_after_execution(build_init_resource_context())
    other.acquire("run-2", print)


def test_a_waiting_run_names_the_holder_and_goes_on_when_that_is_killed(lock_file: Path) -> None:
    """A killed run releases nothing itself; the next run continues without manual help."""
    command = [sys.executable, "-c", HOLD, str(lock_file)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        name = f"run other-run, process {holder.pid}"
        with pytest.raises(RefreshLockTimeoutError, match=rf"\({name}\).* Nothing was changed"):
            RefreshLock(lock_file=str(lock_file), wait_seconds=0.3).acquire("run-2", print)
        messages: list[str] = []
        waited = RefreshLock(lock_file=str(lock_file))
        waiting = threading.Thread(target=waited.acquire, args=("run-2", messages.append))
        waiting.start()
        waiting.join(timeout=1)
        assert waiting.is_alive()
        assert messages == [f"Waiting for another refresh to end ({name})."]
        holder.kill()
    waiting.join(timeout=30)
    assert not waiting.is_alive()
    assert lock_file.read_text().startswith("run run-2,")
