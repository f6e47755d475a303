"""The lock that lets one refresh run at a time, as a Dagster resource."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dagster import ConfigurableResource, InitResourceContext
from filelock import FileLock
from pydantic import PrivateAttr

from acl_assets.util.locks import LockHeldError, acquire_lock
from acl_assets.util.runs import unwritable

_REPORT_EVERY_SECONDS = 15.0


class RefreshLockTimeoutError(Exception):
    """Another refresh held the lock for longer than this run was willing to wait."""


class RefreshLock(ConfigurableResource[Any]):
    """A lock file, held from the first `acquire` of a run until its resources are torn down or its process ends."""

    lock_file: str
    wait_seconds: float = 900.0

    _lock: FileLock | None = PrivateAttr(default=None)

    def acquire(self, run_id: str, log: Callable[[str], None]) -> None:
        """Take the lock, waiting for another refresh to end; does nothing when this run holds it already.

        Raises:
            RefreshLockTimeoutError: another refresh still holds the lock after `wait_seconds`.
            Failure: the lock file cannot be written.
        """
        deadline = time.monotonic() + self.wait_seconds
        wait = 0.0
        while self._lock is None:
            try:
                self._lock = acquire_lock(Path(self.lock_file), f"run {run_id}, process {os.getpid()}", wait)
            except LockHeldError as error:
                holder = str(error) or "another process"
                wait = min(_REPORT_EVERY_SECONDS, deadline - time.monotonic())
                if wait <= 0:
                    raise RefreshLockTimeoutError(
                        f"Another refresh ({holder}) has held {self.lock_file} for the {self.wait_seconds:.0f} s this "
                        "run was ready to wait. Nothing was changed; let that run end, or end it, and refresh again."
                    ) from None
                log(f"Waiting for another refresh to end ({holder}).")
            except OSError as error:
                raise unwritable(Path(self.lock_file).parent, error) from None

    def release(self) -> None:
        """Give the lock back; does nothing when it is not held."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def teardown_after_execution(self, context: InitResourceContext) -> None:
        """Release the lock when the run's resources are torn down."""
        self.release()
