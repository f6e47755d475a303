"""The report as people meet it: opened in a browser, on a screen, a phone, at night and on paper."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from browser import OpenedPage
from playwright.sync_api import expect
from report.sample_warehouse import FESTIVAL_ON_SALE, SampleWarehouse, invented_performances, sample_warehouse

from acl_assets.report.drawing import DARK, PAPER
from acl_assets.report.page import read_report_data, write_report

pytestmark = pytest.mark.server

OpenPage = Callable[..., OpenedPage]
CHARTS = [
    "sales-by-festival",
    "sales-by-month",
    "sales-by-venue",
    "venues-over-time",
    "bands-at-venue-1",
    "bands-at-venue-2",
    "bands-at-venue-3",
]
HOSTILE_NAMES = {
    "The Velvet Cicadas": "</script><script>alert('escaped')</script>",
    "Mañana Ghost": '<img src="https://example.com/x.png" onerror="alert(1)">',
    "Okra Moonshine": "{{ 7 * 7 }} & \"quotes\" 'single' `back` ${tick}",
    "Dust Bowl Disco": "🎸 Émilie \u202eright to left\u202c, Ünïcode",
    "Neon Armadillo": "A" * 300,
    "Agave Choir": "line\nbreak\ttab",
}


@pytest.fixture
def opened(open_page: OpenPage) -> Callable[..., OpenedPage]:
    """Open a report and wait until its charts are painted."""

    def open_report(report_file: Path, **options: object) -> OpenedPage:
        opened_page = open_page(report_file, **options)
        opened_page.page.wait_for_selector("html[data-painted]", state="attached")
        return opened_page

    return open_report


@pytest.fixture
def written(tmp_path: Path) -> Callable[[SampleWarehouse], Path]:
    """Write the report of a warehouse."""

    def write(warehouse: SampleWarehouse) -> Path:
        data = read_report_data(warehouse.write(tmp_path / "acl.duckdb"), "America/Chicago")
        target = tmp_path / "index.html"
        write_report(data, target)
        return target

    return write


def table(opened_page: OpenedPage, name: str) -> list[list[str]]:
    """The text of a table's body rows, cell by cell, whether shown or folded away."""
    rows = "rows => rows.map(row => [...row.cells].map(cell => cell.textContent.trim()))"
    return opened_page.page.locator(f"#{name} tbody tr").evaluate_all(rows)


def test_every_picture_is_painted_and_described_without_network_requests_and_errors(
    opened: OpenPage, report_file: Path
) -> None:
    report = opened(report_file)
    page = report.page
    assert report.requests == [report_file.as_uri()]
    assert report.complaints == []
    marks = "charts => Object.fromEntries(charts.map(c => [c.id, c.querySelectorAll('svg path[aria-label]').length]))"
    painted = page.locator(".chart").evaluate_all(marks)
    assert list(painted) == CHARTS
    assert all(count >= 8 for count in painted.values())

    # For readers who cannot see it.
    assert page.locator("html").get_attribute("lang") == "en"
    assert page.locator("h1").count() == 1
    described = "charts => charts.filter(c => c.matches('[role=graphics-document][aria-label]')).length"
    assert page.locator(".chart").evaluate_all(described) == len(CHARTS)
    headed = "tables => tables.every(t => t.caption && t.tHead.querySelector('th[scope=col]'))"
    assert page.locator("table").evaluate_all(headed)
    assert page.get_by_label("Tickets per month of sale").count() == 1


def test_the_answer_comes_first_and_the_tables_hold_the_figures_of_the_data_products(
    opened: OpenPage, report_file: Path, warehouse: SampleWarehouse
) -> None:
    report = opened(report_file)
    page = report.page
    assert page.locator("h1").inner_text() == (
        "Three venues sold 65% of all tickets: one has a must-invite and two have near-equals."
    )
    cards = page.locator(".card").all_inner_texts()
    assert [card.splitlines()[2] for card in cards] == [
        "Live Oak Meadow",
        "Zilker Bend Stage",
        "Barton Creek Amphitheatre",
    ]
    assert "MUST INVITE" in cards[0]
    assert "The Velvet Cicadas" in cards[0]
    assert "NEAR-EQUALS" in cards[1]
    assert page.locator("#answer .notice").inner_text().startswith(f"{FESTIVAL_ON_SALE} is still on sale.")
    assert page.locator("#sales-by-festival svg text", has_text="on sale").count() == 1

    festivals = warehouse.products["ticket_sales_over_time"].groupby("festival_year")["tickets_sold"].sum()
    assert [row[:2] for row in table(report, "festivals-table")] == [
        [str(year), f"{tickets:,}"] for year, tickets in festivals.items()
    ]
    venues = warehouse.products["ticket_sales_by_venue"].drop_duplicates("venue_id").sort_values("venue_rank")
    assert [row[1:3] for row in table(report, "venues-table")] == [
        [name, f"{tickets:,}"] for name, tickets in zip(venues.venue_name, venues.total_tickets_sold, strict=True)
    ]
    candidates = warehouse.products["all_star_candidates"]
    shown = [row for row in table(report, "candidates-table") if len(row) > 1]
    assert [(*row[:4], row[8].split(maxsplit=1)[1]) for row in shown] == [
        (
            str(row.rank_in_venue),
            row.band_name,
            f"{row.avg_tickets_per_performance:,.0f}",
            str(row.performances),
            row.verdict,
        )
        for row in candidates.itertuples()
    ]


def test_pointing_and_choosing_bring_out_bands_festivals_and_venues(
    opened: OpenPage, report_file: Path, warehouse: SampleWarehouse
) -> None:
    page = opened(report_file).page
    page.locator("#bands-at-venue-1 svg text", has_text="1. The Velvet Cicadas").hover()
    tooltip = page.locator("#vg-tooltip-element.visible")
    assert "The Velvet Cicadas" in tooltip.inner_text()
    assert re.search(r"Average per performance:?\s*2,790\.0", tooltip.inner_text())

    sales = warehouse.products["ticket_sales_over_time"]
    months = page.locator("#sales-by-month svg path[aria-roledescription='bar']")
    expect(months).to_have_count(len(sales))
    page.select_option("#festival-choice", "2015")
    expect(months).to_have_count(int((sales.festival_year == 2015).sum()))
    festival = page.locator("#sales-by-festival svg path[aria-label*='Festival: 2013']")
    for choice in ("2013", ""):
        festival.click()
        assert page.locator("#festival-choice").input_value() == choice

    faint = page.locator("#venues-over-time svg path[aria-roledescription='point'][opacity='0.25']")
    others = warehouse.products["ticket_sales_by_venue"].venue_name != "Pecan Street Yard"
    button = page.get_by_role("button", name="Pecan Street Yard")
    button.focus()
    page.keyboard.press("Enter")
    expect(button).to_have_attribute("aria-pressed", "true")
    expect(faint).to_have_count(int(others.sum()))
    page.keyboard.press("Enter")
    expect(faint).to_have_count(0)


def test_on_a_phone_nothing_is_wider_than_the_screen(opened: OpenPage, report_file: Path) -> None:
    """A chart that is only scaled down has letters too small to read, so charts are drawn for the width."""
    page = opened(report_file, width=390).page
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    drawn = page.locator(".chart svg").evaluate_all("charts => charts.map(chart => chart.viewBox.baseVal.width)")
    assert all(300 < width <= 390 for width in drawn)
    names = page.locator("#candidates-table tbody th[scope=row]")
    assert names.evaluate_all("cells => Math.min(...cells.map(cell => cell.clientWidth))") > 80


def rgb(colour: str) -> str:
    return f"rgb({int(colour[1:3], 16)}, {int(colour[3:5], 16)}, {int(colour[5:7], 16)})"


@pytest.mark.parametrize(
    ("options", "palette"),
    [
        ({"color_scheme": "light"}, PAPER),
        ({"color_scheme": "dark"}, DARK),
        ({"color_scheme": "dark", "media": "print"}, PAPER),
    ],
    ids=["by day", "at night", "printed at night"],
)
def test_page_and_charts_wear_the_same_colours(
    opened: OpenPage, report_file: Path, options: dict[str, str], palette: object
) -> None:
    """Paper is white, whatever the screen it was printed from."""
    worn = opened(report_file, **options).page.evaluate(
        """() => {
            const style = (selector) => getComputedStyle(document.querySelector(selector));
            return {
                background: style("body").backgroundColor,
                ink: style("body").color,
                soft_ink: style("#sales-by-festival svg .role-axis-label text").fill,
                venue_1: style("#sales-by-venue svg path[aria-roledescription='bar']").fill,
            };
        }"""
    )
    assert worn == {name: rgb(getattr(palette, name)) for name in worn}


def test_in_print_charts_fit_the_page_and_controls_are_gone(opened: OpenPage, report_file: Path) -> None:
    """A4 less its margins is 182 mm wide and 269 mm high, 96 pixels to the inch."""
    page = opened(report_file, width=1280).page
    page.set_viewport_size({"width": 688, "height": 1017})
    page.emulate_media(media="print")
    boxes = page.locator("figure").evaluate_all("all => all.map(f => f.getBoundingClientRect().toJSON())")
    assert len(boxes) == len(CHARTS)
    assert all(box["right"] <= 688 and box["height"] <= 1017 for box in boxes)
    assert page.locator("figure").first.evaluate("figure => getComputedStyle(figure).breakInside") == "avoid"
    assert not page.locator("select").is_visible()
    assert not page.locator("details").first.is_visible()
    pages = page.pdf(prefer_css_page_size=True).count(b"/Type /Page\n")
    assert 4 <= pages <= 8


def test_names_that_try_to_break_out_are_shown_as_they_are(
    opened: OpenPage, written: Callable[[SampleWarehouse], Path]
) -> None:
    """Names come from whoever registers a band; in the page, in the charts and in the tooltips they are text."""
    report = opened(written(sample_warehouse(rename_bands=HOSTILE_NAMES)))
    page = report.page
    assert report.dialogs == []
    assert report.complaints == []
    assert len(report.requests) == 1
    assert page.locator("img, iframe, object, embed").count() == 0
    assert page.locator("script").count() == 3
    shown = page.locator("#candidates-table bdi").evaluate_all("names => names.map(name => name.textContent)")
    assert {*HOSTILE_NAMES.values(), "NULL", "'68", "!!!"} <= set(shown)
    page.locator("#bands-at-venue-1 svg text", has_text="1. </script>").hover()
    assert HOSTILE_NAMES["The Velvet Cicadas"] in page.locator("#vg-tooltip-element.visible").inner_text()


def test_names_of_200_characters_without_a_space_stay_readable(
    opened: OpenPage, written: Callable[[SampleWarehouse], Path]
) -> None:
    """On the page they take eight lines at most, in charts one, and tooltips stay on the screen."""
    performances = invented_performances()
    performances["venue_name"] = performances.venue_name.replace("Live Oak Meadow", "W" * 200)
    bands = {"The Velvet Cicadas": "M" * 200, "NULL": "東" * 200, "Okra Moonshine": "i" * 200}
    page = opened(written(sample_warehouse(performances, bands)), width=390).page
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    lines = "names => names.map(n => n.getBoundingClientRect().height / parseFloat(getComputedStyle(n).lineHeight))"
    assert 7.9 < max(page.locator("bdi").evaluate_all(lines)) < 8.1
    assert page.locator(f"bdi[title='{'M' * 200}']").count() == 2
    beyond = """charts => charts.flatMap(chart => {
        const box = chart.getBoundingClientRect();
        const texts = [...chart.querySelectorAll("text:not([opacity='0'])")].map(text => text.getBoundingClientRect());
        return texts.filter(text => text.left < box.left - 1 || text.right > box.right + 1);
    })"""
    assert page.locator(".chart svg").evaluate_all(beyond) == []
    page.locator("#bands-at-venue-1 svg text", has_text="1. MMM").hover()
    tooltip = page.locator("#vg-tooltip-element.visible").bounding_box()
    assert tooltip is not None
    assert tooltip["x"] >= 0 <= tooltip["y"]
    assert tooltip["x"] + tooltip["width"] <= 390
    assert tooltip["y"] + tooltip["height"] <= 900


@pytest.mark.parametrize(
    ("remaining", "charts", "headline", "is_on_sale"),
    [
        (lambda shows: shows.head(0), 0, "There are no completed performances to judge by yet.", False),
        (lambda shows: shows[~shows.is_completed], 2, "There are no completed performances to judge by yet.", True),
        (lambda shows: shows.head(1), 5, "One venue sold 100% of all tickets:", False),
        (lambda shows: shows[shows.is_completed].head(40).assign(tickets_sold=0), 7, "Three venues sold 0%", False),
    ],
    ids=["nothing yet", "only on sale", "one performance", "all unsold"],
)
def test_with_little_data_the_page_still_makes_sense(
    opened: OpenPage,
    written: Callable[[SampleWarehouse], Path],
    *,
    remaining: Callable[[pd.DataFrame], pd.DataFrame],
    charts: int,
    headline: str,
    is_on_sale: bool,
) -> None:
    report = opened(written(sample_warehouse(remaining(invented_performances()))))
    assert report.complaints == []
    assert report.page.locator(".chart svg").count() == report.page.locator(".chart").count() == charts
    assert report.page.locator("h1").inner_text().startswith(headline)
    assert not re.search(r"\b(nan|NaN|None|undefined|Infinity)\b", report.page.locator("body").inner_text())
    assert bool(report.page.get_by_text("is still on sale.").count()) == is_on_sale
