"""DuckDB's memory limit grows with the source tables and stays below DuckDB's own default."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest
from dbt.artifacts.schemas.run import RunExecutionResult
from warehouse.dbt_festivals import Festival, instant, run_dbt

from acl_assets.warehouse.memory import MEBIBYTE, build_memory_limit


@pytest.mark.parametrize(
    ("mebibytes", "limit"),
    [
        pytest.param(0, "192MiB", id="small tables: a floor that every query fits into"),
        pytest.param(64, "192MiB", id="three times 64 MiB is the floor"),
        pytest.param(96, "288MiB", id="three times the tables"),
        pytest.param(1 << 22, None, id="more than any machine has is left to DuckDB"),
    ],
)
def test_the_limit_is_three_times_the_source_tables(tmp_path: Path, mebibytes: int, limit: str | None) -> None:
    for table in ("tickets", "purchases"):
        with (tmp_path / f"{table}.parquet").open("wb") as stream:
            # A file with a hole takes no space.
            stream.truncate(mebibytes * MEBIBYTE // 2)
    assert build_memory_limit(tmp_path) == limit


def test_a_build_is_held_to_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit is not in the profile: dbt would parse the project again whenever the tables have grown."""
    festival = Festival()
    festival.export(instant("2022-01-01 00:00"))
    festival.write(tmp_path)
    assert run_dbt(tmp_path, "run", "--select", "dim_venues").success
    monkeypatch.setenv("ACL_RECKONED_MEMORY_LIMIT", "7 elephants")
    result = run_dbt(tmp_path, "run", "--select", "dim_venues")
    assert not result.success
    assert "elephants" in str(result.exception or result.result)


def test_the_limit_that_is_set_reaches_duckdb_through_dbt_s_profile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine or pod with less memory than DuckDB takes by itself depends on it."""
    monkeypatch.setenv("ACL_MEMORY_LIMIT", "300MB")
    (tmp_path / "build").mkdir()
    result = run_dbt(tmp_path, "show", "--inline", "select current_setting('memory_limit') as memory_limit")
    assert isinstance(result.result, RunExecutionResult), result.exception
    (shown,) = result.result.results
    assert [row["memory_limit"] for row in shown.agate_table or ()] == ["286.1 MiB"]


def test_duckdb_understands_the_limit(tmp_path: Path) -> None:
    with duckdb.connect() as connection:
        connection.execute(f"set memory_limit = '{build_memory_limit(tmp_path)}'")
        assert connection.execute("select current_setting('memory_limit')").fetchone() == ("192.0 MiB",)
