"""Call functions in another process, whose memory is given back when they are done.

A run lives as long as its longest step, and what a library took for one step stays with it. In a process of their
own the conversion of tables and the drawing of pictures leave nothing beside a dbt process that needs the memory.

What belongs here: starting that process, talking to it, ending it. What does not: what is called in it. This file is
also the script that process runs, so it imports nothing but what it is told to call.
"""

from __future__ import annotations

import gc
import importlib
import os
import pickle
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue
from types import ModuleType
from typing import IO, Any, TypeVar, cast

_POLL_SECONDS = 0.2
_Result = TypeVar("_Result")


class ChildProcessDiedError(RuntimeError):
    """The process ended before it had answered."""


class ChildProcess:
    """A process that calls functions for this one, one after the other; started by the first call.

    It ends with the block, and with this process however that ends.
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._has_ended = False
        self._function = ""
        self._log: Callable[[str], None] | None = None

    def __enter__(self) -> ChildProcess:
        return self

    def __exit__(self, *exception: object) -> None:
        self.kill()
        if self._process is not None:
            self._process.communicate()

    def kill(self) -> None:
        """End the process, whatever it does; a thread that waits for its answer is told so."""
        self._has_ended = True
        if self._process is not None:
            self._process.kill()

    def call(self, function: str, *arguments: Any, **keywords: Any) -> Any:
        """Call `module:function` and return what it returns; an exception it raises is raised here.

        Arguments, result and exceptions must be picklable. Where `log` is among the keywords, the function gets a
        `log` of its own, and what it says there is said to this one.

        Raises:
            ChildProcessDiedError: the process ended before it had answered.
        """
        self.begin(function, *arguments, **keywords)
        return self.result()

    def begin(self, function: str, *arguments: Any, **keywords: Any) -> None:
        """Call a function as `call` does, without waiting: `result` does, and must be asked before the next call.

        Raises:
            ChildProcessDiedError: the block has been left.
        """
        if self._has_ended:
            raise ChildProcessDiedError(f"{function} was called when its process had ended with its block.")
        self._function, self._log = function, keywords.pop("log", None)
        process = self._process = self._process or _start()
        # A process that has ended is told by its missing answer.
        with suppress(BrokenPipeError):
            _send(cast("IO[bytes]", process.stdin), (function, arguments, keywords, self._log is not None))

    def result(self) -> Any:
        """What the function called by `begin` returned; an exception it raised is raised here.

        Raises:
            ChildProcessDiedError: the process ended before it had answered.
        """
        process = cast("subprocess.Popen[bytes]", self._process)
        answers = cast("IO[bytes]", process.stdout)
        try:
            while (answer := pickle.load(answers))[0] == "logged":  # noqa: S301 # written by the other half below
                if self._log is not None:
                    self._log(answer[1])
        except EOFError:
            raise ChildProcessDiedError(
                f"The process that ran {self._function} ended with exit code {process.wait()} before it had answered; "
                "what it said last is in the error output of this run. Run again; if memory was short, give it more."
            ) from None
        if answer[0] == "raised":
            raise answer[1]
        return answer[1]


class ChildProcesses:
    """Some child processes that work side by side, each for one caller at a time.

    They end with the block, and what has not been begun by then is not begun.
    """

    def __init__(self, count: int) -> None:
        self._all = [ChildProcess() for _ in range(count)]
        self._idle: SimpleQueue[ChildProcess] = SimpleQueue()
        for process in self._all:
            self._idle.put(process)
        self._threads = ThreadPoolExecutor(count)

    def __enter__(self) -> ChildProcesses:
        return self

    def __exit__(self, *exception: object) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
        for process in self._all:
            process.kill()
        # Its pipes are closed when no thread reads from them any more.
        self._threads.shutdown()
        for process in self._all:
            process.__exit__(*exception)

    def submit(self, work: Callable[..., _Result], *arguments: Any) -> Future[_Result]:
        """Run `work` in a thread, with a process that is idle before the other arguments."""
        return self._threads.submit(self._with_idle_process, work, arguments)

    def _with_idle_process(self, work: Callable[..., _Result], arguments: tuple[Any, ...]) -> _Result:
        process = self._idle.get()
        try:
            return work(process, *arguments)
        finally:
            self._idle.put(process)


def _start() -> subprocess.Popen[bytes]:
    command = [sys.executable, __file__, str(os.getpid())]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def _send(stream: IO[bytes], message: tuple[Any, ...]) -> None:
    pickle.dump(message, stream)
    stream.flush()


# The other half: what the process itself runs -------------------------------------------------------------------


def main() -> None:
    """Answer calls until there are no more, or the process that makes them is gone."""
    threading.Thread(target=end_with, args=(int(sys.argv[1]),), daemon=True).start()
    # The script's own folder comes first on the path, where the package's modules would be found under wrong names.
    sys.path[0] = str(Path(__file__).resolve().parents[1])
    answers = os.fdopen(os.dup(1), "wb")
    # Whatever a library prints goes where people look for it, not among the answers.
    os.dup2(2, 1)
    while True:
        try:
            function, arguments, keywords, logs = pickle.load(sys.stdin.buffer)  # noqa: S301 # written by `call`
        except EOFError:
            return
        if logs:
            keywords["log"] = lambda message: _send(answers, ("logged", message))
        _send(answers, _answer(function, arguments, keywords))


def _answer(function: str, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> tuple[str, Any]:
    module, name = function.split(":")
    try:
        return "returned", getattr(_imported(module), name)(*arguments, **keywords)
    except Exception as error:
        # A traceback does not travel with its exception.
        error.add_note(traceback.format_exc())
        return "raised", error


def _imported(module: str) -> ModuleType:
    """The module; what is made by importing it stays, so nothing looks for garbage there, neither then nor later."""
    if module not in sys.modules:
        gc.disable()
        try:
            importlib.import_module(module)
        finally:
            gc.freeze()
            gc.enable()
    return sys.modules[module]


def end_with(parent: int) -> None:
    """End this process when its parent has, which may have happened before it could look."""
    while os.getppid() == parent:
        time.sleep(_POLL_SECONDS)
    os._exit(1)


if __name__ == "__main__":
    main()
