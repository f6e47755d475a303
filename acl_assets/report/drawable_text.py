"""Text that SVG can hold: vl-convert aborts its process on any other character."""

from __future__ import annotations

import re

import pandas as pd

# Everything but the characters of XML 1.0: https://www.w3.org/TR/xml/#charsets
_OUTSIDE_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def drawable_frame(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the frame with U+FFFD in the place of each character that XML 1.0 does not allow."""
    texts = frame.select_dtypes(["object", "string"])
    return frame.assign(**{str(name): texts[name].map(_drawable) for name in texts})


def _drawable(value: object) -> object:
    return _OUTSIDE_XML.sub("\ufffd", value) if isinstance(value, str) else value
