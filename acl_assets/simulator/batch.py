"""Write the simulated sales as an export batch, in any format that the landing zone accepts."""

from __future__ import annotations

import gzip
import hashlib
import os
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from tqdm import tqdm

from acl_assets.landing_zone.manifest import (
    MANIFEST_NAME,
    BatchError,
    Manifest,
    ManifestTable,
    Predecessor,
    begin_batch,
    describe_file,
    write_manifest,
)
from acl_assets.simulator.sales import ARROW_SCHEMAS, TicketingHistory
from acl_assets.source_schema import SOURCE_TABLES, SUMMED_COLUMNS

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
    folder = begin_batch(exports_dir, batch_id)
    with _removed_on_failure(folder):
        tables = _write_tables(folder, _with_progress(history, batch_id), batch_format)
        snapshot = {"simulated": True, "scale": history.scale, "seed": history.seed}
        write_manifest(folder, Manifest(batch_id, "full", history.exported_at, tables, snapshot))
    return folder


def write_plain_batch(exports_dir: Path, batch_id: str, history: TicketingHistory) -> Path:
    r"""Write CSV files without a manifest, as psql's `\copy … csv header` does, and return their folder.

    The files' modification time is the instant of the export.

    Raises:
        BatchError: a folder of that name exists.
    """
    folder = exports_dir / batch_id
    try:
        folder.mkdir(parents=True)
    except FileExistsError:
        raise BatchError(f"{folder} is there already; choose another batch id.") from None
    with _removed_on_failure(folder):
        _write_tables(folder, _with_progress(history, batch_id), "csv")
        for path in folder.iterdir():
            os.utime(path, (history.exported_at.timestamp(),) * 2)
    return folder


def write_incremental_batch(
    predecessor: Path, batch_id: str, earlier: Rows, later: Rows, exported_at: datetime
) -> Path:
    """Write the rows that are new or changed since the batch in the folder `predecessor`, and return their folder.

    `earlier` are all rows when the predecessor was exported, `later` those at the instant of this export. Deleted rows
    leave no trace, as in reality.

    Raises:
        BatchError: a batch of that name exists; batches are immutable.
    """
    folder = begin_batch(predecessor.parent, batch_id)
    with _removed_on_failure(folder):
        hashes: dict[str, list[npt.NDArray[np.uint64]]] = {name: [np.empty(0, np.uint64)] for name in SOURCE_TABLES}
        for name, rows in earlier:
            hashes[name].append(_row_hashes(rows))
        tables = _write_tables(folder, later, "parquet", known={name: np.concatenate(hashes[name]) for name in hashes})
        digest = hashlib.sha256((predecessor / MANIFEST_NAME).read_bytes()).hexdigest()
        continues_from = Predecessor(predecessor.name, digest)
        manifest = Manifest(batch_id, "incremental", exported_at, tables, {"simulated": True}, continues_from)
        write_manifest(folder, manifest)
    return folder


def _row_hashes(rows: pa.Table) -> npt.NDArray[np.uint64]:
    return np.asarray(pd.util.hash_pandas_object(rows.to_pandas(), index=False), dtype=np.uint64)


@contextmanager
def _removed_on_failure(folder: Path) -> Iterator[None]:
    try:
        yield
    except BaseException:
        shutil.rmtree(folder)
        raise


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
            name: stack.enter_context(closing(open_table_file(folder / path, ARROW_SCHEMAS[name])))
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


def open_table_file(path: Path, schema: pa.Schema) -> CsvWriter | pq.ParquetWriter:
    """Begin a file of an export in the format of its name; both writers have `write_table` and `close`."""
    if path.suffix != ".parquet":
        return CsvWriter(path, schema)
    repetitive = [name for name in _REPETITIVE_COLUMNS if name in schema.names]
    return pq.ParquetWriter(path, schema, compression="zstd", use_dictionary=repetitive, write_page_checksum=True)


class CsvWriter:
    """Write a CSV file with a header, compressed as its name says; equal content gives equal files."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        if path.suffix == ".gz":
            self._stream = gzip.GzipFile(path, "wb", compresslevel=1, mtime=0)
        else:
            self._stream = pa.output_stream(path, compression="zstd" if path.suffix == ".zst" else None)
        self._stream.write(f"{','.join(schema.names)}\n".encode())

    def write_table(self, rows: pa.Table) -> None:
        """Append rows."""
        for piece in rows.to_batches():
            self._stream.write(csv_lines(piece))

    def close(self) -> None:
        """Finish the file."""
        self._stream.close()


def csv_lines(rows: pa.RecordBatch) -> pa.Buffer:
    """Format rows as PostgreSQL does: quotes where needed, NULL empty, empty text quoted, times in UTC.

    Timestamps must be whole seconds.
    """
    fields = [_csv_field(column) for column in rows.columns]
    lines = pc.binary_join_element_wise(*fields, ",", null_handling="replace", null_replacement="")
    text = pc.binary_join_element_wise(lines, "", "\n")
    _, offsets, characters = text.buffers()
    # The buffer can be longer than the text: that of no lines at all is.
    return characters.slice(0, np.frombuffer(offsets, np.int32)[len(text)])


def _csv_field(column: pa.Array) -> pa.StringArray:
    if pa.types.is_timestamp(column.type):
        seconds = column.cast(pa.timestamp("s", tz="UTC")).cast(pa.timestamp("s"))
        return pc.binary_join_element_wise(seconds.cast(pa.string()), "+00", "")
    if pa.types.is_string(column.type):
        quoted = pc.binary_join_element_wise('"', pc.replace_substring(column, '"', '""'), '"', "")
        return pc.if_else(pc.match_substring_regex(column, r'^$|^\\\.$|[",\r\n]'), quoted, column)
    return column.cast(pa.string())
