"""How cost grows with what has piled up: batches in the landing zone, and increments applied one after another.

What belongs here: piling up, and what is measured meanwhile. What does not: how cost grows with tickets, which the
contenders show.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, cast
from unittest.mock import patch

from acl_assets.settings import PROJECT_DIR, Settings
from benchmarks import contenders
from benchmarks.contenders import CONTENDERS, REFRESH, Arena
from benchmarks.machine import machine_in_words
from benchmarks.measuring import ProcessUsage, bytes_below, call_apart, run_measured
from benchmarks.results import BatchesRun, Growth, IncrementRun, neighbours, shown_increments, today

if TYPE_CHECKING:
    import pyarrow as pa

INCREMENTS_SCALE = 0.01
_SEED = 20
_HOURS_BETWEEN_INCREMENTS = 3
_DAYS_FROM_FULL_TO_FULL = 7
_TICKS = 20
# A ticket is refunded by one increment of so many.
_SHARES = 512


def measure_increments(
    arena: Arena, increments: int, earlier: Growth[IncrementRun] | None, scale: float = INCREMENTS_SCALE
) -> Iterator[Growth[IncrementRun]]:
    """Refresh from a full batch, then from one increment after another, each as it lands.

    Measured are the refreshes around those a page shows, each a process of its own; the others follow each other in
    one process and draw no report, as they have but to leave behind what piles up. Those around the tenth are measured
    at the end, in an installation of their own, each right before one of the last: the speed of a machine changes
    within hours, and would count as growth. It takes hours, so that all measured so far is given after each measured
    refresh. `earlier` is what was given before an interruption: the increments that are left then are gone on with,
    after a repetition, unmeasured, of the refresh it cut off.

    Raises:
        CommandFailedError: a refresh failed.
    """
    measured = earlier or Growth(today(), machine_in_words(), os.getloadavg()[0], [])
    runs = list(measured.runs)
    prepared, landing_zone = arena.folder / "prepared", arena.exports_dir(scale)
    if not runs or not any(prepared.glob("*")):
        runs.clear()
        shutil.rmtree(arena.folder, ignore_errors=True)
        contenders.prepare_instance(arena)
        landing_zone.mkdir(parents=True)
        call_apart(prepare_increments, prepared, increments, scale)
    else:
        _refresh(arena, scale, "interrupted increment")
    tenth, last = neighbours(10, increments), neighbours(increments, increments)
    is_measured = {0, *(near for shown in shown_increments(increments) for near in neighbours(shown, increments))}
    waiting = sorted(prepared.iterdir())
    compared: list[Path] = []
    if tenth[-1] < last[0]:
        is_measured.difference_update(tenth)
        compared = [batch for batch in waiting if _number(batch) in last]
    for measures, batches in groupby(
        waiting[: len(waiting) - len(compared)], lambda batch: _number(batch) in is_measured
    ):
        if not measures:
            _pile_up(arena, scale, list(batches))
            continue
        for batch in batches:
            runs.append(_measure_increment(arena, scale, batch))
            yield replace(measured, runs=runs)
    if compared:
        for pair in _measure_beside_the_tenth(arena, scale, compared, tenth):
            runs.extend(pair)
            yield replace(measured, runs=runs)


def _measure_beside_the_tenth(
    arena: Arena, scale: float, last: Sequence[Path], tenth: Sequence[int]
) -> Iterator[tuple[IncrementRun, IncrementRun]]:
    """Measure the last increments, each right after one of those around the tenth in an installation of their own."""
    early = Arena(arena.folder / "early")
    shutil.rmtree(early.folder, ignore_errors=True)
    contenders.prepare_instance(early)
    early.exports_dir(scale).mkdir(parents=True)
    prepared = early.folder / "prepared"
    for batch in sorted(arena.exports_dir(scale).iterdir())[: tenth[-1] + 1]:
        shutil.copytree(batch, prepared / batch.name, copy_function=os.link)
    full, *increments = sorted(prepared.iterdir())
    _measure_increment(early, scale, full)
    alternating = increments[-len(last) :]
    _pile_up(early, scale, increments[: -len(last)])
    for near_tenth, near_last in zip(alternating, last, strict=True):
        yield _measure_increment(early, scale, near_tenth), _measure_increment(arena, scale, near_last)


def _number(batch: Path) -> int:
    return int(batch.name.rpartition("-")[2])


def _measure_increment(arena: Arena, scale: float, batch: Path) -> IncrementRun:
    landing_zone, applied = arena.exports_dir(scale), _number(batch)
    batch.rename(landing_zone / batch.name)
    usage = _refresh(arena, scale, f"increment {applied}")
    source_tables = arena.output(REFRESH) / "source_tables"
    run = IncrementRun(
        applied=applied,
        rows=_rows(landing_zone / batch.name),
        wall_seconds=usage.wall_seconds,
        cpu_seconds=usage.cpu_seconds,
        peak_memory_bytes=usage.peak_memory_bytes,
        files_read=sum(1 for _ in (source_tables / "current").glob("*/*.parquet")),
        source_table_bytes=bytes_below(source_tables),
        published_bytes=CONTENDERS[REFRESH].warehouse_file(arena).stat().st_size,
    )
    print(
        f"increment {applied}: {run.rows:,} rows, {run.cpu_seconds:.1f} s CPU, {run.wall_seconds:.1f} s wall, "
        f"{run.files_read} files, {run.published_bytes / 1e6:.1f} MB published",
        flush=True,
    )
    return run


def _pile_up(arena: Arena, scale: float, batches: Sequence[Path]) -> None:
    """Refresh from each of some batches as it lands, all in one process of their own, unmeasured."""
    call_apart(_refresh_here, arena, scale, batches)


def _refresh_here(arena: Arena, scale: float, batches: Sequence[Path]) -> None:
    """Refresh from each of some batches as it lands, in this process, without the assets that read the result."""
    from dagster import AssetSelection, DagsterInstance, Definitions, define_asset_job

    with patch.dict(os.environ, contenders.environment(arena, REFRESH, scale), clear=True):
        # What it is wired for are the settings of the environment it is imported in.
        from acl_assets.definitions import defs

        selection = AssetSelection.assets("published_warehouse").upstream()
        job_of_selection = define_asset_job("refresh_without_readers", selection)
        job = Definitions.merge(defs, Definitions(jobs=[job_of_selection])).resolve_job_def(job_of_selection.name)
        with DagsterInstance.get() as instance:
            for batch in batches:
                batch.rename(arena.exports_dir(scale) / batch.name)
                job.execute_in_process(instance=instance)
                print(f"increment {_number(batch)} applied", flush=True)


def _refresh(arena: Arena, scale: float, name: str) -> ProcessUsage:
    return run_measured(
        CONTENDERS[REFRESH].command(arena, scale),
        contenders.environment(arena, REFRESH, scale),
        PROJECT_DIR,
        arena.log_file(name),
    )


def prepare_increments(folder: Path, increments: int, scale: float) -> None:
    """Write a full batch of a festival on sale, and beside it what was sold and changed every few hours after it."""
    from acl_assets.simulator.batch import write_batch, write_incremental_batch
    from acl_assets.simulator.sales import DEFAULT_EXPORTED_AT, TicketingHistory

    newest = write_batch(folder, "batch-00000", TicketingHistory(scale, _SEED))
    earlier = list(TicketingHistory(scale, _SEED).stream())
    for number in range(1, increments + 1):
        exported_at = DEFAULT_EXPORTED_AT + timedelta(hours=_HOURS_BETWEEN_INCREMENTS * number)
        later = [_refunded(*rows, number) for rows in TicketingHistory(scale, _SEED, exported_at).stream()]
        newest = write_incremental_batch(newest, f"batch-{number:05}", iter(earlier), iter(later), exported_at)
        earlier = later


def _refunded(table: str, rows: pa.Table, number: int) -> tuple[str, pa.Table]:
    """Every increment refunds its share of all tickets ever sold, besides those of the increments before it."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if table != "tickets":
        return table, rows
    is_refunded = pc.less(pc.bit_wise_and(rows["id"], _SHARES - 1), number)
    prices = pc.if_else(is_refunded, pa.scalar(0, rows["price"].type), rows["price"])
    return table, rows.set_column(rows.schema.get_field_index("price"), "price", prices)


def _rows(batch: Path) -> int:
    tables = json.loads((batch / "manifest.json").read_bytes())["tables"].values()
    return sum(file["rows"] for table in tables for file in table["files"])


def measure_batches(arena: Arena, counts: Sequence[int]) -> Growth[BatchesRun]:
    """Fill a landing zone with batches, and measure what looking for the newest costs the sensor and a refresh.

    They are those of years of nightly extracts: a full one a week, incremental ones between.
    """
    load_before = os.getloadavg()[0]
    shutil.rmtree(arena.folder, ignore_errors=True)
    contenders.prepare_instance(arena)
    runs: list[BatchesRun] = []
    for batches in sorted(counts):
        call_apart(_fill_landing_zone, arena, batches)
        # A process of its own for each, because a process remembers the batches it has seen.
        ticks = call_apart(measure_ticks, arena)
        discovery = call_apart(measure_discovery, arena)
        run = BatchesRun(
            batches=batches,
            first_tick_seconds=ticks[0],
            landed_tick_seconds=ticks[1],
            tick_seconds=ticks[2:],
            discovery_seconds=discovery,
        )
        print(
            f"{batches:,} batches: tick {max(run.tick_seconds):.3f} s CPU at most, {run.landed_tick_seconds:.3f} s "
            f"when one landed, {run.first_tick_seconds:.3f} s for the first; discovery {run.discovery_seconds:.3f} s",
            flush=True,
        )
        runs.append(run)
    return Growth(today(), machine_in_words(), load_before, runs)


_GROWING_SCALE = 0.001


def _fill_landing_zone(arena: Arena, batches: int) -> None:
    landing_zone = arena.exports_dir(_GROWING_SCALE)
    there = sum(1 for _ in landing_zone.iterdir()) if landing_zone.exists() else 0
    for number in range(there, batches):
        _land(landing_zone, number)


def _land(landing_zone: Path, number: int) -> None:
    """Land the batch of a night: a real one first, then the same files under other names and times."""
    from acl_assets.simulator.batch import write_batch
    from acl_assets.simulator.sales import TicketingHistory

    first = landing_zone / _night(0)
    if number == 0:
        write_batch(landing_zone, first.name, TicketingHistory(_GROWING_SCALE, _SEED))
        return
    manifest = json.loads((first / "manifest.json").read_bytes())
    exported_at = datetime.fromisoformat(manifest["exported_at"]) + timedelta(days=number)
    manifest.update(batch_id=_night(number), exported_at=exported_at.isoformat())
    if number % _DAYS_FROM_FULL_TO_FULL:
        before = landing_zone / _night(number - 1) / "manifest.json"
        digest = hashlib.sha256(before.read_bytes()).hexdigest()
        manifest.update(kind="incremental", continues_from={"batch_id": before.parent.name, "manifest_digest": digest})
    folder = landing_zone / _night(number)
    folder.mkdir()
    for file in first.glob("*.parquet"):
        os.link(file, folder / file.name)
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=2))


def _night(number: int) -> str:
    return f"night-{number:05}"


def measure_ticks(arena: Arena) -> list[float]:
    """CPU seconds of evaluations of the sensor: the first of a process, one after a batch has landed, known ones.

    The batch that lands is taken away again.
    """
    from dagster import DagsterInstance, SensorResult, build_sensor_context

    from acl_assets.landing_zone.sensor import new_export_batch_sensor

    with _installation(arena) as settings, DagsterInstance.get() as instance:
        cursor: str | None = None

        def tick() -> float:
            nonlocal cursor
            context = build_sensor_context(instance, cursor, resources={"settings": settings})
            started = time.process_time()
            result = cast(SensorResult, new_export_batch_sensor(context))
            seconds = time.process_time() - started
            cursor = result.cursor or cursor
            return seconds

        first = tick()
        exports_dir = Path(settings.exports_dir)
        number = sum(1 for _ in exports_dir.iterdir())
        _land(exports_dir, number)
        landed = tick()
        known = [tick() for _ in range(_TICKS)]
        shutil.rmtree(exports_dir / _night(number))
    return [first, landed, *known]


def measure_discovery(arena: Arena) -> float:
    """CPU seconds in which a refresh finds the batch chain."""
    from acl_assets.source_tables.assets import find_chain

    with _installation(arena) as settings:
        return _cpu_seconds(lambda: find_chain(settings))


@contextmanager
def _installation(arena: Arena) -> Iterator[Settings]:
    with patch.dict(os.environ, contenders.environment(arena, REFRESH, _GROWING_SCALE), clear=True):
        yield Settings.from_environment()


def _cpu_seconds(function: Callable[[], object]) -> float:
    started = time.process_time()
    function()
    return time.process_time() - started
