"""Pictures 1 and 2: tickets over time and per venue, as Altair charts of the data products.

Charts take a `Palette`: PAPER for pictures that stand alone, PAGE for the report.
"""

from __future__ import annotations

from typing import Any

import altair as alt
import pandas as pd

from acl_assets.report.drawing import PAPER, THOUSANDS, Palette, Width, chart_of, layered, shape, tooltip_name

NARROW = 560  # pixels; below this width a chart leaves out labels that would run into each other
_MOST_DAYS_BY_MONTH = pd.Timedelta(days=730)

_FESTIVAL = alt.Tooltip("festival_year:O", title="Festival")
_TICKETS = alt.Tooltip("tickets_sold:Q", title="Tickets", format=",")
_REVENUE = alt.Tooltip("revenue:Q", title="Revenue", format="$,")
_PERFORMANCES = alt.Tooltip("performances:Q", title="Performances", format=",")
_STATUS = alt.Tooltip("status:N", title="Status")
_VENUE = alt.Tooltip("tooltip_name:N", title="Venue")


def sales_by_festival_chart(
    sales: pd.DataFrame, palette: Palette = PAPER, width: Width = "container"
) -> alt.LayerChart:
    """Draw picture 1 from `ticket_sales_over_time`: tickets per festival; years without a festival keep their place.

    A festival that is not over is pale with a dashed outline and carries the words "on sale". The parameter
    `festival` holds the year to bring out, null for none.
    """
    festivals = festival_totals(sales)
    years = _every_year(sales)
    has_room_above = festivals.tickets_sold < 0.7 * festivals.tickets_sold.max()
    festivals = festivals.assign(
        note_at=festivals.tickets_sold.where(has_room_above, 0),
        status=_status(festivals.is_completed),
        fill=festivals.is_completed.map({True: palette.accent, False: palette.accent_pale}),
        outline=festivals.is_completed.map({True: "transparent", False: palette.accent}),
        label=[_compact(tickets) for tickets in festivals.tickets_sold],
    )
    gaps = [{"festival_year": year} for year in years if year not in set(festivals.festival_year)]
    x = alt.X(
        "festival_year:O",
        scale=alt.Scale(domain=years, paddingInner=0.22),
        axis=alt.Axis(
            title=None,
            labelAngle=0,
            labelExpr=f'width < {NARROW} ? "\'" + slice(datum.label, -2) : datum.label',
            labelOverlap=True,
            ticks=False,
            domain=False,
        ),
    )
    base = chart_of(festivals).encode(x=x)
    bars = base.mark_bar(
        cornerRadiusTopLeft=3, cornerRadiusTopRight=3, cursor="pointer", strokeWidth=1.5, strokeDash=[4, 3]
    ).encode(
        y=_tickets_axis("tickets_sold:Q", stack=None),
        fill=alt.Fill("fill:N", scale=None),
        stroke=alt.Stroke("outline:N", scale=None),
        opacity=_faint_if("festival !== null && datum.festival_year !== festival"),
        tooltip=[_FESTIVAL, _TICKETS, _REVENUE, _STATUS],
    )
    is_wide = alt.ExprRef(f"width < {NARROW} ? 0 : 1")
    labels = base.mark_text(dy=-7, fontSize=11, color=palette.soft_ink, opacity=is_wide).encode(
        y=alt.Y("tickets_sold:Q"), text=alt.Text("label:N")
    )
    upright: dict[str, Any] = {"angle": 270, "align": "left", "baseline": "middle", "fontSize": 11}
    no_festival = (
        chart_of(gaps)
        .mark_text(**upright, text="no festival", dx=6, fontStyle="italic", color=palette.soft_ink)
        .encode(x=x, y=alt.YDatum(0))
    )
    clear_of_label = alt.ExprRef(f"datum.note_at > 0 && width >= {NARROW} ? 22 : 6")
    on_sale = (
        chart_of(festivals[~festivals.is_completed])
        .mark_text(**upright, text="on sale", dx=clear_of_label, fontWeight="bold", color=palette.ink)
        .encode(x=x, y=alt.Y("note_at:Q"))
    )
    layers = [bars, labels, no_festival, *([] if festivals.is_completed.all() else [on_sale])]
    description = "Bars: tickets sold per festival year; the festival still on sale is pale with a dashed outline."
    return layered(layers, palette, width, height=280, description=description, parameter="festival")


def sales_by_month_chart(sales: pd.DataFrame, palette: Palette = PAPER, width: Width = "container") -> alt.LayerChart:
    """Draw tickets per month of sale, of all festivals or of the one in the parameter `festival`."""
    months = sales.assign(
        sale_month=[pd.Timestamp(month).strftime("%Y-%m-%d") for month in sales.sale_month],
        status=_status(sales.is_completed),
        fill=sales.is_completed.map({True: palette.accent, False: palette.accent_pale}),
    )
    sold_in = alt.Tooltip("utcyearmonth(sale_month):T", title="Sold in", format="%B %Y")
    bars = (
        chart_of(months)
        .transform_filter("festival === null || datum.festival_year === festival")
        .mark_bar(stroke=palette.accent, strokeWidth=0.6)
        .encode(
            x=_sale_months_axis(sales),
            y=_tickets_axis("tickets_sold:Q", tick_count=3),
            fill=alt.Fill("fill:N", scale=None),
            detail=alt.Detail("festival_year:O"),
            tooltip=[_FESTIVAL, sold_in, _TICKETS, _REVENUE, _STATUS],
        )
    )
    description = "Bars: tickets sold per month of sale, for all festivals or the chosen one."
    return layered([bars], palette, width, height=130, description=description, parameter="festival")


def sales_by_venue_chart(sales: pd.DataFrame, palette: Palette = PAPER, width: Width = "container") -> alt.LayerChart:
    """Draw picture 2 from `ticket_sales_by_venue`: tickets per venue over all completed festivals, best first."""
    venues = venue_standings(sales)
    venues = venues.assign(
        colour=_venue_colours(venues, palette),
        ranked_name=[f"{venue.venue_rank}. {venue.venue_name}" for venue in venues.itertuples()],
        tooltip_name=venues.venue_name.map(tooltip_name),
        figures=[f"{venue.total_tickets_sold:,}  ·  {venue.share_of_tickets:.0%}" for venue in venues.itertuples()],
    )
    in_order = alt.Y("venue_id:N", sort=list(venues.venue_id), axis=None, scale=alt.Scale(paddingInner=0.2))
    base = chart_of(venues).encode(y=in_order)
    bars = base.mark_bar(height=12, cornerRadiusEnd=3, yOffset=9).encode(
        x=alt.X("total_tickets_sold:Q", axis=None),
        color=alt.Color("colour:N", scale=None),
        tooltip=[
            _VENUE,
            alt.Tooltip("venue_rank:Q", title="Rank"),
            alt.Tooltip("total_tickets_sold:Q", title="Tickets", format=","),
            alt.Tooltip("share_of_tickets:Q", title="Share of all tickets", format=".1%"),
            alt.Tooltip("total_performances:Q", title="Performances", format=","),
            alt.Tooltip("capacity:Q", title="Capacity", format=","),
        ],
    )
    weight = alt.ExprRef("datum.is_top_venue ? 'bold' : 'normal'")
    text: dict[str, Any] = {"baseline": "middle", "dy": -7, "fontWeight": weight}
    room_for_name = alt.ExprRef("width - 130")
    names = base.mark_text(**text, x=0, align="left", fontSize=13, color=palette.ink, limit=room_for_name)
    figures = base.mark_text(**text, x="width", align="right", fontSize=12, color=palette.soft_ink)
    layers = [bars, names.encode(text=alt.Text("ranked_name:N")), figures.encode(text=alt.Text("figures:N"))]
    description = "Bars: tickets sold per venue over all completed festivals, best first; top venues in colour."
    return layered(layers, palette, width, height=max(1, len(venues)) * 42, description=description)


def venues_over_time_chart(sales: pd.DataFrame, palette: Palette = PAPER, width: Width = "container") -> alt.LayerChart:
    """Draw tickets per venue and festival from `ticket_sales_by_venue`, as lines.

    A line breaks where the venue did not host. A festival that is not over is a hollow point off the line. The
    parameter `venue` holds the venue_id to bring out, or null.
    """
    venues = venue_standings(sales)
    venues = venues.assign(colour=_venue_colours(venues, palette), tooltip_name=venues.venue_name.map(tooltip_name))
    pairs = pd.MultiIndex.from_product([venues.venue_id, _every_year(sales)], names=["venue_id", "festival_year"])
    lines = (
        sales.set_index(["venue_id", "festival_year"])[["tickets_sold", "performances", "is_completed"]]
        .reindex(pairs)
        .reset_index()
        .merge(venues[["venue_id", "tooltip_name", "venue_rank", "is_top_venue", "colour"]], on="venue_id")
        .sort_values(["is_top_venue", "venue_rank", "festival_year"], ascending=[True, False, True])
    )
    completed = lines.is_completed.eq(True)
    lines = lines.assign(
        tickets_of_completed=lines.tickets_sold.where(completed),
        status=_status(completed),
        fill=lines.colour.where(completed, "transparent"),
        marker=lines.venue_rank.where(lines.is_top_venue, 1).astype(str),
    )
    years = alt.Axis(
        title=None,
        format="d",
        values=[int(year) for year in sorted(sales.festival_year.unique())],
        labelOverlap=True,
        grid=False,
    )
    base = chart_of(lines).encode(
        x=alt.X("festival_year:Q", axis=years, scale=alt.Scale(zero=False, nice=False, padding=10)),
        stroke=alt.Stroke("colour:N", scale=None),
        detail=alt.Detail("venue_id:N"),
        opacity=_faint_if("venue !== null && datum.venue_id !== venue"),
    )
    paths = base.mark_line(invalid="break-paths-show-domains", strokeJoin="round").encode(
        y=_tickets_axis("tickets_of_completed:Q"),
        strokeWidth=alt.StrokeWidthValue(1.3, condition=_by_prominence(4, 2.5)),
    )
    points = (
        base.transform_filter("isValid(datum.tickets_sold)")
        .mark_point()
        .encode(
            y=_tickets_axis("tickets_sold:Q"),
            fill=alt.Fill("fill:N", scale=None),
            size=alt.SizeValue(16, condition=_by_prominence(95, 45)),
            shape=shape("marker"),
            tooltip=[_VENUE, _FESTIVAL, _TICKETS, _PERFORMANCES, _STATUS],
        )
    )
    description = "Lines: tickets sold per venue and festival; the top venues in strong colours, the others muted."
    return layered([paths, points], palette, width, height=300, description=description, parameter="venue")


def festival_totals(sales: pd.DataFrame) -> pd.DataFrame:
    """Sum `ticket_sales_over_time` by festival year; a festival is completed when all of its rows are."""
    return sales.groupby("festival_year", as_index=False).agg(
        tickets_sold=("tickets_sold", "sum"), revenue=("revenue", "sum"), is_completed=("is_completed", "all")
    )


def venue_standings(sales: pd.DataFrame) -> pd.DataFrame:
    """Return a row per venue, best rank first: the standing that `ticket_sales_by_venue` repeats on each row."""
    standing = ["venue_id", "venue_name", "capacity", "venue_rank", "is_top_venue", "share_of_tickets"]
    totals = ["total_tickets_sold", "total_revenue", "total_performances"]
    return sales.drop_duplicates("venue_id").sort_values("venue_rank")[[*standing, *totals]].reset_index(drop=True)


def _every_year(sales: pd.DataFrame) -> list[int]:
    """Return the years from the first festival to the last, including those without a festival."""
    years = sales.festival_year
    return list(range(int(years.min()), int(years.max()) + 1)) if len(years) else []


def _sale_months_axis(sales: pd.DataFrame) -> alt.X:
    """Return the axis of sale months, with a tick at every month or, for all festivals of many years, at every year."""
    months = pd.to_datetime(sales.sale_month)
    has_many_years = len(months) and months.max() - months.min() > _MOST_DAYS_BY_MONTH
    by_year = "festival === null" if has_many_years else "false"
    start = f"utc({months.min().year}, 0, 1)" if has_many_years else "null"
    return alt.X(
        "utcyearmonth(sale_month):T",
        # The first year begins before its first sale, and its label would be left out.
        scale=alt.Scale(domainMin=alt.ExprRef(f"{by_year} ? {start} : null")),
        axis=alt.Axis(
            title=None,
            format="%Y",
            # Bars begin at the tick of their month; the last tick is where the last month ends.
            labelExpr=f"{by_year} ? utcFormat(datum.value, '%Y') : "
            "datum.index === 1 ? '' : utcFormat(datum.value, '%b %Y')",
            labelOverlap=True,
            tickCount=alt.ExprRef(f"{by_year} ? 'year' : 'month'"),
            grid=False,
        ),
    )


def _tickets_axis(field: str, tick_count: int = 4, **properties: Any) -> alt.Y:
    # Vega's tickMinStep lets half tickets through; no more ticks than tickets does not.
    whole_tickets = alt.ExprRef(f"min({tick_count}, max(1, domain('y')[1]))")
    axis = alt.Axis(title=None, labelExpr=THOUSANDS, tickCount=whole_tickets, domain=False, ticks=False)
    return alt.Y(field, axis=axis, **properties)


def _status(is_completed: pd.Series) -> pd.Series:
    return is_completed.map({True: "completed", False: "still on sale"})


def _faint_if(expression: str) -> alt.OpacityValue:
    return alt.OpacityValue(1, condition=[{"test": expression, "value": 0.25}])


def _by_prominence(brought_out: float, top: float) -> list[dict[str, Any]]:
    return [{"test": "datum.venue_id === venue", "value": brought_out}, {"test": "datum.is_top_venue", "value": top}]


def _venue_colours(venues: pd.DataFrame, palette: Palette) -> list[str]:
    standings = zip(venues.venue_rank, venues.is_top_venue, strict=True)
    return [palette.venue(rank) if is_top else palette.rest for rank, is_top in standings]


def _compact(number: float) -> str:
    return f"{number / 1000:.0f}k" if number >= 10_000 else f"{number:,.0f}"
