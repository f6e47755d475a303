"""The evidence behind verdicts equals an independent computation, and has the properties that its formulas promise."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from warehouse import evidence_reference
from warehouse.dbt_festivals import Show, evidence_of
from warehouse.evidence_reference import evidence

pytestmark = pytest.mark.slow

COLUMNS = ("expected_tickets", "expected_low", "expected_high", "p_best", "p_top_group", "p_stands_out")
CHANCES = COLUMNS[3:]
FEW_POINTS = 1e-3
"""Chances are integrated over 400 points in SQL and over 4,001 in the reference."""
SMALL_FESTIVAL = Path(evidence_reference.__file__).parent


@st.composite
def festivals(draw: st.DrawFn) -> list[Show]:
    """Performances whose sales follow venue, festival and band with some noise, as real ones do, or nothing at all."""
    venues = draw(st.lists(st.integers(20, 400), min_size=1, max_size=3))
    bands = draw(st.lists(st.floats(0.5, 2.5), min_size=1, max_size=7))
    years = draw(st.lists(st.integers(2015, 2021), min_size=1, max_size=4, unique=True))
    shows = []
    for _ in range(draw(st.integers(1, 40))):
        venue, band = draw(st.integers(0, len(venues) - 1)), draw(st.integers(0, len(bands) - 1))
        usual = venues[venue] * bands[band] * draw(st.floats(0.7, 1.4))
        sold = draw(st.sampled_from([round(usual)] * 9 + [0]))
        capacity = 2 * venues[venue]
        shows.append(Show(venue + 1, band + 1, draw(st.sampled_from(years)), min(sold, capacity), capacity))
    return shows


@settings(max_examples=60, deadline=None, derandomize=True)
@given(festivals(), st.booleans())
def test_models_agree_with_the_reference(shows: list[Show], other_venues: bool) -> None:
    """The chances to be the best at a venue add up to 1."""
    found, expected = evidence_of(shows, other_venues=other_venues), evidence(shows, other_venues=other_venues)
    assert found.keys() == expected.keys()
    for key, row in found.items():
        for column in COLUMNS:
            tolerance = {"abs": FEW_POINTS} if column in CHANCES else {"rel": 1e-6, "abs": 1e-6}
            assert row[column] == pytest.approx(getattr(expected[key], column), **tolerance), (key, column)
    for venue in {venue for venue, _ in found}:
        assert sum(row["p_best"] for (at, _), row in found.items() if at == venue) == pytest.approx(1, abs=FEW_POINTS)


@settings(max_examples=20, deadline=None, derandomize=True)
@given(festivals(), st.integers(2, 9), st.randoms())
def test_units_and_order_of_rows_change_no_chance(shows: list[Show], factor: int, random: Any) -> None:
    scaled = [show._replace(sold=factor * show.sold, capacity=factor * show.capacity) for show in shows]
    random.shuffle(scaled)
    found, other = evidence_of(shows), evidence_of(scaled)
    for key, row in found.items():
        assert [other[key][column] for column in CHANCES] == pytest.approx(
            [row[column] for column in CHANCES], abs=1e-6
        )


@pytest.mark.parametrize(("expected", "other_venues"), [("tiny_expected", False), ("tiny_expected_other_venues", True)])
def test_models_give_the_expected_values_of_a_small_festival(expected: str, other_venues: bool) -> None:
    """A third program computed them. This festival is judged on the logarithmic scale."""
    shows = pd.read_csv(SMALL_FESTIVAL / "tiny_shows.csv")
    columns = ["venue_id", "band_id", "festival_year", "tickets_sold", "capacity"]
    found = evidence_of([Show(*row) for row in shows[columns].itertuples(index=False)], other_venues=other_venues)
    assert {row["is_log_scale"] for row in found.values()} == {True}
    chances = pd.read_csv(SMALL_FESTIVAL / f"{expected}.csv").set_index(["venue_id", "band_id"])[list(CHANCES)]
    assert found.keys() == set(chances.index)
    for key, row in chances.iterrows():
        assert [found[key][column] for column in CHANCES] == pytest.approx(list(row), abs=1e-4), key


def shows_of(*bands: Sequence[int], venue: int = 1, capacity: int = 1_000) -> list[Show]:
    """Return the shows of bands at a venue, one festival after the other."""
    return [
        Show(venue, band, 2015 + number, sold, capacity)
        for band, sales in enumerate(bands, start=1)
        for number, sold in enumerate(sales)
    ]


@pytest.mark.parametrize(
    "shows",
    [
        shows_of([500, 480, 520], [300, 340], [450, 400, 420], [100], [610, 590], [240, 260]),
        # At the second venue two bands sell nine times what is usual.
        shows_of(*([990 - number**2 // 10, 1_000 - number**2 // 10] for number in range(70)))
        + shows_of([1_500, 1_520], [1_380, 1_360], *([sold] for sold in range(60, 140)), venue=2),
    ],
    ids=["small festival", "far above the usual"],
)
def test_evenly_spread_ratios_are_judged_as_they_are(shows: list[Show]) -> None:
    """These are on the scale of ratios; the expected values are those of the reference."""
    found, expected = evidence_of(shows), evidence(shows)
    assert {row["is_log_scale"] for row in found.values()} == {False}
    for key, row in found.items():
        for column in CHANCES:
            assert row[column] == pytest.approx(getattr(expected[key], column), abs=1e-4), (key, column)


def test_bands_that_sell_what_is_usual_are_equal_while_venues_are_replaced_and_sales_grow() -> None:
    hosted = {1: range(2002, 2022), 2: range(2002, 2013), 3: range(2002, 2013), 4: range(2012, 2022)}
    shows = [
        Show(venue, year, year, round(10_000 * venue * 1.08 ** (year - 2002)), 10**6)
        for venue, years in hosted.items()
        for year in years
    ]
    found = evidence_of(shows).values()
    ratios = [math.exp(row["mean_ratio"]) if row["is_log_scale"] else row["mean_ratio"] for row in found]
    assert ratios == pytest.approx([1] * len(shows), abs=0.01)


def test_a_band_alone_stands_out_and_equal_bands_have_equal_chances() -> None:
    alone = evidence_of(shows_of([500, 480, 510]))[1, 1]
    assert [alone[column] for column in CHANCES] == pytest.approx([1, 1, 1], abs=FEW_POINTS)
    equal = evidence_of(shows_of(*[[500, 500]] * 4)).values()
    assert [row["p_best"] for row in equal] == pytest.approx([0.25] * 4, abs=FEW_POINTS)
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


def test_a_festival_that_sold_nothing_changes_no_evidence() -> None:
    """It was cancelled, but its performances are still in the records."""
    shows = shows_of([500, 480, 510], [300, 340, 320], [450, 400, 420])
    cancelled = [Show(1, band, 2018, 0, 1_000) for band in (1, 2, 4)]
    assert evidence_of(shows + cancelled) == evidence_of(shows)
