"""The instant of the source that an extract reads, and whether what changed since the batch before it is enough.

Every row version carries the transaction that wrote it (`xmin`). A snapshot's horizon is the oldest transaction that
was still running: whatever is older was visible to it. So the next incremental batch holds the rows written at or after
its predecessor's horizon; what was read twice merges by id, and nothing is missed, however late it was committed. Ids
and times cannot do that: they are given out before the commit. Deletes leave no row version; the counts show them.

What belongs here: reading a snapshot, the horizon, every reason for a full batch instead. What does not: reading rows
(`extraction`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from acl_assets.extraction.connection import SourceConnection
from acl_assets.landing_zone.batches import BatchChain
from acl_assets.landing_zone.manifest import ExportBatch, ManifestTable
from acl_assets.source_schema import SOURCE_TABLES
from acl_assets.util.object_storage import open_file

LARGEST_HORIZON_LAG = 1_000_000
"""Transactions that may have begun since the oldest one still running, before its horizon counts as stalled."""

LARGEST_XID_DISTANCE = 2**31 - 50_000_000
"""Beyond half of the 32-bit circle a row's age is ambiguous; the margin is for what begins during the extract."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SCHEDULE_JITTER = timedelta(hours=1)
_IDS_AT_ONCE = 2**25
_ROWS_AT_ONCE = 131_072


@dataclass(frozen=True)
class SourceSnapshot:
    """One instant of a PostgreSQL server, as the manifest records it.

    Attributes:
        system_identifier: of the cluster, from its initdb; a dump and restore or an upgrade changes it.
        timeline: counts the failovers and point-in-time recoveries behind the server.
        server_version: such as `18.1`.
        database: its name.
        database_oid: tells a database from a later one of the same name.
        schema: of the six tables.
        in_recovery: whether the server is a standby.
        wal_position: bytes of write-ahead log behind the instant.
        snapshot: as `pg_current_snapshot()` writes it.
        xid_horizon: every transaction before this one had ended; 64 bits, so that wrapping around is seen.
        next_xid: the first transaction that had not begun, 64 bits.
    """

    system_identifier: str
    timeline: int
    server_version: str
    database: str
    database_oid: int
    schema: str
    in_recovery: bool
    wal_position: int
    snapshot: str
    xid_horizon: int
    next_xid: int

    @classmethod
    def from_manifest(cls, entry: Mapping[str, Any] | None) -> SourceSnapshot | None:
        """The snapshot a manifest records, None when it records none of a PostgreSQL server."""
        if entry is None or any(type(entry.get(name)) not in types for name, types in _FIELD_TYPES.items()):
            return None
        return cls(**{name: entry[name] for name in _FIELD_TYPES})

    def to_manifest(self) -> dict[str, Any]:
        """The form in which a manifest records it."""
        return asdict(self)


_FIELD_TYPES: Mapping[str, tuple[type, ...]] = {
    name: ({"str": (str,), "int": (int,), "bool": (bool,)}[str(kind)])
    for name, kind in SourceSnapshot.__annotations__.items()
}

_SNAPSHOT_QUERY = """
    select
        (select system_identifier::text from pg_control_system()) as system_identifier,
        case
            when pg_is_in_recovery() then (
                select greatest(checkpoint.timeline_id, recovery.min_recovery_end_timeline)
                from pg_control_checkpoint() as checkpoint, pg_control_recovery() as recovery
            )
            else ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int
        end as timeline,
        current_setting('server_version') as server_version,
        current_database()::text as database,
        (select oid::text::bigint from pg_database where datname = current_database()) as database_oid,
        pg_is_in_recovery() as in_recovery,
        pg_wal_lsn_diff(
            case when pg_is_in_recovery() then pg_last_wal_replay_lsn() else pg_current_wal_lsn() end, '0/0'
        )::bigint as wal_position,
        pg_current_snapshot()::text as snapshot,
        pg_snapshot_xmin(pg_current_snapshot())::text::bigint as xid_horizon,
        pg_snapshot_xmax(pg_current_snapshot())::text::bigint as next_xid,
        (
            1000000 * extract(
                epoch from case
                    when pg_is_in_recovery() and pg_last_wal_receive_lsn() is distinct from pg_last_wal_replay_lsn()
                        then coalesce(pg_last_xact_replay_timestamp(), statement_timestamp())
                    else statement_timestamp()
                end
            )
        )::bigint as microseconds
"""


def read_snapshot(source: SourceConnection, schema: str) -> tuple[SourceSnapshot, datetime]:
    """Take the snapshot of the transaction that was just begun, and tell it with its instant.

    On a standby that has not replayed all it received, the instant is that of the last commit it replayed.

    Raises:
        ExtractionError: the server is gone.
    """
    row = source.rows(_SNAPSHOT_QUERY, "take a snapshot")[0]
    taken_at = _EPOCH + timedelta(microseconds=row.pop("microseconds"))
    return SourceSnapshot(schema=schema, **row), taken_at


def changed_rows_condition(horizon: int) -> str:
    """SQL that is true for the row versions written at or after a horizon, also when ids have wrapped around since.

    Ages are distances on the 32-bit circle from the present, the same all through a transaction. A frozen row keeps
    the id of its writer, which can look young after a wrap-around: it is exported once more, never left out.
    """
    return f"age(xmin) <= (select age('{horizon % 2**32}'::xid))"


# Full or incremental ------------------------------------------------------------------------------------------


def full_because_of_landing_zone(state: BatchChain, full_extract_days: float, now: datetime) -> str | None:
    """Why the landing zone's state cannot be continued, None when it can, as far as it alone tells."""
    newest = state.newest
    if SourceSnapshot.from_manifest(newest.source_snapshot) is None:
        return f"batch {newest.batch_id} records no snapshot of a PostgreSQL server to continue from"
    for batch in state.batches:
        for table in batch.tables.values():
            if table.rows_at_source is None or any(not file.path.endswith(".parquet") for file in table.files):
                return f"batch {batch.batch_id} is not one that an extract wrote"
    last_full = state.batches[0]
    if now - last_full.exported_at >= timedelta(days=full_extract_days) - _SCHEDULE_JITTER:
        days = f"{full_extract_days:g} day{'s' if full_extract_days != 1 else ''}"
        return f"the last full batch, {last_full.batch_id}, is as old as ACL_FULL_EXTRACT_DAYS allows ({days})"
    return None


def full_because_of_source(before: SourceSnapshot, now: SourceSnapshot) -> str | None:
    """Why the rows changed since a snapshot cannot be told at another one, None when they can."""
    for name in ("system_identifier", "timeline", "database", "database_oid", "schema"):
        was, found = getattr(before, name), getattr(now, name)
        if was != found:
            return f"{_FIELD_NAMES[name]} is {found} where the batch before was read from {was}"
    if now.next_xid < before.xid_horizon or now.wal_position < before.wal_position:
        return "the server is at an earlier point than when the batch before was read from it"
    if now.next_xid - before.xid_horizon >= LARGEST_XID_DISTANCE:
        return f"{now.next_xid - before.xid_horizon:,} transactions have begun since, and ages are told up to 2^31"
    lag = now.next_xid - now.xid_horizon
    if lag > LARGEST_HORIZON_LAG:
        return (
            f"the horizon is stalled: transaction {now.xid_horizon} is open still, and {lag:,} others have begun since "
            "(look for old ones in pg_stat_activity and pg_prepared_xacts)"
        )
    return None


_FIELD_NAMES = {
    "system_identifier": "the cluster's system identifier",
    "timeline": "the cluster's timeline",
    "database": "the database",
    "database_oid": "the database's oid",
    "schema": "the schema",
}


# Reconciliation -----------------------------------------------------------------------------------------------


def full_because_of_counts(state: BatchChain, tables: Mapping[str, ManifestTable], folder: Path) -> str | None:
    """Why an incremental batch, as it was just read, does not bring the state to the source's; None when it does.

    Every row of the source is one of the state, or an exported one whose id the state does not hold. Fewer rows at the
    source than those together were deleted there.

    Args:
        state: the batches to continue from.
        tables: what was read of each table, and how many rows the source has.
        folder: where the files of `tables` are.
    """
    for name in SOURCE_TABLES:
        exported = [folder / file.path for file in tables[name].files]
        landed = [f"{batch.folder}/{file.path}" for batch in state.batches for file in batch.tables[name].files]
        before, now = _rows_at_source(state.newest, name), tables[name].rows_at_source or 0
        new = count_new_ids(exported, landed)
        if now < before + new:
            return f"{before + new - now:,} rows of {name} have been deleted since batch {state.newest.batch_id}"
        if now > before + new:
            return f"{now - before - new:,} rows of {name} are in neither batch {state.newest.batch_id} nor the changes"
    return None


def _rows_at_source(batch: ExportBatch, table: str) -> int:
    return batch.tables[table].rows_at_source or 0


def count_new_ids(exported: Iterable[Path], landed: Iterable[Path | str]) -> int:
    """How many ids of exported Parquet files are in none of the landed ones, which may be URLs, in bounded memory.

    Ids are looked at by ranges; a row group whose ids lie outside of a range is not read.
    """
    exported, landed = list(exported), list(landed)
    new = 0
    for first in sorted({int(start) for ids in _ids(exported) for start in np.unique(ids // _IDS_AT_ONCE)}):
        first_id = first * _IDS_AT_ONCE
        is_new = np.zeros(_IDS_AT_ONCE, dtype=bool)
        for files, value in ((exported, True), (landed, False)):
            for ids in _ids(files, first_id, first_id + _IDS_AT_ONCE - 1):
                is_new[ids[(ids >= first_id) & (ids < first_id + _IDS_AT_ONCE)] - first_id] = value
        new += int(np.count_nonzero(is_new))
    return new


def _ids(
    files: Iterable[Path | str], smallest: int = -(2**31), largest: int = 2**31 - 1
) -> Iterable[np.ndarray[Any, Any]]:
    for path in files:
        with pq.ParquetFile(open_file(path) if isinstance(path, str) and "://" in path else path) as parquet:
            column = parquet.schema_arrow.get_field_index("id")
            for number in range(parquet.num_row_groups):
                statistics = parquet.metadata.row_group(number).column(column).statistics
                if statistics and statistics.has_min_max and (statistics.min > largest or statistics.max < smallest):
                    continue
                for batch in parquet.iter_batches(_ROWS_AT_ONCE, row_groups=[number], columns=["id"]):
                    # Arrow's own way to NumPy loads pandas, which takes more memory than all the rest.
                    ids = batch.column(0).cast(pa.int64())
                    yield np.frombuffer(ids.buffers()[1], np.int64, count=len(ids), offset=8 * ids.offset)
