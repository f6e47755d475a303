"""A verified file of a batch as the readers take it: an open stream, so that no name is looked up again."""

from __future__ import annotations

from typing import BinaryIO, NamedTuple

from acl_assets.landing_zone.manifest import contract_breach
from acl_assets.source_schema import SourceTable

_ZSTD_FRAME = b"\x28\xb5\x2f\xfd"
# Skippable frames, with which pzstd and seekable files begin: RFC 8878, section 3.1.2.
_ZSTD_SKIPPABLE = {bytes([0x50 + number]) + b"\x2a\x4d\x18" for number in range(16)}
_EXPECTED = {
    ".csv": "CSV text",
    ".gz": "gzip data",
    ".zst": "Zstandard data",
    ".parquet": "Parquet",
}
_FORMATS = (
    (b"\x1f\x8b", "gzip data"),
    (_ZSTD_FRAME, "Zstandard data"),
    *((magic, "Zstandard data") for magic in sorted(_ZSTD_SKIPPABLE)),
    (b"PAR1", "Parquet"),
    (b"PARE", "encrypted Parquet"),
    (b"BZh", "bzip2 data"),
    (b"\xfd7zXZ\x00", "xz data"),
    (b"PK\x03\x04", "a zip archive or an Excel workbook"),
    (b"PK\x05\x06", "an empty zip archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive"),
    (b"ORC", "ORC"),
    (b"Obj\x01", "Avro"),
    (b"ARROW1", "Arrow"),
    (b"\xd0\xcf\x11\xe0", "an old Excel workbook"),
    (b"SQLite format 3", "a SQLite database"),
)
_START_BYTES = 16


class OpenFile(NamedTuple):
    """An open file of a batch: its stream, its name and how errors name it (path or URL)."""

    stream: BinaryIO
    name: str
    where: str


def require_format(file: OpenFile, table: SourceTable) -> None:
    """Refuse a file that holds another format than its name ends with; the stream is at its start afterwards.

    Raises:
        BatchError: it is empty, or begins as another format does.
    """
    start = file.stream.read(_START_BYTES)
    file.stream.seek(0)
    expected = next(name for suffix, name in _EXPECTED.items() if file.name.endswith(suffix))
    if not start:
        raise contract_breach(file.where, "it is empty")
    found = next((name for magic, name in _FORMATS if start.startswith(magic)), "CSV text")
    if found == expected:
        return
    if found == "CSV text":
        found = "something else" if table.personal_columns else f"something else, starting with {start[:4]!r}"
    raise contract_breach(
        file.where,
        f"its name says {expected}, it holds {found}; export CSV, gzip (.csv.gz), Zstandard (.csv.zst) or Parquet "
        "under the matching name",
    )
