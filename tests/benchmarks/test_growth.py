"""What piles up in the benchmark is what piles up in an installation, and all of it can be refreshed from."""

from __future__ import annotations

from pathlib import Path

import pytest

from acl_assets.landing_zone.batches import list_batches, resolve_chain
from acl_assets.landing_zone.folder_store import FolderLandingZone
from benchmarks import growth
from benchmarks.contenders import CONTENDERS, REFRESH, Arena
from benchmarks.growth import measure_batches, prepare_increments
from benchmarks.measuring import ProcessUsage
from benchmarks.results import Growth, IncrementRun


def test_increments_continue_the_full_batch(tmp_path: Path) -> None:
    """Each of them brings refunds, so that none is measured that changes nothing."""
    prepare_increments(tmp_path, 3, 0.001)

    chain = resolve_chain(list_batches(FolderLandingZone(tmp_path), settle_seconds=0))

    assert [batch.kind for batch in chain.batches] == ["full", "incremental", "incremental", "incremental"]
    assert all(batch.tables["tickets"].rows for batch in chain.batches)


def test_the_last_increments_are_measured_in_turns_with_those_around_the_tenth(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine that slows down within hours must not look like a pipeline that does."""
    arena = Arena(tmp_path)
    asked: list[str] = []

    def refresh(arena: Arena, scale: float, name: str) -> ProcessUsage:
        newest = max(batch.name for batch in arena.exports_dir(scale).iterdir())
        asked.append(f"{'early ' if arena.folder.name == 'early' else ''}{newest}")
        return _refreshed(arena)

    def pile_up(arena: Arena, scale: float, batches: list[Path]) -> None:
        for batch in batches:
            batch.rename(arena.exports_dir(scale) / batch.name)

    monkeypatch.setattr(growth, "_refresh", refresh)
    monkeypatch.setattr(growth, "_pile_up", pile_up)

    *_, measured = growth.measure_increments(arena, 24, None, 0.001)

    assert asked[:4] == ["batch-00000", "early batch-00000", "early batch-00006", "batch-00016"]
    assert asked[-2:] == ["early batch-00014", "batch-00024"]
    assert sorted(run.applied for run in measured.runs) == [0, *range(6, 15), *range(16, 25)]


def _refreshed(arena: Arena) -> ProcessUsage:
    """Leave what a refresh leaves, and say that it took a second."""
    warehouse = CONTENDERS[REFRESH].warehouse_file(arena)
    warehouse.parent.mkdir(parents=True, exist_ok=True)
    warehouse.touch()
    return ProcessUsage(0.0, 1.0, 1.0, 1, 1)


def test_increments_go_on_after_an_interruption(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing measured is lost, and the refresh that was cut off, which may have published, is not counted."""
    arena = Arena(tmp_path)
    asked: list[str] = []

    def refresh(arena: Arena, scale: float, name: str) -> ProcessUsage:
        asked.append(name)
        if asked == ["increment 0", "increment 1"]:
            raise KeyboardInterrupt
        return _refreshed(arena)

    monkeypatch.setattr(growth, "_refresh", refresh)
    measured: list[Growth[IncrementRun]] = []
    with pytest.raises(KeyboardInterrupt):
        measured.extend(growth.measure_increments(arena, 3, None, 0.001))

    *_, last = growth.measure_increments(arena, 3, measured[-1], 0.001)

    assert asked[2:] == ["interrupted increment", "increment 2", "increment 3"]
    assert [run.applied for run in last.runs] == [0, 2, 3]
    *_, anew = growth.measure_increments(arena, 1, last, 0.001)
    assert [run.applied for run in anew.runs] == [0, 1]


def test_looks_into_a_landing_zone_are_measured(tmp_path: Path) -> None:
    """Of as many batches as are asked for; the one that lands in between is gone again."""
    few, more = measure_batches(Arena(tmp_path), [20, 9]).runs

    assert (few.batches, more.batches) == (9, 20)
    assert len(more.tick_seconds) == 20
    assert more.first_tick_seconds > 0
    (landing_zone,) = (tmp_path / "exports").iterdir()
    chain = resolve_chain(list_batches(FolderLandingZone(landing_zone), settle_seconds=0))
    assert sum(1 for _ in landing_zone.iterdir()) == 20
    assert chain.newest.batch_id == "night-00019"
    assert len(chain.batches) == 6
