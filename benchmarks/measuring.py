"""Run a command and measure it from outside: wall time, CPU time and peak memory of its whole process tree.

What belongs here: how a number is obtained. What does not: which commands are compared (`contenders`) and what
their numbers mean (`results`). This module keeps large libraries out of its process: a shared library that two
processes map counts half for each.
"""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import ParamSpec, TypeVar

SECONDS_BETWEEN_SAMPLES = 0.05
# The unit in which the kernel reports what was written, whatever the disk's.
_BLOCK_BYTES = 512
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")

Parameters = ParamSpec("Parameters")
Returned = TypeVar("Returned")


class CommandFailedError(RuntimeError):
    """A measured command failed; the message ends with what it said last."""


@dataclass(frozen=True)
class ProcessUsage:
    """What a finished command used.

    Attributes:
        started_at: seconds since the epoch.
        wall_seconds: from before the process was made until after it was gone.
        cpu_seconds: user and system time of the process and all its descendants.
        peak_memory_bytes: largest sum, over the process tree, of the proportional set size: memory that processes
            share is counted once.
        written_bytes: what the process and its descendants gave to be written to disks.
    """

    started_at: float
    wall_seconds: float
    cpu_seconds: float
    peak_memory_bytes: int
    written_bytes: int

    @property
    def ended_at(self) -> float:
        """Seconds since the epoch."""
        return self.started_at + self.wall_seconds


def run_measured(
    command: Sequence[str],
    environment: Mapping[str, str],
    folder: Path,
    log_file: Path,
    servers: Sequence[int] = (),
) -> ProcessUsage:
    """Run a command to its end in `folder`, its output going to `log_file`.

    What servers used meanwhile, given by their process ids, counts as the command's: CPU time and memory, not what
    they wrote.

    Raises:
        CommandFailedError: it ended with another exit code than 0.
    """
    server_cpu_before = sum(map(tree_cpu_seconds, servers))
    with log_file.open("wb") as log:
        started_at, start = time.time(), time.perf_counter()
        process = subprocess.Popen(command, env=environment, cwd=folder, stdout=log, stderr=subprocess.STDOUT)
        with _MemorySampler(process.pid, *servers) as memory:
            # The usage of a waited-for child includes that of the children it waited for itself.
            _, status, usage = os.wait4(process.pid, 0)
            wall_seconds = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        last_lines = log_file.read_text(errors="replace").splitlines()[-15:]
        raise CommandFailedError(
            f"{' '.join(command)} ended with exit code {process.returncode}. It said last (all of it is in "
            f"{log_file}):\n" + "\n".join(last_lines)
        )
    return ProcessUsage(
        started_at,
        wall_seconds,
        cpu_seconds=usage.ru_utime + usage.ru_stime + sum(map(tree_cpu_seconds, servers)) - server_cpu_before,
        peak_memory_bytes=memory.peak_bytes,
        written_bytes=usage.ru_oublock * _BLOCK_BYTES,
    )


class _MemorySampler:
    """Samples the memory of process trees in a thread while the block runs.

    The exact figure makes the kernel walk every page, so it is only asked for when the cheap upper bound, the sum of
    the resident sizes, exceeds the peak so far.
    """

    def __init__(self, *pids: int) -> None:
        self.peak_bytes = 0
        self._pids = pids
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._sample_until_ended)

    def __enter__(self) -> _MemorySampler:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._ended.set()
        self._thread.join()

    def _sample_until_ended(self) -> None:
        while not self._ended.wait(SECONDS_BETWEEN_SAMPLES):
            processes = [found for pid in self._pids for found in process_tree(pid)]
            if sum(map(_resident_bytes, processes)) > self.peak_bytes:
                self.peak_bytes = max(self.peak_bytes, sum(map(_proportional_bytes, processes)))


def process_tree(pid: int) -> Iterator[int]:
    """A process and its descendants, from the kernel's own lists: looking through all processes takes too long."""
    yield pid
    for child in child_processes(pid):
        yield from process_tree(child)


def child_processes(pid: int) -> list[int]:
    """The processes that a process has started and that have not ended; none of one that has ended itself."""
    found: list[int] = []
    with suppress(OSError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            with suppress(OSError):
                found += map(int, (thread / "children").read_text().split())
    return found


def tree_cpu_seconds(pid: int) -> float:
    """User and system time so far of a process and its descendants, those that have ended included, such as a server's.

    Asked twice, it tells what was used in between, as long as no descendant outlives the one that started it.
    """
    return sum(map(_cpu_ticks, process_tree(pid))) / _TICKS_PER_SECOND


def _cpu_ticks(pid: int) -> int:
    with suppress(OSError):
        # Behind the command's name, which may have spaces and parentheses in it: utime, stime, cutime and cstime.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return sum(map(int, fields[11:15]))
    return 0


def _resident_bytes(pid: int) -> int:
    with suppress(OSError, ValueError):
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE_BYTES
    return 0


def _proportional_bytes(pid: int) -> int:
    with suppress(OSError, ValueError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0


def bytes_below(folder: Path) -> int:
    """Bytes of all regular files below a folder; hard links to one file count once, symbolic links not at all."""
    sizes: dict[tuple[int, int], int] = {}
    for parent, _, names in os.walk(folder):
        for name in names:
            path = Path(parent) / name
            if not path.is_symlink():
                found = path.stat()
                sizes[found.st_dev, found.st_ino] = found.st_size
    return sum(sizes.values())


def call_apart(
    function: Callable[Parameters, Returned], *arguments: Parameters.args, **options: Parameters.kwargs
) -> Returned:
    """Call a function in a process that ends afterwards, so that this one stays small."""
    with ProcessPoolExecutor(max_workers=1, mp_context=get_context("spawn")) as process:
        return process.submit(function, *arguments, **options).result()
