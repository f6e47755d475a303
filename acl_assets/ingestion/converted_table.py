"""What is known of a converted file: which batch it came from and how many rows of each of its files it holds.

What belongs here: the record of a conversion and where it is kept, in the footer of the file. What does not: how a
file is converted (`conversion`), whose libraries a reader of the record has no use for.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import duckdb

PROVENANCE_KEY = b"acl_assets"


@dataclass(frozen=True)
class ConvertedTable:
    """A source table of one batch as a typed Parquet file.

    `bytes` is the size of the Parquet file, `rows_by_file` the rows read from each file of the batch, and
    `batch_digest` the digest of the batch they were read from.
    """

    path: Path
    rows: int
    bytes: int
    rows_by_file: Mapping[str, int]
    batch_id: str
    batch_digest: str


def read_converted(target: Path) -> ConvertedTable | None:
    """Read what an earlier conversion wrote from the Parquet footer, None where there is no such file.

    The caller compares `batch_digest`: a batch without a manifest can change and is then converted anew.
    """
    with duckdb.connect() as connection:
        return _read_converted(connection, target)


def read_all_converted(targets: Iterable[Path]) -> list[ConvertedTable | None]:
    """Read what earlier conversions wrote, as `read_converted` does one by one, in a fraction of the time."""
    with duckdb.connect() as connection:
        return [_read_converted(connection, target) for target in targets]


def _read_converted(connection: duckdb.DuckDBPyConnection, target: Path) -> ConvertedTable | None:
    if not target.exists():
        return None
    try:
        row = connection.execute(
            "select num_rows, value from parquet_file_metadata(?), parquet_kv_metadata(?) where key = ?",
            [str(target), str(target), PROVENANCE_KEY],
        ).fetchone()
    except duckdb.Error:
        return None
    if row is None:
        return None
    return ConvertedTable(path=target, rows=row[0], bytes=target.stat().st_size, **json.loads(row[1]))
