"""Text, names and file paths as SQL."""

import re
from collections.abc import Iterable
from pathlib import Path


def quoted_text(text: str) -> str:
    """Return a text as a SQL string literal."""
    return "'" + text.replace("'", "''") + "'"


def quoted_name(name: str) -> str:
    """Return a name as a SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def qualified_name(schema: str, name: str) -> str:
    """Return the name of a relation with its schema, as SQL identifiers."""
    return f"{quoted_name(schema)}.{quoted_name(name)}"


def duckdb_files(paths: Iterable[Path | str]) -> str:
    """Return the arguments by which `read_parquet` reads exactly these files, in their order.

    DuckDB takes every path it reads for a glob pattern; a character class of one character stands for that character.
    A folder named `year=2022` would otherwise add a column.
    """
    patterns = [quoted_text(re.sub(r"([\[*?])", r"[\1]", str(path))) for path in paths]
    return f"[{', '.join(patterns)}], hive_partitioning = false"
