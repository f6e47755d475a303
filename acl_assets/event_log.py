"""Dagster's event log in SQLite, with its connections kept open; `deploy/sqlite/event_log.yaml` names it.

Dagster's own SQLite storage opens and closes a connection for every write, and whenever the last connection closes,
SQLite folds its write-ahead log back into the database and syncs both to disk. A refresh writes some four hundred
events, each in two to ten statements: kept open, they cost a fraction of it. Before every check's event it also
opens one to look whether there is a table for them: a tenth of the time of a small run.

What belongs here: how connections are kept. What does not: anything about events.
"""

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from dagster._core.storage.event_log import SqliteEventLogStorage
from dagster._core.storage.sqlite import SQLITE_BUSY_TIMEOUT_SECONDS
from dagster._serdes import ConfigurableClassData
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.pool import StaticPool

# Every run has a database of its own beside the index; a long-lived process reads many.
_MOST_OPEN = 8


class OpenSqliteEventLogStorage(SqliteEventLogStorage):
    """The event log in SQLite databases below `base_dir`, one connection kept open to each of the last few.

    Writes reach the disk when SQLite folds the write-ahead log back: a power cut can lose the last events of a run,
    it cannot damage the log.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._engines: OrderedDict[str, Engine] = OrderedDict()
        self._known_tables: set[str] = set()
        super().__init__(*args, **kwargs)

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Any) -> Self:
        """Make the storage in the place Dagster's own would have below the `base_dir` of the configuration."""
        return cls(base_dir=str(Path(config_value["base_dir"]) / "history" / "runs"), inst_data=inst_data)

    def has_table(self, table_name: str) -> bool:
        """Whether the index has a table; what was found once is not looked for again: migrations take none away."""
        if table_name not in self._known_tables and super().has_table(table_name):
            self._known_tables.add(table_name)
        return table_name in self._known_tables

    @contextmanager
    def _connect(self, shard: str) -> Iterator[Connection]:
        # The parent class lets one thread at a time connect, which makes a single connection enough.
        with self._db_lock, self._engine(shard).connect() as connection, connection.begin():
            yield connection

    def _engine(self, shard: str) -> Engine:
        engine = self._engines.pop(shard, None) or self._open(shard)
        self._engines[shard] = engine
        if len(self._engines) > _MOST_OPEN:
            _, oldest = self._engines.popitem(last=False)
            oldest.dispose()
        return engine

    def _open(self, shard: str) -> Engine:
        engine = create_engine(
            self.conn_string_for_shard(shard),
            poolclass=StaticPool,
            connect_args={"timeout": SQLITE_BUSY_TIMEOUT_SECONDS, "check_same_thread": False},
        )
        event.listen(engine, "connect", _sync_at_checkpoints)
        if shard not in self._initialized_dbs:
            self._initdb(engine)
            self._initialized_dbs.add(shard)
        return engine

    def dispose(self) -> None:
        """Close the connections."""
        super().dispose()
        while self._engines:
            self._engines.popitem()[1].dispose()


def _sync_at_checkpoints(connection: Any, _: Any) -> None:
    connection.execute("pragma synchronous = normal")
