"""The measurements of both benchmarks, as they are stored in `benchmarks/results/`, and the ratios between them."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from importlib.metadata import distributions
from pathlib import Path
from statistics import median
from typing import TypeVar

from pydantic import TypeAdapter

RESULTS_DIR = Path(__file__).with_name("results")
REFRESH_FILE = RESULTS_DIR / "refresh.json"
EXTRACTION_FILE = RESULTS_DIR / "extraction.json"
Measured = TypeVar("Measured")


@dataclass(frozen=True)
class Circumstances:
    """When and where something was measured; `load_before` is the load average of the minute before."""

    measured_on: date
    machine: str
    load_before: float
    versions: dict[str, str]

    @classmethod
    def now(cls, packages: Iterable[str]) -> Circumstances:
        """Describe this moment, this machine and the installed ones of some packages."""
        installed = {found.metadata["Name"]: found.version for found in distributions()}
        versions = {package: installed[package] for package in packages if package in installed}
        return cls(date.today(), _machine(), os.getloadavg()[0], {"Python": platform.python_version(), **versions})


def _machine() -> str:
    gibibytes = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    cpu = Path("/proc/cpuinfo")
    virtual = " (virtual machine)" if cpu.exists() and " hypervisor " in cpu.read_text() else ""
    return f"{os.cpu_count()} cores, {gibibytes:.0f} GiB of memory{virtual}"


@dataclass(frozen=True)
class Run:
    """One measured run of a contender; the runs of a round follow each other."""

    contender: str
    round: int
    wall_seconds: float
    cpu_seconds: float
    peak_memory_bytes: int


@dataclass(frozen=True)
class RefreshResult:
    """The runs of all contenders at one scale.

    Attributes:
        tickets: rows of the largest table of the batch.
        equal_rows: rows of star schema and data products that were compared with the refresh's, by contender.
    """

    scale: float
    circumstances: Circumstances
    tickets: int
    equal_rows: dict[str, int]
    runs: list[Run]


@dataclass(frozen=True)
class Pair:
    """Latency percentiles of purchases, in milliseconds, in a block of time without a reader and in one with it."""

    reader: str
    round: int
    without: dict[int, float]
    during: dict[int, float]


@dataclass(frozen=True)
class ExtractionResult:
    """The pairs of all readers at one scale.

    Attributes:
        tickets: rows of the largest table before the first purchase.
        purchases_per_second: pace of the buyers.
        capacity: purchases a second when buyers do not pause.
        block_seconds: length of a block.
    """

    scale: float
    circumstances: Circumstances
    tickets: int
    purchases_per_second: float
    capacity: float
    block_seconds: float
    pairs: list[Pair]


@dataclass(frozen=True)
class Figure:
    """The median of some values and their range."""

    median: float
    lowest: float
    highest: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Figure | None:
        """Summarise values; None when there are none."""
        return cls(median(values), min(values), max(values)) if values else None


def figure(result: RefreshResult | None, contender: str, value: Callable[[Run], float]) -> Figure | None:
    """Summarise a value over all runs of a contender."""
    return Figure.of([value(run) for run in _runs(result, contender)])


def wall_ratio(result: RefreshResult | None, contender: str, other: str) -> Figure | None:
    """Summarise the wall times of a contender divided by those of another one in the same round."""
    others = {run.round: run.wall_seconds for run in _runs(result, other)}
    return Figure.of([run.wall_seconds / others[run.round] for run in _runs(result, contender) if run.round in others])


def _runs(result: RefreshResult | None, contender: str) -> list[Run]:
    return [run for run in result.runs if run.contender == contender] if result else []


def latency_ratio(result: ExtractionResult | None, reader: str, percentile: int) -> Figure | None:
    """Summarise the latencies with a reader divided by those without it in the same pair."""
    pairs = [pair for pair in result.pairs if pair.reader == reader] if result else []
    return Figure.of([pair.during[percentile] / pair.without[percentile] for pair in pairs])


def read(kind: type[Measured], file: Path) -> dict[float, Measured]:
    """Read stored results by scale; none when the file does not exist."""
    return TypeAdapter(dict[float, kind]).validate_json(file.read_bytes()) if file.exists() else {}  # type: ignore[valid-type]


def store(result: RefreshResult | ExtractionResult, file: Path) -> None:
    """Add a result to a file in place of an earlier one of the same scale."""
    kind = type(result)
    results = {**read(kind, file), result.scale: result}
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(TypeAdapter(dict[float, kind]).dump_json(dict(sorted(results.items())), indent=1) + b"\n")  # type: ignore[valid-type]
