"""What reading takes from the server and from the reader's machine, while nobody buys.

What belongs here: one run after the other, measured on both sides. What does not: what buyers notice (`latency`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from acl_assets.settings import PROJECT_DIR
from benchmarks.extraction import contenders
from benchmarks.extraction.contenders import PACKAGES, Contender
from benchmarks.extraction.results import Circumstances, Cost, CostRun
from benchmarks.extraction.source import TABLES, Source
from benchmarks.measuring import bytes_below, call_apart, run_measured, tree_cpu_seconds


class RowsMissingError(AssertionError):
    """A contender has not read all rows, so that its figures mean nothing."""


def measure(source: Source, chosen: Sequence[Contender], rounds: int, work_dir: Path) -> Cost:
    """Measure every chosen contender once in each round; each round begins with the next one.

    Raises:
        CommandFailedError: a contender failed.
        RowsMissingError: it did not read everything.
    """
    circumstances = Circumstances.now(PACKAGES, source.server_version)
    rows = source.count(*TABLES)
    runs: list[CostRun] = []
    for turn in range(rounds):
        first = turn % len(chosen)
        for contender in [*chosen[first:], *chosen[:first]]:
            runs.append(_run(source, contender, turn + 1, rows, work_dir))
            print(_told(runs[-1]), flush=True)
    return Cost(circumstances, source.scale, source.count("tickets"), rows, runs)


def _run(source: Source, contender: Contender, turn: int, rows: int, work_dir: Path) -> CostRun:
    folder = work_dir / "reader"
    contenders.clear(folder)
    source.settle()
    cpu_before = tree_cpu_seconds(source.server.pid)
    usage = run_measured(
        contender.command(source, folder), contender.environment_in(source, folder), PROJECT_DIR, folder / "log"
    )
    source.wait_until_left()
    server_cpu_seconds = tree_cpu_seconds(source.server.pid) - cpu_before
    if contender.leaves_parquet:
        found = call_apart(_rows_in, contenders.output(folder))
        if found != rows:
            raise RowsMissingError(f"{contender.name} has read {found:,} of {rows:,} rows.")
    return CostRun(
        contender=contender.name,
        round=turn,
        wall_seconds=usage.wall_seconds,
        client_cpu_seconds=usage.cpu_seconds,
        server_cpu_seconds=server_cpu_seconds,
        peak_memory_bytes=usage.peak_memory_bytes,
        output_bytes=bytes_below(contenders.output(folder)),
    )


def _rows_in(folder: Path) -> int:
    """Rows of all Parquet files below a folder that are a table's."""
    import pyarrow.parquet as pq

    files = [file for file in folder.rglob("*.parquet") if file.stem in TABLES or file.parent.name in TABLES]
    return sum(pq.ParquetFile(file).metadata.num_rows for file in files)


def _told(run: CostRun) -> str:
    return (
        f"round {run.round}, {run.contender}: {run.wall_seconds:.1f} s wall, CPU {run.server_cpu_seconds:.2f} s server "
        f"and {run.client_cpu_seconds:.1f} s client, {run.peak_memory_bytes / 1e6:,.0f} MB, "
        f"{run.output_bytes / 1e6:,.1f} MB out"
    )
