"""What it costs to load the definitions, which every process of Dagster does, beside what they are written in.

What belongs here: the two imports that are compared. What does not: what a run does afterwards (`contenders`).
"""

from __future__ import annotations

import os
import sys

from acl_assets.settings import PROJECT_DIR
from benchmarks import contenders
from benchmarks.contenders import REFRESH, Arena
from benchmarks.machine import machine_in_words
from benchmarks.measuring import run_measured
from benchmarks.results import Imports, today

_ROUNDS = 9
_SCALE = 0.01
_FRAMEWORKS = "import dagster, dagster_dbt"
_DEFINITIONS = "import acl_assets.definitions"


def measure_imports(arena: Arena) -> Imports:
    """Import frameworks and definitions in turns, each in a process of its own; the first of each is not counted.

    Raises:
        CommandFailedError: an import failed.
    """
    load_before = os.getloadavg()[0]
    rounds = [(_cpu_seconds(arena, _FRAMEWORKS), _cpu_seconds(arena, _DEFINITIONS)) for _ in range(1 + _ROUNDS)]
    frameworks, definitions = zip(*rounds[1:], strict=True)
    print(f"imports: {min(definitions):.2f} s CPU of definitions, {min(frameworks):.2f} s of frameworks", flush=True)
    return Imports(today(), machine_in_words(), load_before, definitions, frameworks)


def _cpu_seconds(arena: Arena, statement: str) -> float:
    command = [sys.executable, "-c", statement]
    variables = contenders.environment(arena, REFRESH, _SCALE)
    return run_measured(command, variables, PROJECT_DIR, arena.log_file("imports")).cpu_seconds
