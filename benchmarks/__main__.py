"""The command line: measure the contenders in alternation, write results, page and plot.

What belongs here: the order of things. What does not: how anything is measured, compared or shown.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
from collections.abc import Sequence
from datetime import date
from importlib.metadata import version
from pathlib import Path

from acl_assets.settings import PROJECT_DIR, Settings
from benchmarks import contenders, equality, page, phases, results
from benchmarks.contenders import CONTENDERS, HAND_WRITTEN, REFRESH, REFRESH_CONVERTED, Arena, Contender
from benchmarks.machine import machine_in_words
from benchmarks.measuring import bytes_below, call_apart, run_measured
from benchmarks.results import Batch, Measurement, Results

DEFAULT_SCALES = (0.1, 1.0, 10.0)
DEFAULT_ROUNDS = 3
# From here on runs take minutes: one round less, and no second refresh.
_LARGE_SCALE = 5.0
_WARM_UP_SCALE = 0.01
_PACKAGES = ("dagster", "dagster-dbt", "dbt-core", "dbt-duckdb", "duckdb", "pyarrow")


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, or show again what was measured before."""
    options = _parser().parse_args(arguments)
    work_dir = (options.work_dir or Settings.from_environment().data_dir / "benchmarks").absolute()
    results_file = options.results or work_dir / "results.json"
    complete = options.results is not None or (options.only == list(CONTENDERS) and options.scales == DEFAULT_SCALES)
    if options.results is None:
        chosen = [CONTENDERS[name] for name in options.only]
        results.write(measure(Arena(work_dir), chosen, options.scales, options.rounds), results_file)
    docs_dir = options.docs_dir or (PROJECT_DIR / "docs" if complete else work_dir / "docs")
    print(f"Results: {results_file}\nPage:    {page.write_page(results.read(results_file), docs_dir)}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure a refresh against dbt alone and against hand-written SQL.",
    )
    parser.add_argument(
        "--scales",
        type=results.scales,
        default=DEFAULT_SCALES,
        help="sizes, with commas; 1 is 3.6 million tickets (0.1,1,10)",
    )
    parser.add_argument("--rounds", type=int, default=DEFAULT_ROUNDS, help="runs of every contender (%(default)s)")
    parser.add_argument(
        "--only", nargs="+", choices=CONTENDERS, default=list(CONTENDERS), help="contenders to measure (all)"
    )
    parser.add_argument("--work-dir", type=Path, help="scratch space, reused (default: $ACL_DATA_DIR/benchmarks)")
    parser.add_argument("--results", type=Path, help="measure nothing: make the page from these earlier results")
    parser.add_argument(
        "--docs-dir", type=Path, help="where the page goes (docs/; below --work-dir when something was left out)"
    )
    return parser


def measure(arena: Arena, chosen: Sequence[Contender], scales: Sequence[float], rounds: int) -> Results:
    """Measure the chosen contenders at every scale; the runs of a round follow each other.

    Raises:
        CommandFailedError: a contender failed.
        WarehousesDifferError: refresh and hand-written script do not make the same warehouse.
    """
    load_before = os.getloadavg()[0]
    contenders.prepare_instance(arena)
    for scale in (_WARM_UP_SCALE, *scales):
        print(f"Export batch of scale {scale:g}: {contenders.prepare_batch(arena, scale)}", flush=True)
    call_apart(contenders.prepare_source_tables, arena, _WARM_UP_SCALE)
    contenders.warm_up(arena, chosen, _WARM_UP_SCALE)
    measurements: list[Measurement] = []
    equal_rows: dict[float, int] = {}
    for scale in scales:
        call_apart(contenders.prepare_source_tables, arena, scale)
        for turn in range(rounds if scale < _LARGE_SCALE else max(1, rounds - 1)):
            order = _order(chosen, scale, turn)
            measurements.extend(_measure_once(arena, contender, scale, turn + 1) for contender in order)
        if {REFRESH, HAND_WRITTEN} <= {contender.name for contender in chosen}:
            files = [CONTENDERS[name].warehouse_file(arena) for name in (REFRESH, HAND_WRITTEN)]
            equal_rows[scale] = sum(call_apart(equality.require_equal, *files).values())
            print(f"scale {scale:g}: refresh and hand-written script agree in {equal_rows[scale]:,} rows", flush=True)
    return Results(
        taken_on=date.today().isoformat(),
        machine=machine_in_words(),
        load_before=load_before,
        versions={"Python": platform.python_version(), **{package: version(package) for package in _PACKAGES}},
        batches={scale: _batch(arena, scale) for scale in scales},
        equal_rows=equal_rows,
        measurements=measurements,
    )


def _order(chosen: Sequence[Contender], scale: float, turn: int) -> list[Contender]:
    """The contenders of a round: each round begins with the next one, and a second refresh follows the first."""
    own_turn = [contender for contender in chosen if contender.name != REFRESH_CONVERTED]
    first = turn % len(own_turn) if own_turn else 0
    ordered = own_turn[first:] + own_turn[:first]
    again = [contender for contender in chosen if contender.name == REFRESH_CONVERTED and scale < _LARGE_SCALE]
    position = next((at + 1 for at, contender in enumerate(ordered) if contender.name == REFRESH), len(ordered))
    return ordered[:position] + again + ordered[position:]


def _measure_once(arena: Arena, contender: Contender, scale: float, turn: int) -> Measurement:
    contender.clear(arena)
    usage = run_measured(
        contender.command(arena, scale),
        contenders.environment(arena, contender.name, scale),
        PROJECT_DIR,
        arena.log_file(f"scale-{scale:g} {contender.name} {turn}"),
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
        output_bytes=bytes_below(arena.output(contender.name)),
        phases=split,
        slowest_nodes=slowest,
    )


def _batch(arena: Arena, scale: float) -> Batch:
    tables = json.loads((arena.batch(scale) / "manifest.json").read_bytes())["tables"]
    exported_bytes = sum(file["bytes"] for table in tables.values() for file in table["files"])
    return Batch(tickets=tables["tickets"]["rows_at_source"], exported_bytes=exported_bytes)


if __name__ == "__main__":
    main()
