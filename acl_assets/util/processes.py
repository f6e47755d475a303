"""Call functions in worker processes, whose memory is given back when they end.

The workers end with the block of `ChildProcesses`, and with this process however that ends.
"""

import copy
import importlib
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from functools import partial
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Lock
from types import ModuleType
from typing import Any, Self

_POLL_SECONDS = 0.2
_SPAWN = multiprocessing.get_context("spawn")
_spawning = threading.Lock()
# In a worker: the writing end of the pipe for its lines, and the lock that its writers share.
_to_parent: list[tuple[Connection, Lock]] = []


class ChildProcessDiedError(RuntimeError):
    """A worker process ended before it had answered."""


class ChildProcesses:
    """A pool of worker processes, each started by the first call that finds no idle one.

    The block raises ChildProcessDiedError if a worker died.
    """

    def __init__(self, count: int = 1) -> None:
        self._logs: list[Callable[[str], None]] = []
        # Workers end when the writing end of their lifeline is closed, by this process or with it.
        self._lifeline_of_workers, self._lifeline = _SPAWN.Pipe(duplex=False)
        self._received_lines, self._lines = _SPAWN.Pipe(duplex=False)
        self._pool = ProcessPoolExecutor(
            count, _SPAWN, _initialize_worker, (self._lifeline_of_workers, self._lines, _SPAWN.Lock())
        )
        self._reader = threading.Thread(target=self._read_lines, daemon=True)

    def __enter__(self) -> Self:
        self._reader.start()
        return self

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        self._lifeline.close()
        self._pool.shutdown(cancel_futures=True)
        # The reader ends when nobody can write lines any more.
        self._lines.close()
        self._reader.join()
        self._received_lines.close()
        self._lifeline_of_workers.close()
        if isinstance(error, BrokenProcessPool):
            raise ChildProcessDiedError(
                "A worker process ended before it had answered; its last messages are in the error output of this run. "
                "Run again. If memory was short, give it more; if it was reading files of a batch, one may be damaged."
            ) from None

    def call(self, function: str, *arguments: Any, **keywords: Any) -> Any:
        """Call a function as `submit` does and wait for its result."""
        return self.submit(function, *arguments, **keywords).result()

    def submit(self, function: str, *arguments: Any, **keywords: Any) -> Future[Any]:
        """Call `module:function` in a worker process.

        Arguments and result must be picklable; an exception that is not becomes a RuntimeError with its text. If `log`
        is among the keywords, the function gets a `log` of its own, whose lines are passed to this one by a thread of
        this process.
        """
        if log := keywords.pop("log", None):
            keywords["log"] = partial(_send_line, len(self._logs))
            self._logs.append(log)
        with _without_main_module():
            return self._pool.submit(_call, function, arguments, keywords)

    def _read_lines(self) -> None:
        with suppress(EOFError):
            while True:
                number, line = self._received_lines.recv()
                self._logs[number](line)


@contextmanager
def _without_main_module() -> Iterator[None]:
    """Hide the main module while a worker starts, which would import it: Dagster's command line takes seconds."""
    with _spawning:
        main = sys.modules["__main__"]
        sys.modules["__main__"] = ModuleType("__main__")
        try:
            yield
        finally:
            sys.modules["__main__"] = main


# In the worker --------------------------------------------------------------------------------------------------


def _initialize_worker(lifeline: Connection, lines: Connection, lock: Lock) -> None:
    # pyspark takes a main module without a file for a run of its doctests.
    sys.modules["__main__"].__file__ = __file__
    # Ctrl-C reaches all processes of a terminal; the parent ends its workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(lifeline,), daemon=True).start()
    _to_parent.append((lines, lock))


def _end_with(lifeline: Connection) -> None:
    with suppress(EOFError, OSError):
        lifeline.recv_bytes()
    os._exit(1)


def _call(function: str, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
    module, name = function.split(":")
    try:
        return getattr(importlib.import_module(module), name)(*arguments, **keywords)
    except Exception as error:
        try:
            copy.deepcopy(error)  # by the same methods as pickle
        except Exception:
            # Those of some libraries break the pool when they arrive.
            raise RuntimeError(f"{type(error).__name__}: {error}") from error
        raise


def _send_line(log: int, line: str) -> None:
    ((lines, lock),) = _to_parent
    with lock:
        lines.send((log, line))


# For other kinds of child processes -----------------------------------------------------------------------------


def end_with(parent: int) -> None:
    """End this process when its parent has ended, which may have happened before this call."""
    while os.getppid() == parent:
        time.sleep(_POLL_SECONDS)
    os._exit(1)
