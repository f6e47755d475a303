"""Buyers at work: pgbench with a purchase as its script, at a given pace, and what its log says about each purchase.

What belongs here: running pgbench and reading its log. What does not: who else reads at the same time (`latency`).
"""

from __future__ import annotations

import math
import re
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.extraction.source import BUYER, Source

CLIENTS = 8
PERCENTILES = (50, 95, 99)
_SCRIPT = Path(__file__).with_name("buyers.sql")
# Connections are made and statements prepared in the first second.
_SECONDS_TO_GET_GOING = 1.0
_CAPACITY_SECONDS = 6


class PurchasesFailedError(RuntimeError):
    """Buyers could not buy; the message has what pgbench said."""


class Purchase(NamedTuple):
    """One transaction of a buyer.

    Attributes:
        ended_at: seconds since the epoch.
        seconds: from the instant it was due, so that waiting for a free buyer counts.
    """

    ended_at: float
    seconds: float

    @property
    def due_at(self) -> float:
        """Seconds since the epoch."""
        return self.ended_at - self.seconds


class Span(NamedTuple):
    """A time span, in seconds since the epoch."""

    start: float
    end: float


def capacity(source: Source) -> float:
    """Purchases a second when the buyers do not wait between them."""
    told = _run_pgbench(source, ["--time", str(_CAPACITY_SECONDS)])
    found = re.search(r"tps = ([0-9.]+)", told)
    if not found:
        raise PurchasesFailedError(f"pgbench did not say how fast it was: {told}")
    return float(found[1])


def buy(source: Source, rate: float, seconds: float, seed: int, log_dir: Path) -> list[Purchase]:
    """Let buyers buy at a pace, as random as callers are, and give all purchases once everybody has got going.

    Args:
        source: where they buy.
        rate: purchases a second.
        seconds: for so long, besides the time to get going.
        seed: of the instants, which are the same with the same seed, and of what the clients choose.
        log_dir: where pgbench's log goes.

    Raises:
        PurchasesFailedError: a purchase failed.
    """
    for old in log_dir.glob("purchases.*"):
        old.unlink()
    log_dir.mkdir(parents=True, exist_ok=True)
    whole_seconds = math.ceil(seconds + _SECONDS_TO_GET_GOING)
    options = ["--time", str(whole_seconds), "--rate", f"{rate:g}", "--random-seed", str(seed)]
    _run_pgbench(source, [*options, "--log", "--log-prefix", str(log_dir / "purchases")])
    purchases = [purchase for log in log_dir.glob("purchases.*") for purchase in read_log(log.read_text().splitlines())]
    begin = min(purchase.due_at for purchase in purchases) + _SECONDS_TO_GET_GOING
    return [purchase for purchase in purchases if purchase.due_at >= begin]


def _run_pgbench(source: Source, options: Sequence[str]) -> str:
    people, performances = source.ask("select (select max(id) from people), (select max(id) from performances)")[0]
    command = [
        *(str(source.bin_dir / "pgbench"), "--no-vacuum", "--protocol", "prepared", "--file", str(_SCRIPT)),
        *("--client", str(CLIENTS), "--define", f"people={people}", "--define", f"performances={performances}"),
        *(*options, source.dsn(BUYER)),
    ]
    ended = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if ended.returncode:
        raise PurchasesFailedError(f"pgbench ended with exit code {ended.returncode}: {ended.stderr.strip()}")
    return ended.stdout


def read_log(lines: Iterable[str]) -> list[Purchase]:
    """Read pgbench's log of transactions: client, number, microseconds, script, and when it ended.

    Raises:
        PurchasesFailedError: a transaction failed, or was left out because the pace could not be kept.
    """
    purchases = []
    for line in lines:
        _, _, microseconds, _, epoch, epoch_microseconds, *_ = line.split()
        if not microseconds.isdigit():
            raise PurchasesFailedError(f"pgbench's log says that a purchase has {microseconds}: {line}")
        purchases.append(Purchase(int(epoch) + int(epoch_microseconds) / 1e6, int(microseconds) / 1e6))
    return purchases


def during(purchases: Iterable[Purchase], spans: Sequence[Span]) -> list[Purchase]:
    """The purchases of which any part lies in one of the spans, which are in order and do not touch."""
    return [
        purchase
        for purchase in purchases
        if any(span.start <= purchase.ended_at and purchase.due_at <= span.end for span in spans)
    ]


def percentiles_ms(purchases: Iterable[Purchase]) -> dict[int, float]:
    """Latencies in milliseconds that 50, 95 and 99 per cent of the purchases do not exceed.

    Raises:
        ValueError: there are no purchases.
    """
    ordered = sorted(purchase.seconds for purchase in purchases)
    if not ordered:
        raise ValueError("There are no purchases to take percentiles of.")
    return {percentile: ordered[math.ceil(percentile / 100 * len(ordered)) - 1] * 1_000 for percentile in PERCENTILES}
