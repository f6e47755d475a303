"""What Spark has built, into the build file: copied, so that audit, publication and readers need know no Spark.

What belongs here: reading Spark's warehouse, and the record of whether it holds what is published. What does not:
building in it (`assets`, the dbt project), running a Spark (`spark/cluster.py`). Spark's client is imported in the
process that copies or asks alone, so that nothing else needs it.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import duckdb

from acl_assets.settings import Settings, SettingsError
from acl_assets.source_tables.current_state import EXPORT_BATCHES, table_file
from acl_assets.util.atomic_write import write_atomically
from acl_assets.util.object_storage import download
from acl_assets.util.processes import ChildProcesses
from acl_assets.util.sql import duckdb_files
from acl_assets.warehouse.build_file import BuildError, file_identity
from acl_assets.warehouse.memory import build_memory_limit
from acl_assets.warehouse.spark_remote import require_spark, spark_address

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

SPARK = "spark"
CLIENT_PACKAGES = ("dbt-spark", "pyspark-client")
# What would be said several times per query: that dbt-spark asks for a catalog, which only the configuration of a
# cluster can choose, and that pandas, of which no query makes use, is newer than Spark knows.
QUIET_DBT = {
    "PYTHONWARNINGS": "ignore:Failed to set spark.sql.catalogImplementation:UserWarning,"
    "ignore:PySpark does not yet fully support pandas:FutureWarning"
}
LEFT_IN_SPARK = "publication.left_in_spark"
"""Relations that are too large for the build file: name and number of rows."""


@dataclass(frozen=True)
class Column:
    """A column of a contract: its name, its type in words both engines know, and whether it may be missing."""

    name: str
    data_type: str
    is_nullable: bool

    @property
    def definition(self) -> str:
        """The column as it is created: DuckDB refuses what the contract does not allow."""
        return f"{self.name} {self.data_type}{'' if self.is_nullable else ' not null'}"


@dataclass(frozen=True)
class Relation:
    """What a model has become.

    Attributes:
        name: schema and name, such as `star_schema.dim_bands`.
        columns: of its contract.
        view: of a view, the query it is; it is made anew where it is copied to.
        made_from: names of the models it is made from.
    """

    name: str
    columns: tuple[Column, ...]
    view: str | None
    made_from: tuple[str, ...]


@dataclass(frozen=True)
class CopyOrder:
    """What is copied from where to where.

    Attributes:
        remote: where Spark Connect answers.
        build_file: the DuckDB file to copy into.
        relations: what the models have become.
        stores: names of tables with failing rows of checks, which are copied when they are there.
        most_rows: tables with more stay in Spark, and so do views on them.
        export_batches: the Parquet file with the batches the source tables hold.
        memory_limit: of the DuckDB that copies; None: its own default.
    """

    remote: str
    build_file: Path
    relations: tuple[Relation, ...]
    stores: tuple[str, ...]
    most_rows: int
    export_batches: Path
    memory_limit: str | None


def require_spark_client() -> None:
    """Refuse to go on without what talks to Spark.

    Raises:
        SettingsError: it is not installed.
    """
    for package in CLIENT_PACKAGES:
        try:
            version(package)
        except PackageNotFoundError:
            raise SettingsError(
                f"ACL_DBT_TARGET=spark needs the package {package}, which is not installed; run: make spark-install"
            ) from None


# Copying ----------------------------------------------------------------------------------------------------------


def copy_from_spark(
    settings: Settings, manifest: Mapping[str, Any], model_ids: Iterable[str], target_path: Path, stores: Sequence[str]
) -> list[str]:
    """Copy what Spark has built into the build file; relations of the same name there are replaced.

    Tables of more rows than `settings.spark_published_rows` are left out, and views on them; `LEFT_IN_SPARK` says
    which. With them come the batches they are made from.

    Args:
        settings: of the installation.
        manifest: of the dbt project.
        model_ids: the models to copy.
        target_path: where dbt has left the text of models that are views.
        stores: names of the tables with failing rows of checks, which are copied when they are there.

    Returns:
        What was left out, in words.

    Raises:
        BuildError: nobody answers where Spark was, or it keeps its tables where this machine reads no files.
    """
    require_spark(settings.spark_remote or "")
    source_tables = settings.source_tables_dir / "current"
    order = CopyOrder(
        remote=settings.spark_remote or "",
        build_file=settings.build_file,
        relations=tuple(_relation(manifest, model_id, target_path) for model_id in model_ids),
        stores=tuple(stores),
        most_rows=settings.spark_published_rows,
        export_batches=table_file(source_tables, EXPORT_BATCHES),
        memory_limit=settings.memory_limit or build_memory_limit(source_tables),
    )
    with ChildProcesses() as process:
        left_out: list[str] = process.call(f"{__name__}:copy_relations", order)
    return left_out


def _relation(manifest: Mapping[str, Any], model_id: str, target_path: Path) -> Relation:
    node = manifest["nodes"][model_id]
    columns = tuple(
        Column(
            name,
            column["data_type"],
            all(constraint["type"] != "not_null" for constraint in column["constraints"]),
        )
        for name, column in node["columns"].items()
    )
    is_view = node["config"]["materialized"] == "view"
    compiled = target_path / "compiled" / node["package_name"] / node["original_file_path"]
    upstream = [manifest["nodes"].get(parent) for parent in node["depends_on"]["nodes"]]
    return Relation(
        name=_name(node),
        columns=columns,
        view=compiled.read_text() if is_view else None,
        made_from=tuple(_name(parent) for parent in upstream if parent),
    )


def _name(node: Mapping[str, Any]) -> str:
    return f"{node['schema']}.{node['alias']}"


def copy_relations(order: CopyOrder) -> list[str]:
    """The copying itself, in a process of its own; see `copy_from_spark`."""
    with _session(order.remote) as spark, duckdb.connect(str(order.build_file)) as connection:
        connection.execute("set timezone = 'UTC'")
        if order.memory_limit:
            connection.execute("set memory_limit = ?", [order.memory_limit])
        # Every thread would fetch a whole row group into memory, and those of Spark's files are of up to 128 MB.
        connection.execute("set disable_parquet_prefetching = true")
        # A copy keeps no order, and without it a row group is written as soon as it is full.
        connection.execute("set preserve_insertion_order = false")
        copy = _Copy(spark, connection, order.most_rows, order.build_file.parent)
        copy.take_sources(order.export_batches)
        for relation in sorted(order.relations, key=lambda relation: relation.view is not None):
            copy.take(relation)
        for store in order.stores:
            copy.take_store(store)
        return copy.left_out


@contextmanager
def _session(remote: str) -> Iterator[SparkSession]:
    with warnings.catch_warnings():
        # What it says of new versions of pandas is about features that are not used here.
        warnings.simplefilter("ignore", FutureWarning)
        from pyspark.sql import SparkSession

        spark = SparkSession.builder.remote(remote).getOrCreate()
    try:
        yield spark
    finally:
        spark.stop()


class _Copy:
    """Spark's relations on their way into a DuckDB file."""

    def __init__(
        self, spark: SparkSession, connection: duckdb.DuckDBPyConnection, most_rows: int, scratch: Path
    ) -> None:
        self._spark, self._connection, self._most_rows, self._scratch = spark, connection, most_rows, scratch
        self.left_out: list[str] = []
        connection.execute("create schema if not exists publication")
        connection.execute(
            f"create table if not exists {LEFT_IN_SPARK} (relation varchar primary key, row_count bigint not null)"
        )

    def take_sources(self, export_batches: Path) -> None:
        """What is published of the source tables: the batches they come from."""
        self._connection.execute("create schema if not exists festival")
        self._connection.execute(
            f"create or replace table festival.export_batches as from read_parquet({duckdb_files([export_batches])})"
        )

    def take(self, relation: Relation) -> None:
        """Copy a table, or make a view anew, unless it is too large or made from one that is."""
        self._remove(relation.name)
        rows = self._spark.table(relation.name).count()
        is_too_large = relation.view is None and rows > self._most_rows
        if is_too_large or any(name in self._left_in_spark() for name in relation.made_from if relation.view):
            self._connection.execute(f"insert into {LEFT_IN_SPARK} values (?, ?)", [relation.name, rows])
            self.left_out.append(f"{relation.name} ({rows:,} rows)")
        elif relation.view is not None:
            # The project's SQL is the same on both engines but for what its macros say, and this view has none.
            self._connection.execute(f"create view {relation.name} as {relation.view}")
        else:
            self._create(relation.name, ", ".join(column.definition for column in relation.columns))
            self._fill(relation.name, [(column.name, column.data_type) for column in relation.columns])

    def take_store(self, name: str) -> None:
        """Copy the failing rows of a check, when there is a table of them."""
        if not self._spark.catalog.tableExists(name):
            return
        self._remove(name)
        fields = self._spark.table(name).schema.fields
        columns = [(field.name, _TYPES.get(field.dataType.typeName(), "varchar")) for field in fields]
        definitions = ", ".join(f'"{column}" {data_type}' for column, data_type in columns)
        self._create(name, definitions)
        self._fill(name, columns)

    def _left_in_spark(self) -> set[str]:
        return {name for (name,) in self._connection.execute(f"select relation from {LEFT_IN_SPARK}").fetchall()}

    def _remove(self, name: str) -> None:
        self._connection.execute(f"delete from {LEFT_IN_SPARK} where relation = ?", [name])
        schema, table = name.split(".")
        found = self._connection.execute(
            "select table_type from information_schema.tables where table_schema = ? and table_name = ?",
            [schema, table],
        ).fetchall()
        for (table_type,) in found:
            self._connection.execute(f"drop {'view' if table_type == 'VIEW' else 'table'} {name}")

    def _create(self, name: str, columns: str) -> None:
        schema, _ = name.split(".")
        self._connection.execute(f"create schema if not exists {schema}")
        self._connection.execute(f"create table {name} ({columns})")

    def _fill(self, name: str, columns: Sequence[tuple[str, str]]) -> None:
        """Read the files of Spark's table: at once, by all cores, and past Spark's driver."""
        with TemporaryDirectory(dir=self._scratch) as scratch:
            files = _local_files(self._spark.table(name).inputFiles(), Path(scratch))
            if files:
                values = ", ".join(f'cast("{column}" as {data_type})' for column, data_type in columns)
                self._connection.execute(f"insert into {name} select {values} from read_parquet({duckdb_files(files)})")


_TYPES = {
    "boolean": "boolean",
    "byte": "tinyint",
    "short": "smallint",
    "integer": "int",
    "long": "bigint",
    "double": "double",
    "date": "date",
    "timestamp": "timestamp",
}
"""Types of columns no contract speaks of, by Spark's names for them; all others are kept as text."""


def _local_files(uris: Iterable[str], scratch: Path) -> list[str]:
    """Paths of files Spark names by URI; those on object storage are fetched into a folder.

    Raises:
        BuildError: one is where this machine reads no files, or no longer there.
        ObjectStorageError: one cannot be fetched.
    """
    return [_local_file(uri, scratch / f"{number}.parquet") for number, uri in enumerate(uris)]


def _local_file(uri: str, fetched: Path) -> str:
    parts = urlsplit(uri)
    path = unquote(parts.path)
    if parts.scheme in ("", "file"):
        return path
    if parts.scheme not in ("s3", "s3a"):
        raise BuildError(
            f"Spark keeps its tables where this machine does not read files: {uri}. Its warehouse must be on S3, or on "
            "a file system that both mount."
        )
    if not download(f"s3://{parts.netloc}{path}", fetched):
        raise BuildError(f"{uri} is gone: Spark's table was changed while it was copied. Refresh again.")
    return str(fetched)


# What is published, and what Spark's warehouse holds ----------------------------------------------------------------


def begin_spark_build(settings: Settings, *, complete: bool, upstream: Sequence[str]) -> None:
    """Note that Spark's warehouse is about to hold something else than what is published.

    Args:
        settings: of the installation.
        complete: whether every model is to be built.
        upstream: names of the relations that what is to be built is made from, and that are not to be built with it.

    Raises:
        BuildError: nobody answers where Spark should be, or some models are to be built beside others of which its
            warehouse has another state; what the note says is still true then.
    """
    require_spark(settings.spark_remote or "")
    is_beside_others = not complete and settings.published_file.exists()
    if is_beside_others and (difference := _difference_from_published(settings, upstream)):
        raise BuildError(
            "Only some models are selected, and Spark's warehouse does not hold the others as they are published: "
            f"{difference}. Materialize everything (job refresh, or --select '*')."
        )
    _published_note(settings).unlink(missing_ok=True)


def _difference_from_published(settings: Settings, upstream: Sequence[str]) -> str | None:
    """Why Spark's warehouse cannot be taken to hold what is published; None when it can."""
    note = _published_note(settings)
    if not note.exists():
        return "a build since then was not published"
    identity, _, address = note.read_text(errors="replace").partition("\n")
    if identity != file_identity(settings.published_file):
        return "the published file has been replaced since Spark built it"
    present_address = str(spark_address(settings.spark_remote or ""))
    if address != present_address:
        built_by = address or "Spark at an address that was not noted"
        return f"{built_by} built them, and ACL_SPARK_REMOTE is {present_address}"
    missing = _missing_from_spark(settings, upstream)
    return f"there is no {', '.join(missing)} in it" if missing else None


def _missing_from_spark(settings: Settings, names: Sequence[str]) -> list[str]:
    if not names:
        return []
    with ChildProcesses() as process:
        missing: list[str] = process.call(f"{__name__}:missing_relations", settings.spark_remote, names)
    return missing


def missing_relations(remote: str, names: Sequence[str]) -> list[str]:
    """Which of some relations Spark does not know, in a process of its own: one whose metastore was lost knows none."""
    with _session(remote) as spark:
        return [name for name in names if not spark.catalog.tableExists(name)]


def note_publication(settings: Settings) -> None:
    """Note that the warehouse of this Spark holds what has just been published."""
    address = spark_address(settings.spark_remote or "")
    write_atomically(_published_note(settings), f"{file_identity(settings.published_file) or ''}\n{address}")


def _published_note(settings: Settings) -> Path:
    return settings.build_dir / "spark_holds_published"
