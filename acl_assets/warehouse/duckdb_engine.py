"""DuckDB, which builds the models in the build file itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from acl_assets.warehouse.engine import Engine


class DuckDBEngine(Engine):
    """Builds in the build file, so there is nothing to prepare, to copy or to note."""

    name = "duckdb"

    def require_installed(self) -> None:
        """Do nothing: DuckDB is always installed."""

    def source_tables_location(self, digest: str) -> str:
        """Return the folder of the batch chain."""
        return str(self.settings.source_tables_dir / digest)

    def dbt_environment(self) -> Mapping[str, str]:
        """Return no variables."""
        return {}

    def begin_build(self, *, complete: bool, upstream: Sequence[str]) -> None:
        """Do nothing: a build that is not complete starts with a copy of the published file."""

    def copy_results(
        self, manifest: Mapping[str, Any], target_path: Path, models: Sequence[str], stores: Sequence[str]
    ) -> Mapping[str, int]:
        """Return nothing: all results are in the build file."""
        return {}

    def note_publication(self) -> None:
        """Do nothing: the published file is all there is."""
