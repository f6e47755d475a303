"""Copy relations from Spark into a DuckDB file, in a process of its own: the only one that imports Spark's client."""

import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

import duckdb

from acl_assets.settings import Settings, secret_text
from acl_assets.util.object_storage import download
from acl_assets.util.sql import duckdb_files
from acl_assets.warehouse.build_file import BuildError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

LEFT_IN_SPARK = "publication.left_in_spark"
"""Relations that are too large for the build file: name and number of rows."""


@dataclass(frozen=True)
class Relation:
    """A model as `schema.name`: a table with the definitions of its columns, or a view with its query.

    The types and the SQL are understood by both engines. `made_from` are the models that a view reads.
    """

    name: str
    columns: tuple[str, ...]
    view: str | None = None
    made_from: tuple[str, ...] = ()


def copy_relations(settings: Settings, relations: Sequence[Relation], stores: Sequence[str]) -> dict[str, int]:
    """Copy relations into the build file, and return the rows of those that stay in Spark; see `copy_results`."""
    build_file, left_out = settings.build_file, dict[str, int]()
    with spark_session(settings) as spark, duckdb.connect(str(build_file)) as connection:
        connection.execute("set timezone = 'UTC'")
        connection.execute("set memory_limit = ?", [settings.memory_limit])
        # Every thread would fetch a whole row group into memory, and those of Spark's files are up to 128 MB.
        connection.execute("set disable_parquet_prefetching = true")
        # Without an order to keep, a row group is written as soon as it is full.
        connection.execute("set preserve_insertion_order = false")
        connection.execute(
            "create schema if not exists publication; "
            f"create table if not exists {LEFT_IN_SPARK} (relation varchar primary key, row_count bigint not null)"
        )

        def copy_rows(name: str, statement: str) -> None:
            with TemporaryDirectory(dir=build_file.parent) as scratch:
                if files := local_files(spark.table(name).inputFiles(), Path(scratch)):
                    connection.execute(f"{statement} select * from read_parquet({duckdb_files(files)})")

        for relation in sorted(relations, key=lambda relation: relation.view is not None):
            name, rows = relation.name, spark.table(relation.name).count()
            _make_room(connection, name)
            if _stays_in_spark(connection, relation, rows > settings.spark_published_rows):
                connection.execute(f"insert into {LEFT_IN_SPARK} values (?, ?)", [name, rows])
                left_out[name] = rows
            elif relation.view is not None:
                connection.execute(f"create view {name} as {relation.view}")
            else:
                connection.execute(f"create table {name} ({', '.join(relation.columns)})")
                copy_rows(name, f"insert into {name} by name")
        for store in stores:
            if spark.catalog.tableExists(store):
                _make_room(connection, store)
                copy_rows(store, f"create table {store} as")
    return left_out


@contextmanager
def spark_session(settings: Settings) -> Iterator["SparkSession"]:
    """Open a session with Spark Connect."""
    with warnings.catch_warnings():
        # The warning about new versions of pandas concerns features that are not used here.
        warnings.simplefilter("ignore", FutureWarning)
        from pyspark.sql import SparkSession

        spark = SparkSession.builder.remote(secret_text(settings.spark_remote) or "").getOrCreate()
    try:
        yield spark
    finally:
        spark.stop()


def _make_room(connection: duckdb.DuckDBPyConnection, name: str) -> None:
    """Remove what an earlier build left under a name, and create its schema."""
    connection.execute(f"create schema if not exists {name.split('.', maxsplit=1)[0]}")
    connection.execute(f"delete from {LEFT_IN_SPARK} where relation = ?", [name])
    found = "select table_type from information_schema.tables where concat_ws('.', table_schema, table_name) = ?"
    for (table_type,) in connection.execute(found, [name]).fetchall():
        connection.execute(f"drop {'view' if table_type == 'VIEW' else 'table'} {name}")


def _stays_in_spark(connection: duckdb.DuckDBPyConnection, relation: Relation, is_large: bool) -> bool:
    """Return whether a relation is a table that is too large, or a view on one, also one of an earlier build."""
    if relation.view is None:
        return is_large
    left = connection.execute(f"select relation from {LEFT_IN_SPARK}").fetchall()
    return any((name,) in left for name in relation.made_from)


def local_files(uris: Iterable[str], scratch: Path) -> list[str]:
    """Return the paths of files that Spark names by URI; those on object storage are downloaded into a folder.

    Raise BuildError for a file that is gone or on a store that this machine does not read.
    """
    files: list[str] = []
    for number, uri in enumerate(uris):
        parts = urlsplit(uri)
        path = unquote(parts.path)
        if parts.scheme in ("s3", "s3a"):
            downloaded = scratch / f"{number}.parquet"
            if not download(f"s3://{parts.netloc}{path}", downloaded):
                raise BuildError(f"{uri} is gone: Spark's table was changed while it was copied. Refresh again.")
            path = str(downloaded)
        elif parts.scheme not in ("", "file"):
            raise BuildError(
                f"Spark keeps its tables where this machine does not read files: {uri}. Put its warehouse on S3, or on "
                "a file system that both mount."
            )
        files.append(path)
    return files
