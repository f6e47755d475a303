"""The pictures, each a pure function from a data product to an Altair chart.

What belongs here: encodings, colours and layout. What does not: reading data, and HTML. Ranks, tiers and
standings are taken from the data products as they are; nothing is ranked anew here.

Every chart takes a `Palette`. `PAPER` holds plain colours for pictures that stand alone; `PAGE` holds CSS
variables, so that one drawing follows the page into dark mode and onto paper without being drawn again (SVG only).
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Literal

import altair as alt
import pandas as pd

Width = int | Literal["container"]

FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Liberation Sans', Arial, sans-serif"
NARROW = 560  # pixels; below this width a chart leaves out labels that would run into each other
TIER_SHAPES = ("circle", "square", "diamond", "triangle-up", "triangle-down", "cross")
THOUSANDS = "datum.value === 0 ? '0' : format(datum.value, '~s')"
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
    gaps = pd.DataFrame({"festival_year": [year for year in years if year not in set(festivals.festival_year)]})

    x = (
        alt.X("festival_year:O")
        .scale(domain=years, paddingInner=0.22)
        .axis(
            title=None,
            labelAngle=0,
            labelExpr=f'width < {NARROW} ? "\'" + slice(datum.label, -2) : datum.label',
            labelOverlap=True,
            ticks=False,
            domain=False,
        )
    )
    bars = (
        alt.Chart(festivals)
        .mark_bar(cornerRadiusTopLeft=3, cornerRadiusTopRight=3, cursor="pointer", strokeWidth=1.5, strokeDash=[4, 3])
        .encode(
            x=x,
            y=_tickets_axis("tickets_sold:Q").stack(None),
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
    )
    labels = (
        alt.Chart(festivals)
        .mark_text(dy=-7, fontSize=11, color=palette.soft_ink, opacity=alt.ExprRef(f"width < {NARROW} ? 0 : 1"))
        .encode(x=x, y="tickets_sold:Q", text="label:N")
    )
    upright: dict[str, Any] = {"angle": 270, "align": "left", "baseline": "middle", "fontSize": 11}
    clear_of_label = alt.ExprRef(f"datum.note_at > 0 && width >= {NARROW} ? 22 : 6")
    on_sale = (
        alt.Chart(festivals[~festivals.is_completed])
        .mark_text(**upright, text="on sale", dx=clear_of_label, fontWeight="bold", color=palette.ink)
        .encode(x=x, y="note_at:Q")
    )
    no_festival = (
        alt.Chart(gaps)
        .mark_text(**upright, text="no festival", dx=6, fontStyle="italic", color=palette.soft_ink)
        .encode(x=x, y=alt.YDatum(0))
    )
    chosen = alt.param(name="festival", value=None)
    notes = [no_festival] if festivals.is_completed.all() else [no_festival, on_sale]
    return _finish(_layered(bars, labels, *notes).add_params(chosen), palette, width, height=280).properties(
        description="Bars: tickets sold per festival year; the festival still on sale is pale with a dashed outline."
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
        alt.Chart(months)
        .transform_filter("festival === null || datum.festival_year === festival")
        .mark_bar(stroke=palette.accent, strokeWidth=0.6)
        .encode(
            x=alt.X("utcyearmonth(sale_month):T").axis(
                title=None,
                format="%Y",
                labelExpr="festival === null ? utcFormat(datum.value, '%Y') : utcFormat(datum.value, '%b')",
                tickCount=alt.ExprRef(f"festival === null ? (width < {NARROW} ? 6 : 12) : 8"),
                grid=False,
            ),
            y=_tickets_axis("tickets_sold:Q", tick_count=3),
            fill=alt.Fill("fill:N", scale=None),
            detail="festival_year:O",
            tooltip=[
                alt.Tooltip("festival_year:O", title="Festival"),
                alt.Tooltip("utcyearmonth(sale_month):T", title="Sold in", format="%B %Y"),
                alt.Tooltip("tickets_sold:Q", title="Tickets", format=","),
                alt.Tooltip("revenue:Q", title="Revenue", format="$,"),
                alt.Tooltip("status:N", title="Status"),
            ],
        )
    )
    chosen = alt.param(name="festival", value=None)
    return _finish(_layered(bars).add_params(chosen), palette, width, height=130).properties(
        description="Bars: tickets sold per month of sale, for all festivals or the chosen one."
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
        figures=[f"{venue.total_tickets_sold:,}  ·  {venue.share_of_tickets:.0%}" for venue in venues.itertuples()],
    )
    in_order = alt.Y("venue_id:N", sort=list(venues.venue_id), axis=None).scale(paddingInner=0.2)
    base = alt.Chart(venues).encode(y=in_order)
    bars = base.mark_bar(height=12, cornerRadiusEnd=3, yOffset=9).encode(
        x=alt.X("total_tickets_sold:Q", axis=None),
        color=alt.Color("colour:N", scale=None),
        tooltip=[
            alt.Tooltip("venue_name:N", title="Venue"),
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
    ).encode(text="ranked_name:N")
    figures = base.mark_text(**text, x="width", align="right", fontSize=12, color=palette.soft_ink).encode(
        text="figures:N"
    )
    return _finish(_layered(bars, names, figures), palette, width, height=max(1, len(venues)) * 42).properties(
        description="Bars: tickets sold per venue over all completed festivals, best first; top venues in colour."
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
        fill=lines.colour.where(completed, "transparent"),
        marker=lines.venue_rank.where(lines.is_top_venue, 1).astype(str),
    )
    chosen = alt.param(name="venue", value=None)
    base = alt.Chart(lines).encode(
        x=alt.X("festival_year:Q")
        .axis(title=None, format="d", tickMinStep=1, labelOverlap=True, grid=False)
        .scale(zero=False, nice=False, padding=10),
        detail="venue_id:N",
        opacity=_faint_if("venue !== null && datum.venue_id !== venue"),
    )
    paths = base.mark_line(invalid="break-paths-show-domains", strokeJoin="round").encode(
        y=_tickets_axis("tickets_of_completed:Q"),
        stroke=alt.Stroke("colour:N", scale=None),
        strokeWidth=_by_prominence(4, 2.5, 1.3),
    )
    points = (
        base.transform_filter("isValid(datum.tickets_sold)")
        .mark_point()
        .encode(
            y=_tickets_axis("tickets_sold:Q"),
            fill=alt.Fill("fill:N", scale=None),
            stroke=alt.Stroke("colour:N", scale=None),
            size=_by_prominence(95, 45, 16),
            shape=_shape("marker"),
            tooltip=[
                alt.Tooltip("venue_name:N", title="Venue"),
                alt.Tooltip("festival_year:O", title="Festival"),
                alt.Tooltip("tickets_sold:Q", title="Tickets", format=","),
                alt.Tooltip("performances:Q", title="Performances", format=","),
                alt.Tooltip("status:N", title="Status"),
            ],
        )
    )
    return _finish(_layered(paths, points).add_params(chosen), palette, width, height=300).properties(
        description="Lines: tickets sold per venue and festival; the top venues in strong colours, the others muted."
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
    return _finish(layers, palette, width, height).properties(
        description="Dots: average tickets per performance of the venue's top bands, best first, in tiers."
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
        panels.append(layers.properties(width=share, height=height, title=str(venue.venue_name)))
    return _configured(alt.hconcat(*panels, spacing=gap), PAPER)


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
) -> tuple[alt.LayerChart, int]:
    """The layers of `band_sales_chart` and their height in pixels; `width` is an expression of their width."""
    shown = bands[bands.is_top_venue & bands.is_top_band]
    best_average = float(shown.avg_tickets_per_performance.max()) if len(shown) else 1.0
    rows, tiers, height = _tier_blocks(bands[bands.venue_id == venue_id])
    rows = rows.assign(colour=(rows.tier == 1).map({True: palette.venue(venue_rank), False: palette.soft_ink}))
    tiers = tiers.assign(shade=(tiers.tier % 2 == 1).map({True: palette.band, False: palette.surface}))

    def at(position: str) -> alt.Y:
        return alt.Y(position, axis=None).scale(domain=[0, height], nice=False, reverse=True)

    x = (
        alt.X("avg_tickets_per_performance:Q")
        .scale(domain=[0, best_average], nice=False, padding=7)
        .axis(
            title="average tickets per performance",
            tickCount=4,
            orient="bottom",
            grid=False,
            domain=False,
            labelExpr=THOUSANDS,
        )
    )
    blocks = alt.Chart(tiers).mark_rect().encode(y=at("top:Q"), y2="bottom:Q", fill=alt.Fill("shade:N", scale=None))
    rules = alt.Chart(tiers[tiers.top > 0]).mark_rule(strokeDash=[5, 4], color=palette.soft_ink).encode(y=at("top:Q"))
    left: dict[str, Any] = {"x": 0, "dx": 8, "align": "left", "baseline": "middle"}
    right: dict[str, Any] = {"x": "width", "dx": -8, "align": "right", "baseline": "middle"}
    headings = (
        alt.Chart(tiers)
        .mark_text(
            **left,
            fontSize=11,
            fontWeight="bold",
            color=palette.soft_ink,
            limit=alt.ExprRef(f"{width.expr} - 16"),
        )
        .encode(y=at("heading_at:Q"), text="heading:N")
    )
    base = alt.Chart(rows)
    weight = alt.ExprRef("datum.tier === 1 ? 'bold' : 'normal'")
    tooltip = [
        alt.Tooltip("band_name:N", title="Band"),
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
    ).encode(y=at("name_at:Q"), text="ranked_name:N", tooltip=tooltip)
    figures = base.mark_text(**right, fontSize=12, fontWeight=weight, color=palette.ink).encode(
        y=at("name_at:Q"), text="figures:N"
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
    return _layered(blocks, rules, headings, stems, dots, names, figures), height


def _tier_blocks(bands: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame, int]:
    """Lay out the top bands of one venue from top to bottom: rows, tier blocks and the whole height, in pixels."""
    shown = bands[bands.is_top_band].astype({"rank_in_venue": int, "tier": int}).sort_values("rank_in_venue")
    rows: list[dict[Any, Any]] = []
    tiers: list[dict[str, Any]] = []
    bottom = 0
    for tier, members in shown.groupby("tier"):
        top = bottom
        bottom = top + TIER_HEADER_HEIGHT + BAND_ROW_HEIGHT * len(members) + 6
        in_tier = int((bands.tier == tier).sum())
        tiers.append(
            {
                "tier": tier,
                "top": top,
                "bottom": bottom,
                "heading_at": top + 17,
                "heading": _tier_heading(int(str(tier)), len(members), in_tier),
            }
        )
        for place, band in enumerate(members.to_dict("records")):
            name_at = top + TIER_HEADER_HEIGHT + 10 + BAND_ROW_HEIGHT * place
            rows.append(
                band
                | {
                    "name_at": name_at,
                    "dot_at": name_at + 17,
                    "tier_name": str(tier),
                    "ranked_name": f"{band['rank_in_venue']}. {band['band_name']}",
                    "figures": f"{band['avg_tickets_per_performance']:,.0f}  ·  {band['performances']} perf.",
                    "played": _played(band),
                }
            )
    row_columns = [*bands.columns, "name_at", "dot_at", "tier_name", "ranked_name", "figures", "played"]
    tier_columns = ["tier", "top", "bottom", "heading_at", "heading"]
    return pd.DataFrame(rows, columns=row_columns), pd.DataFrame(tiers, columns=tier_columns), max(bottom, 1)


def _tier_heading(tier: int, shown: int, in_tier: int) -> str:
    first = "MUST INVITE" if in_tier == 1 else "NEAR-EQUALS"
    name = first if tier == 1 else f"TIER {tier}"
    return name if shown == in_tier else f"{name}  ·  {shown} of {in_tier} shown"


def _played(band: dict[Any, Any]) -> str:
    first, last = band["first_festival_year"], band["last_festival_year"]
    return f"{first}" if first == last else f"{band['festivals']}, {first} to {last}"


def _every_year(sales: pd.DataFrame) -> list[int]:
    """The years from the first festival to the last, those without a festival included."""
    years = sales.festival_year
    return list(range(int(years.min()), int(years.max()) + 1)) if len(years) else []


def _tickets_axis(field: str, tick_count: int = 4) -> alt.Y:
    return alt.Y(field).axis(title=None, labelExpr=THOUSANDS, tickCount=tick_count, domain=False, ticks=False)


def _status(is_completed: pd.Series) -> pd.Series:
    return is_completed.map({True: "completed", False: "still on sale"})


def _faint_if(expression: str) -> Any:
    return alt.when(expression).then(alt.value(0.25)).otherwise(alt.value(1))


def _by_prominence(brought_out: float, top: float, rest: float) -> Any:
    chosen = alt.when("datum.venue_id === venue").then(alt.value(brought_out))
    return chosen.when("datum.is_top_venue").then(alt.value(top)).otherwise(alt.value(rest))


def _shape(field: str) -> alt.Shape:
    numbers = [str(number) for number in range(1, len(TIER_SHAPES) + 1)]
    return alt.Shape(f"{field}:N", legend=None).scale(domain=numbers, range=list(TIER_SHAPES))


def _venue_colours(venues: pd.DataFrame, palette: Palette) -> list[str]:
    return [
        palette.venue(int(rank)) if top else palette.rest
        for rank, top in zip(venues.venue_rank, venues.is_top_venue, strict=True)
    ]


def _compact(number: float) -> str:
    return f"{number / 1000:.0f}k" if number >= 10_000 else f"{number:,.0f}"


def _layered(*layers: alt.Chart) -> alt.LayerChart:
    return alt.LayerChart(layer=list(layers))


def _finish(chart: alt.LayerChart, palette: Palette, width: Width, height: int) -> alt.LayerChart:
    sized = chart.properties(width=width, height=height, autosize=alt.AutoSizeParams(type="fit", contains="padding"))
    return _configured(sized, palette)


def _configured(chart: Any, palette: Palette) -> Any:
    return (
        chart.configure(background="transparent" if palette is PAGE else palette.surface, font=FONT, padding=2)
        .configure_view(stroke=None)
        .configure_title(anchor="start", fontSize=15, color=palette.ink)
        .configure_axis(
            labelColor=palette.soft_ink,
            titleColor=palette.soft_ink,
            gridColor=palette.rule,
            domainColor=palette.rule,
            tickColor=palette.rule,
            labelFontSize=12,
            titleFontSize=12,
            titleFontWeight="normal",
        )
    )
