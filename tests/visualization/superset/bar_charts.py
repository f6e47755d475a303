"""A dashboard of horizontal bar charts with invented data, to look at how they are drawn."""

from __future__ import annotations

import json
from typing import Any

from acl_assets.visualization.superset.bundle import read_bundle
from acl_assets.visualization.superset.client import SupersetClient

SLUG = "bar-charts"
BARS = (3, 9, 18)
# As high as the charts of venues on the dashboard of the bundle.
_HEIGHT = 80


def chart_name(bars: int) -> str:
    """Return the name of the chart with that many bars."""
    return f"{bars} bars"


def make_bar_charts(client: SupersetClient) -> None:
    """Make charts like "Tickets by venue" of 3, 9 and 18 venues, and the dashboard `SLUG` with one below the other."""
    [bundled] = read_bundle().of_kind("dashboards")
    [template] = [chart.content for chart in read_bundle().of_kind("charts") if chart.name == "Tickets by venue"]
    [database] = [entry["id"] for entry in client.everything("/api/v1/database/")]
    source = {"database": database, "schema": "data_products", "table_name": "invented_venues", "sql": _venues()}
    dataset = client.post("/api/v1/dataset/", json=source)["id"]
    dashboard = client.post("/api/v1/dashboard/", json={"dashboard_title": "Bar charts", "slug": SLUG})["id"]
    charts: dict[int, int] = {}
    for bars in BARS:
        only = {"clause": "WHERE", "expressionType": "SIMPLE", "subject": "bars", "operator": "==", "comparator": bars}
        chart = {
            "slice_name": chart_name(bars),
            "viz_type": template["viz_type"],
            "datasource_id": dataset,
            "datasource_type": "table",
            "params": json.dumps(template["params"] | {"adhoc_filters": [only], "datasource": f"{dataset}__table"}),
            "dashboards": [dashboard],
        }
        charts[bars] = client.post("/api/v1/chart/", json=chart)["id"]
    metadata = {"positions": _layout(charts), "label_colors": bundled.content["metadata"]["label_colors"]}
    client.put(f"/api/v1/dashboard/{dashboard}", json={"json_metadata": json.dumps(metadata)})


def _venues() -> str:
    """Return SQL of invented venues, for each number of bars; every word of a name ends in the rank of its venue."""
    rows = [
        f"({bars}, 'Meadow{rank:02} Lantern{rank:02} Riverbend{rank:02}', 'top venue 1', {1000 - 40 * rank})"
        for bars in BARS
        for rank in range(1, bars + 1)
    ]
    return f"select * from (values {', '.join(rows)}) as venues (bars, venue_name, venue_standing, total_tickets_sold)"


def _layout(charts: dict[int, int]) -> dict[str, Any]:
    parents = ["ROOT_ID", "GRID_ID"]
    rows = [f"ROW-{bars}" for bars in charts]
    layout: dict[str, Any] = {
        "DASHBOARD_VERSION_KEY": "v2",
        "ROOT_ID": {"id": "ROOT_ID", "type": "ROOT", "children": ["GRID_ID"]},
        "GRID_ID": {"id": "GRID_ID", "type": "GRID", "children": rows, "parents": ["ROOT_ID"]},
    }
    for row, (bars, chart) in zip(rows, charts.items(), strict=True):
        place = f"CHART-{bars}"
        layout[row] = {"id": row, "type": "ROW", "children": [place], "parents": parents, "meta": {}}
        meta = {"chartId": chart, "height": _HEIGHT, "width": 12, "sliceName": chart_name(bars)}
        layout[place] = {"id": place, "type": "CHART", "children": [], "parents": [*parents, row], "meta": meta}
    return layout
