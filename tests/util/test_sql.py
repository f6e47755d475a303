"""DuckDB reads the named file, not others that its name would match as a pattern."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest

from acl_assets.util.sql import duckdb_files, duckdb_pattern


@pytest.mark.parametrize("name", ["[a-z]", "*", "a?c", "{a,b}", 'it\'s "q" x]y[', "hive=1"])
def test_file_is_read_from_a_folder_of_any_name(tmp_path: Path, name: str) -> None:
    for number, folder in enumerate([name, "b", "abc"]):
        (tmp_path / folder).mkdir()
        path = str(tmp_path / folder / "rows.parquet").replace("'", "''")
        duckdb.execute(f"copy (select {number} as number) to '{path}' (format parquet)")
    pattern = f"{duckdb_pattern(tmp_path / name)}/*.parquet"
    assert duckdb.execute("select number from read_parquet(?)", [pattern]).fetchall() == [(0,)]
    rows = duckdb.execute(f"from read_parquet({duckdb_files([tmp_path / name / 'rows.parquet'])})")
    assert [column for column, *_ in rows.description] == ["number"]
    assert rows.fetchall() == [(0,)]
