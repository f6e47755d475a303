"""The source tables on disk: one folder per batch chain, and a link to the current one.

`source_tables/<digest of the chain>/` holds one Parquet file per table, the table of export batches, and `chain.json`,
which describes them. A folder is complete or absent; it is never changed. `source_tables/current` is a symbolic link,
replaced atomically. The previous folder is kept.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, ValidationError

from acl_assets.landing_zone.batches import BatchChain, chain_digest
from acl_assets.landing_zone.manifest import BatchKind, ExportBatch, ManifestFile, ManifestTable
from acl_assets.source_schema import SOURCE_TABLES, arrow_schema
from acl_assets.util.atomic_write import fsync_path, replace_durably, write_atomically

CURRENT = "current"
CHAIN_FILE = "chain.json"
EXPORT_BATCHES = "export_batches"
REJECTS = "rejects"
_FORMAT = 1
_EXPORT_BATCHES_SCHEMA = pa.schema(
    [
        ("batch_id", pa.string()),
        ("kind", pa.string()),
        ("exported_at", pa.timestamp("us", tz="UTC")),
        ("manifest_digest", pa.string()),
        ("has_manifest", pa.bool_()),
    ]
)


class DamagedStateError(Exception):
    """A folder of source tables is incomplete, cut short or of another version; the message names the file."""


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ConvertedFile(_Record):
    """A file of a batch: rows that were read, and rows its manifest states (None without a manifest)."""

    path: str
    rows: int
    stated_rows: int | None


class ConvertedBatchTable(_Record):
    """One table of a batch as it was read, and what the source stated of the whole table."""

    files: tuple[ConvertedFile, ...]
    rows_at_source: int | None
    sums_at_source: dict[str, int]

    @property
    def rows(self) -> int:
        """Rows that were read."""
        return sum(file.rows for file in self.files)

    def as_manifest(self) -> ManifestTable:
        """Return what the manifest stated."""
        files = tuple(ManifestFile(file.path, 0, None, file.stated_rows) for file in self.files)
        return ManifestTable(self.rows_at_source, files, self.sums_at_source)

    def rows_by_file(self) -> dict[str, int]:
        """Return the rows that were read, by file."""
        return {file.path: file.rows for file in self.files}


class ConvertedBatch(_Record):
    """A batch of the chain and what was read of it."""

    batch_id: str
    digest: str
    kind: BatchKind
    exported_at: datetime
    has_manifest: bool
    tables: dict[str, ConvertedBatchTable]


class TableFile(_Record):
    """The Parquet file of a source table: its size, its rows, and the sums of its whole-number columns."""

    bytes: int
    rows: int
    sums: dict[str, int]


class ConvertedChain(_Record):
    """The content of `chain.json`: the batches, oldest first, and the table files made of them."""

    format: int = _FORMAT
    batches: tuple[ConvertedBatch, ...]
    tables: dict[str, TableFile]

    @property
    def digest(self) -> str:
        """The SHA-256 that names the chain."""
        return chain_digest(self.batch_digests)

    @property
    def batch_digests(self) -> tuple[tuple[str, str], ...]:
        """Ids and digests of the batches, in order."""
        return tuple((batch.batch_id, batch.digest) for batch in self.batches)

    @property
    def newest(self) -> ConvertedBatch:
        """The last batch of the chain."""
        return self.batches[-1]


# Reading --------------------------------------------------------------------------------------------------------


def table_file(folder: Path, table: str) -> Path:
    """Return the path of a table's Parquet file in the folder of a chain, or in `current`."""
    return folder / f"{table}.parquet"


def read_chain(folder: Path) -> ConvertedChain | None:
    """Return what a folder of source tables holds, None when there is no such folder.

    Sizes and footers are compared, so that a file that was cut short is noticed, but not every byte is read.

    Raises:
        DamagedStateError: the folder is incomplete, damaged or of another version.
    """
    if not folder.is_dir():
        return None
    description = folder / CHAIN_FILE
    try:
        chain = ConvertedChain.model_validate_json(description.read_bytes())
    except (OSError, ValidationError) as error:
        raise DamagedStateError(f"{description} cannot be read ({type(error).__name__})") from None
    if chain.format != _FORMAT or chain.tables.keys() != {*SOURCE_TABLES, EXPORT_BATCHES} or not chain.batches:
        raise DamagedStateError(f"{description} is of another version")
    for table, described in chain.tables.items():
        _require_intact(table_file(folder, table), described, table)
    return chain


def _require_intact(file: Path, described: TableFile, table: str) -> None:
    try:
        size = file.stat().st_size
        if size != described.bytes:
            raise DamagedStateError(f"{file} has {size:,} bytes where {described.bytes:,} were written")
        metadata = pq.read_metadata(file)
    except (OSError, pa.ArrowException) as error:
        raise DamagedStateError(f"{file} cannot be read ({type(error).__name__})") from None
    if metadata.num_rows != described.rows:
        raise DamagedStateError(f"{file} has {metadata.num_rows:,} rows where {described.rows:,} were written")
    declared = _EXPORT_BATCHES_SCHEMA if table == EXPORT_BATCHES else arrow_schema(SOURCE_TABLES[table])
    if metadata.schema.names != declared.names:
        raise DamagedStateError(f"{file} has other columns than are declared now")


def read_current(source_tables_dir: Path) -> ConvertedChain:
    """Return the current source tables.

    Raises:
        DamagedStateError: there are none, or they are damaged.
    """
    chain = read_chain(source_tables_dir / CURRENT)
    if chain is None:
        raise DamagedStateError(f"There are no source tables in {source_tables_dir}")
    return chain


def kept_chains(source_tables_dir: Path) -> Iterator[tuple[Path, ConvertedChain | DamagedStateError]]:
    """Give every folder of source tables, with its chain or with what is wrong with it."""
    if not source_tables_dir.is_dir():
        return
    for folder in sorted(source_tables_dir.iterdir()):
        if folder.is_symlink() or not folder.is_dir() or not _is_digest(folder.name):
            continue
        try:
            chain = read_chain(folder)
        except DamagedStateError as error:
            yield folder, error
        else:
            if chain is not None and chain.digest == folder.name:
                yield folder, chain


def _is_digest(name: str) -> bool:
    return len(name) == 64 and set(name) <= set("0123456789abcdef")


# Writing --------------------------------------------------------------------------------------------------------


def begin_folder(source_tables_dir: Path, digest: str) -> Path:
    """Return an empty folder in which the tables of a chain are made; only its owner may look into it."""
    source_tables_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    # An earlier version created it with the usual mode.
    source_tables_dir.chmod(0o700)
    unfinished = source_tables_dir / f"{digest}.unfinished"
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(mode=0o700)
    return unfinished


def describe_batch(batch: ExportBatch, rows_by_file: Mapping[str, Mapping[str, int]]) -> ConvertedBatch:
    """Return the record of a converted batch; `rows_by_file` are the rows that were read, by table and file."""
    tables = {
        name: ConvertedBatchTable(
            files=tuple(
                ConvertedFile(path=file.path, rows=rows_by_file[name].get(file.path, 0), stated_rows=file.rows)
                for file in table.files
            ),
            rows_at_source=table.rows_at_source,
            sums_at_source=dict(table.sums_at_source),
        )
        for name, table in batch.tables.items()
    }
    return ConvertedBatch(
        batch_id=batch.batch_id,
        digest=batch.digest,
        kind=batch.kind,
        exported_at=batch.exported_at,
        has_manifest=batch.has_manifest,
        tables=tables,
    )


def finish_folder(
    unfinished: Path, batches: Sequence[ConvertedBatch], totals: Mapping[str, tuple[int, Mapping[str, int]]]
) -> tuple[Path, ConvertedChain]:
    """Describe the tables made in an unfinished folder, and give it its final name.

    Args:
        unfinished: the folder, with one Parquet file per source table.
        batches: the batches of the chain, in order.
        totals: rows and sums of every source table.

    Returns:
        The folder and what it holds.
    """
    _write_export_batches(table_file(unfinished, EXPORT_BATCHES), batches)
    tables = {
        name: TableFile(bytes=table_file(unfinished, name).stat().st_size, rows=rows, sums=dict(sums))
        for name, (rows, sums) in {**totals, EXPORT_BATCHES: (len(batches), {})}.items()
    }
    chain = ConvertedChain(batches=tuple(batches), tables=tables)
    write_atomically(unfinished / CHAIN_FILE, chain.model_dump_json(indent=1), mode=0o600)
    folder = unfinished.with_name(chain.digest)
    # What is there is damaged, otherwise nothing would have been made.
    shutil.rmtree(folder, ignore_errors=True)
    replace_durably(unfinished, folder)
    return folder, chain


def _write_export_batches(target: Path, batches: Sequence[ConvertedBatch]) -> None:
    """Write the provenance of a chain as a source table of its own, one row per batch."""
    rows = [
        {
            "batch_id": batch.batch_id,
            "kind": batch.kind,
            "exported_at": batch.exported_at,
            "manifest_digest": batch.digest,
            "has_manifest": batch.has_manifest,
        }
        for batch in batches
    ]
    target.touch(mode=0o600, exist_ok=False)
    pq.write_table(pa.Table.from_pylist(rows, schema=_EXPORT_BATCHES_SCHEMA), target, compression="zstd")
    fsync_path(target)


def switch_current(source_tables_dir: Path, folder: Path) -> None:
    """Make `current` point to a folder, all tables at once, and keep none but this and the previous folder.

    Superseded folders are removed: the landing zone still holds the batches they were made from. Rejects of earlier
    refreshes are removed too, because they can hold personal data.
    """
    current = source_tables_dir / CURRENT
    previous = current.resolve().name if current.is_symlink() else None
    link = source_tables_dir / f"{CURRENT}.unfinished"
    link.unlink(missing_ok=True)
    link.symlink_to(folder.name, target_is_directory=True)
    replace_durably(link, current)
    _prune(source_tables_dir, folder.name, previous)
    shutil.rmtree(source_tables_dir / REJECTS, ignore_errors=True)


def _prune(source_tables_dir: Path, present: str, previous: str | None) -> None:
    """Remove everything from the folder of the source tables but the two folders and the link.

    Where the same folder became current again, the previous one is not known, and every folder of a chain is kept.
    """
    for path in source_tables_dir.iterdir():
        is_kept = path.name in (present, previous) or (present == previous and _is_digest(path.name))
        if is_kept or path.name in (CURRENT, REJECTS):
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


# Continuing -----------------------------------------------------------------------------------------------------


def longest_prefix(
    source_tables_dir: Path, chain: BatchChain
) -> tuple[Path | None, tuple[ConvertedBatch, ...], list[str]]:
    """Find the folder that holds most of the first batches of a chain, up to all of them.

    Returns:
        The folder (None when there is none), the batches it holds, and what is wrong with damaged folders.
    """
    wanted = tuple((batch.batch_id, batch.digest) for batch in chain.batches)
    best: Path | None = None
    held: tuple[ConvertedBatch, ...] = ()
    damage: list[str] = []
    for folder, found in kept_chains(source_tables_dir):
        if isinstance(found, DamagedStateError):
            damage.append(str(found))
        elif found.batch_digests == wanted[: len(found.batches)] and len(found.batches) > len(held):
            best, held = folder, found.batches
    return best, held, damage
