"""Configure gunicorn for Superset: processes, threads and time limits.

Environment variables: `WEB_CONCURRENCY` is the number of processes. `SUPERSET_OWNER` is the id of the owner process.
The server stops when its owner ends.
"""

import os
import resource
import shutil
import signal
import threading
import time
from typing import Any

from warehouse_connections import spill_folder, spill_folders

_POLL_SECONDS = 0.5
_PROCESS_MEMORY = 4 * 1024**3
"""Bytes of address space of a process, of which Superset itself takes about half.

DuckDB's own limit does not cover string functions such as `repeat()`.
"""

wsgi_app = "superset.app:create_app()"
bind = "127.0.0.1:8088"
workers = int(os.environ.get("WEB_CONCURRENCY", "2"))
# Browsers open more connections than they use at a time, and each one occupies a thread.
worker_class = "gthread"
# Most threads wait for their turn, see warehouse_connections.py.
threads = 32
# Load Superset once, so that the processes share its memory.
preload_app = True
timeout = 120
graceful_timeout = 10
control_socket_disable = True


def on_starting(server: Any) -> None:
    """Remove what earlier servers spilled, and stop the server when its owner ends."""
    shutil.rmtree(spill_folders(), ignore_errors=True)
    if owner := os.environ.get("SUPERSET_OWNER"):
        threading.Thread(target=_end_with, args=(int(owner),), daemon=True).start()


def post_fork(server: Any, worker: Any) -> None:
    """Limit the worker's memory, and make it open its own connections to the metadata database."""
    from superset.extensions import celery_app, db

    resource.setrlimit(resource.RLIMIT_AS, (_PROCESS_MEMORY, _PROCESS_MEMORY))
    # Otherwise the first query of SQL Lab does this, and others at the same time fail.
    celery_app.finalize()
    with server.app.wsgi().app_context():
        db.engine.dispose(close=False)


def child_exit(server: Any, worker: Any) -> None:
    """Remove what the worker's queries spilled, also when it was killed."""
    shutil.rmtree(spill_folder(worker.pid), ignore_errors=True)


def worker_exit(server: Any, worker: Any) -> None:
    """Exit at once, because Python takes seconds to shut down."""
    if worker.booted:
        os._exit(0)


def _end_with(owner: int) -> None:
    while os.getppid() == owner:
        time.sleep(_POLL_SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)
