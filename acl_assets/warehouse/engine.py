"""The engine that builds the models: everything that differs between DuckDB and Spark outside the dbt project."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from acl_assets.settings import Settings


class Engine:
    """An engine for the models of one installation. The defaults are those of an engine that needs no preparation."""

    name: ClassVar[str]
    """Its dbt target, and the kind of the assets that it builds."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def require_installed(self) -> None:
        """Raise SettingsError if a package that the engine needs is not installed."""

    def source_tables_location(self, digest: str) -> str:
        """Return the folder or URL where the engine reads the source tables of a batch chain.

        It is that of the chain, not the link `current`: an engine may cache what it has read under a path.
        """
        return str(self.settings.source_tables_dir / digest)

    def dbt_environment(self) -> Mapping[str, str]:
        """Return the variables that dbt needs for this engine, in addition to `Settings.dbt_variables`."""
        return {}

    def begin_build(self, *, complete: bool) -> None:
        """Prepare the engine for dbt, or raise BuildError if it cannot build; `complete` if it builds every model."""

    def copy_results(
        self, manifest: Mapping[str, Any], target_path: Path, models: Sequence[str], stores: Sequence[str]
    ) -> Mapping[str, int]:
        """Copy what dbt built into the build file, and return the rows of the relations that stay in the engine.

        `models` are unique ids of built models, whose compiled SQL is below `target_path`. `stores` are names of tables
        with failing rows of tests, some of which may not exist. Raise BuildError if the results cannot be read.
        """
        return {}

    def note_publication(self) -> None:
        """Note that the engine holds what has just been published."""


class DuckDBEngine(Engine):
    """Builds in the build file itself, so there is nothing to install, to copy or to note."""

    name = "duckdb"
