"""The pictures as specifications: what is encoded how, independent of how it is painted."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import date
from typing import Any
from xml.etree import ElementTree

import altair as alt
import numpy as np
import pandas as pd
import pytest
import vl_convert
from report.sample_warehouse import FESTIVAL_ON_SALE, SampleWarehouse

from acl_assets.report import charts
from acl_assets.report.band_charts import band_sales_chart, band_sales_of_top_venues_chart, chance_text
from acl_assets.report.drawing import DARK, PAGE, PAPER, Palette

DATA_PRODUCT = {
    charts.ticket_sales_over_time_chart: "ticket_sales_over_time",
    charts.ticket_sales_by_month_chart: "ticket_sales_over_time",
    charts.ticket_sales_by_venue_chart: "ticket_sales_by_venue",
    charts.venue_sales_over_time_chart: "ticket_sales_by_venue",
}


def layers(chart: alt.LayerChart) -> list[dict[str, Any]]:
    """The layers of the validated specification, each with its rows under `rows`."""
    specification = chart.to_dict()
    datasets = specification["datasets"]
    shared = specification.get("data")
    return [layer | {"rows": datasets[layer.get("data", shared)["name"]]} for layer in specification["layer"]]


def layer_of(chart: alt.LayerChart, mark: str, **properties: object) -> dict[str, Any]:
    """The one layer with that mark and those mark properties."""
    wanted = {"type": mark, **properties}
    [found] = [layer for layer in layers(chart) if wanted.items() <= layer["mark"].items()]
    return found


def band_chart(warehouse: SampleWarehouse, venue: int, **options: Any) -> alt.LayerChart:
    return band_sales_chart(warehouse.products["band_sales_by_venue"], venue, venue, **options)


class TestTicketSalesOverTime:
    def test_bars_are_the_tickets_of_each_festival(self, warehouse: SampleWarehouse) -> None:
        sales = warehouse.products["ticket_sales_over_time"]
        bars = layer_of(charts.ticket_sales_over_time_chart(sales), "bar")
        assert {row["festival_year"]: row["tickets_sold"] for row in bars["rows"]} == dict(
            sales.groupby("festival_year")["tickets_sold"].sum()
        )
        assert bars["encoding"]["y"]["field"] == "tickets_sold"

    def test_a_year_without_a_festival_keeps_its_place_and_is_named(self, warehouse: SampleWarehouse) -> None:
        """A missing 2020 must read as a gap, not as 2019 next to 2021."""
        chart = charts.ticket_sales_over_time_chart(warehouse.products["ticket_sales_over_time"])
        assert layer_of(chart, "bar")["encoding"]["x"]["scale"]["domain"] == list(range(2002, FESTIVAL_ON_SALE + 1))
        assert layer_of(chart, "text", text="no festival")["rows"] == [{"festival_year": 2020}]

    def test_only_the_festival_on_sale_is_pale_outlined_and_labelled(self, warehouse: SampleWarehouse) -> None:
        """Sales that are not final must not be taken for a bad year; pale alone would not do in print."""
        chart = charts.ticket_sales_over_time_chart(warehouse.products["ticket_sales_over_time"])
        bars = layer_of(chart, "bar")
        looks = {row["festival_year"]: (row["fill"], row["outline"]) for row in bars["rows"]}
        assert looks.pop(FESTIVAL_ON_SALE) == (PAPER.accent_pale, PAPER.accent)
        assert set(looks.values()) == {(PAPER.accent, "transparent")}
        assert bars["encoding"]["fill"] == {"field": "fill", "scale": None, "type": "nominal"}
        assert [row["festival_year"] for row in layer_of(chart, "text", text="on sale")["rows"]] == [FESTIVAL_ON_SALE]

    @pytest.mark.parametrize(("on_sale", "stands_above_its_bar"), [(900, False), (100, True)])
    def test_the_words_on_sale_stand_where_there_is_room(self, on_sale: int, stands_above_its_bar: bool) -> None:
        """Inside a tall bar, above a short one."""
        sales = pd.DataFrame(
            [(2021, "2021-05-01", 1000, 1, True), (2022, "2022-05-01", on_sale, 1, False)],
            columns=["festival_year", "sale_month", "tickets_sold", "revenue", "is_completed"],
        )
        [row] = layer_of(charts.ticket_sales_over_time_chart(sales), "text", text="on sale")["rows"]
        assert row["note_at"] == (on_sale if stands_above_its_bar else 0)

    def test_months_hold_every_row_and_follow_the_chosen_festival(self, warehouse: SampleWarehouse) -> None:
        sales = warehouse.products["ticket_sales_over_time"]
        bars = layer_of(charts.ticket_sales_by_month_chart(sales), "bar")
        assert [(row["sale_month"], row["tickets_sold"]) for row in bars["rows"]] == [
            (str(month), tickets) for month, tickets in zip(sales["sale_month"], sales["tickets_sold"], strict=True)
        ]
        assert bars["transform"] == [{"filter": "festival === null || datum.festival_year === festival"}]


class TestTicketSalesByVenue:
    def test_venues_stand_in_the_order_of_their_rank(self, warehouse: SampleWarehouse) -> None:
        sales = warehouse.products["ticket_sales_by_venue"].sample(frac=1, random_state=1)
        bars = layer_of(charts.ticket_sales_by_venue_chart(sales), "bar")
        by_rank = sales.drop_duplicates("venue_id").sort_values("venue_rank")
        assert bars["encoding"]["y"]["sort"] == list(by_rank["venue_id"])
        assert [row["total_tickets_sold"] for row in bars["rows"]] == list(by_rank["total_tickets_sold"])

    def test_top_venues_have_colours_of_their_own_and_the_rest_are_muted(self, warehouse: SampleWarehouse) -> None:
        bars = layer_of(charts.ticket_sales_by_venue_chart(warehouse.products["ticket_sales_by_venue"]), "bar")
        colours = [row["colour"] for row in bars["rows"]]
        assert colours == [PAPER.venue_1, PAPER.venue_2, PAPER.venue_3] + [PAPER.rest] * 6

    def test_what_is_top_is_taken_from_the_data(self, warehouse: SampleWarehouse) -> None:
        """How many venues are top is a setting of the models, not of the picture."""
        sales = warehouse.products["ticket_sales_by_venue"]
        one_top = sales.assign(is_top_venue=sales["venue_rank"] == 1)
        colours = [row["colour"] for row in layer_of(charts.ticket_sales_by_venue_chart(one_top), "bar")["rows"]]
        assert colours == [PAPER.venue_1] + [PAPER.rest] * 8

    def test_tickets_and_share_are_written_beside_each_name(self, warehouse: SampleWarehouse) -> None:
        chart = charts.ticket_sales_by_venue_chart(warehouse.products["ticket_sales_by_venue"])
        best = layer_of(chart, "text", align="right")["rows"][0]
        assert best["ranked_name"] == "1. Live Oak Meadow"
        assert best["figures"] == f"{best['total_tickets_sold']:,}  ·  {best['share_of_tickets']:.0%}"

    def test_lines_break_where_there_was_no_festival(self, warehouse: SampleWarehouse) -> None:
        lines = layer_of(charts.venue_sales_over_time_chart(warehouse.products["ticket_sales_by_venue"]), "line")
        assert lines["mark"]["invalid"] == "break-paths-show-domains"
        in_2020 = [row["tickets_of_completed"] for row in lines["rows"] if row["festival_year"] == 2020]
        assert in_2020 == [None] * 9

    def test_a_festival_on_sale_is_hollow_and_off_the_line(self, warehouse: SampleWarehouse) -> None:
        chart = charts.venue_sales_over_time_chart(warehouse.products["ticket_sales_by_venue"])
        points = layer_of(chart, "point")
        on_sale = [row for row in points["rows"] if row["festival_year"] == FESTIVAL_ON_SALE]
        assert {(row["fill"], row["tickets_of_completed"]) for row in on_sale} == {("transparent", None)}
        assert all(row["tickets_sold"] > 0 for row in on_sale)
        assert points["encoding"]["fill"]["field"] == "fill"


class TestBandSales:
    def test_the_top_bands_stand_in_the_order_of_their_rank(self, warehouse: SampleWarehouse) -> None:
        rows = layer_of(band_chart(warehouse, 1), "point")["rows"]
        bands = warehouse.products["band_sales_by_venue"].query("venue_id == 1 and is_top_band")
        assert [row["band_name"] for row in sorted(rows, key=lambda row: row["dot_at"])] == list(bands["band_name"])
        assert [row["avg_tickets_per_performance"] for row in rows] == list(bands["avg_tickets_per_performance"])

    def test_a_dot_is_hollow_when_it_rests_on_one_performance(self, warehouse: SampleWarehouse) -> None:
        rows = layer_of(band_chart(warehouse, 1), "point")["rows"]
        assert {row["fill"] == PAPER.surface for row in rows if row["performances"] == 1} == {True}
        assert {row["fill"] == row["colour"] for row in rows if row["performances"] > 1} == {True}

    def test_interval_and_expectation_are_those_of_the_data_product(self, warehouse: SampleWarehouse) -> None:
        chart = band_chart(warehouse, 1)
        interval = layer_of(chart, "rule")["encoding"]
        assert (interval["x"]["field"], interval["x2"]["field"]) == ("expected_low", "expected_high")
        assert layer_of(chart, "tick", thickness=2)["encoding"]["x"]["field"] == "expected_tickets"

    @pytest.mark.parametrize("venue", [1, 2, 3])
    def test_only_bands_that_the_verdict_names_have_the_colour_of_the_venue(
        self, warehouse: SampleWarehouse, venue: int
    ) -> None:
        rows = layer_of(band_chart(warehouse, venue), "point")["rows"]
        named = {row["band_name"] for row in rows if row["colour"] == PAPER.venue(venue)}
        assert named == {row["band_name"] for row in rows if row["verdict"] in ("must invite", "near-equals")}
        assert named

    def test_a_chance_is_never_certain(self) -> None:
        assert [chance_text(chance) for chance in (1.0, 0.994, 0.5, 0.006, 0.0)] == [
            "over 99 %", "99 %", "50 %", "1 %", "under 1 %",
        ]  # fmt: skip

    def test_a_leader_that_played_once_is_not_called_sure(self, warehouse: SampleWarehouse) -> None:
        bands = warehouse.products["band_sales_by_venue"]
        bands = bands.assign(verdict=bands["verdict"].replace("must invite", "leads on one show"))
        assert layer_of(band_sales_chart(bands, 1, 1), "point")["rows"][0]["chance"] == "the best, by its only show"

    def test_an_average_with_a_sold_out_performance_is_a_least_figure(self, warehouse: SampleWarehouse) -> None:
        bands = warehouse.products["band_sales_by_venue"].assign(sold_out_performances=1)
        rows = layer_of(band_sales_chart(bands, 1, 1), "point")["rows"]
        assert rows[0]["figures"] == "≥ 2,790"

    def test_the_strip_shows_every_band_of_the_venue(self, warehouse: SampleWarehouse) -> None:
        strip = layer_of(band_chart(warehouse, 1), "tick", thickness=1)
        assert len(strip["rows"]) == len(warehouse.products["band_sales_by_venue"].query("venue_id == 1"))

    def test_every_venue_has_the_same_scale(self, warehouse: SampleWarehouse) -> None:
        """Side by side, equal lengths must mean equal averages."""
        domains = [
            layer_of(band_chart(warehouse, venue), "point")["encoding"]["x"]["scale"]["domain"] for venue in (1, 2, 3)
        ]
        assert domains == [domains[0]] * 3
        assert domains[0][0] < 1900
        assert domains[0][1] > 2790

    def test_bands_that_are_not_ranked_are_not_drawn_and_leave_ranks_whole(self, warehouse: SampleWarehouse) -> None:
        """Bands below the least number of performances have no rank, which turns the column into decimals."""
        bands = warehouse.products["band_sales_by_venue"]
        unranked = bands.assign(rank_in_venue=bands["rank_in_venue"].where(bands["is_top_band"], np.nan))
        rows = layer_of(band_sales_chart(unranked, 1, 1), "point")["rows"]
        assert [row["ranked_name"] for row in rows][:2] == ["1. The Velvet Cicadas", "2. NULL"]

    def test_the_standalone_picture_holds_every_top_venue(self, warehouse: SampleWarehouse) -> None:
        products = warehouse.products
        standings = charts.venue_standings(products["ticket_sales_by_venue"])
        chart = band_sales_of_top_venues_chart(
            products["band_sales_by_venue"], standings, products["venue_verdicts"], 900
        )
        titles = [panel["title"] for panel in chart.to_dict()["hconcat"]]
        assert [title["text"] for title in titles] == list(standings["venue_name"][:3])
        assert titles[0]["subtitle"] == "Must invite: one band leads clearly"


def tick_labels(chart: alt.LayerChart, **parameters: object) -> list[list[str]]:
    """The labels that can be read on each axis of the drawn chart, its parameters set to other values."""
    specification = chart.to_dict()
    for parameter in specification.get("params", []):
        parameter["value"] = parameters.get(parameter["name"])
    drawn = ElementTree.fromstring(vl_convert.vegalite_to_svg(specification))  # noqa: S314, drawn here
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


def venue_sales(festivals: int, tickets: int = 1000) -> pd.DataFrame:
    """Grain venue x festival year, of one venue."""
    totals = ["share_of_tickets", "total_tickets_sold", "total_revenue", "total_performances"]
    return pd.DataFrame({"festival_year": range(2022 - festivals, 2022)}).assign(
        venue_id=1,
        venue_name="Live Oak Meadow",
        is_completed=True,
        is_top_venue=True,
        performances=1,
        tickets_sold=tickets,
        **dict.fromkeys([*totals, "capacity", "venue_rank"], 1),
    )


class TestTicks:
    @pytest.mark.parametrize("width", [300, 1100])
    @pytest.mark.parametrize("festivals", [1, 3, 20])
    def test_every_tick_is_a_festival_or_a_month_of_its_own(self, festivals: int, width: int) -> None:
        sales, years = festival_sales(festivals), [str(year) for year in range(2022 - festivals, 2022)]
        by_festival, _ = tick_labels(charts.ticket_sales_over_time_chart(sales, width=width))
        by_month, _ = tick_labels(charts.ticket_sales_by_month_chart(sales, width=width))
        in_2021, _ = tick_labels(charts.ticket_sales_by_month_chart(sales, width=width), festival=2021)
        by_venue, _ = tick_labels(charts.venue_sales_over_time_chart(venue_sales(festivals), width=width))
        for labels in (by_festival, by_month, in_2021, by_venue):
            assert labels
            assert len(set(labels)) == len(labels)
        assert {label[-2:] for label in by_festival} <= {year[-2:] for year in years}
        assert set(by_venue) <= set(years)
        assert set(in_2021) <= {f"{date(2021, month, 1):%b} 2021" for month in range(2, 11)}
        assert by_month[0] == ("Feb " if festivals < 3 else "") + years[0]

    @pytest.mark.parametrize(
        ("months", "expected"), [([9], ["Sep 2021"]), ([9, 10], ["Sep 2021", "Oct 2021"]), ([12], ["Dec 2021"])]
    )
    @pytest.mark.parametrize("festival", [None, 2021])
    def test_few_months_have_one_label_each(self, months: list[int], expected: list[str], festival: int | None) -> None:
        chart = charts.ticket_sales_by_month_chart(festival_sales(1, months), width=600)
        assert tick_labels(chart, festival=festival)[0] == expected

    def test_months_more_than_a_year_apart_are_told_apart(self) -> None:
        sales = festival_sales(1, [12]).assign(sale_month=["2020-12-01"])
        chart = charts.ticket_sales_by_month_chart(pd.concat([sales, festival_sales(1, [12])]), width=1100)
        labels, _ = tick_labels(chart, festival=2021)
        assert labels[0] == "Dec 2020"
        assert labels[-1] == "Dec 2021"
        assert len(set(labels)) == len(labels) >= 7

    @pytest.mark.parametrize(
        ("tickets", "expected"),
        [
            (0, ["0"]),
            (1, ["0", "1"]),
            (2, ["0", "1", "2"]),
            (3, ["0", "1", "2", "3"]),
            (1500, ["0", "500", "1k", "1.5k"]),
        ],
    )
    def test_tickets_are_counted_in_whole_ones(self, tickets: int, expected: list[str]) -> None:
        sales = festival_sales(1, [9], tickets)
        for chart in (
            charts.ticket_sales_over_time_chart(sales, width=600),
            charts.ticket_sales_by_month_chart(sales, width=600),
            charts.venue_sales_over_time_chart(venue_sales(1, tickets), width=600),
        ):
            assert tick_labels(chart)[1] == expected

    @pytest.mark.parametrize(
        ("average", "expected"),
        [(0.5, ["0", "0.2", "0.4", "0.6", "0.8", "1"]), (1.5, ["0", "1", "2", "3"]), (2790, ["0", "2k", "4k"])],
    )
    def test_averages_below_a_thousand_are_plain_numbers(
        self, warehouse: SampleWarehouse, average: float, expected: list[str]
    ) -> None:
        bands = warehouse.products["band_sales_by_venue"].query("venue_id == 1").head(1)
        bands = bands.assign(
            avg_tickets_per_performance=average, expected_low=0.0, expected_tickets=average, expected_high=2 * average
        )
        assert tick_labels(band_sales_chart(bands, 1, 1, width=350)) == [expected]


class TestEveryPicture:
    @pytest.fixture(params=[*DATA_PRODUCT, band_sales_chart], ids=lambda draw: draw.__name__)
    def draw(self, request: pytest.FixtureRequest) -> Callable[..., alt.LayerChart]:
        """Draw one picture of a warehouse: `draw(warehouse, palette=…, rows=…)`, `rows` cutting the data short."""

        def drawn(warehouse: SampleWarehouse, rows: int | None = None, **options: Any) -> alt.LayerChart:
            if request.param is band_sales_chart:
                return request.param(warehouse.products["band_sales_by_venue"].head(rows), 1, 1, **options)
            return request.param(warehouse.products[DATA_PRODUCT[request.param]].head(rows), **options)

        return drawn

    def test_is_valid_and_can_be_painted(self, warehouse: SampleWarehouse, draw: Callable[..., alt.LayerChart]) -> None:
        svg = vl_convert.vegalite_to_svg(draw(warehouse, width=600).to_dict())
        assert svg.count("<path") > 8

    @pytest.mark.parametrize("rows", [0, 1])
    def test_can_be_painted_with_hardly_any_data(
        self, warehouse: SampleWarehouse, draw: Callable[..., alt.LayerChart], rows: int
    ) -> None:
        assert "<svg" in vl_convert.vegalite_to_svg(draw(warehouse, rows=rows, width=600).to_dict())

    def test_uses_known_variables_for_all_colours_on_the_page_and_nowhere_else(
        self, warehouse: SampleWarehouse, draw: Callable[..., alt.LayerChart]
    ) -> None:
        """A fixed colour would not follow the page into dark mode."""
        assert "var(" not in draw(warehouse).to_json()
        specification = draw(warehouse, palette=PAGE).to_json()
        assert not re.findall(r'"#[0-9a-f]{3,8}"', specification)
        defined = set(re.findall(r"(--[a-z0-9-]+):", PAPER.css()))
        assert set(re.findall(r"var\((--[a-z0-9-]+)\)", specification)) <= defined


class TestPalettes:
    @staticmethod
    def contrast(one: str, other: str) -> float:
        """Contrast ratio as WCAG 2 defines it."""

        def luminance(colour: str) -> float:
            parts = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
            red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
            return 0.2126 * red + 0.7152 * green + 0.0722 * blue

        lighter, darker = sorted([luminance(one), luminance(other)], reverse=True)
        return (lighter + 0.05) / (darker + 0.05)

    @pytest.mark.parametrize("palette", [PAPER, DARK], ids=["light", "dark"])
    def test_text_and_top_venues_have_the_contrast_of_wcag_2_aa(self, palette: Palette) -> None:
        """4.5 to 1 for running text, 3 to 1 for graphics."""
        for text in (palette.ink, palette.soft_ink, palette.warning):
            for ground in (palette.background, palette.surface, palette.band):
                assert self.contrast(text, ground) >= 4.5
        for rank in (1, 2, 3):
            assert self.contrast(palette.venue(rank), palette.surface) >= 3
        assert palette.venue(6) == palette.venue(1)
