"""Run a command and measure wall time, CPU time and peak memory of all its processes together."""

import os
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from acl_assets.settings import PROJECT_DIR
from acl_assets.util.text import end_of_log

_SECONDS_BETWEEN_SAMPLES = 0.1


class CommandFailedError(RuntimeError):
    """A measured command failed; the message ends with the last lines of its output."""


@dataclass(frozen=True)
class Usage:
    """Wall time, CPU time and peak memory of a command.

    Attributes:
        cpu_seconds: user and system time of the process and its descendants.
        peak_memory_bytes: largest sum of the proportional set sizes of all processes, which count shared memory once.
    """

    wall_seconds: float
    cpu_seconds: float
    peak_memory_bytes: int


def run_measured(
    command: Sequence[str], environment: Mapping[str, str], log_file: Path, servers: Sequence[int] = ()
) -> Usage:
    """Run a command in the project's folder until it ends, and return its usage.

    Args:
        command: program and arguments.
        environment: all variables of the process.
        log_file: receives the output.
        servers: ids of server processes that work for the command; their usage during the run is added.

    Raises:
        CommandFailedError: the exit code is not 0.
    """
    server_seconds = sum(map(_cpu_seconds, servers))
    log_file.parent.mkdir(parents=True, exist_ok=True)
    with log_file.open("wb") as log:
        start = time.perf_counter()
        process = subprocess.Popen(command, env=environment, cwd=PROJECT_DIR, stdout=log, stderr=subprocess.STDOUT)
        with _sampled_memory([process.pid, *servers]) as peaks:
            # The usage of a process includes the children that it waited for.
            _, status, usage = os.wait4(process.pid, 0)
            wall_seconds = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        failed = f"{' '.join(command)} ended with exit code {process.returncode}."
        raise CommandFailedError(f"{failed} {end_of_log(log_file)}")
    server_seconds = sum(map(_cpu_seconds, servers)) - server_seconds
    return Usage(wall_seconds, usage.ru_utime + usage.ru_stime + server_seconds, max(peaks))


def process_tree(pid: int) -> Iterator[psutil.Process]:
    """Yield a process and its descendants; nothing if it has ended."""
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        yield process
        yield from process.children(recursive=True)


def _cpu_seconds(pid: int) -> float:
    """Return the CPU time so far of a process and its descendants, including descendants that have ended."""
    total = 0.0
    for process in process_tree(pid):
        with suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            total += times.user + times.system + times.children_user + times.children_system
    return total


@contextmanager
def _sampled_memory(pids: Sequence[int]) -> Iterator[list[int]]:
    """Sample the memory of process trees in a thread while the block runs, and yield the list of rising peaks."""
    peaks = [0]
    has_ended = threading.Event()

    def sample() -> None:
        while not has_ended.wait(_SECONDS_BETWEEN_SAMPLES):
            processes = [process for pid in pids for process in process_tree(pid)]
            # The kernel walks all pages for the exact figure, so read it only if the upper bound exceeds the peak.
            if _memory(processes, "rss") > peaks[-1]:
                peaks.append(max(peaks[-1], _memory(processes, "pss")))

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield peaks
    finally:
        has_ended.set()
        thread.join()


def _memory(processes: Sequence[psutil.Process], kind: str) -> int:
    total = 0
    for process in processes:
        with suppress(psutil.Error):
            info = process.memory_full_info() if kind == "pss" else process.memory_info()
            total += getattr(info, kind)
    return total
