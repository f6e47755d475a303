"""Processes of Dagster do not load dbt, which takes longer than everything else that they import."""

import subprocess
import sys

from acl_assets.settings import PROJECT_DIR

LOADED = """
import sys
import acl_assets.definitions
from dagster_shared.libraries import DagsterLibraryRegistry
loaded = "dbt" in sys.modules
import dbt.version
print(loaded, DagsterLibraryRegistry.get()["dbt-core"] == dbt.version.__version__)
"""


def test_definitions_load_without_dbt_which_can_be_imported_afterwards() -> None:
    command = [sys.executable, "-P", "-c", LOADED]
    environment = {"PYTHONPATH": str(PROJECT_DIR)}
    ended = subprocess.run(command, cwd=PROJECT_DIR, env=environment, capture_output=True, text=True, check=True)
    assert ended.stdout.split() == ["False", "True"]
