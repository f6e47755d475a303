"""Specifications of the charts: rows, encodings and labels, without drawing."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import altair as alt
import numpy as np
import pandas as pd
import pytest
from report.sample_warehouse import FESTIVAL_ON_SALE

from acl_assets.report import charts
from acl_assets.report.band_charts import band_sales_chart, chance_text
from acl_assets.report.drawing import DARK, INK, MEDIUM, NARROW, PAPER, WIDE, lines_of, percent, svg_of, venue_colour
from acl_assets.report.page import ReportData


def layer_of(chart: alt.LayerChart, mark: str, **properties: object) -> dict[str, Any]:
    """The one layer with that mark and those mark properties, and its rows under `rows`."""
    specification = chart.to_dict()
    wanted = {"type": mark, **properties}
    [layer] = [layer for layer in specification["layer"] if wanted.items() <= layer["mark"].items()]
    data = layer.get("data", specification.get("data"))
    return layer | {"rows": specification["datasets"][data["name"]]}


# Pictures 1 and 2 ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def over_time(report_data: ReportData) -> pd.DataFrame:
    return report_data["sales_over_time"]


@pytest.fixture(scope="module")
def by_venue(report_data: ReportData) -> pd.DataFrame:
    return report_data["sales_by_venue"]


def test_bars_are_festivals_with_a_place_for_years_without_one_and_pale_while_on_sale(over_time: pd.DataFrame) -> None:
    """A missing 2020 must read as a gap, not as 2019 next to 2021."""
    chart = charts.sales_by_festival_chart(over_time, WIDE)
    bars = layer_of(chart, "bar")
    sold = over_time.groupby("festival_year")["tickets_sold"].sum()
    assert {row["festival_year"]: row["tickets_sold"] for row in bars["rows"]} == dict(sold)
    assert bars["encoding"]["y"]["field"] == "tickets_sold"
    assert bars["encoding"]["x"]["scale"]["domain"] == list(range(2002, FESTIVAL_ON_SALE + 1))
    assert layer_of(chart, "text", text="no festival")["rows"] == [{"festival_year": 2020}]
    # Sales that are not final must not be taken for a bad year; pale alone would not do in print.
    looks = {row["festival_year"]: (row["fill"], row["outline"]) for row in bars["rows"]}
    assert looks.pop(FESTIVAL_ON_SALE) == (INK["accent-pale"], INK["accent"])
    assert set(looks.values()) == {(INK["accent"], "transparent")}
    assert [row["festival_year"] for row in layer_of(chart, "text", text="on sale")["rows"]] == [FESTIVAL_ON_SALE]


@pytest.mark.parametrize("top_venues", [1, 3])
def test_venues_stand_by_rank_with_figures_and_top_ones_have_colours(by_venue: pd.DataFrame, top_venues: int) -> None:
    sales = by_venue.sample(frac=1, random_state=1).assign(is_top_venue=lambda rows: rows.venue_rank <= top_venues)
    bars = layer_of(charts.sales_by_venue_chart(sales, WIDE), "bar")
    by_rank = by_venue.drop_duplicates("venue_id").sort_values("venue_rank")
    rows = sorted(bars["rows"], key=lambda row: row["bar_at"])
    assert [row["total_tickets_sold"] for row in rows] == list(by_rank["total_tickets_sold"])
    best = rows[0]
    assert best["name"] == ["1. The Long Meadow"]
    assert best["figures"] == f"{best['total_tickets_sold']:,}  ·  {percent(best['share_of_tickets'])}"
    colours = [venue_colour(rank) for rank in range(1, top_venues + 1)] + [INK["rest"]] * (9 - top_venues)
    assert [row["colour"] for row in rows] == colours


def test_lines_of_venues_break_without_a_festival_and_end_before_the_one_on_sale(by_venue: pd.DataFrame) -> None:
    chart = charts.venues_over_time_chart(by_venue, WIDE)
    lines, points = layer_of(chart, "line"), layer_of(chart, "point")
    assert lines["mark"]["invalid"] == "break-paths-show-domains"
    assert [row["tickets_of_completed"] for row in lines["rows"] if row["festival_year"] == 2020] == [None] * 9
    on_sale = [row for row in points["rows"] if row["festival_year"] == FESTIVAL_ON_SALE]
    assert {(row["fill"], row["tickets_of_completed"]) for row in on_sale} == {("transparent", None)}
    assert all(row["tickets_sold"] > 0 for row in on_sale)


# Picture 3 -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bands(report_data: ReportData) -> pd.DataFrame:
    return report_data["band_sales"]


def test_top_bands_stand_in_order_with_their_averages_and_intervals(bands: pd.DataFrame) -> None:
    """Bands below the least number of performances have no rank, which turns the column into decimals."""
    bands = bands.assign(rank_in_venue=bands["rank_in_venue"].where(bands["is_top_band"], np.nan))
    chart = band_sales_chart(bands, 1)
    dots = sorted(layer_of(chart, "point")["rows"], key=lambda row: row["dot_at"])
    top_bands = bands.query("venue_rank == 1 and is_top_band")
    names = [f"{rank}. {name}" for rank, name in enumerate(top_bands["band_name"], 1)]
    assert [" ".join(row["name"]) for row in dots] == names
    assert [row["avg_tickets_per_performance"] for row in dots] == list(top_bands["avg_tickets_per_performance"])
    interval = layer_of(chart, "rule")["encoding"]
    assert (interval["x"]["field"], interval["x2"]["field"]) == ("expected_low", "expected_high")
    assert layer_of(chart, "tick", thickness=2)["encoding"]["x"]["field"] == "expected_tickets"
    assert len(layer_of(chart, "tick", thickness=1)["rows"]) == len(bands.query("venue_rank == 1"))


@pytest.mark.parametrize("venue", [1, 2])
def test_bands_that_the_verdict_names_have_the_colour_of_the_venue_and_one_show_is_hollow(
    bands: pd.DataFrame, venue: int
) -> None:
    rows = layer_of(band_sales_chart(bands, venue), "point")["rows"]
    named = {row["band_name"] for row in rows if row["colour"] == venue_colour(venue)}
    assert named == {row["band_name"] for row in rows if row["verdict"] in ("must invite", "near-equals")}
    assert named
    for row in rows:
        assert row["fill"] == (INK["surface"] if row["performances"] == 1 else row["colour"])


def test_a_chance_is_never_certain() -> None:
    chances = (1.0, 0.994, 0.5, 0.006, 0.0)
    assert [chance_text(chance) for chance in chances] == ["over 99 %", "99 %", "50 %", "1 %", "under 1 %"]


def test_luck_and_limits_of_a_leader_are_said(bands: pd.DataFrame) -> None:
    """One show proves little, and a sold-out performance could have sold more."""
    bands = bands.assign(verdict=bands.verdict.replace("must invite", "leads on one show"), sold_out_performances=1)
    leader = layer_of(band_sales_chart(bands, 1), "point")["rows"][0]
    assert leader["chance"] == "the best, by its only show"
    assert leader["figures"] == "≥ 2,650"


def test_every_venue_has_the_same_scale(bands: pd.DataFrame) -> None:
    """Side by side, equal lengths must mean equal averages."""
    first, *others = [
        layer_of(band_sales_chart(bands, venue), "point")["encoding"]["x"]["scale"]["domain"] for venue in (1, 2, 3)
    ]
    assert others == [first] * 2
    assert first[0] < 2020
    assert first[1] > 2660


def test_every_average_has_its_place_where_no_band_has_played_often_enough(bands: pd.DataFrame) -> None:
    unranked = bands.assign(rank_in_venue=np.nan, is_top_band=False)
    for chart in (band_sales_chart(bands.where(bands.venue_rank.ne(1), unranked), 1), band_sales_chart(unranked, 1)):
        strip = layer_of(chart, "tick", thickness=1)
        averages = [row["avg_tickets_per_performance"] for row in strip["rows"]]
        assert max(averages) <= strip["encoding"]["x"]["scale"]["domain"][1]
        assert chart.height > max(row["strip_at"] for row in strip["rows"])


# Names and labels ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("The Orchestra of Greater Travis County", ["The Orchestra of", "Greater Travis", "County"]),
        ("東京の夜の音楽隊と友だち", ["東京の夜の音楽隊", "と友だち"]),
        ("W" * 200, [*["W" * 16] * 4, "…"]),
    ],
)
def test_a_long_name_takes_more_lines_and_only_an_endless_one_is_cut(name: str, lines: list[str]) -> None:
    assert lines_of(name, 16) == lines


def test_a_row_is_as_high_as_the_name_of_its_band_needs(bands: pd.DataFrame) -> None:
    rows = layer_of(band_sales_chart(bands, 3), "rect")["rows"]
    assert [upper["bottom"] for upper in rows[:-1]] == [lower["top"] for lower in rows[1:]]
    heights = {len(row["name"]): row["bottom"] - row["top"] for row in rows}
    assert heights[3] - heights[1] == 30
    # Lines of text have a fixed height, so nothing else may be scaled to make room for the axis.
    short = bands[bands.venue_rank.eq(3) & bands.band_name.eq("007")]
    drawn = svg_of(band_sales_chart(short, 3))
    assert re.findall(r'aria-label=.*? d="M0,0h[0-9]+v([0-9.]+)h', drawn) == [f"{heights[1]}"]


def test_every_mark_is_labelled_with_a_name_and_its_figures_as_text(by_venue: pd.DataFrame) -> None:
    """The page shows the label to people who point at a mark, and screen readers read it."""
    name = '<b onload="x">\n&amp;\u2028 ]]>'
    drawn = svg_of(charts.sales_by_venue_chart(by_venue.replace("The Long Meadow", name), MEDIUM))
    best, *_ = [mark for mark in ElementTree.fromstring(drawn).iter() if mark.get("aria-label")]  # noqa: S314, drawn here
    total = by_venue.query("venue_rank == 1").total_tickets_sold.iloc[0]
    assert best.get("aria-label", "").startswith(f'<b onload="x"> &amp; ]]>\nRank: 1\nTickets: {total:,}\n')
    assert "<b" not in drawn


# Ticks ---------------------------------------------------------------------------------------------------------------


def tick_labels(chart: alt.LayerChart) -> list[list[str]]:
    """The labels that can be read on each axis of the drawn chart."""
    drawn = ElementTree.fromstring(svg_of(chart))  # noqa: S314, drawn here
    axes = drawn.findall(".//{*}g[@class='mark-text role-axis-label']")
    return [
        [str(label.text) for label in axis.findall("{*}text") if label.text and label.get("opacity") != "0"]
        for axis in axes
    ]


def festival_sales(festivals: int, months: Sequence[int] = range(2, 11), tickets: int = 1000) -> pd.DataFrame:
    """Grain festival year x sale month: as many festivals, the last one in 2021."""
    return pd.DataFrame(
        [(year, f"{year}-{month:02}-01", tickets) for year in range(2022 - festivals, 2022) for month in months],
        columns=["festival_year", "sale_month", "tickets_sold"],
    ).assign(revenue=1, is_completed=True)


@pytest.mark.parametrize("width", [NARROW, WIDE])
@pytest.mark.parametrize("festivals", [1, 20])
def test_every_tick_is_a_festival_or_a_month_of_its_own(by_venue: pd.DataFrame, festivals: int, width: int) -> None:
    sales, years = festival_sales(festivals), [str(year) for year in range(2022 - festivals, 2022)]
    of_venues = by_venue[by_venue.festival_year.between(2022 - festivals, 2021)]
    by_festival, _ = tick_labels(charts.sales_by_festival_chart(sales, width=width))
    by_month, _ = tick_labels(charts.sales_by_month_chart(sales, width=width))
    over_time, _ = tick_labels(charts.venues_over_time_chart(of_venues, width=width))
    for labels in (by_festival, by_month, over_time):
        assert labels
        assert len(set(labels)) == len(labels)
    assert {label[-2:] for label in by_festival} <= {year[-2:] for year in years}
    assert set(over_time) <= set(years)
    assert by_month[0] == ("Feb " if festivals < 3 else "") + years[0]


@pytest.mark.parametrize(("months", "expected"), [([9, 10], ["Sep 2021", "Oct 2021"]), ([12], ["Dec 2021"])])
def test_few_months_have_one_label_each(months: list[int], expected: list[str]) -> None:
    assert tick_labels(charts.sales_by_month_chart(festival_sales(1, months), MEDIUM))[0] == expected


@pytest.mark.parametrize(("tickets", "expected"), [(1, ["0", "1"]), (1500, ["0", "500", "1k", "1.5k"])])
def test_tickets_are_counted_in_whole_ones(tickets: int, expected: list[str]) -> None:
    sales = festival_sales(1, [9], tickets)
    for draw in (charts.sales_by_festival_chart, charts.sales_by_month_chart):
        assert tick_labels(draw(sales, width=MEDIUM))[1] == expected


# Every picture -------------------------------------------------------------------------------------------------------


def test_colours_are_variables_of_the_page(report_file: Path) -> None:
    """A fixed colour would not follow the page into dark mode."""
    drawings = "".join(re.findall("<svg .*?</svg>", report_file.read_text(encoding="utf-8"), flags=re.DOTALL))
    assert not re.findall(r'"#[0-9a-f]{3,8}"', drawings)
    assert set(re.findall(r"var\(--([a-z0-9-]+)\)", drawings)) <= set(PAPER) == set(DARK)
