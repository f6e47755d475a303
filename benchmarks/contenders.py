"""Contenders of the refresh benchmark: commands that build the same warehouse from the same rows."""

import os
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from typing import Any, Self

from acl_assets.settings import PROJECT_DIR, Settings
from benchmarks.measuring import Usage, run_measured

REFRESH = "refresh"
AFTER_INCREMENT = "refresh after a 1 % incremental batch"
LIMITED = "refresh with ACL_MEMORY_LIMIT=2GB"
DBT_BUILD = "dbt build"
HAND_WRITTEN = "hand-written SQL"
POSTGRES = "PostgreSQL, tuned"
SPARK = "refresh on Spark"
SPARK_PORT = 15_012
# Kinds of batches; see batches.py.
FULL, CSV, EARLIER, INCREMENTAL = "full", "csv", "earlier", "incremental"
# DuckDB's memory, the same for all contenders that build with DuckDB.
_MEMORY_LIMIT = str(Settings.model_fields["memory_limit"].default)
# At larger scales PostgreSQL and Spark take longer than all other contenders together.
_LARGEST_SCALE = 10.0


@dataclass(frozen=True)
class Arena:
    """The folders of a benchmark. The data folder of a contender holds its Dagster instance and dbt's parse state."""

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
        """Return the variables of a process: those of this process without its settings, and the given ones."""
        settings = ("ACL_", "DAGSTER_", "DBT_", "FESTIVAL_")
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(settings)}
        home = data / "dagster_home"
        home.mkdir(parents=True, exist_ok=True)
        shutil.copy(PROJECT_DIR / "dagster.yaml", home)
        folders = {"ACL_DATA_DIR": str(data), "ACL_EXPORTS_DIR": str(exports), "DAGSTER_HOME": str(home)}
        return {**inherited, **folders, "ACL_MEMORY_LIMIT": _MEMORY_LIMIT, **variables}

    def convert(self, scale: float, kind: str) -> None:
        """Convert the batches of a kind to source tables, without measuring."""
        source_tables = self.converted(kind)
        shutil.rmtree(source_tables, ignore_errors=True)
        variables = self.environment(source_tables.parent, self.exports(scale, kind), {})
        run_measured(_materialize('key:"festival/*"'), variables, self.log(f"conversion of {kind}"))

    def converted(self, kind: str) -> Path:
        """Return the folder of the source tables from `convert`."""
        return self.data(f"conversion of {kind}") / "source_tables"

    def run_module(self, module: str, *arguments: object) -> str:
        """Run a module of this package in a separate process, without measuring, and return its output."""
        log = self.log(module)
        run_measured(_python(module, *arguments), os.environ, log)
        return log.read_text()


@dataclass(frozen=True)
class Contender:
    """One way to build the warehouse."""

    name: str
    command: Callable[[Path, Path], Sequence[str]]  # the measured command for a data folder and a full batch
    clear: Callable[[Arena, Self], None]  # resets the data folder before a run
    warehouse: str | None = None  # its DuckDB file in the data folder; None if it writes to another database
    exports: str = FULL  # kind of the batches in its landing zone
    starts_from: str | None = None  # kind of the batches that are converted to source tables before a run
    largest_scale: float = inf  # the largest scale at which it is measured
    largest_only: bool = False  # whether it is measured only at the largest scale of a benchmark
    variables: Mapping[str, str] = field(default_factory=dict)  # environment variables

    def takes_part(self, scale: float, largest: float) -> bool:
        """Return whether it is measured at a scale of a benchmark with a largest scale."""
        return scale <= self.largest_scale and (scale == largest or not self.largest_only)

    def run(self, arena: Arena, scale: float, round_name: str, servers: Sequence[int] = ()) -> Usage:
        """Run the command once and return its usage.

        Raises:
            CommandFailedError: the command failed.
        """
        self.clear(arena, self)
        data, exports = arena.data(self.name), arena.exports(scale, self.exports)
        variables = arena.environment(data, exports, self.variables)
        log = arena.log(f"{self.name} {scale:g} {round_name}")
        return run_measured(self.command(data, exports / "later"), variables, log, servers)


def _python(module: str, *arguments: object) -> list[str]:
    return [sys.executable, "-m", f"benchmarks.{module}", *map(str, arguments)]


def _materialize(selection: str) -> list[str]:
    command = [sys.executable, "-m", "dagster", "asset", "materialize"]
    return [*command, "--select", selection, "-m", "acl_assets.definitions"]


def dbt_build(project: Path, artifacts: Path) -> list[str]:
    """Return the dbt command of a refresh."""
    return [
        *(sys.executable, "-P", "-m", "dbt.cli.main", "build", "--exclude-resource-type", "unit_test"),
        *("--project-dir", str(project), "--profiles-dir", str(project)),
        *("--target-path", str(artifacts), "--log-path", str(artifacts)),
    ]


def _remove_data(arena: Arena, contender: Contender) -> None:
    shutil.rmtree(arena.data(contender.name), ignore_errors=True)


def _remove_output(arena: Arena, contender: Contender) -> None:
    """Remove the output of a refresh, and restore the source tables that it starts from."""
    data = arena.data(contender.name)
    for name in ("published", "report", "source_tables"):
        shutil.rmtree(data / name, ignore_errors=True)
    for file in (data / "build").glob("acl.duckdb*"):
        file.unlink()
    if contender.starts_from:
        converted = arena.converted(contender.starts_from)
        shutil.copytree(converted, data / "source_tables", symlinks=True, copy_function=os.link)
    (data / "build").mkdir(parents=True, exist_ok=True)


def _empty_database(arena: Arena, contender: Contender) -> None:
    arena.run_module("postgres_warehouse", "prepare", arena.data(contender.name))


def _refresh(name: str, **options: Any) -> Contender:
    return Contender(name, lambda data, batch: _materialize("*"), _remove_output, "published/acl.duckdb", **options)


_ALL = (
    _refresh(REFRESH),
    _refresh(AFTER_INCREMENT, exports=INCREMENTAL, starts_from=EARLIER, largest_scale=_LARGEST_SCALE),
    _refresh(LIMITED, largest_only=True, variables={"ACL_MEMORY_LIMIT": "2GB"}),
    Contender(
        DBT_BUILD,
        lambda data, batch: dbt_build(PROJECT_DIR / "dbt", data / "build" / "dbt"),
        _remove_output,
        "build/acl.duckdb",
        starts_from=FULL,
    ),
    Contender(HAND_WRITTEN, lambda data, batch: _python("hand_written", batch, data), _remove_data, "acl.duckdb"),
    Contender(
        POSTGRES,
        lambda data, batch: _python("postgres_warehouse", "build", data, batch),
        _empty_database,
        exports=CSV,
        largest_scale=_LARGEST_SCALE,
    ),
    _refresh(
        SPARK,
        largest_scale=_LARGEST_SCALE,
        variables={"ACL_DBT_TARGET": "spark", "ACL_SPARK_REMOTE": f"sc://127.0.0.1:{SPARK_PORT}"},
    ),
)
CONTENDERS: Mapping[str, Contender] = {contender.name: contender for contender in _ALL}
