"""The dashboard "ACL all stars" painted in a browser, and compared with the data products.

Painting takes long, so each tab is painted once in a wide and once in a narrow window, and the tests share the result.
"""

from __future__ import annotations

import json
import math
import re
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page
from refreshes import published_rows
from superset.conftest import SupersetUnderTest

from acl_assets.report.drawing import PAPER
from acl_assets.superset.browsing import open_dashboard, open_tab, painted_charts
from acl_assets.superset.bundle import read_bundle
from acl_assets.superset.screenshots import DASHBOARD, WIDTHS, take_screenshots

pytestmark = pytest.mark.server

TABS = ["Sales over time", "Venues", "Bands", "All stars", "Attendance"]
ERRORS = "[role='alert'], .ant-alert, .ant-empty"
COLOURS: dict[str, str] = read_bundle().of_kind("dashboards")[0].content["metadata"]["label_colors"]
# Keep every text with its place in pixels since a canvas was last cleared. A page draws a chart more than once.
RECORD_TEXTS = """(() => {
    const context = CanvasRenderingContext2D.prototype, { clearRect, fillText } = context;
    context.clearRect = function (...area) {
        this.canvas.texts = [];
        return clearRect.apply(this, area);
    };
    context.fillText = function (text, x, y, ...rest) {
        const size = this.measureText(text), transform = this.getTransform();
        const corner = (dx, dy) => transform.transformPoint({ x: x + dx, y: y + dy });
        const start = corner(-size.actualBoundingBoxLeft, -size.actualBoundingBoxAscent);
        const end = corner(size.actualBoundingBoxRight, size.actualBoundingBoxDescent);
        this.canvas.texts ||= [];
        this.canvas.texts.push({ text, left: start.x, right: end.x, top: start.y, bottom: end.y });
        return fillText.call(this, text, x, y, ...rest);
    };
})()"""
# A chart as seen: its text, the cells of its table, and of its canvas the texts, how many pixels have each of the given
# colours, and the horizontal bars from top to bottom: areas of such a colour, thicker than the icons of a legend.
LOOK = """(chart, colours) => {
    const cells = [...chart.querySelectorAll("tbody tr")].map(row => [...row.cells].map(
        cell => [cell.innerText.trim(), getComputedStyle(cell).backgroundColor]));
    const canvas = chart.querySelector("canvas");
    const seen = { text: chart.innerText, cells, texts: canvas?.texts ?? [], bars: [], pixels: {} };
    if (!canvas) return seen;
    const part = (colour, start) => parseInt(colour.slice(start, start + 2), 16);
    const names = new Map(colours.map(colour => [
        ((255 << 24) | (part(colour, 5) << 16) | (part(colour, 3) << 8) | part(colour, 1)) >>> 0, colour]));
    const { width, height } = canvas;
    const pixels = new Uint32Array(canvas.getContext("2d").getImageData(0, 0, width, height).data.buffer);
    const narrowest = 20, thinnest = 16;
    let open = null;
    for (let y = 0; y < height; y++) {
        let found = null;
        for (let left = 0, right; left < width; left = right) {
            const pixel = pixels[y * width + left], colour = names.get(pixel);
            for (right = left + 1; right < width && pixels[y * width + right] === pixel;) right++;
            if (!colour) continue;
            seen.pixels[colour] = (seen.pixels[colour] || 0) + right - left;
            if (!found && right - left >= narrowest) found = { colour, left, right };
        }
        if (open && found && ["colour", "left", "right"].every(key => open[key] === found[key])) {
            open.bottom = y + 1;
        } else {
            if (open && open.bottom - open.top >= thinnest) seen.bars.push(open);
            open = found && { ...found, top: y, bottom: y + 1 };
        }
    }
    return seen;
}"""
# Left edge and width of everything that can be seen; a chart may be seen in two places.
PLACES = """charts => charts.filter(chart => chart.offsetParent).map(chart => {
    const { left, width } = chart.getBoundingClientRect();
    return [chart.dataset.testChartName, left, width];
})"""


@dataclass
class SeenTab:
    """A tab as it was painted: `charts` and `places` as LOOK and PLACES saw them, `width` in pixels of the page."""

    charts: dict[str, dict[str, Any]]
    places: list[tuple[str, float, float]]
    errors: list[str]
    width: int


@dataclass
class SeenDashboard:
    """The dashboard as it was painted in one window.

    Attributes:
        tabs: by name, in order.
        foreign: addresses outside Superset that it requested.
        complaints: errors in the console, and exceptions.
        asked: queries of its requests for data, by the numbers of the charts.
    """

    tabs: dict[str, SeenTab] = field(default_factory=dict)
    foreign: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    asked: dict[str, list[dict[str, Any]]] = field(default_factory=dict)


def look(chart: Locator) -> dict[str, Any]:
    """Return what `LOOK` sees of a chart."""
    seen: dict[str, Any] = chart.evaluate(LOOK, list(COLOURS.values()))
    return seen


def set_width(page: Page, window: str) -> None:
    page.set_viewport_size({"width": WIDTHS[window], "height": page.viewport_size["height"]})  # type: ignore[index] # a size is set


def look_at_dashboard(page: Page, url: str, window: str) -> SeenDashboard:  # noqa: C901, one listener for each event of a page
    seen = SeenDashboard()

    def note_request(request: Any) -> None:
        if not request.url.startswith((url, "data:", "blob:")):
            seen.foreign.append(request.url)
        body = request.post_data_json if "/api/v1/chart/data" in request.url else {}
        # Filters request their values in the same way, and are no charts.
        if number := body.get("form_data", {}).get("slice_id"):
            seen.asked[str(number)] = body["queries"]

    def note_blocked(request: Any) -> None:
        # Superset's pages hold a counting pixel, which the Content-Security-Policy keeps from leaving the browser.
        if request.failure == "csp" and request.url in seen.foreign:
            seen.foreign.remove(request.url)

    def note_console(message: Any) -> None:
        if message.type == "error" and "violates the following Content Security Policy" not in message.text:
            seen.complaints.append(message.text)

    listeners: dict[Any, Any] = {
        "request": note_request,
        "requestfailed": note_blocked,
        "console": note_console,
        "pageerror": lambda error: seen.complaints.append(str(error)),
    }
    set_width(page, window)
    for event, listener in listeners.items():
        page.on(event, listener)
    for name in open_dashboard(page, url, DASHBOARD):
        open_tab(page, name)
        seen.tabs[name] = SeenTab(
            charts={title: look(chart) for title, chart in painted_charts(page).items()},
            places=page.locator("[data-test-chart-id]").evaluate_all(PLACES),
            errors=page.locator(ERRORS).all_inner_texts(),
            width=page.evaluate("document.documentElement.scrollWidth"),
        )
    for event, listener in listeners.items():
        page.remove_listener(event, listener)
    return seen


@pytest.fixture(scope="module")
def wide(visitor: Page, superset: SupersetUnderTest) -> SeenDashboard:
    visitor.add_init_script(RECORD_TEXTS)
    return look_at_dashboard(visitor, superset.url, "wide")


@pytest.fixture(scope="module")
def narrow(visitor: Page, superset: SupersetUnderTest, wide: SeenDashboard) -> SeenDashboard:
    """The dashboard in a window as narrow as a phone."""
    return look_at_dashboard(visitor, superset.url, "narrow")


@pytest.fixture(params=WIDTHS)
def seen(request: pytest.FixtureRequest) -> SeenDashboard:
    """The dashboard in each window."""
    dashboard: SeenDashboard = request.getfixturevalue(request.param)
    return dashboard


def rows(superset: SupersetUnderTest, query: str) -> list[tuple[Any, ...]]:
    return published_rows(superset.settings, query)


def test_every_tab_is_painted_once_without_errors_and_foreign_requests(seen: SeenDashboard) -> None:
    """Charts that stand side by side have a second place for narrow windows; one of the two is hidden."""
    assert list(seen.tabs) == TABS
    for name, tab in seen.tabs.items():
        assert tab.charts, name
        assert tab.errors == [], name
        assert sorted(title for title, _, _ in tab.places) == sorted(tab.charts), name
    assert seen.foreign == []
    assert seen.complaints == []


def test_a_narrow_window_shows_every_chart_within_its_width(wide: SeenDashboard, narrow: SeenDashboard) -> None:
    for name, tab in narrow.tabs.items():
        assert {title.removesuffix(", compact") for title in tab.charts} == wide.tabs[name].charts.keys()
        assert tab.width <= WIDTHS["narrow"], name
        for title, left, width in tab.places:
            # As wide as the window but for its margins: no chart stands beside another.
            assert left >= 0, title
            assert 300 <= width <= WIDTHS["narrow"], title


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
    """What a query asks for, without where it was asked from."""
    parts = ("columns", "metrics", "filters", "orderby", "row_limit", "post_processing", "granularity", "time_range")
    return {part: query.get(part) for part in parts}


def test_sales_over_time_tell_what_is_on_sale_apart(wide: SeenDashboard, superset: SupersetUnderTest) -> None:
    [(sold, on_sale)] = rows(
        superset,
        "select sum(tickets_sold) filter (is_completed), sum(tickets_sold) filter (not is_completed) "
        "from data_products.ticket_sales_over_time",
    )
    charts = wide.tabs["Sales over time"].charts
    assert number_of(charts["Tickets sold"]) == f"{sold:,}"
    assert number_of(charts["On sale now"]) == f"{on_sale:,}"
    assert COLOURS["completed"] == PAPER.accent
    pixels = charts["Tickets by festival"]["pixels"]
    assert pixels[COLOURS["completed"]] > pixels[COLOURS["on sale"]] > 1000


def number_of(chart: dict[str, Any]) -> str:
    """The figure of a big number, above its subtitle."""
    return str(chart["text"]).strip().split("\n")[-2]


def test_axes_label_festivals_and_months_once(seen: SeenDashboard, superset: SupersetUnderTest) -> None:
    festivals = {str(year) for (year,) in rows(superset, "select festival_year from star_schema.dim_performances")}
    charts = {name: chart for tab in seen.tabs.values() for name, chart in tab.charts.items()}
    for name, label in {
        "Tickets by festival": r"\d{4}",
        "Tickets by festival, compact": r"\d{4}",
        "Fill by festival": r"\d{4}",
        "Tickets by venue and festival": r"\d{4}",
        "Tickets by month of sale": r"[A-Z][a-z]{2} \d{4}",
    }.items():
        if name in charts:
            drawn = sorted(charts[name]["texts"], key=lambda text: text["left"])
            labels = [text["text"] for text in drawn if re.fullmatch(label, text["text"])]
            assert 0 < len(labels) == len(set(labels)), name
            assert {text[-4:] for text in labels} <= festivals, name
            assert [text[-4:] for text in labels] == sorted(text[-4:] for text in labels), name


def test_venues_stand_in_order_in_their_colours_with_their_names(
    seen: SeenDashboard, superset: SupersetUnderTest
) -> None:
    venues = rows(
        superset,
        "select distinct venue_rank, venue_name, venue_standing, total_tickets_sold "
        "from data_products.ticket_sales_by_venue order by venue_rank",
    )
    chart = seen.tabs["Venues"].charts["Tickets by venue"]
    assert [bar["colour"] for bar in chart["bars"][:3]] == [PAPER.venue(1), PAPER.venue(2), PAPER.venue(3)]
    assert_drawn(chart["bars"], [(standing, tickets) for _, _, standing, tickets in venues])

    # A name is wrapped in lines beside its bar. ECharts derives the height of a line from the machine's fonts.
    left_edge = min(bar["left"] for bar in chart["bars"])
    lines = sorted((text for text in chart["texts"] if text["right"] <= left_edge), key=lambda line: line["top"])
    for (_, name, _, _), bar in zip(venues, chart["bars"], strict=True):
        label = [lines.pop(0)]
        while "".join(line["text"] for line in label).replace(" ", "") != name.replace(" ", ""):
            label.append(lines.pop(0))
        middle = (label[0]["top"] + label[-1]["bottom"]) / 2
        nearest = min(chart["bars"], key=lambda other: abs(other["top"] + other["bottom"] - 2 * middle))
        assert nearest == bar, name
        assert min(line["left"] for line in label) >= 0, f"{name} is cut off"


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_each_top_venue_shows_its_bands_in_order_with_their_verdicts(
    seen: SeenDashboard, superset: SupersetUnderTest, rank: int
) -> None:
    [(venue, tickets)] = rows(
        superset,
        "select distinct venue_name, total_tickets_sold from data_products.ticket_sales_by_venue "
        f"where venue_rank = {rank}",
    )
    charts = seen.tabs["Bands"].charts
    [row] = charts[f"Top venue {rank}"]["cells"]
    assert [text for text, _ in row[:2]] == [venue, f"{tickets:,}"]
    bands = rows(
        superset,
        "select verdict, avg_tickets_per_performance from data_products.all_star_candidates "
        f"where venue_rank = {rank} order by rank_in_venue",
    )
    assert_drawn(charts[f"Bands at top venue {rank}"]["bars"], bands)


def assert_drawn(bars: list[dict[str, Any]], expected: list[tuple[Any, ...]]) -> None:
    """Assert that the bars have the colours of their groups and lengths in proportion, give or take their edges."""
    assert [bar["colour"] for bar in bars] == [COLOURS[group] for group, _ in expected]
    lengths = [bar["right"] - bar["left"] for bar in bars]
    most = max(value for _, value in expected)
    for length, (group, value) in zip(lengths, expected, strict=True):
        assert length / max(lengths) == pytest.approx(value / most, abs=0.02), group


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
    verdicts = [verdict for *_, verdict in candidates]
    assert number_of(charts["Must invite"]) == str(verdicts.count("must invite"))
    assert number_of(charts["Near-equals"]) == str(verdicts.count("near-equals"))


def test_filters_narrow_what_has_festivals_and_venues_and_leave_the_ranking(
    visitor: Page, superset: SupersetUnderTest, wide: SeenDashboard, narrow: SeenDashboard
) -> None:
    year, venue, shown = rows(
        superset,
        "select festival_year, venue_name, count(*) from data_products.performance_attendance "
        "where is_completed group by festival_year, venue_name order by festival_year, venue_name limit 1",
    )[0]
    [(tickets,)] = rows(
        superset, f"select sum(tickets_sold) from data_products.ticket_sales_over_time where festival_year = {year}"
    )
    set_width(visitor, "wide")
    open_dashboard(visitor, superset.url, DASHBOARD)
    choose(visitor, "Festival", str(year))
    choose(visitor, "Venue", venue)
    with visitor.expect_response(lambda response: "/api/v1/chart/data" in response.url):
        visitor.click("[data-test='filter-bar__apply-button']")
    open_tab(visitor, "Sales over time")
    assert number_of(look(painted_charts(visitor)["Tickets sold"])) == f"{tickets:,}"
    open_tab(visitor, "Venues")
    assert (
        look(painted_charts(visitor)["Tickets by venue"])["bars"]
        == wide.tabs["Venues"].charts["Tickets by venue"]["bars"]
    )
    open_tab(visitor, "Attendance")
    assert number_of(look(painted_charts(visitor)["Performances"])) == f"{shown:,}"


def choose(page: Page, name: str, value: str) -> None:
    """Choose a value in a filter of the open tab."""
    control = page.locator("[data-test='filter-bar']").get_by_role("combobox", name=name)
    control.click()
    control.fill(value)
    # The list closes and opens while it is searched, so that a pointer may miss it.
    page.locator(".ant-select-item-option").filter(has_text=value).first.evaluate("option => option.click()")
    page.keyboard.press("Escape")


@pytest.mark.exhaustive
def test_the_pictures_of_the_documentation_are_of_every_tab(
    browser: Browser, superset: SupersetUnderTest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one window here, as each takes its time."""
    monkeypatch.setattr("acl_assets.superset.screenshots.WIDTHS", {"narrow": WIDTHS["narrow"]})
    pictures = take_screenshots(superset.url, superset.user, superset.password, tmp_path, browser)
    names = [tab.lower().replace(" ", "_") for tab in TABS]
    assert [picture.name for picture in pictures] == [f"superset_{name}_narrow.png" for name in names]
    for picture in pictures:
        width, height = struct.unpack(">II", picture.read_bytes()[16:24])
        # As high as the tab, and no higher: the window it is painted in is 5000 high.
        assert width == WIDTHS["narrow"]
        assert 800 < height < 4500
