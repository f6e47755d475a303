"""One refresh at a time: the lock belongs to a run and goes with it, however the run ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from dagster import build_init_resource_context

from acl_assets.util.refresh_lock import RefreshLock, RefreshLockTimeoutError

pytestmark = pytest.mark.slow

HOLD = """
import sys
from acl_assets.util.refresh_lock import RefreshLock
lock = RefreshLock(lock_file=sys.argv[1])
lock.acquire("run-of-another-process", print)
print("held", flush=True)
sys.stdin.read()
"""


def ignore(message: str) -> None:
    """Log nowhere."""


@pytest.fixture
def lock_file(tmp_path: Path) -> Path:
    return tmp_path / "build" / "refresh.lock"


@pytest.fixture
def holder(lock_file: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lock until its input ends."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(lock_file)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def lock(lock_file: Path, wait_seconds: float = 900.0) -> RefreshLock:
    return RefreshLock(lock_file=str(lock_file), wait_seconds=wait_seconds)


def test_it_creates_the_file_and_its_folder(lock_file: Path) -> None:
    """The first refresh of a fresh clone finds no data folder at all."""
    held = lock(lock_file)
    held.acquire("run-1", ignore)
    assert lock_file.read_text() == f"run run-1, process {os.getpid()}"
    held.release()


def test_a_run_acquires_it_once_for_all_its_steps(lock_file: Path) -> None:
    """Every step that needs the lock asks for it; only the first one has to wait."""
    held = lock(lock_file)
    held.acquire("run-1", ignore)
    held.acquire("run-1", ignore)
    held.release()
    lock(lock_file, wait_seconds=0).acquire("run-2", ignore)


def test_giving_up_names_the_holder(lock_file: Path, holder: subprocess.Popen[str]) -> None:
    """Whoever reads the error must know which run to wait for or to end."""
    with pytest.raises(RefreshLockTimeoutError) as raised:
        lock(lock_file, wait_seconds=0.3).acquire("run-2", ignore)
    assert f"run run-of-another-process, process {holder.pid}" in str(raised.value)
    assert "Nothing was changed" in str(raised.value)


def test_it_waits_and_says_for_whom(lock_file: Path, holder: subprocess.Popen[str]) -> None:
    """A second refresh is no error: it goes on by itself when the first one has ended."""
    messages: list[str] = []
    waited = lock(lock_file)
    waiting = threading.Thread(target=waited.acquire, args=("run-2", messages.append))
    waiting.start()
    waiting.join(timeout=1)
    assert waiting.is_alive()
    assert messages == [f"Waiting for another refresh to end (run run-of-another-process, process {holder.pid})."]
    holder.communicate()
    waiting.join(timeout=30)
    assert not waiting.is_alive()
    assert lock_file.read_text().startswith("run run-2,")
    waited.release()


def test_the_end_of_the_run_releases_it(lock_file: Path) -> None:
    """A daemon or a test runs several refreshes in one process: the lock must go with the run's resources."""
    held = lock(lock_file)
    held.acquire("run-1", ignore)
    with pytest.raises(RefreshLockTimeoutError):
        lock(lock_file, wait_seconds=0).acquire("run-2", ignore)
    held.teardown_after_execution(build_init_resource_context())
    lock(lock_file, wait_seconds=0).acquire("run-2", ignore)


def test_a_killed_process_leaves_nothing_to_clean_up(lock_file: Path, holder: subprocess.Popen[str]) -> None:
    """kill -9 gives a run no chance to release anything, and the next one must not need a hand."""
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    lock(lock_file, wait_seconds=5).acquire("run-2", ignore)
