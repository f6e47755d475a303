"""dagster-dbt without what a refresh does not need of it. The package imports it from here.

dagster-dbt imports dbt where it can, although dbt runs in a process of its own; what that costs is in
docs/decisions/0010-dbt-conventions.md. Without dbt it uses its own lists of dbt's kinds and results, and an asset
definition holds all models of a project: it refuses `select`, `exclude` and `selector`.
"""

import sys
from functools import cached_property
from importlib.metadata import version as installed_version
from typing import Any

from dagster_shared.libraries import DagsterLibraryRegistry
from packaging.version import Version

_modules: dict[str, Any] = sys.modules
_is_loaded = "dbt" in _modules
if not _is_loaded:
    # To Python, None means that there is no such module: https://docs.python.org/3/reference/import.html
    _modules["dbt"] = None
from dagster_dbt import (  # noqa: E402
    DagsterDbtTranslator,
    DagsterDbtTranslatorSettings,
    DbtCliInvocation,
    DbtCliResource,
    DbtProject,
    dbt_assets,
)
from dagster_dbt.errors import DagsterDbtCliRuntimeError  # noqa: E402

if not _is_loaded:
    del _modules["dbt"]
    # Dagster's UI lists libraries; without dbt-core, dagster-dbt names a dbt-fusion of unknown version.
    DagsterLibraryRegistry.register("dbt-core", installed_version("dbt-core"), is_dagster_package=False)
    DagsterLibraryRegistry.register("dbt-fusion", "not used", is_dagster_package=False)

__all__ = [
    "DagsterDbtCliRuntimeError",
    "DagsterDbtTranslator",
    "DagsterDbtTranslatorSettings",
    "DbtCliInvocation",
    "DbtProject",
    "LeanDbtCliResource",
    "dbt_assets",
]


class LeanDbtCliResource(DbtCliResource):
    """dagster-dbt's resource without two steps before each command that a refresh does not need.

    The parent class runs `dbt --version` in another process, and loads profile, project and adapter into this one, to
    count rows and fetch columns. Here the version comes from the installed package, and rows are counted in the build
    file.
    """

    @cached_property
    def _cli_version(self) -> Version:
        return Version(installed_version("dbt-core"))

    def _initialize_dbt_core_adapter(self, args: Any) -> Any:
        return None
