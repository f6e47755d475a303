"""Run a command and measure it from outside: wall time, CPU time and peak memory of all its processes together."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

PROJECT_DIR = Path(__file__).resolve().parents[1]
_SECONDS_BETWEEN_SAMPLES = 0.1
_LINES_OF_A_FAILURE = 15


class CommandFailedError(RuntimeError):
    """A measured command failed; the message ends with the last lines of its output."""


@dataclass(frozen=True)
class Usage:
    """What a command used.

    Attributes:
        wall_seconds: from the start of its process to the end.
        cpu_seconds: user and system time of the process and its descendants.
        peak_memory_bytes: largest sum, over all processes, of the proportional set size, which counts shared memory
            once.
    """

    wall_seconds: float
    cpu_seconds: float
    peak_memory_bytes: int


def run_measured(
    command: Sequence[str], environment: Mapping[str, str], log_file: Path, servers: Iterable[int] = ()
) -> Usage:
    """Run a command in the project's folder until it ends, and return what it used.

    Args:
        command: program and arguments.
        environment: all variables of the process.
        log_file: receives the output.
        servers: process ids of servers that work for the command; what they use in this time is added.

    Raises:
        CommandFailedError: the exit code is not 0.
    """
    servers = list(servers)
    server_seconds = sum(map(cpu_seconds, servers))
    log_file.parent.mkdir(parents=True, exist_ok=True)
    with log_file.open("wb") as log:
        start = time.perf_counter()
        process = subprocess.Popen(command, env=environment, cwd=PROJECT_DIR, stdout=log, stderr=subprocess.STDOUT)
        with _MemorySampler([process.pid, *servers]) as memory:
            # The usage of a child includes that of the children it has waited for.
            _, status, usage = os.wait4(process.pid, 0)
            wall_seconds = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        last_lines = log_file.read_text(errors="replace").splitlines()[-_LINES_OF_A_FAILURE:]
        raise CommandFailedError(
            f"{' '.join(command)} ended with exit code {process.returncode}. Read {log_file}; its last lines are:\n"
            + "\n".join(last_lines)
        )
    return Usage(
        wall_seconds=wall_seconds,
        cpu_seconds=usage.ru_utime + usage.ru_stime + sum(map(cpu_seconds, servers)) - server_seconds,
        peak_memory_bytes=memory.peak_bytes,
    )


def process_tree(pid: int) -> Iterator[psutil.Process]:
    """Yield a process and its descendants; nothing when it has ended."""
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        yield process
        yield from process.children(recursive=True)


def cpu_seconds(pid: int) -> float:
    """Return the CPU time so far of a process and its descendants, including those that have ended."""
    total = 0.0
    for process in process_tree(pid):
        with suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            total += times.user + times.system + times.children_user + times.children_system
    return total


class _MemorySampler:
    """Samples the memory of process trees in a thread while the block runs."""

    def __init__(self, pids: Sequence[int]) -> None:
        self.peak_bytes = 0
        self._pids = pids
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._sample)

    def __enter__(self) -> _MemorySampler:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._ended.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._ended.wait(_SECONDS_BETWEEN_SAMPLES):
            processes = [process for pid in self._pids for process in process_tree(pid)]
            # The kernel walks all pages for the exact figure: read it only where the upper bound exceeds the peak.
            if sum(map(_resident_bytes, processes)) > self.peak_bytes:
                self.peak_bytes = max(self.peak_bytes, sum(map(_proportional_bytes, processes)))


def _resident_bytes(process: psutil.Process) -> int:
    with suppress(psutil.Error):
        return int(process.memory_info().rss)
    return 0


def _proportional_bytes(process: psutil.Process) -> int:
    with suppress(psutil.Error):
        return int(process.memory_full_info().pss)
    return 0
