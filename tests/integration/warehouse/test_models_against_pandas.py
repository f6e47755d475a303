"""The figures people decide on, computed a second time in pandas from what the columns promise, not from the SQL."""

from __future__ import annotations

from datetime import date, timedelta
from fractions import Fraction

import pandas as pd
import pytest
from pandas.testing import assert_frame_equal
from warehouse.dbt_festivals import Festival, built_in_memory, instant

pytestmark = pytest.mark.slow

EVIDENCE = {
    *("sold_out_performances", "expected_tickets", "expected_low", "expected_high"),
    *("p_best", "p_top_group", "p_stands_out", "verdict"),
}
"""Columns of data products that follow from the evidence models; test_evidence.py compares those."""
PRICES = ["lowest_ticket_price", "avg_ticket_price", "highest_ticket_price"]
TYPES = {
    "datetime64[us]": [
        *("sale_month", "sale_date", "performance_date", "festival_date"),
        *("purchased_at", "performance_start"),
    ],
    "float64": ["rank_in_venue", "total_avg_ticket_price", *PRICES],
}
"""Types in which columns are compared whose type in pandas depends on their values."""


def local_time(moments: pd.Series) -> pd.Series:
    return moments.dt.tz_convert("America/Chicago")


def performances_with_sales(festival: Festival) -> pd.DataFrame:
    tickets = festival.frame("tickets").groupby("performance_id")["price"].agg(["size", "sum", "min", "mean", "max"])
    shows = festival.frame("performances").rename(columns={"id": "performance_id"})
    bands = festival.frame("bands").rename(columns={"id": "band_id", "name": "band_name"})
    venues = festival.frame("venues").rename(columns={"id": "venue_id", "name": "venue_name"})
    shows = shows.merge(bands, on="band_id").merge(venues, on="venue_id")
    local_start = local_time(shows["performance_start"])
    shows["is_completed"] = shows["performance_start"] < festival.frame("export_batches")["exported_at"].max()
    shows["festival_year"] = local_start.dt.year
    shows["festival_date"] = [date(year, 1, 1) for year in shows["festival_year"]]
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


def months_of_sale(tickets: pd.DataFrame, shows: pd.DataFrame) -> pd.DataFrame:
    months = tickets.groupby(["festival_year", "festival_date", "sale_month"])["ticket_price"]
    product = months.agg(tickets_sold="size", revenue="sum").reset_index()
    product["is_completed"] = product["festival_year"].map(shows.groupby("festival_year")["is_completed"].all())
    product["sales_status"] = product["is_completed"].map({True: "completed", False: "on sale"})
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
    names = "top venue " + venues["venue_rank"].astype(str)
    venues["venue_standing"] = names.where(venues["is_top_venue"], "venues ranked lower")
    venues["share_of_tickets"] = venues["total_tickets_sold"] / venues["total_tickets_sold"].sum()
    venues["share_of_revenue"] = venues["total_revenue"] / venues["total_revenue"].sum()
    venues["total_avg_ticket_price"] = venues["total_revenue"] / venues["total_tickets_sold"].replace(0, float("nan"))
    return venues


def venue_festivals(shows: pd.DataFrame, venues: pd.DataFrame) -> pd.DataFrame:
    product = (
        shows.groupby(["venue_id", "venue_name", "capacity", "festival_year", "festival_date"])
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
    return product.merge(venues, on="venue_id")


def band_standings(shows: pd.DataFrame, venues: pd.DataFrame, choice: dict[str, int]) -> pd.DataFrame:
    """Per venue and band: completed sales and rank. Averages are ranked as fractions, so that nothing is rounded."""
    bands = (
        shows[shows["is_completed"]]
        .groupby(["venue_id", "venue_name", "band_id", "band_name"])
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
    for _, at_venue in bands.groupby("venue_id"):
        ranked = sorted(
            (-Fraction(int(band.tickets_sold), int(band.performances)), -band.tickets_sold, band.band_id, band.Index)
            for band in at_venue.itertuples()
            if band.performances >= choice["min_performances"] and band.festivals >= choice["min_festivals"]
        )
        for rank, (*_, index) in enumerate(ranked, start=1):
            bands.loc[index, "rank_in_venue"] = rank
    bands["is_top_band"] = bands["rank_in_venue"] <= choice["top_bands_per_venue"]
    return bands.merge(venues[["venue_id", "venue_rank", "is_top_venue"]], on="venue_id")


def candidates(bands: pd.DataFrame) -> pd.DataFrame:
    chosen = bands[bands["is_top_venue"] & bands["is_top_band"]].copy()
    chosen["band_label"] = [
        f"{row.rank_in_venue:.0f}. {row.band_name} "
        f"({row.performances} {'performance' if row.performances == 1 else 'performances'})"
        for row in chosen.itertuples()
    ]
    return chosen


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


def comparable(frame: pd.DataFrame, keys: list[str], columns: list[str]) -> pd.DataFrame:
    """The columns in the order of the keys, with the types in which they are compared."""
    types = {column: kind for kind, typed in TYPES.items() for column in typed if column in columns}
    return frame[columns].astype(types).sort_values(keys).reset_index(drop=True)


@pytest.mark.parametrize(
    "choice",
    [
        {"top_venues": 3, "top_bands_per_venue": 8, "min_performances": 1, "min_festivals": 1},
        {"top_venues": 2, "top_bands_per_venue": 1, "min_performances": 2, "min_festivals": 2},
    ],
)
def test_products_agree_with_pandas(choice: dict[str, int]) -> None:
    """Other data products and rarer festivals are in the unit tests of the dbt project."""
    festival = festival_with_every_edge()
    shows = performances_with_sales(festival)
    tickets = sold_tickets(festival, shows)
    venues = venue_standings(shows, choice["top_venues"])
    bands = band_standings(shows, venues, choice)
    expected = [
        ("star_schema.fct_performances", ["performance_id"], shows),
        ("data_products.performance_attendance", ["performance_id"], shows),
        ("data_products.ticket_sales", ["ticket_id"], tickets),
        ("data_products.ticket_sales_over_time", ["festival_year", "sale_month"], months_of_sale(tickets, shows)),
        ("data_products.ticket_sales_by_venue", ["venue_id", "festival_year"], venue_festivals(shows, venues)),
        ("data_products.band_sales_by_venue", ["venue_id", "band_id"], bands),
        ("data_products.all_star_candidates", ["venue_id", "band_id"], candidates(bands)),
    ]
    with built_in_memory(festival, **choice) as connection:
        for relation, keys, computed in expected:
            built = connection.sql(f"from {relation}").df()
            columns = [column for column in built.columns if column not in EVIDENCE]
            assert_frame_equal(
                comparable(built, keys, columns),
                comparable(computed, keys, columns),
                check_dtype=False,
                rtol=1e-12,
                obj=relation,
            )
