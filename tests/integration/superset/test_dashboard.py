"""The dashboard "ACL all stars" painted in a browser, and compared with the data products.

Painting takes long, so each tab is painted once in a wide and once in a narrow window, and the tests share the result.
"""

import json
import math
from dataclasses import dataclass, field
from typing import Any

import pytest
from playwright.sync_api import Browser, Page
from refreshes import published_rows
from superset.conftest import SupersetUnderTest

from acl_assets.superset.bundle import read_bundle
from acl_assets.superset.client import SupersetClient
from docs.generate.superset_screenshots import WIDTHS, open_dashboard, open_tab, signed_in_page

pytestmark = pytest.mark.server

TABS = ["All stars", "Sales over time", "Venues", "Bands", "Bands and revenue", "Attendance"]
ERRORS = "[role='alert'], .ant-alert, .ant-empty"
COLOURS: dict[str, str] = read_bundle().of_kind("dashboards")[0].content["metadata"]["label_colors"]
# Keep every text with its place in pixels, and every colour of shapes and of lines, since a canvas was last cleared.
RECORD_DRAWING = """(() => {
    const context = CanvasRenderingContext2D.prototype, { clearRect, fill, fillText, stroke } = context;
    context.clearRect = function (...area) {
        Object.assign(this.canvas, { texts: [], colours: [], lines: [] });
        return clearRect.apply(this, area);
    };
    context.fill = function (...path) {
        this.canvas.colours?.push(this.fillStyle);
        return fill.apply(this, path);
    };
    context.stroke = function (...path) {
        this.canvas.lines?.push(this.strokeStyle);
        return stroke.apply(this, path);
    };
    context.fillText = function (text, x, y, ...rest) {
        const size = this.measureText(text), transform = this.getTransform();
        const corner = (dx, dy) => transform.transformPoint({ x: x + dx, y: y + dy });
        const start = corner(-size.actualBoundingBoxLeft, -size.actualBoundingBoxAscent);
        const end = corner(size.actualBoundingBoxRight, size.actualBoundingBoxDescent);
        this.canvas.texts?.push({ text, left: start.x, right: end.x, top: start.y, bottom: end.y });
        return fillText.call(this, text, x, y, ...rest);
    };
})()"""
# A chart as seen: its text, the cells of its table with their colours, and what was drawn on its canvas.
LOOK = """chart => {
    const cells = [...chart.querySelectorAll("tbody tr")].map(row => [...row.cells].map(
        cell => [cell.innerText.trim(), getComputedStyle(cell).backgroundColor]));
    const { texts, colours, lines } = chart.querySelector("canvas") ?? {};
    return { text: chart.innerText, cells, texts, colours, lines };
}"""
# Left edge, width of the widest part, and lower edge of every place of a chart.
PLACES = """charts => charts.filter(chart => chart.checkVisibility({ visibilityProperty: true })).map(chart => {
    const { left, bottom } = chart.getBoundingClientRect();
    const width = Math.max(...[chart, ...chart.querySelectorAll("div")].map(part => part.clientWidth));
    return [chart.dataset.testChartName, left, width, bottom];
})"""


@dataclass
class SeenTab:
    """A tab as it was painted: `charts` and `places` as LOOK and PLACES saw them, `width` in pixels of the page."""

    charts: dict[str, dict[str, Any]]
    places: list[tuple[str, float, float, float]]
    errors: list[str]
    width: int


@dataclass
class SeenDashboard:
    """The tabs as painted in one window, requests to elsewhere, errors, and queries by the numbers of the charts."""

    tabs: dict[str, SeenTab] = field(default_factory=dict)
    foreign: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    asked: dict[str, list[dict[str, Any]]] = field(default_factory=dict)


def look(page: Page) -> dict[str, dict[str, Any]]:
    """Return what `LOOK` sees of every visible chart of the open tab, by name."""
    charts = [chart for chart in page.locator("[data-test-chart-id]").all() if chart.is_visible()]
    return {str(chart.get_attribute("data-test-chart-name")): chart.evaluate(LOOK) for chart in charts}


def look_at_dashboard(browser: Browser, superset: SupersetUnderTest, window: str) -> SeenDashboard:
    seen = SeenDashboard()

    def note_request(request: Any) -> None:
        # Superset's pages hold a counting pixel, which the Content-Security-Policy keeps from leaving the browser.
        if not request.url.startswith((superset.url, "data:", "blob:")) and request.failure != "csp":
            seen.foreign.append(request.url)
        body = request.post_data_json if "/api/v1/chart/data" in request.url else {}
        # Filters request their values in the same way, and are no charts.
        if number := body.get("form_data", {}).get("slice_id"):
            seen.asked[str(number)] = body["queries"]

    def note_console(message: Any) -> None:
        if message.type == "error" and "violates the following Content Security Policy" not in message.text:
            seen.complaints.append(message.text)

    with signed_in_page(browser, superset.client(), WIDTHS[window]) as page:
        page.add_init_script(RECORD_DRAWING)
        page.on("requestfinished", note_request)
        page.on("requestfailed", note_request)
        page.on("console", note_console)
        page.on("pageerror", lambda error: seen.complaints.append(str(error)))
        for name in open_dashboard(page, superset.url):
            open_tab(page, name)
            seen.tabs[name] = SeenTab(
                charts=look(page),
                places=page.locator("[data-test-chart-id]").evaluate_all(PLACES),
                errors=page.locator(ERRORS).all_inner_texts(),
                width=page.evaluate("document.documentElement.scrollWidth"),
            )
    return seen


@pytest.fixture(scope="module")
def wide(browser: Browser, superset: SupersetUnderTest) -> SeenDashboard:
    return look_at_dashboard(browser, superset, "wide")


@pytest.fixture(scope="module")
def narrow(browser: Browser, superset: SupersetUnderTest) -> SeenDashboard:
    """The dashboard in a window as narrow as a phone."""
    return look_at_dashboard(browser, superset, "narrow")


@pytest.fixture(params=["wide", pytest.param("narrow", marks=pytest.mark.exhaustive)])
def seen(request: pytest.FixtureRequest) -> SeenDashboard:
    """The dashboard in each window."""
    dashboard: SeenDashboard = request.getfixturevalue(request.param)
    return dashboard


def rows(superset: SupersetUnderTest, query: str) -> list[tuple[Any, ...]]:
    return published_rows(superset.settings, query)


def test_every_tab_is_painted_with_the_age_of_its_data_without_errors_and_foreign_requests(
    seen: SeenDashboard, superset: SupersetUnderTest
) -> None:
    [(age,)] = rows(superset, "select statement from publication.summary")
    assert list(seen.tabs) == TABS
    for name, tab in seen.tabs.items():
        assert tab.charts, name
        assert tab.errors == [], name
        assert [[text for text, _ in row] for row in tab.charts["Age of the data"]["cells"]] == [[age]], name
        assert sorted(title for title, *_ in tab.places) == sorted(tab.charts), name
    places = {title: bottom for title, _, _, bottom in seen.tabs[TABS[0]].places}
    assert places["Venue verdicts"] <= 900, "the verdicts are below the first screen"
    assert seen.foreign == []
    assert seen.complaints == []


@pytest.mark.exhaustive
def test_a_narrow_window_shows_every_chart_within_its_width(wide: SeenDashboard, narrow: SeenDashboard) -> None:
    for name, tab in narrow.tabs.items():
        assert tab.charts.keys() == wide.tabs[name].charts.keys()
        assert tab.width <= WIDTHS["narrow"], name
        for title, left, width, _ in tab.places:
            # As wide as the window but for its margins: one chart per row.
            assert left >= 0, title
            assert 300 <= width <= WIDTHS["narrow"], title


def test_a_tablet_shows_every_chart_of_bands_across_its_width(browser: Browser, superset: SupersetUnderTest) -> None:
    """Side by side in a window of 768 pixels, bars are as thin as lines and the names of venues are cut."""
    with signed_in_page(browser, superset.client(), 768) as page:
        open_dashboard(page, superset.url)
        open_tab(page, "Bands")
        places = page.locator("[data-test-chart-id]").evaluate_all(PLACES)
        assert page.evaluate("document.documentElement.scrollWidth") == 768
    assert {title for title, _, width, _ in places if width < 600} == set()


def test_painted_charts_ask_the_queries_that_they_carry(wide: SeenDashboard, superset: SupersetUnderTest) -> None:
    """The data of charts is checked through the query they carry; the browser makes its own from their settings."""
    documents = {document.uuid: document for document in read_bundle().of_kind("charts")}
    with superset.client() as client:
        uuids = {str(number): uuid for uuid, number in client.numbers("/api/v1/chart/").items()}
    assert {uuids[number] for number in wide.asked} == documents.keys()
    for number, asked in wide.asked.items():
        chart = documents[uuids[number]]
        carried = json.loads(chart.content["query_context"])["queries"]
        assert [asks(query) for query in asked] == [asks(query) for query in carried], chart.name


def asks(query: dict[str, Any]) -> dict[str, Any]:
    """Return the parts of a query that decide its rows."""
    parts = ("columns", "metrics", "filters", "orderby", "row_limit", "post_processing", "granularity", "time_range")
    return {part: query.get(part) for part in parts}


def number_of(chart: dict[str, Any]) -> str:
    """The figure of a big number, above its subtitle."""
    return str(chart["text"]).strip().split("\n")[-2]


def test_bars_stand_in_order_beside_their_names_in_the_colours_of_their_groups(
    seen: SeenDashboard, superset: SupersetUnderTest
) -> None:
    """A name is wrapped in lines, whose height ECharts derives from the fonts of the machine."""
    venues = rows(
        superset,
        "select venue_name, venue_standing from data_products.venue_sales order by venue_rank",
    )
    assert_bars(seen.tabs["Venues"].charts["Tickets by venue"], venues)
    for rank in (1, 2, 3):
        bands = rows(
            superset,
            "select band_label, verdict from data_products.all_star_candidates "
            f"where venue_rank = {rank} order by rank_in_venue",
        )
        assert_bars(seen.tabs["Bands"].charts[f"Bands at top venue {rank}"], bands)


def assert_bars(chart: dict[str, Any], expected: list[tuple[Any, ...]]) -> None:
    """Assert that names stand whole from top to bottom without touching, and that only their groups give colours."""
    assert {COLOURS[group] for _, group in expected} == set(COLOURS.values()) & set(chart["colours"])
    lines = sorted(chart["texts"], key=lambda line: line["top"])
    above = -math.inf
    for name, _ in expected:
        # Figures at the bars are no part of a name.
        letters, label = name.replace(" ", ""), []
        for line in list(lines):
            if letters.startswith(text := line["text"].replace(" ", "")) and text:
                letters = letters.removeprefix(text)
                label.append(line)
                lines.remove(line)
        assert letters == "", name
        assert above <= min(line["top"] for line in label), name
        assert min(line["left"] for line in label) >= 0, f"{name} is cut off"
        above = max(line["bottom"] for line in label)


def test_lines_have_the_colours_of_what_they_show(wide: SeenDashboard) -> None:
    """Superset finds the colour of a series by the name of the column or metric that has its label."""
    for tab, chart, names in (
        ("Attendance", "Fill by festival", ("fill", "fullest_performance")),
        (
            "Bands and revenue",
            "Ticket prices by festival",
            ("avg_ticket_price", "highest_ticket_price", "lowest_ticket_price"),
        ),
    ):
        assert {COLOURS.get(name) for name in names} <= set(wide.tabs[tab].charts[chart]["lines"]), chart


def test_the_candidates_are_listed_in_order_with_their_verdicts_in_colour(
    wide: SeenDashboard, superset: SupersetUnderTest
) -> None:
    candidates = rows(
        superset,
        "select venue_name, rank_in_venue, band_name, avg_tickets_per_performance, verdict "
        "from data_products.all_star_candidates order by venue_rank, rank_in_venue",
    )
    charts = wide.tabs["All stars"].charts
    listed = charts["All-star candidates"]["cells"]
    assert [[text for text, _ in row[:5]] for row in listed] == [
        # Pages show runs of spaces as one and none at the ends, and round halves up.
        [" ".join(venue.split()), str(rank), " ".join(band.split()), f"{math.floor(average + 0.5):,}", verdict]
        for venue, rank, band, average, verdict in candidates
    ]
    colours = {tuple(row[4]) for row in listed}
    assert len(colours) == len({verdict for verdict, _ in colours}) == len({colour for _, colour in colours})


def test_a_viewer_filters_views_as_table_and_downloads(
    browser: Browser, viewer: SupersetClient, superset: SupersetUnderTest, wide: SeenDashboard
) -> None:
    """Filters narrow what has festivals and venues, and leave the ranking."""
    [(year, venue, shown)] = rows(
        superset,
        "select festival_year, venue_name, count(*) from data_products.performance_attendance "
        "where is_completed group by festival_year, venue_name order by festival_year, venue_name limit 1",
    )
    [(tickets,)] = rows(
        superset, f"select sum(tickets_sold) from data_products.ticket_sales_over_time where festival_year = {year}"
    )
    with signed_in_page(browser, viewer) as page:
        page.add_init_script(RECORD_DRAWING)
        page.goto(superset.url)
        page.wait_for_url("**/superset/dashboard/acl-all-stars/**")
        open_tab(page, "Attendance")
        open_tab(page, "Venues")
        assert page.get_by_text("Edit dashboard").or_(page.get_by_text("SQL Lab")).count() == 0
        choose(page, "Festival", str(year))
        choose(page, "Venue", venue)
        with page.expect_response(lambda response: "/api/v1/chart/data" in response.url):
            page.click("[data-test='filter-bar__apply-button']")
        charts = {}
        for tab in ("All stars", "Bands", "Venues", "Attendance", "Sales over time"):
            open_tab(page, tab)
            assert page.get_by_role("alert").count() == 0, tab
            charts[tab] = look(page)
        assert number_of(charts["Sales over time"]["Tickets sold"]) == f"{tickets:,}"
        assert number_of(charts["Attendance"]["Performances"]) == f"{shown:,}"
        # The rows of this table arrived while another tab was open.
        listed = charts["Attendance"]["Performances, fullest first"]["cells"]
        assert {(date[:4], place) for (date, _), (place, _), *_ in listed} == {(str(year), " ".join(venue.split()))}
        filtered, ranking = (
            sorted(text["text"] for text in seen["Tickets by venue"]["texts"])
            for seen in (charts["Venues"], wide.tabs["Venues"].charts)
        )
        assert filtered == ranking
        chart = page.locator("[data-test-chart-name='Tickets by festival']").first
        chart.hover()
        chart.get_by_role("button", name="More Options").click()
        page.get_by_role("menuitem", name="View as table").click()
        page.get_by_role("dialog").get_by_text(str(year)).first.wait_for()
        page.get_by_role("button", name="Close").last.click()
        chart.get_by_role("button", name="More Options").click()
        page.get_by_role("menuitem", name="Download").hover()
        with page.expect_download() as download:
            page.get_by_role("menuitem", name="Export to .CSV").click()
        assert str(year) in download.value.path().read_text()


def choose(page: Page, name: str, value: str) -> None:
    """Choose a value in a filter of the open tab."""
    control = page.locator("[data-test='filter-bar']").get_by_role("combobox", name=name)
    control.click()
    control.fill(value)
    # The list closes and opens while it is searched, so that a pointer may miss it.
    page.locator(".ant-select-item-option").filter(has_text=value).first.evaluate("option => option.click()")
    page.keyboard.press("Escape")


def test_people_with_one_address_and_kind_of_browser_keep_filters_apart(
    browser: Browser, superset: SupersetUnderTest, viewer: SupersetClient
) -> None:
    addresses = set()
    with superset.client() as administrator:
        for client in (administrator, viewer):
            with signed_in_page(browser, client) as page:
                open_dashboard(page, superset.url)
                page.wait_for_url("**/*native_filters_key=*")
                addresses.add(page.url)
    assert len(addresses) == 2
