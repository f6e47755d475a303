"""Values of export batches: their lossless conversion to the declared types, and which of them do not fit."""

from collections.abc import Callable, Iterator
from typing import TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

from acl_assets.source_schema import ARROW_TYPES, ColumnType

_MOST_VALUE_BYTES = 1 << 20
REASONS: dict[ColumnType, str] = {
    "int": "is not a whole number of 32 bits in plain digits, such as 25 or -3",
    "text": "is not UTF-8, or is longer than 1 MiB",
    "timestamptz": "is not an instant of the years 1 to 9999 with an offset from UTC and at most six digits of a "
    "second, such as 2021-10-01 19:30:00+00",
}
"""By declared type, what is wrong with a value that does not fit it. Messages put the value in front."""

Values: TypeAlias = pa.Array | pa.ChunkedArray
Convert: TypeAlias = Callable[[Values, ColumnType], Values]


def convert_values(values: Values, column_type: ColumnType) -> Values:
    """Convert the values of a Parquet column to the column's declared type without loss.

    Raises:
        pyarrow.ArrowInvalid: a value does not fit the declared type, or a text is longer than 1 MiB.
    """
    converted = pc.cast(values, ARROW_TYPES[column_type])
    if column_type == "timestamptz":
        try:
            # Arrow's calendar goes beyond Python's, which ends at the years 1 and 9999.
            pc.min_max(converted).as_py()
        except (OverflowError, ValueError) as error:
            raise pa.ArrowInvalid(str(error)) from None
    if column_type == "text":
        converted.validate(full=True)
        longest = pc.max(pc.binary_length(converted)).as_py()
        if longest is not None and longest > _MOST_VALUE_BYTES:
            raise pa.ArrowInvalid("longer than 1 MiB")
    return converted


def failing_rows(values: Values, convert: Convert, column_type: ColumnType, first_row: int = 0) -> Iterator[int]:
    """Yield the rows that make `convert` raise `ArrowInvalid`, in order; they are found by halving."""
    try:
        convert(values, column_type)
    except pa.ArrowInvalid:
        if len(values) == 1:
            yield first_row
            return
        middle = len(values) // 2
        yield from failing_rows(values.slice(0, middle), convert, column_type, first_row)
        yield from failing_rows(values.slice(middle), convert, column_type, first_row + middle)
