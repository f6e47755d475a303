"""One connection to the ticketing database that cannot harm it: read-only, bounded, verified before it reads.

What belongs here: connecting, the guard rails, the verification of the role. What does not:
what is read and where it goes (`extraction`), how the server is doing (`source_stress`).
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

import adbc_driver_manager
import adbc_driver_postgresql
import psycopg2
import psycopg2.extensions
import pyarrow as pa

from acl_assets.extraction.extracted_batch import ExtractionError, RoleError, SourceUnreachableError
from acl_assets.source_schema import SOURCE_TABLES, SourceTable, arrow_schema
from acl_assets.util.sql import quoted_name, quoted_text

APPLICATION_NAME = "acl_assets extract"
EXPORT_ROLE_SQL = "acl_assets/extraction/export_role.sql"
OLDEST_SERVER_VERSION = 130_000

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

_CONNECTION_DEFAULTS = {
    "connect_timeout": "10",
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "3",
}
# Parts of a DSN that messages show, and what each of a comma-separated list of them looks like.
_SHOWN = {
    "host": re.compile(r"[\w.-]*|/[\w./ -]*|[0-9A-Fa-f:.]+(%\w+)?"),
    "hostaddr": re.compile(r"[0-9A-Fa-f:.]*(%\w+)?"),
    "port": re.compile(r"[0-9]{0,5}"),
    "dbname": re.compile(r"[\w .$-]*"),
    "user": re.compile(r"[\w .$@-]*"),
}
_SECONDS_TO_BE_LET_IN = 5.0
# Enough to keep the driver busy; a pause between two batches stops the server soon.
_BATCH_BYTES = 262_144

_WRITING_ROLES = (
    "pg_write_all_data",
    "pg_write_server_files",
    "pg_read_server_files",
    "pg_execute_server_program",
    "pg_maintain",
    "pg_signal_backend",
    "pg_create_subscription",
)

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
    """A connection to the ticketing database; closed by `close` or the end of a `with` block.

    Attributes:
        name: the server, database and user, as people may read it.
    """

    def __init__(self, dsn: str) -> None:
        self.conninfo = connection_info(dsn)
        self.name = describe_dsn(dsn)
        self._dsn = dsn
        try:
            self._database = patiently(lambda: adbc_driver_postgresql.connect(self.conninfo), _SECONDS_TO_BE_LET_IN)
            self._connection = patiently(
                lambda: adbc_driver_manager.AdbcConnection(self._database), _SECONDS_TO_BE_LET_IN
            )
        except adbc_driver_manager.Error as error:
            raise SourceUnreachableError(
                f"No connection to {self.name}: {self._told(error)}. Check ACL_TICKETING_DSN and that the server runs."
            ) from None

    def __enter__(self) -> SourceConnection:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """End the session, and with it whatever the server is still doing for it."""
        self._connection.close()
        self._database.close()

    def rows(self, query: str, what: str) -> list[dict[str, Any]]:
        """The few rows of a query; `what` continues the sentence 'Failed to ...' in an error.

        Raises:
            ExtractionError: the server refuses it or is gone.
        """
        with self._statement(query, use_copy=False) as statement:
            try:
                stream, _ = statement.execute_query()
                found: list[dict[str, Any]] = pa.RecordBatchReader.from_stream(stream).read_all().to_pylist()
            except (adbc_driver_manager.Error, pa.ArrowException, OSError) as error:
                raise self._failure(error, what) from None
        return found

    def execute(self, command: str, what: str) -> None:
        """Run a command without a result; errors as for `rows`."""
        with self._statement(command, use_copy=False) as statement:
            try:
                statement.execute_update()
            except (adbc_driver_manager.Error, pa.ArrowException, OSError) as error:
                raise self._failure(error, what) from None

    @contextmanager
    def stream(self, query: str, table: SourceTable) -> Iterator[Iterator[pa.RecordBatch]]:
        """The rows of a query over one table's columns, in small batches of the table's declared types.

        The server waits whenever batches are not taken from the iterator. After a block that did not take them all,
        the connection can only be closed.

        Raises:
            ExtractionError: the server refuses the query, breaks off, or the columns have other types.
        """
        what = f"read {table.name}"
        with self._statement(query, use_copy=True) as statement:
            try:
                handle, _ = statement.execute_query()
                reader = pa.RecordBatchReader.from_stream(handle)
            except (adbc_driver_manager.Error, pa.ArrowException, OSError) as error:
                raise self._failure(error, what) from None
            with reader:
                _require_types(reader.schema, table, self.name)
                yield self._batches(reader, what)

    def _batches(self, reader: pa.RecordBatchReader, what: str) -> Iterator[pa.RecordBatch]:
        while True:
            try:
                batch = reader.read_next_batch()
            except StopIteration:
                return
            except (pa.ArrowException, OSError) as error:
                raise self._failure(error, what) from None
            yield batch

    @contextmanager
    def _statement(self, query: str, *, use_copy: bool) -> Iterator[adbc_driver_manager.AdbcStatement]:
        statement = adbc_driver_manager.AdbcStatement(self._connection)
        try:
            options = {
                adbc_driver_postgresql.StatementOptions.USE_COPY.value: str(use_copy).lower(),
                adbc_driver_postgresql.StatementOptions.BATCH_SIZE_HINT_BYTES.value: str(_BATCH_BYTES),
            }
            statement.set_options(**options)
            statement.set_sql_query(query)
            yield statement
        finally:
            statement.close()

    def _failure(self, error: Exception, what: str) -> ExtractionError:
        told = self._told(error)
        state = getattr(error, "sqlstate", None)
        advice = next((advice for code, text, advice in _ADVICE if code == state or text in told), _GENERAL_ADVICE)
        kind = RoleError if state == "42501" else ExtractionError
        return kind(f"Failed to {what} at {self.name}: {told}. {advice}")

    def _told(self, error: Exception) -> str:
        """Return what the server or the driver said, on one line, without the statement and the password."""
        return told_by_server(str(error), self._dsn)


def patiently(connect: Callable[[], _Opened], seconds: float) -> _Opened:
    """Connect, again for some seconds while the role has too many connections: one that ended counts a moment longer.

    Raises:
        Exception: what `connect` raises for another reason, or at last.
    """
    deadline = time.monotonic() + seconds
    while True:
        try:
            return connect()
        except (adbc_driver_manager.Error, psycopg2.Error) as error:
            if "too many connections" not in str(error) or time.monotonic() > deadline:
                raise
        time.sleep(0.1)


def told_by_server(text: str, dsn: str) -> str:
    """Return the server's own words in an error of the driver, on one line and without the secrets of the DSN."""
    _, _, told = text.rpartition("ERROR:") if "ERROR:" in text else text.rpartition("FATAL:")
    lines = [line.strip() for line in told.splitlines()]
    line = "; ".join(line for line in lines if line and not line.startswith(("LINE ", "^", "Query was", ". SQLSTATE")))
    for secret in _secrets(_parse(dsn)):
        line = line.replace(secret, "***")
    return line.rstrip(". ")


def _secrets(given: Mapping[str, str]) -> list[str]:
    """Return the texts that no message may contain: passwords, and in quotes every value that nothing else shows."""
    passwords = [given[name] for name in ("password", "sslpassword") if given.get(name)]
    return [*passwords, *(f'"{value}"' for name, value in given.items() if name not in _SHOWN)]


def connection_info(dsn: str) -> str:
    """Return the DSN with what it leaves out: timeouts, the application's name; text always comes as UTF-8.

    Raises:
        SourceUnreachableError: the DSN cannot be read, or not with certainty.
    """
    given = _parse(dsn)
    named = {"application_name": APPLICATION_NAME, **_CONNECTION_DEFAULTS, **given, "client_encoding": "UTF8"}
    return str(psycopg2.extensions.make_dsn(**named))


def describe_dsn(dsn: str) -> str:
    """Return the server, database and user of a DSN, as people may read it.

    Raises:
        SourceUnreachableError: the DSN cannot be read, or not with certainty.
    """
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
        raise SourceUnreachableError(
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
    wanted = arrow_schema(table)
    wrong = [
        f"{column.name} is {_server_type(found.field(column.name))}, not {_SERVER_TYPES[column.type]}"
        for column in table.columns
        if found.field(column.name).type != wanted.field(column.name).type
    ]
    if wrong:
        raise ExtractionError(
            f"Table {table.name} at {name} has other types than the source schema declares: {'; '.join(wrong)}. "
            "Nothing was landed; change acl_assets/source_schema.py together with the table."
        )


_SERVER_TYPES = {"int": "integer", "text": "text", "timestamptz": "timestamp with time zone"}


def _server_type(field: pa.Field) -> str:
    return str((field.metadata or {}).get(b"POSTGRESQL:type", str(field.type).encode()).decode())


# The transaction ----------------------------------------------------------------------------------------------


def begin_reading(source: SourceConnection, schema: str) -> None:
    """Begin the read-only transaction of an extract, with its guard rails; its snapshot is taken by the next query.

    The tables are locked against changes of their structure first: a table that is truncated or rewritten after the
    snapshot would look empty in it.

    Raises:
        RoleError: the role cannot read the tables.
        ExtractionError: a table is locked by somebody else, or the server is gone.
    """
    source.execute("begin transaction isolation level repeatable read read only", "begin a transaction")
    for name, value in GUARD_RAILS.items():
        source.execute(f"set local {name} = '{value}'", f"set {name}")
    tables = ", ".join(qualified(schema, table) for table in SOURCE_TABLES)
    source.execute(f"lock table {tables} in access share mode", "open the tables for reading")


def require_guard_rails(source: SourceConnection) -> None:
    """Ask the server whether the transaction is the one that was asked for.

    Raises:
        ExtractionError: it is not, for instance because a connection pooler stands in between.
    """
    wanted = {"transaction_read_only": "on", "transaction_isolation": "repeatable read", **GUARD_RAILS}
    settings = ", ".join(f"current_setting('{name}') as {name}" for name in wanted)
    found = source.rows(f"select {settings}", "read the settings of the transaction")[0]
    wrong = [f"{name} is {found[name]}" for name, value in wanted.items() if not _same_setting(found[name], value)]
    if wrong:
        raise ExtractionError(
            f"The transaction at {source.name} is not the guarded one that was begun: {', '.join(wrong)}. "
            "Connect without a connection pooler, or with one that keeps a transaction on one connection."
        )


def _same_setting(found: str, wanted: str) -> bool:
    # The server writes 60s as 1min.
    return found == wanted or (found, wanted) == ("1min", "60s")


def qualified(schema: str, table: str) -> str:
    """A table's name with its schema, quoted for SQL."""
    return f"{quoted_name(schema)}.{quoted_name(table)}"


# The role -----------------------------------------------------------------------------------------------------


def require_export_role(source: SourceConnection, schema: str) -> None:
    """Refuse a server that is too old, tables that are not there, and a role that cannot read or could write.

    Raises:
        RoleError: the role may do too little or too much; the message says what, and which file makes the right role.
        ExtractionError: the server is older than PostgreSQL 13, or a table is missing.
    """
    version = source.rows("select current_setting('server_version_num')::int as number", "read the version")[0][
        "number"
    ]
    if version < OLDEST_SERVER_VERSION:
        raise ExtractionError(f"The server at {source.name} has version {version}; PostgreSQL 13 or newer is needed.")
    _require_tables(source, schema)
    powers = source.rows(_powers_query(schema, version), "look at the role's privileges")
    if powers:
        reasons = "; ".join(power["reason"] for power in powers)
        raise RoleError(
            f"The role at {source.name} is refused, because an extract must not be able to change anything: {reasons}. "
            f"Make the right role with {EXPORT_ROLE_SQL} and connect as that one."
        )


def _require_tables(source: SourceConnection, schema: str) -> None:
    names = ", ".join(f"({quoted_text(table)}, {quoted_text(qualified(schema, table))})" for table in SOURCE_TABLES)
    found = source.rows(
        f"""
        select
            name,
            to_regclass(qualified) is not null as is_there,
            coalesce(has_table_privilege(to_regclass(qualified), 'SELECT'), false) as is_readable
        from (values {names}) as tables (name, qualified)
        where to_regnamespace({quoted_text(quoted_name(schema))}) is not null
        """,
        "look for the tables",
    )
    if not found:
        raise ExtractionError(f"There is no schema {schema} at {source.name}; set ACL_TICKETING_SCHEMA to the tables'.")
    if missing := [table["name"] for table in found if not table["is_there"]]:
        raise ExtractionError(
            f"Schema {schema} at {source.name} has no {', '.join(missing)}; set ACL_TICKETING_SCHEMA to the tables'."
        )
    if unreadable := [table["name"] for table in found if not table["is_readable"]]:
        raise RoleError(
            f"The role at {source.name} may not read {', '.join(unreadable)}. Grant it with {EXPORT_ROLE_SQL}."
        )


def _powers_query(schema: str, version: int) -> str:
    """Everything by which the role, or one it can become, could write: one row with the reason for each."""
    privileges = ["INSERT", "UPDATE", "DELETE", "TRUNCATE", "TRIGGER"] + (["MAINTAIN"] if version >= 170_000 else [])
    tables = ", ".join(f"({quoted_text(qualified(schema, table))}::regclass)" for table in SOURCE_TABLES)
    return f"""
        with reachable as (
            select oid, rolname::text as role_name, rolsuper, rolcreatedb, rolcreaterole, rolreplication, rolbypassrls
            from pg_catalog.pg_roles
            where pg_catalog.pg_has_role(session_user, oid, 'MEMBER')
        ),
        superusers as (
            select role_name || ' is a superuser' as reason from reachable where rolsuper
        ),
        powers as (
            select role_name || ' may create databases' as reason from reachable where rolcreatedb
            union all
            select role_name || ' may create roles' from reachable where rolcreaterole
            union all
            select role_name || ' may replicate' from reachable where rolreplication
            union all
            select role_name || ' goes around row security' from reachable where rolbypassrls
            union all
            select 'it is a member of ' || role_name from reachable
            where role_name in ({", ".join(quoted_text(role) for role in _WRITING_ROLES)})
            union all
            select role_name || ' may create objects in schema ' || {quoted_text(schema)} from reachable
            where pg_catalog.has_schema_privilege(oid, {quoted_text(schema)}, 'CREATE')
            union all
            select role_name || ' may create schemas in the database' from reachable
            where pg_catalog.has_database_privilege(oid, pg_catalog.current_database(), 'CREATE')
            union all
            select
                role_name || ' has ' || string_agg(privilege, ', ' order by privilege) || ' on ' || source_table::text
            from reachable
            cross join (values {tables}) as tables (source_table)
            cross join unnest(array[{", ".join(quoted_text(privilege) for privilege in privileges)}]) as privilege
            where
                case
                    when privilege in ('INSERT', 'UPDATE')
                        then pg_catalog.has_any_column_privilege(oid, source_table, privilege)
                    else pg_catalog.has_table_privilege(oid, source_table, privilege)
                end
            group by role_name, source_table
        )
        select reason from superusers
        union all
        select reason from powers where not exists (select from superusers)
        """
