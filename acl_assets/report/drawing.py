"""Colours, sizes and other parts that all charts share, and how a chart becomes a static SVG.

Channels are written as objects: to find the class for a text, Altair makes a digest of its whole schema.
"""

import html
import re
import textwrap
import unicodedata

import altair as alt
import pandas as pd
import vl_convert

alt.data_transformers.disable_max_rows()

# Pixels a chart is drawn for; report.css picks the drawing that fits and scales it a little.
NARROW, MEDIUM, WIDE = 320, 560, 940
_SIZES = {NARROW: "narrow", MEDIUM: "medium", WIDE: "wide"}
# The format ~s alone writes 0.5 as 500m.
THOUSANDS = "format(datum.value, datum.value < 1000 ? '~r' : '~s')"
_MOST_LINES_OF_NAME = 5

# Colours by the name of their CSS variable. Colour-blind readers can tell those of the venues apart (Okabe and Ito).
PAPER = {
    "background": "#ffffff", "surface": "#ffffff", "ink": "#1b2330", "soft-ink": "#566173", "rule": "#dde2ea",
    "band": "#f1f4f8", "accent": "#33557f", "accent-pale": "#dbe6f3", "rest": "#b9c1cd", "warning": "#8a5300",
    "venue-1": "#0072b2", "venue-2": "#d55e00", "venue-3": "#009e73", "venue-4": "#cc79a7", "venue-5": "#b58900",
}  # fmt: skip
DARK = {
    "background": "#10151d", "surface": "#19202b", "ink": "#edf1f7", "soft-ink": "#a7b2c2", "rule": "#323c4b",
    "band": "#222b38", "accent": "#8fb8ea", "accent-pale": "#26384f", "rest": "#566273", "warning": "#f0b95a",
    "venue-1": "#56b4e9", "venue-2": "#ff8f4d", "venue-3": "#2fcb9b", "venue-4": "#e79cc4", "venue-5": "#f0d24a",
}  # fmt: skip
# CSS variables, so that a chart follows the page into dark mode and onto paper.
INK = {name: f"var(--{name})" for name in PAPER}


def venue_colour(rank: int) -> str:
    """Return the colour of the top venue with this rank, 1 for the best; a sixth top venue starts over."""
    return INK[f"venue-{(rank - 1) % 5 + 1}"]


def percent(share: float, form: str = ".0") -> str:
    """Return a share in per cent, in a form such as `.1`, written as in the sentences of the verdicts."""
    return f"{share:{form}%}".replace("%", " %")


def facts(rows: pd.DataFrame, template: str) -> list[str]:
    """Fill in for each row what the page shows when its mark is pointed at: a name, and a line for each other fact."""
    on_one_line = rows.map(lambda value: " ".join(value.split()) if isinstance(value, str) else value)
    return [template.format_map(row) for row in on_one_line.to_dict("records")]


def lines_of(name: str, characters: int) -> list[str]:
    """Break a name into lines of at most `characters`, wide ones counted twice, and cut it after the last line."""
    if any(unicodedata.east_asian_width(character) in "WF" for character in name):
        characters //= 2
    return textwrap.wrap(name, characters, max_lines=_MOST_LINES_OF_NAME, placeholder="…") or [""]


def from_top(field: str, height: int) -> alt.Y:
    """Return a position in pixels below the top of a chart of that height."""
    return alt.Y(field, axis=None, scale=alt.Scale(domain=[0, height], nice=False, reverse=True))


def row_areas(base: alt.Chart, height: int) -> alt.Chart:
    """Return areas to point at, as wide as the chart, from the fields `top` to `bottom`, labelled with the `facts`."""
    areas = base.mark_rect(x=0, x2="width", color="transparent")
    return areas.encode(y=from_top("top:Q", height), y2=alt.Y2("bottom:Q"), description=alt.Description("facts:N"))


def layered(layers: list[alt.Chart], width: int, height: int) -> alt.LayerChart:
    """Return the layers as one chart of that size, whose axes are for the eye alone."""
    axes = alt.AxisConfig(
        aria=False,
        labelColor=INK["soft-ink"],
        titleColor=INK["soft-ink"],
        gridColor=INK["rule"],
        domainColor=INK["rule"],
        tickColor=INK["rule"],
        labelFontSize=12,
        labelSeparation=6,  # a reader's font may be wider than the one it is measured with
        titleFontSize=12,
        titleFontWeight="normal",
    )
    view = alt.ViewConfig(stroke=None)
    return alt.LayerChart(
        layer=layers,
        width=width,
        height=height,
        autosize=alt.AutoSizeParams(type="fit-x", contains="padding"),
        config=alt.Config(background="transparent", font="sans-serif", padding=2, view=view, axis=axes),
    )


def svg_of(chart: alt.LayerChart) -> str:
    """Return a chart as SVG for the page, its text escaped and its colours CSS variables."""
    svg: str = vl_convert.vegalite_to_svg(chart.to_dict(validate=False))
    return svg.replace('class="marks"', f'class="{_SIZES[chart.width]}"', 1)


def picture_of(drawings: dict[str, str]) -> str:
    """Return SVGs of equal width by their titles as one SVG: side by side on white, each below its title."""
    gap = 24
    sizes = [re.findall(r'viewBox="0 0 (\S+) (\S+)"', svg)[0] for svg in drawings.values()]
    step = gap + int(float(sizes[0][0]))
    height = 2 * gap + max(int(float(height)) for _, height in sizes)
    parts = [f'<rect width="100%" height="100%" fill="{INK["surface"]}"/>']
    for place, (title, svg) in enumerate(drawings.items()):
        left, text = gap + place * step, html.escape(lines_of(title, 36)[0])
        parts.append(f'<text x="{left}" y="{gap}" font-size="15" font-weight="bold">{text}</text>')
        parts.append(svg.replace("<svg ", f'<svg x="{left}" y="{gap + 12}" ', 1))
    root = f'<svg xmlns="http://www.w3.org/2000/svg" width="{gap + len(drawings) * step}" height="{height}"'
    picture = f'{root} font-family="sans-serif">{"".join(parts)}</svg>'
    for name, colour in PAPER.items():
        picture = picture.replace(INK[name], colour)
    return picture
