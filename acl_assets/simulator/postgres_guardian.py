"""Runs one PostgreSQL server as its child process, and ends it when the process that wanted it is no more.

The owner holds the other end of this process's standard input. Its first line says what to run, every further line
is the name of a signal to send; its end means that the owner is gone, however it went. What belongs here: this
script, which needs nothing installed, not even this package. What does not: how a server is set up
(`postgres_server`).
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from typing import Any

_SECONDS_TO_END = 30.0


def main() -> None:
    """Start the server, print its process id, and end when it has ended."""
    order: dict[str, Any] = json.loads(sys.stdin.readline())
    server = subprocess.Popen(order["command"], stdin=subprocess.DEVNULL, stdout=sys.stderr, **order["process"])
    print(server.pid, flush=True)
    threading.Thread(target=_obey, args=(server, order["remove_with_owner"]), daemon=True).start()
    server.wait()
    # A usual exit would wait for the thread that reads standard input.
    os._exit(0)


def _obey(server: subprocess.Popen[bytes], remove_with_owner: list[str]) -> None:
    for line in sys.stdin:
        server.send_signal(signal.Signals[line.strip()])
    # A running program's files may be removed, and nobody else is left to do it.
    for folder in remove_with_owner:
        shutil.rmtree(folder, ignore_errors=True)
    server.send_signal(signal.SIGINT)
    server_must_end = threading.Timer(_SECONDS_TO_END, server.send_signal, [signal.SIGQUIT])
    server_must_end.start()


if __name__ == "__main__":
    main()
