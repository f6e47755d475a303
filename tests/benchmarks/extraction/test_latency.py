"""In which order readers are measured: what the machine does meanwhile must not favour one of them."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

from benchmarks.extraction.contenders import CONTENDERS, EXTRACT, PG_DUMP, PSQL
from benchmarks.extraction.latency import EXTRACT_PAIRS_IN_A_ROUND, schedule


def _names(*names: str, rounds: int) -> list[str]:
    return [contender.name for contender in schedule([CONTENDERS[name] for name in names], rounds)]


def test_every_reader_has_a_pair_in_each_round_and_the_extract_several() -> None:
    pairs = Counter(_names(*CONTENDERS, rounds=2))

    assert pairs.pop(EXTRACT) == 2 * EXTRACT_PAIRS_IN_A_ROUND
    assert set(pairs.values()) == {2}


def test_pairs_of_the_extract_are_spread_over_the_round() -> None:
    names = _names(*CONTENDERS, rounds=2)

    assert all(EXTRACT in names[start : start + 4] for start in range(len(names) - 4))
    assert not any(one == other == EXTRACT for one, other in pairwise(names))


def test_rounds_have_different_orders() -> None:
    assert _names(PSQL, PG_DUMP, rounds=2) == [PSQL, PG_DUMP, PG_DUMP, PSQL]
