"""Latencies come from pgbench's log of every purchase: none is left out but those that nobody read during."""

from __future__ import annotations

import pytest

from benchmarks.extraction.buyers import Purchase, PurchasesFailedError, Span, during, percentiles_ms, read_log


def _taking(*milliseconds: float) -> list[Purchase]:
    return [Purchase(ended_at=0.0, seconds=number / 1_000) for number in milliseconds]


def test_log_says_when_a_purchase_was_due_and_when_it_ended() -> None:
    """Client, number, microseconds since it was due, script, end in seconds and microseconds, and how late it began."""
    first, second = read_log(["0 1 2500 0 1700000000 500000 12", "7 4 1000000 0 1700000001 0 900"])

    assert first == Purchase(ended_at=1_700_000_000.5, seconds=0.0025)
    assert second.due_at == 1_700_000_000.0


@pytest.mark.parametrize("what", ["failed", "skipped"])
def test_purchase_that_failed_is_an_error(what: str) -> None:
    """A latency of those that succeed would look good on a server that turns people away."""
    with pytest.raises(PurchasesFailedError, match=what):
        read_log([f"0 1 {what} 0 1700000000 500000 12"])


def test_percentiles_are_latencies_of_purchases() -> None:
    """No value between two purchases is made up."""
    assert percentiles_ms(_taking(*range(100, 0, -1))) == pytest.approx({50: 50, 95: 95, 99: 99})
    assert percentiles_ms(_taking(1, 2, 3)) == pytest.approx({50: 2, 95: 3, 99: 3})


def test_percentiles_of_nothing_are_an_error() -> None:
    with pytest.raises(ValueError, match="no purchases"):
        percentiles_ms([])


def test_purchases_count_that_somebody_read_during() -> None:
    spans = [Span(10, 20), Span(30, 40)]
    outside = [Purchase(9.9, 1), Purchase(25, 4), Purchase(50, 9.9)]
    inside = [
        Purchase(15, 1),
        Purchase(10.1, 1),
        Purchase(20.5, 1),
        Purchase(29, 18),
        Purchase(50, 45),
        Purchase(40, 1),
    ]

    assert during([*outside, *inside], spans) == inside
