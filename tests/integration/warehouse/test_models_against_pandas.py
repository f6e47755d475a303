"""Data products equal figures that pandas computes from the descriptions of the columns, without the SQL."""

from datetime import timedelta
from fractions import Fraction

import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal
from warehouse.dbt_festivals import Festival, built_in_memory, instant

pytestmark = pytest.mark.slow


def local_time(moments: pd.Series) -> pd.Series:
    return moments.dt.tz_convert("America/Chicago")


def performances_with_sales(festival: Festival) -> pd.DataFrame:
    tickets = festival.frame("tickets").groupby("performance_id")["price"].agg(["size", "sum"])
    shows = festival.frame("performances").rename(columns={"id": "performance_id"})
    shows["is_completed"] = shows["performance_start"] < festival.frame("export_batches")["exported_at"].max()
    shows["festival_year"] = local_time(shows["performance_start"]).dt.year
    shows["tickets_sold"] = shows["performance_id"].map(tickets["size"]).fillna(0).astype(int)
    shows["revenue"] = shows["performance_id"].map(tickets["sum"]).fillna(0).astype(int)
    return shows.drop(columns="performance_start")


def months_of_sale(festival: Festival, shows: pd.DataFrame) -> pd.DataFrame:
    purchases = festival.frame("purchases").rename(columns={"id": "purchase_id"})
    tickets = festival.frame("tickets").merge(purchases, on="purchase_id").merge(shows, on="performance_id")
    local_sale = local_time(tickets["purchase_date"])
    tickets["sale_month"] = pd.to_datetime([moment.date().replace(day=1) for moment in local_sale])
    months = tickets.groupby(["festival_year", "sale_month"])["price"]
    product = months.agg(tickets_sold="size", revenue="sum").reset_index()
    product["is_completed"] = product["festival_year"].map(shows.groupby("festival_year")["is_completed"].all())
    return product


def venue_standings(shows: pd.DataFrame, top_venues: int) -> pd.DataFrame:
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
    venues["is_top_venue"] = venues["venue_rank"] <= top_venues
    venues["share_of_tickets"] = venues["total_tickets_sold"] / (venues["total_tickets_sold"].sum() or 1)
    venues["share_of_revenue"] = venues["total_revenue"] / (venues["total_revenue"].sum() or 1)
    return venues


def venue_festivals(shows: pd.DataFrame, venues: pd.DataFrame) -> pd.DataFrame:
    festivals = shows.groupby(["venue_id", "festival_year"])
    product = festivals.agg(
        performances=("performance_id", "size"),
        tickets_sold=("tickets_sold", "sum"),
        revenue=("revenue", "sum"),
        is_completed=("is_completed", "all"),
    )
    return product.reset_index().merge(venues, on="venue_id")


def band_standings(shows: pd.DataFrame, venues: pd.DataFrame, choice: dict[str, int]) -> pd.DataFrame:
    """Per venue and band: completed sales and rank. Averages are ranked as fractions, so that nothing is rounded."""
    completed = shows[shows["is_completed"]].groupby(["venue_id", "band_id"])
    bands = completed.agg(
        performances=("performance_id", "size"),
        festivals=("festival_year", "nunique"),
        first_festival_year=("festival_year", "min"),
        last_festival_year=("festival_year", "max"),
        tickets_sold=("tickets_sold", "sum"),
        revenue=("revenue", "sum"),
        avg_tickets_per_performance=("tickets_sold", "mean"),
    ).reset_index()
    ranks: dict[int, int] = {}
    for _, at_venue in bands.groupby("venue_id"):
        ranked = sorted(
            (-Fraction(int(band.tickets_sold), int(band.performances)), -band.tickets_sold, band.band_id, band.Index)
            for band in at_venue.itertuples()
            if band.performances >= choice["min_performances"] and band.festivals >= choice["min_festivals"]
        )
        ranks |= {index: rank for rank, (*_, index) in enumerate(ranked, start=1)}
    bands["rank_in_venue"] = pd.Series(ranks, dtype="float64")
    bands["is_top_band"] = bands["rank_in_venue"] <= choice["top_bands_per_venue"]
    return bands.merge(venues[["venue_id", "venue_rank", "is_top_venue"]], on="venue_id")


def festival_with_every_edge() -> Festival:
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
    return festival


@st.composite
def festivals(draw: st.DrawFn) -> Festival:
    """Draw a few venues and bands, performances over four years of which some are still to come, ids without order."""
    festival = Festival()
    ids = st.lists(st.integers(1, 99), unique=True)
    band_ids = draw(ids.filter(lambda found: len(found) >= 2).map(lambda found: found[:6]))
    venue_ids = draw(ids.filter(bool).map(lambda found: found[:4]))
    festival.bands = [(band_id, f"Band {band_id}", 500) for band_id in band_ids]
    festival.venues = [(venue_id, f"Venue {venue_id}", draw(st.integers(1, 20))) for venue_id in venue_ids]
    festival.people = [(1, "Ada Buyer")]
    festival.export(draw(st.sampled_from([instant("2020-01-01 03:00"), instant("2021-10-05 12:00")])))
    hours = st.integers(0, 4 * 365 * 24) | st.sampled_from([122, 487, 852, 1218]).map(lambda day: 24 * day + 5)
    for performance_id in range(1, draw(st.integers(2, 25)) + 1):
        start = instant("2018-09-01 00:00") + timedelta(hours=draw(hours))
        place = draw(st.sampled_from(band_ids)), draw(st.sampled_from(venue_ids))
        festival.performances.append((performance_id, start, *place))
        days_ahead = draw(st.lists(st.integers(0, 400), max_size=12))
        sales = [start - timedelta(days=days, hours=days % 7) for days in days_ahead]
        festival.sell(performance_id, sales, price=draw(st.integers(0, 40)))
    return festival


CHOICES = st.fixed_dictionaries(
    {
        "top_venues": st.integers(1, 3),
        "top_bands_per_venue": st.integers(1, 8),
        "min_performances": st.integers(1, 2),
        "min_festivals": st.integers(1, 2),
    }
)


@settings(max_examples=60, deadline=None)
@given(festivals(), CHOICES)
@example(
    festival_with_every_edge(),
    {"top_venues": 3, "top_bands_per_venue": 8, "min_performances": 1, "min_festivals": 1},
)
def test_products_agree_with_pandas(festival: Festival, choice: dict[str, int]) -> None:
    """Other columns and data products are in the unit tests of the dbt project."""
    shows = performances_with_sales(festival)
    venues = venue_standings(shows, choice["top_venues"])
    bands = band_standings(shows, venues, choice)
    figures = ["venue_id", "band_id", "venue_rank", "rank_in_venue", "performances", "avg_tickets_per_performance"]
    candidates = bands.loc[bands["is_top_venue"] & bands["is_top_band"], figures]
    expected = [
        ("star_schema.fct_performances", ["performance_id"], shows),
        ("data_products.ticket_sales_over_time", ["festival_year", "sale_month"], months_of_sale(festival, shows)),
        ("data_products.venue_sales", ["venue_id"], venues.rename(columns=lambda name: name.removeprefix("total_"))),
        ("data_products.ticket_sales_by_venue", ["venue_id", "festival_year"], venue_festivals(shows, venues)),
        ("data_products.band_sales_by_venue", ["venue_id", "band_id"], bands),
        ("data_products.all_star_candidates", ["venue_id", "band_id"], candidates),
    ]
    with built_in_memory(festival, **choice) as connection:
        for relation, keys, computed in expected:
            built = connection.table(relation).df()
            assert len(built) == len(computed), relation
            if len(built):
                # A rank is an integer with missing values.
                ranks = {column: "float64" for column in ("rank_in_venue",) if column in built}
                assert_frame_equal(
                    built[computed.columns].astype(ranks).sort_values(keys, ignore_index=True),
                    computed.sort_values(keys, ignore_index=True),
                    check_dtype=False,
                    rtol=1e-12,
                    obj=relation,
                )
