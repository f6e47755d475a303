"""What loading the definitions costs is measured beside what they are written in."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import imports
from benchmarks.contenders import Arena
from benchmarks.imports import measure_imports


@pytest.mark.slow
def test_imports_are_measured_in_turns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each import is a process of its own that really imports; the first of each, which may compile, is left out."""
    monkeypatch.setattr(imports, "_ROUNDS", 1)

    measured = measure_imports(Arena(tmp_path))

    assert len(measured.definitions) == len(measured.frameworks) == 1
    assert measured.ratio == measured.definitions[0] / measured.frameworks[0] > 0
