"""Importing one package without another that it would load when it can.

What belongs here: hiding. What does not: which package is hidden, and why.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def hidden_package(name: str) -> Iterator[None]:
    """Let imports of a package fail meanwhile, as if it were not installed; one that is loaded already stays.

    An entry of None among the modules is Python's own way to say that there is none:
    https://docs.python.org/3/reference/import.html#the-module-cache
    """
    modules: dict[str, Any] = sys.modules
    if name in modules:
        yield
        return
    modules[name] = None
    try:
        yield
    finally:
        del modules[name]
