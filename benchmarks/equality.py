"""Compare two warehouse files row for row, in any order: `python -m benchmarks.equality ONE OTHER`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import duckdb

_SCHEMAS = "('star_schema', 'data_products')"
_SIDES = ("one", "other")
_TICKETS_AT_ONCE = 4_000_000


class WarehousesDifferError(AssertionError):
    """Two warehouses that must be equal are not; the message names the table."""


def require_equal(one: Path, other: Path) -> dict[str, int]:
    """Compare star schema and data products, and return the number of rows of each table.

    Raises:
        WarehousesDifferError: a table is missing in one of them, or has other columns, types or rows there.
    """
    with duckdb.connect() as connection:
        connection.execute("set enable_progress_bar = false")
        for side, file in zip(_SIDES, (one, other), strict=True):
            connection.execute(f"attach '{str(file).replace(chr(39), 2 * chr(39))}' as {side} (read_only)")
        columns, other_columns = (_columns(connection, side) for side in _SIDES)
        if columns != other_columns:
            differing = sorted(set(columns.items()) ^ set(other_columns.items()))
            raise WarehousesDifferError(f"Tables, columns or types differ between {one} and {other}: {differing}")
        return {table: _require_equal_rows(connection, table, names) for table, names in columns.items()}


def _columns(connection: duckdb.DuckDBPyConnection, side: str) -> dict[str, str]:
    """Return the columns of each table and their types, as one text."""
    return dict(
        connection.execute(
            "select table_schema || '.' || table_name, "
            "string_agg(column_name || ' ' || data_type, ', ' order by ordinal_position) "
            f"from information_schema.columns where table_catalog = '{side}' and table_schema in {_SCHEMAS} "
            "group by 1 order by 1"
        ).fetchall()
    )


def _require_equal_rows(connection: duckdb.DuckDBPyConnection, table: str, columns: str) -> int:
    """Compare counts, then look for rows that one side has more often: both together compare multisets."""
    rows, other_rows = (_number(connection, f"select count(*) from {side}.{table}") for side in _SIDES)
    if rows != other_rows:
        raise WarehousesDifferError(f"{table} has {rows:,} rows in one file and {other_rows:,} in the other.")
    for part in _parts(connection, table) if "ticket_id " in columns else [""]:
        differing = _number(
            connection, f"select count(*) from (from one.{table} {part} except all from other.{table} {part})"
        )
        if differing:
            raise WarehousesDifferError(f"{table} has {differing:,} rows that are not in the other file. {part}")
    return rows


def _parts(connection: duckdb.DuckDBPyConnection, table: str) -> Iterator[str]:
    """Yield conditions that split a table with one row per ticket into parts that fit in memory."""
    lowest, highest = (
        _number(connection, f"select coalesce({end}(ticket_id), 0) from one.{table}") for end in ("min", "max")
    )
    for first in range(lowest, highest + 1, _TICKETS_AT_ONCE):
        yield f"where ticket_id between {first} and {first + _TICKETS_AT_ONCE - 1}"


def _number(connection: duckdb.DuckDBPyConnection, query: str) -> int:
    row = connection.execute(query).fetchone()
    return int(row[0]) if row else 0


if __name__ == "__main__":
    print(sum(require_equal(Path(sys.argv[1]), Path(sys.argv[2])).values()))
