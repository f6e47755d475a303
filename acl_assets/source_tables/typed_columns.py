"""The declared columns of a source table: names, lossless conversion of values, and reasons for what is refused."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from datetime import datetime, timedelta
from itertools import islice
from typing import NamedTuple, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

from acl_assets.source_schema import ARROW_TYPES, ColumnType, SourceColumn, SourceTable
from acl_assets.source_tables.rejects import MOST_REJECTS

MOST_VALUE_BYTES = 1 << 20
_EPOCH = datetime(1970, 1, 1)
_FIRST_MICROSECOND = (datetime.min - _EPOCH) // timedelta(microseconds=1)
_LAST_MICROSECOND = (datetime.max - _EPOCH) // timedelta(microseconds=1)
_PANDAS_INDEX = re.compile(r"|Unnamed: \d{1,9}|__index_level_\d{1,9}__", re.ASCII)

Values: TypeAlias = pa.Array | pa.ChunkedArray
Convert: TypeAlias = Callable[[Values, ColumnType], Values]


class Flaw(NamedTuple):
    """A value that does not fit: its row, counted from 0, its column, its text, and what is wrong with it."""

    row: int
    column: str
    text: str
    reason: str


# Names ----------------------------------------------------------------------------------------------------------


def describe_columns(found: Sequence[str], table: SourceTable) -> list[str]:
    """Return what is wrong with the names of a file's columns, without what may be personal data."""
    declared = table.column_names
    absent = [name for name in table.required_columns if name not in found]
    problems: list[str] = []
    hidden = 0
    for name in sorted(set(found) - set(declared)):
        similar = difflib.get_close_matches(plain_name(name), absent, n=1)
        if _PANDAS_INDEX.fullmatch(name):
            problems.append(f"unknown {name!r} (an index that pandas wrote: export with index=False)")
        elif table.personal_columns and plain_name(name) not in declared:
            hidden += 1
        else:
            problems.append(f"unknown {name[:100]!r}" + (f" (did you mean {similar[0]!r}?)" if similar else ""))
    if hidden:
        problems.append(f"{hidden} unknown, not shown because {table.name} holds personal data")
    problems += [f"missing {name!r}" for name in absent]
    return problems + [f"{name!r} twice" for name in declared if found.count(name) > 1]


def plain_name(name: str) -> str:
    """Return the name of a column without blanks around it and in small letters."""
    return name.strip().lower()


# Conversion -----------------------------------------------------------------------------------------------------


def convert_columns(
    found: pa.Table | pa.RecordBatch, columns: Collection[SourceColumn], table: SourceTable, convert: Convert
) -> pa.Table | list[Flaw]:
    """Return the declared columns in their order, with nulls for optional ones that the file lacks.

    If values do not fit, return these instead, in the order of rows and at most 1,000 per column.
    """
    typed: dict[str, Values] = {}
    failing: list[tuple[int, SourceColumn]] = []
    for column in columns:
        values = found.column(column.name)
        try:
            typed[column.name] = convert(values, column.type)
        except pa.ArrowInvalid:
            rows = islice(_failing_rows(values, convert, column.type), MOST_REJECTS)
            failing += [(row, column) for row in rows]
    if failing:
        failing.sort(key=lambda flaw: flaw[0])
        return [
            Flaw(row, column.name, *_explained(found.column(column.name)[row], column.type)) for row, column in failing
        ]
    for column in table.columns:
        if column.name not in typed:
            typed[column.name] = pa.nulls(found.num_rows, ARROW_TYPES[column.type])
    return pa.table(typed).select(table.column_names)


def convert_texts(values: Values, column_type: ColumnType) -> Values:
    """Convert the bytes of a CSV column to its declared type.

    Raises:
        pyarrow.ArrowInvalid: one is not a value of that type as the contract writes it.
    """
    texts = convert_values(values, "text")
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
        pyarrow.ArrowInvalid: a value does not fit the declared type, or a text is longer than 1 MiB.
    """
    converted = pc.cast(values, ARROW_TYPES[column_type])
    if column_type == "timestamptz":
        return _within_calendar(converted)
    if column_type == "text":
        converted.validate(full=True)
        longest = pc.max(pc.binary_length(converted)).as_py()
        if longest is not None and longest > MOST_VALUE_BYTES:
            raise pa.ArrowInvalid("longer than 1 MiB")
    return converted


def _within_calendar(instants: Values) -> Values:
    bounds = pc.min_max(instants)
    if bounds["min"].is_valid and not (
        bounds["min"].value >= _FIRST_MICROSECOND and bounds["max"].value <= _LAST_MICROSECOND
    ):
        raise pa.ArrowInvalid("outside the years 1 to 9999")
    return instants


# Flaws ----------------------------------------------------------------------------------------------------------


def _failing_rows(values: Values, convert: Convert, column_type: ColumnType, first_row: int = 0) -> Iterator[int]:
    """Yield the rows that make `convert` raise `ArrowInvalid`, in order; they are found by halving."""
    try:
        convert(values, column_type)
    except pa.ArrowInvalid:
        if len(values) == 1:
            yield first_row
            return
        middle = len(values) // 2
        yield from _failing_rows(values.slice(0, middle), convert, column_type, first_row)
        yield from _failing_rows(values.slice(middle), convert, column_type, first_row + middle)


def _explained(value: pa.Scalar, column_type: ColumnType) -> tuple[str, str]:
    """Return the text of a refused value and what is wrong with it, as the end of a sentence that quotes it."""
    plain = value.value if isinstance(value, pa.DictionaryScalar) else value
    # Python's own calendar ends before Arrow's.
    content = plain.as_buffer().to_pybytes() if hasattr(plain, "as_buffer") else str(plain.cast(pa.string())).encode()
    # The first 2,000 characters are stored, and a thousand values of 1 MiB would fill the memory.
    text = content[:8_000].decode(errors="backslashreplace")
    if column_type == "timestamptz":
        return text, _explain_instant(text)
    if column_type == "text":
        return text, _explain_text(content)
    if re.fullmatch(r"-?[1-9][0-9]*", text):
        return text, "is outside the range of a 32-bit whole number"
    return text, "is not a whole number in plain digits, such as 25 or -3"


def _explain_text(content: bytes) -> str:
    try:
        content.decode()
    except UnicodeDecodeError as error:
        return f"holds the byte 0x{content[error.start]:02X}, which is not UTF-8 there"
    return "is longer than 1 MiB"


def _explain_instant(text: str) -> str:
    wanted = "such as 2021-10-01 19:30:00+00"
    shape = re.fullmatch(
        r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d(:\d\d(?P<fraction>\.\d+)?)?(?P<offset> UTC|Z| ?[+-]\d\d(:?\d\d)?)?", text
    )
    if shape is None:
        return f"is not an ISO 8601 instant with an offset within the years 1 to 9999, {wanted}"
    if shape["offset"] is None:
        return f"has no offset from UTC, {wanted}"
    if len(shape["fraction"] or "") > len(".123456"):
        return "has more than six fractional digits of a second"
    return "is not a day and time of the calendar within the years 1 to 9999"
