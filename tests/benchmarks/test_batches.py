"""The incremental batch of the benchmark leads to the rows of the full batch."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks.batches import write_batches
from benchmarks.contenders import CSV, EARLIER, FULL, INCREMENTAL


@pytest.fixture(scope="module")
def exports(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exports")
    write_batches(folder, 0.01, [FULL, CSV, EARLIER, INCREMENTAL])
    return folder


def tickets(batch: Path) -> dict[int, int]:
    rows = pq.read_table(batch / "tickets.parquet", columns=["id", "price"])
    return dict(zip(rows["id"].to_pylist(), rows["price"].to_pylist(), strict=True))


def test_incremental_batch_leads_to_the_tickets_of_the_full_batch(exports: Path) -> None:
    earlier, increment = (tickets(exports / INCREMENTAL / name) for name in ("earlier", "increment"))

    assert {**earlier, **increment} == tickets(exports / FULL / "later")


def test_incremental_batch_has_one_percent_of_the_tickets(exports: Path) -> None:
    earlier, increment = (tickets(exports / INCREMENTAL / name) for name in ("earlier", "increment"))
    corrected = earlier.keys() & increment.keys()

    assert len(increment) == pytest.approx(0.01 * len({**earlier, **increment}), rel=0.1)
    assert len(corrected) == pytest.approx(0.002 * len(earlier), rel=0.1)


def test_every_kind_has_a_landing_zone_with_its_batches(exports: Path) -> None:
    found = {path.parent.relative_to(exports).as_posix() for path in exports.glob("*/*/manifest.json")}

    assert found == {"full/later", "csv/later", "earlier/earlier", "incremental/earlier", "incremental/increment"}
    manifests = [json.loads((exports / kind / "later" / "manifest.json").read_bytes()) for kind in (FULL, CSV)]
    assert manifests[0]["exported_at"] == manifests[1]["exported_at"]


def test_batches_cut_short_are_written_again(tmp_path: Path) -> None:
    (tmp_path / "full.partial" / "later").mkdir(parents=True)

    write_batches(tmp_path, 0.001, [FULL])

    assert isinstance(pq.read_table(tmp_path / FULL / "later" / "tickets.parquet"), pa.Table)
    assert not (tmp_path / "full.partial").exists()
