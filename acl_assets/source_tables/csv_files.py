"""CSV files of an export batch, read strictly and in bounded memory; every flaw is reported with its line.

The contract: UTF-8 (a byte order mark is accepted), commas, a header that names the table's columns in any order,
RFC 4180 quotes, lines ended by LF or CRLF, NULL as nothing at all (a quoted nothing is the empty text), whole numbers
in plain digits, timestamps in ISO 8601 with an offset. CSV parsers repair what breaks these rules, so the structure of
the bytes is checked first and leaves the parser nothing to interpret.
"""

from __future__ import annotations

import csv
import difflib
import gzip
import io
import os
import re
import zlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import islice
from typing import BinaryIO, NamedTuple, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv

from acl_assets.landing_zone.manifest import contract_breach
from acl_assets.source_schema import ARROW_TYPES, SourceColumn, SourceTable
from acl_assets.source_tables.open_file import OpenFile
from acl_assets.source_tables.rejects import MOST_REJECTS, RejectLog
from acl_assets.source_tables.typed_columns import explain, failing_rows, parse_texts

MOST_RECORD_BYTES = 1 << 20
_READ_BYTES = 8 << 20
_TOO_LONG = "is longer than 1 MiB"
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_PANDAS_INDEX = re.compile(r"|Unnamed: \d{1,9}|__index_level_\d{1,9}__", re.ASCII)
_Bytes = npt.NDArray[np.uint8]
_Flags = npt.NDArray[np.bool_]
_Positions = npt.NDArray[np.intp]
_QUOTE, _COMMA, _LINE_FEED, _CARRIAGE_RETURN = b'",\n\r'


def read_csv_file(
    file: OpenFile, table: SourceTable, rejects: RejectLog, read_bytes: int = _READ_BYTES
) -> Iterator[pa.Table]:
    """Read a CSV file, plain or compressed, as typed tables of whole records in the order of the file.

    Columns are in the order the table declares. Flaws go to `rejects`, under the file's name, and the file is read on
    until that log is full; a piece with a rejected value is not given. `read_bytes` are taken from the file at a time,
    after decompression.

    Raises:
        BatchError: the header is not the table's, or the compressed data is damaged.
    """
    with _decompressed(file) as stream:
        reads = iter(partial(_read, stream, file, read_bytes), b"")
        header, body = _split_header(reads, file, table)
        columns = _declared_columns(header, file, table)
        for piece in _well_formed_pieces(body, reads, file, len(columns), rejects):
            typed = _typed(piece, file, columns, rejects)
            if typed is not None:
                yield complete(typed, table)


# Bytes ------------------------------------------------------------------------------------------------------


@contextmanager
def _decompressed(file: OpenFile) -> Iterator[BinaryIO]:
    if file.name.endswith(".gz"):
        with gzip.GzipFile(fileobj=file.stream) as stream:
            yield cast(BinaryIO, stream)
    elif file.name.endswith(".zst"):
        # Arrow closes what it reads, and this stream belongs to the caller.
        with os.fdopen(os.dup(file.stream.fileno()), "rb") as stream:
            stream.seek(0)
            compressed = pa.CompressedInputStream(pa.PythonFile(stream, mode="r"), "zstd")
            yield io.BufferedReader(compressed, _READ_BYTES)
    else:
        yield file.stream


def _read(stream: BinaryIO, file: OpenFile, size: int) -> bytes:
    try:
        return stream.read(size)
    except (EOFError, OSError, zlib.error) as error:
        raise contract_breach(file.where, f"its compressed data is cut short or damaged ({error})") from None


# Header -----------------------------------------------------------------------------------------------------


def _split_header(reads: Iterator[bytes], file: OpenFile, table: SourceTable) -> tuple[list[str], bytes]:
    """Read as far as the end of the header, and return the names in it and what was read beyond it."""
    first = next(reads, b"")
    while b"\n" not in first and len(first) < MOST_RECORD_BYTES and (more := next(reads, b"")):
        first += more
    if first.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise contract_breach(file.where, "it is UTF-16 text; export it as UTF-8")
    if not first:
        raise contract_breach(file.where, "it is empty, without even a header")
    line, _, body = first.removeprefix(_BYTE_ORDER_MARK).partition(b"\n")
    if not line.strip():
        raise contract_breach(file.where, "line 1 is empty; it must name the columns")
    if len(line) > MOST_RECORD_BYTES:
        raise contract_breach(file.where, "it has no line end within its first MiB")
    line = line.removesuffix(b"\r")
    # A file without a header begins with its first row, which may be personal data.
    shown = "" if table.personal_columns else f": {line[:200]!r}"
    if b"\r" in line:
        raise contract_breach(file.where, f"line 1 holds carriage returns without line feeds{shown}")
    try:
        names = next(csv.reader([line.decode()], strict=True))
    except UnicodeDecodeError:
        raise contract_breach(file.where, f"line 1 is not UTF-8; export the file as UTF-8{shown}") from None
    except csv.Error as error:
        raise contract_breach(file.where, f"line 1 is no CSV ({error}){shown}") from None
    return names, body


def _declared_columns(header: list[str], file: OpenFile, table: SourceTable) -> list[SourceColumn]:
    """Return the declared columns in the order of the header, which must name each once and no other."""
    declared = {column.name: column for column in table.columns}
    problems = describe_columns(header, table)
    if not problems:
        return [declared[name] for name in header]
    found = f"line 1 must name the columns {', '.join(declared)}, in any order; found: {'; '.join(problems)}"
    separator = next((mark for mark in (";", "\t", "|") if len(header) == 1 and mark in header[0]), None)
    if separator is not None:
        found = f"it looks separated by {separator!r} where commas are wanted; {found}"
    elif not any(_plain_name(name) in declared for name in header):
        found = f"it seems to have no header; {found}"
    raise contract_breach(file.where, found)


def describe_columns(found: Collection[str], table: SourceTable) -> list[str]:
    """Return what is wrong with the names of a file's columns, without what may be personal data."""
    declared = table.column_names
    absent = [name for name in table.required_columns if name not in found]
    problems: list[str] = []
    hidden = 0
    for name in sorted(set(found) - set(declared)):
        similar = difflib.get_close_matches(_plain_name(name), absent, n=1)
        if _PANDAS_INDEX.fullmatch(name):
            problems.append(f"unknown {name!r} (an index that pandas wrote: export with index=False)")
        elif table.personal_columns and _plain_name(name) not in declared:
            hidden += 1
        else:
            problems.append(f"unknown {name[:100]!r}" + (f" (did you mean {similar[0]!r}?)" if similar else ""))
    if hidden:
        problems.append(f"{hidden} unknown, not shown because {table.name} holds personal data")
    problems += [f"missing {name!r}" for name in absent]
    return problems + [f"{name!r} twice" for name in declared if list(found).count(name) > 1]


def complete(typed: pa.Table, table: SourceTable) -> pa.Table:
    """Return the declared columns in their order, with nulls for optional ones that the file lacks."""
    for column in table.columns:
        if column.name not in typed.column_names:
            typed = typed.append_column(column.name, pa.nulls(len(typed), ARROW_TYPES[column.type]))
    return typed.select(table.column_names)


def _plain_name(name: str) -> str:
    return name.strip().lower()


# Structure --------------------------------------------------------------------------------------------------


class _Piece(NamedTuple):
    """Whole records, proven to be well-formed CSV of the right width; the first starts on `first_line`."""

    content: bytes
    first_line: int


class _Flaw(NamedTuple):
    """A record that is not well-formed: from `start` up to `end` in the window, and what is wrong with it."""

    start: int
    end: int
    reason: str


def _well_formed_pieces(
    body: bytes, reads: Iterator[bytes], file: OpenFile, width: int, rejects: RejectLog
) -> Iterator[_Piece]:
    """Cut what follows the header into pieces of whole records; malformed ones go to `rejects`."""
    window, line, is_complete = body, 2, False
    while not rejects.is_full:
        # After a reject every flaw costs a new look, and a smaller view is looked at faster.
        view = window[:MOST_RECORD_BYTES] if rejects else window
        end, flaw = _examine(view, width)
        if end == 0 and flaw is None and len(view) < MOST_RECORD_BYTES and not is_complete:
            more = next(reads, b"")
            is_complete = not more
            is_last_line_open = is_complete and window and not window.endswith(b"\n")
            window += b"\n" if is_last_line_open else more
            continue
        if end:
            yield _Piece(window[:end], line)
        elif not window:
            return
        elif flaw is None:
            flaw = _unfinished(window)
        if flaw is not None:
            text = window[flaw.start : flaw.end].decode(errors="backslashreplace").rstrip("\r\n")
            rejects.add(file.name, line + window.count(b"\n", 0, flaw.start), None, text, flaw.reason)
            end = flaw.end
        line += window.count(b"\n", 0, end)
        window = window[end:]


def _unfinished(window: bytes) -> _Flaw:
    """The flaw of a record that does not end where it must; only its first line is given up."""
    line_end = window.find(b"\n") + 1 or len(window)
    if line_end > MOST_RECORD_BYTES:
        return _Flaw(0, line_end, _TOO_LONG)
    return _Flaw(0, line_end, "opens a quote that is not closed, at least not within 1 MiB")


def _examine(view: bytes, width: int) -> tuple[int, _Flaw | None]:
    """Find how many bytes at the start of `view` are well-formed whole records, and the flaw that ends them.

    Without a flaw, what remains is the beginning of a record that ends beyond `view`.
    """
    data = np.frombuffer(view, np.uint8)
    is_separator = (data == _COMMA) | (data == _LINE_FEED)
    is_quoted = None
    misplaced_quote = None
    if b'"' in view:
        is_quote = data == _QUOTE
        # The state after each byte; a doubled quote leaves the field and enters it again.
        is_quoted = np.bitwise_xor.accumulate(is_quote.view(np.uint8)).view(np.bool_)
        is_separator &= ~is_quoted
        misplaced_quote = _misplaced_quote(data, is_quote, is_quoted)
    separators = np.flatnonzero(is_separator)
    if misplaced_quote is not None:
        separators = separators[separators < misplaced_quote]
    ends = _record_ends(data, separators, width)
    broken = _first_broken_record(view, data, is_quoted, ends)
    if broken is not None:
        record, reason = broken
        start = int(ends[record - 1]) if record else 0
        return start, _Flaw(start, int(ends[record]), reason)
    start = int(ends[-1]) if len(ends) else 0
    rest = separators[len(ends) * width :]
    line_feeds = np.flatnonzero(data[rest] == _LINE_FEED)
    if len(line_feeds):
        fields = int(line_feeds[0]) + 1
        end = int(rest[fields - 1]) + 1
        if not view[start:end].rstrip(b"\r\n"):
            return start, _Flaw(start, end, "is an empty line")
        return start, _Flaw(start, end, f"has {fields} field{'s' * (fields > 1)} where the header names {width}")
    if misplaced_quote is not None and (line_end := view.find(b"\n", start) + 1):
        reason = "has a quote inside an unquoted field, or text after a closing quote"
        return start, _Flaw(start, line_end, reason)
    return start, None


def _misplaced_quote(data: _Bytes, is_quote: _Flags, is_quoted: _Flags) -> int | None:
    """The first quote that neither opens a field, closes one, nor is doubled inside one."""
    opening = np.flatnonzero(is_quote & is_quoted)
    closing = np.flatnonzero(is_quote & ~is_quoted)
    preceded = opening[opening > 0]
    followed = closing[closing + 1 < len(data)]
    wrong = np.concatenate(
        [
            preceded[~np.isin(data[preceded - 1], (_COMMA, _LINE_FEED, _QUOTE))][:1],
            followed[~np.isin(data[followed + 1], (_COMMA, _LINE_FEED, _CARRIAGE_RETURN, _QUOTE))][:1],
        ]
    )
    return int(wrong.min()) if len(wrong) else None


def _record_ends(data: _Bytes, separators: _Positions, width: int) -> _Positions:
    """Where the leading records end that have `width` fields each."""
    whole = len(separators) // width
    positions = separators[: whole * width].reshape(whole, width)
    is_line_feed = data[positions] == _LINE_FEED
    is_record = is_line_feed[:, -1] & ~is_line_feed[:, :-1].any(axis=1)
    records = whole if is_record.all() else int(is_record.argmin())
    return positions[:records, -1] + 1


def _first_broken_record(
    view: bytes, data: _Bytes, is_quoted: _Flags | None, ends: _Positions
) -> tuple[int, str] | None:
    """The first of the records with the right width that is wrong all the same, and what is wrong with it."""
    broken: list[tuple[int, str]] = []

    def add(position: int, reason: str) -> None:
        broken.append((int(np.searchsorted(ends, position, side="right")), reason))

    if (position := view.find(b"\0")) >= 0:
        add(position, "holds a NUL byte")
    if b"\r" in view:
        returns = np.flatnonzero(data == _CARRIAGE_RETURN)
        if is_quoted is not None:
            returns = returns[~is_quoted[returns]]
        returns = returns[returns + 1 < len(data)]
        lone = returns[data[returns + 1] != _LINE_FEED]
        if len(lone):
            add(lone[0], "holds a carriage return without a line feed after it, outside quotes")
    if not view.isascii() and len(ends):
        try:
            view[: ends[-1]].decode()
        except UnicodeDecodeError as error:
            add(error.start, f"holds the byte 0x{view[error.start]:02X}, which is not UTF-8 there")
    too_long = np.flatnonzero(np.diff(ends, prepend=0) > MOST_RECORD_BYTES)
    if len(too_long):
        broken.append((int(too_long[0]), _TOO_LONG))
    return min((found for found in broken if found[0] < len(ends)), default=None)


# Values -----------------------------------------------------------------------------------------------------


def _typed(piece: _Piece, file: OpenFile, columns: list[SourceColumn], rejects: RejectLog) -> pa.Table | None:
    """Parse well-formed records into the declared types; None where a value was rejected."""
    texts = pyarrow.csv.read_csv(
        pa.BufferReader(piece.content),
        read_options=pyarrow.csv.ReadOptions(
            column_names=[column.name for column in columns],
            use_threads=False,
            block_size=2 * MOST_RECORD_BYTES,
        ),
        parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True, ignore_empty_lines=False),
        convert_options=pyarrow.csv.ConvertOptions(
            column_types={column.name: pa.string() for column in columns},
            null_values=[""],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
        ),
    )
    typed: dict[str, pa.ChunkedArray] = {}
    flaws: list[tuple[int, SourceColumn]] = []
    for column in columns:
        parse = partial(parse_texts, column_type=column.type)
        try:
            typed[column.name] = parse(texts[column.name])
        except pa.ArrowInvalid:
            rows = islice(failing_rows(texts[column.name], parse), MOST_REJECTS)
            flaws += [(row, column) for row in rows]
    if not flaws:
        return pa.table(typed)
    first_lines = _first_lines(piece)
    for row, column in sorted(flaws, key=lambda flaw: flaw[0]):
        text = texts[column.name][row].as_py()
        rejects.add(file.name, int(first_lines[row]), column.name, text, explain(text, column.type))
    return None


def _first_lines(piece: _Piece) -> _Positions:
    """The line of the file each record of the piece starts on."""
    data = np.frombuffer(piece.content, np.uint8)
    is_quoted = np.bitwise_xor.accumulate((data == _QUOTE).view(np.uint8)).view(np.bool_)
    line_feeds = np.flatnonzero(data == _LINE_FEED)
    ends = line_feeds[~is_quoted[line_feeds]] + 1
    starts = np.concatenate([[0], ends[:-1]])
    return piece.first_line + np.searchsorted(line_feeds, starts)
