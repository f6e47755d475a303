"""The views on the source tables read exactly the files of the named folder, whatever characters its name has."""

import re
from pathlib import Path

import duckdb
import pytest
from jinja2 import Environment
from warehouse.dbt_festivals import Festival, instant, run_dbt

from acl_assets.settings import DBT_PROJECT_DIR
from acl_assets.warehouse.project import DbtProjectError

pytestmark = pytest.mark.slow

MACROS = DBT_PROJECT_DIR / "macros" / "register_source_tables.sql"
NAMES = ["Bj\u00f6rk", "Bjo\u0308rk", "Bj\u00f6rk ", "bj\u00f6rk", "'68", "NULL", ""]
"""A composed and a decomposed letter look the same, and so do a blank and none at the end of a name."""
FOLDER = 'it\'s [a-z] {x} * ä "q" {{ target.name }} {% raw %} # $HOME ~ %s %(x)s &a !b c: - name=x'
SIBLING = 'it\'s a {x} more ä "q" {{ target.name }} {% raw %} # $HOME ~ %s %(x)s &a !b c: - name=x'


def festival(stage: str) -> Festival:
    bands = [(number, name, 5) for number, name in enumerate(NAMES)]
    found = Festival(bands=bands, venues=[(1, stage, 500)])
    found.export(instant("2022-01-01 00:00"))
    return found


def test_models_are_built_in_and_from_the_named_folder(tmp_path: Path) -> None:
    """DuckDB takes paths for glob patterns, and `name=value` in a path for a column; dbt takes braces for Jinja.

    The memory limit reaches DuckDB.
    """
    festival("Theirs").write(tmp_path / SIBLING)
    festival("Ours").write(tmp_path / FOLDER)
    with pytest.raises(DbtProjectError, match="unit for memory: 'horses'"):
        run_dbt(tmp_path / FOLDER, "run", "--select", "dim_venues", ACL_MEMORY_LIMIT="300 horses")
    run_dbt(tmp_path / FOLDER, "run", "--select", "dim_venues", "dim_bands")
    with duckdb.connect(str(tmp_path / FOLDER / "build" / "acl.duckdb"), read_only=True) as connection:
        assert connection.execute("select venue_name from star_schema.dim_venues").fetchall() == [("Ours",)]
        bands = connection.execute("select band_name from star_schema.dim_bands order by band_id").fetchall()
    assert [name for (name,) in bands] == NAMES


@pytest.mark.parametrize(
    ("folder", "pattern"),
    [
        ('/it\'s {x} * ? ä "q" [a-z]', '/it\'s \\{x\\} \\* \\? ä "q" \\[a-z\\]'),
        ("/a\\b`c", "/a\\\\b``c"),
        ("s3a://bucket/hive=1", "s3a://bucket/hive=1"),
    ],
)
def test_spark_reads_the_named_file_only(folder: str, pattern: str) -> None:
    """Spark takes paths for glob patterns, in which a backslash escapes."""
    globals_of_dbt = {"return": lambda value: value, "modules": {"re": re}}
    template = Environment(extensions=["jinja2.ext.do"]).from_string(MACROS.read_text(), globals=globals_of_dbt)  # noqa: S701, this is SQL
    found = str(template.make_module().spark__source_table_view("tickets", f"{folder}/tickets.parquet")).strip()
    assert found == f"create or replace view festival.tickets as select * from parquet.`{pattern}/tickets.parquet`"
