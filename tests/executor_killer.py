"""Kill an executor of a Spark application while it works on a table."""

from __future__ import annotations

import json
import signal
import threading
import time
import urllib.request
from contextlib import suppress
from typing import Any

import psutil

_POLL_SECONDS = 0.02


class ExecutorKiller:
    """Kills one executor with SIGKILL while it works on a table that Spark makes.

    Args:
        application: address of the web interface of the running application.
        table: schema and name of the table.
    """

    def __init__(self, application: str, table: str) -> None:
        schema, name = table.split(".")
        self._made = f"CreateDataSourceTableAsSelectCommand\nArguments: `spark_catalog`.`{schema}`.`{name}`"
        self._address = f"{application}/api/v1/applications"
        self._address += f"/{self._ask('')[0]['id']}"
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._kill, daemon=True)
        self.killed: str | None = None
        """The number of the killed executor."""

    def __enter__(self) -> ExecutorKiller:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._is_over.set()
        self._thread.join()

    def failed_tasks(self) -> int:
        """Return how many tasks have failed since the application began."""
        return sum(job["numFailedTasks"] for job in self._ask("/jobs"))

    def _kill(self) -> None:
        completed = 0
        while not self._is_over.is_set() and self.killed is None:
            # Ask for new queries only: the list of all queries is long.
            queries = self._ask(f"/sql?details=false&offset={completed}&length=50")
            if any(query["status"] == "RUNNING" and self._made in query["planDescription"] for query in queries):
                self._kill_one_that_works()
            while queries and queries[0]["status"] != "RUNNING":
                del queries[0]
                completed += 1
            time.sleep(_POLL_SECONDS)

    def _kill_one_that_works(self) -> None:
        application = self._address.rsplit("/", 1)[1]
        for executor in self._ask("/executors"):
            process = _executor(application, executor["id"]) if executor["activeTasks"] else None
            if process:
                process.send_signal(signal.SIGKILL)
                self.killed = executor["id"]
                return

    def _ask(self, what: str) -> Any:
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with direct.open(self._address + what, timeout=60) as answer:
            return json.load(answer)


def _executor(application: str, number: str) -> psutil.Process | None:
    """Return the process of an executor, None for the driver."""
    for process in psutil.process_iter():
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied, ValueError):
            arguments = process.cmdline()
            said = [arguments[arguments.index(name) + 1] for name in ("--app-id", "--executor-id")]
            if said == [application, number]:
                return process
    return None
