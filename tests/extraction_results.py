"""Results of an extraction benchmark that was never made, for tests of what is read from results.

What belongs here: figures from which others are easily worked out. What does not: expectations.
"""

from __future__ import annotations

from benchmarks.extraction.contenders import EXTRACT, PLAIN_COPY, PSQL
from benchmarks.extraction.results import (
    BatchKind,
    BatchRun,
    Block,
    Circumstances,
    Cost,
    CostRun,
    Incremental,
    Latency,
    Pair,
)

_CIRCUMSTANCES = Circumstances("2026-01-02", "2 cores and 24 GiB of memory", 0.25, {"PostgreSQL": "18.6", "dlt": "1.3"})


def _block(p95: float, reading: float = 0.0) -> Block:
    return Block({50: p95 / 2, 95: p95, 99: p95 * 3}, purchases=4_000, reading_share=reading, server_cpu_share=0.4)


def _pair(contender: str, without: float, during: float) -> Pair:
    return Pair(contender, _block(without), _block(during, reading=0.9))


LATENCY = Latency(
    circumstances=_CIRCUMSTANCES,
    scale=1.0,
    tickets=3_750_000,
    capacity=1_000.0,
    rate=400.0,
    clients=8,
    block_seconds=20.0,
    server_processors=1,
    client_processors=1,
    output_in_memory=True,
    pairs=[
        _pair(EXTRACT, 10.0, 10.4),
        _pair(EXTRACT, 20.0, 10.0),
        _pair(EXTRACT, 10.0, 20.0),
        _pair(PSQL, 10.0, 30.0),
    ],
)


def _cost_run(contender: str, turn: int, server_cpu_seconds: float, peak: float = 90e6) -> CostRun:
    return CostRun(contender, turn, 30.0, 6.0, server_cpu_seconds, int(peak), output_bytes=70_000_000)


COST = Cost(
    circumstances=_CIRCUMSTANCES,
    scale=1.0,
    tickets=3_750_000,
    rows=6_000_000,
    runs=[
        _cost_run(PLAIN_COPY, 1, 2.0),
        _cost_run(EXTRACT, 1, 2.5),
        _cost_run(PLAIN_COPY, 2, 1.0),
        _cost_run(EXTRACT, 2, 1.5),
        _cost_run(PSQL, 3, 3.0),
    ],
)


def _batch_run(scale: float, kind: BatchKind, extract: float, server: float, refresh: float) -> BatchRun:
    return BatchRun(
        scale=scale,
        round=1,
        kind=kind,
        rows=int(6e6 * scale) if kind == "full" else int(6e4 * scale),
        rows_at_source=int(6e6 * scale),
        extract_wall_seconds=extract + server,
        extract_cpu_seconds=extract,
        extract_peak_bytes=310_000_000 if scale == 10 else 95_000_000,
        server_cpu_seconds=server,
        refresh_wall_seconds=refresh,
        refresh_cpu_seconds=refresh,
        refresh_peak_bytes=900_000_000,
    )


INCREMENTAL = Incremental(
    circumstances=_CIRCUMSTANCES,
    runs=[
        _batch_run(1.0, "incremental", 1, 1, 18),
        _batch_run(1.0, "full", 2, 3, 25),
        _batch_run(10.0, "incremental", 5, 4, 21),
        _batch_run(10.0, "full", 20, 10, 70),
    ],
    equal_rows={1.0: 7_700_000, 10.0: 77_000_000},
)
