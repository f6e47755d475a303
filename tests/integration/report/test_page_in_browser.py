"""The report in a browser: with and without JavaScript, on a phone, in dark mode and printed."""

from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest
from axe_playwright_python.sync_playwright import Axe
from browser import OpenedPage
from playwright.sync_api import Page, expect
from report.sample_warehouse import FESTIVAL_ON_SALE, STATEMENT, TIME_ZONE, sample_warehouse

from acl_assets.report.drawing import DARK, PAPER
from acl_assets.report.page import report_on
from acl_assets.simulator.lineup import MUST_INVITE_BAND, NEAR_EQUAL_BANDS
from acl_assets.util.sql import quoted_text

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
# Names for bands of the sample's tables.
HOSTILE_NAMES = {
    MUST_INVITE_BAND: "</script><script>alert('escaped')</script>",
    "Lanky Anvil": '<img src="https://example.com/x.png" onerror="alert(1)">',
    "The Crooked Teakettles": "{{ 7 * 7 }} & \"quotes\" 'single' `back` ${tick}",
    "Lunar Barge": "🎸 Émilie \u202eright to left\u202c, Ünïcode",
    "007": "line\nbreak\ttab",
    "Oblong Grackle Barge": "W" * 200,
    "Lunar Hinge Armadillo": "NULL",
    "The Mellow Bandana": "'68",
}


def table(opened_page: OpenedPage, name: str) -> list[list[str]]:
    """The text of a table's body rows, cell by cell, whether shown or folded away."""
    rows = "rows => rows.map(row => [...row.cells].map(cell => cell.textContent.trim()))"
    return opened_page.page.locator(f"#{name} tbody tr").evaluate_all(rows)


def shown_charts(page: Page) -> dict[str, int]:
    """Return the number of labelled marks in the one visible drawing of each chart."""
    return page.locator(".chart").evaluate_all(
        """charts => Object.fromEntries(charts.map(chart => {
            const [drawing, ...others] = [...chart.children].filter(svg => svg.checkVisibility());
            return [chart.id, others.length ? -1 : drawing.querySelectorAll("[aria-label]").length];
        }))"""
    )


@pytest.mark.parametrize("has_javascript", [True, False], ids=["with JavaScript", "without"])
def test_the_page_is_complete_without_network_requests_and_without_javascript(
    open_page: OpenPage, report_file: Path, *, has_javascript: bool
) -> None:
    report = open_page(report_file, java_script_enabled=has_javascript)
    page = report.page
    assert report.requests == [report_file.as_uri()]
    assert report.complaints == []
    # Playwright evaluates in pages whose JavaScript is off.
    painted = shown_charts(page)
    assert list(painted) == CHARTS
    assert all(count >= 8 for count in painted.values())
    assert page.locator("noscript p").is_visible() != has_javascript
    assert page.get_by_text(STATEMENT).is_visible()


@pytest.mark.parametrize(("width", "scheme"), [(360, "light"), (1280, "dark")])
def test_axe_finds_nothing(open_page: OpenPage, report_file: Path, width: int, scheme: str) -> None:
    page = open_page(report_file, width=width, color_scheme=scheme).page
    page.evaluate("document.querySelectorAll('details').forEach(folded => folded.open = true)")
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()


def test_the_answer_comes_first_and_the_tables_hold_the_figures_of_the_data_products(
    open_page: OpenPage, report_file: Path, sample: duckdb.DuckDBPyConnection
) -> None:
    report = open_page(report_file)
    page = report.page
    assert page.locator("h1").inner_text() == (
        "Three venues sold 53 % of all tickets: one has a must-invite, one has near-equals and one has no clear lead."
    )
    card = page.locator(".card").first.inner_text()
    assert all(words in card for words in ("The Long Meadow", "MUST INVITE", MUST_INVITE_BAND))
    page.locator("ol.leaders").evaluate("names => getSelection().selectAllChildren(names)")
    copied = page.evaluate("getSelection().toString()").split(" · ")
    assert sorted(copied) == sorted(NEAR_EQUAL_BANDS)
    assert page.locator("#answer .notice").inner_text().startswith(f"{FESTIVAL_ON_SALE} is still on sale.")
    assert page.locator("#sales-by-festival .wide text", has_text="on sale").count() == 1

    assert [(row[0][:4], row[1]) for row in table(report, "festivals-table")] == sample.sql(
        "select festival_year::varchar, format('{:,}', sum(tickets_sold)::bigint) "
        "from data_products.ticket_sales_over_time group by festival_year order by festival_year"
    ).fetchall()
    assert [(row[1], row[2], *row[4:6]) for row in table(report, "venues-table")] == sample.sql(
        "select distinct on (venue_rank) venue_name, format('{:,}', total_tickets_sold), "
        "format('${:,}', total_revenue), format('${:.2f}', total_avg_ticket_price) "
        "from data_products.ticket_sales_by_venue order by venue_rank"
    ).fetchall()
    shown = [row for row in table(report, "candidates-table") if len(row) > 1]
    assert [(*row[1:4], row[8].split(maxsplit=1)[1]) for row in shown] == sample.sql(
        "select band_name, format('{:,.0f}', avg_tickets_per_performance), performances::varchar, verdict "
        "from data_products.all_star_candidates order by venue_rank, rank_in_venue"
    ).fetchall()


def test_pointing_at_a_mark_shows_its_figures_and_brings_out_its_name(
    open_page: OpenPage, report_file: Path, sample: duckdb.DuckDBPyConnection
) -> None:
    def count(rows: str) -> int:
        return int(sample.sql(f"select count(*) from data_products.{rows}").fetchall()[0][0])

    page = open_page(report_file).page
    tooltip = page.locator("#tooltip")
    page.locator("#bands-at-venue-1 [aria-label^='Marigold']").hover()
    assert tooltip.inner_text().startswith(
        f"{MUST_INVITE_BAND}\nVerdict: must invite\nAverage per performance: 2,650.0"
    )

    faint = page.locator("#sales-by-month .wide .faint")
    page.locator("#sales-by-festival .wide [aria-label^='2015']").hover()
    expect(faint).to_have_count(count("ticket_sales_over_time where festival_year <> 2015"))

    points = page.locator("#venues-over-time .medium .faint[aria-label*='Festival:']")
    page.locator(".legend li", has_text="Pecan Row").hover()
    expect(points).to_have_count(count("ticket_sales_by_venue where venue_name <> 'Pecan  Row'"))
    page.locator("h1").hover()
    expect(page.locator(".faint")).to_have_count(0)
    expect(tooltip).to_be_hidden()


def test_keys_move_from_mark_to_mark_and_show_the_same_figures(open_page: OpenPage, report_file: Path) -> None:
    page = open_page(report_file).page
    tooltip = page.locator("#tooltip")
    entries = page.locator(".chart [tabindex='0']").evaluate_all(
        "all => all.filter(mark => mark.checkVisibility()).length"
    )
    assert entries == len(CHARTS)
    page.locator("#sales-by-festival .wide [tabindex='0']").focus()
    for key, festival in {"ArrowRight": "2003", "ArrowLeft": "2002", "End": str(FESTIVAL_ON_SALE)}.items():
        page.keyboard.press(key)
        assert tooltip.inner_text().startswith(f"{festival}\nTickets: ")
        assert tooltip.inner_text() == page.evaluate("document.activeElement.ariaLabel")
    page.keyboard.press("Tab")
    assert tooltip.inner_text().startswith("2002\nSold in: May 2002\n")
    page.keyboard.press("Escape")
    expect(tooltip).to_be_hidden()


def test_at_every_width_the_page_fits_and_names_and_charts_can_be_read(open_page: OpenPage, report_file: Path) -> None:
    """Charts have drawings for several widths, because one that is scaled down has letters too small to read."""
    page = open_page(report_file).page
    page.evaluate("document.querySelectorAll('details').forEach(folded => folded.open = true)")
    page.evaluate("document.querySelectorAll('.figures dd').forEach(total => total.textContent = '$89,243,655')")
    for width in (320, 360, 640, 768, 900, 1440):
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth") == width
        scales = page.locator(".chart > svg").evaluate_all(
            "all => all.filter(s => s.checkVisibility()).map(s => s.clientWidth / s.viewBox.baseVal.width)"
        )
        assert len(scales) == len(CHARTS)
        assert all(0.8 < scale < 1.5 for scale in scales)
        names = page.locator("#candidates-table tbody th[scope=row]")
        assert names.evaluate_all("cells => Math.min(...cells.map(cell => cell.clientWidth))") > (
            90 if width > 320 else 50
        )
        cut = "all => all.filter(one => one.scrollWidth > one.clientWidth + 1).map(one => one.textContent)"
        assert page.locator("th, td, .card, .legend li, dd").evaluate_all(cut) == []
        lines = """cells => cells.map(cell => {
            const text = document.createRange();
            text.selectNodeContents(cell);
            return text.getClientRects().length;
        })"""
        assert set(page.locator("#checks-table td:first-child, .figures dd").evaluate_all(lines)) == {1}
        in_charts = page.locator(".chart text").evaluate_all("all => all.map(text => text.textContent)")
        assert not [text for text in in_charts if "…" in text]


def test_text_and_charts_follow_the_text_size_of_the_browser(open_page: OpenPage, report_file: Path) -> None:
    page = open_page(report_file).page
    size = "all => all.map(one => parseFloat(getComputedStyle(one).fontSize))"
    texts = page.locator("p, td, th, dt, .facts dd, li, summary, figcaption, .chip, h2, h3, code")
    usual = texts.evaluate_all(size)
    width = page.locator("#bands-at-venue-1 svg").bounding_box()["width"]
    page.evaluate("document.documentElement.style.fontSize = '200%'")
    assert texts.evaluate_all(size) == pytest.approx([2 * each for each in usual])
    assert page.locator("#bands-at-venue-1 svg").bounding_box()["width"] > 2 * width
    assert page.evaluate("document.documentElement.scrollWidth") == 1280


def rgb(colour: str) -> str:
    return f"rgb({int(colour[1:3], 16)}, {int(colour[3:5], 16)}, {int(colour[5:7], 16)})"


@pytest.mark.parametrize(
    ("options", "palette"),
    [({"color_scheme": "dark"}, DARK), ({"color_scheme": "dark", "media": "print"}, PAPER)],
    ids=["at night", "printed at night"],
)
def test_page_and_charts_wear_the_same_colours(
    open_page: OpenPage, report_file: Path, options: dict[str, str], palette: dict[str, str]
) -> None:
    """A page printed from dark mode is light."""
    worn = open_page(report_file, **options).page.evaluate(
        """() => {
            const style = (selector) => getComputedStyle(document.querySelector(selector));
            return {
                background: style("body").backgroundColor,
                ink: style("body").color,
                "soft-ink": style("#sales-by-festival .wide .role-axis-label text").fill,
                "venue-1": style("#sales-by-venue .medium .mark-rect path").fill,
            };
        }"""
    )
    assert worn == {name: rgb(palette[name]) for name in worn}


@pytest.mark.parametrize("paper", ["A4", "Letter"])
def test_the_page_prints_on_four_sheets_without_controls(open_page: OpenPage, report_file: Path, paper: str) -> None:
    page = open_page(report_file, media="print").page
    assert not page.locator("details").first.is_visible()
    assert not page.get_by_text("Point at a festival").is_visible()
    assert list(shown_charts(page)) == CHARTS
    assert page.pdf(format=paper).count(b"/Type /Page\n") <= 4
    # Firefox breaks pages before it knows the widths of containers.
    page.add_style_tag(content=".chart, .picture { container-type: normal }")
    assert min(shown_charts(page).values()) > 0


def test_names_that_try_to_break_out_are_shown_as_they_are(open_page: OpenPage, tmp_path: Path) -> None:
    """The page, the charts and the tooltips show them as text, and one without a space does not widen the page."""
    target = tmp_path / "index.html"
    renaming = (
        f"update festival.bands set name = {quoted_text(name)} where name = {quoted_text(band)}"
        for band, name in HOSTILE_NAMES.items()
    )
    report_on(sample_warehouse(tmp_path, *renaming), target, TIME_ZONE)
    report = open_page(target, width=390)
    page = report.page
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    assert report.dialogs == []
    assert report.complaints == []
    assert len(report.requests) == 1
    assert page.locator("img, iframe, object, embed").count() == 0
    assert page.locator("script").count() == 1
    shown = page.locator("#candidates-table bdi").evaluate_all("names => names.map(name => name.textContent)")
    assert {*HOSTILE_NAMES.values()} <= set(shown)
    page.locator("#bands-at-venue-1 [aria-label]").first.hover()
    assert page.locator("#tooltip").inner_text().startswith(HOSTILE_NAMES[MUST_INVITE_BAND] + "\n")
