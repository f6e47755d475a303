"""Start and end servers as processes of their own."""

import json
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
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
def json_server(answer: Callable[[Any], object], port: int = 0) -> Iterator[int]:
    """Serve the JSON answers to the JSON that is posted, and give the port."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            answered = answer(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps(answered).encode())

        def log_message(self, *arguments: object) -> None:
            """Keep the output of the tests free of requests."""

    with ThreadingHTTPServer(("127.0.0.1", port), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield server.server_port
        server.shutdown()


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
