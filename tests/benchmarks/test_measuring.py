"""Measuring from outside: the whole process tree counts, not only the process that was started."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.measuring import (
    CommandFailedError,
    ProcessUsage,
    bytes_below,
    child_processes,
    run_measured,
    tree_cpu_seconds,
)

_HOLD_MEMORY = "import time; held = bytearray(200_000_000); held[::4096] = b'x' * len(held[::4096]); time.sleep(1)"
_IN_A_CHILD = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {_HOLD_MEMORY!r}], check=True)"
_COMPUTE_IN_A_CHILD = (
    "import subprocess, sys; "
    "subprocess.run([sys.executable, '-c', 'import time\\nwhile time.process_time() < 1: pass'], check=True)"
)


def _run(tmp_path: Path, code: str) -> ProcessUsage:
    return run_measured([sys.executable, "-c", code], os.environ, tmp_path, tmp_path / "log")


def test_memory_of_descendants_counts(tmp_path: Path) -> None:
    assert 200e6 < _run(tmp_path, _IN_A_CHILD).peak_memory_bytes < 300e6


def test_cpu_time_of_descendants_counts(tmp_path: Path) -> None:
    assert _run(tmp_path, _COMPUTE_IN_A_CHILD).cpu_seconds >= 1


def test_cpu_time_of_children_that_have_ended_counts() -> None:
    """A database server's sessions come and go between two looks at it."""
    before = tree_cpu_seconds(os.getpid())

    subprocess.run([sys.executable, "-c", _COMPUTE_IN_A_CHILD], check=True)

    assert tree_cpu_seconds(os.getpid()) - before >= 1


def test_a_process_that_has_ended_has_no_children() -> None:
    """Processes end while they are listed, and who lists them must go on looking at the others."""
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        pass

    assert child_processes(ended.pid) == []


def test_command_that_fails_says_what_it_said(tmp_path: Path) -> None:
    with pytest.raises(CommandFailedError, match=r"(?s)exit code 3.*no such festival"):
        _run(tmp_path, "print('no such festival'); raise SystemExit(3)")


def test_links_to_one_file_count_once(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_bytes(b"123")
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "file").write_bytes(b"12345")
    (folder / "hard link").hardlink_to(folder / "file")
    (folder / "symbolic link").symlink_to(tmp_path / "elsewhere")

    assert bytes_below(folder) == 5
