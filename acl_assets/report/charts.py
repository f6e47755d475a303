"""Pictures 1 and 2: tickets over time and per venue, as Altair charts of the data products.

Each chart is drawn for a width in pixels. The field `facts` of a mark is its label in the page: the name of what it
stands for on the first line, then its figures.
"""

from typing import Any

import altair as alt
import pandas as pd

from acl_assets.report.drawing import (
    INK,
    MEDIUM,
    THOUSANDS,
    facts,
    from_top,
    layered,
    lines_of,
    percent,
    row_areas,
    venue_colour,
)

_MOST_DAYS_BY_MONTH = pd.Timedelta(days=730)
_SHAPES = ("circle", "square", "diamond", "triangle-up", "triangle-down", "cross")
# By whether a festival is completed.
_FILL = {True: INK["accent"], False: INK["accent-pale"]}
_STATUS = {True: "completed", False: "still on sale"}


def sales_by_festival_chart(sales: pd.DataFrame, width: int) -> alt.LayerChart:
    """Draw picture 1 from `ticket_sales_over_time`: tickets per festival; years without a festival keep their place.

    A festival that is not over is pale with a dashed outline and carries the words "on sale".
    """
    festivals = festival_totals(sales)
    years = _every_year(sales)
    is_wide = width > MEDIUM
    has_room_above = festivals.tickets_sold < 0.7 * festivals.tickets_sold.max()
    festivals = festivals.assign(
        note_at=festivals.tickets_sold.where(has_room_above, 0),
        fill=festivals.is_completed.map(_FILL),
        outline=festivals.is_completed.map({True: "transparent", False: INK["accent"]}),
        label=festivals.tickets_sold.map(_compact),
        status=festivals.is_completed.map(_STATUS),
    )
    label = "{festival_year}\nTickets: {tickets_sold:,}\nRevenue: ${revenue:,}\nStatus: {status}"
    festivals = festivals.assign(facts=facts(festivals, label))
    gaps = pd.DataFrame({"festival_year": [year for year in years if year not in set(festivals.festival_year)]})
    x = alt.X(
        "festival_year:O",
        scale=alt.Scale(domain=years, paddingInner=0.22),
        axis=alt.Axis(
            title=None,
            labelAngle=0,
            labelExpr="datum.label" if is_wide else '"\'" + slice(datum.label, -2)',
            labelOverlap=True,
            ticks=False,
            domain=False,
        ),
    )
    base = alt.Chart(festivals).encode(x=x)
    bars = base.mark_bar(cornerRadiusTopLeft=3, cornerRadiusTopRight=3, strokeWidth=1.5, strokeDash=[4, 3]).encode(
        y=_tickets_axis("tickets_sold:Q", stack=None),
        fill=alt.Fill("fill:N", scale=None),
        stroke=alt.Stroke("outline:N", scale=None),
        description=alt.Description("facts:N"),
    )
    labels = base.mark_text(dy=-7, fontSize=11, color=INK["soft-ink"], aria=False).encode(
        y=alt.Y("tickets_sold:Q"), text=alt.Text("label:N")
    )
    upright: dict[str, Any] = {"angle": 270, "align": "left", "baseline": "middle", "fontSize": 11, "aria": False}
    no_festival = (
        alt.Chart(gaps)
        .mark_text(**upright, text="no festival", dx=6, fontStyle="italic", color=INK["soft-ink"])
        .encode(x=x, y=alt.YDatum(0))
    )
    clear_of_label = alt.ExprRef("datum.note_at > 0 ? 22 : 6") if is_wide else 6
    on_sale = (
        alt.Chart(festivals[~festivals.is_completed])
        .mark_text(**upright, text="on sale", dx=clear_of_label, fontWeight="bold", color=INK["ink"])
        .encode(x=x, y=alt.Y("note_at:Q"))
    )
    notes = [no_festival] if festivals.is_completed.all() else [no_festival, on_sale]
    return layered([bars, *([labels] if is_wide else []), *notes], width, height=280)


def sales_by_month_chart(sales: pd.DataFrame, width: int) -> alt.LayerChart:
    """Draw tickets per month of sale."""
    sold_in = pd.to_datetime(sales.sale_month)
    months = sales.assign(
        sale_month=sold_in.dt.strftime("%Y-%m-%d"),
        sold_in=sold_in.dt.strftime("%B %Y"),
        fill=sales.is_completed.map(_FILL),
        status=sales.is_completed.map(_STATUS),
    )
    label = "{festival_year}\nSold in: {sold_in}\nTickets: {tickets_sold:,}\nRevenue: ${revenue:,}\nStatus: {status}"
    bars = (
        alt.Chart(months.assign(facts=facts(months, label)))
        .mark_bar(stroke=INK["accent"], strokeWidth=0.6)
        .encode(
            x=_sale_months_axis(sold_in),
            y=_tickets_axis("tickets_sold:Q", tick_count=3),
            fill=alt.Fill("fill:N", scale=None),
            detail=alt.Detail("festival_year:O"),
            description=alt.Description("facts:N"),
        )
    )
    return layered([bars], width, height=130)


def sales_by_venue_chart(sales: pd.DataFrame, width: int) -> alt.LayerChart:
    """Draw picture 2 from `ticket_sales_by_venue`: tickets per venue over all completed festivals, best first."""
    venues = venue_standings(sales)
    names = [lines_of(f"{venue.venue_rank}. {venue.venue_name}", width // 9) for venue in venues.itertuples()]
    line = 16
    # The row of a venue: the lines of its name, then its bar with the figures.
    heights = pd.Series([line * len(lines) + 28 for lines in names], dtype=int)
    top = heights.cumsum() - heights
    label = (
        "{venue_name}\nRank: {venue_rank}\nTickets: {total_tickets_sold:,}\n"
        "Share of all tickets: {share}\nRevenue: ${total_revenue:,}\n"
        "Performances: {total_performances:,}\nCapacity: {capacity:,}"
    )
    venues = venues.assign(
        name=pd.Series(names, dtype=object),
        name_at=top + 10,
        bar_at=top + heights - 17,
        top=top,
        bottom=top + heights,
        figures=venues.total_tickets_sold.map("{:,}  ·  ".format) + venues.share_of_tickets.map(percent),
        facts=facts(venues.assign(share=venues.share_of_tickets.map(lambda share: percent(share, ".1"))), label),
    )
    height = int(heights.sum())
    most = max(1, int(venues.total_tickets_sold.max()))
    tickets = alt.X(
        "total_tickets_sold:Q", axis=None, scale=alt.Scale(domain=[0, most], range=[0, width - 120], nice=False)
    )
    base = alt.Chart(venues)
    bar_at = from_top("bar_at:Q", height)
    text: dict[str, Any] = {"align": "left", "baseline": "middle", "aria": False}
    weight = alt.ExprRef("datum.is_top_venue ? 'bold' : 'normal'")
    layers = [
        base.mark_bar(orient="horizontal", size=12, cornerRadiusEnd=3, aria=False).encode(
            x=tickets, y=bar_at, color=alt.Color("colour:N", scale=None)
        ),
        base.mark_text(
            **text, x=0, fontSize=13, fontWeight=weight, color=INK["ink"], lineHeight=line, limit=width - 50
        ).encode(y=from_top("name_at:Q", height), text=alt.Text("name:N")),
        base.mark_text(**text, dx=7, fontSize=12, color=INK["soft-ink"]).encode(
            x=tickets, y=bar_at, text=alt.Text("figures:N")
        ),
        row_areas(base, height),
    ]
    return layered(layers, width, height)


def venues_over_time_chart(sales: pd.DataFrame, width: int) -> alt.LayerChart:
    """Draw tickets per venue and festival from `ticket_sales_by_venue`, as lines.

    A line breaks where the venue did not host. A festival that is not over is a hollow point off the line.
    """
    venues = venue_standings(sales)
    pairs = pd.MultiIndex.from_product([venues.venue_id, _every_year(sales)], names=["venue_id", "festival_year"])
    lines = (
        sales.set_index(["venue_id", "festival_year"])[["tickets_sold", "performances", "is_completed"]]
        .reindex(pairs)
        .reset_index()
        .merge(venues[["venue_id", "venue_name", "venue_rank", "is_top_venue", "colour"]], on="venue_id")
        .sort_values(["is_top_venue", "venue_rank", "festival_year"], ascending=[True, False, True])
    )
    completed = lines.is_completed.eq(True)
    lines = lines.assign(
        tickets_of_completed=lines.tickets_sold.where(completed),
        fill=lines.colour.where(completed, "transparent"),
        marker=[_SHAPES[(rank - 1) % len(_SHAPES)] for rank in lines.venue_rank.where(lines.is_top_venue, 1)],
        name=facts(lines, "{venue_name}"),
        status=completed.map(_STATUS),
    )
    label = (
        "{venue_name}\nFestival: {festival_year}\nTickets: {tickets_sold:,.0f}\n"
        "Performances: {performances:,.0f}\nStatus: {status}"
    )
    years = alt.Axis(
        title=None,
        format="d",
        values=[int(year) for year in sorted(sales.festival_year.unique())],
        labelOverlap=True,
        grid=False,
    )
    base = alt.Chart(lines.assign(facts=facts(lines, label))).encode(
        x=alt.X("festival_year:Q", axis=years, scale=alt.Scale(zero=False, nice=False, padding=10)),
        stroke=alt.Stroke("colour:N", scale=None),
        detail=alt.Detail("venue_id:N"),
    )
    for_top_venues = alt.when("datum.is_top_venue")
    paths = base.mark_line(invalid="break-paths-show-domains", strokeJoin="round").encode(
        y=_tickets_axis("tickets_of_completed:Q"),
        strokeWidth=for_top_venues.then(alt.value(2.5)).otherwise(alt.value(1.3)),
        description=alt.Description("name:N"),
    )
    points = (
        base.transform_filter("isValid(datum.tickets_sold)")
        .mark_point()
        .encode(
            y=_tickets_axis("tickets_sold:Q"),
            fill=alt.Fill("fill:N", scale=None),
            size=for_top_venues.then(alt.value(45)).otherwise(alt.value(16)),
            shape=alt.Shape("marker:N", scale=None),
            description=alt.Description("facts:N"),
        )
    )
    return layered([paths, points], width, height=300)


def festival_totals(sales: pd.DataFrame) -> pd.DataFrame:
    """Sum `ticket_sales_over_time` by festival year; a festival is completed when all of its rows are."""
    return sales.groupby("festival_year", as_index=False).agg(
        tickets_sold=("tickets_sold", "sum"), revenue=("revenue", "sum"), is_completed=("is_completed", "all")
    )


def venue_standings(sales: pd.DataFrame) -> pd.DataFrame:
    """Return a row per venue with its colour, best rank first: the standing that `ticket_sales_by_venue` repeats."""
    standing = ["venue_id", "venue_name", "capacity", "venue_rank", "is_top_venue", "share_of_tickets"]
    totals = ["total_tickets_sold", "total_revenue", "total_performances"]
    venues = sales.drop_duplicates("venue_id").sort_values("venue_rank")[[*standing, *totals]].reset_index(drop=True)
    return venues.assign(colour=venues.venue_rank.map(venue_colour).where(venues.is_top_venue, INK["rest"]))


def _every_year(sales: pd.DataFrame) -> list[int]:
    """Return the years from the first festival to the last, including those without a festival."""
    years = sales.festival_year
    return list(range(int(years.min()), int(years.max()) + 1))


def _sale_months_axis(months: pd.Series) -> alt.X:
    """Return the axis of sale months, with a tick at every month or, over many years, at every year."""
    has_many_years = months.max() - months.min() > _MOST_DAYS_BY_MONTH
    # The first year begins before its first sale, and its label would be left out.
    start = alt.ExprRef(f"utc({months.min().year}, 0, 1)") if has_many_years else alt.Undefined
    # Bars begin at the tick of their month; the last tick is where the last month ends.
    by_month = "datum.index === 1 ? '' : utcFormat(datum.value, '%b %Y')"
    return alt.X(
        "utcyearmonth(sale_month):T",
        scale=alt.Scale(domainMin=start),
        axis=alt.Axis(
            title=None,
            format="%Y",
            labelExpr="utcFormat(datum.value, '%Y')" if has_many_years else by_month,
            labelOverlap=True,
            labelFlush=False,
            tickCount="year" if has_many_years else "month",
            grid=False,
        ),
    )


def _tickets_axis(field: str, tick_count: int = 4, **properties: Any) -> alt.Y:
    # Vega's tickMinStep lets half tickets through; no more ticks than tickets does not.
    whole_tickets = alt.ExprRef(f"min({tick_count}, max(1, domain('y')[1]))")
    axis = alt.Axis(title=None, labelExpr=THOUSANDS, tickCount=whole_tickets, domain=False, ticks=False)
    return alt.Y(field, axis=axis, **properties)


def _compact(number: float) -> str:
    return f"{number / 1000:.0f}k" if number >= 10_000 else f"{number:,.0f}"
