"""The script that draws the charts of the report: Vega, Vega-Lite and Vega-Embed as one, from vl-convert.

What belongs here: putting it together, which takes over a second and eighty megabytes, and keeping it. What does not:
the page it is part of (`report`).
"""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import vl_convert

from acl_assets.util.atomic_write import write_atomically


def keep_drawing_library(folder: Path) -> None:
    """Put the drawing library into a folder where it is not there yet."""
    folder.mkdir(parents=True, exist_ok=True)
    drawing_library(folder)


def drawing_library(cache: Path | None = None) -> str:
    """Vega, Vega-Lite and Vega-Embed as one script, from vl-convert; kept in the folder `cache` when there is one."""
    snippet = "window.vegaEmbed = vegaEmbed;"
    if cache is None:
        return vl_convert.javascript_bundle(snippet)
    kept = cache / f".vega-{version('vl-convert-python')}.js"
    if not kept.is_file():
        for outdated in cache.glob(".vega-*.js"):
            outdated.unlink(missing_ok=True)
        write_atomically(kept, vl_convert.javascript_bundle(snippet))
    return kept.read_text(encoding="utf-8")
