"""The evidence behind verdicts equals an independent computation, and has the properties that its formulas promise."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pytest
from warehouse import dbt_festivals
from warehouse.dbt_festivals import Show, evidence_of

pytestmark = pytest.mark.slow

CHANCES = ("p_best", "p_top_group", "p_stands_out")
COLUMNS = ("expected_tickets", "expected_low", "expected_high", *CHANCES)
# A program with numpy and scipy, without SQL, computed the expected values from these shows: evidence_reference.py in
# the history of tests/support/warehouse.
FOLDER = Path(dbt_festivals.__file__).parent
SHOWS, EXPECTED = (pd.read_csv(FOLDER / f"evidence_{name}.csv") for name in ("shows", "expected"))


def festival(name: str) -> list[Show]:
    """Return the shows of a festival for which there are expected values."""
    return [Show(*row) for row in SHOWS[SHOWS.festival == name].drop(columns="festival").itertuples(index=False)]


@pytest.mark.parametrize("from_other_venues", [True, False])
@pytest.mark.parametrize("name", SHOWS.festival.unique())
def test_models_give_the_expected_values(name: str, from_other_venues: bool) -> None:
    """Also: one band of a venue is the best. `tiny` and the skewed shows are judged on the logarithmic scale."""
    found = evidence_of(festival(name), other_venues=from_other_venues)
    rows = EXPECTED[(EXPECTED.festival == name) & (EXPECTED.from_other_venues == from_other_venues)]
    expected = rows.set_index(["venue_id", "band_id"])[list(COLUMNS)]
    assert found.keys() == set(expected.index)
    for key, row in expected.iterrows():
        assert [found[key][column] for column in COLUMNS] == pytest.approx(list(row), rel=1e-5, abs=1e-5), key
    for venue in {venue for venue, _ in found}:
        assert sum(row["p_best"] for (at, _), row in found.items() if at == venue) == pytest.approx(1, abs=1e-3)


def test_units_and_order_of_rows_change_no_chance() -> None:
    shows = festival("many shows")
    scaled = [show._replace(sold=7 * show.sold, capacity=7 * show.capacity) for show in shows]
    random.Random(1).shuffle(scaled)
    found, other = evidence_of(shows), evidence_of(scaled)
    for key, row in found.items():
        assert [other[key][column] for column in CHANCES] == pytest.approx(
            [row[column] for column in CHANCES], abs=1e-6
        )


def shows_of(*bands: Sequence[int]) -> list[Show]:
    """Return the shows of bands at one venue for 1,000 people, one festival after the other."""
    return [
        Show(1, band, 2015 + number, sold, 1_000)
        for band, sales in enumerate(bands, start=1)
        for number, sold in enumerate(sales)
    ]


def test_a_band_alone_stands_out_and_equal_bands_have_equal_chances() -> None:
    alone = evidence_of(shows_of([500, 480, 510]))[1, 1]
    assert [alone[column] for column in CHANCES] == pytest.approx([1, 1, 1], abs=1e-3)
    equal = evidence_of(shows_of(*[[500, 500]] * 4)).values()
    assert [row["p_best"] for row in equal] == pytest.approx([0.25] * 4, abs=1e-3)
    assert min(row["p_top_group"] for row in equal) > 0.9


def test_a_single_performance_is_usual_and_uncertain() -> None:
    row = evidence_of(shows_of([300]))[1, 1]
    assert row["expected_tickets"] == pytest.approx(300)
    assert row["expected_low"] < 290
    assert row["expected_high"] > 310
    assert evidence_of([]) == {}


def test_performances_that_sold_nothing_count_and_sold_out_ones_are_counted() -> None:
    found = evidence_of(shows_of([500, 500, 500], [500, 500, 0], [1_000, 990, 1_001]))
    assert found[1, 2]["expected_tickets"] < found[1, 1]["expected_tickets"]
    assert [row["sold_out_performances"] for row in found.values()] == [0, 0, 2]
