"""CSV files of an export batch, read strictly and in bounded memory; every flaw is reported with its line.

CSV parsers repair what breaks the contract (docs/pipeline.md), so the structure of the bytes is checked first and
leaves the parser nothing to interpret.
"""

import csv
import io
import os
import re
from collections.abc import Iterator
from functools import partial
from itertools import accumulate
from typing import BinaryIO

import pyarrow as pa
import pyarrow.csv

from acl_assets.landing_zone.manifest import contract_breach
from acl_assets.source_tables.rejects import OpenFile
from acl_assets.source_tables.typed_columns import convert_texts, require_columns, typed_rows

MOST_RECORD_BYTES = 1 << 20
# Taken from the file at a time, after decompression.
READ_BYTES = 8 << 20
_FIELD = rb'(?:"[^"\0]*+(?:""[^"\0]*+)*+"|[^",\r\n\0]*+)'
_LINE_END = rb"\r?+\n"
_RECORD_OF_ANY_WIDTH = re.compile(rb"%(field)s(?:,%(field)s)*+%(end)s" % {b"field": _FIELD, b"end": _LINE_END})
_OTHER_FORMATS = {
    b"\xff\xfe": "UTF-16 text",
    b"\xfe\xff": "UTF-16 text",
    b"\x1f\x8b": "gzip data",
    b"\x28\xb5\x2f\xfd": "Zstandard data",
    b"PK\x03\x04": "a zip archive or an Excel workbook",
}


def read_csv_file(file: OpenFile) -> Iterator[pa.Table]:
    """Read a CSV file, plain or compressed, as typed tables of whole records in the order of the file.

    The file is read on after flaws until there are 1,000; a piece with a rejected value is not given.

    Raises:
        BatchError: the header is not the table's, or the compressed data is damaged.
    """
    try:
        stream = _decompressed(file)
        header = _read_header(stream, file)
        for piece, first_line in _well_formed_pieces(stream, file, len(header)):
            lines = partial(_first_lines, piece, first_line, len(header))
            yield from typed_rows(_parse(piece, header), file, convert_texts, lines)
    except OSError as error:
        raise contract_breach(
            file.where, f"it cannot be read: cut short, damaged or not what its name says ({error})"
        ) from None


def _decompressed(file: OpenFile) -> BinaryIO:
    codec = {".gz": "gzip", ".zst": "zstd"}.get(os.path.splitext(file.name)[1])
    if codec is None:
        return file.stream
    # Arrow closes what it reads, and this descriptor belongs to the caller.
    compressed = open(file.stream.fileno(), "rb", closefd=False)  # noqa: SIM115 # closed by Arrow
    return io.BufferedReader(pa.CompressedInputStream(pa.PythonFile(compressed, mode="r"), codec), READ_BYTES)


def _read_header(stream: BinaryIO, file: OpenFile) -> list[str]:
    """Return the names in the first line, which are the declared columns in any order."""
    line = stream.readline(MOST_RECORD_BYTES)
    other = next((name for magic, name in _OTHER_FORMATS.items() if line.startswith(magic)), None)
    try:
        if other or not re.fullmatch(rb"[^\r\n]+\r?\n?", line):
            raise csv.Error
        header = next(csv.reader([line.decode("utf-8-sig")], strict=True))
    except (UnicodeDecodeError, csv.Error):
        # A file without a header begins with its first row, which may be personal data.
        shown = "something else" if file.table.personal_columns else repr(line[:200])
        raise contract_breach(
            file.where,
            "it must begin with a header, as a line of CSV in UTF-8 that ends with LF or CRLF, and hold what its name "
            f"says (.csv, .csv.gz, .csv.zst, .parquet); found: "
            f"{other or (shown if line else 'an empty file')}",
        ) from None
    require_columns(header, file)
    return header


def _well_formed_pieces(stream: BinaryIO, file: OpenFile, width: int) -> Iterator[tuple[bytes, int]]:
    """Cut what follows the header into pieces of well-formed records; malformed ones are rejected.

    Yields:
        The bytes of a piece, and the line of the file on which it starts.
    """
    records = re.compile(rb"(?:%s)*" % _record_pattern(width))
    window, start, line, is_complete = b"", 0, 2, False
    while not file.rejects.is_full:
        end = start
        # No record is longer than the part of the window that is looked at.
        while (found := records.match(window, end, end + MOST_RECORD_BYTES)) and found.end() > end:
            end = found.end()
        if end > start:
            yield window[start:end], line
        elif len(window) - start < MOST_RECORD_BYTES and not is_complete:
            rest, more = window[start:], stream.read(READ_BYTES)
            is_complete = not more
            is_last_line_open = is_complete and rest and not rest.endswith(b"\n")
            window, start, end = rest + (b"\n" if is_last_line_open else more), 0, 0
        elif start == len(window):
            return
        else:
            end, reason = _flaw(window, start, width)
            text = window[start:end].decode(errors="backslashreplace").rstrip("\r\n")
            file.rejects.add(file.name, line, None, text, reason)
        line += window.count(b"\n", start, end)
        start = end


def _record_pattern(width: int) -> bytes:
    return b",".join([_FIELD] * width) + _LINE_END


def _flaw(window: bytes, start: int, width: int) -> tuple[int, str]:
    """Return where a record ends that is not well-formed, and what is wrong with it."""
    if record := _RECORD_OF_ANY_WIDTH.match(window, start, start + MOST_RECORD_BYTES):
        fields = re.sub(rb'"[^"]*+"', b"", record[0]).count(b",") + 1
        return record.end(), f"has {fields} field{'s' * (fields > 1)} where the header names {width}"
    # Only a line is given up: a quote at fault may end anywhere.
    return window.find(b"\n", start) + 1 or len(window), (
        "is not a record of CSV: quotes enclose a whole field and are doubled within it, lines end with LF or CRLF, "
        "there is no NUL byte, and a record has at most 1 MiB"
    )


def _parse(content: bytes, header: list[str]) -> pa.Table:
    """Split well-formed records into fields, as bytes; a field with nothing in it is null."""
    return pyarrow.csv.read_csv(
        pa.BufferReader(content),
        read_options=pyarrow.csv.ReadOptions(column_names=header, use_threads=False, block_size=2 * MOST_RECORD_BYTES),
        parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True, ignore_empty_lines=False),
        convert_options=pyarrow.csv.ConvertOptions(
            column_types=dict.fromkeys(header, pa.binary()),
            null_values=[""],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
        ),
    )


def _first_lines(piece: bytes, line: int, width: int) -> list[int]:
    """Return the line of the file on which each record of a piece starts; the piece itself starts on `line`."""
    records = re.finditer(_record_pattern(width), piece)
    return list(accumulate((record[0].count(b"\n") for record in records), initial=line))
