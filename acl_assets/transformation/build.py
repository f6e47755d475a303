"""The build file: where a refresh builds, so that the published file is never written.

A run that builds every model starts from nothing or, where it only has to add what later batches changed, from a
copy of the published file; one that builds some models starts from such a copy too. A record beside the build file
says who built it, from what, and over which published file, so that the publication can refuse what is not its own.
Nothing of Dagster and no SQL of models belongs here.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import duckdb

from acl_assets.settings import Settings

AUDIT_SCHEMA = "audit"


class BuildError(Exception):
    """The build file cannot be prepared or is not what the run expects; the message says what to do."""


class Ingredients(NamedTuple):
    """What a warehouse is made of.

    Attributes:
        batches: ids and digests of the batches the source tables hold, in order.
        project: fingerprint of the models and checks, None where they are of several projects.
    """

    batches: tuple[tuple[str, str], ...]
    project: str | None


@dataclass(frozen=True)
class BuildRecord:
    """What is known of the build file.

    Attributes:
        run_id: the run that built it.
        published: identity of the published file when the build began, None when there was none.
        complete: whether every model is built.
        project: fingerprint of the models and checks, None where those of other models' builds differ.
        begun_from: what the build starts from and why, in words.
    """

    run_id: str
    published: str | None
    complete: bool
    project: str | None = None
    begun_from: str = ""

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


def begin_build(
    settings: Settings, run_id: str, ingredients: Ingredients, *, complete: bool, self_sufficient: bool
) -> BuildRecord:
    """Remove what an earlier run left behind and lay the ground for dbt.

    Args:
        settings: of the installation.
        run_id: the run that builds.
        ingredients: what it builds from.
        complete: whether every model is to be built.
        self_sufficient: whether the models to be built need none besides themselves.

    Raises:
        BuildError: some models are to be built from others, and there is no published file that has those.
    """
    identity = file_identity(settings.published_file)
    remove_build(settings)
    settings.build_dir.mkdir(parents=True, exist_ok=True)
    if not complete and identity is None and not self_sufficient:
        raise BuildError(
            f"Only some models are selected, and there is no {settings.published_file} that has those they are built "
            "from. Materialize everything once (job refresh, or --select '*'), or select what is upstream as well."
        )
    published = read_published_ingredients(settings)
    project = ingredients.project
    if not complete:
        if identity is not None:
            copy_file(settings.published_file, settings.build_file)
        project = project if published is None or published.project == project else None
        begun_from = "Building the selected models anew, on a copy of what is published."
    elif reason := (
        "Spark builds whole tables"
        if settings.dbt_target == "spark"
        else reason_to_start_from_nothing(published, ingredients)
    ):
        begun_from = f"Building from nothing: {reason}."
    else:
        copy_file(settings.published_file, settings.build_file)
        _drop_audit(settings.build_file)
        added = [batch_id for batch_id, _ in ingredients.batches[len(published.batches if published else ()) :]]
        begun_from = f"Building on a copy of what is published, from what changed in {', '.join(added)}."
    record = BuildRecord(run_id, identity, complete, project, begun_from)
    _record_file(settings).write_text(json.dumps(asdict(record)))
    return record


def reason_to_start_from_nothing(published: Ingredients | None, wanted: Ingredients) -> str | None:
    """Why what is published cannot be continued to what is wanted; None when it can.

    It can when the same models made it and the wanted batches are the published ones and more after them: batches
    after a state's first are incremental, so what they do not hold is as it was.
    """
    if published is None:
        return "nothing is published that could be continued"
    if published.project != wanted.project:
        return "models, checks or dbt itself have changed since the publication"
    if published.batches == wanted.batches:
        return "no batch has been added to those that are published"
    if published.batches != wanted.batches[: len(published.batches)]:
        return "the source tables are not those that are published with later batches added"
    return None


def read_published_ingredients(settings: Settings) -> Ingredients | None:
    """What the published file was made of; None when there is none that says so."""
    if not settings.published_file.exists():
        return None
    with duckdb.connect(str(settings.published_file), read_only=True) as connection:
        try:
            batches = connection.execute(
                "select batch_id, manifest_digest from publication.export_batches order by exported_at, batch_id"
            ).fetchall()
            projects = connection.execute("select project from publication.publications").fetchall()
        except (duckdb.CatalogException, duckdb.BinderException):
            return None
    return Ingredients(tuple((batch_id, digest) for batch_id, digest in batches), projects[0][0] if projects else None)


def copy_file(source: Path, target: Path) -> None:
    """Copy a file inside the kernel; file systems that can share the blocks of both copy nothing at all."""
    try:
        with source.open("rb") as reader, target.open("wb") as writer:
            left = os.fstat(reader.fileno()).st_size
            while left > 0:
                copied = os.copy_file_range(reader.fileno(), writer.fileno(), left)
                if not copied:
                    raise OSError(f"{source} ended {left} bytes early")
                left -= copied
    except (AttributeError, OSError):
        # Not on every system, nor between all file systems.
        shutil.copyfile(source, target)


def _drop_audit(build_file: Path) -> None:
    """Failing rows are those of the build that found them."""
    with duckdb.connect(str(build_file)) as connection:
        connection.execute(f"drop schema if exists {AUDIT_SCHEMA} cascade")


def remove_build(settings: Settings) -> None:
    """Remove the build file, its write-ahead log, its spill folder and its record."""
    build_file = settings.build_file
    for leftover in (build_file, build_file.with_name(f"{build_file.name}.wal"), _record_file(settings)):
        leftover.unlink(missing_ok=True)
    shutil.rmtree(build_file.with_name(f"{build_file.name}.tmp"), ignore_errors=True)


def read_build(settings: Settings, run_ids: Sequence[str | None]) -> BuildRecord | None:
    """The record of the build file when one of the given runs built it, None otherwise."""
    try:
        record = BuildRecord(**json.loads(_record_file(settings).read_text()))
    except FileNotFoundError:
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
