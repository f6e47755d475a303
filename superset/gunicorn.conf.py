"""How gunicorn serves Superset: a few processes with threads, as fit a laptop and a small server.

What belongs here: processes, threads, time limits. What does not: settings of Superset (`superset_config`).

Variables: `WEB_CONCURRENCY`, the number of processes; `SUPERSET_OWNER`, the process without which the server ends
(unset: it stands for itself). Whatever is set here, gunicorn's own arguments go before.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from typing import Any

_POLL_SECONDS = 0.5

wsgi_app = "superset.app:create_app()"
bind = "127.0.0.1:8088"
workers = int(os.environ.get("WEB_CONCURRENCY", "2"))
# Browsers open more connections than they use at a time; a thread waits for each.
worker_class = "gthread"
threads = 8
# Superset is loaded once, and the processes share that memory.
preload_app = True
timeout = 120
graceful_timeout = 10
control_socket_disable = True


def on_starting(server: Any) -> None:
    """Watch the owner, whatever ends it."""
    if owner := os.environ.get("SUPERSET_OWNER"):
        threading.Thread(target=_end_with, args=(int(owner),), daemon=True).start()


def post_fork(server: Any, worker: Any) -> None:
    """Leave connections to the metadata to the process that opened them."""
    from superset.extensions import db

    with server.app.wsgi().app_context():
        db.engine.dispose(close=False)


def worker_exit(server: Any, worker: Any) -> None:
    """End at once: Python would take seconds to take apart all that is loaded."""
    if worker.booted:
        os._exit(0)


def _end_with(owner: int) -> None:
    while os.getppid() == owner:
        time.sleep(_POLL_SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)
