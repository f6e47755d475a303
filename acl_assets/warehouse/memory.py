"""How much memory DuckDB may take for a build.

What belongs here: the rule. What does not: how dbt is told (`assets`, the macro `limit_memory`).
"""

from __future__ import annotations

from pathlib import Path

import duckdb

MEBIBYTE = 1 << 20
# The largest model takes the same CPU time with this limit as without, over 72 MB of source tables and over 691 MB.
# What DuckDB takes beyond, it fills with blocks it has written.
TIMES_SOURCE_TABLES = 3
LEAST_BYTES = 192 * MEBIBYTE
_UNITS = {"bytes": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}


def build_memory_limit(source_tables: Path) -> str | None:
    """DuckDB's memory limit for a build from the source tables below a folder, such as `288MiB`.

    In proportion to them, so that a refresh leaves the machine to others. None where that is more than DuckDB would
    take by itself, which depends on the machine and the container it runs in.
    """
    size = sum(file.stat().st_size for file in source_tables.glob("*.parquet"))
    limit = max(LEAST_BYTES, size * TIMES_SOURCE_TABLES)
    return f"{limit // MEBIBYTE}MiB" if limit < _duckdb_limit_bytes() else None


def _duckdb_limit_bytes() -> int:
    with duckdb.connect() as connection:
        ((limit,),) = connection.execute("select current_setting('memory_limit')").fetchall()
    number, unit = limit.split()
    return int(float(number) * _UNITS[unit])
