"""The incremental batch of the benchmark leads to the rows of the full batch."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from benchmarks.batches import write_batches
from benchmarks.contenders import FULL, INCREMENTAL


def tickets(batch: Path) -> dict[int, int]:
    rows = pq.read_table(batch / "tickets.parquet", columns=["id", "price"])
    return dict(zip(rows["id"].to_pylist(), rows["price"].to_pylist(), strict=True))


def test_incremental_batch_corrects_and_adds_one_percent_of_the_tickets(tmp_path: Path) -> None:
    write_batches(tmp_path, 0.01, [FULL, INCREMENTAL])

    earlier, increment = (tickets(tmp_path / INCREMENTAL / name) for name in ("earlier", "increment"))
    full = tickets(tmp_path / FULL / "later")
    assert {**earlier, **increment} == full
    assert len(increment) == pytest.approx(0.01 * len(full), rel=0.1)
    assert len(earlier.keys() & increment.keys()) == pytest.approx(0.002 * len(earlier), rel=0.1)
