"""Results that all processes of a test run share."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from filelock import FileLock

Made = TypeVar("Made")

folder = Path()
"""Where they are; set before the first test."""


def made_once(name: str, make: Callable[[], Made]) -> Made:
    """Return what `make` returns: the first process calls it, the others wait and read its pickle."""
    file = folder / f"{name}.pickle"
    with FileLock(f"{file}.lock"):
        if not file.exists():
            file.write_bytes(pickle.dumps(make()))
        # The file is this test run's own.
        made: Made = pickle.loads(file.read_bytes())  # noqa: S301
        return made
