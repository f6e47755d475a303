"""Picture 3: the top bands of a venue by average tickets per performance, in tiers."""

from __future__ import annotations

from itertools import groupby
from operator import itemgetter
from typing import Any

import altair as alt
import pandas as pd

from acl_assets.report.drawing import (
    PAPER,
    THOUSANDS,
    Palette,
    Width,
    chart_of,
    config,
    layered,
    rows_of,
    shape,
    tooltip_name,
)

_TIER_HEADER_HEIGHT = 30
_BAND_ROW_HEIGHT = 42


def band_sales_chart(
    bands: pd.DataFrame, venue_id: int, venue_rank: int, palette: Palette = PAPER, width: Width = "container"
) -> alt.LayerChart:
    """Draw picture 3 for one venue from `band_sales_by_venue` of all venues, whose scale is common to the top ones.

    A tier is a block with a heading, a shade and a shape of its own. The first is drawn in the colour that the venue
    has in picture 2 by its rank.
    """
    layers, height = _band_sales_layers(bands, venue_id, venue_rank, palette, alt.ExprRef("width"))
    return layered(
        layers,
        palette,
        width=width,
        height=height,
        description="Dots: average tickets per performance of the venue's top bands, best first, in tiers.",
    )


def band_sales_of_top_venues_chart(bands: pd.DataFrame, venues: pd.DataFrame, width: int) -> alt.HConcatChart:
    """Draw `band_sales_chart` of every top venue in `venue_standings` side by side; `width` is that of the whole."""
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
    return alt.HConcatChart(hconcat=panels, spacing=gap, config=config(PAPER))


def _band_sales_layers(
    bands: pd.DataFrame, venue_id: int, venue_rank: int, palette: Palette, width: alt.ExprRef
) -> tuple[list[alt.Chart], int]:
    """Return the layers of `band_sales_chart` and their height in pixels; `width` is an expression of their width."""
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
        chart_of(tiers).mark_rect().encode(y=at("top:Q"), y2=alt.Y2("bottom:Q"), fill=alt.Fill("shade:N", scale=None))
    )
    parted = [tier for tier in tiers if tier["top"] > 0]
    rules = chart_of(parted).mark_rule(strokeDash=[5, 4], color=palette.soft_ink).encode(y=at("top:Q"))
    left: dict[str, Any] = {"x": 0, "dx": 8, "align": "left", "baseline": "middle"}
    right: dict[str, Any] = {"x": "width", "dx": -8, "align": "right", "baseline": "middle"}
    headings = (
        chart_of(tiers)
        .mark_text(
            **left,
            fontSize=11,
            fontWeight="bold",
            color=palette.soft_ink,
            limit=alt.ExprRef(f"{width.expr} - 16"),
        )
        .encode(y=at("heading_at:Q"), text=alt.Text("heading:N"))
    )
    base = chart_of(rows)
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
        shape=shape("tier_name"),
        tooltip=tooltip,
    )
    return [blocks, rules, headings, stems, dots, names, figures], height


def _tier_blocks(bands: pd.DataFrame) -> tuple[list[dict[str, Any]], list[dict[str, Any]], int]:
    """Return the rows of bands and the blocks of tiers of one venue with their places, and the height in pixels."""
    shown = bands[bands.is_top_band].astype({"rank_in_venue": int, "tier": int}).sort_values(["tier", "rank_in_venue"])
    rows: list[dict[str, Any]] = []
    tiers: list[dict[str, Any]] = []
    bottom = 0
    for tier, in_order in groupby(rows_of(shown), key=itemgetter("tier")):
        members = list(in_order)
        top = bottom
        bottom = top + _TIER_HEADER_HEIGHT + _BAND_ROW_HEIGHT * len(members) + 6
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
            name_at = top + _TIER_HEADER_HEIGHT + 10 + _BAND_ROW_HEIGHT * place
            rows.append(
                band
                | {
                    "name_at": name_at,
                    "dot_at": name_at + 17,
                    "tier_name": str(tier),
                    "ranked_name": f"{band['rank_in_venue']}. {band['band_name']}",
                    "tooltip_name": tooltip_name(band["band_name"]),
                    "figures": f"{band['avg_tickets_per_performance']:,.0f}  ·  {band['performances']} perf.",
                    "played": _played(band),
                }
            )
    return rows, tiers, max(bottom, 1)


def _tier_heading(tier: int, shown: int, in_tier: int) -> str:
    first = "MUST INVITE" if in_tier == 1 else "NEAR-EQUALS"
    name = first if tier == 1 else f"TIER {tier}"
    return name if shown == in_tier else f"{name}  ·  {shown} of {in_tier} shown"


def _played(band: dict[str, Any]) -> str:
    first, last = band["first_festival_year"], band["last_festival_year"]
    return f"{first}" if first == last else f"{band['festivals']}, {first} to {last}"
