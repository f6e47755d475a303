"""Lock files: one process holds a lock, and the file's text shows which. The lock ends with the process."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout


class LockHeldError(Exception):
    """Another process holds the lock; the message is the text it wrote, empty while it has not yet written it."""


def acquire_lock(lock_file: Path, holder: str, seconds: float = 0.0) -> FileLock:
    """Take a lock, which is released when it is garbage, and write `holder` into its file for others to read.

    The file is created with its folder if necessary. Raise LockHeldError if another process still holds the lock after
    `seconds`; -1 waits for as long as it takes.
    """

    def write_holder(descriptor: int) -> None:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, holder.encode(), 0)

    lock_file.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(lock_file, seconds, thread_local=False, fallback_to_soft=False, on_acquired=write_holder)
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


def end_holder(lock_file: Path, seconds: float) -> bool:
    """Send SIGTERM to the process whose id is the text of a lock file, wait for its end, and return if there was one.

    Raise TimeoutError if it has not ended in time.
    """
    if not lock_file.exists():
        return False
    try:
        acquire_lock(lock_file, "").release()
    except LockHeldError as error:
        # The holder may have ended since.
        with suppress(ProcessLookupError, ValueError):
            os.kill(int(str(error)), signal.SIGTERM)
    else:
        return False
    try:
        acquire_lock(lock_file, "", seconds).release()
    except LockHeldError:
        raise TimeoutError from None
    return True
