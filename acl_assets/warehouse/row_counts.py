"""Rules that compare the row counts and sums of a table with its manifest, its source and the published file."""

from __future__ import annotations

from collections.abc import Mapping

from acl_assets.landing_zone.manifest import ManifestTable

# A full export that lost more than half of a table is likelier a broken export than a smaller festival.
MAX_LOSS = 0.5


def disagreements(exported: ManifestTable, rows_by_file: Mapping[str, int], *, whole: bool = True) -> list[str]:
    """Return where the rows converted from a batch differ from its manifest and from the source, in words.

    A batch without a manifest states no rows. An incremental batch does not hold the `whole` table, so its rows are
    not compared with the source.
    """
    found: list[str] = []
    for file in exported.files:
        converted = rows_by_file.get(file.path, 0)
        if file.rows is not None and converted != file.rows:
            found.append(f"{file.path} holds {converted:,} rows, its manifest says {file.rows:,}")
    total = sum(rows_by_file.values())
    if whole and exported.rows_at_source is not None and total != exported.rows_at_source:
        found.append(f"the batch holds {total:,} rows, the source had {exported.rows_at_source:,}")
    return found


def merged_disagreements(exported: ManifestTable, rows: int) -> list[str]:
    """Return where the rows of a table, merged from several batches, differ from those at the source."""
    at_source = exported.rows_at_source
    if at_source is None or rows == at_source:
        return []
    what = "rows are missing" if rows < at_source else "rows were deleted there, which increments do not say"
    return [f"the table has {rows:,} rows after the newest batch, the source had {at_source:,}: {what}; "
            "export a full batch"]  # fmt: skip


def drift(exported: ManifestTable, rows: int, sums: Mapping[str, int]) -> list[str]:
    """Return where a table's count of rows and sums of columns differ from those at the source, in words."""
    found: list[str] = []
    if exported.rows_at_source is not None and rows != exported.rows_at_source:
        found.append(f"it has {rows:,} rows, the source had {exported.rows_at_source:,}")
    for column, at_source in exported.sums_at_source.items():
        if sums[column] != at_source:
            found.append(f"{column} adds up to {sums[column]:,}, at the source to {at_source:,}")
    return found


def lost_share(rows: int, published_rows: int | None) -> float:
    """Return the share (0-1) of the published rows that a new state lacks; 0 when nothing was published."""
    return max(0.0, 1 - rows / published_rows) if published_rows else 0.0
