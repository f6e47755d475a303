"""The source tables on disk: one folder per batch chain, and a link to the current one.

`source_tables/<digest of the chain>/` holds one Parquet file per table, the table of export batches, and `chain.json`,
which describes them. A folder is complete or absent; it is never changed. `source_tables/current` is a symbolic link,
replaced atomically. The previous folder is kept.
"""

import io
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import BinaryIO, Literal

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import json as pa_json
from pydantic import BaseModel

from acl_assets.landing_zone.batches import BatchChain, chain_digest
from acl_assets.landing_zone.manifest import BatchKind, ManifestTable
from acl_assets.source_schema import EXPORT_BATCHES_TABLE, SOURCE_TABLES, arrow_schema
from acl_assets.util.atomic_write import fsync_path, replace_durably, switch_link, write_atomically

CURRENT = "current"
CHAIN_FILE = "chain.json"
EXPORT_BATCHES = EXPORT_BATCHES_TABLE.name
REJECTS = "rejects"


class DamagedStateError(Exception):
    """A folder of source tables is incomplete, cut short or of another version; the message names the file."""


class ConvertedBatch(BaseModel, frozen=True):
    """A batch of the chain: what it stated of its tables, and the rows that were read, by table and file."""

    batch_id: str
    digest: str
    kind: BatchKind
    exported_at: datetime
    has_manifest: bool
    tables: dict[str, ManifestTable]
    rows_by_file: dict[str, dict[str, int]]


class TableFile(BaseModel, frozen=True):
    """The Parquet file of a source table: its size, its rows, and the sums of its whole-number columns but the key."""

    bytes: int
    rows: int
    sums: dict[str, int]


class ConvertedChain(BaseModel, frozen=True):
    """The content of `chain.json`: the batches, oldest first, and the table files made of them."""

    format: Literal[2] = 2
    batches: tuple[ConvertedBatch, ...]
    tables: dict[str, TableFile]

    @property
    def digest(self) -> str:
        """The SHA-256 that names the chain."""
        return chain_digest([(batch.batch_id, batch.digest) for batch in self.batches])

    @property
    def newest(self) -> ConvertedBatch:
        """The last batch of the chain."""
        return self.batches[-1]


# Reading --------------------------------------------------------------------------------------------------------


def folder_files() -> list[str]:
    """Return the names of the files in the folder of a chain, the description last."""
    return [*(f"{table}.parquet" for table in (*SOURCE_TABLES, EXPORT_BATCHES)), CHAIN_FILE]


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
    declared = {**SOURCE_TABLES, EXPORT_BATCHES: EXPORT_BATCHES_TABLE}
    file = folder / CHAIN_FILE
    try:
        chain = ConvertedChain.model_validate_json(file.read_bytes())
        if chain.tables.keys() != declared.keys() or not chain.batches:
            raise ValueError
        for table, described in chain.tables.items():
            file = table_file(folder, table)
            footer = pq.read_metadata(file)
            found = (file.stat().st_size, footer.num_rows, tuple(footer.schema.names))
            if found != (described.bytes, described.rows, declared[table].column_names):
                raise ValueError
    except (OSError, ValueError, pa.ArrowException):
        raise DamagedStateError(f"{file} is missing, damaged or of another version") from None
    return chain


def read_current(source_tables_dir: Path) -> ConvertedChain:
    """Return the current source tables.

    Raises:
        DamagedStateError: there are none, or they are damaged.
    """
    chain = read_chain(source_tables_dir / CURRENT)
    if chain is None:
        raise DamagedStateError(f"There are no source tables in {source_tables_dir}")
    return chain


def longest_prefix(source_tables_dir: Path, chain: BatchChain, warn: Callable[[str], None]) -> ConvertedChain | None:
    """Return the kept source tables of most of the first batches of a chain, up to all of them; None without any.

    `warn` receives what is wrong with damaged folders.
    """
    for digest in reversed(chain.prefix_digests()):
        try:
            found = read_chain(source_tables_dir / digest)
        except DamagedStateError as error:
            warn(f"{error}. The source tables are made again.")
            continue
        if found and found.digest == digest:
            return found
    return None


# Writing --------------------------------------------------------------------------------------------------------


def begin_folder(source_tables_dir: Path, digest: str) -> Path:
    """Return an empty folder in which the tables of a chain are made; only its owner may look into it."""
    source_tables_dir.mkdir(parents=True, exist_ok=True)
    source_tables_dir.chmod(0o700)
    for left in source_tables_dir.glob("*.unfinished"):
        shutil.rmtree(left, ignore_errors=True)
    unfinished = source_tables_dir / f"{digest}.unfinished"
    unfinished.mkdir(mode=0o700)
    return unfinished


@contextmanager
def private_file(target: Path) -> Iterator[BinaryIO]:
    """Open a new file that only its owner may read, and flush it to disk at the end."""
    with open(target, "xb", opener=partial(os.open, mode=0o600)) as stream:
        yield stream
    fsync_path(target)


def finish_folder(
    unfinished: Path, batches: Sequence[ConvertedBatch], tables: Mapping[str, TableFile]
) -> ConvertedChain:
    """Describe the tables of these batches, which were made in an unfinished folder, and give it its final name."""
    columns = EXPORT_BATCHES_TABLE.column_names
    rows = [{**batch.model_dump(mode="json"), "manifest_digest": batch.digest} for batch in batches]
    lines = "\n".join(json.dumps({column: row[column] for column in columns}) for row in rows)
    # Arrow makes a table of Python's objects with the help of pandas, which would stay loaded until the run ends.
    options = pa_json.ParseOptions(arrow_schema(EXPORT_BATCHES_TABLE))
    table = pa_json.read_json(io.BytesIO(lines.encode()), parse_options=options)
    with private_file(table_file(unfinished, EXPORT_BATCHES)) as stream:
        pq.write_table(table, stream, compression="zstd")
        file = TableFile(bytes=stream.tell(), rows=len(rows), sums={})
    chain = ConvertedChain(batches=tuple(batches), tables={**tables, EXPORT_BATCHES: file})
    write_atomically(unfinished / CHAIN_FILE, chain.model_dump_json(indent=1), mode=0o600)
    give_final_name(unfinished, chain.digest)
    return chain


def give_final_name(unfinished: Path, digest: str) -> None:
    """Rename a complete folder to the digest of its chain."""
    folder = unfinished.with_name(digest)
    # What is there is damaged, otherwise nothing would have been made.
    shutil.rmtree(folder, ignore_errors=True)
    replace_durably(unfinished, folder)


def switch_current(source_tables_dir: Path, folder: Path) -> None:
    """Make `current` point to a folder, all tables at once, and keep none but this and the previous folder.

    Superseded folders are removed: the landing zone still holds the batches they were made from. Rejects of earlier
    refreshes are removed too, because they can hold personal data. Where the same folder becomes current again, the
    previous one is not known, and every folder of a chain is kept.
    """
    current = source_tables_dir / CURRENT
    previous = switch_link(current, folder)
    for path in source_tables_dir.iterdir():
        is_kept = path.name in (folder.name, previous) or (folder.name == previous and (path / CHAIN_FILE).exists())
        if path != current and not is_kept:
            shutil.rmtree(path, ignore_errors=True)
