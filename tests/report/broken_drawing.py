"""Stand-ins for `previews.draw_preview` that fail, to be called in a child process."""

from __future__ import annotations

import os
from typing import Any


def raise_error(specification: dict[str, Any]) -> bytes:
    raise ValueError(f"cannot draw {len(specification)} properties")


def abort(_: dict[str, Any]) -> bytes:
    os.abort()
