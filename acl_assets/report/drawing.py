"""Colours, fonts and other parts that all pictures share."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Literal

import altair as alt
import pandas as pd

Width = int | Literal["container"]

FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Liberation Sans', Arial, sans-serif"
# The format ~s alone writes 0.5 as 500m.
THOUSANDS = "format(datum.value, datum.value < 1000 ? '~r' : '~s')"
_SHAPES = ("circle", "square", "diamond", "triangle-up", "triangle-down", "cross")
_MOST_IN_TOOLTIP = 80  # characters of a name


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
        """Return the palette as declarations of the CSS variables that `PAGE` refers to."""
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
# CSS variables, so that an SVG follows the page into dark mode and onto paper.
PAGE = Palette(**{field.name: f"var({_css_variable(field.name)})" for field in fields(Palette)})


def rows_of(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows of a frame as Vega-Lite takes them."""
    return list(alt.to_values(frame)["values"])


def chart_of(data: pd.DataFrame | list[dict[str, Any]]) -> alt.Chart:
    """Return a chart of rows, converted once for all layers that are made of it."""
    return alt.Chart({"values": data if isinstance(data, list) else rows_of(data)})


def tooltip_name(name: str) -> str:
    """Cut a name that would make a tooltip too high for a screen."""
    return name if len(name) <= _MOST_IN_TOOLTIP else f"{name[:_MOST_IN_TOOLTIP]}…"


def shape(field: str) -> alt.Shape:
    """Return an encoding that gives each number in a field a shape of its own."""
    numbers = [str(number) for number in range(1, len(_SHAPES) + 1)]
    return alt.Shape(f"{field}:N", legend=None, scale=alt.Scale(domain=numbers, range=list(_SHAPES)))


def layered(
    layers: list[alt.Chart], palette: Palette, width: Width, parameter: str | None = None, **properties: Any
) -> alt.LayerChart:
    """Return the layers as one chart; `parameter` is the name of one that the page sets, null at first."""
    return alt.LayerChart(
        layer=layers,
        width=width,
        autosize=alt.AutoSizeParams(type="fit", contains="padding"),
        params=[alt.VariableParameter(name=parameter, value=None)] if parameter else alt.Undefined,
        config=config(palette),
        **properties,
    )


def config(palette: Palette) -> alt.Config:
    """Return the fonts and colours of axes, titles and background."""
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
