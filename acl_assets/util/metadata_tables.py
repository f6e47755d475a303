"""Tables of data in the metadata of assets and checks, as values that Dagster's UI shows as plain text.

The UI renders `MetadataValue.md` and the descriptions of assets, materializations, observations and check results as
Markdown, where an image in a name is a request that the browser sends. Text from data must reach none of them.
"""

import math
from collections.abc import Iterable, Sequence

from dagster import TableColumn, TableMetadataValue, TableRecord, TableSchema

from acl_assets.util.text import visible_text

# The UI reads numbers as 64-bit floats, which hold every whole number up to this one.
_MAX_NUMBER = 2**53

Cell = str | int | float | bool | None


def metadata_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> TableMetadataValue:
    """Return rows as table metadata, with long texts cut and characters that have no glyph written as escapes.

    The UI shows names of columns as text too, but the descriptions of columns as Markdown, so there are none.
    """
    cells = [[_cell(value) for value in row] for row in rows]
    types = [_column_type(values) for values in zip(*cells, strict=True)] if cells else ["string"] * len(columns)
    return TableMetadataValue(
        records=[TableRecord(dict(zip(columns, row, strict=True))) for row in cells],
        schema=TableSchema([TableColumn(name, kind) for name, kind in zip(columns, types, strict=True)]),
    )


def _cell(value: object) -> Cell:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int) and abs(value) <= _MAX_NUMBER:
        return value
    # JSON has no NaN and no infinity.
    if isinstance(value, float) and math.isfinite(value):
        return value
    return visible_text(str(value))


def _column_type(values: Iterable[Cell]) -> str:
    found = {TableMetadataValue.infer_column_type(value) for value in values if value is not None}
    return found.pop() if len(found) == 1 else "string"
