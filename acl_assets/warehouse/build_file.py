"""The build file of a refresh, which replaces the published file when it is published.

A run that builds every model starts with an empty file, a run that builds some with a copy of the published file.
"""

import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

import duckdb
from pydantic import BaseModel, ConfigDict

from acl_assets.settings import Settings
from acl_assets.util.atomic_write import write_atomically

MIXED_STATES = (
    "Only some models are selected, and no published file has the others built from the current source tables: the "
    "result would be a mixture of two states or incomplete. Materialize everything (job refresh, or --select '*')."
)


class BuildError(Exception):
    """The models cannot be built, copied or published; the message says why and what to do."""


class BuildRecord(BaseModel):
    """The run that built the build file, and how it was built; written next to the build file.

    `state` is the digest of the batch chain that is read, and `published_state` that of the published file, None if
    none can be read. `assets` are those selected in the run, as `layer/name`; publication requires their checks.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    run_id: str
    published_state: str | None
    complete: bool
    state: str
    assets: tuple[str, ...] = ()

    @property
    def is_fragment(self) -> bool:
        """Return whether only some models are built without a published file to build them on."""
        return not self.complete and self.published_state is None


def begin_build(settings: Settings, record: BuildRecord, *, self_sufficient: bool) -> None:
    """Remove the previous build and prepare the build file for dbt; `self_sufficient` models read no other models.

    Raises:
        BuildError: only some models are to be built, and there is no published file that has the others.
    """
    remove_build(settings)
    settings.build_dir.mkdir(parents=True, exist_ok=True)
    if record.is_fragment and not self_sufficient:
        raise BuildError(
            f"Models are needed that are not selected, and there is no {settings.published_file} that has them. "
            "Materialize everything once (job refresh, or --select '*'), or select these models as well."
        )
    if not record.complete and record.published_state:
        shutil.copyfile(settings.published_file, settings.build_file)
    write_atomically(_record_file(settings), record.model_dump_json())


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
        record = BuildRecord.model_validate_json(_record_file(settings).read_bytes())
    except (FileNotFoundError, ValueError):
        return None
    return record if record.run_id in run_ids and settings.build_file.exists() else None


def row_counts(database: Path, relations: Iterable[str]) -> dict[str, int]:
    """Count the rows of relations such as `star_schema.dim_venues`; those that do not exist are left out."""
    if not database.exists():
        return {}
    with duckdb.connect(str(database), read_only=True) as connection:
        names = connection.execute("select table_schema || '.' || table_name from information_schema.tables").fetchall()
        present = [relation for relation in relations if (relation,) in names]
        counts = [connection.execute(f"select count(*) from {relation}").fetchall()[0][0] for relation in present]
        return dict(zip(present, counts, strict=True))


def _record_file(settings: Settings) -> Path:
    return settings.build_file.with_suffix(".json")
