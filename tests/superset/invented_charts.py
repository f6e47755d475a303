"""A dashboard of the bundle's charts with invented data, and the texts that are drawn on their canvases.

Its first tab has horizontal bars of few and many venues; the others have charts over festivals and months.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from playwright.sync_api import Locator, Page

from acl_assets.superset.bundle import read_bundle
from acl_assets.superset.client import SupersetClient

SLUG = "invented-charts"
TAB_OF_BARS, TAB_OF_FESTIVALS, TAB_OF_MONTHS = "Bars", "Festivals", "Months"
BARS = (3, 9, 18)
CHARTS_OF_FESTIVALS = (
    "Tickets by festival",
    "Tickets by festival, compact",
    "Fill by festival",
    "Tickets by venue and festival",
)
CHART_OF_MONTHS = "Tickets by month of sale"
MANY = "many"
FESTIVALS = {"one": (2021,), "three": (2018, 2019, 2021), MANY: (*range(2002, 2020), 2021, 2022)}
MONTHS = {
    "one": (date(2021, 5, 1),),
    "two": (date(2021, 5, 1), date(2021, 6, 1)),
    "three": (date(2020, 12, 1), date(2021, 1, 1), date(2021, 2, 1)),
    "three with a gap": (date(2021, 3, 1), date(2021, 4, 1), date(2021, 6, 1)),
    MANY: tuple(date(festival, month, 1) for festival in FESTIVALS[MANY] for month in range(4, 11)),
}
# As high as the charts of venues in the bundle; axes need less.
_HEIGHT_OF_BARS, _HEIGHT_OF_AXES = 80, 40

# Keep every text with its place in pixels since a canvas was last cleared. A page draws a chart more than once.
_RECORD_TEXTS = """() => {
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
        this.canvas.texts.push([text, { left: start.x, right: end.x, top: start.y, bottom: end.y }]);
        return fillText.call(this, text, x, y, ...rest);
    };
}"""


@dataclass(frozen=True)
class InventedChart:
    """A chart like `template` of the bundle, of the invented rows whose column `data` has one value."""

    name: str
    template: str
    data: str
    height: int


def chart_name(template: str, data: str) -> str:
    """Return the name of the chart like `template` that shows FESTIVALS[data] or MONTHS[data]."""
    return f"{template}: {data}"


def make_invented_charts(client: SupersetClient) -> None:
    """Create the dashboard `SLUG`, with its dataset and charts."""
    tabs = {
        TAB_OF_BARS: [InventedChart(f"{bars} bars", "Tickets by venue", str(bars), _HEIGHT_OF_BARS) for bars in BARS],
        TAB_OF_FESTIVALS: [
            InventedChart(chart_name(template, data), template, f"festivals {data}", _HEIGHT_OF_AXES)
            for template in CHARTS_OF_FESTIVALS
            for data in FESTIVALS
        ],
        TAB_OF_MONTHS: [
            InventedChart(chart_name(CHART_OF_MONTHS, data), CHART_OF_MONTHS, f"months {data}", _HEIGHT_OF_AXES)
            for data in MONTHS
        ],
    }
    templates = {chart.name: chart.content for chart in read_bundle().of_kind("charts")}
    [bundled] = read_bundle().of_kind("dashboards")
    [database] = [entry["id"] for entry in client.everything("/api/v1/database/")]
    source = {"database": database, "schema": "data_products", "table_name": SLUG, "sql": _rows()}
    dataset = client.post("/api/v1/dataset/", json=source)["id"]
    dashboard = client.post("/api/v1/dashboard/", json={"dashboard_title": SLUG, "slug": SLUG})["id"]
    numbers: dict[str, int] = {}
    for chart in (chart for charts in tabs.values() for chart in charts):
        template = templates[chart.template]
        only = {"expressionType": "SIMPLE", "clause": "WHERE", "subject": "data", "operator": "=="}
        filters = {"adhoc_filters": [only | {"comparator": chart.data}]}
        content = {
            "slice_name": chart.name,
            "viz_type": template["viz_type"],
            "datasource_id": dataset,
            "datasource_type": "table",
            "params": json.dumps(template["params"] | filters | {"datasource": f"{dataset}__table"}),
            "dashboards": [dashboard],
        }
        numbers[chart.name] = client.post("/api/v1/chart/", json=content)["id"]
    metadata = {
        "positions": _layout(tabs, numbers),
        "label_colors": bundled.content["metadata"]["label_colors"],
    }
    client.put(f"/api/v1/dashboard/{dashboard}", json={"json_metadata": json.dumps(metadata)})


def _rows() -> str:
    """Return SQL of venues for each number of bars, and of a row for each festival or month of each set.

    Every word of a venue's name ends in the venue's rank.
    """
    first = date(2021, 5, 1)
    rows = [
        (str(bars), f"Meadow{rank:02} Lantern{rank:02} Riverbend{rank:02}", 1000 - 40 * rank, 2021, first)
        for bars in BARS
        for rank in range(1, bars + 1)
    ]
    rows += [(f"festivals {data}", "", 0, year, first) for data, years in FESTIVALS.items() for year in years]
    rows += [(f"months {data}", "", 0, month.year, month) for data, months in MONTHS.items() for month in months]
    values = ", ".join(str((*row[:4], str(row[4]))) for row in rows)
    return (
        "select * replace (sale_month::date as sale_month), 'completed' as sales_status, "
        "'top venue 1' as venue_standing, 500 as tickets_sold, 0.5 as fill_rate "
        f"from (values {values}) as sales (data, venue_name, total_tickets_sold, festival_year, sale_month)"
    )


def _layout(tabs: Mapping[str, Sequence[InventedChart]], numbers: Mapping[str, int]) -> dict[str, Any]:
    layout: dict[str, Any] = {"DASHBOARD_VERSION_KEY": "v2"}

    def add(kind: str, name: str, parents: list[str], children: list[str], **meta: Any) -> None:
        layout[name] = {"id": name, "type": kind, "children": children, "parents": parents, "meta": meta}

    add("ROOT", "ROOT_ID", [], ["TABS"])
    add("GRID", "GRID_ID", ["ROOT_ID"], [])
    add("TABS", "TABS", ["ROOT_ID"], [f"TAB-{tab}" for tab in tabs])
    for tab, charts in tabs.items():
        parents = ["ROOT_ID", "TABS"]
        add("TAB", f"TAB-{tab}", parents, [f"ROW-{chart.name}" for chart in charts], text=tab)
        parents = [*parents, f"TAB-{tab}"]
        for chart in charts:
            name = chart.name
            add("ROW", f"ROW-{name}", parents, [f"CHART-{name}"])
            meta = {"chartId": numbers[name], "height": chart.height, "width": 12, "sliceName": name}
            add("CHART", f"CHART-{name}", [*parents, f"ROW-{name}"], [], **meta)
    return layout


def record_texts(page: Page) -> None:
    """Record the texts that the pages opened from now on draw on canvases."""
    page.add_init_script(f"({_RECORD_TEXTS})()")


def texts(chart: Locator) -> list[tuple[str, dict[str, float]]]:
    """Return every text on the canvas of a chart with its left, right, top and bottom edge in pixels."""
    found: list[tuple[str, dict[str, float]]] = chart.evaluate("chart => chart.querySelector('canvas').texts")
    return found
