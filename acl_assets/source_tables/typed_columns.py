"""The declared columns of a source table: their names, and the lossless conversion of their values."""

import difflib
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from operator import itemgetter

import pyarrow as pa
import pyarrow.compute as pc

from acl_assets.landing_zone.manifest import contract_breach
from acl_assets.landing_zone.values import REASONS, Convert, Values, convert_values, failing_rows
from acl_assets.source_schema import ARROW_TYPES, ColumnType, SourceColumn
from acl_assets.source_tables.rejects import MOST_REJECTS, OpenFile

_PANDAS_INDEX = re.compile(r"|Unnamed: \d{1,9}|__index_level_\d{1,9}__", re.ASCII)


def require_columns(found: Sequence[str], file: OpenFile, wrong_types: Iterable[str] = ()) -> None:
    """Raise BatchError unless a file has every required column, none twice, and no unknown one.

    Names that may be personal data are not shown: a file without a header begins with its first row.
    """
    declared = file.table.column_names
    absent = [column.name for column in file.table.columns if column.name not in found and not column.is_optional]
    problems: list[str] = []
    for name in sorted(set(found) - set(declared)):
        plain = name.strip().lower()
        if _PANDAS_INDEX.fullmatch(name):
            problems.append(f"unknown {name!r} (an index that pandas wrote: export with index=False)")
        elif file.table.personal_columns and plain not in declared:
            problems.append(f"unknown names, not shown because {file.table.name} holds personal data")
        else:
            similar = difflib.get_close_matches(plain, absent, n=1)
            problems.append(f"unknown {name[:100]!r}" + (f" (did you mean {similar[0]!r}?)" if similar else ""))
    problems += [f"missing {name!r}" for name in absent]
    problems += [f"{name!r} twice" for name in declared if found.count(name) > 1]
    if problems := [*dict.fromkeys(problems), *wrong_types]:
        wanted = ", ".join(f"{column.name} {column.type}" for column in file.table.columns)
        raise contract_breach(
            file.where,
            f"its columns must be {wanted}, in any order, in CSV separated by commas; found: {'; '.join(problems)}",
        )


def typed_rows(
    found: pa.Table | pa.RecordBatch, file: OpenFile, convert: Convert, lines: Callable[[], Sequence[int]]
) -> Iterator[pa.Table]:
    """Yield the declared columns in their order, with nulls for optional ones that the file lacks.

    If values do not fit, reject these instead, in the order of rows and at most 1,000 per column; `lines` returns the
    line of every row.
    """
    typed: dict[str, Values] = {}
    failing: list[tuple[int, SourceColumn]] = []
    for column in file.table.columns:
        if column.name not in found.schema.names:
            typed[column.name] = pa.nulls(found.num_rows, ARROW_TYPES[column.type])
            continue
        values = found.column(column.name)
        try:
            typed[column.name] = convert(values, column.type)
        except pa.ArrowInvalid:
            failing += [(row, column) for row in islice(failing_rows(values, convert, column.type), MOST_REJECTS)]
    if not failing:
        yield pa.table(typed)
        return
    numbers = lines()
    for row, column in sorted(failing, key=itemgetter(0)):
        text = _text(found.column(column.name)[row])
        file.rejects.add(file.name, numbers[row], column.name, text, REASONS[column.type])


def convert_texts(values: Values, column_type: ColumnType) -> Values:
    """Convert the bytes of a CSV column to its declared type.

    Raises:
        pyarrow.ArrowInvalid: one is not a value of that type as the contract writes it.
    """
    texts = convert_values(values, "text")
    if column_type == "text":
        return texts
    if column_type == "timestamptz":
        try:
            return convert_values(texts, "timestamptz")
        except pa.ArrowInvalid:
            # DBeaver and others write the offset as ` +0000` or ` UTC`.
            texts = pc.replace_substring_regex(texts, r"^(.*\d) UTC$", r"\1Z")
            texts = pc.replace_substring_regex(texts, r"^(.*\d) ([+-]\d\d(:?\d\d)?)$", r"\1\2")
            return convert_values(texts, "timestamptz")
    numbers = convert_values(texts, "int")
    # Arrow also reads 0x1F, 007 and ' 7 '; only plain digits come back as the text they were.
    if not pc.cast(numbers, pa.string()).equals(texts):
        raise pa.ArrowInvalid("not plain digits")
    return numbers


def _text(value: pa.Scalar) -> str:
    """Return the text of a refused value; of a long one the beginning, because a thousand could fill the memory."""
    # Python's own calendar ends before Arrow's.
    content = value.as_buffer().to_pybytes() if hasattr(value, "as_buffer") else str(value.cast(pa.string())).encode()
    return content[:8_000].decode(errors="backslashreplace")
