"""A verified file of a batch as the readers take it: an open stream, so that no name is looked up again."""

from __future__ import annotations

from typing import BinaryIO, NamedTuple

from acl_assets.landing_zone.manifest import contract_breach
from acl_assets.source_schema import SourceTable

_EXPECTED = {".csv": "CSV text", ".gz": "gzip data", ".zst": "Zstandard data", ".parquet": "Parquet"}
_FORMATS = {
    b"\x1f\x8b": "gzip data",
    b"\x28\xb5\x2f\xfd": "Zstandard data",
    # Skippable frames, with which pzstd and seekable files begin: RFC 8878, section 3.1.2.
    **{bytes([number]) + b"\x2a\x4d\x18": "Zstandard data" for number in range(0x50, 0x60)},
    b"PAR1": "Parquet",
    b"BZh": "bzip2 data",
    b"\xfd7zXZ": "xz data",
    b"PK\x03\x04": "a zip archive or an Excel workbook",
}


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
    start = file.stream.read(8)
    file.stream.seek(0)
    if not start:
        raise contract_breach(file.where, "it is empty")
    expected = next(name for suffix, name in _EXPECTED.items() if file.name.endswith(suffix))
    found = next((name for magic, name in _FORMATS.items() if start.startswith(magic)), "CSV text")
    if found == expected:
        return
    if found == "CSV text":
        found = "something else" if table.personal_columns else f"something else, starting with {start[:4]!r}"
    raise contract_breach(
        file.where,
        f"its name says {expected}, it holds {found}; export CSV, gzip (.csv.gz), Zstandard (.csv.zst) or Parquet "
        "under the matching name",
    )
