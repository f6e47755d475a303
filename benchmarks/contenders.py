"""The contenders of the refresh benchmark: commands that make the same warehouse from the same rows."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from pathlib import Path

from benchmarks.measuring import PROJECT_DIR, Usage, run_measured

REFRESH = "refresh"
AFTER_INCREMENT = "refresh after a 1 % incremental batch"
LIMITED = "refresh with ACL_MEMORY_LIMIT=2GB"
DBT_BUILD = "dbt build"
HAND_WRITTEN = "hand-written SQL"
POSTGRES = "PostgreSQL, tuned"
SPARK = "refresh on Spark"
SPARK_PORT = 15_012
# Kinds of batches, see batches.py.
FULL, CSV, EARLIER, INCREMENTAL = "full", "csv", "earlier", "incremental"
# At larger scales PostgreSQL and Spark take longer than all others together.
_LARGEST_SCALE = 10.0


@dataclass(frozen=True)
class Arena:
    """The folders of a benchmark. A contender keeps its Dagster instance and dbt's parse state in its data folder."""

    folder: Path

    def exports(self, scale: float, kind: str) -> Path:
        """Return the landing zone with the batches of a kind."""
        return self.folder / "exports" / f"{scale:g}" / kind

    def data(self, contender: str) -> Path:
        """Return the data folder of a contender."""
        return self.folder / "data" / contender

    def log(self, name: str) -> Path:
        """Return the log file of a process."""
        return self.folder / "logs" / f"{name}.log"

    def environment(self, data: Path, exports: Path, variables: Mapping[str, str]) -> dict[str, str]:
        """Return the variables of a process: those of this one without its settings, and the given ones."""
        settings = ("ACL_", "DAGSTER_", "DBT_", "FESTIVAL_")
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(settings)}
        home = data / "dagster_home"
        home.mkdir(parents=True, exist_ok=True)
        shutil.copy(PROJECT_DIR / "dagster.yaml", home)
        folders = {"ACL_DATA_DIR": str(data), "ACL_EXPORTS_DIR": str(exports), "DAGSTER_HOME": str(home)}
        return {**inherited, **folders, **variables}

    def convert(self, scale: float, kind: str) -> None:
        """Convert the batches of a kind to source tables, unmeasured."""
        source_tables = self.converted(kind)
        shutil.rmtree(source_tables, ignore_errors=True)
        variables = self.environment(source_tables.parent, self.exports(scale, kind), {})
        run_measured(_materialize('key:"festival/*"'), variables, self.log(f"conversion of {kind}"))

    def converted(self, kind: str) -> Path:
        """Return the source tables that `convert` makes."""
        return self.data(f"conversion of {kind}") / "source_tables"

    def run_module(self, module: str, *arguments: object) -> str:
        """Run a module of this package, unmeasured, in a process of its own, and return its output."""
        log = self.log(module)
        run_measured(_python(module, *arguments), os.environ, log)
        return log.read_text()


@dataclass(frozen=True)
class Contender:
    """One way to make the warehouse.

    Attributes:
        warehouse: the DuckDB file it leaves, relative to its data folder; None if it leaves another database.
        exports: kind of the batches in its landing zone.
        starts_from: kind of the batches whose source tables are converted before a run.
        largest_scale: the largest scale it is measured at.
        largest_only: whether it is measured only at the largest scale of a benchmark.
        variables: environment variables.
    """

    name: str
    warehouse: str | None = None
    exports: str = FULL
    starts_from: str | None = None
    largest_scale: float = inf
    largest_only: bool = False
    variables: Mapping[str, str] = field(default_factory=dict)

    def command(self, data: Path, batch: Path) -> Sequence[str]:
        """Return the command that is measured."""
        raise NotImplementedError

    def clear(self, arena: Arena) -> None:
        """Bring the data folder into the state before a run."""
        shutil.rmtree(arena.data(self.name), ignore_errors=True)

    def takes_part(self, scale: float, largest: float) -> bool:
        """Return whether it is measured at a scale of a benchmark whose largest scale is given."""
        return scale <= self.largest_scale and (scale == largest or not self.largest_only)

    def run(self, arena: Arena, scale: float, round_name: str, servers: Sequence[int] = ()) -> Usage:
        """Run it once, and return what it used.

        Raises:
            CommandFailedError: it failed.
        """
        self.clear(arena)
        exports = arena.exports(scale, self.exports)
        variables = arena.environment(arena.data(self.name), exports, self.variables)
        command = self.command(arena.data(self.name), exports / "later")
        return run_measured(command, variables, arena.log(f"{self.name} {scale:g} {round_name}"), servers)


@dataclass(frozen=True)
class Refresh(Contender):
    """A refresh from the command line."""

    warehouse: str | None = "published/acl.duckdb"

    def command(self, data: Path, batch: Path) -> Sequence[str]:
        """Return Dagster's command."""
        return _materialize("*")

    def clear(self, arena: Arena) -> None:
        """Remove what a refresh leaves, and restore the source tables it starts from."""
        data = arena.data(self.name)
        for name in ("published", "report", "source_tables"):
            shutil.rmtree(data / name, ignore_errors=True)
        if self.starts_from:
            shutil.copytree(
                arena.converted(self.starts_from), data / "source_tables", symlinks=True, copy_function=os.link
            )


class DbtBuild(Contender):
    """The dbt command of a refresh, over source tables that are converted already."""

    def command(self, data: Path, batch: Path) -> Sequence[str]:
        """Return dbt's command."""
        project, artifacts = str(PROJECT_DIR / "dbt"), str(data / "build" / "dbt")
        return [
            *(sys.executable, "-P", "-m", "dbt.cli.main", "build", "--exclude-resource-type", "unit_test"),
            *("--project-dir", project, "--profiles-dir", project),
            *("--target-path", artifacts, "--log-path", artifacts),
        ]

    def clear(self, arena: Arena) -> None:
        """Remove the build, and put converted source tables where dbt reads them."""
        data = arena.data(self.name)
        (data / "build").mkdir(parents=True, exist_ok=True)
        for file in (data / "build").glob("acl.duckdb*"):
            file.unlink()
        shutil.rmtree(data / "source_tables", ignore_errors=True)
        shutil.copytree(arena.converted(FULL) / "current", data / "source_tables" / "current", copy_function=os.link)


class HandWritten(Contender):
    """The work of a refresh in one SQL script."""

    def command(self, data: Path, batch: Path) -> Sequence[str]:
        """Return the command of the script."""
        return _python("hand_written", batch, data)


class Postgres(Contender):
    """The dbt project in PostgreSQL."""

    def command(self, data: Path, batch: Path) -> Sequence[str]:
        """Return the command that loads and builds."""
        return _python("postgres_warehouse", "build", data, batch)

    def clear(self, arena: Arena) -> None:
        """Make the database empty."""
        arena.run_module("postgres_warehouse", "prepare", arena.data(self.name))


def _python(module: str, *arguments: object) -> list[str]:
    return [sys.executable, "-m", f"benchmarks.{module}", *map(str, arguments)]


def _materialize(selection: str) -> list[str]:
    command = [sys.executable, "-m", "dagster", "asset", "materialize"]
    return [*command, "--select", selection, "-m", "acl_assets.definitions"]


CONTENDERS: Mapping[str, Contender] = {
    contender.name: contender
    for contender in (
        Refresh(REFRESH),
        Refresh(AFTER_INCREMENT, exports=INCREMENTAL, starts_from=EARLIER, largest_scale=_LARGEST_SCALE),
        Refresh(LIMITED, largest_only=True, variables={"ACL_MEMORY_LIMIT": "2GB"}),
        DbtBuild(DBT_BUILD, "build/acl.duckdb", starts_from=FULL),
        HandWritten(HAND_WRITTEN, "acl.duckdb"),
        Postgres(POSTGRES, exports=CSV, largest_scale=_LARGEST_SCALE),
        Refresh(
            SPARK,
            largest_scale=_LARGEST_SCALE,
            variables={"ACL_DBT_TARGET": "spark", "ACL_SPARK_REMOTE": f"sc://127.0.0.1:{SPARK_PORT}"},
        ),
    )
}
