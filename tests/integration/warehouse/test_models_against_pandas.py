"""The figures people decide on, computed a second time in pandas from what the columns promise, not from the SQL."""

from __future__ import annotations

import itertools
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal
from warehouse.dbt_festivals import Festival, built_in_memory, instant

pytestmark = pytest.mark.slow

DEFAULTS = {"top_venues": 3, "top_bands_per_venue": 8, "min_performances": 1, "min_festivals": 1}
KEYS = {
    "star_schema.fct_performances": ["performance_id"],
    "data_products.ticket_sales_over_time": ["festival_year", "sale_month"],
    "data_products.ticket_sales_by_venue": ["venue_id", "festival_year"],
    "data_products.band_sales_by_venue": ["venue_id", "band_id"],
    "data_products.all_star_candidates": ["venue_id", "band_id"],
    "data_products.performance_attendance": ["performance_id"],
    "data_products.festival_sales": ["festival_year"],
    "data_products.band_sales": ["band_id"],
    "data_products.band_sales_by_festival": ["festival_year", "venue_id", "band_id"],
    "data_products.ticket_sales": ["ticket_id"],
}
EVIDENCE = {
    *("sold_out_performances", "expected_tickets", "expected_low", "expected_high"),
    *("p_best", "p_top_group", "p_stands_out", "verdict"),
    *("change_in_popularity", "trend"),
}
"""Columns of data products that follow from the evidence models; test_evidence.py compares those."""
PRICES = ["lowest_ticket_price", "avg_ticket_price", "highest_ticket_price"]
DATES = ["sale_month", "sale_date", "performance_date", "first_day", "festival_date"]


# --- the second computation ---------------------------------------------------------------------------------------


def local_time(moments: pd.Series) -> pd.Series:
    return moments.dt.tz_convert("America/Chicago")


def expected_products(festival: Festival, variables: dict[str, Any]) -> dict[str, pd.DataFrame]:
    """Every data product, and the performances fact, from the source tables."""
    shows = performances_with_sales(festival)
    venues = venue_standings(shows, variables)
    bands = band_standings(shows, venues, variables)
    return {
        "star_schema.fct_performances": shows,
        "data_products.performance_attendance": shows,
        "data_products.ticket_sales": sold_tickets(festival, shows),
        "data_products.ticket_sales_over_time": months_of_sale(festival, shows),
        "data_products.ticket_sales_by_venue": venue_festivals(shows, venues),
        "data_products.band_sales_by_venue": bands,
        "data_products.all_star_candidates": candidates(bands),
        "data_products.festival_sales": festival_totals(shows),
        "data_products.band_sales": band_totals(shows),
        "data_products.band_sales_by_festival": totals(
            shows, ["festival_year", "venue_id", "venue_name", "band_id", "band_name"]
        ),
    }


def performances_with_sales(festival: Festival) -> pd.DataFrame:
    tickets = festival.frame("tickets").groupby("performance_id")["price"].agg(["size", "sum", "min", "mean", "max"])
    shows = festival.frame("performances").rename(columns={"id": "performance_id"})
    bands = festival.frame("bands").rename(columns={"id": "band_id", "name": "band_name"})
    venues = festival.frame("venues").rename(columns={"id": "venue_id", "name": "venue_name"})
    shows = shows.merge(bands, on="band_id").merge(venues, on="venue_id")
    local_start = local_time(shows["performance_start"])
    exported_at = festival.frame("export_batches")["exported_at"].max()
    shows["is_completed"] = shows["performance_start"] < exported_at
    shows["festival_year"] = local_start.dt.year
    shows["performance_date"] = local_start.dt.date
    shows["performance_start"] = shows["performance_start"].dt.tz_localize(None)
    shows["tickets_sold"] = shows["performance_id"].map(tickets["size"]).fillna(0).astype(int)
    shows["revenue"] = shows["performance_id"].map(tickets["sum"]).fillna(0).astype(int)
    for column, figure in zip(PRICES, ["min", "mean", "max"], strict=True):
        shows[column] = shows["performance_id"].map(tickets[figure])
    shows["fill_rate"] = shows["tickets_sold"] / shows["capacity"]
    return shows


def sold_tickets(festival: Festival, shows: pd.DataFrame) -> pd.DataFrame:
    tickets = festival.frame("tickets").rename(columns={"id": "ticket_id", "price": "ticket_price"})
    purchases = festival.frame("purchases").rename(columns={"id": "purchase_id"})
    tickets = tickets.merge(purchases, on="purchase_id").merge(shows, on="performance_id")
    local_sale = local_time(tickets["purchase_date"])
    tickets["purchased_at"] = tickets["purchase_date"].dt.tz_localize(None)
    tickets["sale_date"] = local_sale.dt.date
    tickets["sale_month"] = [moment.date().replace(day=1) for moment in local_sale]
    return tickets


def months_of_sale(festival: Festival, shows: pd.DataFrame) -> pd.DataFrame:
    final = shows.groupby("festival_year")["is_completed"].all()
    months = sold_tickets(festival, shows).groupby(["festival_year", "sale_month"])["ticket_price"]
    product = months.agg(tickets_sold="size", revenue="sum").reset_index()
    product["is_completed"] = product["festival_year"].map(final)
    product["sales_status"] = product["is_completed"].map({True: "completed", False: "on sale"})
    return product


def venue_standings(shows: pd.DataFrame, variables: dict[str, Any]) -> pd.DataFrame:
    """Per venue with a performance: its completed sales, best venue first."""
    counted = shows.assign(
        total_performances=shows["is_completed"].astype(int),
        total_tickets_sold=shows["tickets_sold"].where(shows["is_completed"], 0),
        total_revenue=shows["revenue"].where(shows["is_completed"], 0),
    )
    columns = ["total_performances", "total_tickets_sold", "total_revenue"]
    venues = counted.groupby("venue_id")[columns].sum().reset_index()
    venues = venues.sort_values(["total_tickets_sold", "venue_id"], ascending=[False, True], ignore_index=True)
    venues["venue_rank"] = venues.index + 1
    venues["is_top_venue"] = venues["venue_rank"] <= variables["top_venues"]
    names = "top venue " + venues["venue_rank"].astype(str)
    venues["venue_standing"] = names.where(venues["is_top_venue"], "venues ranked lower")
    venues["share_of_tickets"] = venues["total_tickets_sold"] / (venues["total_tickets_sold"].sum() or 1)
    venues["share_of_revenue"] = venues["total_revenue"] / (venues["total_revenue"].sum() or 1)
    venues["total_avg_ticket_price"] = venues["total_revenue"] / venues["total_tickets_sold"].replace(0, float("nan"))
    return venues


def totals(shows: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """Sales and prices of each group of performances."""
    product = (
        shows.groupby(keys)
        .agg(
            performances=("performance_id", "size"),
            tickets_sold=("tickets_sold", "sum"),
            revenue=("revenue", "sum"),
            lowest_ticket_price=("lowest_ticket_price", "min"),
            highest_ticket_price=("highest_ticket_price", "max"),
            is_completed=("is_completed", "all"),
        )
        .reset_index()
    )
    product["avg_ticket_price"] = product["revenue"] / product["tickets_sold"].replace(0, float("nan"))
    return product


def venue_festivals(shows: pd.DataFrame, venues: pd.DataFrame) -> pd.DataFrame:
    return totals(shows, ["venue_id", "venue_name", "capacity", "festival_year"]).merge(venues, on="venue_id")


def festival_totals(shows: pd.DataFrame) -> pd.DataFrame:
    """Per festival, in order: its sales, and those of a completed festival relative to the completed one before."""
    product = totals(shows, ["festival_year"]).sort_values("festival_year", ignore_index=True)
    product["first_day"] = product["festival_year"].map(shows.groupby("festival_year")["performance_date"].min())
    product["sales_status"] = product["is_completed"].map({True: "completed", False: "on sale"})
    product[["previous_festival_year", "change_in_tickets", "change_in_revenue"]] = float("nan")
    completed = list(product.index[product["is_completed"]])
    for before, festival in itertools.pairwise(completed):
        product.loc[festival, "previous_festival_year"] = product.loc[before, "festival_year"]
        for change, figure in (("change_in_tickets", "tickets_sold"), ("change_in_revenue", "revenue")):
            if product.loc[before, figure]:
                product.loc[festival, change] = product.loc[festival, figure] / product.loc[before, figure] - 1
    return product


def band_totals(shows: pd.DataFrame) -> pd.DataFrame:
    """Per band with a completed performance: its sales, best first, before and in the last three festivals."""
    completed = shows[shows["is_completed"]]
    by_band = completed.groupby("band_id")
    product = totals(completed, ["band_id", "band_name"])
    product = product.sort_values(["revenue", "band_id"], ascending=[False, True], ignore_index=True)
    product["revenue_rank"] = product.index + 1
    product["share_of_revenue"] = product["revenue"] / (product["revenue"].sum() or 1)
    for column, counted in (("venues", "venue_id"), ("festivals", "festival_year")):
        product[column] = product["band_id"].map(by_band[counted].nunique())
    is_recent = completed["festival_year"].isin(sorted(completed["festival_year"].unique())[-3:])
    for period, played in (("recent", completed[is_recent]), ("earlier", completed[~is_recent])):
        tickets = played.groupby("band_id")["tickets_sold"]
        product[f"{period}_performances"] = product["band_id"].map(tickets.size()).fillna(0)
        product[f"{period}_avg_tickets"] = product["band_id"].map(tickets.mean())
    return product


def band_standings(shows: pd.DataFrame, venues: pd.DataFrame, variables: dict[str, Any]) -> pd.DataFrame:
    """Per venue and band: completed sales and rank. Averages are ranked as fractions, so that nothing is rounded."""
    completed = shows[shows["is_completed"]]
    bands = (
        completed.groupby(["venue_id", "venue_name", "band_id", "band_name"])
        .agg(
            performances=("performance_id", "size"),
            festivals=("festival_year", "nunique"),
            first_festival_year=("festival_year", "min"),
            last_festival_year=("festival_year", "max"),
            tickets_sold=("tickets_sold", "sum"),
            revenue=("revenue", "sum"),
            avg_tickets_per_performance=("tickets_sold", "mean"),
        )
        .reset_index()
    )
    ranks: dict[Any, int] = {}
    for _, at_venue in bands.groupby("venue_id"):
        ranked = sorted(
            (-Fraction(int(band.tickets_sold), int(band.performances)), -band.tickets_sold, band.band_id, band.Index)
            for band in at_venue.itertuples()
            if band.performances >= variables["min_performances"] and band.festivals >= variables["min_festivals"]
        )
        ranks |= {index: rank for rank, (*_, index) in enumerate(ranked, start=1)}
    bands["rank_in_venue"] = pd.Series(ranks, dtype="float64")
    bands["is_top_band"] = bands["rank_in_venue"] <= variables["top_bands_per_venue"]
    return bands.merge(venues[["venue_id", "venue_rank", "is_top_venue"]], on="venue_id")


def candidates(bands: pd.DataFrame) -> pd.DataFrame:
    chosen = bands[bands["is_top_venue"] & bands["is_top_band"]].copy()
    chosen["band_label"] = [
        f"{row.rank_in_venue:.0f}. {row.band_name} "
        f"({row.performances} {'performance' if row.performances == 1 else 'performances'})"
        for row in chosen.itertuples()
    ]
    return chosen


# --- the comparison -----------------------------------------------------------------------------------------------


def assert_products_agree(festival: Festival, **changed: Any) -> None:
    variables = {**DEFAULTS, **changed}
    with built_in_memory(festival, **variables) as connection:
        built = {relation: connection.sql(f"from {relation}").df() for relation in KEYS}
    for relation, expected in expected_products(festival, variables).items():
        if expected.empty:
            assert built[relation].empty, relation
        else:
            if "festival_date" in built[relation]:
                expected["festival_date"] = [date(year, 1, 1) for year in expected["festival_year"]]
            columns = [column for column in built[relation].columns if column not in EVIDENCE]
            assert set(columns) <= set(expected.columns), relation
            assert_frame_equal(
                comparable(built[relation], KEYS[relation], columns),
                comparable(expected, KEYS[relation], columns),
                check_dtype=False,
                rtol=1e-12,
                obj=relation,
            )


def comparable(frame: pd.DataFrame, keys: list[str], columns: list[str]) -> pd.DataFrame:
    """The columns in the order of the keys, with dates, timestamps and numbers that may be missing in one type each."""
    types = {
        "datetime64[us]": [*DATES, "purchased_at", "performance_start"],
        "float64": ["rank_in_venue", "previous_festival_year", "total_avg_ticket_price", *PRICES],
    }
    wanted = {column: kind for kind, typed in types.items() for column in typed if column in columns}
    return frame[columns].astype(wanted).sort_values(keys).reset_index(drop=True)


# --- festivals ----------------------------------------------------------------------------------------------------

MOMENTS = st.integers(0, 4 * 365 * 24).map(lambda hours: datetime(2018, 9, 1, tzinfo=UTC) + timedelta(hours=hours))
YEAR_ENDS = st.builds(
    lambda year, hours: datetime(year, 12, 31, 12, tzinfo=UTC) + timedelta(hours=hours),
    st.integers(2018, 2021),
    st.integers(0, 24),
)


@st.composite
def festivals(draw: st.DrawFn) -> Festival:
    """A few venues and bands, performances over four years of which some are still to come, ids without order."""
    festival = Festival()
    ids = st.lists(st.integers(1, 99), unique=True)
    band_ids = draw(ids.filter(lambda found: len(found) >= 2).map(lambda found: found[:6]))
    venue_ids = draw(ids.filter(bool).map(lambda found: found[:4]))
    festival.bands = [(band_id, draw(st.sampled_from(["NULL", "!!!", "'68", 'Ñ, "x"'])), 500) for band_id in band_ids]
    festival.venues = [(venue_id, f"Venue {venue_id}", draw(st.integers(1, 20))) for venue_id in venue_ids]
    festival.people = [(1, "Ada Buyer")]
    festival.export(draw(st.sampled_from([instant("2020-01-01 03:00"), instant("2021-10-05 12:00")])))
    for performance_id in range(1, draw(st.integers(2, 25)) + 1):
        start = draw(MOMENTS | YEAR_ENDS)
        place = draw(st.sampled_from(band_ids)), draw(st.sampled_from(venue_ids))
        festival.performances.append((performance_id, start, *place))
        days_ahead = draw(st.lists(st.integers(0, 400), max_size=12))
        sales = [start - timedelta(days=days, hours=days % 7) for days in days_ahead]
        festival.sell(performance_id, sales, price=draw(st.integers(0, 40)))
    return festival


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    festival=festivals(),
    variables=st.fixed_dictionaries(
        {
            "top_venues": st.integers(1, 3),
            "top_bands_per_venue": st.integers(1, 8),
            "min_performances": st.integers(1, 2),
            "min_festivals": st.integers(1, 2),
        }
    ),
)
def test_products_agree_with_pandas_on_random_festivals(festival: Festival, variables: dict[str, Any]) -> None:
    """Whatever was sold and however the choice is set, the SQL says what its columns promise."""
    assert_products_agree(festival, **variables)


def test_products_agree_with_pandas_on_a_festival_with_every_edge() -> None:
    """Ties, averages of zero, unsold and oversold shows, a year's end, a sale going on."""
    festival = Festival(
        bands=[(band_id, name, 500) for band_id, name in enumerate(["NULL", "!!!", "'68", "Café Ñ", 'A, "B"'], 1)],
        venues=[(1, "Meadow", 30), (2, "Cellar", 10), (3, "Yard", 5), (4, "Hall", 5), (5, "Never hosted", 500)],
        people=[(1, "Ada Buyer")],
    )
    shows = [
        # band, venue, start, tickets sold
        (1, 1, "2019-10-05 20:00", 30), (2, 1, "2019-10-05 22:00", 27), (3, 1, "2019-10-06 20:00", 24),
        (4, 1, "2019-10-06 22:00", 0), (5, 1, "2021-10-06 20:00", 0),
        (1, 2, "2019-10-05 20:00", 10), (1, 2, "2021-10-05 20:00", 0), (1, 2, "2022-01-01 05:59", 0),
        (2, 2, "2022-01-01 06:00", 3), (3, 2, "2021-10-05 20:00", 3),
        (1, 3, "2021-10-05 20:00", 16), (2, 3, "2022-07-31 20:00", 5), (3, 3, "2022-08-01 06:00", 9),
        (4, 4, "2022-10-08 20:00", 12),
    ]  # fmt: skip
    for performance_id, (band_id, venue_id, start, sold) in enumerate(shows, 1):
        festival.performances.append((performance_id, instant(start), band_id, venue_id))
        first_sale = instant(start) - timedelta(days=200)
        festival.sell(performance_id, [first_sale + timedelta(days=5 * number) for number in range(sold)])
    festival.sell(1, [instant("2019-01-01 03:00"), instant("2019-01-01 06:00"), instant("2019-07-01 04:59")], price=40)
    festival.export(instant("2022-07-01 06:00"))
    festival.export(instant("2022-08-01 06:00"))
    assert_products_agree(festival)
