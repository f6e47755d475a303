"""The current state of the source tables: which converted files the transformation reads, switched atomically.

`current` is a link to one folder of `states/`; that folder holds, per table, the converted files of the state's
batches, or those they were compacted into, named in their order: each begins with the position of the newest batch it
holds. Together they are the table: of every id the row of the newest batch that has it.

What belongs here: linking, switching and pruning, and what the rows of a table are. What does not: how a file is
converted (`conversion`), when files are compacted and how (`compaction`).
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import duckdb

from acl_assets.ingestion.compaction import (
    Merge,
    compacted_files,
    compacted_path,
    files_to_merge,
    prune_compacted,
    read_compacted,
)
from acl_assets.ingestion.converted_table import ConvertedTable, read_all_converted
from acl_assets.ingestion.export_batch import ExportBatch, LandingZoneState
from acl_assets.ingestion.source_schema import SOURCE_TABLES, SUMMED_COLUMNS

EXPORT_BATCHES = "export_batches"
FETCHED = "fetched"


def converted_file(source_tables_dir: Path, table: str, batch: ExportBatch) -> Path:
    """Where the converted Parquet file of one table of one batch is kept."""
    return source_tables_dir / table / f"{batch.batch_id}.parquet"


def known_conversions(
    source_tables_dir: Path, table: str, batches: Sequence[ExportBatch]
) -> list[ConvertedTable | None]:
    """The conversions of one table of a state's batches, None for each there is none of as the batch is now."""
    found: dict[str, ConvertedTable] = {}
    for compacted in compacted_files(source_tables_dir, table, batches):
        found.update((known.batch_id, known) for known in read_compacted(compacted))
    single = [converted_file(source_tables_dir, table, batch) for batch in batches if batch.batch_id not in found]
    found.update((known.batch_id, known) for known in read_all_converted(single) if known)
    return [
        known if (known := found.get(batch.batch_id)) and known.batch_digest == batch.digest else None
        for batch in batches
    ]


def table_files(source_tables_dir: Path, table: str, batches: Sequence[ExportBatch]) -> dict[int, Path]:
    """The files that make up a table, each by the position of the newest batch it holds, in their order."""
    compacted = compacted_files(source_tables_dir, table, batches)
    files = {file.last: file.path for file in compacted}
    held = {position for file in compacted for position in range(file.first, file.last + 1)}
    for position, batch in enumerate(batches):
        if position not in held and batch.tables[table].files:
            files[position] = converted_file(source_tables_dir, table, batch)
    return dict(sorted(files.items()))


def due_merge(
    source_tables_dir: Path, table: str, batches: Sequence[ExportBatch], conversions: Sequence[ConvertedTable]
) -> Merge | None:
    """The merge of files that a table needs, all batches of the state being converted; None while it has few."""
    files = table_files(source_tables_dir, table, batches)
    sizes = {conversion.path: conversion.bytes for conversion in conversions}
    chosen = files_to_merge([sizes[path] for path in files.values()])
    if chosen is None:
        return None
    positions = list(files)
    first, last = positions[chosen[0] - 1] + 1 if chosen[0] else 0, positions[chosen[-1]]
    return Merge(
        files=tuple(files[positions[place]] for place in chosen),
        conversions=tuple(conversions[first : last + 1]),
        target=compacted_path(source_tables_dir, table, batches, first, last),
    )


def write_export_batches(source_tables_dir: Path, state: LandingZoneState) -> Path:
    """Write the provenance of a state as a source table of its own, one row per batch, and return the file.

    Columns: batch_id, kind, exported_at (instant), manifest_digest (SHA-256), has_manifest.
    """
    target = source_tables_dir / EXPORT_BATCHES / f"{state.digest}.parquet"
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_suffix(".unfinished")
    columns = zip(
        *((batch.batch_id, batch.kind, batch.exported_at, batch.digest, batch.has_manifest) for batch in state.batches),
        strict=True,
    )
    with duckdb.connect() as connection:
        connection.execute(
            "create table export_batches (batch_id varchar, kind varchar, exported_at timestamptz, "
            "manifest_digest varchar, has_manifest boolean)"
        )
        connection.execute(
            "insert into export_batches select unnest(?), unnest(?), unnest(?), unnest(?), unnest(?)",
            [list(column) for column in columns],
        )
        connection.execute(f"copy export_batches to {_literal(unfinished)} (format parquet, compression zstd)")
    os.replace(unfinished, target)
    return target


def read_current_batches(source_tables_dir: Path) -> list[tuple[str, str]]:
    """Ids and digests of the batches the current source tables hold, in order."""
    with duckdb.connect() as connection:
        rows = connection.execute(
            "select batch_id, manifest_digest from read_parquet(?) order by exported_at, batch_id",
            [str(source_tables_dir / "current" / EXPORT_BATCHES / "*.parquet")],
        ).fetchall()
    return [(batch_id, digest) for batch_id, digest in rows]


def current_files(source_tables_dir: Path, table: str) -> list[Path]:
    """The converted files of a table in the current state, in the order of their batches."""
    return sorted((source_tables_dir / "current" / table).glob("*.parquet"))


def merged_totals(files: Sequence[Path], columns: Sequence[str] = ()) -> tuple[int, ...]:
    """How many rows a source table has, and the sums of its given whole-number columns, nulls left out.

    The table is given by its converted files, in the order of their batches: a row replaces those of earlier batches
    with its id, and an id twice in one batch counts twice. A refresh asks for the same totals several times; they are
    found once for the files as they are.
    """
    return _merged_totals(tuple((file, *_identity(file)) for file in files), tuple(columns))


def _identity(file: Path) -> tuple[int, int, int]:
    found = file.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns


@lru_cache(maxsize=2 * len(SOURCE_TABLES))
def _merged_totals(files: tuple[tuple[Path, int, int, int], ...], columns: tuple[str, ...]) -> tuple[int, ...]:
    """What is replaced is taken away again from the full batch, which costs a third of leaving it out."""
    first, *increments = [_literal(file) for file, *_ in files]
    totals = "".join(f", coalesce(sum({column}), 0) as {column}" for column in columns)
    query = f"select count(*) as rows{totals} from read_parquet({first})"
    if increments:
        taken_away = "".join(f", -coalesce(sum({column}), 0)" for column in columns)
        all_totals = "".join(f", sum({column})" for column in columns)
        query = (
            f"with increments as (select *, file_index as batch from read_parquet([{', '.join(increments)}]) "
            f"qualify batch = max(batch) over (partition by id)) select sum(rows){all_totals} from ("
            f"{query} union all select count(*){totals} from increments union all select -count(*){taken_away} "
            f"from read_parquet({first}) where id in (select id from increments))"
        )
    with duckdb.connect() as connection:
        ((rows, *sums),) = connection.execute(query).fetchall()
    return (int(rows), *map(int, sums))


def count_rows(source_tables_dir: Path) -> dict[str, int]:
    """How many rows every source table of the current state has."""
    return {
        table: merged_totals(current_files(source_tables_dir, table), SUMMED_COLUMNS.get(table, ()))[0]
        for table in SOURCE_TABLES
    }


def switch_current(source_tables_dir: Path, state: LandingZoneState) -> Path:
    """Make `current` show the files of a state, all tables at once, and drop what no state needs any more.

    Every table of the state must have been converted. Superseded conversions are removed: the landing zone still
    holds the batches they came from.
    """
    current = source_tables_dir / "current"
    folder = source_tables_dir / "states" / state.digest
    if not folder.exists():
        _link_state(source_tables_dir, state, folder)
    link = source_tables_dir / "current.unfinished"
    link.unlink(missing_ok=True)
    link.symlink_to(folder.relative_to(source_tables_dir), target_is_directory=True)
    os.replace(link, current)
    _prune(source_tables_dir, state)
    return current


def _link_state(source_tables_dir: Path, state: LandingZoneState, folder: Path) -> None:
    unfinished = folder.with_name(f"{state.digest}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    for table in SOURCE_TABLES:
        (unfinished / table).mkdir(parents=True)
        for position, file in table_files(source_tables_dir, table, state.batches).items():
            os.link(file, unfinished / table / f"{position:05}-{file.name}")
    (unfinished / EXPORT_BATCHES).mkdir()
    provenance = write_export_batches(source_tables_dir, state)
    os.link(provenance, unfinished / EXPORT_BATCHES / provenance.name)
    unfinished.rename(folder)


def _prune(source_tables_dir: Path, state: LandingZoneState) -> None:
    # What a killed refresh had fetched from object storage.
    shutil.rmtree(source_tables_dir / FETCHED, ignore_errors=True)
    for folder in (source_tables_dir / "states").iterdir():
        if folder.name != state.digest:
            shutil.rmtree(folder, ignore_errors=True)
    keep = {EXPORT_BATCHES: {f"{state.digest}.parquet"}}
    for table in SOURCE_TABLES:
        compacted = compacted_files(source_tables_dir, table, state.batches)
        prune_compacted(source_tables_dir, table, compacted)
        held = {position for file in compacted for position in range(file.first, file.last + 1)}
        keep[table] = {
            f"{batch.batch_id}.parquet" for position, batch in enumerate(state.batches) if position not in held
        }
    for table, kept in keep.items():
        for file in (source_tables_dir / table).glob("*.parquet"):
            if file.name not in kept:
                file.unlink(missing_ok=True)


def _literal(path: Path) -> str:
    return "'" + str(path).replace("'", "''") + "'"
