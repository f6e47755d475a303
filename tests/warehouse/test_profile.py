"""The data folder and the memory limit reach DuckDB as they are, whatever characters they hold."""

from __future__ import annotations

from pathlib import Path

import pytest
from dbt.artifacts.schemas.run import RunExecutionResult
from warehouse.dbt_festivals import run_dbt

NAMES = [
    'it\'s [a-z] {x} * ä "q" {{ target.name }} {% raw %} # $HOME ~ %s %(x)s &a !b c: -',
    "'quoted'",
    "md:x",
]


@pytest.mark.parametrize("name", NAMES)
def test_data_folder_may_have_any_name(tmp_path: Path, name: str) -> None:
    data_dir = tmp_path / name
    (data_dir / "build").mkdir(parents=True)
    query = "select path from duckdb_databases() where database_name = current_database()"
    result = run_dbt(data_dir, "show", "--inline", query)
    assert isinstance(result.result, RunExecutionResult), result.exception
    (shown,) = result.result.results
    assert [row["path"] for row in shown.agate_table or ()] == [str(data_dir / "build" / "acl.duckdb")]
    assert (data_dir / "build" / "acl.duckdb").exists()
