"""Tables of data in Dagster's metadata."""

import json
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from acl_assets.util.metadata_tables import metadata_table


def cell(value: object) -> object:
    """Return the value as the table holds it."""
    return metadata_table(["column"], [[value]]).records[0].data["column"]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("![i](/graphql?query=mutation) <b>", "![i](/graphql?query=mutation) <b>"),
        ("Björk 🎸 東京", "Björk 🎸 東京"),
        ("a\nb\tc", r"a\nb\tc"),
        ("\x00\u202eevil\u200b\ufffe\ud800", r"\x00\u202eevil\u200b\ufffe\ud800"),
        ("x" * 201, "x" * 200 + "…"),
        (None, None),
        (True, True),
        (1.5, 1.5),
        (2**53 + 1, "9007199254740993"),
        (float("nan"), "nan"),
        (Decimal("1.50"), "1.50"),
        (datetime(2021, 10, 1, 12, tzinfo=UTC), "2021-10-01 12:00:00+00:00"),
    ],
)  # fmt: skip
def test_text_keeps_its_glyphs_and_what_json_cannot_hold_becomes_text(value: object, shown: object) -> None:
    """Characters without a glyph are written as escapes, and long texts are cut."""
    assert cell(value) == shown
    json.dumps(cell(value), allow_nan=False)


def test_columns_have_the_type_of_their_values_and_no_description() -> None:
    """The UI renders descriptions of columns as Markdown."""
    rows = [(1, None, 0.5, None), (2, "a", "nan", None)]
    columns = metadata_table(["id", "name", "share", "none"], rows).schema.columns
    assert [column.type for column in columns] == ["int", "string", "string", "string"]
    assert {column.description for column in columns} == {None}
    assert [column.name for column in metadata_table(["id", "name"], []).schema.columns] == ["id", "name"]
