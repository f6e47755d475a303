"""A dashboard of charts whose x axis is festivals or months, with invented data of few and of many of them."""

from __future__ import annotations

from datetime import date

from superset.invented_charts import InventedChart, make_dashboard

from acl_assets.superset.client import SupersetClient

SLUG = "axis-charts"
CHARTS_OF_FESTIVALS = (
    "Tickets by festival",
    "Tickets by festival, compact",
    "Fill by festival",
    "Tickets by venue and festival",
)
CHART_OF_MONTHS = "Tickets by month of sale"
# Sets of data with so few festivals or months that there is room for all their labels.
FEW = ("one", "two", "three")
MANY = "many"
FESTIVALS = {
    "one": (2021,),
    "two": (2019, 2021),
    "three": (2018, 2019, 2021),
    MANY: (*range(2002, 2020), 2021, 2022),
}
MONTHS = {
    "one": (date(2021, 5, 1),),
    "two": (date(2021, 5, 1), date(2021, 6, 1)),
    "three": (date(2020, 12, 1), date(2021, 1, 1), date(2021, 2, 1)),
    "three with a gap": (date(2021, 3, 1), date(2021, 4, 1), date(2021, 6, 1)),
    MANY: tuple(date(festival, month, 1) for festival in FESTIVALS[MANY] for month in range(4, 11)),
}
_HEIGHT = 40


def chart_name(template: str, data: str) -> str:
    """Return the name of the chart like `template` that shows FESTIVALS[data] or MONTHS[data]."""
    return f"{template}: {data}"


def make_axis_charts(client: SupersetClient) -> None:
    """Make the dashboard `SLUG` with a tab for each of the charts, which shows it with every set of data."""
    tabs = {
        template: [InventedChart(chart_name(template, data), template, f"{kind} {data}") for data in sets]
        for kind, templates, sets in (
            ("festivals", CHARTS_OF_FESTIVALS, FESTIVALS),
            ("months", [CHART_OF_MONTHS], MONTHS),
        )
        for template in templates
    }
    make_dashboard(client, SLUG, _sales(), tabs, _HEIGHT)


def _sales() -> str:
    """Return SQL of invented sales: one row for each festival, and one for each month of sale."""
    rows = [
        (f"festivals {data}", festival, date(festival, 5, 1)) for data, years in FESTIVALS.items() for festival in years
    ]
    rows += [(f"months {data}", month.year, month) for data, months in MONTHS.items() for month in months]
    values = ", ".join(f"('{data}', {festival}, date '{month}')" for data, festival, month in rows)
    return (
        "select *, 'completed' as sales_status, 'top venue 1' as venue_standing, 500 as tickets_sold, 0.5 as fill_rate "
        f"from (values {values}) as sales (data, festival_year, sale_month)"
    )
