"""DuckDB reads the named file, not others that its name would match as a pattern."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest

from acl_assets.util.sql import duckdb_files, duckdb_pattern


@pytest.mark.parametrize(
    "name", ["[a-z]", "[!a]", "*", "**", "a?c", "{a,b}", 'it\'s "q"', "x]y[", "%s ä # ;", "hive=1"]
)
def test_file_is_read_from_a_folder_of_any_name(tmp_path: Path, name: str) -> None:
    for number, folder in enumerate([name, "b", "abc", "x"]):
        (tmp_path / folder).mkdir()
        path = str(tmp_path / folder / "rows.parquet").replace("'", "''")
        duckdb.execute(f"copy (select {number} as number) to '{path}' (format parquet)")
    folder = tmp_path / name
    for pattern in (duckdb_pattern(folder / "rows.parquet"), f"{duckdb_pattern(folder)}/*.parquet"):
        for files in (pattern, [pattern]):
            assert duckdb.execute("select number from read_parquet(?)", [files]).fetchall() == [(0,)]
    rows = duckdb.execute(f"from read_parquet({duckdb_files([folder / 'rows.parquet'])})")
    assert [column for column, *_ in rows.description] == ["number"]
    assert rows.fetchall() == [(0,)]
