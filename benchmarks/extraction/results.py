"""What was measured of extracts, kept as JSON, one file for each part, and the figures that are read from it.

What belongs here: medians, ranges and ratios. What does not: measuring (`latency`, `cost`, `incremental`) and showing
(`page`).
"""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Literal, TypeVar

from benchmarks.machine import machine_in_words
from benchmarks.results import Spread

BatchKind = Literal["full", "incremental"]
Part = TypeVar("Part", "Latency", "Cost", "Incremental")


@dataclass(frozen=True)
class Circumstances:
    """When and where a part was measured.

    Attributes:
        taken_on: day, ISO 8601.
        machine: the machine in words.
        load_before: load average of the last minute before the first run.
        versions: installed version by package, Python and PostgreSQL among them.
    """

    taken_on: str
    machine: str
    load_before: float
    versions: Mapping[str, str]

    @classmethod
    def now(cls, packages: Sequence[str], server_version: str) -> Circumstances:
        """Those of this moment, with the versions of some packages."""
        languages = {"PostgreSQL": server_version, "Python": platform.python_version()}
        versions = {**languages, **{package: version(package) for package in packages}}
        return cls(date.today().isoformat(), machine_in_words(), os.getloadavg()[0], versions)


@dataclass(frozen=True)
class Block:
    """Some seconds in which buyers bought.

    Attributes:
        latency_ms: latency in milliseconds by percentile; with a reader, of the purchases during which it read.
        purchases: how many purchases that is of.
        reading_share: part (0-1) of the time in which the server worked for a reader.
        server_cpu_share: CPU time of all the server's processes, in that of its processors (0-1).
    """

    latency_ms: Mapping[int, float]
    purchases: int
    reading_share: float
    server_cpu_share: float


@dataclass(frozen=True)
class Pair:
    """Two blocks that followed each other, with purchases due at the same instants: without a reader and with it."""

    contender: str
    without: Block
    during: Block

    def ratio(self, percentile: int) -> float:
        """Latency with the reader, in latencies without it."""
        return self.during.latency_ms[percentile] / self.without.latency_ms[percentile]


@dataclass(frozen=True)
class Latency:
    """What buyers notice of readers.

    Attributes:
        scale: size of the history; 1 is 3.6 million tickets.
        tickets: rows of the largest table when the first block began.
        capacity: purchases a second that the server could do at most.
        rate: purchases a second that were made.
        clients: buyers at a time.
        block_seconds: length of a block.
        server_processors, client_processors: processors of the server, and of the buyers and readers; 0 when they
            were not kept apart.
        output_in_memory: whether readers wrote to memory rather than to the server's disk.
    """

    circumstances: Circumstances
    scale: float
    tickets: int
    capacity: float
    rate: float
    clients: int
    block_seconds: float
    server_processors: int
    client_processors: int
    output_in_memory: bool
    pairs: Sequence[Pair]

    def of(self, contender: str) -> list[Pair]:
        """The pairs of a contender."""
        return [pair for pair in self.pairs if pair.contender == contender]

    def ratio(self, contender: str, percentile: int) -> Spread | None:
        """Median and extremes of the ratios of pairs, None when the contender did not run."""
        return Spread.of(pair.ratio(percentile) for pair in self.of(contender))


@dataclass(frozen=True)
class CostRun:
    """One run of one contender while nobody buys.

    Attributes:
        wall_seconds, client_cpu_seconds, peak_memory_bytes: as `measuring.ProcessUsage` has them.
        server_cpu_seconds: CPU time of all processes of the server.
        output_bytes: size of the files it left.
    """

    contender: str
    round: int
    wall_seconds: float
    client_cpu_seconds: float
    server_cpu_seconds: float
    peak_memory_bytes: int
    output_bytes: int


@dataclass(frozen=True)
class Cost:
    """What readers take from the server and from their own machine; `rows` is of all six tables together."""

    circumstances: Circumstances
    scale: float
    tickets: int
    rows: int
    runs: Sequence[CostRun]

    def spread(self, contender: str, quantity: Callable[[CostRun], float]) -> Spread | None:
        """Median and extremes of a quantity, None when the contender did not run."""
        return Spread.of(quantity(run) for run in self.runs if run.contender == contender)

    def server_cpu_ratio(self, contender: str, to: str) -> Spread | None:
        """Median and extremes of the ratios of the server's CPU time in runs of the same round."""
        others = {run.round: run.server_cpu_seconds for run in self.runs if run.contender == to}
        return Spread.of(
            run.server_cpu_seconds / others[run.round]
            for run in self.runs
            if run.contender == contender and run.round in others
        )


@dataclass(frozen=True)
class BatchRun:
    """An extract and the refresh after it, from the ticketing database to the report.

    Attributes:
        rows: rows in the batch, of all tables.
        rows_at_source: rows of the source's tables at its instant.
        extract_wall_seconds, extract_cpu_seconds, extract_peak_bytes: of the extract's own processes.
        server_cpu_seconds: CPU time of all processes of the server meanwhile.
        refresh_wall_seconds, refresh_cpu_seconds, refresh_peak_bytes: of the refresh's processes.
    """

    scale: float
    round: int
    kind: BatchKind
    rows: int
    rows_at_source: int
    extract_wall_seconds: float
    extract_cpu_seconds: float
    extract_peak_bytes: int
    server_cpu_seconds: float
    refresh_wall_seconds: float
    refresh_cpu_seconds: float
    refresh_peak_bytes: int

    @property
    def cpu_seconds(self) -> float:
        """CPU time of everything, the server included."""
        return self.extract_cpu_seconds + self.server_cpu_seconds + self.refresh_cpu_seconds

    @property
    def wall_seconds(self) -> float:
        """Wall time of extract and refresh, one after the other."""
        return self.extract_wall_seconds + self.refresh_wall_seconds


@dataclass(frozen=True)
class Incremental:
    """What a batch of changes costs against a full one of the same instant.

    Attributes:
        equal_rows: by scale, the rows in which the warehouses made from both were found equal.
    """

    circumstances: Circumstances
    runs: Sequence[BatchRun]
    equal_rows: Mapping[float, int]

    @property
    def scales(self) -> list[float]:
        """The measured scales, smallest first."""
        return sorted({run.scale for run in self.runs})

    def of(self, scale: float, kind: BatchKind) -> list[BatchRun]:
        """The runs of a kind of batch at a scale."""
        return [run for run in self.runs if run.scale == scale and run.kind == kind]

    def spread(self, scale: float, kind: BatchKind, quantity: Callable[[BatchRun], float]) -> Spread | None:
        """Median and extremes of a quantity, None when there was no such run."""
        return Spread.of(map(quantity, self.of(scale, kind)))

    def ratio(self, scale: float, quantity: Callable[[BatchRun], float]) -> Spread | None:
        """Median and extremes of what an incremental batch took, in what the full one of its round took."""
        full = {run.round: quantity(run) for run in self.of(scale, "full")}
        return Spread.of(quantity(run) / full[run.round] for run in self.of(scale, "incremental") if run.round in full)


def write(part: Latency | Cost | Incremental, file: Path) -> None:
    """Write what a part measured as JSON."""
    from pydantic import TypeAdapter

    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(TypeAdapter(type(part)).dump_json(part, indent=1))


def read(kind: type[Part], file: Path) -> Part | None:
    """Read what `write` wrote of a part, None when it has not been measured."""
    from pydantic import TypeAdapter

    return TypeAdapter(kind).validate_json(file.read_bytes()) if file.exists() else None


def are_complete(
    latency: Latency | None,
    cost: Cost | None,
    incremental: Incremental | None,
    contenders: Iterable[str],
    scales: Sequence[float],
) -> bool:
    """Whether all parts were measured: all readers at the first of the scales, and increments at every scale."""
    if latency is None or cost is None or incremental is None:
        return False
    measured = {pair.contender for pair in latency.pairs} | {run.contender for run in cost.runs}
    return latency.scale == cost.scale == scales[0] and measured == set(contenders) and incremental.scales == [*scales]
