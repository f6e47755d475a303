"""How the CSV files of an export batch are read: strictly, in bounded memory, with the exact line of any flaw.

The contract: UTF-8 (a byte order mark is accepted), commas, a header that names the table's columns in any
order, RFC 4180 quotes, lines ended by LF or CRLF, NULL as nothing at all (a quoted nothing is the empty text),
whole numbers in plain digits, instants in ISO 8601 with an offset. Parsers left alone repair what breaks it, so
the structure of the bytes is proven first and the parser behind it has nothing left to interpret.

What belongs here: from the bytes of one CSV file to typed Arrow tables or rejects. What does not: how a single
value is judged (`typed_columns`), Parquet input and what becomes of the tables (`conversion`).
"""

from __future__ import annotations

import csv
import difflib
import gzip
import zlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv

from acl_assets.ingestion.export_batch import contract_breach
from acl_assets.ingestion.rejects import RejectLog
from acl_assets.ingestion.source_schema import SourceColumn, SourceTable
from acl_assets.ingestion.typed_columns import explain, failing_rows, parse_texts

MOST_RECORD_BYTES = 1 << 20
_WINDOW_BYTES = 8 << 20
# Once something is rejected every flaw costs a new look at the window, and a small one is looked at faster.
_WINDOW_BYTES_AFTER_REJECT = 1 << 18
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_QUOTE, _COMMA, _LINE_FEED, _CARRIAGE_RETURN = b'",\n\r'


def read_csv_file(path: Path, table: SourceTable, rejects: RejectLog) -> Iterator[pa.Table]:
    """Read a CSV file, plain or compressed, as typed tables of whole records in the order of the file.

    Columns stand in the order the table declares. Flaws go to `rejects`, under the file's name, and the file is
    read on until that log is full; a piece with a rejected value is not given.

    Raises:
        BatchError: the header is not the table's, or the compressed data is damaged.
    """
    with _open(path) as stream:
        first = _read(stream, path, _WINDOW_BYTES)
        header, body = _split_header(first, path)
        columns = _declared_columns(header, path, table)
        for piece in _well_formed_pieces(stream, body, path, [column.name for column in columns], rejects):
            typed = _typed(piece, path, columns, rejects)
            if typed is not None:
                yield typed.select(table.column_names)


# Bytes --------------------------------------------------------------------------------------------------------


def _open(path: Path) -> BinaryIO:
    if path.suffix == ".gz":
        return cast(BinaryIO, gzip.open(path, "rb"))
    if path.suffix == ".zst":
        return cast(BinaryIO, pa.CompressedInputStream(pa.OSFile(str(path)), "zstd"))
    return path.open("rb")


def _read(stream: BinaryIO, path: Path, size: int) -> bytes:
    try:
        return stream.read(size)
    except (EOFError, OSError, zlib.error) as error:
        raise contract_breach(str(path), f"its compressed data is cut short or damaged ({error})") from None


# Header -------------------------------------------------------------------------------------------------------


def _split_header(first: bytes, path: Path) -> tuple[list[str], bytes]:
    """Split the first bytes of a file into the names in its header and what follows the header's line."""
    if first.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise contract_breach(str(path), "it is UTF-16 text; export it as UTF-8")
    line, line_end, body = first.removeprefix(_BYTE_ORDER_MARK).partition(b"\n")
    if not line.strip():
        raise contract_breach(str(path), "line 1 is empty; it must name the columns")
    if len(line) > MOST_RECORD_BYTES:
        raise contract_breach(str(path), "it has no line end within its first MiB")
    try:
        names = next(csv.reader([line.removesuffix(b"\r").decode()], strict=True))
    except UnicodeDecodeError:
        raise contract_breach(str(path), f"line 1 is not UTF-8: {line[:200]!r}") from None
    except csv.Error as error:
        raise contract_breach(str(path), f"line 1 is no CSV ({error}): {line[:200]!r}") from None
    return names, body


def _declared_columns(header: list[str], path: Path, table: SourceTable) -> list[SourceColumn]:
    """The declared columns in the order of the header, which must name each of them once and no other."""
    declared = {column.name: column for column in table.columns}
    if sorted(header) == sorted(declared):
        return [declared[name] for name in header]
    problems: list[str] = []
    for name in sorted(set(header) - declared.keys()):
        similar = difflib.get_close_matches(name.strip().lower(), declared.keys() - set(header), n=1)
        problems.append(f"unknown {name[:100]!r}" + (f" (did you mean {similar[0]!r}?)" if similar else ""))
    problems += [f"missing {name!r}" for name in declared if name not in header]
    problems += [f"{name!r} twice" for name in declared if header.count(name) > 1]
    found = f"line 1 must name the columns {', '.join(declared)}, in any order; found: {'; '.join(problems)}"
    separator = next((mark for mark in (";", "\t", "|") if len(header) == 1 and mark in header[0]), None)
    if separator is not None:
        found = f"it looks separated by {separator!r} where commas are wanted; {found}"
    if "\r" in "".join(header):
        found = f"its lines end in lone carriage returns where LF or CRLF is wanted; {found}"
    raise contract_breach(str(path), found)


# Structure ----------------------------------------------------------------------------------------------------


class _Piece(NamedTuple):
    """Whole records, proven to be well-formed UTF-8 CSV of the right width, and the line the first one starts on."""

    content: bytes
    first_line: int


class _Flaw(NamedTuple):
    """A record that is not well-formed: from `start` up to `end` in the window, and what is wrong with it."""

    start: int
    end: int
    reason: str


def _well_formed_pieces(
    stream: BinaryIO, body: bytes, path: Path, width: int, rejects: RejectLog
) -> Iterator[_Piece]:
    """Cut what follows the header into pieces of whole records; malformed ones go to `rejects`."""
    window, line, is_complete = body, 2, False
    while not rejects.is_full:
        view = window[: MOST_RECORD_BYTES if rejects else _WINDOW_BYTES]
        end, flaw = _examine(view, width)
        if end == 0 and flaw is None and len(view) < MOST_RECORD_BYTES and not is_complete:
            more = _read(stream, path, _WINDOW_BYTES)
            is_complete = not more
            window += more or (b"" if window.endswith(b"\n") else b"\n")[: len(window)]
            continue
        if end:
            yield _Piece(window[:end], line)
        elif flaw is None:
            if not window:
                return
            flaw = _unfinished(window)
        if flaw is not None:
            text = window[flaw.start : flaw.end].decode(errors="backslashreplace").rstrip("\r\n")
            rejects.add(path.name, line + window.count(b"\n", 0, flaw.start), None, text, flaw.reason)
            end = flaw.end
        line += window.count(b"\n", 0, end)
        window = window[end:]


def _unfinished(window: bytes) -> _Flaw:
    """The flaw of a record that does not end where it must; only its first line is given up."""
    line_end = window.find(b"\n") + 1 or len(window)
    if line_end > MOST_RECORD_BYTES or b'"' not in window[:line_end]:
        return _Flaw(0, line_end, "is longer than 1 MiB")
    return _Flaw(0, line_end, "opens a quote that is not closed before the end of the file, or not within 1 MiB")


def _examine(view: bytes, width: int) -> tuple[int, _Flaw | None]:
    """Find how many bytes at the start of `view` are well-formed whole records, and the flaw that ends them.

    Without a flaw, what remains is the beginning of a record that ends beyond `view`.
    """
    data = np.frombuffer(view, np.uint8)
    is_separator = (data == _COMMA) | (data == _LINE_FEED)
    is_outside = np.ones(len(data), np.bool_)
    misplaced_quote = None
    if b'"' in view:
        is_quote = data == _QUOTE
        is_outside = ~np.logical_xor.accumulate(is_quote)
        is_separator &= is_outside
        misplaced_quote = _misplaced_quote(data, is_quote, is_outside)
    separators = np.flatnonzero(is_separator)
    if misplaced_quote is not None:
        separators = separators[separators < misplaced_quote]
    record_ends, ragged = _records(data, separators, width)

    for position, reason in _flawed_bytes(view, data, is_outside):
        record = int(np.searchsorted(record_ends, position, side="right"))
