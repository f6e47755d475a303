"""Complete the layout of a dashboard for the bundle, because Superset's import cannot read all layouts it stores.

Explore adds a chart without its uuid, under a name that holds the chart's number. A deleted chart keeps its place.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, NamedTuple

_ROOT, _GRID, _HEADER, _VERSION = "ROOT_ID", "GRID_ID", "HEADER_ID", "DASHBOARD_VERSION_KEY"


class ChartOfDashboard(NamedTuple):
    """Uuid and name of a chart that Superset has on a dashboard."""

    uuid: str
    name: str


def completed_layout(layout: Mapping[str, Any], charts: Mapping[int, ChartOfDashboard]) -> dict[str, Any]:
    """Return a layout that holds each chart of a dashboard, with its uuid, and no others.

    A chart without a place gets one at the end of the first tab. Components that cannot be reached from the root are
    left out, and so are rows and columns that held nothing but charts that are gone.

    Args:
        layout: as Superset stores it; empty for a dashboard that was never edited.
        charts: those on the dashboard, by their numbers in Superset.
    """
    completed = _copied(layout, _ROOT, [], charts)
    if not completed.get(_ROOT, {}).get("children"):
        completed[_ROOT] = {"id": _ROOT, "type": "ROOT", "children": [_GRID]}
    if _HEADER in layout:
        completed[_HEADER] = copy.deepcopy(layout[_HEADER])
    # Superset keeps the grid of a layout without tabs where there are some.
    completed.setdefault(_GRID, {"id": _GRID, "type": "GRID", "children": [], "parents": [_ROOT]})
    placed = {part["meta"]["uuid"] for part in completed.values() if part["type"] == "CHART"}
    for number, chart in sorted(charts.items(), key=lambda item: item[1].uuid):
        if chart.uuid not in placed:
            _place(completed, number, chart)
    return {_VERSION: layout.get(_VERSION, "v2"), **completed}


def _copied(
    layout: Mapping[str, Any], name: str, parents: list[str], charts: Mapping[int, ChartOfDashboard]
) -> dict[str, Any]:
    """Return a component by its name, after all that is in it; empty if nothing of it is left."""
    if name not in layout:
        return {}
    component = copy.deepcopy(layout[name])
    if component["type"] == "CHART":
        number = component["meta"].get("chartId")
        if number not in charts:
            return {}
        component["meta"]["uuid"] = charts[number].uuid
        if name == f"CHART-{number}":
            name = f"CHART-{charts[number].uuid}"
    component["id"] = name
    if parents:
        component["parents"] = parents
    inside: dict[str, Any] = {}
    if children := component.get("children"):
        parts = [part for child in children if (part := _copied(layout, child, [*parents, name], charts))]
        if not parts and component["type"] in ("ROW", "COLUMN"):
            return {}
        component["children"] = [next(reversed(part)) for part in parts]
        inside = {key: value for part in parts for key, value in part.items()}
    return {**inside, name: component}


def _place(layout: dict[str, Any], number: int, chart: ChartOfDashboard) -> None:
    """Put a chart into a new row at the end of the first tab, or of a dashboard without tabs."""
    place = layout[layout[_ROOT]["children"][0]]
    while place["type"] == "TABS":
        place = layout[place["children"][0]]
    parents = [*place.get("parents", []), place["id"]]
    row, name = f"ROW-{chart.uuid}", f"CHART-{chart.uuid}"
    while row in layout:
        row += "-"
    place["children"].append(row)
    transparent = {"background": "BACKGROUND_TRANSPARENT"}
    layout[row] = {"id": row, "type": "ROW", "children": [name], "parents": parents, "meta": transparent}
    # Superset's own size of a chart that was never placed.
    meta = {"chartId": number, "uuid": chart.uuid, "sliceName": chart.name, "width": 4, "height": 50}
    layout[name] = {"id": name, "type": "CHART", "children": [], "parents": [*parents, row], "meta": meta}
