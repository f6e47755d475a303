"""Servers as processes of their own, as tests need them.

What belongs here: plain functions without fixtures. What does not: expectations.
"""

from __future__ import annotations

import socket
import subprocess
from contextlib import suppress

import psutil


def free_port() -> int:
    """A port of 127.0.0.1 nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def kill_family(process: subprocess.Popen[bytes]) -> None:
    """End a process and all it started with SIGKILL, and wait until it has ended."""
    for member in _family(process):
        with suppress(psutil.NoSuchProcess):
            member.kill()
    process.wait()


def _family(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    try:
        parent = psutil.Process(process.pid)
        return [parent, *parent.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []
