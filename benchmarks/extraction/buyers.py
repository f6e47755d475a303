"""The buyers of the extraction benchmark: pgbench with one purchase as its script, and the latencies in its log."""

from __future__ import annotations

import math
import re
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from acl_assets.simulator.postgres_server import PostgresServer
from benchmarks.extraction.source import query

PERCENTILES = (50, 95, 99)
_CLIENTS = 8
_SCRIPT = Path(__file__).with_suffix(".sql")
# Connections are opened and statements prepared in the first second.
_WARM_UP_SECONDS = 1
_CAPACITY_SECONDS = 6


class PurchasesFailedError(RuntimeError):
    """Buyers could not buy; the message has pgbench's output."""


class Purchase(NamedTuple):
    """A transaction: when it was due, in seconds since the epoch, and the seconds until its end."""

    due_at: float
    seconds: float


def capacity(server: PostgresServer) -> float:
    """Return the purchases a second of buyers that do not pause."""
    # The first run reads the tables into the server's memory.
    for _ in range(2):
        output = _run_pgbench(server, "--time", str(_CAPACITY_SECONDS))
    found = re.search(r"tps = ([0-9.]+)", output)
    if not found:
        raise PurchasesFailedError(f"pgbench's output has no number of transactions a second: {output}")
    return float(found[1])


def buy(server: PostgresServer, rate: float, seconds: float, seed: int, log_dir: Path) -> list[Purchase]:
    """Let buyers buy, and return the purchases after the first second.

    Args:
        rate: purchases a second, at random instants.
        seed: chooses the instants and what is bought.
        log_dir: folder for pgbench's log.

    Raises:
        PurchasesFailedError: a purchase failed.
    """
    log_dir.mkdir(parents=True, exist_ok=True)
    for old in log_dir.glob("purchases.*"):
        old.unlink()
    whole_seconds = math.ceil(seconds + _WARM_UP_SECONDS)
    options = ["--time", str(whole_seconds), "--rate", f"{rate:g}", "--random-seed", str(seed)]
    _run_pgbench(server, *options, "--log", "--log-prefix", str(log_dir / "purchases"))
    purchases = [purchase for log in log_dir.glob("purchases.*") for purchase in read_log(log.read_text().splitlines())]
    begin = min((purchase.due_at for purchase in purchases), default=0.0) + _WARM_UP_SECONDS
    return [purchase for purchase in purchases if purchase.due_at >= begin]


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


def read_log(lines: Iterable[str]) -> list[Purchase]:
    """Read pgbench's log: client, number, microseconds, script, seconds and microseconds of the end.

    Raises:
        PurchasesFailedError: a transaction failed or was skipped.
    """
    purchases = []
    for line in lines:
        _, _, microseconds, _, epoch, epoch_microseconds, *_ = line.split()
        if not microseconds.isdigit():
            raise PurchasesFailedError(f"pgbench's log has a purchase that {microseconds}: {line}")
        seconds = int(microseconds) / 1e6
        purchases.append(Purchase(int(epoch) + int(epoch_microseconds) / 1e6 - seconds, seconds))
    return purchases


def percentiles_ms(purchases: Iterable[Purchase]) -> dict[int, float]:
    """Return the latencies in milliseconds that 50, 95 and 99 per cent of the purchases do not exceed."""
    ordered = sorted(purchase.seconds for purchase in purchases)
    if not ordered:
        raise PurchasesFailedError("No purchase was made; take a longer block or a higher rate.")
    return {percentile: ordered[math.ceil(percentile / 100 * len(ordered)) - 1] * 1_000 for percentile in PERCENTILES}
