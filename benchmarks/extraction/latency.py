"""What buyers notice of whoever reads: blocks of purchases without a reader and with one, in alternation.

What belongs here: the order of blocks, and keeping buyers, readers and server from disturbing each other in ways they
would not if they had machines of their own. What does not: buying (`buyers`) and reading (`contenders`).
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from acl_assets.settings import PROJECT_DIR
from benchmarks.extraction import buyers, contenders
from benchmarks.extraction.buyers import Span
from benchmarks.extraction.contenders import EXTRACT, PACKAGES, Contender
from benchmarks.extraction.results import Block, Circumstances, Latency, Pair
from benchmarks.extraction.source import Source
from benchmarks.measuring import CommandFailedError, process_tree, tree_cpu_seconds

EXTRACT_PAIRS_IN_A_ROUND = 3
LOAD_SHARE = 0.4
"""The buyers' pace, in what the server can do at most: loaded, and far from saturated."""

_SECONDS_BETWEEN_LOOKS = 0.02
_SECONDS_UNTIL_READING = 60.0
_MEMORY_DISK = Path("/dev/shm")  # noqa: S108 # a device, not a folder to guess names in
_BYTES_NEEDED = 4 * 10**9


@dataclass(frozen=True)
class Plan:
    """How long and how hard buyers buy.

    Attributes:
        rounds: of pairs of blocks; the extract has several pairs in each.
        block_seconds: length of a block.
        rate: purchases a second; None for a part of what the server can do.
    """

    rounds: int
    block_seconds: float
    rate: float | None = None


def measure(source: Source, chosen: Sequence[Contender], plan: Plan, work_dir: Path) -> Latency:
    """Measure pairs of blocks for the chosen contenders; logs go to `work_dir`.

    Raises:
        CommandFailedError: a contender failed.
        PurchasesFailedError: a buyer could not buy.
    """
    circumstances = Circumstances.now(PACKAGES, source.server_version)
    tickets = source.count("tickets")
    with _processors_apart(source) as (server_processors, client_processors), _output_dir(work_dir) as output_dir:
        buyers.buy(source, rate=50, seconds=5, seed=0, log_dir=work_dir / "log")
        capacity = buyers.capacity(source)
        rate = plan.rate or round(capacity * LOAD_SHARE)
        print(f"Buyers: {rate:g} purchases a second of {capacity:,.0f} at most.", flush=True)
        blocks = _Blocks(
            source=source,
            rate=rate,
            seconds=plan.block_seconds,
            processors=server_processors or os.cpu_count() or 1,
            log_dir=work_dir / "log",
            output_dir=output_dir,
        )
        pairs: list[Pair] = []
        for contender in schedule(chosen, plan.rounds):
            had = sum(pair.contender == contender.name for pair in pairs)
            pairs.append(_pair(blocks, contender, seed=len(pairs), reader_comes_first=had % 2 == 1))
            print(_told(pairs[-1]), flush=True)
    return Latency(
        circumstances=circumstances,
        scale=source.scale,
        tickets=tickets,
        capacity=capacity,
        rate=rate,
        clients=buyers.CLIENTS,
        block_seconds=plan.block_seconds,
        server_processors=server_processors,
        client_processors=client_processors,
        output_in_memory=_MEMORY_DISK in output_dir.parents,
        pairs=pairs,
    )


def schedule(chosen: Sequence[Contender], rounds: int) -> list[Contender]:
    """Who reads in which pair: every round another order, the extract several times in each, far from each other."""
    order: list[Contender] = []
    for turn in range(rounds):
        others = [contender for contender in chosen if contender.name != EXTRACT]
        others = others[::-1] if turn % 2 else others
        extracts = [contender for contender in chosen if contender.name == EXTRACT] * EXTRACT_PAIRS_IN_A_ROUND
        for place, extract in enumerate(extracts):
            others.insert(place + place * (len(others) - place) // len(extracts), extract)
        order += others
    return order


def _pair(blocks: _Blocks, contender: Contender, seed: int, reader_comes_first: bool) -> Pair:
    if reader_comes_first:
        during = blocks.during(contender, seed)
        return Pair(contender.name, blocks.without(seed), during)
    return Pair(contender.name, blocks.without(seed), blocks.during(contender, seed))


def _told(pair: Pair) -> str:
    return (
        f"{pair.contender}: p95 {pair.without.latency_ms[95]:.2f} ms without, {pair.during.latency_ms[95]:.2f} ms "
        f"with, ratio {pair.ratio(95):.2f}; server at work {pair.without.server_cpu_share:.0%} and "
        f"{pair.during.server_cpu_share:.0%}, reading {pair.during.reading_share:.0%} of the time"
    )


@dataclass(frozen=True)
class _Blocks:
    """Makes blocks, all alike but for who reads."""

    source: Source
    rate: float
    seconds: float
    processors: int
    log_dir: Path
    output_dir: Path

    def without(self, seed: int) -> Block:
        """A block in which nobody reads."""
        self.source.settle()
        return self._block(seed, is_read=False)

    def during(self, contender: Contender, seed: int) -> Block:
        """A block in which a contender reads, again and again; it counts while it really reads."""
        self.source.settle()
        with _reading(self.source, contender, self.output_dir / "reader"):
            return self._block(seed, is_read=True)

    def _block(self, seed: int, is_read: bool) -> Block:
        began, cpu_before = time.perf_counter(), tree_cpu_seconds(self.source.server.pid)
        with _looking(self.source) as spans:
            purchases = buyers.buy(self.source, self.rate, self.seconds, seed, self.log_dir)
        seconds = time.perf_counter() - began
        cpu_seconds = tree_cpu_seconds(self.source.server.pid) - cpu_before
        counted = buyers.during(purchases, spans) if is_read else purchases
        return Block(
            latency_ms=buyers.percentiles_ms(counted),
            purchases=len(counted),
            reading_share=sum(span.end - span.start for span in spans) / seconds,
            server_cpu_share=cpu_seconds / seconds / self.processors,
        )


@contextmanager
def _looking(source: Source) -> Iterator[list[Span]]:
    """Look all the time whether the source is read; the spans in which it is are complete when the block has ended."""
    spans: list[Span] = []
    ended = threading.Event()

    def look() -> None:
        start: float | None = None
        while not ended.wait(_SECONDS_BETWEEN_LOOKS):
            is_read, now = source.is_read(), time.time()
            if is_read and start is None:
                start = now
            elif not is_read and start is not None:
                spans.append(Span(start, now))
                start = None
        if start is not None:
            spans.append(Span(start, time.time()))

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield spans
    finally:
        ended.set()
        thread.join()


@contextmanager
def _reading(source: Source, contender: Contender, folder: Path) -> Iterator[None]:
    """Let a contender read, and read again when it has finished, until the block ends; it begins when the first reads.

    Raises:
        CommandFailedError: the contender failed, or does not begin to read.
    """
    ended = threading.Event()
    failures: list[str] = []

    def read() -> None:
        # Buyers and readers share processors here but not in real life: a reader yields at once. Of this thread alone,
        # and of the processes it starts.
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
        while not ended.is_set() and not failures:
            contenders.clear(folder)
            exit_code = _run_until(ended, contender, source, folder)
            if exit_code and not ended.is_set():
                failures.append(f"{contender.name} ended with exit code {exit_code}: {(folder / 'log').read_text()}")

    thread = threading.Thread(target=read)
    thread.start()
    try:
        deadline = time.monotonic() + _SECONDS_UNTIL_READING
        while not source.is_read() and not failures and time.monotonic() < deadline:
            time.sleep(_SECONDS_BETWEEN_LOOKS)
        if time.monotonic() >= deadline:
            failures.append(f"{contender.name} has not begun to read after {_SECONDS_UNTIL_READING:.0f} s.")
        if not failures:
            yield
    finally:
        ended.set()
        thread.join()
    if failures:
        raise CommandFailedError(failures[0])


def _run_until(ended: threading.Event, contender: Contender, source: Source, folder: Path) -> int:
    """Run a contender to its end, or kill it when `ended` is set; its exit code."""
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            contender.command(source, folder),
            env=contender.environment_in(source, folder),
            cwd=PROJECT_DIR,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    while process.poll() is None:
        if ended.wait(_SECONDS_BETWEEN_LOOKS):
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    return process.returncode


@contextmanager
def _processors_apart(source: Source) -> Iterator[tuple[int, int]]:
    """Give the server the first half of the processors, everybody else the others; how many each has, 0 if too few."""
    all_processors = sorted(os.sched_getaffinity(0))
    half = len(all_processors) // 2
    if not half:
        yield 0, 0
        return
    servers, clients = set(all_processors[:half]), set(all_processors[half:])
    for pid in process_tree(source.server.pid):
        os.sched_setaffinity(pid, servers)
    os.sched_setaffinity(0, clients)
    try:
        yield len(servers), len(clients)
    finally:
        os.sched_setaffinity(0, all_processors)
        for pid in process_tree(source.server.pid):
            os.sched_setaffinity(pid, all_processors)


@contextmanager
def _output_dir(work_dir: Path) -> Iterator[Path]:
    """A folder for what is read, in memory where there is room: the server's disk is not the readers' in real life."""
    has_room = os.access(_MEMORY_DISK, os.W_OK) and shutil.disk_usage(_MEMORY_DISK).free > _BYTES_NEEDED
    with tempfile.TemporaryDirectory(prefix="readers-", dir=_MEMORY_DISK if has_room else work_dir) as folder:
        yield Path(folder)
