"""CSV files of an export batch, read strictly and in bounded memory; every flaw is reported with its line.

CSV parsers repair what breaks the contract (docs/pipeline.md), so the structure of the bytes is checked first and
leaves the parser nothing to interpret.
"""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import BinaryIO, cast

import pyarrow as pa
import pyarrow.csv

from acl_assets.landing_zone.manifest import contract_breach
from acl_assets.source_schema import SourceColumn, SourceTable
from acl_assets.source_tables.open_file import OpenFile
from acl_assets.source_tables.rejects import RejectLog
from acl_assets.source_tables.typed_columns import convert_columns, convert_texts, describe_columns, plain_name

MOST_RECORD_BYTES = 1 << 20
_READ_BYTES = 8 << 20
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_FIELD = rb'(?:"[^"\0]*+(?:""[^"\0]*+)*+"|[^",\r\n\0]*+)'
_LINE_END = rb"\r?+\n"
# As far as a record is well-formed, whatever its width; a NUL byte in quotes has a reason of its own.
_FIELDS = re.compile(rb"%(field)s(?:,%(field)s)*" % {b"field": _FIELD.replace(rb'"\0', b'"')})


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
        for piece, first_line in _well_formed_pieces(body, reads, file, len(columns), rejects):
            typed = convert_columns(_parse(piece, columns), columns, table, convert_texts)
            if isinstance(typed, pa.Table):
                yield typed
                continue
            lines = list(_first_lines(piece, first_line, len(columns)))
            for row, *flaw in typed:
                rejects.add(file.name, lines[row], *flaw)


# Bytes ----------------------------------------------------------------------------------------------------------


@contextmanager
def _decompressed(file: OpenFile) -> Iterator[BinaryIO]:
    codec = {".gz": "gzip", ".zst": "zstd"}.get(os.path.splitext(file.name)[1])
    if codec is None:
        yield file.stream
        return
    # Arrow closes what it reads, and this stream belongs to the caller.
    with os.fdopen(os.dup(file.stream.fileno()), "rb") as stream:
        stream.seek(0)
        yield io.BufferedReader(pa.CompressedInputStream(pa.PythonFile(stream, mode="r"), codec), _READ_BYTES)


def _read(stream: BinaryIO, file: OpenFile, size: int) -> bytes:
    try:
        return stream.read(size)
    except OSError as error:
        raise contract_breach(file.where, f"its compressed data is cut short or damaged ({error})") from None


# Header ---------------------------------------------------------------------------------------------------------


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
    if len(line) > MOST_RECORD_BYTES:
        raise contract_breach(file.where, "it has no line end within its first MiB")
    line = line.removesuffix(b"\r")
    # A file without a header begins with its first row, which may be personal data.
    shown = "" if table.personal_columns else f": {line[:200]!r}"
    if b"\r" in line:
        raise contract_breach(file.where, f"line 1 holds carriage returns without line feeds{shown}")
    try:
        return next(csv.reader([line.decode()], strict=True)), body
    except UnicodeDecodeError:
        raise contract_breach(file.where, f"line 1 is not UTF-8; export the file as UTF-8{shown}") from None
    except csv.Error as error:
        raise contract_breach(file.where, f"line 1 is no CSV ({error}){shown}") from None


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
    elif not any(plain_name(name) in declared for name in header):
        found = f"it seems to have no header; {found}"
    raise contract_breach(file.where, found)


# Records --------------------------------------------------------------------------------------------------------


def _record_pattern(width: int) -> bytes:
    return b",".join([_FIELD] * width) + _LINE_END


def _well_formed_pieces(
    window: bytes, reads: Iterator[bytes], file: OpenFile, width: int, rejects: RejectLog
) -> Iterator[tuple[bytes, int]]:
    """Cut what follows the header into pieces of well-formed records; malformed ones go to `rejects`.

    Yields:
        The bytes of a piece, and the line of the file on which it starts.
    """
    records = re.compile(rb"(?:%s)*" % _record_pattern(width))
    start, line, is_complete = 0, 2, False
    while not rejects.is_full:
        end = start
        # No record is longer than the part of the window that is looked at.
        while (found := records.match(window, end, end + MOST_RECORD_BYTES)) and found.end() > end:
            end = found.end()
        if end > start:
            yield window[start:end], line
        elif len(window) - start < MOST_RECORD_BYTES and not is_complete:
            rest, more = window[start:], next(reads, b"")
            is_complete = not more
            is_last_line_open = is_complete and rest and not rest.endswith(b"\n")
            window, start, end = rest + (b"\n" if is_last_line_open else more), 0, 0
        elif start == len(window):
            return
        else:
            end, reason = _flaw(window, start, width)
            text = window[start:end].decode(errors="backslashreplace").rstrip("\r\n")
            rejects.add(file.name, line, None, text, reason)
        line += window.count(b"\n", start, end)
        start = end


def _flaw(window: bytes, start: int, width: int) -> tuple[int, str]:
    """Return where a record ends that is not well-formed, and what is wrong with it.

    Where a quote is at fault, only the first line is given up: the quote may end anywhere.
    """
    most = start + MOST_RECORD_BYTES
    stop = cast("re.Match[bytes]", _FIELDS.match(window, start, most)).end()
    line_end = window.find(b"\n", start) + 1 or len(window)
    end = window.find(b"\n", stop) + 1 or len(window)
    if end > most:
        return line_end, "is longer than 1 MiB"
    if b"\0" in window[start : stop + 1]:
        return end, "holds a NUL byte"
    if window.startswith((b"\n", b"\r\n"), stop):
        return end, _explain_width(window[start:stop], width)
    if window.startswith(b"\r", stop):
        return end, "holds a carriage return without a line feed after it, outside quotes"
    if window.startswith(b'"', stop) and (stop == start or window.startswith(b",", stop - 1)):
        return line_end, "opens a quote that is not closed, at least not within 1 MiB"
    return line_end, "has a quote inside an unquoted field, or text after a closing quote"


def _explain_width(record: bytes, width: int) -> str:
    if not record:
        return "is an empty line"
    fields = re.sub(rb'"[^"]*+"', b"", record).count(b",") + 1
    return f"has {fields} field{'s' * (fields > 1)} where the header names {width}"


# Values ---------------------------------------------------------------------------------------------------------


def _parse(content: bytes, columns: list[SourceColumn]) -> pa.Table:
    """Split well-formed records into fields, as bytes; a field with nothing in it is null."""
    return pyarrow.csv.read_csv(
        pa.BufferReader(content),
        read_options=pyarrow.csv.ReadOptions(
            column_names=[column.name for column in columns],
            use_threads=False,
            block_size=2 * MOST_RECORD_BYTES,
        ),
        parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True, ignore_empty_lines=False),
        convert_options=pyarrow.csv.ConvertOptions(
            column_types={column.name: pa.binary() for column in columns},
            null_values=[""],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
        ),
    )


def _first_lines(piece: bytes, line: int, width: int) -> Iterator[int]:
    """Yield the line of the file on which each record of a piece starts; the piece itself starts on `line`."""
    for record in re.finditer(_record_pattern(width), piece):
        yield line
        line += record[0].count(b"\n")
