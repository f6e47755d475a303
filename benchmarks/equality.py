"""Proof that two warehouses hold the same: tables, columns, types and rows.

What belongs here: comparing finished files. What does not: making them.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import duckdb

_SCHEMAS = "('star_schema', 'data_products', 'source_keys')"
_SIDES = ("one", "other")
_TICKETS_AT_ONCE = 4_000_000


class WarehousesDifferError(AssertionError):
    """Two warehouses that must hold the same do not; the message names the table."""


def require_equal(one: Path, other: Path) -> dict[str, int]:
    """Compare star schema, data products and source keys, row for row; returns the number of rows of each table.

    Raises:
        WarehousesDifferError: a table is missing in one of them, or has other columns, types or rows there.
    """
    import duckdb

    with duckdb.connect() as connection:
        # Bars of minutes' long comparisons would fill the log of the benchmark.
        connection.execute("set enable_progress_bar = false")
        for side, file in zip(_SIDES, (one, other), strict=True):
            connection.execute(f"attach '{str(file).replace(chr(39), 2 * chr(39))}' as {side} (read_only)")
        columns = {side: _columns(connection, side) for side in _SIDES}
        if columns["one"] != columns["other"]:
            differing = sorted(set(columns["one"].items()) ^ set(columns["other"].items()))
            raise WarehousesDifferError(f"Tables, columns or types differ between {one} and {other}: {differing}")
        return {table: _require_equal_rows(connection, table, names) for table, names in columns["one"].items()}


def _columns(connection: duckdb.DuckDBPyConnection, side: str) -> dict[str, str]:
    """Per table its columns and their types, as one text."""
    return dict(
        connection.execute(
            "select table_schema || '.' || table_name, "
            "string_agg(column_name || ' ' || data_type, ', ' order by ordinal_position) "
            f"from information_schema.columns where table_catalog = '{side}' and table_schema in {_SCHEMAS} "
            "group by 1 order by 1"
        ).fetchall()
    )


def _require_equal_rows(connection: duckdb.DuckDBPyConnection, table: str, columns: str) -> int:
    """Equal counts, and no row of one side that the other has not as often, are equal multisets."""
    rows, other_rows = (_number(connection, f"select count(*) from {side}.{table}") for side in _SIDES)
    if rows != other_rows:
        raise WarehousesDifferError(f"{table} has {rows:,} rows and {other_rows:,} rows.")
    for part in _parts(connection, table) if "ticket_id " in columns else [""]:
        differing = _number(
            connection, f"select count(*) from (from one.{table} {part} except all from other.{table} {part})"
        )
        if differing:
            raise WarehousesDifferError(f"{table} has {differing:,} rows that the other {table} has not. {part}")
    return rows


def _parts(connection: duckdb.DuckDBPyConnection, table: str) -> list[str]:
    """Conditions that cut a table with a row per ticket into pieces which fit in memory."""
    lowest, highest = (
        _number(connection, f"select coalesce({end}(ticket_id), 0) from one.{table}") for end in ("min", "max")
    )
    return [
        f"where ticket_id between {first} and {first + _TICKETS_AT_ONCE - 1}"
        for first in range(lowest, highest + 1, _TICKETS_AT_ONCE)
    ]


def _number(connection: duckdb.DuckDBPyConnection, query: str) -> int:
    row = connection.execute(query).fetchone()
    return int(row[0]) if row else 0
