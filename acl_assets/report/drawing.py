"""Colours, sizes and other parts that all charts share, and how a chart becomes a static SVG or PNG."""

from __future__ import annotations

import html
import textwrap
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import altair as alt
import pandas as pd
import vl_convert

# Pixels a chart is drawn for; report.css picks the drawing that fits and scales it a little.
NARROW, MEDIUM, WIDE = 320, 560, 940
_SIZES = {NARROW: "narrow", MEDIUM: "medium", WIDE: "wide"}
# The format ~s alone writes 0.5 as 500m.
THOUSANDS = "format(datum.value, datum.value < 1000 ? '~r' : '~s')"
_SHAPES = ("circle", "square", "diamond", "triangle-up", "triangle-down", "cross")
_MOST_LINES_OF_NAME = 5


@dataclass(frozen=True)
class Palette:
    """The colours of the report; those of the venues can be told apart by colour-blind readers (Okabe and Ito)."""

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
        """Return the colour of the top venue with this rank, 1 for the best; a sixth top venue starts over."""
        colours = (self.venue_1, self.venue_2, self.venue_3, self.venue_4, self.venue_5)
        return colours[(rank - 1) % len(colours)]

    def css(self) -> str:
        """Return the palette as declarations of the CSS variables that `INK` refers to."""
        return " ".join(f"{_css_variable(name)}: {value};" for name, value in vars(self).items())


def _css_variable(name: str) -> str:
    return "--" + name.replace("_", "-")


PAPER = Palette(
    background="#ffffff", surface="#ffffff", ink="#1b2330", soft_ink="#566173", rule="#dde2ea", band="#f1f4f8",
    accent="#33557f", accent_pale="#dbe6f3", rest="#b9c1cd", warning="#8a5300",
    venue_1="#0072b2", venue_2="#d55e00", venue_3="#009e73", venue_4="#cc79a7", venue_5="#b58900",
)  # fmt: skip
DARK = Palette(
    background="#10151d", surface="#19202b", ink="#edf1f7", soft_ink="#a7b2c2", rule="#323c4b", band="#222b38",
    accent="#8fb8ea", accent_pale="#26384f", rest="#566273", warning="#f0b95a",
    venue_1="#56b4e9", venue_2="#ff8f4d", venue_3="#2fcb9b", venue_4="#e79cc4", venue_5="#f0d24a",
)  # fmt: skip
# CSS variables, so that a chart follows the page into dark mode and onto paper.
INK = Palette(**{field.name: f"var({_css_variable(field.name)})" for field in fields(Palette)})


def rows_of(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows of a frame as Vega-Lite takes them."""
    return list(alt.to_values(frame)["values"])


def chart_of(data: pd.DataFrame | list[dict[str, Any]]) -> alt.Chart:
    """Return a chart of rows, converted once for all layers that are made of it."""
    return alt.Chart({"values": data if isinstance(data, list) else rows_of(data)})


def facts(name: object, **others: object) -> str:
    """Return what the page shows when a mark is pointed at: a line for the name and one for each other fact."""
    lines = [f"{key.replace('_', ' ').capitalize()}: {value}" for key, value in others.items()]
    return "\n".join([" ".join(str(name).split()), *lines])


def lines_of(name: str, characters: int) -> list[str]:
    """Break a name into lines of at most so many letters, wide ones counted twice; only endless names are cut."""
    if any(unicodedata.east_asian_width(character) in "WF" for character in name):
        characters //= 2
    return textwrap.wrap(name, characters, max_lines=_MOST_LINES_OF_NAME, placeholder="…") or [""]


def shape(field: str) -> alt.Shape:
    """Return an encoding that gives each number in a field a shape of its own."""
    numbers = [str(number) for number in range(1, len(_SHAPES) + 1)]
    return alt.Shape(f"{field}:N", legend=None, scale=alt.Scale(domain=numbers, range=list(_SHAPES)))


def layered(layers: Sequence[alt.Chart], width: int, height: int) -> alt.LayerChart:
    """Return the layers as one chart of that size, whose axes are for the eye alone."""
    return alt.LayerChart(
        layer=list(layers),
        width=width,
        height=height,
        autosize=alt.AutoSizeParams(type="fit", contains="padding"),
        config=alt.Config(
            background="transparent",
            font="sans-serif",
            padding=2,
            view=alt.ViewConfig(stroke=None),
            axis=alt.AxisConfig(
                aria=False,
                labelColor=INK.soft_ink,
                titleColor=INK.soft_ink,
                gridColor=INK.rule,
                domainColor=INK.rule,
                tickColor=INK.rule,
                labelFontSize=12,
                labelSeparation=6,  # a reader's font may be wider than the one it is measured with
                titleFontSize=12,
                titleFontWeight="normal",
            ),
        ),
    )


def svg_of(chart: alt.LayerChart) -> str:
    """Return a chart as SVG for the page, its text escaped and its colours CSS variables."""
    svg: str = vl_convert.vegalite_to_svg(chart.to_dict(validate=False))
    return svg.replace('class="marks"', f'class="{_SIZES[chart.width]}"', 1)


def png_of(drawings: Sequence[str], titles: Sequence[str]) -> bytes:
    """Return SVGs of equal width one next to the other on white, each below its title."""
    gap = 24
    widths, heights = zip(*(_size(svg) for svg in drawings), strict=True)
    parts = []
    for place, (title, svg) in enumerate(zip(titles, drawings, strict=True)):
        left = gap + place * (widths[0] + gap)
        parts.append(
            f'<text x="{left}" y="{gap}" font-size="15" font-weight="bold">{html.escape(lines_of(title, 36)[0])}</text>'
        )
        parts.append(svg.replace("<svg ", f'<svg x="{left}" y="{gap + 12}" ', 1))
    width, height = gap + sum(widths) + gap * len(widths), max(heights) + 2 * gap
    picture = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" font-family="sans-serif">'
        f'<rect width="100%" height="100%" fill="{PAPER.surface}"/>{"".join(parts)}</svg>'
    )
    for name, colour in vars(PAPER).items():
        picture = picture.replace(f"var({_css_variable(name)})", colour)
    png: bytes = vl_convert.svg_to_png(picture)
    return png


def _size(svg: str) -> tuple[int, int]:
    """Return width and height of an SVG that Vega drew."""
    width, height = svg.split('viewBox="0 0 ', 1)[1].split('"', 1)[0].split()
    return int(float(width)), int(float(height))
