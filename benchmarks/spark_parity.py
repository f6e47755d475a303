"""Whether both engines build the same: `make spark-parity SCALE=1`.

One simulated batch is refreshed by DuckDB and by Spark on a cluster started for it, on request with an executor
killed while it works on the fact, and the published files are compared row for row.

What belongs here: that experiment, and killing an executor at the right moment. What does not: comparing two files
(`equality`), running a cluster (`acl_assets.transformation.spark_cluster`).
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from acl_assets.settings import PROJECT_DIR
from acl_assets.simulator.batch import write_batch
from acl_assets.simulator.sales import TicketingHistory
from acl_assets.transformation.spark_cluster import running_cluster
from benchmarks.equality import require_equal

_POLL_SECONDS = 0.02


class ExecutorKiller:
    """Kills an executor, with SIGKILL, while it works on a table that Spark makes; once.

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
        """The number of the executor, once it was killed."""

    def __enter__(self) -> ExecutorKiller:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._is_over.set()
        self._thread.join()

    def failed_tasks(self) -> int:
        """How many tasks have failed since the application began."""
        return sum(job["numFailedTasks"] for job in self._ask("/jobs"))

    def _kill(self) -> None:
        completed = 0
        while not self._is_over.is_set() and self.killed is None:
            # All queries there ever were would be much to ask for, many times a second.
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
    """The process of an executor; the driver has none of that kind."""
    for process in psutil.process_iter():
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied, ValueError):
            arguments = process.cmdline()
            said = [arguments[arguments.index(name) + 1] for name in ("--app-id", "--executor-id")]
            if said == [application, number]:
                return process
    return None


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the experiment and print what came of it."""
    options = _parser().parse_args(arguments)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        write_batch(folder / "exports", "batch", TicketingHistory(options.scale))
        _timed("DuckDB", lambda: _refresh(folder, "duckdb", {}))
        with running_cluster(folder / "cluster", log=_say) as cluster:
            variables = {"ACL_DBT_TARGET": "spark", "ACL_SPARK_REMOTE": cluster.remote}
            _timed("Spark", lambda: _refresh(folder, "spark", variables))
            _compare(folder)
            with ExecutorKiller(cluster.interfaces["application"], "star_schema.fct_ticket_sales") as killer:
                _timed("Spark, an executor killed", lambda: _refresh(folder, "spark", variables))
            if killer.killed is None or not killer.failed_tasks():
                raise SystemExit("No executor was killed while it worked on the fact.")
            _say(f"Executor {killer.killed} was killed; {killer.failed_tasks()} tasks failed and were repeated.")
            _compare(folder)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.spark_parity", description=__doc__)
    parser.add_argument("--scale", type=float, default=0.1, help="of the simulated festivals (%(default)s)")
    return parser


def _timed(what: str, work: Callable[[], None]) -> None:
    began = time.monotonic()
    work()
    _say(f"{what}: refreshed in {time.monotonic() - began:.1f} s")


def _refresh(folder: Path, name: str, variables: dict[str, str]) -> None:
    home = folder / "dagster" / name
    home.mkdir(parents=True, exist_ok=True)
    log_file = folder / f"{name}.log"
    with log_file.open("wb") as log:
        ended = subprocess.run(
            [sys.executable, "-m", "dagster", "asset", "materialize", "--select", "*", "-m", "acl_assets.definitions"],
            cwd=PROJECT_DIR,
            env={
                **{name: value for name, value in os.environ.items() if not name.startswith("ACL_")},
                "ACL_DATA_DIR": str(folder / name),
                "ACL_EXPORTS_DIR": str(folder / "exports"),
                "DAGSTER_HOME": str(home),
                **variables,
            },
            stdout=log,
            stderr=subprocess.STDOUT,
            check=False,
        )
    if ended.returncode:
        raise SystemExit(f"The refresh on {name} failed:\n{log_file.read_text()[-5000:]}")


def _compare(folder: Path) -> None:
    published = (folder / name / "published" / "acl.duckdb" for name in ("duckdb", "spark"))
    rows = require_equal(*published)
    _say(f"Equal row for row: {len(rows)} tables, {sum(rows.values()):,} rows.")


def _say(message: str) -> None:
    print(message, flush=True)


if __name__ == "__main__":
    main()
