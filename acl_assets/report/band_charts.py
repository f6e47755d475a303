"""Picture 3: the top bands of a venue by average tickets per performance, and how sure each figure is."""

from __future__ import annotations

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
    tooltip_name,
)

NAMED_VERDICTS = ("must invite", "near-equals", "leads on one show")
"""Verdicts of the bands that the verdict of their venue names."""

_ROW_HEIGHT = 54
_SURELY = 0.995  # rounds to 100 %, which no evidence gives
_BAND = alt.Tooltip("tooltip_name:N", title="Band")
_AVERAGE = alt.Tooltip("avg_tickets_per_performance:Q", title="Average per performance", format=",.1f")
_PERFORMANCES = alt.Tooltip("performances:Q", title="Performances")
_TOOLTIP = [
    _BAND,
    alt.Tooltip("verdict:N", title="Verdict"),
    _AVERAGE,
    alt.Tooltip("expected_tickets:Q", title="Expected", format=",.0f"),
    alt.Tooltip("interval:N", title="90 % interval"),
    _PERFORMANCES,
    alt.Tooltip("p_best:Q", title="Chance to be the best", format=".1%"),
    alt.Tooltip("p_top_group:Q", title="Chance to be in the top group", format=".1%"),
    alt.Tooltip("played:N", title="Festivals"),
]


def band_sales_chart(
    bands: pd.DataFrame, venue_id: int, venue_rank: int, palette: Palette = PAPER, width: Width = "container"
) -> alt.LayerChart:
    """Draw picture 3 for one venue from `band_sales_by_venue` of all venues, whose scale is common to the top ones.

    A dot is the average of a band, hollow when it rests on one performance. The bar is the 90 % interval of its mean,
    the tick its expected tickets. The bands that the verdict names have the colour that the venue has in picture 2 by
    its rank. A strip shows the averages of all bands at the venue.
    """
    layers, height = _panel(bands, venue_id, venue_rank, palette, "width")
    description = (
        "Dots: average tickets per performance of the venue's top bands, best first, with 90 % intervals. "
        "Strip below: the averages of all bands at the venue."
    )
    return layered(layers, palette, width, height=height, description=description)


def band_sales_of_top_venues_chart(
    bands: pd.DataFrame, venues: pd.DataFrame, verdicts: pd.DataFrame, width: int
) -> alt.HConcatChart:
    """Draw `band_sales_chart` of every top venue in `venue_verdicts` side by side; `width` is that of the whole."""
    judged = venues.merge(verdicts[["venue_id", "verdict", "bands"]], on="venue_id")
    gap = 16
    share = (width - gap * (len(judged) - 1)) // max(len(judged), 1)
    panels = []
    for _, venue in judged.iterrows():
        layers, height = _panel(bands, venue.venue_id, venue.venue_rank, PAPER, str(share))
        name, meaning = verdict_in_words(venue.verdict, venue.bands)
        title = alt.TitleParams(venue.venue_name, subtitle=f"{name}: {meaning}", limit=share)
        panels.append(alt.LayerChart(layer=layers, width=share, height=height, title=title))
    return alt.HConcatChart(hconcat=panels, spacing=gap, config=config(PAPER))


def verdict_in_words(verdict: str, bands: int) -> tuple[str, str]:
    """Return the name of the verdict on a venue, and what it means in a few words."""
    meaning = {
        "must invite": "one band leads clearly",
        "near-equals": f"{bands} bands share the lead",
        "leads on one show": "it may not last",
        "no clear lead": "the records do not tell",
    }[verdict]
    return verdict.capitalize(), meaning


def chance_text(chance: float) -> str:
    """Return a chance in per cent, never as certain or impossible."""
    if chance >= _SURELY:
        return "over 99 %"
    return "under 1 %" if chance < 1 - _SURELY else f"{100 * chance:.0f} %"


def _panel(
    bands: pd.DataFrame, venue_id: int, venue_rank: int, palette: Palette, width: str
) -> tuple[list[alt.Chart], int]:
    """Return the layers of one venue's picture, and its height in pixels; `width` is a Vega expression."""
    here = bands[bands.venue_id == venue_id]
    rows = _band_rows(here, palette.venue(venue_rank), palette)
    strip_at = _ROW_HEIGHT * len(rows) + 26
    height = strip_at + 18 if rows else 1
    scale = alt.Scale(domain=_domain(bands), nice=False, padding=8, clamp=True)
    axis = alt.Axis(
        title="average tickets per performance",
        tickCount=4,
        orient="bottom",
        grid=False,
        domain=False,
        labelExpr=THOUSANDS,
    )

    def at(position: str) -> alt.Y:
        return alt.Y(position, axis=None, scale=alt.Scale(domain=[0, height], nice=False, reverse=True))

    def tickets(field: str) -> alt.X:
        return alt.X(field, scale=scale, axis=axis)

    left: dict[str, Any] = {"x": 0, "dx": 8, "align": "left", "baseline": "middle"}
    right: dict[str, Any] = {"x": "width", "dx": -8, "align": "right", "baseline": "middle"}
    upper: dict[str, Any] = {
        "fontSize": 12,
        "color": palette.ink,
        "fontWeight": alt.ExprRef("datum.is_named ? 'bold' : 'normal'"),
    }
    lower: dict[str, Any] = {"fontSize": 11, "color": palette.soft_ink}
    colour = alt.Color("colour:N", scale=None)
    base = chart_of(rows)
    above, below, middle = at("name_at:Q"), at("chance_at:Q"), at("dot_at:Q")
    names = base.mark_text(**left, **upper, limit=alt.ExprRef(f"{width} - 66"))
    dots = base.mark_point(filled=True, opacity=1, size=90, strokeWidth=2)
    strip = _strip_rows(here, strip_at, palette)
    caption = [{"at": strip_at - 14, "text": f"all {len(here):,} bands" if len(here) > 1 else "the only band"}]
    layers = [
        base.mark_rule(strokeWidth=7, strokeCap="round", opacity=0.32).encode(
            y=middle, x=tickets("expected_low:Q"), x2="expected_high:Q", color=colour, tooltip=_TOOLTIP
        ),
        base.mark_tick(thickness=2, size=15, orient="vertical", opacity=1).encode(
            y=middle, x=tickets("expected_tickets:Q"), color=colour, tooltip=_TOOLTIP
        ),
        dots.encode(
            y=middle,
            x=tickets("avg_tickets_per_performance:Q"),
            stroke=alt.Stroke("colour:N", scale=None),
            fill=alt.Fill("fill:N", scale=None),
            tooltip=_TOOLTIP,
        ),
        names.encode(y=above, text=alt.Text("ranked_name:N"), tooltip=_TOOLTIP),
        base.mark_text(**right, **upper).encode(y=above, text=alt.Text("figures:N")),
        base.mark_text(**left, **lower).encode(y=below, text=alt.Text("chance:N")),
        base.mark_text(**right, **lower).encode(y=below, text=alt.Text("basis:N")),
        chart_of(strip)
        .mark_tick(thickness=1, size=12, orient="vertical", opacity=1)
        .encode(
            y=at("strip_at:Q"),
            x=tickets("avg_tickets_per_performance:Q"),
            color=colour,
            tooltip=[_BAND, _AVERAGE, _PERFORMANCES],
        ),
        chart_of(caption).mark_text(**left, **lower).encode(y=at("at:Q"), text=alt.Text("text:N")),
    ]
    return layers, height


def _domain(bands: pd.DataFrame) -> list[float]:
    """Return the tickets that the axis of every top venue spans: its top bands, and all but the lowest tenth of all."""
    at_top_venues = bands[bands.is_top_venue]
    shown = at_top_venues[at_top_venues.is_top_band]
    if shown.empty:
        return [0.0, 1.0]
    low = min(float(shown.expected_low.min()), float(at_top_venues.avg_tickets_per_performance.quantile(0.1)))
    high = max(float(shown.expected_high.max()), float(shown.avg_tickets_per_performance.max()))
    return [low, high if high > low else low + 1.0]


def _band_rows(here: pd.DataFrame, venue_colour: str, palette: Palette) -> list[dict[str, Any]]:
    """Return the top bands of a venue with their places and texts."""
    shown = here[here.is_top_band].astype({"rank_in_venue": int}).sort_values("rank_in_venue")
    rows = []
    for place, band in enumerate(rows_of(shown)):
        is_named = band["verdict"] in NAMED_VERDICTS
        colour = venue_colour if is_named else palette.soft_ink
        name_at = 12 + _ROW_HEIGHT * place
        at_least = "≥ " if band["sold_out_performances"] else ""
        first, last = band["first_festival_year"], band["last_festival_year"]
        rows.append(
            band
            | {
                "name_at": name_at,
                "chance_at": name_at + 15,
                "dot_at": name_at + 31,
                "is_named": is_named,
                "colour": colour,
                "fill": palette.surface if band["performances"] == 1 else colour,
                "ranked_name": f"{band['rank_in_venue']}. {band['band_name']}",
                "tooltip_name": tooltip_name(band["band_name"]),
                "figures": f"{at_least}{band['avg_tickets_per_performance']:,.0f}",
                "basis": "1 performance" if band["performances"] == 1 else f"{band['performances']} performances",
                "chance": _chance(band),
                "interval": f"{band['expected_low']:,.0f} to {band['expected_high']:,.0f}",
                "played": f"{first}" if first == last else f"{band['festivals']}, {first} to {last}",
            }
        )
    return rows


def _strip_rows(here: pd.DataFrame, strip_at: int, palette: Palette) -> list[dict[str, Any]]:
    columns = ["band_name", "avg_tickets_per_performance", "performances"]
    return [
        band | {"strip_at": strip_at, "colour": palette.soft_ink, "tooltip_name": tooltip_name(band["band_name"])}
        for band in rows_of(here[columns])
    ]


def _chance(band: dict[str, Any]) -> str:
    """Return how sure a leader is the best, and how likely another band is in the top group."""
    if band["verdict"] == "must invite":
        return f"{chance_text(band['p_best'])} sure the best"
    if band["verdict"] == "leads on one show":
        return "the best, by its only show"
    return f"{chance_text(band['p_top_group'])} in the top group"
