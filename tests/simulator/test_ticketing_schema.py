"""The DDL of the ticketing database declares the very tables the exports are held against."""

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


def references() -> dict[tuple[str, str], str]:
    return {
        (table.find(exp.Table).name, column.name): column.find(exp.Reference).find(exp.Table).name
        for table in created("TABLE")
        for column in table.find_all(exp.ColumnDef)
        if column.find(exp.Reference)
    }


def test_tables_and_columns_are_those_of_the_source_schema():
    declared = {
        table.find(exp.Table).name: [(column.name, column.kind.sql()) for column in table.find_all(exp.ColumnDef)]
        for table in created("TABLE")
    }
    assert declared == {
        name: [(column.name, SQL_TYPES[column.type]) for column in table.columns]
        for name, table in SOURCE_TABLES.items()
    }


def test_every_column_but_the_generated_keys_must_be_given():
    for table in created("TABLE"):
        for column in table.find_all(exp.ColumnDef):
            constraint = exp.PrimaryKeyColumnConstraint if column.name == "id" else exp.NotNullColumnConstraint
            assert column.find(constraint), column.sql()


def test_foreign_keys_are_the_five_of_the_source():
    assert references() == {
        ("performances", "band_id"): "bands",
        ("performances", "venue_id"): "venues",
        ("purchases", "person_id"): "people",
        ("tickets", "performance_id"): "performances",
        ("tickets", "purchase_id"): "purchases",
    }


def test_every_foreign_key_leads_an_index():
    """A sale looks its rows up both ways; without these indexes each look-up would read a whole table."""
    indexed = {
        (index.find(exp.Table).name, index.find(exp.IndexParameters).find(exp.Column).name)
        for index in created("INDEX")
    }
    assert references().keys() <= indexed
