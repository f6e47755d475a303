"""DuckDB, which builds the models in the build file itself."""

from __future__ import annotations

from acl_assets.warehouse.engine import Engine


class DuckDBEngine(Engine):
    """Builds in the build file, so there is nothing to install, to copy or to note."""

    name = "duckdb"
