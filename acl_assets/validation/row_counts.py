"""Whether a table holds as many rows as it should: against its manifest, its source and what is published.

What belongs here: the rules, on plain numbers. What does not: how the numbers are obtained or reported (`checks`).
"""

from __future__ import annotations

from collections.abc import Mapping

from acl_assets.ingestion.export_batch import ManifestTable

# A full export that lost more than half of a table is likelier a broken export than a smaller festival.
MOST_LOSS = 0.5


def disagreements(exported: ManifestTable, rows_by_file: Mapping[str, int]) -> list[str]:
    """Where the rows converted from a full batch differ from its manifest and from the source, in words.

    A batch without a manifest states nothing to disagree with.
    """
    found: list[str] = []
    for file in exported.files:
        converted = rows_by_file.get(file.path, 0)
        if file.rows is not None and converted != file.rows:
            found.append(f"{file.path} holds {converted:,} rows, its manifest says {file.rows:,}")
    total = sum(rows_by_file.values())
    if exported.rows_at_source is not None and total != exported.rows_at_source:
        found.append(f"the batch holds {total:,} rows, the source had {exported.rows_at_source:,}")
    return found


def lost_share(rows: int, published_rows: int | None) -> float:
    """Share (0-1) of the published rows that a new state lacks; 0 when nothing was published."""
    if not published_rows:
        return 0.0
    return max(0.0, 1 - rows / published_rows)
