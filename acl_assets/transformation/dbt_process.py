"""The dbt process of a refresh: it ends when the run that started it does, and never builds beside another one.

A run that is killed cannot stop the dbt process it started, which would go on writing into the build of the next
run. So dbt is started through this file, as a script: it holds a lock as long as it lives, which the next run waits
for, and watches its parent. What belongs here: starting and guarding the process. What does not: what dbt is told
to do (`assets`). The script finds this package by its own place, which so need not be installed to run it.
"""

from __future__ import annotations

import fcntl
import os
import sys
import threading
from pathlib import Path
from typing import TypedDict

PARENT_VARIABLE = "ACL_DBT_PARENT"


class DbtCommand(TypedDict):
    """The part of a command line before dbt's own arguments, as `DbtCliResource` takes it."""

    dbt_executable: str
    global_config_flags: list[str]


def guarded_dbt(lock_file: Path) -> DbtCommand:
    """The command that runs dbt under guard; `PARENT_VARIABLE` must be set to the id of the process that starts it."""
    # -P: this file's folder must not become the first place where dbt looks for modules.
    return {"dbt_executable": sys.executable, "global_config_flags": ["-P", __file__, str(lock_file)]}


def wait_for_dbt(lock_file: Path) -> None:
    """Wait until no dbt process of an earlier run is left: a moment, because it ends with its run."""
    lock_file.parent.mkdir(parents=True, exist_ok=True)
    with lock_file.open("a") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)


def main() -> None:
    """Run dbt with the arguments after the lock file, holding the lock until this process ends."""
    # Last on the path: the folder of the project has one named dbt in it.
    sys.path.append(str(Path(__file__).resolve().parents[2]))
    from acl_assets.child_process import end_with

    parent = int(os.environ[PARENT_VARIABLE])
    stream = Path(sys.argv.pop(1)).open("a")  # noqa: SIM115 # closed, and so unlocked, by the end of the process
    fcntl.flock(stream, fcntl.LOCK_EX)
    threading.Thread(target=end_with, args=(parent,), daemon=True).start()

    from dbt.cli.main import cli

    cli()


if __name__ == "__main__":
    main()
