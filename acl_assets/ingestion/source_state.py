"""The current state of the source tables: which converted files the transformation reads, switched atomically.

`current` is a link to one folder of `states/`; that folder holds, per table, the converted files of the state's
batches, named in their order. Together they are the table: of every id the row of the newest batch that has it.

What belongs here: linking, switching and pruning, and what the rows of a table are. What does not: how a file is
converted (`conversion`).
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import duckdb

from acl_assets.ingestion.converted_table import ConvertedTable, read_converted
from acl_assets.ingestion.export_batch import ExportBatch, LandingZoneState
from acl_assets.ingestion.source_schema import SOURCE_TABLES

EXPORT_BATCHES = "export_batches"


def converted_file(source_tables_dir: Path, table: str, batch: ExportBatch) -> Path:
    """Where the converted Parquet file of one table of one batch is kept."""
    return source_tables_dir / table / f"{batch.batch_id}.parquet"


def known_conversion(source_tables_dir: Path, table: str, batch: ExportBatch) -> ConvertedTable | None:
    """The conversion of one table of one batch, None when there is none of the batch as it is now."""
    converted = read_converted(converted_file(source_tables_dir, table, batch))
    return converted if converted and converted.batch_digest == batch.digest else None


def write_export_batches(source_tables_dir: Path, state: LandingZoneState) -> Path:
    """Write the provenance of a state as a source table of its own, one row per batch, and return the file.

    Columns: batch_id, kind, exported_at (instant), manifest_digest (SHA-256), has_manifest.
    """
    target = source_tables_dir / EXPORT_BATCHES / f"{state.digest}.parquet"
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_suffix(".unfinished")
    rows = [
        (batch.batch_id, batch.kind, batch.exported_at, batch.digest, batch.has_manifest) for batch in state.batches
    ]
    with duckdb.connect() as connection:
        connection.execute(
            "create table export_batches (batch_id varchar, kind varchar, exported_at timestamptz, "
            "manifest_digest varchar, has_manifest boolean)"
        )
        connection.executemany("insert into export_batches values (?, ?, ?, ?, ?)", rows)
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
    with its id, and an id twice in one batch counts twice. What is replaced is taken away again from the totals of
    the full batch, which costs a third of leaving it out.
    """
    first, *increments = [_literal(file) for file in files]
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
        for position, batch in enumerate(state.batches):
            if batch.tables[table].files:
                converted = converted_file(source_tables_dir, table, batch)
                os.link(converted, unfinished / table / f"{position:05}-{converted.name}")
    (unfinished / EXPORT_BATCHES).mkdir()
    provenance = write_export_batches(source_tables_dir, state)
    os.link(provenance, unfinished / EXPORT_BATCHES / provenance.name)
    unfinished.rename(folder)


def _prune(source_tables_dir: Path, state: LandingZoneState) -> None:
    for folder in (source_tables_dir / "states").iterdir():
        if folder.name != state.digest:
            shutil.rmtree(folder, ignore_errors=True)
    batch_files = {f"{batch.batch_id}.parquet" for batch in state.batches}
    for table in (*SOURCE_TABLES, EXPORT_BATCHES):
        keep = batch_files if table != EXPORT_BATCHES else {f"{state.digest}.parquet"}
        for file in (source_tables_dir / table).glob("*.parquet"):
            if file.name not in keep:
                file.unlink(missing_ok=True)


def _literal(path: Path) -> str:
    return "'" + str(path).replace("'", "''") + "'"
