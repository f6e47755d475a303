"""The pictures, each a pure function from a data product to an Altair chart.

Ranks, tiers and standings come from the data products. Every chart takes a `Palette`: `PAPER` holds plain colours for
pictures that stand alone, `PAGE` holds CSS variables, so that an SVG follows the page into dark mode and onto paper.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from itertools import groupby
from operator import itemgetter
from typing import Any, Literal

import altair as alt
import pandas as pd

Width = int | Literal["container"]

FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Liberation Sans', Arial, sans-serif"
NARROW = 560  # pixels; below this width a chart leaves out labels that would run into each other
TIER_SHAPES = ("circle", "square", "diamond", "triangle-up", "triangle-down", "cross")
# The format ~s alone writes 0.5 as 500m.
THOUSANDS = "format(datum.value, datum.value < 1000 ? '~r' : '~s')"
MOST_DAYS_BY_MONTH = pd.Timedelta(days=730)
MOST_IN_TOOLTIP = 80  # characters of a name
TIER_HEADER_HEIGHT = 30
BAND_ROW_HEIGHT = 42


@dataclass(frozen=True)
class Palette:
    """The colours of the report; the venues' hues stay apart for the colour-blind (after Okabe and Ito's set)."""

    background: str
    surface: str
    ink: str
    soft_ink: str
    rule: str
    band: str
    accent: str
    accent_pale: str
    rest: str
    warning: str
    venue_1: str
    venue_2: str
    venue_3: str
    venue_4: str
    venue_5: str

    def venue(self, rank: int) -> str:
        """The colour of the top venue with this rank, 1 for the best; a sixth top venue starts over."""
        colours = (self.venue_1, self.venue_2, self.venue_3, self.venue_4, self.venue_5)
        return colours[(rank - 1) % len(colours)]

    def css(self) -> str:
        """The palette as declarations of the CSS variables that `PAGE` refers to."""
        return " ".join(f"{_css_variable(name)}: {value};" for name, value in vars(self).items())


def _css_variable(name: str) -> str:
    return "--" + name.replace("_", "-")


PAPER = Palette(
    background="#ffffff",
    surface="#ffffff",
    ink="#1b2330",
    soft_ink="#566173",
    rule="#dde2ea",
    band="#f1f4f8",
    accent="#33557f",
    accent_pale="#dbe6f3",
    rest="#b9c1cd",
    warning="#8a5300",
    venue_1="#0072b2",
    venue_2="#d55e00",
    venue_3="#009e73",
    venue_4="#cc79a7",
    venue_5="#b58900",
)
DARK = Palette(
    background="#10151d",
    surface="#19202b",
    ink="#edf1f7",
    soft_ink="#a7b2c2",
    rule="#323c4b",
    band="#222b38",
    accent="#8fb8ea",
    accent_pale="#26384f",
    rest="#566273",
    warning="#f0b95a",
    venue_1="#56b4e9",
    venue_2="#ff8f4d",
    venue_3="#2fcb9b",
    venue_4="#e79cc4",
    venue_5="#f0d24a",
)
PAGE = Palette(**{field.name: f"var({_css_variable(field.name)})" for field in fields(Palette)})


def ticket_sales_over_time_chart(
    sales: pd.DataFrame, palette: Palette = PAPER, width: Width = "container"
) -> alt.LayerChart:
    """Picture 1: tickets per festival, as bars over the years; years without a festival keep their place.

    Args:
        sales: `ticket_sales_over_time`, grain festival year x sale month.
        palette: colours to draw with.
        width: pixels, or as wide as the element it is put in.

    A festival that is not over is pale with a dashed outline and carries the words "on sale". The parameter
    `festival` holds the year to bring out, null for none.
    """
    festivals = festival_totals(sales)
    years = _every_year(sales)
    room_above = festivals.tickets_sold < 0.7 * festivals.tickets_sold.max()
    festivals = festivals.assign(
        note_at=festivals.tickets_sold.where(room_above, 0),
        status=_status(festivals.is_completed),
        fill=festivals.is_completed.map({True: palette.accent, False: palette.accent_pale}),
        outline=festivals.is_completed.map({True: "transparent", False: palette.accent}),
        label=[_compact(tickets) for tickets in festivals.tickets_sold],
    )
    held = set(festivals.festival_year)
    gaps = [{"festival_year": year} for year in years if year not in held]
    base = _chart(_rows(festivals))

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
    bars = base.mark_bar(
        cornerRadiusTopLeft=3, cornerRadiusTopRight=3, cursor="pointer", strokeWidth=1.5, strokeDash=[4, 3]
    ).encode(
        x=x,
        y=_tickets_axis("tickets_sold:Q", stack=None),
        fill=alt.Fill("fill:N", scale=None),
        stroke=alt.Stroke("outline:N", scale=None),
        opacity=_faint_if("festival !== null && datum.festival_year !== festival"),
        tooltip=[
            alt.Tooltip("festival_year:O", title="Festival"),
            alt.Tooltip("tickets_sold:Q", title="Tickets", format=","),
            alt.Tooltip("revenue:Q", title="Revenue", format="$,"),
            alt.Tooltip("status:N", title="Status"),
        ],
    )
    labels = base.mark_text(
        dy=-7, fontSize=11, color=palette.soft_ink, opacity=alt.ExprRef(f"width < {NARROW} ? 0 : 1")
    ).encode(x=x, y=alt.Y("tickets_sold:Q"), text=alt.Text("label:N"))
    upright: dict[str, Any] = {"angle": 270, "align": "left", "baseline": "middle", "fontSize": 11}
    clear_of_label = alt.ExprRef(f"datum.note_at > 0 && width >= {NARROW} ? 22 : 6")
    on_sale = (
        _chart(_rows(festivals[~festivals.is_completed]))
        .mark_text(**upright, text="on sale", dx=clear_of_label, fontWeight="bold", color=palette.ink)
        .encode(x=x, y=alt.Y("note_at:Q"))
    )
    no_festival = (
        _chart(gaps)
        .mark_text(**upright, text="no festival", dx=6, fontStyle="italic", color=palette.soft_ink)
        .encode(x=x, y=alt.YDatum(0))
    )
    notes = [no_festival] if festivals.is_completed.all() else [no_festival, on_sale]
    return _layered(
        [bars, labels, *notes],
        palette,
        parameter="festival",
        width=width,
        height=280,
        description="Bars: tickets sold per festival year; the festival still on sale is pale with a dashed outline.",
    )


def ticket_sales_by_month_chart(
    sales: pd.DataFrame, palette: Palette = PAPER, width: Width = "container"
) -> alt.LayerChart:
    """Picture 1, closer: tickets per month of sale, of all festivals or of the one in the parameter `festival`.

    Args and drawing as in `ticket_sales_over_time_chart`.
    """
    months = sales.assign(
        sale_month=[pd.Timestamp(month).strftime("%Y-%m-%d") for month in sales.sale_month],
        status=_status(sales.is_completed),
        fill=sales.is_completed.map({True: palette.accent, False: palette.accent_pale}),
    )
    bars = (
        _chart(_rows(months))
        .transform_filter("festival === null || datum.festival_year === festival")
        .mark_bar(stroke=palette.accent, strokeWidth=0.6)
        .encode(
            x=_sale_months_axis(sales),
            y=_tickets_axis("tickets_sold:Q", tick_count=3),
            fill=alt.Fill("fill:N", scale=None),
            detail=alt.Detail("festival_year:O"),
            tooltip=[
                alt.Tooltip("festival_year:O", title="Festival"),
                alt.Tooltip("utcyearmonth(sale_month):T", title="Sold in", format="%B %Y"),
                alt.Tooltip("tickets_sold:Q", title="Tickets", format=","),
                alt.Tooltip("revenue:Q", title="Revenue", format="$,"),
                alt.Tooltip("status:N", title="Status"),
            ],
        )
    )
    return _layered(
        [bars],
        palette,
        parameter="festival",
        width=width,
        height=130,
        description="Bars: tickets sold per month of sale, for all festivals or the chosen one.",
    )


def ticket_sales_by_venue_chart(
    sales: pd.DataFrame, palette: Palette = PAPER, width: Width = "container"
) -> alt.LayerChart:
    """Picture 2: tickets per venue over all completed festivals, best first; top venues in strong colours.

    Args:
        sales: `ticket_sales_by_venue`, grain venue x festival year, the all-time standing on each row.
        palette: colours to draw with.
        width: pixels, or as wide as the element it is put in.
    """
    venues = venue_standings(sales)
    venues = venues.assign(
        colour=_venue_colours(venues, palette),
        ranked_name=[f"{venue.venue_rank}. {venue.venue_name}" for venue in venues.itertuples()],
        tooltip_name=venues.venue_name.map(_tooltip_name),
        figures=[f"{venue.total_tickets_sold:,}  ·  {venue.share_of_tickets:.0%}" for venue in venues.itertuples()],
    )
    in_order = alt.Y("venue_id:N", sort=list(venues.venue_id), axis=None, scale=alt.Scale(paddingInner=0.2))
    base = _chart(_rows(venues)).encode(y=in_order)
    bars = base.mark_bar(height=12, cornerRadiusEnd=3, yOffset=9).encode(
        x=alt.X("total_tickets_sold:Q", axis=None),
        color=alt.Color("colour:N", scale=None),
        tooltip=[
            alt.Tooltip("tooltip_name:N", title="Venue"),
            alt.Tooltip("venue_rank:Q", title="Rank"),
            alt.Tooltip("total_tickets_sold:Q", title="Tickets", format=","),
            alt.Tooltip("share_of_tickets:Q", title="Share of all tickets", format=".1%"),
            alt.Tooltip("total_performances:Q", title="Performances", format=","),
            alt.Tooltip("capacity:Q", title="Capacity", format=","),
        ],
    )
    weight = alt.ExprRef("datum.is_top_venue ? 'bold' : 'normal'")
    text: dict[str, Any] = {"baseline": "middle", "dy": -7, "fontWeight": weight}
    names = base.mark_text(
        **text, x=0, align="left", fontSize=13, color=palette.ink, limit=alt.ExprRef("width - 130")
    ).encode(text=alt.Text("ranked_name:N"))
    figures = base.mark_text(**text, x="width", align="right", fontSize=12, color=palette.soft_ink).encode(
        text=alt.Text("figures:N")
    )
    return _layered(
        [bars, names, figures],
        palette,
        width=width,
        height=max(1, len(venues)) * 42,
        description="Bars: tickets sold per venue over all completed festivals, best first; top venues in colour.",
    )


def venue_sales_over_time_chart(
    sales: pd.DataFrame, palette: Palette = PAPER, width: Width = "container"
) -> alt.LayerChart:
    """Picture 2, closer: tickets per venue and festival as lines; a line breaks where the venue did not host.

    A festival that is not over is a hollow point off the line.

    Args as in `ticket_sales_by_venue_chart`. The parameter `venue` holds the venue_id to bring out, or null.
    """
    standings = venue_standings(sales)
    every_year = pd.MultiIndex.from_product(
        [standings.venue_id, _every_year(sales)], names=["venue_id", "festival_year"]
    )
    lines = (
        sales.set_index(["venue_id", "festival_year"])[["tickets_sold", "performances", "is_completed"]]
        .reindex(every_year)
        .reset_index()
        .merge(
            standings.assign(colour=_venue_colours(standings, palette))[
                ["venue_id", "venue_name", "venue_rank", "is_top_venue", "colour"]
            ],
            on="venue_id",
        )
        .sort_values(["is_top_venue", "venue_rank", "festival_year"], ascending=[True, False, True])
    )
    completed = lines.is_completed.eq(True)
    lines = lines.assign(
        tickets_of_completed=lines.tickets_sold.where(completed),
        status=_status(completed),
        tooltip_name=lines.venue_name.map(_tooltip_name),
        fill=lines.colour.where(completed, "transparent"),
        marker=lines.venue_rank.where(lines.is_top_venue, 1).astype(str),
    )
    base = _chart(_rows(lines)).encode(
        x=alt.X(
            "festival_year:Q",
            axis=alt.Axis(
                title=None,
                format="d",
                values=[int(year) for year in sorted(sales.festival_year.unique())],
                labelOverlap=True,
                grid=False,
            ),
            scale=alt.Scale(zero=False, nice=False, padding=10),
        ),
        detail=alt.Detail("venue_id:N"),
        opacity=_faint_if("venue !== null && datum.venue_id !== venue"),
    )
    paths = base.mark_line(invalid="break-paths-show-domains", strokeJoin="round").encode(
        y=_tickets_axis("tickets_of_completed:Q"),
        stroke=alt.Stroke("colour:N", scale=None),
        strokeWidth=alt.StrokeWidthValue(1.3, condition=_by_prominence(4, 2.5)),
    )
    points = (
        base.transform_filter("isValid(datum.tickets_sold)")
        .mark_point()
        .encode(
            y=_tickets_axis("tickets_sold:Q"),
            fill=alt.Fill("fill:N", scale=None),
            stroke=alt.Stroke("colour:N", scale=None),
            size=alt.SizeValue(16, condition=_by_prominence(95, 45)),
            shape=_shape("marker"),
            tooltip=[
                alt.Tooltip("tooltip_name:N", title="Venue"),
                alt.Tooltip("festival_year:O", title="Festival"),
                alt.Tooltip("tickets_sold:Q", title="Tickets", format=","),
                alt.Tooltip("performances:Q", title="Performances", format=","),
                alt.Tooltip("status:N", title="Status"),
            ],
        )
    )
    return _layered(
        [paths, points],
        palette,
        parameter="venue",
        width=width,
        height=300,
        description="Lines: tickets sold per venue and festival; the top venues in strong colours, the others muted.",
    )


def band_sales_chart(
    bands: pd.DataFrame, venue_id: int, venue_rank: int, palette: Palette = PAPER, width: Width = "container"
) -> alt.LayerChart:
    """Picture 3 for one venue: its top bands by average tickets per performance, parted into tiers.

    Args:
        bands: `band_sales_by_venue`, grain venue x band, of all venues, as the scale is common to the top ones.
        venue_id: the venue to draw.
        venue_rank: its all-time rank, which gives the colour it has in picture 2.
        palette: colours to draw with.
        width: pixels, or as wide as the element it is put in.

    A tier is a block with a heading, a shade and a shape of its own; the first is drawn in the venue's colour.
    """
    layers, height = _band_sales_layers(bands, venue_id, venue_rank, palette, alt.ExprRef("width"))
    return _layered(
        layers,
        palette,
        width=width,
        height=height,
        description="Dots: average tickets per performance of the venue's top bands, best first, in tiers.",
    )


def band_sales_of_top_venues_chart(bands: pd.DataFrame, venues: pd.DataFrame, width: int) -> alt.HConcatChart:
    """Picture 3 as one picture that stands alone: `band_sales_chart` of every top venue, side by side.

    Args:
        bands: `band_sales_by_venue`.
        venues: their standings, as `venue_standings` gives them.
        width: pixels of the whole picture.
    """
    top = venues[venues.is_top_venue]
    gap = 16
    share = (width - gap * (len(top) - 1)) // max(len(top), 1)
    panels = []
    for _, venue in top.iterrows():
        layers, height = _band_sales_layers(
            bands, int(venue.venue_id), int(venue.venue_rank), PAPER, alt.ExprRef(str(share))
        )
        title = alt.TitleParams(str(venue.venue_name), limit=share)
        panels.append(alt.LayerChart(layer=layers, width=share, height=height, title=title))
    return alt.HConcatChart(hconcat=panels, spacing=gap, config=_config(PAPER))


def festival_totals(sales: pd.DataFrame) -> pd.DataFrame:
    """Grain festival year, in order: `festival_year`, `tickets_sold`, `revenue`, `is_completed` (all of it)."""
    return sales.groupby("festival_year", as_index=False).agg(
        tickets_sold=("tickets_sold", "sum"), revenue=("revenue", "sum"), is_completed=("is_completed", "all")
    )


def venue_standings(sales: pd.DataFrame) -> pd.DataFrame:
    """Grain venue: the all-time standing that `ticket_sales_by_venue` repeats on each row, best rank first."""
    standing = ["venue_id", "venue_name", "capacity", "venue_rank", "is_top_venue", "share_of_tickets"]
    totals = ["total_tickets_sold", "total_revenue", "total_performances"]
    return sales.drop_duplicates("venue_id").sort_values("venue_rank")[[*standing, *totals]].reset_index(drop=True)


def _band_sales_layers(
    bands: pd.DataFrame, venue_id: int, venue_rank: int, palette: Palette, width: alt.ExprRef
) -> tuple[list[alt.Chart], int]:
    """The layers of `band_sales_chart` and their height in pixels; `width` is an expression of their width."""
    shown = bands[bands.is_top_venue & bands.is_top_band]
    best_average = float(shown.avg_tickets_per_performance.max()) if len(shown) else 1.0
    rows, tiers, height = _tier_blocks(bands[bands.venue_id == venue_id])
    for row in rows:
        row["colour"] = palette.venue(venue_rank) if row["tier"] == 1 else palette.soft_ink
    for tier in tiers:
        tier["shade"] = palette.band if tier["tier"] % 2 == 1 else palette.surface

    def at(position: str) -> alt.Y:
        return alt.Y(position, axis=None, scale=alt.Scale(domain=[0, height], nice=False, reverse=True))

    x = alt.X(
        "avg_tickets_per_performance:Q",
        scale=alt.Scale(domain=[0, best_average], nice=False, padding=7),
        axis=alt.Axis(
            title="average tickets per performance",
            tickCount=4,
            orient="bottom",
            grid=False,
            domain=False,
            labelExpr=THOUSANDS,
        ),
    )
    blocks = (
        _chart(tiers).mark_rect().encode(y=at("top:Q"), y2=alt.Y2("bottom:Q"), fill=alt.Fill("shade:N", scale=None))
    )
    parted = [tier for tier in tiers if tier["top"] > 0]
    rules = _chart(parted).mark_rule(strokeDash=[5, 4], color=palette.soft_ink).encode(y=at("top:Q"))
    left: dict[str, Any] = {"x": 0, "dx": 8, "align": "left", "baseline": "middle"}
    right: dict[str, Any] = {"x": "width", "dx": -8, "align": "right", "baseline": "middle"}
    headings = (
        _chart(tiers)
        .mark_text(
            **left,
            fontSize=11,
            fontWeight="bold",
            color=palette.soft_ink,
            limit=alt.ExprRef(f"{width.expr} - 16"),
        )
        .encode(y=at("heading_at:Q"), text=alt.Text("heading:N"))
    )
    base = _chart(rows)
    weight = alt.ExprRef("datum.tier === 1 ? 'bold' : 'normal'")
    tooltip = [
        alt.Tooltip("tooltip_name:N", title="Band"),
        alt.Tooltip("rank_in_venue:Q", title="Rank at this venue"),
        alt.Tooltip("avg_tickets_per_performance:Q", title="Average per performance", format=",.1f"),
        alt.Tooltip("performances:Q", title="Performances"),
        alt.Tooltip("tickets_sold:Q", title="Tickets", format=","),
        alt.Tooltip("revenue:Q", title="Revenue", format="$,"),
        alt.Tooltip("played:N", title="Festivals"),
        alt.Tooltip("tier_name:N", title="Tier"),
    ]
    names = base.mark_text(
        **left, fontSize=13, fontWeight=weight, color=palette.ink, limit=alt.ExprRef(f"{width.expr} - 122")
    ).encode(y=at("name_at:Q"), text=alt.Text("ranked_name:N"), tooltip=tooltip)
    figures = base.mark_text(**right, fontSize=12, fontWeight=weight, color=palette.ink).encode(
        y=at("name_at:Q"), text=alt.Text("figures:N")
    )
    stems = base.mark_bar(height=4, cornerRadiusEnd=2, opacity=0.55).encode(
        y=at("dot_at:Q"), x=x, x2=alt.X2Datum(0), fill=alt.Fill("colour:N", scale=None), tooltip=tooltip
    )
    dots = base.mark_point(filled=True, opacity=1, size=110).encode(
        y=at("dot_at:Q"),
        x=x,
        color=alt.Color("colour:N", scale=None),
        shape=_shape("tier_name"),
        tooltip=tooltip,
    )
    return [blocks, rules, headings, stems, dots, names, figures], height


def _tier_blocks(bands: pd.DataFrame) -> tuple[list[dict[str, Any]], list[dict[str, Any]], int]:
    """Lay out the top bands of one venue from top to bottom: rows, tier blocks and the whole height, in pixels."""
    shown = bands[bands.is_top_band].astype({"rank_in_venue": int, "tier": int}).sort_values(["tier", "rank_in_venue"])
    rows: list[dict[str, Any]] = []
    tiers: list[dict[str, Any]] = []
    bottom = 0
    for tier, in_order in groupby(_rows(shown), key=itemgetter("tier")):
        members = list(in_order)
        top = bottom
        bottom = top + TIER_HEADER_HEIGHT + BAND_ROW_HEIGHT * len(members) + 6
        in_tier = int((bands.tier == tier).sum())
        tiers.append(
            {
                "tier": tier,
                "top": top,
                "bottom": bottom,
                "heading_at": top + 17,
                "heading": _tier_heading(tier, len(members), in_tier),
            }
        )
        for place, band in enumerate(members):
            name_at = top + TIER_HEADER_HEIGHT + 10 + BAND_ROW_HEIGHT * place
            rows.append(
                band
                | {
                    "name_at": name_at,
                    "dot_at": name_at + 17,
                    "tier_name": str(tier),
                    "ranked_name": f"{band['rank_in_venue']}. {band['band_name']}",
                    "tooltip_name": _tooltip_name(band["band_name"]),
                    "figures": f"{band['avg_tickets_per_performance']:,.0f}  ·  {band['performances']} perf.",
                    "played": _played(band),
                }
            )
    return rows, tiers, max(bottom, 1)


def _rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
    return list(alt.to_values(frame)["values"])


def _chart(rows: list[dict[str, Any]]) -> alt.Chart:
    """A chart of rows that were converted once, as one of a frame converts that anew for each of its layers."""
    return alt.Chart({"values": rows})


def _tooltip_name(name: str) -> str:
    """Cut a name that would make a tooltip too high to be placed on a screen."""
    return name if len(name) <= MOST_IN_TOOLTIP else f"{name[:MOST_IN_TOOLTIP]}…"


def _tier_heading(tier: int, shown: int, in_tier: int) -> str:
    first = "MUST INVITE" if in_tier == 1 else "NEAR-EQUALS"
    name = first if tier == 1 else f"TIER {tier}"
    return name if shown == in_tier else f"{name}  ·  {shown} of {in_tier} shown"


def _played(band: dict[str, Any]) -> str:
    first, last = band["first_festival_year"], band["last_festival_year"]
    return f"{first}" if first == last else f"{band['festivals']}, {first} to {last}"


def _every_year(sales: pd.DataFrame) -> list[int]:
    """The years from the first festival to the last, those without a festival included."""
    years = sales.festival_year
    return list(range(int(years.min()), int(years.max()) + 1)) if len(years) else []


def _sale_months_axis(sales: pd.DataFrame) -> alt.X:
    """Return the axis of sale months, with a tick at every month or, for all festivals of many years, at every year."""
    months = pd.to_datetime(sales.sale_month)
    has_many_years = len(months) and months.max() - months.min() > MOST_DAYS_BY_MONTH
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


def _shape(field: str) -> alt.Shape:
    numbers = [str(number) for number in range(1, len(TIER_SHAPES) + 1)]
    return alt.Shape(f"{field}:N", legend=None, scale=alt.Scale(domain=numbers, range=list(TIER_SHAPES)))


def _venue_colours(venues: pd.DataFrame, palette: Palette) -> list[str]:
    return [
        palette.venue(int(rank)) if top else palette.rest
        for rank, top in zip(venues.venue_rank, venues.is_top_venue, strict=True)
    ]


def _compact(number: float) -> str:
    return f"{number / 1000:.0f}k" if number >= 10_000 else f"{number:,.0f}"


def _layered(
    layers: list[alt.Chart], palette: Palette, parameter: str | None = None, **properties: Any
) -> alt.LayerChart:
    """The layers as one chart; `parameter` is the name of one that the page sets, null at first.

    It is made at once, as a layered chart copies all of its layers, several times, for every property set later.
    """
    return alt.LayerChart(
        layer=layers,
        autosize=alt.AutoSizeParams(type="fit", contains="padding"),
        params=[alt.VariableParameter(name=parameter, value=None)] if parameter else alt.Undefined,
        config=_config(palette),
        **properties,
    )


def _config(palette: Palette) -> alt.Config:
    return alt.Config(
        background="transparent" if palette is PAGE else palette.surface,
        font=FONT,
        padding=2,
        view=alt.ViewConfig(stroke=None),
        title=alt.TitleConfig(anchor="start", fontSize=15, color=palette.ink),
        axis=alt.AxisConfig(
            labelColor=palette.soft_ink,
            titleColor=palette.soft_ink,
            gridColor=palette.rule,
            domainColor=palette.rule,
            tickColor=palette.rule,
            labelFontSize=12,
            titleFontSize=12,
            titleFontWeight="normal",
        ),
    )
