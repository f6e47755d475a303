"""Connect to the ticketing database and read from it in a guarded, read-only transaction."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from typing import Any, TypeVar

import adbc_driver_manager
import adbc_driver_postgresql
import psycopg2
import psycopg2.extensions
import pyarrow as pa

from acl_assets.extraction.extracted_batch import ExtractionError, SourceUnusableError
from acl_assets.source_schema import ARROW_TYPES, SOURCE_TABLES, SourceTable
from acl_assets.util.sql import qualified_name

EXPORT_ROLE_SQL = "acl_assets/extraction/export_role.sql"

GUARD_RAILS: Mapping[str, str] = {
    "lock_timeout": "2s",
    "statement_timeout": "6h",
    "idle_in_transaction_session_timeout": "60s",
    "max_parallel_workers_per_gather": "0",
    "jit": "off",
    "synchronize_seqscans": "off",
    "row_security": "off",
}
"""Settings of the extract's transaction, those of the export role; `export_role.sql` says why."""

_KEEP_ALIVE = {"keepalives_idle": "30", "keepalives_interval": "10", "keepalives_count": "3"}
_CONNECTION_DEFAULTS = {"application_name": "acl_assets extract", "connect_timeout": "10", **_KEEP_ALIVE}
# Parts of a DSN that messages show, and what each of a comma-separated list of them looks like.
_SHOWN = {
    "host": re.compile(r"[\w.-]*|/[\w./ -]*|[0-9A-Fa-f:.]+(%\w+)?"),
    "hostaddr": re.compile(r"[0-9A-Fa-f:.]*(%\w+)?"),
    "port": re.compile(r"[0-9]{0,5}"),
    "dbname": re.compile(r"[\w .$-]*"),
    "user": re.compile(r"[\w .$@-]*"),
}
# Enough to keep the driver busy; a pause between two batches stops the server soon.
_BATCH_BYTES = 262_144

_ADVICE = (
    ("42501", "permission denied", f"Grant the export role what it needs again with {EXPORT_ROLE_SQL}."),
    ("55P03", "lock timeout", "Somebody changes the table's structure or locks it; extract again when that is done."),
    ("57014", "statement timeout", "Read faster (ACL_EXTRACT_MB_PER_S), or from a standby."),
    (
        "40001",
        "conflict with recovery",
        "The standby had to give the extract up to follow its primary: set hot_standby_feedback = on there, or a "
        "longer max_standby_streaming_delay, or extract from the primary.",
    ),
    ("53300", "too many connections", "End the other sessions of the export role, or extract when they are done."),
)
_GENERAL_ADVICE = "Nothing was landed; extract again when the server is back."

_Opened = TypeVar("_Opened")


class SourceConnection:
    """A connection to the ticketing database; `name` has its server, database and user, and no secret."""

    def __init__(self, dsn: str) -> None:
        conninfo = connection_info(dsn)
        self.name = describe_dsn(dsn)
        self._dsn = dsn
        try:
            self._database = patiently(lambda: adbc_driver_postgresql.connect(conninfo))
            self._connection = patiently(lambda: adbc_driver_manager.AdbcConnection(self._database))
        except adbc_driver_manager.Error as error:
            message = server_message(str(error), dsn)
            raise SourceUnusableError(
                f"No connection to {self.name}: {message}. Check ACL_TICKETING_DSN and that the server runs."
            ) from None

    def __enter__(self) -> SourceConnection:
        return self

    def __exit__(self, *exception: object) -> None:
        self._connection.close()
        self._database.close()

    def rows(self, query: str, what: str) -> list[dict[str, Any]]:
        """Run a command, or return the rows of a small query.

        Raises:
            ExtractionError: the server refuses the query or is gone. `what` continues its sentence "Failed to ...".
        """
        with self._result(query, what, use_copy=False) as reader, self._errors(what):
            found: list[dict[str, Any]] = reader.read_all().to_pylist()
            return found

    def batches(self, query: str, table: SourceTable) -> Generator[pa.RecordBatch, None, None]:
        """Give the rows of a query over one table's columns in small batches of the declared types.

        The server waits while no batch is taken. A reader that does not take all of them must close the connection.

        Raises:
            ExtractionError: the server refuses the query, breaks off, or the columns have other types.
        """
        what = f"read {table.name}"
        with self._result(query, what, use_copy=True) as reader:
            _require_types(reader.schema, table, self.name)
            while True:
                with self._errors(what):
                    batch = next(reader, None)
                if batch is None:
                    return
                yield batch

    @contextmanager
    def _result(self, query: str, what: str, *, use_copy: bool) -> Iterator[pa.RecordBatchReader]:
        statement = adbc_driver_manager.AdbcStatement(self._connection)
        options = {
            adbc_driver_postgresql.StatementOptions.USE_COPY.value: str(use_copy).lower(),
            adbc_driver_postgresql.StatementOptions.BATCH_SIZE_HINT_BYTES.value: str(_BATCH_BYTES),
        }
        with closing(statement):
            with self._errors(what):
                statement.set_options(**options)
                statement.set_sql_query(query)
                reader = pa.RecordBatchReader.from_stream(statement.execute_query()[0])
            with reader:
                yield reader

    @contextmanager
    def _errors(self, what: str) -> Iterator[None]:
        """Turn errors of the driver into an `ExtractionError` with advice."""
        try:
            yield
        except (adbc_driver_manager.Error, pa.ArrowException, OSError) as error:
            message = server_message(str(error), self._dsn)
            state = getattr(error, "sqlstate", None)
            advice = next((each for code, text, each in _ADVICE if code == state or text in message), _GENERAL_ADVICE)
            raise ExtractionError(f"Failed to {what} at {self.name}: {message}. {advice}") from None


def patiently(connect: Callable[[], _Opened]) -> _Opened:
    """Connect; retry for two seconds while the role has too many connections, as one just closed still counts."""
    deadline = time.monotonic() + 2.0
    while True:
        try:
            return connect()
        except (adbc_driver_manager.Error, psycopg2.Error) as error:
            if "too many connections" not in str(error) or time.monotonic() > deadline:
                raise
        time.sleep(0.1)


def server_message(text: str, dsn: str) -> str:
    """Return the server's message in an error of the driver, on one line and without the secrets of the DSN."""
    _, _, message = text.rpartition("ERROR:") if "ERROR:" in text else text.rpartition("FATAL:")
    lines = [line.strip() for line in message.splitlines()]
    line = "; ".join(line for line in lines if line and not line.startswith(("LINE ", "^", "Query was", ". SQLSTATE")))
    # Passwords, and in quotes every value that messages do not show otherwise.
    given = _parse(dsn)
    for secret in filter(None, (given.get("password"), given.get("sslpassword"))):
        line = line.replace(secret, "***")
    for value in (value for name, value in given.items() if name not in _SHOWN):
        line = line.replace(f'"{value}"', "***")
    return line.rstrip(". ")


def connection_info(dsn: str) -> str:
    """Return the DSN with timeouts, application name and encoding added.

    Raises:
        SourceUnusableError: the DSN cannot be read, or may hold a part of the password in another part.
    """
    given = _parse(dsn)
    named = {**_CONNECTION_DEFAULTS, **given, "client_encoding": "UTF8"}
    return str(psycopg2.extensions.make_dsn(**named))


def describe_dsn(dsn: str) -> str:
    """Return the server, database and user of a DSN; errors as for `connection_info`."""
    given = _parse(dsn)
    host = given.get("host") or given.get("hostaddr") or "the local socket"
    port = f":{given['port']}" if given.get("port") else ""
    return f"{host}{port}/{given.get('dbname') or given.get('user') or ''} (user {given.get('user') or 'unnamed'})"


def _parse(dsn: str) -> dict[str, str]:
    """Split a DSN as libpq does; refuse it if a part that messages show may hold a piece of the password.

    libpq ends a password at the first @ and takes the rest for the host: of `user:pass@word@db` it would name the
    host `word@db` in its errors.
    """
    parsed: dict[str, str] = {}
    with suppress(psycopg2.ProgrammingError):
        parsed = psycopg2.extensions.parse_dsn(dsn)
    problem = _misplaced(dsn, parsed) if parsed else "it is no address"
    if problem:
        # Raised here, where the driver's own error, which quotes the text, is no longer its context.
        raise SourceUnusableError(
            f"ACL_TICKETING_DSN or ACL_TICKETING_STANDBY_DSN cannot be read: {problem}. Write it like "
            "postgresql://acl_export:password@db.example.org:5432/ticketing, with special characters of the password "
            "percent-encoded (%40 for @, %2F for /, %3A for :), or as name=value pairs."
        )
    return parsed


def _misplaced(dsn: str, given: Mapping[str, str]) -> str | None:
    """Return what shows that a part of a DSN is not what libpq takes it for, without quoting any of it."""
    scheme, _, rest = dsn.partition("://")
    if scheme in ("postgresql", "postgres") and ("@" in rest.partition("/")[2] or rest.count("@") > 1):
        return "it has an @ that does not end the name and password at its beginning"
    for name, pattern in _SHOWN.items():
        if not all(pattern.fullmatch(part) for part in given.get(name, "").split(",")):
            return f"its {name} has characters that no {name} has"
    return None


def _require_types(found: pa.Schema, table: SourceTable, name: str) -> None:
    wrong = []
    for column, field in zip(table.columns, found, strict=True):
        if field.type != ARROW_TYPES[column.type]:
            at_server = (field.metadata or {}).get(b"POSTGRESQL:type", str(field.type).encode()).decode()
            wrong.append(f"{column.name} is {at_server}, not {column.type}")
    if wrong:
        raise ExtractionError(
            f"Table {table.name} at {name} has other types than the source schema declares: {'; '.join(wrong)}. "
            "Nothing was landed; change acl_assets/source_schema.py together with the table."
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
