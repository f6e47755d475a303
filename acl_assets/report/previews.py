"""Draw charts as PNG images, for Dagster's UI, which shows images but runs no chart library.

Drawing belongs in a child process: it takes memory that a run should give back, and vl-convert aborts its process
where it cannot go on.
"""

from __future__ import annotations

from typing import Any

import vl_convert


def draw_preview(specification: dict[str, Any]) -> bytes:
    """Return a Vega-Lite chart as a PNG image."""
    image: bytes = vl_convert.vegalite_to_png(specification)
    return image
