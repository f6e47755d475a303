"""The build file of a refresh: the published file is only ever replaced by it, never written.

A run that builds every model starts with an empty build file. A run that builds some models starts with a copy of the
published file. A record next to the build file names the run and the published file that the build began with.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import duckdb

from acl_assets.settings import Settings
from acl_assets.util.atomic_write import write_atomically
from acl_assets.warehouse.published_file import published_damage

AUDIT_SCHEMA = "audit"


class BuildError(Exception):
    """The build file cannot be prepared or is not what the run expects; the message says what to do."""


@dataclass(frozen=True)
class BuildRecord:
    """The run that built the build file, and how it was built.

    Attributes:
        run_id: id of the run.
        published: identity of the published file when the build began, None if there was none.
        complete: whether the run builds every model.
        state: digest of the state of the source tables that the build reads.
        assets: the assets selected in the run, as `layer/name`; publication requires their checks.
    """

    run_id: str
    published: str | None
    complete: bool
    state: str
    assets: tuple[str, ...] = ()

    @property
    def is_fragment(self) -> bool:
        """Whether only some models were built, and there was no published file to build them on."""
        return not self.complete and self.published is None


def file_identity(file: Path) -> str | None:
    """What changes when a file is replaced or written: inode, size and modification time; None when it is missing."""
    try:
        found = file.stat()
    except FileNotFoundError:
        return None
    return f"{found.st_ino}-{found.st_size}-{found.st_mtime_ns}"


@dataclass(frozen=True)
class BuildSelection:
    """The models that a run builds.

    Attributes:
        complete: whether it builds every model; otherwise it builds on a copy of the published file.
        self_sufficient: whether the models to build read no model besides themselves.
        assets: the assets selected in the run, as `layer/name`.
    """

    complete: bool
    self_sufficient: bool
    assets: tuple[str, ...] = ()


def begin_build(settings: Settings, run_id: str, state: str, selection: BuildSelection) -> BuildRecord:
    """Remove the previous build and prepare the build file for dbt.

    Args:
        settings: of the installation.
        run_id: the run that builds.
        state: digest of the state of the source tables.
        selection: what the run builds.

    Raises:
        BuildError: only some models are to be built, and the published file, which has the others, is missing or
            cannot be read.
    """
    identity = file_identity(settings.published_file)
    remove_build(settings)
    settings.build_dir.mkdir(parents=True, exist_ok=True)
    if not selection.complete and identity is None and not selection.self_sufficient:
        raise BuildError(
            f"Only some models are selected, and there is no {settings.published_file} that has those they are built "
            "from. Materialize everything once (job refresh, or --select '*'), or select what is upstream as well."
        )
    if not selection.complete and identity is not None:
        if damage := published_damage(settings):
            raise BuildError(f"Only some models are selected, and they need the others. {damage}")
        shutil.copyfile(settings.published_file, settings.build_file)
    record = BuildRecord(run_id, identity, selection.complete, state, selection.assets)
    write_atomically(_record_file(settings), json.dumps(asdict(record)))
    return record


def remove_build(settings: Settings) -> None:
    """Remove the build file, its write-ahead log, its spill folder and its record."""
    build_file = settings.build_file
    for leftover in (build_file, build_file.with_name(f"{build_file.name}.wal"), _record_file(settings)):
        leftover.unlink(missing_ok=True)
    shutil.rmtree(build_file.with_name(f"{build_file.name}.tmp"), ignore_errors=True)


def read_build(settings: Settings, run_ids: Sequence[str]) -> BuildRecord | None:
    """Return the record of the build file if one of the given runs built it, None otherwise.

    A record that cannot be read belongs to no run: the build was cut short.
    """
    try:
        values = json.loads(_record_file(settings).read_text())
        record = BuildRecord(**{**values, "assets": tuple(values["assets"])})
    except (FileNotFoundError, ValueError, TypeError, KeyError):
        return None
    return record if record.run_id in run_ids and settings.build_file.exists() else None


def row_counts(database: Path, relations: Sequence[str]) -> dict[str, int]:
    """Count the rows of relations such as `star_schema.dim_venues`; those that are not there are left out."""
    counts: dict[str, int] = {}
    if not database.exists():
        return counts
    with duckdb.connect(str(database), read_only=True) as connection:
        known = {
            f"{schema}.{name}"
            for schema, name in connection.execute(
                "select table_schema, table_name from information_schema.tables"
            ).fetchall()
        }
        left_in_spark = "publication.left_in_spark"
        if left_in_spark in known:
            counts.update(connection.execute(f"select relation, row_count from {left_in_spark}").fetchall())
        for relation in relations:
            if relation in known:
                row = connection.execute(f"select count(*) from {relation}").fetchone()
                counts[relation] = row[0] if row else 0
    return counts


def _record_file(settings: Settings) -> Path:
    return settings.build_dir / f"{settings.build_file.stem}.json"
