"""Run dbt in a process with a controlled environment, under a lock; the process ends with the run that started it.

A killed run cannot stop its dbt process, which would go on writing into the build of the next run. So this file is
also the script that runs dbt: it holds a lock until it ends, and it ends when its parent does. The script finds the
package by its own location, so the package need not be installed.
"""

import gc
import os
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PARENT_VARIABLE = "FESTIVAL_DBT_PARENT"
DATA_DIR_OF_BUILDS = {"ACL_DATA_DIR": os.pardir}
"""The data folder as seen from the build folder, in which a build runs. The path is in dbt's profile, and dbt parses
the whole project again when that changes, so it is the same in every installation."""
_FOREIGN = ("ACL_", "DBT_")


def dbt_environment(variables: Mapping[str, str]) -> dict[str, str]:
    """Return the environment for a dbt process: that of this process, with the given variables as the only settings.

    dbt reads every flag from `DBT_*` variables too, and one of them can change the result: `DBT_EMPTY=true` builds
    empty tables whose tests pass.
    """
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN)}
    return {**inherited, **variables}


@contextmanager
def applied_dbt_environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Make `dbt_environment` the environment of this process, for `DbtCliResource`, which copies that to dbt."""
    before = dict(os.environ)
    _replace_environment(dbt_environment(variables))
    try:
        yield
    finally:
        _replace_environment(before)


def _replace_environment(variables: Mapping[str, str]) -> None:
    for name in os.environ.keys() - variables.keys():
        del os.environ[name]
    os.environ.update(variables)


def guarded_dbt(lock_file: Path) -> dict[str, Any]:
    """Return the arguments by which `DbtCliResource` runs dbt under the lock.

    `PARENT_VARIABLE` must hold the id of the parent process.
    """
    # -P: this file's folder must not become the first place where dbt looks for modules.
    return {"dbt_executable": sys.executable, "global_config_flags": ["-P", __file__, str(lock_file)]}


def main() -> None:
    """Run dbt in the folder of the lock file with the arguments after it, holding the lock until this process ends.

    The working folder before is that of the project.
    """
    # Last on the path: the folder of the project has one named dbt in it.
    sys.path.append(str(Path(__file__).resolve().parents[2]))
    from acl_assets.util.locks import held_lock
    from acl_assets.util.processes import end_with

    parent = int(os.environ[PARENT_VARIABLE])
    lock_file = Path(sys.argv.pop(1))
    with held_lock(lock_file, seconds=-1):
        os.environ.update(DATA_DIR_OF_BUILDS, DBT_PROJECT_DIR=os.getcwd())
        os.chdir(lock_file.parent)
        threading.Thread(target=end_with, args=(parent,), daemon=True).start()

        from dbt.cli.main import cli

        gc.freeze()  # as in `definitions`
        cli()


if __name__ == "__main__":
    main()
