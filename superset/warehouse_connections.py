"""Open the published file read-only, for a limited time, in turns, and never in a replaced version.

DuckDB shares an open file among all connections of a process. While one query reads the published file, a second
connection would read the same version, even after a refresh replaced the file. Under steady load no query would ever
read the new version. Therefore simultaneous connections of one process must read the same version.

A connection is open as long as its query runs. Each user has a few turns at a time in a process, so that the slow
queries of one person leave threads for everybody else.
"""

import os
import re
import threading
import weakref
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import duckdb
from duckdb_engine import ConnectionWrapper, Dialect
from sqlalchemy import event
from sqlalchemy.engine.url import URL
from sqlalchemy.pool import Pool

REQUIRED_OPTIONS = {
    "access_mode": "read_only",
    "enable_external_access": "false",
    "lock_configuration": "true",
}
"""Without these options SQL can write to the warehouse, access any other file, or change the options."""

MEMORY_LIMIT = "1GB"
"""Limit for all queries of one process. DuckDB spills to `spill_folder`."""

SPILL_LIMIT = "4GB"
"""Limit for the spill folder of one process."""

RUNNING_QUERIES = 4
"""Queries of one user that run at the same time in a process."""

WAITING_QUERIES = 8
"""Further queries of one user that wait for their turn in a process. More are refused at once."""


_Version = tuple[int, int, int] | None


class UnsafeUriError(ValueError):
    """The URI of a database would allow SQL to access files other than the published file."""


class CopyRefusedError(ValueError):
    """A query uses the keyword `copy`, which could write a file into the spill folder."""


class TooManyQueriesError(RuntimeError):
    """A user asks for more at the same time than one user may."""


def validate_uri(uri: URL) -> None:
    """Reject a DuckDB database whose URI does not confine SQL to one file.

    Raises:
        UnsafeUriError: an option is missing or has another value, or the URI has no absolute path.
    """
    if uri.get_backend_name() not in {"duckdb", "motherduck"}:
        return
    missing = {name: value for name, value in REQUIRED_OPTIONS.items() if uri.query.get(name) != value}
    if missing:
        options = "&".join(f"{name}={value}" for name, value in missing.items())
        raise UnsafeUriError(f"The SQLAlchemy URI of this DuckDB database lacks options. Add {options} to its query.")
    if not os.path.isabs(uri.database or ""):
        raise UnsafeUriError(
            "The SQLAlchemy URI of this DuckDB database has no absolute path. Write duckdb:////folder/file."
        )


def one_configuration(uri: URL, parameters: dict[str, Any], *_: object) -> tuple[URL, dict[str, Any]]:
    """Return one configuration for all connections, because DuckDB rejects a different one for a shared file.

    Superset's own configuration differs between dashboards, charts and SQL Lab.
    """
    if uri.get_backend_name() == "duckdb":
        folder = spill_folder(os.getpid())
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        # These arguments override the validated URI, so they replace all arguments from elsewhere. DuckDB 2.0 applies
        # options from the last to the first, and accepts no temporary folder once external access is disabled.
        parameters["connect_args"] = {
            "config": {
                "enable_external_access": "false",
                "memory_limit": MEMORY_LIMIT,
                "temp_directory": str(folder),
                "max_temp_directory_size": SPILL_LIMIT,
            }
        }
    return uri, parameters


def refuse_copy(sql: str, **_: object) -> str:
    """Return the SQL unchanged, unless it uses the keyword `copy`, also below `explain analyze` or `prepare`.

    DuckDB allows files of SQL in its spill folder and does not count them towards the limit of that folder.

    Raises:
        CopyRefusedError: the SQL uses it. In quotes, `copy` can be a name or text.
    """
    # DuckDB's offsets count bytes.
    text = sql.encode()
    for offset, kind in duckdb.tokenize(sql):
        if kind == duckdb.token_type.keyword and re.match(rb"copy\b", text[offset:], re.IGNORECASE):
            raise CopyRefusedError('COPY is refused: SQL may write no file. Write a name of a column as "copy".')
    return sql


def spill_folders() -> Path:
    """Return the folder in which each process has one for the data that does not fit into memory."""
    return Path(os.environ["SUPERSET_HOME"]) / "spilled_queries"


def spill_folder(process_id: int) -> Path:
    """Return the folder of a process in `spill_folders`."""
    return spill_folders() / str(process_id)


def listen(query_seconds: float, current_user: Callable[[], object] = lambda: None) -> None:
    """Track all DuckDB connections that this process opens from now on, and interrupt each after `query_seconds`.

    `current_user` returns who asks in this thread, or None where turns are not counted.
    """
    versions = _Versions(query_seconds)
    turns = _Turns(query_seconds)

    @event.listens_for(Dialect, "do_connect")
    def connect(dialect: Any, _record: object, arguments: Iterable[Any], keywords: dict[str, Any]) -> Any:
        path = str(keywords.get("database") or next(iter(arguments), ""))
        end_turn = turns.take(current_user())
        leave_version = versions.hold(path)

        def release() -> None:
            leave_version()
            end_turn()

        try:
            connection = dialect.connect(*arguments, **keywords)
        except BaseException:
            release()
            raise
        watch = threading.Timer(query_seconds, _interrupt, [weakref.ref(connection)])
        watch.daemon = True
        # finalize also covers connections that nobody closes: SQLAlchemy drops one that fails during its preparation.
        connection.acl_ended = weakref.finalize(connection, _end, watch, release)
        watch.start()
        return connection

    @event.listens_for(Pool, "close")
    @event.listens_for(Pool, "close_detached")
    def close(connection: Any, *_: object) -> None:
        if isinstance(connection, ConnectionWrapper):
            try:
                connection.close()
            finally:
                connection.acl_ended()


class _Turns:
    """The queries that users run and wait for in this process."""

    def __init__(self, wait_seconds: float) -> None:
        self._wait_seconds = wait_seconds
        self._condition = threading.Condition()
        self._threads: dict[object, Counter[int]] = {}
        self._waiting: Counter[object] = Counter()

    def take(self, user: object) -> Callable[[], None]:
        """Wait for a turn of this user, and return the function that ends it.

        A thread that has a turn gets another one at once: it may open a second connection for the same request.

        Raises:
            TooManyQueriesError: too many queries of this user wait already, or none ended in time.
        """
        if user is None:
            return lambda: None
        thread = threading.get_ident()
        with self._condition:
            if not self._is_free(user, thread):
                if self._waiting[user] >= WAITING_QUERIES:
                    raise _too_many()
                self._waiting[user] += 1
                try:
                    if not self._condition.wait_for(lambda: self._is_free(user, thread), self._wait_seconds):
                        raise _too_many()
                finally:
                    self._waiting[user] -= 1
            self._threads.setdefault(user, Counter())[thread] += 1
        return lambda: self._end(user, thread)

    def _is_free(self, user: object, thread: int) -> bool:
        running = self._threads.get(user, Counter())
        return thread in running or len(running) < RUNNING_QUERIES

    def _end(self, user: object, thread: int) -> None:
        with self._condition:
            running = self._threads[user]
            running[thread] -= 1
            if not running[thread]:
                del running[thread]
            if not running:
                del self._threads[user]
            self._condition.notify_all()


def _too_many() -> TooManyQueriesError:
    return TooManyQueriesError(
        f"{RUNNING_QUERIES} of your queries are running and others wait. Wait until one has ended, then ask again."
    )


class _Versions:
    """The versions of files that the open connections of this process read."""

    def __init__(self, wait_seconds: float) -> None:
        self._wait_seconds = wait_seconds
        self._condition = threading.Condition()
        # The version of each open file, and the thread of each connection to it.
        self._open: dict[str, tuple[_Version, list[int]]] = {}

    def hold(self, path: str) -> Callable[[], None]:
        """Wait until no other thread reads a replaced version of the file, and return a function that releases it.

        The wait is limited to the time limit of a query: an answer from the previous version is better than none.
        """
        thread = threading.get_ident()
        with self._condition:
            self._condition.wait_for(lambda: self._may_join(path, thread), self._wait_seconds)
            version, threads = self._open.get(path) or (_version(path), [])
            threads.append(thread)
            # Register the file last: the release of an abandoned connection may change self._open at any point before.
            self._open[path] = version, threads
        return lambda: self._release(path, threads, thread)

    def _may_join(self, path: str, thread: int) -> bool:
        file = self._open.get(path)
        return file is None or file[0] == _version(path) or thread in file[1]

    def _release(self, path: str, threads: list[int], thread: int) -> None:
        with self._condition:
            threads.remove(thread)
            if not threads and path in self._open and self._open[path][1] is threads:
                del self._open[path]
                self._condition.notify_all()


def _version(path: str) -> _Version:
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino, status.st_mtime_ns


def _interrupt(reference: weakref.ref[Any]) -> None:
    connection = reference()
    if connection is not None:
        connection.interrupt()


def _end(watch: threading.Timer, release: Callable[[], None]) -> None:
    release()
    watch.cancel()
