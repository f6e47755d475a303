"""The data folder and the memory limit reach DuckDB as they are, whatever characters they hold."""

from __future__ import annotations

from pathlib import Path

import pytest
from dbt.artifacts.schemas.run import RunExecutionResult
from warehouse.dbt_festivals import run_dbt

NAMES = ['it\'s [a-z] {x} * ä "q" {{ target.name }} {% raw %} # $HOME ~ %s %(x)s &a !b c: -', "'quoted'", "md:x"]


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_data_folder_and_memory_limit_reach_duckdb(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACL_MEMORY_LIMIT", "300MB")
    data_dir = tmp_path / name
    (data_dir / "build").mkdir(parents=True)
    query = (
        "select path, current_setting('memory_limit') as memory_limit from duckdb_databases() "
        "where database_name = current_database()"
    )
    result = run_dbt(data_dir, "show", "--inline", query)
    assert isinstance(result.result, RunExecutionResult), result.exception
    (shown,) = result.result.results
    (row,) = shown.agate_table or ()
    assert (row["path"], row["memory_limit"]) == (str(data_dir / "build" / "acl.duckdb"), "286.1 MiB")
    assert (data_dir / "build" / "acl.duckdb").exists()
