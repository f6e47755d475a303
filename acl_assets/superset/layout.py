"""Complete the layout of a dashboard for the bundle, because Superset's import cannot read all layouts it stores.

Explore adds a chart without its uuid, under a name that holds the chart's number. A deleted chart keeps its place.
"""

from collections.abc import Mapping
from typing import Any

_ROOT, _GRID, _HEADER, _VERSION = "ROOT_ID", "GRID_ID", "HEADER_ID", "DASHBOARD_VERSION_KEY"


def completed_layout(layout: Mapping[str, Any], charts: Mapping[int, Mapping[str, Any]]) -> dict[str, Any]:
    """Return a layout, as Superset stores it, that holds each chart of a dashboard, with its uuid, and no others.

    A chart without a place gets one at the end of the first tab. Components that cannot be reached from the root are
    left out, and so are rows and columns that held nothing but charts that are gone. `charts` has the entries of
    Superset's list by their ids.
    """
    # Superset keeps the grid of a layout without tabs where there are some.
    completed = {_VERSION: layout[_VERSION], _HEADER: layout[_HEADER], _GRID: {**layout[_GRID], "children": []}}

    def keep(name: str, parents: list[str]) -> list[str]:
        """Complete a component and all that is in it, and return its name, or nothing if nothing of it is left."""
        component = dict(layout[name])
        if component["type"] == "CHART":
            number = component["meta"].get("chartId")
            if number not in charts:
                return []
            uuid = charts[number]["uuid"]
            component["meta"] = component["meta"] | {"uuid": uuid}
            name = f"CHART-{uuid}" if name == f"CHART-{number}" else name
        inside = [child for child in component.get("children", []) if child in layout]
        children = [kept for child in inside for kept in keep(child, [*parents, name])]
        if component.get("children") and not children and component["type"] in ("ROW", "COLUMN"):
            return []
        completed[name] = component | {"id": name, "parents": parents, "children": children}
        return [name]

    keep(_ROOT, [])
    placed = {part["meta"]["uuid"] for part in completed.values() if isinstance(part, dict) and part["type"] == "CHART"}
    for number, chart in sorted(charts.items(), key=lambda item: str(item[1]["uuid"])):
        if chart["uuid"] not in placed:
            _place(completed, number, chart)
    return completed


def _place(layout: dict[str, Any], number: int, chart: Mapping[str, Any]) -> None:
    """Put a chart into a new row at the end of the first tab, or of a dashboard without tabs."""
    place = layout[layout[_ROOT]["children"][0]]
    while place["type"] == "TABS":
        place = layout[place["children"][0]]
    parents = [*place["parents"], place["id"]]
    row, name = f"ROW-{chart['uuid']}", f"CHART-{chart['uuid']}"
    while row in layout:
        row += "-"
    place["children"].append(row)
    transparent = {"background": "BACKGROUND_TRANSPARENT"}
    layout[row] = {"id": row, "type": "ROW", "children": [name], "parents": parents, "meta": transparent}
    # Superset's own size of a chart that was never placed.
    meta = {"chartId": number, "uuid": chart["uuid"], "sliceName": chart["slice_name"], "width": 4, "height": 50}
    layout[name] = {"id": name, "type": "CHART", "children": [], "parents": [*parents, row], "meta": meta}
