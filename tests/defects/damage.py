"""Edits of a finished batch: its rows, the text of a file, its manifest."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from acl_assets.landing_zone.manifest import MANIFEST_NAME, describe_file
from acl_assets.simulator.batch import open_table_file
from acl_assets.source_schema import SOURCE_TABLES
from acl_assets.source_tables.csv_files import read_csv_file
from acl_assets.source_tables.rejects import OpenFile, RejectLog

Plant = Callable[[Path], None]


def file_of(folder: Path, table: str) -> Path:
    """The file of a table, the last one where it has several."""
    return max([*folder.glob(f"{table}.*"), *folder.glob(f"{table}-*.*")])


def edit_manifest(edit: Callable[[dict[str, Any]], object]) -> Plant:
    """Change the manifest and nothing else."""

    def plant(folder: Path) -> None:
        path = folder / MANIFEST_NAME
        document = json.loads(path.read_bytes())
        edit(document)
        path.write_text(json.dumps(document, indent=2), encoding="utf-8")

    return plant


def edit_file_entry(table: str, **changes: object) -> Plant:
    """Change what the manifest says about the first file of a table."""
    return edit_manifest(lambda document: document["tables"][table]["files"][0].update(changes))


def edit_bytes(table: str, edit: Callable[[bytes], bytes], *, tell_manifest: bool = True) -> Plant:
    """Change the bytes of a table's file; the manifest agrees with the file as it is afterwards, unless not told."""

    def plant(folder: Path) -> None:
        path = file_of(folder, table)
        with _in_agreement(path) if tell_manifest else nullcontext():
            path.write_bytes(edit(path.read_bytes()))

    return plant


def edit_field(table: str, column: str, text: str) -> Plant:
    """Put a text, as it is, into one field in the middle of a CSV file that holds no quotes."""

    def edit(content: bytes) -> bytes:
        position = content[: content.index(b"\n")].split(b",").index(column.encode())
        start = content.index(b"\n", len(content) // 2) + 1
        end = content.index(b"\n", start)
        fields = content[start:end].split(b",")
        fields[position] = text.encode()
        return content[:start] + b",".join(fields) + content[end:]

    return edit_bytes(table, edit)


def edit_rows(table: str, edit: Callable[[pa.Table], pa.Table]) -> Plant:
    """Change the rows of a table's file, which keeps its format; the edit may change columns and types too."""

    def plant(folder: Path) -> None:
        path = file_of(folder, table)
        rows = _read(path, table)
        edited = edit(rows)
        with _in_agreement(path, edited.num_rows - rows.num_rows):
            writer = open_table_file(path, edited.schema)
            writer.write_table(edited)
            writer.close()

    return plant


def put(column: str, value: object, at: int | None = None) -> Callable[[pa.Table], pa.Table]:
    """Make an edit that puts a value into one row, the middle one unless a position is given."""

    def edit(rows: pa.Table) -> pa.Table:
        position = rows.num_rows // 2 if at is None else at
        number = rows.schema.get_field_index(column)
        old = rows.column(number)
        new = pa.array([value], old.type)
        pieces = [*old.slice(0, position).chunks, new, *old.slice(position + 1).chunks]
        return rows.set_column(number, column, pa.chunked_array(pieces, old.type))

    return edit


def append_copy(**values: object) -> Callable[[pa.Table], pa.Table]:
    """Make an edit that appends a copy of the middle row with some values changed."""

    def edit(rows: pa.Table) -> pa.Table:
        row = rows.slice(rows.num_rows // 2, 1)
        for column, value in values.items():
            row = put(column, value)(row)
        return pa.concat_tables([rows, row])

    return edit


def _read(path: Path, table: str) -> pa.Table:
    if path.suffix == ".parquet":
        return pq.read_table(path)
    with path.open("rb") as stream:
        opened = OpenFile(stream, path.name, str(path), RejectLog(SOURCE_TABLES[table], path))
        return pa.concat_tables(read_csv_file(opened))


@contextmanager
def _in_agreement(path: Path, added_rows: int = 0) -> Iterator[None]:
    """Make the manifest agree with a file changed inside; without a manifest the file keeps its modification time."""
    folder = path.parent
    modified = path.stat().st_mtime_ns
    yield
    if not (folder / MANIFEST_NAME).exists():
        os.utime(path, ns=(modified, modified))
        return

    def agree(document: dict[str, Any]) -> None:
        for listed in document["tables"].values():
            for entry in listed["files"]:
                if entry["path"] == path.name:
                    entry.update(vars(describe_file(folder, path.name, entry["rows"] + added_rows)))
                    listed["rows_at_source"] += added_rows
                    # What the edited columns add up to is no longer known; a manifest need not state it.
                    listed["sums_at_source"] = {}

    edit_manifest(agree)(folder)
