"""Lock files: one process holds a lock, and the file's text shows which. The lock ends with the process."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from filelock import FileLock, Timeout

_POLL_SECONDS = 0.1


class LockHeldError(Exception):
    """Another process holds the lock; `holder` is the text it wrote, empty while it has not yet written it."""

    def __init__(self, holder: str) -> None:
        super().__init__(holder)
        self.holder = holder


def acquire_lock(lock_file: Path, holder: str, seconds: float = 0.0) -> FileLock:
    """Take a lock and write `holder` into its file.

    Args:
        lock_file: the file, which is created with its folder if necessary and never removed.
        holder: the text that others read.
        seconds: how long to wait for another holder, -1 for as long as it takes.

    Returns:
        The lock, which is released when it is garbage.

    Raises:
        LockHeldError: another process still holds it.
        OSError: the file cannot be created or opened.
    """
    lock_file.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(
        lock_file, seconds, thread_local=False, fallback_to_soft=False, on_acquired=partial(_write_holder, holder)
    )
    try:
        lock.acquire()
    except Timeout:
        raise LockHeldError(lock_file.read_text(errors="replace")) from None
    return lock


@contextmanager
def held_lock(lock_file: Path, seconds: float = 0.0) -> Iterator[None]:
    """Hold a lock, with the id of this process as its text; see `acquire_lock`."""
    lock = acquire_lock(lock_file, str(os.getpid()), seconds)
    try:
        yield
    finally:
        lock.release()


def _write_holder(holder: str, descriptor: int) -> None:
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, holder.encode(), 0)


def end_holder(lock_file: Path, seconds: float) -> bool:
    """Send SIGTERM to the process that holds a lock, whose id is the lock file's text, and wait until it has ended.

    Returns:
        Whether there was one.

    Raises:
        TimeoutError: it has not ended in time.
    """
    if not lock_file.exists():
        return False
    deadline = time.monotonic() + seconds
    was_held = is_signalled = False
    while time.monotonic() < deadline:
        try:
            acquire_lock(lock_file, "").release()
        except LockHeldError as error:
            was_held = True
            if not is_signalled:
                # The holder may have ended since, or not have written its process id yet.
                with suppress(ProcessLookupError, ValueError):
                    os.kill(int(error.holder), signal.SIGTERM)
                    is_signalled = True
        else:
            return was_held
        time.sleep(_POLL_SECONDS)
    raise TimeoutError
