"""Keep the SQLite files that all runs of a Dagster instance share open between its transactions.

Dagster opens and closes them for every event of a run. Whenever the last connection to a file closes, SQLite copies its
write-ahead log into it and waits for the disk, three thousand times in a refresh.
"""

import sqlite3
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, event

# Not those of single runs: the page of a run reads its events whenever SQLite has written them to their own file.
_SHARED = ("index.db", "runs.db")
_kept: dict[str, sqlite3.Connection] = {}


def keep_shared_files_open() -> None:
    """From now on, keep the shared files open to which SQLAlchemy connects in this process.

    Other processes see every transaction at once, as before. After a power failure the last ones may be missing, but
    the files are sound: https://sqlite.org/pragma.html#pragma_synchronous
    """
    if not event.contains(Engine, "connect", _keep_open):
        event.listen(Engine, "connect", _keep_open)


def _keep_open(connection: Any, _record: object) -> None:
    if not isinstance(connection, sqlite3.Connection):
        return
    connection.execute("pragma synchronous = normal")
    ((_, _, file),) = connection.execute("pragma database_list").fetchall()
    if Path(file).name not in _SHARED or file in _kept:
        return
    if connection.execute("pragma journal_mode").fetchone() == ("wal",):
        _kept[file] = sqlite3.connect(file, check_same_thread=False)
        _kept[file].execute("select count(*) from sqlite_schema").fetchone()
