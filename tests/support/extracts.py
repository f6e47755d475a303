"""Extracting from a real PostgreSQL, and interfering with it, as tests do it."""

import logging
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from landing_zones import chain_at
from postgres import execute
from psycopg2.extensions import make_dsn

from acl_assets.settings import PROJECT_DIR, Settings
from acl_assets.source_schema import SOURCE_TABLES

EXPORT_ROLE_SQL = (PROJECT_DIR / "acl_assets" / "extraction" / "export_role.sql").read_text()
PASSWORD = "geheim-sesame"  # noqa: S105 # of servers that end with the tests and ask for none

Row = tuple[Any, ...]


def make_export_role(dsn: str) -> str:
    """Run export_role.sql in a database, and give the role's DSN of it.

    Tests extract again while the sessions of the last extract are still ending, so the role may have more of them.
    """
    execute(dsn, EXPORT_ROLE_SQL)
    execute(dsn, "alter role acl_export connection limit 20")
    return str(make_dsn(dsn, user="acl_export", password=PASSWORD))


def set_limits(patch: pytest.MonkeyPatch, **limits: object) -> None:
    """Look at the server at every call and, but for the limits given, never pause: `SLOW_PROBE_MS=(25, 25)`."""
    never = {"MOST_LOCK_WAITS": 10**9, "SLOW_PROBE_MS": (math.inf, math.inf), "SECONDS_BETWEEN_LOOKS": 0.0}
    for name, limit in {**never, "LONGEST_PAUSE_SECONDS": 0.0, **limits}.items():
        patch.setattr(f"acl_assets.extraction.throttle._{name}", limit)


def run(connection: Any, statement: str) -> list[Row]:
    """Run a statement in a session's open transaction, and give its rows."""
    with connection.cursor() as cursor:
        cursor.execute(statement)
        return list(cursor.fetchall()) if cursor.description else []


@contextmanager
def when_logged(text: str, act: Callable[[], object] = lambda: None) -> Iterator[list[str]]:
    """Act once, in the middle of an extract, as soon as it logs something with that text; gives all it logs."""
    messages: list[str] = []

    def listen(record: logging.LogRecord) -> bool:
        is_first = not any(text in message for message in messages)
        messages.append(record.getMessage())
        if is_first and text in messages[-1]:
            act()
        return False

    handler, logger = logging.Handler(), logging.getLogger("acl_assets.extraction")
    handler.addFilter(listen)
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield messages
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
    assert any(text in message for message in messages), messages


def merged_rows(settings: Settings, table: str) -> list[Row]:
    """Return the rows of a table after the batches of the chain, each row replacing the one with the same id."""
    rows: dict[int, Row] = {}
    for batch in chain_at(settings.exports_dir).batches:
        for file in batch.tables[table].files:
            rows |= {row[0]: row for row in parquet_rows(Path(batch.folder) / file.path)}
    return sorted(rows.values())


def parquet_rows(path: Path) -> list[Row]:
    """The rows of a Parquet file, in its order."""
    return [tuple(row.values()) for row in pq.read_table(path).to_pylist()]


def source_rows(dsn: str, table: str) -> list[Row]:
    """The rows of a table of the source, by id."""
    return execute(dsn, f"select {', '.join(SOURCE_TABLES[table].column_names)} from {table} order by id")


def folders(settings: Settings) -> list[str]:
    """The entries of the landing zone that are not hidden."""
    return sorted(path.name for path in settings.exports_dir.iterdir() if not path.name.startswith("."))


def purchase(tickets: int = 1) -> str:
    """Return the statement that buys tickets; their numbers come from the sequence of a table that gets no rows."""
    return (
        "with bought as ("
        "insert into purchases (purchase_date, person_id) select now(), min(id) from people returning id) "
        "insert into tickets (price, performance_id, purchase_id, ticketnum) "
        "select 25, (select min(id) from performances), bought.id, "
        "'TT' || (90000000000000 + nextval(pg_get_serial_sequence('venues', 'id'))) "
        f"from bought, generate_series(1, {tickets})"
    )
