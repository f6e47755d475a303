"""What is compared: commands that make the same warehouse from the same export batch.

What belongs here: each contender's command, and the state its output folder is in before it runs. What does not: how
a command is measured (`measuring`).
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import inf
from pathlib import Path

from acl_assets.settings import DBT_PROJECT_DIR, PROJECT_DIR, Settings
from benchmarks.measuring import call_apart, child_processes, run_measured

REFRESH = "refresh"
REFRESH_CONVERTED = "refresh, tables converted"
DBT_BUILD = "dbt build"
HAND_WRITTEN = "hand-written"
HAND_WRITTEN_UNCHECKED = "hand-written, unchecked"
REFRESH_2GB = "refresh, limited to 2 GB"
POSTGRES = "PostgreSQL"
POSTGRES_TUNED = "PostgreSQL, tuned"
SPARK = "refresh on Spark"
_SEED = 20
# From here on runs take minutes, and a second refresh tells no more.
_LARGE_SCALE = 5.0
_HUGE_SCALE = 30.0
# Beyond, its runs take longer than all others together; the tuned one's last shows where that leads.
_POSTGRES_SCALE = 1.0
_POSTGRES_TUNED_SCALE = 10.0
_SPARK_SCALE = 10.0
_SPARK_PORT = 15_012


@dataclass(frozen=True)
class Arena:
    """The folders of a benchmark; contenders share the export batches and nothing else.

    A contender keeps one data folder over all scales, and with it what lasts from run to run in real life: dbt's
    partial-parse state and Dagster's instance.
    """

    folder: Path

    def exports_dir(self, scale: float) -> Path:
        """The landing zone that holds the one batch of a scale."""
        return self.folder / "exports" / f"scale-{scale:g}"

    def batch(self, scale: float) -> Path:
        """The export batch of a scale."""
        return self.exports_dir(scale) / f"scale-{scale:g}"

    def csv_batch(self, scale: float) -> Path:
        """The same rows as `batch`, as CSV."""
        return self.folder / "exports" / f"csv-{scale:g}" / f"scale-{scale:g}"

    def output(self, contender: str) -> Path:
        """Where a contender writes; a second refresh writes to the place of the first."""
        name = REFRESH if contender == REFRESH_CONVERTED else contender
        return self.folder / "outputs" / name.replace(",", "").replace(" ", "_")

    @property
    def dagster_home(self) -> Path:
        """The Dagster instance of the refreshes."""
        return self.folder / "dagster_home"

    def log_file(self, name: str) -> Path:
        """Where the output of a command goes."""
        file = self.folder / "logs" / f"{name}.log"
        file.parent.mkdir(parents=True, exist_ok=True)
        return file


@dataclass(frozen=True)
class Contender:
    """One way to do the work.

    Attributes:
        name: as the tables call it.
        command: the process to start for the batch of a scale.
        clear: brings the output folder into the state the contender starts from.
        warehouse: the DuckDB file it leaves, below its output folder; None where it leaves none.
        smallest_scale, largest_scale: at which it is measured.
        variables: environment variables of its own.
    """

    name: str
    command: Callable[[Arena, float], Sequence[str]]
    clear: Callable[[Arena], None]
    warehouse: str | None = None
    smallest_scale: float = 0.0
    largest_scale: float = inf
    variables: Mapping[str, str] = field(default_factory=dict)

    def warehouse_file(self, arena: Arena) -> Path:
        """The DuckDB file to compare with those of others: the contender's own, or one its tables are copied into."""
        if self.warehouse is not None:
            return arena.output(self.name) / self.warehouse
        return arena.folder / f"{arena.output(self.name).name}.duckdb"

    def is_measured_at(self, scale: float) -> bool:
        """Whether the contender is measured at a scale."""
        return self.smallest_scale <= scale <= self.largest_scale


def environment(arena: Arena, contender: str, scale: float) -> dict[str, str]:
    """The environment of a contender's process: this one's, without the settings of this installation."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("ACL_", "DAGSTER_", "DBT_"))}
    return {
        **inherited,
        "ACL_DATA_DIR": str(arena.output(contender)),
        "ACL_EXPORTS_DIR": str(arena.exports_dir(scale)),
        "DAGSTER_HOME": str(arena.dagster_home),
        **CONTENDERS[contender].variables,
    }


def prepare_instance(arena: Arena) -> None:
    """Make the Dagster instance as `make run` has it."""
    arena.dagster_home.mkdir(parents=True, exist_ok=True)
    shutil.copy(PROJECT_DIR / "dagster.yaml", arena.dagster_home)


def prepare_batch(arena: Arena, scale: float, batch_format: str = "parquet") -> Path:
    """Simulate the export batch of a scale, unless an earlier benchmark left it; returns its folder."""
    batch = arena.batch(scale) if batch_format == "parquet" else arena.csv_batch(scale)
    if not (batch / "manifest.json").exists():
        shutil.rmtree(batch, ignore_errors=True)
        command = _python("acl_assets.simulator", "write-batch", "--exports-dir", str(batch.parent))
        command += ["--batch-id", batch.name, "--scale", f"{scale:g}", "--seed", str(_SEED), "--format", batch_format]
        _run(arena, command, REFRESH, scale)
    return batch


def prepare_source_tables(arena: Arena, scale: float) -> None:
    """Convert the batch of a scale for `dbt build`, which starts from source tables."""
    from acl_assets.landing_zone.batches import list_batches, resolve_chain
    from acl_assets.landing_zone.store import landing_zone_at
    from acl_assets.source_tables.chain_conversion import convert_chain

    settings = Settings(data_dir=arena.output(DBT_BUILD), exports_dir=arena.exports_dir(scale), settle_seconds=0)
    convert_chain(settings, resolve_chain(list_batches(landing_zone_at(settings.exports_dir), settings.settle_seconds)))


def warm_up(arena: Arena, contenders: Sequence[Contender], scale: float) -> None:
    """Run every contender once, unmeasured, so that parse state and Dagster's tables are there as in daily use."""
    for contender in contenders:
        contender.clear(arena)
        _run(arena, contender.command(arena, scale), contender.name, scale)


def _run(arena: Arena, command: Sequence[str], contender: str, scale: float) -> None:
    run_measured(command, environment(arena, contender, scale), PROJECT_DIR, arena.log_file("preparation"))


def _python(module: str, *arguments: str) -> list[str]:
    return [sys.executable, "-m", module, *arguments]


def _dagster(selection: str) -> list[str]:
    return _python("dagster", "asset", "materialize", "--select", selection, "-m", "acl_assets.definitions")


def _dbt(arena: Arena) -> list[str]:
    # The flags a refresh gives to dbt, and folders of its own.
    artifacts = str(arena.output(DBT_BUILD) / "build" / "dbt")
    return [
        *(sys.executable, "-P", "-m", "dbt.cli.main", "build", "--exclude-resource-type", "unit_test"),
        *("--project-dir", str(DBT_PROJECT_DIR), "--profiles-dir", str(DBT_PROJECT_DIR)),
        *("--target-path", artifacts, "--log-path", artifacts),
    ]


def _remove_folders(contender: str, *names: str) -> Callable[[Arena], None]:
    def clear(arena: Arena) -> None:
        for name in names:
            shutil.rmtree(arena.output(contender) / name, ignore_errors=True)

    return clear


def _clear_dbt(arena: Arena) -> None:
    build = arena.output(DBT_BUILD) / "build"
    build.mkdir(parents=True, exist_ok=True)
    for file in build.glob("acl.duckdb*"):
        file.unlink()


def _remove_output(contender: str) -> Callable[[Arena], None]:
    return lambda arena: shutil.rmtree(arena.output(contender), ignore_errors=True)


def _hand_written(arena: Arena, scale: float) -> list[str]:
    return _python("benchmarks.hand_written", str(arena.batch(scale)), str(arena.output(HAND_WRITTEN)))


def _hand_written_unchecked(arena: Arena, scale: float) -> list[str]:
    output = arena.output(HAND_WRITTEN_UNCHECKED)
    return _python("benchmarks.hand_written", str(arena.batch(scale)), str(output), "--unchecked")


def _postgres(name: str, *options: str) -> Callable[[Arena, float], list[str]]:
    def command(arena: Arena, scale: float) -> list[str]:
        folders = (str(arena.csv_batch(scale)), str(arena.output(name)))
        return _python("benchmarks.postgres.warehouse", *folders, *options)

    return command


def prepare_postgres(output: Path, tuned: bool) -> None:
    """Make the database of a PostgreSQL warehouse empty; in a process that does not keep its libraries."""
    from benchmarks.postgres import warehouse

    warehouse.prepare(output, tuned=tuned)


def write_postgres_as_duckdb(arena: Arena, name: str) -> Path:
    """Copy a PostgreSQL warehouse into a DuckDB file with the tables and types of the refresh's."""
    from benchmarks.postgres import warehouse

    like = CONTENDERS[REFRESH].warehouse_file(arena)
    return warehouse.write_as_duckdb(arena.output(name), like, CONTENDERS[name].warehouse_file(arena))


@contextmanager
def spark_cluster(arena: Arena) -> Iterator[list[int]]:
    """Run a Spark cluster of two workers on this machine, and give the ids of its processes."""
    from acl_assets.transformation.spark_cluster import running_cluster

    before = set(child_processes(os.getpid()))
    folder = arena.output(SPARK) / "spark"
    folder.mkdir(parents=True, exist_ok=True)
    with running_cluster(folder, _SPARK_PORT):
        yield sorted(set(child_processes(os.getpid())) - before)


CONTENDERS: Mapping[str, Contender] = {
    contender.name: contender
    for contender in (
        Contender(
            REFRESH,
            lambda arena, scale: _dagster("*"),
            _remove_folders(REFRESH, "published", "report", "source_tables"),
            "published/acl.duckdb",
        ),
        Contender(
            REFRESH_CONVERTED,
            lambda arena, scale: _dagster("*"),
            _remove_folders(REFRESH, "published", "report"),
            "published/acl.duckdb",
            largest_scale=_LARGE_SCALE,
        ),
        Contender(
            REFRESH_2GB,
            lambda arena, scale: _dagster("*"),
            _remove_folders(REFRESH_2GB, "published", "report", "source_tables"),
            "published/acl.duckdb",
            # Where less is needed a limit shows nothing.
            smallest_scale=_HUGE_SCALE,
            variables={"ACL_MEMORY_LIMIT": "2GB"},
        ),
        Contender(DBT_BUILD, lambda arena, scale: _dbt(arena), _clear_dbt, "build/acl.duckdb"),
        Contender(HAND_WRITTEN, _hand_written, _remove_output(HAND_WRITTEN), "acl.duckdb"),
        Contender(
            HAND_WRITTEN_UNCHECKED, _hand_written_unchecked, _remove_output(HAND_WRITTEN_UNCHECKED), "acl.duckdb"
        ),
        Contender(
            POSTGRES,
            _postgres(POSTGRES),
            lambda arena: call_apart(prepare_postgres, arena.output(POSTGRES), False),
            largest_scale=_POSTGRES_SCALE,
        ),
        Contender(
            POSTGRES_TUNED,
            _postgres(POSTGRES_TUNED, "--tuned"),
            lambda arena: call_apart(prepare_postgres, arena.output(POSTGRES_TUNED), True),
            largest_scale=_POSTGRES_TUNED_SCALE,
        ),
        Contender(
            SPARK,
            lambda arena, scale: _dagster("*"),
            _remove_folders(SPARK, "published", "report", "source_tables"),
            "published/acl.duckdb",
            largest_scale=_SPARK_SCALE,
            variables={"ACL_DBT_TARGET": "spark", "ACL_SPARK_REMOTE": f"sc://127.0.0.1:{_SPARK_PORT}"},
        ),
    )
}
