"""The extraction benchmark measures the latencies of purchases during the run of a reader."""

import argparse
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from acl_assets.simulator.postgres_server import PostgresServer
from benchmarks.extraction.__main__ import measure
from benchmarks.extraction.buyers import PurchasesFailedError, percentiles, read_log
from benchmarks.extraction.readers import READERS, reading
from benchmarks.extraction.source import running_source
from benchmarks.results import Circumstances


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    with running_source(tmp_path_factory.mktemp("source") / "server", 0.001) as server:
        yield server


def test_latencies_and_failures_are_read_from_the_log_and_percentiles_are_nearest_ranks() -> None:
    ends = (0.5, 0.9, 1.6, 2.0)
    assert read_log(f"0 1 {2500 + number} 0 {int(end)} {end % 1 * 1e6:.0f}" for number, end in enumerate(ends)) == [
        pytest.approx(2.502),
        pytest.approx(2.503),
    ]
    with pytest.raises(PurchasesFailedError, match="skipped"):
        read_log(["0 1 skipped 0 1700000000 500000 12"])
    assert percentiles(range(100, 0, -1)) == {50: 50, 95: 95, 99: 99}


@pytest.mark.exhaustive
@pytest.mark.server
@pytest.mark.slow
def test_every_reader_is_measured_in_pairs(server: PostgresServer, tmp_path: Path) -> None:
    options = argparse.Namespace(scale=0.001, rounds=1, block_seconds=2.0, work_dir=tmp_path, readers=list(READERS))

    result = measure(server, options, Circumstances.now())

    assert [pair.reader for pair in result.pairs] == list(READERS)
    assert all(0 < pair.without[50] <= pair.without[95] for pair in result.pairs)
    assert all(0 < pair.during[50] <= pair.during[95] for pair in result.pairs)


@pytest.mark.server
def test_reader_ends_with_the_block(server: PostgresServer, tmp_path: Path) -> None:
    with reading(READERS["psql \\copy"], server, tmp_path):
        # The server's own processes come and go.
        children = [process.as_dict(["pid", "cmdline"]) for process in psutil.Process().children()]
        [shell] = [child["pid"] for child in children if str(tmp_path) in (child["cmdline"] or [])]

    assert not psutil.pid_exists(shell)
