"""One refresh at a time: the lock a run takes before it touches what the next step reads.

The lock belongs to the run, not to a step: it is taken by the first step that needs it and released when the run's
resources are torn down. The operating system releases it when the process dies, so a killed run leaves nothing to
clean up. Nothing of batches or warehouses belongs here.
"""

import fcntl
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dagster import ConfigurableResource, InitResourceContext
from pydantic import PrivateAttr

_POLL_SECONDS = 0.2
_REPORT_EVERY_SECONDS = 15.0


class RefreshLockTimeoutError(Exception):
    """Another refresh held the lock for longer than this run was willing to wait."""


class RefreshLock(ConfigurableResource[Any]):
    """An exclusive file lock, held from the first `acquire` to the end of the run.

    Attributes:
        lock_file: the file that is locked; it is created when missing and never removed. Its text names the holder.
        wait_seconds: how long to wait for another refresh before giving up.
    """

    lock_file: str
    wait_seconds: float = 900.0

    _descriptor: int | None = PrivateAttr(default=None)

    def acquire(self, run_id: str, log: Callable[[str], None]) -> None:
        """Take the lock, waiting for another refresh to end; does nothing when this run holds it already.

        Raises:
            RefreshLockTimeoutError: another refresh still holds the lock after `wait_seconds`.
        """
        if self._descriptor is not None:
            return
        Path(self.lock_file).parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.lock_file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            self._wait_for(descriptor, log)
        except BaseException:
            os.close(descriptor)
            raise
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"run {run_id}, process {os.getpid()}".encode(), 0)
        self._descriptor = descriptor

    def _wait_for(self, descriptor: int, log: Callable[[str], None]) -> None:
        started = time.monotonic()
        next_report = started
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                pass
            now = time.monotonic()
            holder = os.pread(descriptor, 200, 0).decode(errors="replace") or "another process"
            if now - started >= self.wait_seconds:
                raise RefreshLockTimeoutError(
                    f"Another refresh ({holder}) has held {self.lock_file} for the {self.wait_seconds:.0f} s this run "
                    "was ready to wait. Nothing was changed; let that run end, or end it, and refresh again."
                )
            if now >= next_report:
                log(f"Waiting for another refresh to end ({holder}).")
                next_report = now + _REPORT_EVERY_SECONDS
            time.sleep(_POLL_SECONDS)

    def release(self) -> None:
        """Give the lock back; does nothing when it is not held."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def teardown_after_execution(self, context: InitResourceContext) -> None:
        """Release the lock when the run's resources are torn down."""
        self.release()
