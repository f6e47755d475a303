"""Every path and environment variable of the project, in one place.

What belongs here: where things are and how they are configured. What does not: anything that reads or writes
the files those paths name.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

PROJECT_DIR = Path(__file__).resolve().parent.parent
DBT_PROJECT_DIR = PROJECT_DIR / "dbt"
FESTIVAL_TIMEZONE = "America/Chicago"


class SettingsError(ValueError):
    """An environment variable holds something that cannot be used; the message names it and what it may be."""


@dataclass(frozen=True)
class Settings:
    """Where this installation keeps its data and how it is tuned.

    Attributes:
        data_dir: absolute folder below which everything the pipeline writes is kept.
        exports_dir: absolute landing zone of export batches.
        settle_seconds: seconds a folder without a manifest must lie unchanged before it counts as a batch.
        dbt_target: the dbt target that builds the warehouse.
        memory_limit: DuckDB's memory limit, such as `2GB`; None: in proportion to the source tables.
    """

    data_dir: Path
    exports_dir: Path
    settle_seconds: float = 60.0
    dbt_target: str = "duckdb"
    memory_limit: str | None = None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Settings:
        """Read the settings from `ACL_*` variables; an unset or empty variable means its default.

        Raises:
            SettingsError: a variable's text cannot be read as what it stands for.
        """
        variables = os.environ if environment is None else environment
        data_dir = _absolute(variables.get("ACL_DATA_DIR") or PROJECT_DIR / "data")
        return cls(
            data_dir=data_dir,
            exports_dir=_absolute(variables.get("ACL_EXPORTS_DIR") or data_dir / "exports"),
            settle_seconds=_seconds(variables, "ACL_SETTLE_SECONDS", default=60.0),
            dbt_target=variables.get("ACL_DBT_TARGET") or "duckdb",
            memory_limit=variables.get("ACL_MEMORY_LIMIT") or None,
        )

    @property
    def source_tables_dir(self) -> Path:
        """Typed Parquet files of every converted batch, and the current state under `current/`."""
        return self.data_dir / "source_tables"

    @property
    def build_dir(self) -> Path:
        """Where a refresh builds before anything is published; also holds the refresh lock."""
        return self.data_dir / "build"

    @property
    def build_file(self) -> Path:
        """The DuckDB file a refresh builds and audits."""
        return self.build_dir / "acl.duckdb"

    @property
    def dbt_variables(self) -> dict[str, str]:
        """The environment variables by which the dbt project is told where the data is and how it is tuned."""
        limit = {"ACL_MEMORY_LIMIT": self.memory_limit} if self.memory_limit else {}
        return {"ACL_DATA_DIR": str(self.data_dir), **limit}

    @property
    def refresh_lock_file(self) -> Path:
        """Locked by the run that refreshes, see `ingestion.refresh_lock`."""
        return self.build_dir / "refresh.lock"

    @property
    def dbt_lock_file(self) -> Path:
        """Locked by the dbt process that builds, see `transformation.dbt_process`."""
        return self.build_dir / "dbt.lock"

    @property
    def published_file(self) -> Path:
        """The DuckDB file people read; only ever replaced as a whole."""
        return self.data_dir / "published" / "acl.duckdb"

    @property
    def report_file(self) -> Path:
        """The self-contained HTML report."""
        return self.data_dir / "report" / "index.html"


def _absolute(path: str | Path) -> Path:
    return Path(path).expanduser().absolute()


def _seconds(variables: Mapping[str, str], name: str, default: float) -> float:
    text = variables.get(name) or str(default)
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise SettingsError(f"{name}={text!r} is not a number of seconds; set it to 0 or more, such as 60.")
    return seconds
