"""Picture 3: the top bands of a venue by average tickets per performance, and how sure each figure is."""

from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from acl_assets.report.drawing import (
    INK,
    NARROW,
    THOUSANDS,
    facts,
    from_top,
    layered,
    lines_of,
    percent,
    row_areas,
    venue_colour,
)

NAMED_VERDICTS = ("must invite", "near-equals", "leads on one show")
"""Verdicts of the bands that the verdict of their venue names."""

_ROW_HEIGHT = 50
_NAME_LINE = 15
_LETTERS_OF_NAME = 30  # on a line, next to the average
_SURELY = 0.995  # rounds to 100 %, which no evidence gives


def band_sales_chart(bands: pd.DataFrame, venue_rank: int) -> alt.LayerChart:
    """Draw picture 3 for one venue from `band_sales_by_venue` of all venues, whose scale is common to the top ones.

    A dot is the average of a band, hollow when it rests on one performance. The bar is the 90 % interval of its mean,
    the tick its expected tickets. The bands that the verdict names have the colour that the venue has in picture 2. A
    strip shows the averages of all bands at the venue.
    """
    here = bands[bands.venue_rank == venue_rank]
    rows = _band_rows(here, venue_colour(venue_rank))
    strip_at = 26 + (int(rows.bottom.max()) if len(rows) else 0)
    height = strip_at + 18
    caption = pd.DataFrame([{"text": f"all {len(here):,} bands" if len(here) > 1 else "the only band"}])
    scale = alt.Scale(domain=_domain(bands), nice=False, padding=8, clamp=True)
    axis = alt.Axis(
        title="average tickets per performance",
        tickCount=4,
        orient="bottom",
        grid=False,
        domain=False,
        labelExpr=THOUSANDS,
    )

    def tickets(field: str) -> alt.X:
        return alt.X(field, scale=scale, axis=axis)

    left: dict[str, Any] = {"x": 0, "dx": 8, "align": "left", "baseline": "middle", "aria": False}
    right: dict[str, Any] = {"x": "width", "dx": -8, "align": "right", "baseline": "middle", "aria": False}
    weight = alt.ExprRef("datum.is_named ? 'bold' : 'normal'")
    upper: dict[str, Any] = {"fontSize": 12, "color": INK["ink"], "fontWeight": weight}
    lower: dict[str, Any] = {"fontSize": 11, "color": INK["soft-ink"]}
    colour = alt.Color("colour:N", scale=None)
    base = alt.Chart(rows)
    above, below, middle = (from_top(field, height) for field in ("name_at:Q", "chance_at:Q", "dot_at:Q"))
    layers = [
        base.mark_rule(strokeWidth=7, strokeCap="round", opacity=0.32, aria=False).encode(
            y=middle, x=tickets("expected_low:Q"), x2=alt.X2("expected_high:Q"), color=colour
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
        alt.Chart(here[["avg_tickets_per_performance"]].assign(strip_at=strip_at))
        .mark_tick(thickness=1, size=12, orient="vertical", opacity=1, color=INK["soft-ink"], aria=False)
        .encode(y=from_top("strip_at:Q", height), x=tickets("avg_tickets_per_performance:Q")),
        alt.Chart(caption.assign(at=strip_at - 14))
        .mark_text(**left, **lower)
        .encode(y=from_top("at:Q", height), text=alt.Text("text:N")),
        row_areas(base, height),
    ]
    return layered(layers, NARROW, height)


def chance_text(chance: float) -> str:
    """Return a chance in per cent, never as certain or impossible."""
    if chance >= _SURELY:
        return "over 99 %"
    return "under 1 %" if chance < 1 - _SURELY else percent(chance)


def _domain(bands: pd.DataFrame) -> list[float]:
    """Return the tickets that the axis of every top venue spans: its top bands, and all but the lowest tenth of all."""
    averages = bands[bands.is_top_venue].avg_tickets_per_performance
    shown = bands[bands.is_top_venue & bands.is_top_band]
    # Where no band has played often enough, none is shown, and the limits of none are not a number.
    low = float(np.nanmin([shown.expected_low.min(), averages.quantile(0.1)]))
    high = float(np.nanmax([shown.expected_high.max(), averages.max()]))
    return [low, high if high > low else low + 1.0]


def _band_rows(here: pd.DataFrame, colour_of_named: str) -> pd.DataFrame:
    """Return the top bands of a venue, best first, with their places in pixels, looks and texts."""
    rows = here[here.is_top_band].astype({"rank_in_venue": int}).sort_values("rank_in_venue", ignore_index=True)
    names = [lines_of(f"{band.rank_in_venue}. {band.band_name}", _LETTERS_OF_NAME) for band in rows.itertuples()]
    heights = pd.Series([_ROW_HEIGHT + _NAME_LINE * (len(lines) - 1) for lines in names], dtype=int)
    bottom = heights.cumsum()
    is_named = rows.verdict.isin(NAMED_VERDICTS)
    colour = pd.Series(INK["soft-ink"], index=rows.index).mask(is_named, colour_of_named)
    return rows.assign(
        top=bottom - heights,
        name_at=bottom - heights + 12,
        chance_at=bottom - _ROW_HEIGHT + 12 + _NAME_LINE,
        dot_at=bottom - _ROW_HEIGHT + 28 + _NAME_LINE,
        bottom=bottom,
        is_named=is_named,
        colour=colour,
        fill=colour.mask(rows.performances == 1, INK["surface"]),
        name=pd.Series(names, dtype=object),
        figures=[
            f"{'≥ ' if band.sold_out_performances else ''}{band.avg_tickets_per_performance:,.0f}"
            for band in rows.itertuples()
        ],
        basis=[f"{number} performance{'' if number == 1 else 's'}" for number in rows.performances],
        chance=[_chance(band) for band in rows.itertuples()],
        facts=_facts(rows),
    )


def _facts(rows: pd.DataFrame) -> list[str]:
    festivals = [
        f"{first}" if first == last else f"{number}, {first} to {last}"
        for number, first, last in zip(rows.festivals, rows.first_festival_year, rows.last_festival_year, strict=True)
    ]
    chances = rows[["p_best", "p_top_group"]].map(chance_text).add_suffix("_text")
    return facts(
        rows.assign(festivals=festivals).join(chances),
        "{band_name}\nVerdict: {verdict}\nAverage per performance: {avg_tickets_per_performance:,.1f}\n"
        "Expected: {expected_tickets:,.0f} ({expected_low:,.0f} to {expected_high:,.0f})\n"
        "Performances: {performances}\nChance to be the best: {p_best_text}\n"
        "Chance to be in the top group: {p_top_group_text}\nFestivals: {festivals}",
    )


def _chance(band: Any) -> str:
    """Return how sure a leader is the best, and how likely another band is in the top group."""
    if band.verdict == "must invite":
        return f"{chance_text(band.p_best)} sure the best"
    if band.verdict == "leads on one show":
        return "the best, by its only show"
    return f"{chance_text(band.p_top_group)} in the top group"
