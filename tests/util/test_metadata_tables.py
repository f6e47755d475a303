"""Tables of data in Dagster's metadata."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from decimal import Decimal

import pytest
from dagster import TableMetadataValue

from acl_assets.util.metadata_tables import metadata_table
from acl_assets.util.text import MAX_TEXT_LENGTH, visible_text


def cell(value: object) -> object:
    """The value as the table holds it."""
    return metadata_table(["column"], [[value]]).records[0].data["column"]


@pytest.mark.parametrize(
    "name",
    [
        "![i](/graphql?query=mutation{wipeAssets{__typename}})",
        "<img src=x onerror=alert(1)>",
        "[a](javascript:alert(1))",
        "Salt | Pepper",
        r"C:\new",
        "Björk 🎸 東京",
    ],
)
def test_text_that_has_glyphs_is_kept_as_it_is(name: str) -> None:
    table = metadata_table(["id", "name"], [(1, name)])
    assert isinstance(table, TableMetadataValue)
    assert table.records[0].data == {"id": 1, "name": name}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\nb\tc", r"a\nb\tc"),
        ("\x00\x01\x0b\x7f", r"\x00\x01\x0b\x7f"),
        ("\u202eevil\u200b\u2028", r"\u202eevil\u200b\u2028"),
        ("\ufffe\ud800\U0001fffe", r"\ufffe\ud800\U0001fffe"),
    ],
)
def test_characters_without_a_glyph_are_written_as_escapes(text: str, shown: str) -> None:
    assert cell(text) == visible_text(text) == shown


def test_long_text_is_cut_after_200_characters() -> None:
    assert cell("x" * MAX_TEXT_LENGTH) == "x" * 200
    assert cell("x" * 900_000) == "x" * 200 + "…"


@pytest.mark.parametrize("value", [None, True, 0, -7, 1.5])
def test_numbers_truth_and_nothing_keep_their_type(value: object) -> None:
    assert cell(value) is value


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (2**53 + 1, "9007199254740993"),
        (float("nan"), "nan"),
        (float("inf"), "inf"),
        (Decimal("1.50"), "1.50"),
        (date(2021, 10, 1), "2021-10-01"),
        (datetime(2021, 10, 1, 12, tzinfo=UTC), "2021-10-01 12:00:00+00:00"),
        (["![i](x)"], "['![i](x)']"),
    ],
)
def test_what_a_browser_cannot_read_from_json_becomes_text(value: object, shown: str) -> None:
    assert cell(value) == shown
    json.dumps(cell(value), allow_nan=False)


def test_columns_have_the_type_of_their_values_and_no_description() -> None:
    """The UI renders descriptions of columns as Markdown."""
    columns = metadata_table(
        ["id", "name", "share", "none"], [(1, None, 0.5, None), (2, "a", "nan", None)]
    ).schema.columns
    assert [(column.name, column.type) for column in columns] == [
        ("id", "int"),
        ("name", "string"),
        ("share", "string"),
        ("none", "string"),
    ]
    assert {column.description for column in columns} == {None}


def test_a_table_without_rows_still_names_its_columns() -> None:
    table = metadata_table(["id", "name"], [])
    assert [column.name for column in table.schema.columns] == ["id", "name"]
    assert list(table.records) == []
