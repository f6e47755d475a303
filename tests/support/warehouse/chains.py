"""Converted batch chains in memory, for tests of what is compared with the source tables."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from acl_assets.landing_zone.manifest import BatchKind, ManifestFile, ManifestTable
from acl_assets.source_schema import SOURCE_TABLES
from acl_assets.source_tables.current_state import (
    EXPORT_BATCHES,
    ConvertedBatch,
    ConvertedChain,
    TableFile,
)


def batch(
    *files: tuple[str, int, int | None],
    name: str = "first",
    kind: BatchKind = "full",
    at_source: int | None = None,
    sums: Mapping[str, int] | None = None,
) -> ConvertedBatch:
    """Return a batch whose tables were read from files, each a path, rows and the rows that its manifest states."""
    stated = ManifestTable(
        files=tuple(ManifestFile(path=path, bytes=1, sha256=None, rows=rows) for path, _, rows in files),
        rows_at_source=at_source,
        sums_at_source=dict(sums or {}),
    )
    read = {path: rows for path, rows, _ in files}
    return ConvertedBatch(
        batch_id=name,
        digest=f"digest of {name}",
        kind=kind,
        exported_at=datetime(2022, 8, 1, 6, tzinfo=UTC),
        has_manifest=at_source is not None,
        tables=dict.fromkeys(SOURCE_TABLES, stated),
        rows_by_file=dict.fromkeys(SOURCE_TABLES, read),
    )


def chain(batches: Sequence[ConvertedBatch], rows: int = 3) -> ConvertedChain:
    """Return the source tables that were made of batches; every table has the same rows."""
    file = TableFile(bytes=1, rows=rows, sums={"price": 60})
    return ConvertedChain(batches=tuple(batches), tables=dict.fromkeys((*SOURCE_TABLES, EXPORT_BATCHES), file))
