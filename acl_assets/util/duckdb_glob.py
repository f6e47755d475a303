"""Name files to DuckDB, which takes the path that `read_parquet` or `read_csv` reads for a glob pattern."""

from __future__ import annotations

import re
from pathlib import Path


def escape_glob(path: Path | str) -> str:
    """Return a glob pattern that matches this path alone, for DuckDB.

    DuckDB knows `*`, `?` and `[`; a character class of one character stands for the character itself. Quotes are not
    escaped: pass the result as a parameter of the query.
    """
    return re.sub(r"([*?\[])", r"[\1]", str(path))
