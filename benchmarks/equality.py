"""Compare two warehouse files row for row, in any order: `python -m benchmarks.equality ONE OTHER`."""

import sys
from pathlib import Path

import duckdb

_TABLES = """
    select table_schema || '.' || table_name,
        string_agg(column_name || ' ' || data_type, ', ' order by ordinal_position)
    from information_schema.columns
    where table_catalog = ? and table_schema in ('star_schema', 'data_products')
    group by 1
    order by 1
"""


class WarehousesDifferError(AssertionError):
    """Two warehouses that must be equal differ; the message names the table."""


def require_equal(one: Path, other: Path) -> dict[str, int]:
    """Compare star schema and data products, and return the number of rows of each table.

    The comparison uses the number of rows and the sum of their hashes, which needs little memory at any scale.

    Raises:
        WarehousesDifferError: a file lacks a table, or has other columns, types or rows in it.
    """
    with duckdb.connect() as connection:
        connection.execute("set enable_progress_bar = false")
        for side, file in (("one", one), ("other", other)):
            connection.execute(f"attach '{str(file).replace(chr(39), 2 * chr(39))}' as {side} (read_only)")
        columns, other_columns = (dict(connection.execute(_TABLES, [side]).fetchall()) for side in ("one", "other"))
        if columns != other_columns:
            differing = sorted(set(columns.items()) ^ set(other_columns.items()))
            raise WarehousesDifferError(f"Tables, columns or types differ between {one} and {other}: {differing}")
        return {table: _require_equal_rows(connection, table) for table in columns}


def _require_equal_rows(connection: duckdb.DuckDBPyConnection, table: str) -> int:
    queries = [f"select count(*), sum(hash(line)) from {side}.{table} as line" for side in ("one", "other")]
    (rows, hashes), (other_rows, other_hashes) = connection.execute(" union all ".join(queries)).fetchall()
    if rows != other_rows:
        raise WarehousesDifferError(f"{table} has {rows:,} rows in one file and {other_rows:,} in the other.")
    if hashes != other_hashes:
        raise WarehousesDifferError(f"{table} has the same number of rows in both files, but other values.")
    return int(rows)


if __name__ == "__main__":
    print(sum(require_equal(Path(sys.argv[1]), Path(sys.argv[2])).values()))
