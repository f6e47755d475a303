"""Write the simulated sales as an export batch, in any format that the landing zone accepts."""

import gzip
import hashlib
import os
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import csv
from tqdm import tqdm

from acl_assets.landing_zone.manifest import (
    MANIFEST_NAME,
    UNFINISHED_MANIFEST_NAME,
    Manifest,
    ManifestTable,
    Predecessor,
    already_there,
    begin_batch,
    describe_file,
    write_manifest,
)
from acl_assets.simulator.sales import ARROW_SCHEMAS, TicketingHistory
from acl_assets.source_schema import SOURCE_TABLES, SUMMED_COLUMNS
from acl_assets.util.atomic_write import replace_durably
from acl_assets.util.locks import held_lock

BatchFormat = Literal["parquet", "csv", "csv.gz", "csv.zst"]
BATCH_FORMATS: tuple[BatchFormat, ...] = ("parquet", "csv", "csv.gz", "csv.zst")
Rows = Iterable[tuple[str, pa.Table]]
"""Rows of all tables, as (table name, rows); a table may come in pieces."""

_REPETITIVE_COLUMNS = ["price", "performance_id"]


def write_batch(
    exports_dir: Path, batch_id: str, history: TicketingHistory, batch_format: BatchFormat = "parquet"
) -> Path:
    """Write a full batch with its manifest, and return its folder.

    Raises:
        BatchError: a batch of that name exists; batches are immutable.
    """
    with _new_batch(exports_dir, batch_id) as folder:
        tables = _write_tables(folder, _with_progress(history, batch_id), batch_format)
        snapshot = {"simulated": True, "scale": history.scale, "seed": history.seed}
        write_manifest(folder, Manifest(batch_id, "full", history.exported_at, tables, snapshot))
    return exports_dir / batch_id


def write_plain_batch(exports_dir: Path, batch_id: str, history: TicketingHistory) -> Path:
    """Write CSV files without a manifest, as an export by hand leaves them; errors and result as for `write_batch`.

    The files' modification time is the instant of the export.
    """
    with _new_batch(exports_dir, batch_id) as folder:
        _write_tables(folder, _with_progress(history, batch_id), "csv")
        for path in folder.iterdir():
            os.utime(path, (history.exported_at.timestamp(),) * 2)
        (folder / UNFINISHED_MANIFEST_NAME).unlink()
    return exports_dir / batch_id


def write_incremental_batch(
    predecessor: Path, batch_id: str, earlier: Rows, later: Rows, exported_at: datetime
) -> Path:
    """Write the rows that are new or changed since the batch in the folder `predecessor`.

    `earlier` are all rows when the predecessor was exported, `later` those at the instant of this export. Deleted rows
    leave no trace, as in reality. Errors and result are those of `write_batch`.
    """
    with _new_batch(predecessor.parent, batch_id) as folder:
        hashes: dict[str, list[npt.NDArray[np.uint64]]] = {name: [np.empty(0, np.uint64)] for name in SOURCE_TABLES}
        for name, rows in earlier:
            hashes[name].append(_row_hashes(rows))
        tables = _write_tables(folder, later, "parquet", known={name: np.concatenate(hashes[name]) for name in hashes})
        digest = hashlib.sha256((predecessor / MANIFEST_NAME).read_bytes()).hexdigest()
        continues_from = Predecessor(predecessor.name, digest)
        manifest = Manifest(batch_id, "incremental", exported_at, tables, {"simulated": True}, continues_from)
        write_manifest(folder, manifest)
    return predecessor.with_name(batch_id)


def _row_hashes(rows: pa.Table) -> npt.NDArray[np.uint64]:
    return np.asarray(pd.util.hash_pandas_object(rows.to_pandas(), index=False), dtype=np.uint64)


@contextmanager
def _new_batch(exports_dir: Path, batch_id: str) -> Iterator[Path]:
    """Make the folder of a batch out of sight, and land it if the block succeeds; a kill leaves no half batch."""
    landed, spare = exports_dir / batch_id, exports_dir / ".simulated"
    with held_lock(exports_dir / ".simulated.lock", seconds=-1):
        if landed.exists():
            raise already_there(landed)
        shutil.rmtree(spare, ignore_errors=True)
        try:
            yield (folder := begin_batch(spare, batch_id))
            replace_durably(folder, landed)
        finally:
            shutil.rmtree(spare, ignore_errors=True)


def _with_progress(history: TicketingHistory, name: str) -> Iterator[tuple[str, pa.Table]]:
    with tqdm(desc=name, total=history.expected_tickets, unit=" tickets", unit_scale=True, disable=None) as progress:
        for table, rows in history.stream():
            yield table, rows
            if table == "tickets":
                progress.update(rows.num_rows)


def _write_tables(
    folder: Path, stream: Rows, batch_format: BatchFormat, known: Mapping[str, npt.NDArray[np.uint64]] | None = None
) -> dict[str, ManifestTable]:
    """Write all rows, or those whose hash is not known, and return the tables' description for a manifest."""
    paths = {name: f"{name}.{batch_format}" for name in SOURCE_TABLES}
    sums = {name: dict.fromkeys(SUMMED_COLUMNS.get(name, ()), 0) for name in SOURCE_TABLES}
    at_source, written = Counter[str](), Counter[str]()
    with ExitStack() as stack:
        writers = {
            name: stack.enter_context(open_table_file(folder / path, ARROW_SCHEMAS[name]))
            for name, path in paths.items()
        }
        for name, rows in stream:
            at_source[name] += rows.num_rows
            for column in sums[name]:
                sums[name][column] += pc.sum(rows[column]).as_py() or 0
            new = rows if known is None else rows.filter(pa.array(~np.isin(_row_hashes(rows), known[name])))
            if new.num_rows:
                writers[name].write_table(new)
                written[name] += new.num_rows
    return {
        name: ManifestTable(at_source[name], (describe_file(folder, path, written[name]),), sums[name])
        for name, path in paths.items()
    }


@contextmanager
def open_table_file(path: Path, schema: pa.Schema) -> Iterator[csv.CSVWriter | pq.ParquetWriter]:
    """Give a writer with `write_table`, in the format of the file's name; equal content gives equal files."""
    if path.suffix == ".parquet":
        with pq.ParquetWriter(
            path, schema, compression="zstd", use_dictionary=_REPETITIVE_COLUMNS, write_page_checksum=True
        ) as writer:
            yield writer
        return
    if path.suffix == ".gz":
        stream = gzip.GzipFile(path, "wb", compresslevel=1, mtime=0)
    else:
        stream = pa.output_stream(path, compression="zstd" if path.suffix == ".zst" else None)
    with stream, csv.CSVWriter(stream, schema) as writer:
        yield writer
