"""The page shows what was measured and nothing else: every figure on it comes from the results."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import results as results_module
from benchmarks.contenders import (
    DBT_BUILD,
    HAND_WRITTEN,
    HAND_WRITTEN_UNCHECKED,
    POSTGRES,
    POSTGRES_TUNED,
    REFRESH,
    REFRESH_2GB,
)
from benchmarks.page import last_to_tenth, write_page
from benchmarks.phases import PHASES
from benchmarks.results import Batch, BatchesRun, Growth, Imports, IncrementRun, Measurement, Results


def _run(contender: str, scale: float, turn: int, wall: float, memory: float = 500e6) -> Measurement:
    is_refresh = contender == REFRESH
    return Measurement(
        contender=contender,
        scale=scale,
        round=turn,
        wall_seconds=wall,
        cpu_seconds=wall * 1.5,
        peak_memory_bytes=int(memory),
        written_bytes=120_000_000,
        output_bytes=int(80e6 * scale),
        phases={phase: wall / len(PHASES) for phase in PHASES} if is_refresh else {},
        slowest_nodes=[("fct_ticket_sales", 2.25)] if is_refresh else [],
    )


@pytest.fixture
def results() -> Results:
    return Results(
        taken_on="2026-01-02",
        machine="2 cores and 24 GiB of memory",
        load_before=0.25,
        versions={"Python": "3.11.0", "duckdb": "2.0.0"},
        batches={1.0: Batch(3_750_934, 76_000_000), 10.0: Batch(37_509_340, 760_000_000)},
        equal_rows={HAND_WRITTEN: {1.0: 7_680_000}, POSTGRES: {1.0: 7_680_000}},
        measurements=[
            _run(REFRESH, 1.0, 1, 20.0),
            _run(DBT_BUILD, 1.0, 1, 10.0),
            _run(HAND_WRITTEN, 1.0, 1, 4.0),
            _run(REFRESH, 1.0, 2, 33.0, memory=700e6),
            _run(DBT_BUILD, 1.0, 2, 11.0),
            _run(HAND_WRITTEN, 1.0, 2, 5.0),
            _run(REFRESH, 1.0, 3, 21.0, memory=700e6),
            _run(DBT_BUILD, 1.0, 3, 10.0),
            _run(HAND_WRITTEN, 1.0, 3, 6.0),
            _run(POSTGRES, 1.0, 3, 105.0),
            _run(POSTGRES_TUNED, 1.0, 3, 42.0),
            _run(REFRESH, 10.0, 1, 60.0),
            _run(REFRESH_2GB, 10.0, 1, 90.0, memory=2300e6),
            _run(HAND_WRITTEN, 10.0, 1, 40.0),
            _run(HAND_WRITTEN_UNCHECKED, 10.0, 1, 30.0),
        ],
    )


@pytest.fixture
def batches() -> Growth[BatchesRun]:
    runs = [BatchesRun(10, 0.011, 0.002, (0.001, 0.001, 0.004), 0.005)]
    runs.append(BatchesRun(10_000, 0.6, 0.09, (0.05, 0.06, 0.25), 0.4))
    return Growth("2026-01-03", "4 cores and 8 GiB of memory", 0.5, runs)


@pytest.fixture
def increments() -> Growth[IncrementRun]:
    """The full batch is dear, every fifth increment a little, and all of them a little more with time."""
    seconds = [30.0] + [10 + 0.01 * applied + (applied % 5 == 0) for applied in range(1, 101)]
    runs = [
        IncrementRun(applied, 80, cpu - 1, cpu, 400_000_000, 7 + applied % 8, 3_000_000, 11_000_000)
        for applied, cpu in enumerate(seconds)
    ]
    return Growth("2026-01-04", "8 cores and 16 GiB of memory", 0.75, runs)


@pytest.fixture
def imports() -> Imports:
    return Imports("2026-01-05", "2 cores and 4 GiB of memory", 0.1, definitions=[2.0, 3.0, 2.4], frameworks=[4, 3, 3])


@pytest.fixture
def page(
    results: Results,
    batches: Growth[BatchesRun],
    increments: Growth[IncrementRun],
    imports: Imports,
    tmp_path: Path,
) -> str:
    return write_page(results, batches, increments, imports, tmp_path).read_text()


def test_contenders_are_shown_with_median_and_extremes(page: str) -> None:
    assert "| refresh | 21.0 (20.0 to 33.0) | 31.5 | 700 | 120 | 80 | 5.00 |" in page
    assert "| hand-written | 5.0 (4.0 to 6.0) | 7.5 | 500 | 120 | 80 | 1.00 |" in page
    assert "Scale 1: 3,750,934 tickets, 76 MB of Parquet exported." in page


def test_ratios_are_of_runs_of_the_same_round(page: str) -> None:
    """The median ratio of the rounds is 2.1; the ratio of the medians would be 2.1 too, but not its extremes."""
    assert "| refresh : dbt build | 2.10 (2.00 to 3.00) |  |" in page
    assert "| refresh : hand-written | 5.00 (3.50 to 6.60) | 1.50 |" in page


def test_limits_are_held_against_what_was_measured(page: str) -> None:
    assert "| refresh at scale 1, in wall times of `dbt build` | at most 2 | 2.1 | missed |" in page
    assert "| refresh at scale 1, peak memory | at most 600 MB | 700 MB | missed |" in page
    assert "| refresh at scale 10, in wall times of the hand-written script | at most 1.4 | 1.5 | missed |" in page
    assert "| warehouse in PostgreSQL, at scale 1, in wall times of the refresh | at least 4 | 5 | kept |" in page
    assert (
        "| warehouse in PostgreSQL, tuned, at scale 1, in wall times of the refresh | at least 4 | 2 | missed |" in page
    )
    assert (
        "| import of the definitions, in CPU times of dagster's and dagster-dbt's | at most 1.3 | 0.8 | kept |" in page
    )
    assert "| sensor tick over 10,000 known batches, CPU | at most 0.2 s | 0.06 s | kept |" in page
    assert "| refresh from increment 100, in CPU times of that from the tenth | at most 1.3 | 1.09 | kept |" in page


def test_what_increments_cost_is_told_by_their_neighbours(page: str, increments: Growth[IncrementRun]) -> None:
    """Some merge files and cost more; the one from the full batch is none of them."""
    assert "| 10 | 10.1 | 9.1 | 400 | 14 | 3.0 | 11.0 |" in page
    assert "| 100 | 11.0 | 10.0 | 400 | 14 | 3.0 | 11.0 |" in page
    assert "Measured on 2026-01-04 on a machine with 8 cores and 16 GiB of memory" in page
    few = Growth(increments.taken_on, increments.machine, 0.0, increments.runs[:15])
    assert last_to_tenth(few) is None


def test_what_was_measured_before_an_interruption_is_shown(increments: Growth[IncrementRun], tmp_path: Path) -> None:
    """Those around the tenth are measured last, and until then nothing is said of how the cost has grown."""
    cut_off = [run for run in increments.runs if run.applied == 0 or run.applied > 14]
    page = write_page(None, None, replace(increments, runs=cut_off), None, tmp_path).read_text()
    assert "| 100 | 11.0 |" in page
    assert "| 10 |" not in page
    assert "refresh from increment" not in page


def test_looks_into_the_landing_zone_are_shown_by_their_number(page: str) -> None:
    assert "| 10,000 | 0.060 (0.050 to 0.250) | 0.090 | 0.600 | 0.400 |" in page


def test_the_conclusion_follows_from_what_was_measured(page: str) -> None:
    """40 s more for 33.76 million tickets more; PostgreSQL's ratio is that of its own round."""
    assert "At scale 10, 38 million tickets, a refresh took 1.0 minutes and 500 MB, and left 0.8 GB on disk." in page
    assert "a million tickets more cost 1.2 s and 21 MB of disk" in page
    assert "At that pace 3,100 million tickets" in page
    assert "with 2 GB for DuckDB scale 10 took 90 s, 1.50 times as long as without a limit" in page
    assert "- A database server is no step up: the same models took 5.0 times as long as the" in page
    assert "took 5.0 times as long as the whole refresh in PostgreSQL, at scale 1; 2.0" in page


def test_what_was_compared_is_told(page: str) -> None:
    assert "- hand-written: 7,680,000 rows at scale 1\n- PostgreSQL: 7,680,000 rows at scale 1\n" in page


def test_parts_that_were_not_measured_are_left_out(
    results: Results, batches: Growth[BatchesRun], tmp_path: Path
) -> None:
    only_batches = write_page(None, batches, None, None, tmp_path).read_text()
    assert "## The contenders" not in only_batches
    assert "### Increments" not in only_batches
    assert "### Batches" in only_batches
    assert "When to switch" not in only_batches
    assert "## What piles up" not in write_page(results, None, None, None, tmp_path).read_text()
    with pytest.raises(ValueError, match="Nothing has been measured"):
        write_page(None, None, None, None, tmp_path)


def test_contenders_that_did_not_run_have_no_row(page: str) -> None:
    scale_1, scale_10 = page.split("Scale 1: ")[1].split("Scale 10: ")
    assert "| hand-written, unchecked |" not in scale_1
    assert "| hand-written, unchecked |" in scale_10
    assert "| dbt build |" not in scale_10.split("Ratios")[0]


def test_phases_of_a_refresh_add_up(page: str) -> None:
    assert "| **all** | **21.0 s** | **60.0 s** |" in page
    assert "`fct_ticket_sales` 2.2" in page


def test_tables_are_not_torn_apart(page: str) -> None:
    """Markdown ends a table at an empty line: header, rule and rows must follow each other."""
    lines = page.splitlines()
    rules = [number for number, line in enumerate(lines) if line.startswith("|--")]
    assert len(rules) == 7
    for rule in rules:
        columns = lines[rule].count("|")
        assert lines[rule - 1].count("|") == lines[rule + 1].count("|") == columns


def test_machine_day_and_versions_are_named(page: str) -> None:
    assert "2026-01-02" in page
    assert "2 cores and 24 GiB of memory" in page
    assert "Versions: Python 3.11.0, duckdb 2.0.0." in page


def test_plot_is_drawn_beside_the_page(page: str, tmp_path: Path) -> None:
    assert "(images/benchmarks.svg)" in page
    plot = (tmp_path / "images" / "benchmarks.svg").read_text()
    assert plot.startswith("<svg")
    assert "hand-written, unchecked" in plot
    assert "(images/benchmarks_growth.svg)" in page
    assert "tick, one landed" in (tmp_path / "images" / "benchmarks_growth.svg").read_text()


def test_a_scale_measured_anew_takes_the_place_of_what_it_was(results: Results) -> None:
    """Contenders of one scale are never of two measurements, and nothing is joined across machines or versions."""
    anew = Results(
        **{
            **vars(results),
            "batches": {1.0: Batch(3_750_934, 76_000_000)},
            "equal_rows": {POSTGRES: {1.0: 5}},
            "measurements": [_run(REFRESH, 1.0, 1, 7.0)],
        }
    )

    joined = anew.joined_to(results)

    assert joined.scales == [1.0, 10.0]
    assert [run.wall_seconds for run in joined.measurements if run.scale == 1.0] == [7.0]
    assert joined.of(REFRESH, 10.0) == results.of(REFRESH, 10.0)
    assert joined.equal_rows == {POSTGRES: {1.0: 5}}
    assert anew.joined_to(None) == anew
    other = Results(**{**vars(anew), "versions": {"Python": "3.12.0"}})
    assert other.joined_to(results) == other


def test_results_survive_being_written_and_read(
    results: Results, batches: Growth[BatchesRun], increments: Growth[IncrementRun], tmp_path: Path
) -> None:
    for part in (results, batches, increments):
        results_module.write(part, tmp_path / f"{len(list(tmp_path.iterdir()))}.json")

    assert results_module.read(tmp_path / "0.json") == results
    found = results_module.read_growth(BatchesRun, tmp_path / "1.json")
    assert found is not None
    assert [list(run.tick_seconds) for run in found.runs] == [list(run.tick_seconds) for run in batches.runs]
    assert results_module.read_growth(IncrementRun, tmp_path / "2.json") == increments
    assert results_module.read(tmp_path / "none.json") is None
