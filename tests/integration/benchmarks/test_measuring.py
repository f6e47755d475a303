"""The measurement of a command includes all its processes."""

import os
import sys
from pathlib import Path

import pytest

from benchmarks.measuring import run_measured

pytestmark = pytest.mark.slow

WORK = """
import time
held = bytearray(200_000_000)
held[::4096] = b'x' * len(held[::4096])
while time.process_time() < 1: pass
"""
IN_A_CHILD = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {WORK!r}], check=True)"


def test_memory_and_cpu_time_include_descendants(tmp_path: Path) -> None:
    usage = run_measured([sys.executable, "-c", IN_A_CHILD], os.environ, tmp_path / "logs" / "log")

    assert 200e6 < usage.peak_memory_bytes < 300e6
    assert 1 <= usage.cpu_seconds < 2
    assert usage.wall_seconds >= 1
