"""A landing zone in a folder, and the batches that tests land in it."""

import json
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from acl_assets.landing_zone.batches import BatchChain, Listing, list_batches, resolve_chain
from acl_assets.landing_zone.manifest import (
    MANIFEST_NAME,
    Manifest,
    ManifestTable,
    Predecessor,
    begin_batch,
    describe_file,
    write_manifest,
)
from acl_assets.landing_zone.store import landing_zone_at
from acl_assets.source_schema import SOURCE_TABLES

EXPORTED_AT = datetime(2022, 8, 1, 6, tzinfo=UTC)
SETTLE_SECONDS = 60.0
Document = dict[str, Any]


def hours(number: float) -> datetime:
    """Return a time after the first export."""
    return EXPORTED_AT + timedelta(hours=number)


@dataclass
class FolderZone:
    """A landing zone in a folder of this machine, to which batches can be added."""

    folder: Path

    def land(
        self, batch_id: str, exported_at: datetime = EXPORTED_AT, content: str = "id\n", after: str | None = None
    ) -> Path:
        """Write a full batch, or an incremental one that continues from the batch `after`, and return its folder."""
        digests = {header.found.batch_id: header.digest for header in self.settled().headers}
        batch = begin_batch(self.folder, batch_id)
        tables: dict[str, ManifestTable] = {}
        for table in SOURCE_TABLES:
            (batch / f"{table}.csv").write_text(content)
            tables[table] = ManifestTable(0, (describe_file(batch, f"{table}.csv", rows=0),))
        manifest = Manifest(batch_id, "full", exported_at, tables)
        if after is not None:
            before = Predecessor(after, digests.get(after, "0" * 64))
            manifest = Manifest(batch_id, "incremental", exported_at, tables, continues_from=before)
        write_manifest(batch, manifest)
        return batch

    def land_plain(self, batch_id: str, modified_at: float = 1_000_000, names: Iterable[str] | None = None) -> Path:
        """Write a folder of small files without a manifest, by default a CSV file per table, and return it."""
        batch = self.folder / batch_id
        batch.mkdir(parents=True, exist_ok=True)
        for name in [f"{table}.csv" for table in SOURCE_TABLES] if names is None else names:
            (batch / name).write_text("id\n")
            os.utime(batch / name, (modified_at, modified_at))
        return batch

    def listing(self, now: float | None = None) -> Listing:
        """List the landing zone at the present or at a second since the epoch."""
        return list_batches(landing_zone_at(self.folder), SETTLE_SECONDS, now)

    def settled(self) -> Listing:
        """List the landing zone as it is when every file that is there now has been unchanged for long enough."""
        return self.listing(now=datetime.now(UTC).timestamp() + 10 * SETTLE_SECONDS)

    def chain(self) -> BatchChain:
        """Resolve the chain of the settled landing zone."""
        return resolve_chain(self.settled())

    def ids(self) -> list[str]:
        """Return the ids of the batches of the chain."""
        return [batch.batch_id for batch in self.chain().batches]


def chain_at(location: Path | str) -> BatchChain:
    """Return the batch chain of a landing zone, of files without a manifest too that have just been written."""
    return resolve_chain(list_batches(landing_zone_at(location), settle_seconds=0))


def listed_ids(listing: Listing) -> list[str]:
    """Return the ids of the complete batches of a listing, oldest export first."""
    return [header.found.batch_id for header in listing.headers]


def rewrite(batch: Path, change: Callable[[Document], Any]) -> None:
    """Change the manifest of a landed batch."""
    path = batch / MANIFEST_NAME
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


@pytest.fixture
def zone(tmp_path: Path) -> FolderZone:
    """A landing zone of the test's own."""
    return FolderZone(tmp_path / "exports")
