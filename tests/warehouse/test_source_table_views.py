"""The views on the source tables read exactly the files of the named folder, whatever characters its name has."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from jinja2 import Environment
from warehouse.dbt_festivals import Festival, instant, run_dbt, warehouse

from acl_assets.settings import DBT_PROJECT_DIR

MACROS = DBT_PROJECT_DIR / "macros" / "register_source_tables.sql"


def festival(stage: str) -> Festival:
    found = Festival(bands=[(1, f"Band of {stage}", 5)], venues=[(1, stage, 500)])
    found.export(instant("2022-01-01 00:00"))
    return found


@pytest.mark.parametrize(
    ("odd", "sibling"),
    [('it\'s [a-z] {x} * ä "q"', 'it\'s a {x} more ä "q"'), ("name=x", "name=y"), ("data[12]", "data1")],
)
def test_models_are_built_from_the_named_folder(odd: str, sibling: str, tmp_path: Path) -> None:
    """DuckDB takes paths for glob patterns, and `name=value` in a path for a column."""
    festival("Theirs").write(tmp_path / sibling)
    festival("Ours").write(tmp_path / odd)
    assert built_from(tmp_path / odd) == [("Ours",)]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([odd, sibling])


def test_models_are_built_from_a_folder_with_a_question_mark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The build file is elsewhere: DuckDB cannot keep a database in such a folder."""
    festival("Theirs").write(tmp_path / "data1")
    festival("Ours").write(tmp_path / "data?")
    monkeypatch.setenv("FESTIVAL_SOURCE_TABLES", str(tmp_path / "data?" / "source_tables" / "current"))
    (tmp_path / "warehouse" / "build").mkdir(parents=True)
    assert built_from(tmp_path / "warehouse") == [("Ours",)]


def test_names_reach_the_models_exactly_as_exported(tmp_path: Path) -> None:
    """A composed and a decomposed letter look the same, and so do a blank and none at the end of a name."""
    names = ["Bj\u00f6rk", "Bjo\u0308rk", "Bj\u00f6rk ", "bj\u00f6rk", "'68", "NULL", ""]
    found = festival("Ours")
    found.bands = [(number, name, 5) for number, name in enumerate(names)]
    found.write(tmp_path)
    built_from(tmp_path)
    with warehouse(tmp_path) as connection:
        rows = connection.execute("select band_name from star_schema.dim_bands order by band_id").fetchall()
    assert [name for (name,) in rows] == names


def built_from(data_dir: Path) -> list[tuple[str, ...]]:
    """Build two models below a folder, and return the names of venues."""
    result = run_dbt(data_dir, "run", "--select", "dim_venues", "dim_bands")
    assert result.success, result.exception
    with warehouse(data_dir) as connection:
        return connection.execute("select venue_name from star_schema.dim_venues").fetchall()


def spark_view(table: str, file: str) -> str:
    """Return what the macro for Spark returns, given what it uses of dbt."""
    globals_of_dbt = {"return": lambda value: value, "modules": {"re": re}}
    template = Environment(extensions=["jinja2.ext.do"]).from_string(MACROS.read_text(), globals=globals_of_dbt)  # noqa: S701
    return str(template.make_module().spark__source_table_view(table, file)).strip()


@pytest.mark.parametrize(
    ("folder", "pattern"),
    [
        ("/data/festival", "/data/festival"),
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
    found = spark_view("tickets", f"{folder}/tickets.parquet")
    assert found == f"create or replace view festival.tickets as select * from parquet.`{pattern}/tickets.parquet`"
