"""Connect to the ticketing database and read from it in a guarded, read-only transaction."""

import logging
import os
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from typing import Any

import adbc_driver_manager
import adbc_driver_postgresql
import psycopg2.extensions
import pyarrow as pa

from acl_assets.extraction.extracted_batch import ExtractionError, SourceUnusableError
from acl_assets.landing_zone.values import REASONS, convert_values, failing_rows
from acl_assets.source_schema import ARROW_TYPES, SOURCE_TABLES, SourceTable
from acl_assets.util.sql import qualified_name, quoted_text

EXPORT_ROLE_SQL = "acl_assets/extraction/export_role.sql"

GUARD_RAILS: Mapping[str, str] = {
    "lock_timeout": "2s",
    "statement_timeout": "10min",
    "idle_in_transaction_session_timeout": "60s",
    "max_parallel_workers_per_gather": "0",
    "jit": "off",
    "enable_tidscan": "on",
    "row_security": "off",
}
"""Settings of the extract's transaction, those of the export role; `export_role.sql` says why."""

_CONNECTION_DEFAULTS = {
    "application_name": "acl_assets extract",
    "connect_timeout": "10",
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "3",
    "tcp_user_timeout": "60000",
}
# The server ends a statement before, unless it or something on the way to it hangs.
_LONGEST_ANSWER_SECONDS = 660.0
# The throttle pauses after every slice. Small ones keep the server from working for the extract in bursts.
_PAGES_PER_SLICE = 64

_SCHEMA_ADVICE = "Nothing was landed; change acl_assets/source_schema.py together with the table."
# By SQLSTATE or its class. The driver gives none for an error in the middle of the rows.
_ADVICE = {
    "42": _SCHEMA_ADVICE,
    "42501": f"Grant the export role what it needs again with {EXPORT_ROLE_SQL}.",
    "55P03": "Somebody changes the table's structure or locks it; extract again when that is done.",
}
_GENERAL_ADVICE = (
    "Nothing was landed; extract again when the server is back. If it ended a long transaction, raise "
    "its limit; if it is a standby, set hot_standby_feedback = on there, or extract from the primary."
)

_log = logging.getLogger(__name__)


class SourceConnection:
    """A connection to the ticketing database; `name` has its server, database and user, and no secret."""

    def __init__(self, dsn: str) -> None:
        address, self.name = read_dsn(dsn)
        try:
            with _bounded_wait(self.name):
                self._database = adbc_driver_postgresql.connect(address)
                self._connection = adbc_driver_manager.AdbcConnection(self._database)
        except adbc_driver_manager.Error as error:
            raise SourceUnusableError(
                f"No connection to {self.name}: {_server_message(error)}. Check ACL_TICKETING_DSN and that the server "
                "runs."
            ) from None

    def close(self) -> None:
        """End the session."""
        self._connection.close()
        self._database.close()

    def rows(self, query: str, what: str) -> list[dict[str, Any]]:
        """Run a command, or return the rows of a small query.

        Raises:
            ExtractionError: the server refuses the query or is gone. `what` continues its sentence "Failed to ...".
        """
        with self._result(query, what, use_copy=False) as reader:
            found: list[dict[str, Any]] = reader.read_all().to_pylist()
            return found

    def batches(self, query: str, table: SourceTable) -> list[pa.RecordBatch]:
        """Return the rows of a query over one table's columns, which fit into memory, in the declared types.

        Raises:
            ExtractionError: the server refuses the query, breaks off, or columns or values have other types.
        """
        with self._result(query, f"read {table.name}", use_copy=True) as reader:
            _require_types(reader.schema, table, self.name)
            found = list(reader)
        for batch in found:
            _require_values(batch, table, self.name)
        return found

    def slices(self, relation: str, what: str) -> list[tuple[str, int]]:
        """Return conditions that divide the rows of a table by their pages, each with its share of the bytes.

        The last condition has no upper end. Partitions and tables that inherit are cut at the same page numbers.
        """
        query = f"""
            with recursive parts as (
                select {quoted_text(relation)}::regclass::oid as part
                union select inhrelid from pg_inherits join parts on inhparent = part
            )
            select
                max(pg_relation_size(part)) / current_setting('block_size')::int as pages,
                sum(pg_relation_size(part))::bigint as size
            from parts
        """
        (found,) = self.rows(query, what)
        starts = range(0, max(found["pages"], 1), _PAGES_PER_SLICE)
        size = found["size"] // len(starts)
        ends = [f" and ctid < '({start},0)'" for start in starts[1:]] + [""]
        return [(f"ctid >= '({start},0)'{end}", size) for start, end in zip(starts, ends, strict=True)]

    @contextmanager
    def _result(self, query: str, what: str, *, use_copy: bool) -> Iterator[pa.RecordBatchReader]:
        """Run a query, and turn errors of the driver into an `ExtractionError` with advice."""
        options = {adbc_driver_postgresql.StatementOptions.USE_COPY.value: str(use_copy).lower()}
        try:
            with _bounded_wait(self.name), closing(adbc_driver_manager.AdbcStatement(self._connection)) as statement:
                statement.set_options(**options)
                statement.set_sql_query(query)
                with pa.RecordBatchReader.from_stream(statement.execute_query()[0]) as reader:
                    yield reader
        except (adbc_driver_manager.Error, pa.ArrowException, OSError) as error:
            state: str | None = getattr(error, "sqlstate", None)
            advice = _ADVICE.get(state or "") or _ADVICE.get((state or "")[:2], _GENERAL_ADVICE)
            message = f"Failed to {what} at {self.name}: {_server_message(error)}. {advice}"
            raise ExtractionError(message, sqlstate=state) from None


@contextmanager
def _bounded_wait(name: str) -> Iterator[None]:
    """End the process if the block takes too long: the driver waits without limit, and signals do not interrupt it."""

    def give_up() -> None:
        _log.error(
            f"{name} has not answered for {_LONGEST_ANSWER_SECONDS:.0f} s, so the extract ends. Nothing was landed; "
            "look for what hangs there or on the way, such as a tunnel or proxy, and extract again."
        )
        os._exit(1)

    watchdog = threading.Timer(_LONGEST_ANSWER_SECONDS, give_up)
    watchdog.daemon = True
    watchdog.start()
    try:
        yield
    finally:
        watchdog.cancel()


def _server_message(error: Exception) -> str:
    """Return the server's message in an error of the driver, without its details and the query."""
    # Before the message the driver writes the query, and the server its severity, in its language, and two spaces.
    return re.split(r"': (?:\w+:  )?|\w+:  ", str(error), maxsplit=1)[-1].partition("\n")[0].rstrip(". ")


def read_dsn(dsn: str) -> tuple[str, str]:
    """Return a DSN with timeouts, application name and encoding added, and its description without secrets."""
    given = psycopg2.extensions.parse_dsn(dsn)
    address = psycopg2.extensions.make_dsn(**{**_CONNECTION_DEFAULTS, **given, "client_encoding": "UTF8"})
    user, port = given.get("user", ""), given.get("port", "")
    host = given.get("host") or given.get("hostaddr") or "the local socket"
    database = given.get("dbname") or user
    return address, f"{host}{port and f':{port}'}/{database} (user {user or 'unnamed'})"


def _require_types(found: pa.Schema, table: SourceTable, name: str) -> None:
    wrong = []
    for column, field in zip(table.columns, found, strict=True):
        if field.type != ARROW_TYPES[column.type]:
            at_server = (field.metadata or {}).get(b"POSTGRESQL:type", str(field.type).encode()).decode()
            wrong.append(f"{column.name} is {at_server}, not {column.type}")
    if wrong:
        raise ExtractionError(
            f"Table {table.name} at {name} has other types than the source schema declares: {'; '.join(wrong)}. "
            f"{_SCHEMA_ADVICE}"
        )


def _require_values(batch: pa.RecordBatch, table: SourceTable, name: str) -> None:
    """Refuse what no refresh could read, such as the timestamp infinity, while it can still be corrected."""
    for column in table.columns:
        if (row := next(failing_rows(batch.column(column.name), convert_values, column.type), None)) is not None:
            raise ExtractionError(
                f"Table {table.name} at {name}: {column.name} of the row with id {batch.column('id')[row]} "
                f"{REASONS[column.type]}. Nothing was landed; correct the value at the source and extract again."
            )


def begin_reading(source: SourceConnection, schema: str) -> None:
    """Begin the read-only transaction of an extract; the next query takes its snapshot.

    The tables are locked first: one that is truncated or rewritten after the snapshot would look empty in it.

    Raises:
        ExtractionError: a table is locked by another session, the role cannot read it, or the server is gone.
    """
    source.rows("begin transaction isolation level repeatable read read only", "begin a transaction")
    for name, value in GUARD_RAILS.items():
        source.rows(f"set local {name} = '{value}'", f"set {name}")
    tables = ", ".join(qualified_name(schema, table) for table in SOURCE_TABLES)
    source.rows(f"lock table {tables} in access share mode", "open the tables for reading")


def require_guard_rails(source: SourceConnection) -> None:
    """Raise an `ExtractionError` if the transaction has other settings, as behind a connection pooler."""
    wanted = {"transaction_read_only": "on", "transaction_isolation": "repeatable read", **GUARD_RAILS}
    settings = ", ".join(f"current_setting('{name}') as {name}" for name in wanted)
    found = source.rows(f"select {settings}", "read the settings of the transaction")[0]
    # The server writes 60s as 1min.
    wrong = [f"{name} is {found[name]}" for name in wanted if found[name].replace("1min", "60s") != wanted[name]]
    if wrong:
        raise ExtractionError(
            f"The transaction at {source.name} is not the guarded one that was begun: {', '.join(wrong)}. "
            "Connect without a connection pooler, or with one that keeps a transaction on one connection."
        )
