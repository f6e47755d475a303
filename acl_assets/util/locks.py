"""Which process runs the server of a folder, so that there is one at a time, and that others can end it.

What belongs here: the lock that says so. What does not: which server that is, and what it needs.
"""

from __future__ import annotations

import fcntl
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_POLL_SECONDS = 0.1


class LockHeldError(Exception):
    """Another process holds the lock; `holder` is its id, empty while it has not yet written it."""

    def __init__(self, holder: str) -> None:
        super().__init__(holder)
        self.holder = holder


@contextmanager
def held_lock(lock_file: Path) -> Iterator[None]:
    """Hold a lock, which tells others which process to end; a dead process holds none.

    Raises:
        LockHeldError: another process holds it.
    """
    descriptor = os.open(lock_file, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        if not _is_free(descriptor):
            raise LockHeldError(os.read(descriptor, 20).decode())
        os.ftruncate(descriptor, 0)
        os.write(descriptor, str(os.getpid()).encode())
        yield
    finally:
        os.close(descriptor)


def end_holder(lock_file: Path, seconds: float) -> bool:
    """End the process that holds a lock, in order, and wait until it has.

    Returns:
        Whether there was one.

    Raises:
        TimeoutError: it has not ended within so many seconds.
    """
    if not lock_file.exists():
        return False
    with lock_file.open() as lock:
        if _is_free(lock.fileno()):
            return False
        deadline = time.monotonic() + seconds
        is_told = False
        while not _is_free(lock.fileno()):
            # It has just ended, or has the lock and not yet written its process id into it.
            with suppress(ProcessLookupError, ValueError):
                if not is_told:
                    os.kill(int(lock_file.read_text()), signal.SIGTERM)
                    is_told = True
            if time.monotonic() > deadline:
                raise TimeoutError
            time.sleep(_POLL_SECONDS)
    return True


def _is_free(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
