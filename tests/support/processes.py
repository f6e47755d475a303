"""Start and end servers as processes of their own."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from urllib.error import URLError
from urllib.request import urlopen

import psutil
from refreshes import wait_until

from acl_assets.settings import PROJECT_DIR


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


@contextmanager
def dagster_webserver(environment: Mapping[str, str], *arguments: str) -> Iterator[str]:
    """Run Dagster's webserver on what the arguments name, and give its address."""
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    server = subprocess.Popen(
        [sys.executable, "-m", "dagster_webserver", "-h", "127.0.0.1", "-p", str(port), *arguments],
        cwd=PROJECT_DIR,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )

    def answers() -> bool:
        assert server.poll() is None
        with suppress(URLError, ConnectionError, TimeoutError):
            urlopen(f"{address}/server_info", timeout=5).close()  # noqa: S310, a server of this test
            return True
        return False

    try:
        wait_until(answers, "the webserver answers", 120, 0.2)
        yield address
    finally:
        kill_family(server)
