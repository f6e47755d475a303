"""The script that draws the charts of the report, kept between runs because making it takes over a second."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import vl_convert

from acl_assets.util.atomic_write import write_atomically


def drawing_library(cache: Path | None = None) -> str:
    """Return Vega, Vega-Lite and Vega-Embed as one script, from vl-convert, kept in the folder `cache` if given."""
    snippet = "window.vegaEmbed = vegaEmbed;"
    if cache is None:
        return vl_convert.javascript_bundle(snippet)
    kept = cache / f".vega-{version('vl-convert-python')}.js"
    if not kept.is_file():
        for outdated in cache.glob(".vega-*.js"):
            outdated.unlink(missing_ok=True)
        write_atomically(kept, vl_convert.javascript_bundle(snippet))
    return kept.read_text(encoding="utf-8")
