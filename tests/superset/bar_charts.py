"""A dashboard of horizontal bar charts with invented data, to look at how they are drawn."""

from __future__ import annotations

from superset.invented_charts import InventedChart, make_dashboard

from acl_assets.superset.client import SupersetClient

SLUG = "bar-charts"
BARS = (3, 9, 18)
# As high as the charts of venues on the dashboard of the bundle.
_HEIGHT = 80


def chart_name(bars: int) -> str:
    """Return the name of the chart with that many bars."""
    return f"{bars} bars"


def make_bar_charts(client: SupersetClient) -> None:
    """Make charts like "Tickets by venue" of 3, 9 and 18 venues, and the dashboard `SLUG` with one below the other."""
    charts = [InventedChart(chart_name(bars), "Tickets by venue", str(bars)) for bars in BARS]
    make_dashboard(client, SLUG, _venues(), {"Bars": charts}, _HEIGHT)


def _venues() -> str:
    """Return SQL of invented venues, for each number of bars; every word of a name ends in the rank of its venue."""
    rows = [
        f"('{bars}', 'Meadow{rank:02} Lantern{rank:02} Riverbend{rank:02}', 'top venue 1', {1000 - 40 * rank})"
        for bars in BARS
        for rank in range(1, bars + 1)
    ]
    return f"select * from (values {', '.join(rows)}) as venues (data, venue_name, venue_standing, total_tickets_sold)"
