"""What a batch of changes costs against a full one: from the ticketing database to the report.

What belongs here: the changes, the two kinds of batch over the same instant, and proof that both lead to the same
warehouse. What does not: how an extract or a refresh is measured (`measuring`).
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from acl_assets.settings import PROJECT_DIR
from benchmarks import contenders as refreshing
from benchmarks import equality
from benchmarks.contenders import CONTENDERS, REFRESH, Arena
from benchmarks.extraction.contenders import extract_command, extract_environment
from benchmarks.extraction.results import BatchKind, BatchRun, Circumstances, Incremental
from benchmarks.extraction.source import TABLES, Source, open_source
from benchmarks.measuring import call_apart, run_measured, tree_cpu_seconds

# From here on runs take minutes: one round is enough.
_LARGE_SCALE = 5.0
_WARM_UP_SCALE = 0.01
# Nobody buys here, nothing has to outlive the machine, and what vacuuming costs is not an extract's to pay.
_CONFIGURATION = {
    "fsync": "off",
    "full_page_writes": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "autovacuum": "off",
}
_PACKAGES = ("adbc-driver-postgresql", "dagster", "dagster-dbt", "dbt-core", "dbt-duckdb", "duckdb", "pyarrow")


class WrongKindError(RuntimeError):
    """An extract made another kind of batch than is to be measured."""


def measure(scales: Sequence[float], rounds: int, servers_dir: Path, work_dir: Path) -> Incremental:
    """Measure both kinds of batch at every scale.

    First a full batch, unmeasured, is refreshed from. In each round the source changes by 1 %; an extract of the
    changes and the refresh after it are measured, then a full extract of the same rows and the refresh after that.

    Raises:
        CommandFailedError: an extract or a refresh failed.
        WrongKindError: an extract could not continue from the batch before, or had to.
        WarehousesDifferError: the two kinds of batch do not lead to the same warehouse.
    """
    load_before = os.getloadavg()[0]
    arena = Arena(work_dir)
    shutil.rmtree(work_dir, ignore_errors=True)
    refreshing.prepare_instance(arena)
    with _fresh_source(servers_dir, _WARM_UP_SCALE) as source:
        circumstances = replace(Circumstances.now(_PACKAGES, source.server_version), load_before=load_before)
        _run(arena, source, 0, "full")
        _measure_round(arena, source, 0)
    runs: list[BatchRun] = []
    equal_rows: dict[float, int] = {}
    for scale in scales:
        with _fresh_source(servers_dir, scale) as source:
            _run(arena, source, 0, "full")
            for turn in range(rounds if scale < _LARGE_SCALE else 1):
                pair, equal_rows[scale] = _measure_round(arena, source, turn + 1)
                runs += pair
        shutil.rmtree(arena.exports_dir(scale))
    return Incremental(circumstances, runs, equal_rows)


@contextmanager
def _fresh_source(servers_dir: Path, scale: float) -> Iterator[Source]:
    """A source as its history leaves it, removed afterwards."""
    folder = servers_dir / f"incremental-{scale:g}"
    shutil.rmtree(folder, ignore_errors=True)
    with open_source(folder, scale, _CONFIGURATION) as source:
        print(f"scale {scale:g}: {source.count('tickets'):,} tickets are loaded.", flush=True)
        yield source
    shutil.rmtree(folder)


def _measure_round(arena: Arena, source: Source, turn: int) -> tuple[list[BatchRun], int]:
    """Change 1 % of the source and measure both kinds of batch; with the number of rows in which both agree."""
    source.change()
    by_changes = arena.folder / "by_changes.duckdb"
    incremental = _run(arena, source, turn, "incremental")
    shutil.copyfile(_warehouse(arena), by_changes)
    full = _run(arena, source, turn, "full")
    equal_rows = sum(call_apart(equality.require_equal, by_changes, _warehouse(arena)).values())
    print(f"scale {source.scale:g}: both warehouses agree in {equal_rows:,} rows.", flush=True)
    return [incremental, full], equal_rows


def _warehouse(arena: Arena) -> Path:
    return CONTENDERS[REFRESH].warehouse_file(arena)


def _run(arena: Arena, source: Source, turn: int, kind: BatchKind) -> BatchRun:
    scale = source.scale
    environment = refreshing.environment(arena, REFRESH, scale)
    extract_variables = extract_environment(source, arena.exports_dir(scale), mb_per_s=0)
    log = f"scale-{scale:g} {turn} {kind}"
    source.settle()
    cpu_before = tree_cpu_seconds(source.server.pid)
    extract = run_measured(
        extract_command(*(["--full"] if kind == "full" else [])),
        {**environment, **extract_variables},
        PROJECT_DIR,
        arena.log_file(f"{log} extract"),
    )
    source.wait_until_left()
    server_cpu_seconds = tree_cpu_seconds(source.server.pid) - cpu_before
    rows, rows_at_source = _newest_batch(arena.exports_dir(scale), kind)
    refresh = run_measured(
        CONTENDERS[REFRESH].command(arena, scale), environment, PROJECT_DIR, arena.log_file(f"{log} refresh")
    )
    run = BatchRun(
        scale=scale,
        round=turn,
        kind=kind,
        rows=rows,
        rows_at_source=rows_at_source,
        extract_wall_seconds=extract.wall_seconds,
        extract_cpu_seconds=extract.cpu_seconds,
        extract_peak_bytes=extract.peak_memory_bytes,
        server_cpu_seconds=server_cpu_seconds,
        refresh_wall_seconds=refresh.wall_seconds,
        refresh_cpu_seconds=refresh.cpu_seconds,
        refresh_peak_bytes=refresh.peak_memory_bytes,
    )
    print(_told(run), flush=True)
    return run


def _newest_batch(exports_dir: Path, kind: BatchKind) -> tuple[int, int]:
    """Rows in the newest batch, and rows at the source then.

    Raises:
        WrongKindError: it is of the other kind.
    """
    manifests = [json.loads(file.read_bytes()) for file in exports_dir.glob("*/manifest.json")]
    newest = max(manifests, key=lambda manifest: manifest["exported_at"])
    if newest["kind"] != kind:
        reason = (newest["source_snapshot"] or {}).get("full_because")
        raise WrongKindError(f"Batch {newest['batch_id']} is {newest['kind']}, not {kind}: {reason}")
    tables = [newest["tables"][table] for table in TABLES]
    return sum(file["rows"] for table in tables for file in table["files"]), sum(t["rows_at_source"] for t in tables)


def _told(run: BatchRun) -> str:
    return (
        f"scale {run.scale:g}, round {run.round}, {run.kind}: {run.rows:,} rows, CPU {run.cpu_seconds:.1f} s "
        f"(extract {run.extract_cpu_seconds:.1f}, server {run.server_cpu_seconds:.1f}, refresh "
        f"{run.refresh_cpu_seconds:.1f}), {run.wall_seconds:.1f} s wall, extract {run.extract_peak_bytes / 1e6:,.0f} MB"
    )
