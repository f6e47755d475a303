"""Start and end servers as processes of their own."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterable
from contextlib import suppress

import psutil


def free_port() -> int:
    """A port of 127.0.0.1 nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def kill_family(process: subprocess.Popen[bytes]) -> None:
    """End a process and all it started with SIGKILL, and wait until it has ended."""
    kill(family(process))
    process.wait()


def family(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """A process and all it started, as far as they have not ended."""
    try:
        parent = psutil.Process(process.pid)
        return [parent, *parent.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def kill(members: Iterable[psutil.Process]) -> None:
    """Send SIGKILL to those of the processes that have not ended."""
    for member in members:
        with suppress(psutil.NoSuchProcess):
            member.kill()
