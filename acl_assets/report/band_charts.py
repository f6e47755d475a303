"""Picture 3: the top bands of a venue by average tickets per performance, and how sure each figure is."""

from __future__ import annotations

from typing import Any

import altair as alt
import pandas as pd

from acl_assets.report.charts import row_areas
from acl_assets.report.drawing import INK, NARROW, THOUSANDS, chart_of, facts, layered, lines_of, rows_of

NAMED_VERDICTS = ("must invite", "near-equals", "leads on one show")
"""Verdicts of the bands that the verdict of their venue names."""

_ROW_HEIGHT = 54
_NAME_LINE = 15
_LETTERS_OF_NAME = 30  # on a line, next to the average
_SURELY = 0.995  # rounds to 100 %, which no evidence gives


def band_sales_chart(bands: pd.DataFrame, venue_id: int, venue_rank: int) -> alt.LayerChart:
    """Draw picture 3 for one venue from `band_sales_by_venue` of all venues, whose scale is common to the top ones.

    A dot is the average of a band, hollow when it rests on one performance. The bar is the 90 % interval of its mean,
    the tick its expected tickets. The bands that the verdict names have the colour that the venue has in picture 2 by
    its rank. A strip shows the averages of all bands at the venue.
    """
    here = bands[bands.venue_id == venue_id]
    rows = _band_rows(here, INK.venue(venue_rank))
    strip_at = 26 + (rows[-1]["bottom"] if rows else 0)
    height = strip_at + 18 if rows else 1
    strip = [{"average": average, "strip_at": strip_at} for average in here.avg_tickets_per_performance]
    caption = [{"at": strip_at - 14, "text": f"all {len(here):,} bands" if len(here) > 1 else "the only band"}]
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

    left: dict[str, Any] = {"x": 0, "dx": 8, "align": "left", "baseline": "middle", "aria": False}
    right: dict[str, Any] = {"x": "width", "dx": -8, "align": "right", "baseline": "middle", "aria": False}
    upper: dict[str, Any] = {
        "fontSize": 12,
        "color": INK.ink,
        "fontWeight": alt.ExprRef("datum.is_named ? 'bold' : 'normal'"),
    }
    lower: dict[str, Any] = {"fontSize": 11, "color": INK.soft_ink}
    colour = alt.Color("colour:N", scale=None)
    base = chart_of(rows)
    above, below, middle = at("name_at:Q"), at("chance_at:Q"), at("dot_at:Q")
    layers = [
        base.mark_rule(strokeWidth=7, strokeCap="round", opacity=0.32, aria=False).encode(
            y=middle, x=tickets("expected_low:Q"), x2="expected_high:Q", color=colour
        ),
        base.mark_tick(thickness=2, size=15, orient="vertical", opacity=1, aria=False).encode(
            y=middle, x=tickets("expected_tickets:Q"), color=colour
        ),
        base.mark_point(filled=True, opacity=1, size=90, strokeWidth=2, aria=False).encode(
            y=middle,
            x=tickets("avg_tickets_per_performance:Q"),
            stroke=alt.Stroke("colour:N", scale=None),
            fill=alt.Fill("fill:N", scale=None),
        ),
        base.mark_text(**left, **upper, lineHeight=_NAME_LINE, limit=NARROW - 66).encode(
            y=above, text=alt.Text("name:N")
        ),
        base.mark_text(**right, **upper).encode(y=above, text=alt.Text("figures:N")),
        base.mark_text(**left, **lower).encode(y=below, text=alt.Text("chance:N")),
        base.mark_text(**right, **lower).encode(y=below, text=alt.Text("basis:N")),
        chart_of(strip)
        .mark_tick(thickness=1, size=12, orient="vertical", opacity=1, color=INK.soft_ink, aria=False)
        .encode(y=at("strip_at:Q"), x=tickets("average:Q")),
        chart_of(caption).mark_text(**left, **lower).encode(y=at("at:Q"), text=alt.Text("text:N")),
        row_areas(base, at("top:Q")),
    ]
    return layered(layers, NARROW, height)


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


def _domain(bands: pd.DataFrame) -> list[float]:
    """Return the tickets that the axis of every top venue spans: its top bands, and all but the lowest tenth of all."""
    at_top_venues = bands[bands.is_top_venue]
    shown = at_top_venues[at_top_venues.is_top_band]
    if shown.empty:
        return [0.0, 1.0]
    low = min(float(shown.expected_low.min()), float(at_top_venues.avg_tickets_per_performance.quantile(0.1)))
    high = max(float(shown.expected_high.max()), float(shown.avg_tickets_per_performance.max()))
    return [low, high if high > low else low + 1.0]


def _band_rows(here: pd.DataFrame, venue_colour: str) -> list[dict[str, Any]]:
    """Return the top bands of a venue with their places and texts."""
    shown = here[here.is_top_band].astype({"rank_in_venue": int}).sort_values("rank_in_venue")
    rows: list[dict[str, Any]] = []
    for band in rows_of(shown):
        is_named = band["verdict"] in NAMED_VERDICTS
        colour = venue_colour if is_named else INK.soft_ink
        name = lines_of(f"{band['rank_in_venue']}. {band['band_name']}", _LETTERS_OF_NAME)
        top = rows[-1]["bottom"] if rows else 0
        chance_at = top + 12 + _NAME_LINE * len(name)
        at_least = "≥ " if band["sold_out_performances"] else ""
        rows.append(
            band
            | {
                "top": top,
                "name_at": top + 12,
                "chance_at": chance_at,
                "dot_at": chance_at + 16,
                "bottom": top + _ROW_HEIGHT + _NAME_LINE * (len(name) - 1),
                "is_named": is_named,
                "colour": colour,
                "fill": INK.surface if band["performances"] == 1 else colour,
                "name": name,
                "figures": f"{at_least}{band['avg_tickets_per_performance']:,.0f}",
                "basis": "1 performance" if band["performances"] == 1 else f"{band['performances']} performances",
                "chance": _chance(band),
                "facts": _facts(band),
            }
        )
    return rows


def _facts(band: dict[str, Any]) -> str:
    first, last = band["first_festival_year"], band["last_festival_year"]
    return facts(
        band["band_name"],
        verdict=band["verdict"],
        average_per_performance=f"{band['avg_tickets_per_performance']:,.1f}",
        expected=f"{band['expected_tickets']:,.0f} ({band['expected_low']:,.0f} to {band['expected_high']:,.0f})",
        performances=band["performances"],
        chance_to_be_the_best=chance_text(band["p_best"]),
        chance_to_be_in_the_top_group=chance_text(band["p_top_group"]),
        festivals=f"{first}" if first == last else f"{band['festivals']}, {first} to {last}",
    )


def _chance(band: dict[str, Any]) -> str:
    """Return how sure a leader is the best, and how likely another band is in the top group."""
    if band["verdict"] == "must invite":
        return f"{chance_text(band['p_best'])} sure the best"
    if band["verdict"] == "leads on one show":
        return "the best, by its only show"
    return f"{chance_text(band['p_top_group'])} in the top group"
