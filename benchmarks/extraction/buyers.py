"""Run buyers with pgbench, whose script is one purchase, and read the latencies from its log."""

import math
import re
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from acl_assets.simulator.postgres_server import PostgresServer
from benchmarks.extraction.source import query

PERCENTILES = (50, 95, 99)
_CLIENTS = 8
_SCRIPT = Path(__file__).with_suffix(".sql")
# pgbench opens connections and prepares statements in the first second.
_WARM_UP_SECONDS = 1
_CAPACITY_SECONDS = 6


class PurchasesFailedError(RuntimeError):
    """A purchase failed; the message includes the output of pgbench."""


def capacity(server: PostgresServer) -> float:
    """Return the purchases per second of buyers that do not pause."""
    # The first run reads the tables into the memory of the server.
    for _ in range(2):
        output = _run_pgbench(server, "--time", str(_CAPACITY_SECONDS))
    found = re.search(r"tps = ([0-9.]+)", output)
    if not found:
        raise PurchasesFailedError(f"The output of pgbench has no number of transactions per second: {output}")
    return float(found[1])


def buy(server: PostgresServer, rate: float, seconds: float, seed: int, log_dir: Path) -> list[float]:
    """Run buyers, and return the latencies in milliseconds of the purchases after the first second.

    Args:
        server: server of the ticketing database.
        rate: purchases per second, at random times.
        seconds: length of the run after the first second.
        seed: determines the times and the purchases.
        log_dir: folder for the log of pgbench.

    Raises:
        PurchasesFailedError: a purchase failed.
    """
    log_dir.mkdir(parents=True, exist_ok=True)
    for old in log_dir.glob("purchases.*"):
        old.unlink()
    whole_seconds = math.ceil(seconds + _WARM_UP_SECONDS)
    options = ["--time", str(whole_seconds), "--rate", f"{rate:g}", "--random-seed", str(seed)]
    _run_pgbench(server, *options, "--log", "--log-prefix", str(log_dir / "purchases"))
    return read_log(line for log in log_dir.glob("purchases.*") for line in log.read_text().splitlines())


def _run_pgbench(server: PostgresServer, *options: str) -> str:
    [(people, performances)] = query(server, "select (select max(id) from people), (select max(id) from performances)")
    command = [
        *(str(server.bin_dir / "pgbench"), "--no-vacuum", "--protocol", "prepared", "--file", str(_SCRIPT)),
        *("--client", str(_CLIENTS), "--define", f"people={people}", "--define", f"performances={performances}"),
        *(*options, server.dsn("ticketing")),
    ]
    ended = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if ended.returncode:
        raise PurchasesFailedError(f"pgbench ended with exit code {ended.returncode}: {ended.stderr.strip()}")
    return ended.stdout


def read_log(lines: Iterable[str]) -> list[float]:
    """Return the latencies in milliseconds of the purchases that were due after the first second.

    A line of the log has client, number, latency in microseconds, script, and seconds and microseconds of the end.

    Raises:
        PurchasesFailedError: a transaction failed or was skipped.
    """
    purchases = []
    for line in lines:
        _, _, latency, _, seconds, microseconds, *_ = line.split()
        if not latency.isdigit():
            raise PurchasesFailedError(f"The log of pgbench has a purchase that {latency}: {line}")
        due_at = int(seconds) + (int(microseconds) - int(latency)) / 1e6
        purchases.append((due_at, int(latency) / 1e3))
    begin = min(purchases, default=(0.0, 0.0))[0] + _WARM_UP_SECONDS
    return [latency for due_at, latency in purchases if due_at >= begin]


def percentiles(latencies: Sequence[float]) -> dict[int, float]:
    """Return the nearest-rank percentiles of latencies."""
    if not latencies:
        raise PurchasesFailedError("The block has no purchase. Measure longer blocks or a higher rate.")
    found = np.percentile(latencies, PERCENTILES, method="inverted_cdf")
    return dict(zip(PERCENTILES, map(float, found), strict=True))
