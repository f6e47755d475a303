"""Batches of one table in a landing zone, and the file that is made of them."""

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from landing_zones import chain_at

from acl_assets.landing_zone.folder_store import FolderLandingZone
from acl_assets.landing_zone.manifest import ExportBatch, ManifestFile, ManifestTable, describe_file
from acl_assets.settings import Settings
from acl_assets.source_schema import SOURCE_TABLES, arrow_schema
from acl_assets.source_tables.conversion import MadeTable, convert_chain, make_table
from acl_assets.source_tables.current_state import ConvertedChain
from acl_assets.source_tables.rejects import RejectLog

EXPORTED_AT = datetime(2022, 8, 1, tzinfo=UTC)
START = datetime(2021, 10, 1, 19, 30, tzinfo=UTC)
SCHEMA = arrow_schema(SOURCE_TABLES["performances"])

BUYERS = ["Ada Lovelace", "Grace Hopper", "Björk Þorláksson", "Unnamed: Person"]
_WORDS = {word for name in BUYERS for word in name.split() if word != "Unnamed:"}


def names_in(*texts: str) -> set[str]:
    """Return the parts of buyers' names that are in texts, also where they are escaped or in another encoding."""
    text = "\n".join(texts).replace("\\x00", "").replace("\0", "")
    return {
        word
        for word in _WORDS
        if word in text or ascii(word)[1:-1] in text or repr(word.encode("latin-1"))[2:-1] in text
    }


def convert(settings: Settings) -> tuple[ConvertedChain, list[str]]:
    """Convert the newest chain of the landing zone; return what is current now, and what was logged."""
    messages: list[str] = []
    converted, _ = convert_chain(settings, chain_at(settings.exports_dir), log=messages.append, warn=messages.append)
    return converted, messages


class Landing:
    """Lands batches of one table in a folder, a full one first, and makes the table of them."""

    def __init__(self, folder: Path, table: str = "performances") -> None:
        self.table = SOURCE_TABLES[table]
        self.zone = folder / "exports"
        self.target = folder / "converted" / f"{table}.parquet"
        self.target.parent.mkdir(parents=True)
        self.rejects_file = folder / "rejects" / f"{table}.jsonl"
        self.batches: list[ExportBatch] = []

    def land(
        self, files: Mapping[str, bytes], *, rows: Mapping[str, int] | None = None, has_manifest: bool = True
    ) -> Path:
        """Land a batch of these files, of which the manifest states `rows`, and return its folder."""
        number = len(self.batches)
        folder = self.zone / f"batch-{number}"
        folder.mkdir(parents=True)
        for name, content in files.items():
            (folder / name).write_bytes(content)
        listed = [describe_file(folder, name, (rows or {}).get(name)) for name in files]
        if not has_manifest:
            listed = [ManifestFile(file.path, file.bytes, sha256=None, rows=None) for file in listed]
        self.batches.append(
            ExportBatch(
                batch_id=folder.name,
                folder=str(folder),
                kind="incremental" if number else "full",
                exported_at=EXPORTED_AT + timedelta(days=number),
                digest=f"{number:064x}",
                has_manifest=has_manifest,
                tables={self.table.name: ManifestTable(None, tuple(listed))},
            )
        )
        return folder

    def make(self, log: Callable[[str], None] = lambda message: None) -> MadeTable:
        """Make the table of all batches."""
        rejects = RejectLog(self.table, self.rejects_file)
        return make_table(rejects, FolderLandingZone(str(self.zone)), tuple(self.batches), self.target, log)

    def convert(self, files: Mapping[str, bytes], **options: Any) -> MadeTable:
        """Land one batch of these files and make the table of it."""
        self.land(files, **options)
        return self.make()

    def made(self) -> list[dict[str, Any]]:
        """Return the rows of the table that was made."""
        return list(pq.read_table(self.target).to_pylist())

    def rejects(self) -> list[dict[str, Any]]:
        """Return the stored rejects."""
        return [json.loads(line) for line in self.rejects_file.read_text("utf-8").splitlines()]

    def rows_as_parquet(self, *rows: tuple[Any, ...]) -> bytes:
        """Return rows of the table as a Parquet file."""
        listed = [dict(zip(self.table.column_names, row, strict=True)) for row in rows]
        return as_parquet(listed, arrow_schema(self.table))


def parquet_bytes(table: pa.Table, **options: Any) -> bytes:
    """Return an Arrow table as a Parquet file."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, **options)
    return bytes(sink.getvalue())


def performances(first: int, last: int) -> list[dict[str, Any]]:
    """Return performances with consecutive ids."""
    return [
        {"id": number, "performance_start": START + timedelta(hours=number), "band_id": number % 7, "venue_id": None}
        for number in range(first, last + 1)
    ]


def as_csv(rows: list[dict[str, Any]]) -> bytes:
    """Return performances as a CSV file whose columns are in another order than declared."""
    lines = [f"{row['band_id']},{row['id']},{row['performance_start']},\n" for row in rows]
    return "".join(["band_id,id,performance_start,venue_id\n", *lines]).encode()


def as_parquet(rows: list[dict[str, Any]], schema: pa.Schema = SCHEMA, **options: Any) -> bytes:
    """Return rows as a Parquet file."""
    return parquet_bytes(pa.Table.from_pylist(rows, schema), **options)
