"""What was measured, kept as JSON, and the figures that are read from it.

What belongs here: medians, ranges and ratios. What does not: measuring (`measuring`) and showing (`page`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import date
from pathlib import Path
from statistics import median
from typing import Any, Generic, Literal, TypeVar

Quantity = Literal["wall_seconds", "cpu_seconds", "peak_memory_bytes", "written_bytes", "output_bytes"]


def scales(text: str) -> tuple[float, ...]:
    """The scales that a command line names, with commas; smallest first."""
    return tuple(sorted(float(scale) for scale in text.split(",")))


@dataclass(frozen=True)
class Measurement:
    """One run of one contender.

    Attributes:
        contender: its name.
        scale: size of the export batch; 1 is 3.6 million tickets.
        round: rounds of a scale, from 1; the runs of a round follow each other.
        wall_seconds, cpu_seconds, peak_memory_bytes, written_bytes: as `measuring.ProcessUsage` has them.
        output_bytes: size of all files in the contender's output folder afterwards.
        phases: seconds per phase of a refresh; empty for the other contenders.
        slowest_nodes: dbt nodes that ran longest in a refresh, with their seconds.
    """

    contender: str
    scale: float
    round: int
    wall_seconds: float
    cpu_seconds: float
    peak_memory_bytes: int
    written_bytes: int
    output_bytes: int
    phases: Mapping[str, float] = field(default_factory=dict)
    slowest_nodes: Sequence[tuple[str, float]] = ()


@dataclass(frozen=True)
class Spread:
    """Median and extremes of several numbers."""

    median: float
    lowest: float
    highest: float
    count: int

    @classmethod
    def of(cls, numbers: Iterable[float]) -> Spread | None:
        """The spread of numbers, None when there are none."""
        found = sorted(numbers)
        return cls(median(found), found[0], found[-1], len(found)) if found else None


@dataclass(frozen=True)
class Batch:
    """The export batch of a scale: rows of its largest table, and bytes of its files."""

    tickets: int
    exported_bytes: int


@dataclass(frozen=True)
class Results:
    """Everything one benchmark found out.

    Attributes:
        taken_on: day, ISO 8601.
        machine: the machine in words.
        load_before: load average of the last minute before the first run.
        versions: installed version by package.
        batches: the export batch by scale.
        equal_rows: by contender and scale, the rows in which its warehouse equals the refresh's, over all tables.
        measurements: every measured run.
    """

    taken_on: str
    machine: str
    load_before: float
    versions: Mapping[str, str]
    batches: Mapping[float, Batch]
    equal_rows: Mapping[str, Mapping[float, int]]
    measurements: Sequence[Measurement]

    @property
    def scales(self) -> list[float]:
        """The measured scales, smallest first."""
        return sorted(self.batches)

    def of(self, contender: str, scale: float) -> list[Measurement]:
        """The runs of a contender at a scale."""
        return [run for run in self.measurements if run.contender == contender and run.scale == scale]

    def spread(self, contender: str, scale: float, quantity: Quantity) -> Spread | None:
        """Median and extremes of a quantity, None when the contender did not run at that scale."""
        return Spread.of(getattr(run, quantity) for run in self.of(contender, scale))

    def ratio(self, contender: str, to: str, scale: float, quantity: Quantity = "wall_seconds") -> Spread | None:
        """Median and extremes of the ratios of runs of the same round, None when there is no such round."""
        others = {run.round: run for run in self.of(to, scale)}
        return Spread.of(
            getattr(run, quantity) / getattr(others[run.round], quantity)
            for run in self.of(contender, scale)
            if run.round in others
        )

    def joined_to(self, earlier: Results | None) -> Results:
        """These results, and of earlier ones from the same machine and versions the scales that are not among these.

        A ratio so always is one between contenders that were measured together.
        """
        if earlier is None or (earlier.machine, earlier.versions) != (self.machine, self.versions):
            return self
        kept = set(earlier.scales) - set(self.scales)
        contenders = {**earlier.equal_rows, **self.equal_rows}
        equal_rows = {
            contender: {scale: rows for scale, rows in earlier.equal_rows.get(contender, {}).items() if scale in kept}
            | dict(self.equal_rows.get(contender, {}))
            for contender in contenders
        }
        return replace(
            self,
            batches={scale: earlier.batches[scale] for scale in kept} | dict(self.batches),
            equal_rows={contender: compared for contender, compared in equal_rows.items() if compared},
            measurements=[*(run for run in earlier.measurements if run.scale in kept), *self.measurements],
        )

    def phases(self, contender: str, scale: float) -> dict[str, float]:
        """Median seconds per phase."""
        runs = self.of(contender, scale)
        return {phase: median(run.phases[phase] for run in runs) for phase in (runs[0].phases if runs else ())}


@dataclass(frozen=True)
class IncrementRun:
    """The refresh from one of many increments, applied one after another.

    Attributes:
        applied: how many increments have been applied with it; 0 for the full batch they continue.
        rows: rows the batch holds, over all tables.
        wall_seconds, cpu_seconds, peak_memory_bytes: as `measuring.ProcessUsage` has them.
        files_read: Parquet files that make up the source tables afterwards.
        source_table_bytes: bytes of all files kept for the source tables.
        published_bytes: size of the published file.
    """

    applied: int
    rows: int
    wall_seconds: float
    cpu_seconds: float
    peak_memory_bytes: int
    files_read: int
    source_table_bytes: int
    published_bytes: int


@dataclass(frozen=True)
class BatchesRun:
    """What a landing zone of so many batches costs those who look into it, in CPU seconds.

    Attributes:
        batches: complete batches in the landing zone.
        first_tick_seconds: the sensor's first evaluation, which reads every manifest.
        landed_tick_seconds: one that finds a new batch beside those it knows.
        tick_seconds: several that find nothing new.
        discovery_seconds: what a refresh, a process of its own, takes to find the newest state.
    """

    batches: int
    first_tick_seconds: float
    landed_tick_seconds: float
    tick_seconds: Sequence[float]
    discovery_seconds: float


GrowthRun = TypeVar("GrowthRun", IncrementRun, BatchesRun)

# Merging files makes a refresh a little dearer every few increments: a figure is the median of these many.
_NEIGHBOURS = 9
_SHOWN_INCREMENTS = (10, 100, 250)


def shown_increments(applied: int) -> list[int]:
    """Of so many increments those that a page shows, the last among them."""
    return [*(shown for shown in _SHOWN_INCREMENTS if shown < applied), applied]


def neighbours(shown: int, applied: int) -> range:
    """The increments whose refreshes a figure is the median of: those around one, as many for the last, never 0.

    Args:
        shown: the increment in their middle.
        applied: how many there are.
    """
    last = max(_NEIGHBOURS, min(shown + _NEIGHBOURS // 2, applied))
    return range(max(1, last - _NEIGHBOURS + 1), last + 1)


@dataclass(frozen=True)
class Growth(Generic[GrowthRun]):
    """How cost grows with what has piled up; attributes as those of `Results`."""

    taken_on: str
    machine: str
    load_before: float
    runs: Sequence[GrowthRun]


@dataclass(frozen=True)
class Imports:
    """What importing the definitions costs, beside importing what they are written in; attributes as of `Results`.

    Attributes:
        definitions: CPU seconds of processes that import the definitions.
        frameworks: of those that import dagster and dagster-dbt, each of which ran right before one of the others.
    """

    taken_on: str
    machine: str
    load_before: float
    definitions: Sequence[float]
    frameworks: Sequence[float]

    @property
    def ratio(self) -> float:
        """The median of the ratios of neighbouring processes."""
        return median(one / other for one, other in zip(self.definitions, self.frameworks, strict=True))


def today() -> str:
    """The day a result is taken on, ISO 8601."""
    return date.today().isoformat()


def write(results: Results | Growth[IncrementRun] | Growth[BatchesRun] | Imports, file: Path) -> None:
    """Write results as JSON."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(asdict(results), indent=1))


def read_growth(run: type[GrowthRun], file: Path) -> Growth[GrowthRun] | None:
    """Read how cost grows, as `write` wrote it; None where it has not been measured."""
    if not file.exists():
        return None
    document: dict[str, Any] = json.loads(file.read_text())
    return Growth(**{**document, "runs": [run(**found) for found in document["runs"]]})


def read_imports(file: Path) -> Imports | None:
    """Read what imports cost, as `write` wrote it; None where it has not been measured."""
    return Imports(**json.loads(file.read_text())) if file.exists() else None


def read(file: Path) -> Results | None:
    """Read results that `write` wrote; None where there are none."""
    if not file.exists():
        return None
    document: dict[str, Any] = json.loads(file.read_text())
    return Results(
        **{
            **document,
            "batches": {float(scale): Batch(**batch) for scale, batch in document["batches"].items()},
            "equal_rows": {
                contender: {float(scale): rows for scale, rows in found.items()}
                for contender, found in document["equal_rows"].items()
            },
            "measurements": [
                Measurement(**{**run, "slowest_nodes": [(name, seconds) for name, seconds in run["slowest_nodes"]]})
                for run in document["measurements"]
            ],
        }
    )
