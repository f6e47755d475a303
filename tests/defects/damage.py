"""Edits of a finished batch of Parquet files: its rows and its manifest."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from acl_assets.landing_zone.manifest import MANIFEST_NAME, describe_file

Plant = Callable[[Path], None]


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


def edit_rows(table: str, edit: Callable[[pa.Table], pa.Table]) -> Plant:
    """Change the rows of a table's file, with which the manifest agrees; the edit may change types too."""

    def plant(folder: Path) -> None:
        path = folder / f"{table}.parquet"
        rows = pq.read_table(path)
        edited = edit(rows)
        pq.write_table(edited, path)
        added_rows = edited.num_rows - rows.num_rows

        def agree(document: dict[str, Any]) -> None:
            listed = document["tables"][table]
            (entry,) = listed["files"]
            entry.update(vars(describe_file(folder, path.name, entry["rows"] + added_rows)))
            listed["rows_at_source"] += added_rows
            # The sums of the edited columns are no longer known; a manifest may leave them out.
            listed["sums_at_source"] = {}

        edit_manifest(agree)(folder)

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
