"""Dashboards of the bundle's charts with invented data, and the texts that are drawn on their canvases."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from playwright.sync_api import Locator, Page

from acl_assets.superset.bundle import read_bundle
from acl_assets.superset.client import SupersetClient

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
_TEXTS = "chart => chart.querySelector('canvas').texts"


@dataclass(frozen=True)
class InventedChart:
    """A chart of the bundle that shows the rows of an invented dataset whose column `data` has one value.

    Attributes:
        name: of the invented chart.
        template: name of the chart in the bundle.
        data: value of the column `data`.
    """

    name: str
    template: str
    data: str


def make_dashboard(
    client: SupersetClient, slug: str, sql: str, tabs: Mapping[str, Sequence[InventedChart]], height: int
) -> None:
    """Create a dashboard whose tabs show charts of a dataset, one below the other.

    Args:
        client: session of an administrator.
        slug: of the dashboard, also its title and the name of the dataset.
        sql: query of the dataset. It has the columns of the charts, and `data`.
        tabs: charts by the name of their tab.
        height: of each chart, in units of a dashboard's layout.
    """
    templates = {chart.name: chart.content for chart in read_bundle().of_kind("charts")}
    [bundled] = read_bundle().of_kind("dashboards")
    [database] = [entry["id"] for entry in client.everything("/api/v1/database/")]
    source = {"database": database, "schema": "data_products", "table_name": slug, "sql": sql}
    dataset = client.post("/api/v1/dataset/", json=source)["id"]
    dashboard = client.post("/api/v1/dashboard/", json={"dashboard_title": slug, "slug": slug})["id"]
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
    names = {tab: [chart.name for chart in charts] for tab, charts in tabs.items()}
    positions = _layout(names, numbers, height)
    metadata = {"positions": positions, "label_colors": bundled.content["metadata"]["label_colors"]}
    client.put(f"/api/v1/dashboard/{dashboard}", json={"json_metadata": json.dumps(metadata)})


def _layout(tabs: Mapping[str, Sequence[str]], numbers: Mapping[str, int], height: int) -> dict[str, Any]:
    layout: dict[str, Any] = {"DASHBOARD_VERSION_KEY": "v2"}

    def add(kind: str, name: str, parents: list[str], children: list[str], **meta: Any) -> None:
        layout[name] = {"id": name, "type": kind, "children": children, "parents": parents, "meta": meta}

    add("ROOT", "ROOT_ID", [], ["TABS"])
    add("GRID", "GRID_ID", ["ROOT_ID"], [])
    add("TABS", "TABS", ["ROOT_ID"], [f"TAB-{tab}" for tab in tabs])
    for tab, names in tabs.items():
        parents = ["ROOT_ID", "TABS"]
        add("TAB", f"TAB-{tab}", parents, [f"ROW-{name}" for name in names], text=tab)
        parents = [*parents, f"TAB-{tab}"]
        for name in names:
            add("ROW", f"ROW-{name}", parents, [f"CHART-{name}"])
            meta = {"chartId": numbers[name], "height": height, "width": 12, "sliceName": name}
            add("CHART", f"CHART-{name}", [*parents, f"ROW-{name}"], [], **meta)
    return layout


def record_texts(page: Page) -> None:
    """Record the texts that the pages opened from now on draw on canvases."""
    page.add_init_script(f"({_RECORD_TEXTS})()")


def texts(chart: Locator) -> list[tuple[str, dict[str, float]]]:
    """Return every text on the canvas of a chart with its left, right, top and bottom edge in pixels."""
    found: list[tuple[str, dict[str, float]]] = chart.evaluate(_TEXTS)
    return found
