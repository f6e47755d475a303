"""Measure the latency of buyers during an extract: `python -m benchmarks.extraction --help`."""

import argparse
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path

from acl_assets.settings import PROJECT_DIR
from acl_assets.simulator.postgres_server import PostgresServer
from benchmarks import page, results
from benchmarks.extraction import buyers
from benchmarks.extraction.readers import READERS, reading
from benchmarks.extraction.source import query, running_source, settle
from benchmarks.results import Circumstances, ExtractionResult, Pair

# Share of the server's capacity that buyers use: a loaded server, far from saturation.
_LOAD = 0.4
_MEMORY_DISK = Path("/dev/shm")  # noqa: S108 # a file system, not a guessable name
_BYTES_NEEDED = 4 * 10**9


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure the chosen readers, store the result and write the page."""
    options = _parser().parse_args(arguments)
    circumstances = Circumstances.now()
    server_dir = options.work_dir.absolute() / "server"
    shutil.rmtree(server_dir, ignore_errors=True)
    with running_source(server_dir, options.scale) as server:
        results.store(measure(server, options, circumstances), results.EXTRACTION_FILE)
    shutil.rmtree(server_dir)
    page.write_extraction_page(results.read(ExtractionResult, results.EXTRACTION_FILE))
    print(f"Results: {results.EXTRACTION_FILE}\nPage:    {page.EXTRACTION_PAGE}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.extraction", description="Measure the latency of buyers during an extract."
    )
    parser.add_argument("--scale", type=float, default=1.0, help="1 is 3.6 million tickets (%(default)g)")
    parser.add_argument("--rounds", type=int, default=6, help="pairs per reader (%(default)s)")
    parser.add_argument("--block-seconds", type=float, default=10.0, help="length of a block (%(default)g)")
    parser.add_argument("--readers", nargs="+", choices=READERS, default=list(READERS), help="readers to measure (all)")
    parser.add_argument("--work-dir", type=Path, default=PROJECT_DIR / "data" / "benchmarks" / "extraction")
    return parser


def measure(server: PostgresServer, options: argparse.Namespace, circumstances: Circumstances) -> ExtractionResult:
    """Measure pairs, blocks with a reader between blocks without one, for all readers in turns.

    Raises:
        CommandFailedError: a reader failed.
        PurchasesFailedError: a purchase failed.
    """
    tickets = query(server, "select count(*) from tickets")[0][0]
    capacity = buyers.capacity(server)
    rate = max(1, round(_LOAD * capacity))
    log_dir = options.work_dir.absolute() / "log"
    pairs: list[Pair] = []

    def block(reader: str | None) -> list[float]:
        settle(server)
        with (
            _output_dir(log_dir.parent) as folder,
            reading(READERS[reader], server, folder) if reader else nullcontext(),
        ):
            return buyers.buy(server, rate, options.block_seconds, len(pairs), log_dir)

    for turn in range(1, options.rounds + 1):
        for reader in options.readers:
            # In this order a steady drift of the machine cancels out, and no pair begins after a reader's work.
            before, begin, end, after = [block(name) for name in (None, reader, reader, None)]
            pairs.append(Pair(reader, turn, buyers.percentiles(before + after), buyers.percentiles(begin + end)))
            print(f"Round {turn}, {reader}: p95 {pairs[-1].without[95]:.2f} ms, {pairs[-1].during[95]:.2f} ms with it")
    return ExtractionResult(options.scale, circumstances, tickets, rate, capacity, options.block_seconds, pairs)


@contextmanager
def _output_dir(work_dir: Path) -> Iterator[Path]:
    """Yield a folder for the output of a reader, in memory if there is room: it must not load the server's disk."""
    has_room = os.access(_MEMORY_DISK, os.W_OK) and shutil.disk_usage(_MEMORY_DISK).free > _BYTES_NEEDED
    with tempfile.TemporaryDirectory(prefix="readers-", dir=_MEMORY_DISK if has_room else work_dir) as folder:
        yield Path(folder)


if __name__ == "__main__":
    main()
