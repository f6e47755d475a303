"""The measurement of a command includes all its processes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.measuring import Usage, run_measured

pytestmark = pytest.mark.slow

HOLD_MEMORY = "import time; held = bytearray(200_000_000); held[::4096] = b'x' * len(held[::4096]); time.sleep(1)"
COMPUTE = "import time\nwhile time.process_time() < 1: pass"


def in_a_child(code: str) -> list[str]:
    return [
        sys.executable,
        "-c",
        f"import subprocess, sys; subprocess.run([sys.executable, '-c', {code!r}], check=True)",
    ]


def measure(tmp_path: Path, command: list[str]) -> Usage:
    return run_measured(command, os.environ, tmp_path / "logs" / "log")


def test_peak_memory_includes_descendants(tmp_path: Path) -> None:
    assert 200e6 < measure(tmp_path, in_a_child(HOLD_MEMORY)).peak_memory_bytes < 300e6


def test_cpu_time_includes_descendants(tmp_path: Path) -> None:
    usage = measure(tmp_path, in_a_child(COMPUTE))

    assert 1 <= usage.cpu_seconds < 2
    assert usage.wall_seconds >= 1


def test_usage_of_servers_is_added(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as server:
        try:
            command = [sys.executable, "-c", "import time; time.sleep(1)"]
            alone, served = (run_measured(command, os.environ, tmp_path / "log", pids) for pids in ([], [server.pid]))
        finally:
            server.kill()

    assert served.cpu_seconds > alone.cpu_seconds + 0.1
    assert served.peak_memory_bytes > alone.peak_memory_bytes
