"""Ways to read a database in Python as people write them: `python -m benchmarks.extraction.readers WAY DSN FOLDER`.

What belongs here: the way each library's documentation shows for large tables, into Parquet files. What does not:
tuning beyond that, and the contenders that need no script (`contenders`).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.extraction.source import DATABASE, TABLES

if TYPE_CHECKING:
    import pandas as pd
    import sqlalchemy

_ROWS_AT_ONCE = 100_000


def read_with_pandas(dsn: str, folder: Path) -> None:
    """`read_sql` in chunks, through a cursor on the server's side."""
    import pandas as pd
    import sqlalchemy

    engine = sqlalchemy.create_engine(_sqlalchemy_url(dsn)).execution_options(stream_results=True)
    with engine.connect() as connection:
        for table in TABLES:
            query = sqlalchemy.text(f"select * from {table}")
            _write(folder / f"{table}.parquet", pd.read_sql(query, connection, chunksize=_ROWS_AT_ONCE))


def read_in_pages(dsn: str, folder: Path) -> None:
    """`read_sql` of one page after the other, by LIMIT and OFFSET."""
    import sqlalchemy

    engine = sqlalchemy.create_engine(_sqlalchemy_url(dsn))
    with engine.connect() as connection:
        for table in TABLES:
            _write(folder / f"{table}.parquet", _pages(connection, table))


def _pages(connection: sqlalchemy.Connection, table: str) -> Iterator[pd.DataFrame]:
    import pandas as pd
    import sqlalchemy

    offset = 0
    while True:
        query = f"select * from {table} order by id limit {_ROWS_AT_ONCE} offset {offset}"
        page = pd.read_sql(sqlalchemy.text(query), connection)
        if len(page):
            yield page
        if len(page) < _ROWS_AT_ONCE:
            return
        offset += _ROWS_AT_ONCE


def _write(file: Path, chunks: Iterator[pd.DataFrame]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    first = pa.Table.from_pandas(next(chunks), preserve_index=False)
    with pq.ParquetWriter(file, first.schema, compression="zstd") as writer:
        writer.write_table(first)
        for chunk in chunks:
            writer.write_table(pa.Table.from_pandas(chunk, schema=first.schema, preserve_index=False))


def read_with_connectorx(dsn: str, folder: Path) -> None:
    """`read_sql` of whole tables into Arrow."""
    import connectorx
    import pyarrow.parquet as pq

    for table in TABLES:
        pq.write_table(
            connectorx.read_sql(dsn, f"select * from {table}", return_type="arrow"),
            folder / f"{table}.parquet",
            compression="zstd",
        )


def read_with_dlt(dsn: str, folder: Path) -> None:
    """The source `sql_database` with its Arrow backend into the destination `filesystem`."""
    import dlt
    from dlt.sources.sql_database import sql_database

    pipeline = dlt.pipeline(
        pipeline_name=DATABASE,
        pipelines_dir=str(folder.parent / "pipelines"),
        destination=dlt.destinations.filesystem(bucket_url=folder.as_uri()),
        dataset_name=DATABASE,
    )
    source = sql_database(_sqlalchemy_url(dsn), table_names=list(TABLES), backend="pyarrow", chunk_size=_ROWS_AT_ONCE)
    pipeline.run(source, loader_file_format="parquet", write_disposition="replace")


def _sqlalchemy_url(dsn: str) -> str:
    return dsn.replace("postgresql://", "postgresql+psycopg2://", 1)


WAYS: Mapping[str, Callable[[str, Path], None]] = {
    "pandas": read_with_pandas,
    "pages": read_in_pages,
    "connectorx": read_with_connectorx,
    "dlt": read_with_dlt,
}


def main() -> None:
    """Read all tables in one way."""
    way, dsn, folder = sys.argv[1:]
    WAYS[way](dsn, Path(folder).absolute())


if __name__ == "__main__":
    main()
