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


def created(kind: str) -> list[exp.Create]:
    return [each for each in STATEMENTS if isinstance(each, exp.Create) and each.kind == kind]


def test_ddl_and_grants_follow_the_source_schema():
    declared = {
        table.find(exp.Table).name: [(column.name, column.kind.sql()) for column in table.find_all(exp.ColumnDef)]
        for table in created("TABLE")
    }
    assert declared == {
        name: [(column.name, SQL_TYPES[column.type]) for column in table.columns]
        for name, table in SOURCE_TABLES.items()
    }
    grants = files("acl_assets.extraction").joinpath("export_role.sql").read_text(encoding="utf-8")
    assert re.findall(r"'(\w+)'", re.search(r"in array array\[(.*)\]", grants)[1]) == list(SOURCE_TABLES)


def test_columns_are_not_null_and_foreign_keys_are_indexed():
    """A sale looks rows up both ways; without an index each look-up would read a whole table."""
    references = {}
    for table in created("TABLE"):
        for column in table.find_all(exp.ColumnDef):
            constraint = exp.PrimaryKeyColumnConstraint if column.name == "id" else exp.NotNullColumnConstraint
            assert column.find(constraint), column.sql()
            if reference := column.find(exp.Reference):
                references[table.find(exp.Table).name, column.name] = reference.find(exp.Table).name
    assert references == {
        ("performances", "band_id"): "bands",
        ("performances", "venue_id"): "venues",
        ("purchases", "person_id"): "people",
        ("tickets", "performance_id"): "performances",
        ("tickets", "purchase_id"): "purchases",
    }
    assert references.keys() <= {
        (index.find(exp.Table).name, index.find(exp.IndexParameters).find(exp.Column).name)
        for index in created("INDEX")
    }
