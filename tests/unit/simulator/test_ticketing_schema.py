"""The DDL of the simulator and the grants of the export role name the tables and columns of the source schema."""

import re
from importlib.resources import files

import sqlglot
from sqlglot import exp

from acl_assets.source_schema import SOURCE_TABLES

SQL_TYPES = {"int": "INT", "text": "TEXT", "timestamptz": "TIMESTAMPTZ"}
STATEMENTS = sqlglot.parse(
    files("acl_assets.simulator").joinpath("ticketing_schema.sql").read_text(encoding="utf-8"), read="postgres"
)


def test_ddl_and_grants_follow_the_source_schema():
    declared = {
        table.find(exp.Table).name: [(column.name, column.kind.sql()) for column in table.find_all(exp.ColumnDef)]
        for table in STATEMENTS
        if isinstance(table, exp.Create) and table.kind == "TABLE"
    }
    assert declared == {
        name: [(column.name, SQL_TYPES[column.type]) for column in table.columns]
        for name, table in SOURCE_TABLES.items()
    }
    grants = files("acl_assets.extraction").joinpath("export_role.sql").read_text(encoding="utf-8")
    assert re.findall(r"'(\w+)'", re.search(r"in array array\[(.*)\]", grants)[1]) == list(SOURCE_TABLES)
