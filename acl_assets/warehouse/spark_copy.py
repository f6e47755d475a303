"""Copy relations from Spark into a DuckDB file, in a process of its own: the only one that imports Spark's client."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import unquote, urlsplit

import duckdb

from acl_assets.util.object_storage import download
from acl_assets.util.sql import duckdb_files, quoted_name
from acl_assets.warehouse.build_file import BuildError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

LEFT_IN_SPARK = "publication.left_in_spark"
"""Relations that are too large for the build file: name and number of rows."""


class Column(NamedTuple):
    """A column, with a type that both engines understand."""

    name: str
    data_type: str
    is_nullable: bool = True


@dataclass(frozen=True)
class Relation:
    """A model as `schema.name`, with the query of a view (None for a table) and the models that it is made from."""

    name: str
    columns: tuple[Column, ...]
    view: str | None = None
    made_from: tuple[str, ...] = ()


@dataclass(frozen=True)
class CopyOrder:
    """Relations to copy from Spark into a build file. Tables of more than `max_rows` rows stay in Spark."""

    remote: str
    build_file: Path
    relations: tuple[Relation, ...]
    stores: tuple[str, ...]
    max_rows: int
    memory_limit: str


def copy_relations(order: CopyOrder) -> dict[str, int]:
    """Copy relations from Spark, and return the rows of those that stay there; see `SparkEngine.copy_results`."""
    with spark_session(order.remote) as spark, duckdb.connect(str(order.build_file)) as connection:
        connection.execute("set timezone = 'UTC'")
        connection.execute("set memory_limit = ?", [order.memory_limit])
        # Every thread would fetch a whole row group into memory, and those of Spark's files are up to 128 MB.
        connection.execute("set disable_parquet_prefetching = true")
        # Without an order to keep, a row group is written as soon as it is full.
        connection.execute("set preserve_insertion_order = false")
        connection.execute(
            "create schema if not exists publication; "
            f"create table if not exists {LEFT_IN_SPARK} (relation varchar primary key, row_count bigint not null)"
        )
        copy = _Copy(spark, connection, order)
        for relation in sorted(order.relations, key=lambda relation: relation.view is not None):
            copy.take(relation)
        for store in order.stores:
            copy.take_store(store)
        return copy.left_out


@contextmanager
def spark_session(remote: str) -> Iterator[SparkSession]:
    """Open a session with Spark Connect."""
    with warnings.catch_warnings():
        # The warning about new versions of pandas concerns features that are not used here.
        warnings.simplefilter("ignore", FutureWarning)
        from pyspark.sql import SparkSession

        spark = SparkSession.builder.remote(remote).getOrCreate()
    try:
        yield spark
    finally:
        spark.stop()


class _Copy:
    """Copies relations one by one into a build file."""

    def __init__(self, spark: SparkSession, connection: duckdb.DuckDBPyConnection, order: CopyOrder) -> None:
        self._spark, self._connection, self._order = spark, connection, order
        self.left_out: dict[str, int] = {}

    def take(self, relation: Relation) -> None:
        """Copy a table or create a view, unless it is too large or made from one that is."""
        name = relation.name
        self._make_room(name)
        rows = self._spark.table(name).count()
        is_too_large = relation.view is None and rows > self._order.max_rows
        if is_too_large or (relation.view and self._is_left_in_spark(relation.made_from)):
            self._connection.execute(f"insert into {LEFT_IN_SPARK} values (?, ?)", [name, rows])
            self.left_out[name] = rows
        elif relation.view is not None:
            # The SQL of a view is the same on both engines, because it uses no macro that dispatches.
            self._connection.execute(f"create view {name} as {relation.view}")
        else:
            definitions = ", ".join(
                f"{quoted_name(column.name)} {column.data_type}{'' if column.is_nullable else ' not null'}"
                for column in relation.columns
            )
            self._connection.execute(f"create table {name} ({definitions})")
            values = ", ".join(f"cast({quoted_name(column.name)} as {column.data_type})" for column in relation.columns)
            self._copy_rows(name, f"insert into {name} select {values}")

    def take_store(self, name: str) -> None:
        """Copy the failing rows of a test, if there is a table of them."""
        if self._spark.catalog.tableExists(name):
            self._make_room(name)
            self._copy_rows(name, f"create table {name} as select *")

    def _is_left_in_spark(self, names: Iterable[str]) -> bool:
        left = self._connection.execute(f"select relation from {LEFT_IN_SPARK}").fetchall()
        return any((name,) in left for name in names)

    def _make_room(self, name: str) -> None:
        """Remove what has this name, and create its schema."""
        schema, table = name.split(".")
        self._connection.execute(f"create schema if not exists {schema}")
        self._connection.execute(f"delete from {LEFT_IN_SPARK} where relation = ?", [name])
        found = self._connection.execute(
            "select table_type from information_schema.tables where table_schema = ? and table_name = ?",
            [schema, table],
        ).fetchall()
        for (table_type,) in found:
            self._connection.execute(f"drop {'view' if table_type == 'VIEW' else 'table'} {name}")

    def _copy_rows(self, name: str, statement: str) -> None:
        """Run a statement, which lacks its `from`, on the files of a table of Spark, if it has any."""
        with TemporaryDirectory(dir=self._order.build_file.parent) as scratch:
            if files := local_files(self._spark.table(name).inputFiles(), Path(scratch)):
                self._connection.execute(f"{statement} from read_parquet({duckdb_files(files)})")


def local_files(uris: Iterable[str], scratch: Path) -> list[str]:
    """Return the paths of files that Spark names by URI; those on object storage are downloaded into a folder.

    Raises:
        BuildError: a file is on a store that this machine does not read, or does not exist any more.
        ObjectStorageError: a file cannot be downloaded.
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
