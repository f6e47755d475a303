"""Look up relations in Spark's catalog, in a child process as builds do.

Spark's client mistakes a process of pytest-xdist for one of its own doctests.
"""

from collections.abc import Sequence

from acl_assets.settings import Settings
from acl_assets.util.processes import ChildProcesses
from acl_assets.warehouse.spark_copy import spark_session


def existing(settings: Settings, names: Sequence[str]) -> list[str]:
    """Return those of the named relations that Spark has."""
    with ChildProcesses() as process:
        found: list[str] = process.call(f"{__name__}:look_up", settings, names)
    return found


def look_up(settings: Settings, names: Sequence[str]) -> list[str]:
    """Return those of the named relations that Spark has, in this process."""
    with spark_session(settings) as spark:
        return [name for name in names if spark.catalog.tableExists(name)]
