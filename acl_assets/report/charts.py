"""Pictures 1 and 2: tickets over time and per venue, as Altair charts of the data products.

Each chart is drawn for a width in pixels. The field `facts` of a mark is its label in the page: the name of what it
stands for on the first line, then its figures.
"""

from __future__ import annotations

from typing import Any

import altair as alt
import pandas as pd

from acl_assets.report.drawing import INK, MEDIUM, THOUSANDS, chart_of, facts, layered, lines_of, shape

_MOST_DAYS_BY_MONTH = pd.Timedelta(days=730)
_FACTS = alt.Description("facts:N")


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
        fill=festivals.is_completed.map({True: INK.accent, False: INK.accent_pale}),
        outline=festivals.is_completed.map({True: "transparent", False: INK.accent}),
        label=[_compact(tickets) for tickets in festivals.tickets_sold],
        facts=[
            facts(
                row.festival_year,
                tickets=f"{row.tickets_sold:,}",
                revenue=f"${row.revenue:,}",
                status=_status(row.is_completed),
            )
            for row in festivals.itertuples()
        ],
    )
    gaps = [{"festival_year": year} for year in years if year not in set(festivals.festival_year)]
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
    base = chart_of(festivals).encode(x=x)
    bars = base.mark_bar(cornerRadiusTopLeft=3, cornerRadiusTopRight=3, strokeWidth=1.5, strokeDash=[4, 3]).encode(
        y=_tickets_axis("tickets_sold:Q", stack=None),
        fill=alt.Fill("fill:N", scale=None),
        stroke=alt.Stroke("outline:N", scale=None),
        description=_FACTS,
    )
    labels = base.mark_text(dy=-7, fontSize=11, color=INK.soft_ink, aria=False).encode(
        y=alt.Y("tickets_sold:Q"), text=alt.Text("label:N")
    )
    upright: dict[str, Any] = {"angle": 270, "align": "left", "baseline": "middle", "fontSize": 11, "aria": False}
    no_festival = (
        chart_of(gaps)
        .mark_text(**upright, text="no festival", dx=6, fontStyle="italic", color=INK.soft_ink)
        .encode(x=x, y=alt.YDatum(0))
    )
    clear_of_label = alt.ExprRef("datum.note_at > 0 ? 22 : 6") if is_wide else 6
    on_sale = (
        chart_of(festivals[~festivals.is_completed])
        .mark_text(**upright, text="on sale", dx=clear_of_label, fontWeight="bold", color=INK.ink)
        .encode(x=x, y=alt.Y("note_at:Q"))
    )
    notes = [no_festival] if festivals.is_completed.all() else [no_festival, on_sale]
    return layered([bars, *([labels] if is_wide else []), *notes], width, height=280)


def sales_by_month_chart(sales: pd.DataFrame, width: int) -> alt.LayerChart:
    """Draw tickets per month of sale."""
    sold_in = pd.to_datetime(sales.sale_month)
    months = sales.assign(
        sale_month=[f"{month:%Y-%m-%d}" for month in sold_in],
        fill=sales.is_completed.map({True: INK.accent, False: INK.accent_pale}),
        facts=[
            facts(
                row.festival_year,
                sold_in=f"{month:%B %Y}",
                tickets=f"{row.tickets_sold:,}",
                revenue=f"${row.revenue:,}",
                status=_status(row.is_completed),
            )
            for row, month in zip(sales.itertuples(), sold_in, strict=True)
        ],
    )
    bars = (
        chart_of(months)
        .mark_bar(stroke=INK.accent, strokeWidth=0.6)
        .encode(
            x=_sale_months_axis(sales),
            y=_tickets_axis("tickets_sold:Q", tick_count=3),
            fill=alt.Fill("fill:N", scale=None),
            detail=alt.Detail("festival_year:O"),
            description=_FACTS,
        )
    )
    return layered([bars], width, height=130)


def sales_by_venue_chart(sales: pd.DataFrame, width: int) -> alt.LayerChart:
    """Draw picture 2 from `ticket_sales_by_venue`: tickets per venue over all completed festivals, best first."""
    venues = venue_standings(sales)
    names = [lines_of(f"{venue.venue_rank}. {venue.venue_name}", width // 9) for venue in venues.itertuples()]
    line = 16
    # The row of a venue: the lines of its name, then its bar with the figures.
    heights = pd.Series([line * len(lines) + 26 for lines in names], dtype=int)
    top = heights.cumsum() - heights
    venues = venues.assign(
        colour=_venue_colours(venues),
        name=pd.Series(names, dtype=object),
        name_at=top + 10,
        bar_at=top + heights - 17,
        top=top,
        bottom=top + heights,
        figures=[f"{venue.total_tickets_sold:,}  ·  {venue.share_of_tickets:.0%}" for venue in venues.itertuples()],
        facts=[
            facts(
                venue.venue_name,
                rank=venue.venue_rank,
                tickets=f"{venue.total_tickets_sold:,}",
                share_of_all_tickets=f"{venue.share_of_tickets:.1%}",
                revenue=f"${venue.total_revenue:,}",
                performances=f"{venue.total_performances:,}",
                capacity=f"{venue.capacity:,}",
            )
            for venue in venues.itertuples()
        ],
    )
    height = int(heights.sum()) or 1

    def at(position: str) -> alt.Y:
        return alt.Y(position, axis=None, scale=alt.Scale(domain=[0, height], nice=False, reverse=True))

    most = max(1, int(venues.total_tickets_sold.max())) if len(venues) else 1
    tickets = alt.X(
        "total_tickets_sold:Q", axis=None, scale=alt.Scale(domain=[0, most], range=[0, width - 120], nice=False)
    )
    base = chart_of(venues)
    text: dict[str, Any] = {"align": "left", "baseline": "middle", "aria": False}
    weight = alt.ExprRef("datum.is_top_venue ? 'bold' : 'normal'")
    layers = [
        base.mark_bar(orient="horizontal", size=12, cornerRadiusEnd=3, aria=False).encode(
            x=tickets, y=at("bar_at:Q"), color=alt.Color("colour:N", scale=None)
        ),
        base.mark_text(
            **text, x=0, fontSize=13, fontWeight=weight, color=INK.ink, lineHeight=line, limit=width - 50
        ).encode(y=at("name_at:Q"), text=alt.Text("name:N")),
        base.mark_text(**text, dx=7, fontSize=12, color=INK.soft_ink).encode(
            x=tickets, y=at("bar_at:Q"), text=alt.Text("figures:N")
        ),
        row_areas(base, at("top:Q")),
    ]
    return layered(layers, width, height)


def venues_over_time_chart(sales: pd.DataFrame, width: int) -> alt.LayerChart:
    """Draw tickets per venue and festival from `ticket_sales_by_venue`, as lines.

    A line breaks where the venue did not host. A festival that is not over is a hollow point off the line.
    """
    venues = venue_standings(sales)
    venues = venues.assign(colour=_venue_colours(venues))
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
        marker=lines.venue_rank.where(lines.is_top_venue, 1).astype(str),
        name=[facts(name) for name in lines.venue_name],
        facts=[
            facts(
                row.venue_name,
                festival=row.festival_year,
                tickets=f"{row.tickets_sold:,.0f}",
                performances=f"{row.performances:,.0f}",
                status=_status(row.is_completed),
            )
            for row in lines.itertuples()
        ],
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
    )
    paths = base.mark_line(invalid="break-paths-show-domains", strokeJoin="round").encode(
        y=_tickets_axis("tickets_of_completed:Q"),
        strokeWidth=alt.StrokeWidthValue(1.3, condition=_if_top(2.5)),
        description=alt.Description("name:N"),
    )
    points = (
        base.transform_filter("isValid(datum.tickets_sold)")
        .mark_point()
        .encode(
            y=_tickets_axis("tickets_sold:Q"),
            fill=alt.Fill("fill:N", scale=None),
            size=alt.SizeValue(16, condition=_if_top(45)),
            shape=shape("marker"),
            description=_FACTS,
        )
    )
    return layered([paths, points], width, height=300)


def row_areas(base: alt.Chart, top: alt.Y) -> alt.Chart:
    """Return areas to point at, as wide as the chart, from the fields `top` to `bottom`, labelled with the `facts`."""
    return base.mark_rect(x=0, x2="width", color="transparent").encode(y=top, y2="bottom:Q", description=_FACTS)


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
    """Return the axis of sale months, with a tick at every month or, over many years, at every year."""
    months = pd.to_datetime(sales.sale_month)
    has_many_years = len(months) and months.max() - months.min() > _MOST_DAYS_BY_MONTH
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


def _status(is_completed: object) -> str:
    return "completed" if is_completed else "still on sale"


def _if_top(value: float) -> list[dict[str, Any]]:
    return [{"test": "datum.is_top_venue", "value": value}]


def _venue_colours(venues: pd.DataFrame) -> list[str]:
    standings = zip(venues.venue_rank, venues.is_top_venue, strict=True)
    return [INK.venue(rank) if is_top else INK.rest for rank, is_top in standings]


def _compact(number: float) -> str:
    return f"{number / 1000:.0f}k" if number >= 10_000 else f"{number:,.0f}"
