"""The views on the source tables read exactly the files of the named folder, whatever characters its name has."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from jinja2 import Environment
from warehouse.dbt_festivals import Festival, instant, run_dbt, warehouse

from acl_assets.settings import DBT_PROJECT_DIR

MACROS = DBT_PROJECT_DIR / "macros" / "register_source_tables.sql"
NAMES = ["Bj\u00f6rk", "Bjo\u0308rk", "Bj\u00f6rk ", "bj\u00f6rk", "'68", "NULL", ""]
"""A composed and a decomposed letter look the same, and so do a blank and none at the end of a name."""


def festival(stage: str) -> Festival:
    bands = [(number, name, 5) for number, name in enumerate(NAMES)]
    found = Festival(bands=bands, venues=[(1, stage, 500)])
    found.export(instant("2022-01-01 00:00"))
    return found


@pytest.mark.parametrize(
    ("odd", "sibling"),
    [('it\'s [a-z] {x} * ä "q"', 'it\'s a {x} more ä "q"'), ("name=x", "name=y"), ("data?", "data1")],
)
def test_models_are_built_from_the_named_folder(
    odd: str, sibling: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DuckDB takes paths for glob patterns, and `name=value` in a path for a column.

    The build file is elsewhere: DuckDB cannot keep a database in a folder with a question mark.
    """
    festival("Theirs").write(tmp_path / sibling)
    festival("Ours").write(tmp_path / odd)
    monkeypatch.setenv("FESTIVAL_SOURCE_TABLES", str(tmp_path / odd / "source_tables" / "current"))
    (tmp_path / "warehouse" / "build").mkdir(parents=True)
    result = run_dbt(tmp_path / "warehouse", "run", "--select", "dim_venues", "dim_bands")
    assert result.success, result.exception
    with warehouse(tmp_path / "warehouse") as connection:
        assert connection.execute("select venue_name from star_schema.dim_venues").fetchall() == [("Ours",)]
        bands = connection.execute("select band_name from star_schema.dim_bands order by band_id").fetchall()
    assert [name for (name,) in bands] == NAMES


@pytest.mark.parametrize(
    ("folder", "pattern"),
    [
        ('/it\'s {x} * ? ä "q"', '/it\'s \\{x\\} \\* \\? ä "q"'),
        ("/[a-z]", "/\\[a-z\\]"),
        ("/a\\b", "/a\\\\b"),
        ("/hive=1", "/hive=1"),
        ("/a`b", "/a``b"),
        ("s3a://bucket/data", "s3a://bucket/data"),
    ],
)
def test_spark_reads_the_named_file_only(folder: str, pattern: str) -> None:
    """Spark takes paths for glob patterns, in which a backslash escapes."""
    globals_of_dbt = {"return": lambda value: value, "modules": {"re": re}}
    template = Environment(extensions=["jinja2.ext.do"]).from_string(MACROS.read_text(), globals=globals_of_dbt)  # noqa: S701, this is SQL
    found = str(template.make_module().spark__source_table_view("tickets", f"{folder}/tickets.parquet")).strip()
    assert found == f"create or replace view festival.tickets as select * from parquet.`{pattern}/tickets.parquet`"
