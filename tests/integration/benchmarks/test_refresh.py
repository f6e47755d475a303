"""The refresh benchmark measures its contenders and requires equal warehouses."""

from pathlib import Path

import pytest

from benchmarks.__main__ import compare, measure
from benchmarks.contenders import AFTER_INCREMENT, CONTENDERS, DBT_BUILD, HAND_WRITTEN, Arena


@pytest.mark.exhaustive
@pytest.mark.slow
def test_contenders_make_equal_warehouses_and_are_measured(tmp_path: Path) -> None:
    chosen = [CONTENDERS[name] for name in (AFTER_INCREMENT, DBT_BUILD, HAND_WRITTEN)]

    arena = Arena(tmp_path)
    runs = measure(arena, chosen, scale=0.001, rounds=1)
    equal_rows = compare(arena, chosen, reference=HAND_WRITTEN)

    assert [run.contender for run in runs] == [contender.name for contender in chosen]
    assert all(run.wall_seconds > 0 and run.cpu_seconds > 0 and run.peak_memory_bytes > 0 for run in runs)
    assert equal_rows.keys() == {AFTER_INCREMENT, DBT_BUILD}
    assert len(set(equal_rows.values())) == 1
    assert min(equal_rows.values()) > 0
