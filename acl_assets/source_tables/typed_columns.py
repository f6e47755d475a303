"""Lossless conversion of values to the Arrow types of the source tables."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

from acl_assets.source_schema import ARROW_TYPES, ColumnType

_EPOCH = datetime(1970, 1, 1)
_FIRST_MICROSECOND = (datetime.min - _EPOCH) // timedelta(microseconds=1)
_LAST_MICROSECOND = (datetime.max - _EPOCH) // timedelta(microseconds=1)

Values: TypeAlias = pa.Array | pa.ChunkedArray


def parse_texts(texts: Values, column_type: ColumnType) -> Values:
    """Convert the texts of a CSV column to its declared type.

    Raises:
        pyarrow.ArrowInvalid: a text is not a value of that type as the contract writes it.
    """
    if column_type == "text":
        return texts
    if column_type == "timestamptz":
        return _within_calendar(_parse_instants(texts))
    numbers = pc.cast(texts, ARROW_TYPES["int"])
    # Arrow also reads 0x1F, 007 and ' 7 '; only plain digits come back as the text they were.
    if not pc.cast(numbers, pa.string()).equals(texts):
        raise pa.ArrowInvalid("not plain digits")
    return numbers


def _parse_instants(texts: Values) -> Values:
    """Parse ISO 8601 times with an offset; DBeaver and others write the offset as ` +0000` or ` UTC`."""
    try:
        return pc.cast(texts, ARROW_TYPES["timestamptz"])
    except pa.ArrowInvalid:
        with_z = pc.replace_substring_regex(texts, r"^(.*\d) UTC$", r"\1Z")
        joined = pc.replace_substring_regex(with_z, r"^(.*\d) ([+-]\d\d(:?\d\d)?)$", r"\1\2")
        return pc.cast(joined, ARROW_TYPES["timestamptz"])


def convert_values(values: Values, column_type: ColumnType) -> Values:
    """Convert the values of a Parquet column to the column's declared type without loss.

    Raises:
        pyarrow.ArrowInvalid: a value does not fit the declared type.
    """
    converted = pc.cast(values, ARROW_TYPES[column_type])
    if column_type == "timestamptz":
        return _within_calendar(converted)
    if column_type == "text":
        converted.validate(full=True)
    return converted


def _within_calendar(instants: Values) -> Values:
    bounds = pc.min_max(instants)
    if bounds["min"].is_valid and not (
        bounds["min"].value >= _FIRST_MICROSECOND and bounds["max"].value <= _LAST_MICROSECOND
    ):
        raise pa.ArrowInvalid("outside the years 1 to 9999")
    return instants


def failing_rows(values: Values, convert: Callable[[Values], Any], first_row: int = 0) -> Iterator[int]:
    """Yield the rows that make `convert` raise `ArrowInvalid`, in order; they are found by halving."""
    try:
        convert(values)
    except pa.ArrowInvalid:
        if len(values) == 1:
            yield first_row
            return
        middle = len(values) // 2
        yield from failing_rows(values.slice(0, middle), convert, first_row)
        yield from failing_rows(values.slice(middle), convert, first_row + middle)


def explain(text: str, column_type: ColumnType) -> str:
    """Return what is wrong with a rejected value, as the end of a sentence that quotes it."""
    if column_type == "timestamptz":
        return _explain_instant(text)
    if column_type == "text":
        return "is not UTF-8 text"
    if re.fullmatch(r"-?[1-9][0-9]*", text):
        return "is outside the range of a 32-bit whole number"
    return "is not a whole number in plain digits, such as 25 or -3"


def _explain_instant(text: str) -> str:
    wanted = "such as 2021-10-01 19:30:00+00"
    if re.search(r"infinity|BC$|^-\d|^\d{5,}-", text, re.IGNORECASE):
        return "is not an instant within the years 1 to 9999"
    shape = re.fullmatch(
        r"(\d{4})-\d\d-\d\d[ T]\d\d:\d\d(:\d\d(?P<fraction>\.\d+)?)?(?P<offset> UTC|Z| ?[+-]\d\d(:?\d\d)?)?", text
    )
    if shape is None:
        return f"is not an ISO 8601 instant with an offset, {wanted}"
    if shape["offset"] is None:
        return f"has no offset from UTC, {wanted}"
    if len(shape["fraction"] or "") > len(".123456"):
        return "has more than six fractional digits of a second"
    return "is not a day and time of the calendar within the years 1 to 9999"
