"""Identify the snapshot that an extract reads, and decide whether an incremental batch can continue the batch before.

The next batch holds the rows written by transactions (`xmin`) at or after the horizon: the oldest one still running in
the snapshot of the batch before. Rows that are read twice merge by id, and comparing counts reveals deleted rows.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from acl_assets.extraction.connection import SourceConnection
from acl_assets.landing_zone.batches import BatchChain
from acl_assets.landing_zone.manifest import ManifestTable
from acl_assets.source_schema import SOURCE_TABLES
from acl_assets.util.object_storage import ObjectStorageError, open_file
from acl_assets.util.sql import qualified_name, quoted_text

# Transactions begun since the oldest running one, beyond which its horizon counts as stalled.
LARGEST_HORIZON_LAG = 1_000_000
# Beyond half of the 32-bit circle a row's age is ambiguous; the margin is for what begins during the extract.
LARGEST_XID_DISTANCE = 2**31 - 50_000_000

_IDENTITY = {
    "system_identifier": "the cluster's system identifier",
    "timeline": "the cluster's timeline",
    "database": "the database",
    "database_oid": "the database's oid",
    "schema": "the schema",
    "columns": "the digest of the tables and columns",
}
_SCHEDULE_JITTER = timedelta(hours=1)


@dataclass(frozen=True)
class SourceSnapshot:
    """One instant of a PostgreSQL server, as the manifest records it.

    `timeline` counts failovers and recoveries; `wal_position` is in bytes; transaction ids have 64 bits, so that a
    wrap-around shows. Every transaction before `xid_horizon` had ended; `next_xid` had not begun. `columns` tells
    tables, their partitions and columns from others of the same name, because renaming and attaching write no rows.
    """

    system_identifier: str
    timeline: int
    server_version: str
    database: str
    database_oid: int
    schema: str
    columns: str
    in_recovery: bool
    wal_position: int
    snapshot: str
    xid_horizon: int
    next_xid: int

    @classmethod
    def from_manifest(cls, entry: Mapping[str, Any] | None) -> Self | None:
        """Return the snapshot that a manifest records, or None if it records none with all that is compared."""
        types = {field.name: field.type for field in fields(cls)}
        if entry is None or any(type(entry.get(name)) is not kind for name, kind in types.items()):
            return None
        return cls(**{name: entry[name] for name in types})


_SNAPSHOT_QUERY = """
    with recursive parts as (
        select unnest(array[{tables}]::regclass[])::oid as part
        union select inhrelid from pg_inherits join parts on inhparent = part
    )
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
        (
            select md5(string_agg(concat_ws('.', attrelid, attnum, attname), ' ' order by attrelid, attnum))
            from pg_attribute
            where attrelid in (select part from parts) and attname = any(array[{columns}])
        ) as columns,
        pg_is_in_recovery() as in_recovery,
        pg_wal_lsn_diff(
            case when pg_is_in_recovery() then pg_last_wal_replay_lsn() else pg_current_wal_lsn() end, '0/0'
        )::bigint as wal_position,
        pg_current_snapshot()::text as snapshot,
        pg_snapshot_xmin(pg_current_snapshot())::text::bigint as xid_horizon,
        pg_snapshot_xmax(pg_current_snapshot())::text::bigint as next_xid,
        case
            when pg_is_in_recovery() and (
                pg_last_wal_receive_lsn() is distinct from pg_last_wal_replay_lsn()
                or not exists (select from pg_stat_wal_receiver)
            )
                then coalesce(pg_last_xact_replay_timestamp(), statement_timestamp())
            else statement_timestamp()
        end as taken_at
"""


def read_snapshot(source: SourceConnection, schema: str) -> tuple[SourceSnapshot, datetime]:
    """Take the snapshot of the transaction that was just begun, and return it with its instant.

    On a standby that receives nothing or has not replayed all, the instant is that of the last replayed commit.
    """
    columns = {column for table in SOURCE_TABLES.values() for column in table.column_names}
    query = _SNAPSHOT_QUERY.format(
        tables=", ".join(quoted_text(qualified_name(schema, table)) for table in SOURCE_TABLES),
        columns=", ".join(map(quoted_text, sorted(columns))),
    )
    row = source.rows(query, "take a snapshot")[0]
    taken_at: datetime = row.pop("taken_at").astimezone(UTC)
    return SourceSnapshot(schema=schema, **row), taken_at


def changed_rows_condition(horizon: int) -> str:
    """Return the SQL condition for row versions written at or after a horizon, also after a wrap-around of ids.

    Ages are distances from the present on the 32-bit circle. A frozen row keeps the id of its writer and can look
    young after a wrap-around: it is exported once more, never left out.
    """
    return f"age(xmin) <= (select age('{horizon % 2**32}'::xid))"


def full_because_of_landing_zone(chain: BatchChain, full_extract_days: float, now: datetime) -> str | None:
    """Return why the batch chain of a landing zone cannot be continued, or None if it can."""
    if SourceSnapshot.from_manifest(chain.newest.source_snapshot) is None:
        return f"batch {chain.newest.batch_id} records no snapshot that this version can continue from"
    for batch in chain.batches:
        tables = batch.tables.values()
        is_parquet = all(file.path.endswith(".parquet") for table in tables for file in table.files)
        if not is_parquet or any(table.rows_at_source is None for table in tables):
            return f"batch {batch.batch_id} is not one that an extract wrote"
    last_full = chain.batches[0]
    if (now - last_full.exported_at + _SCHEDULE_JITTER) / timedelta(days=1) >= full_extract_days:
        days = f"{full_extract_days:g} day{'s' if full_extract_days != 1 else ''}"
        return f"the last full batch, {last_full.batch_id}, is as old as ACL_FULL_EXTRACT_DAYS allows ({days})"
    return None


def full_because_of_source(before: SourceSnapshot, now: SourceSnapshot) -> str | None:
    """Return why an incremental extract is impossible between two snapshots, or None if it is possible."""
    for name, meaning in _IDENTITY.items():
        was, found = getattr(before, name), getattr(now, name)
        if was != found:
            return f"{meaning} is {found} where the batch before was read from {was}"
    if now.next_xid < before.xid_horizon or now.wal_position < before.wal_position:
        return "the server is at an earlier point than when the batch before was read from it"
    if now.next_xid - before.xid_horizon >= LARGEST_XID_DISTANCE:
        return f"{now.next_xid - before.xid_horizon:,} transactions have begun since, and ages end at 2^31"
    lag = now.next_xid - now.xid_horizon
    if lag > LARGEST_HORIZON_LAG:
        return (
            f"the horizon is stalled: transaction {now.xid_horizon} is open still, and {lag:,} others have begun since "
            "(look for old ones in pg_stat_activity and pg_prepared_xacts)"
        )
    return None


def full_because_of_counts(chain: BatchChain, tables: Mapping[str, ManifestTable], folder: Path) -> str | None:
    """Return why the chain and an incremental batch read into `folder` lack rows of the source, or None.

    The source must have the rows it had before and those whose id is new. If it has fewer, rows were deleted. Without
    the landed files this cannot be counted.
    """
    newest = chain.newest
    for name in SOURCE_TABLES:
        exported = [folder / file.path for file in tables[name].files]
        landed = [f"{batch.folder}/{file.path}" for batch in chain.batches for file in batch.tables[name].files]
        try:
            expected = (newest.tables[name].rows_at_source or 0) + count_new_ids(exported, landed)
        except (OSError, ObjectStorageError, pa.ArrowException, KeyError) as error:
            return f"landed files of {name} cannot be read ({error})"
        found = tables[name].rows_at_source or 0
        if found < expected:
            return f"{expected - found:,} rows of {name} have been deleted since batch {newest.batch_id}"
        if found > expected:
            return f"{found - expected:,} rows of {name} are in neither batch {newest.batch_id} nor the changes"
    return None


def count_new_ids(exported: Iterable[Path | str], landed: Iterable[Path | str]) -> int:
    """Return how many ids of exported Parquet files, each there once, are in none of the landed ones."""
    new = np.concatenate([np.empty(0, np.int32), *_ids(exported)])
    for known in _ids(landed):
        new = new[~np.isin(new, known)]
    return len(new)


def _ids(files: Iterable[Path | str]) -> Iterator[npt.NDArray[np.int32]]:
    """Read the ids of files, given by path or URL, in bounded memory."""
    for path in files:
        with pq.ParquetFile(open_file(path) if isinstance(path, str) and "://" in path else path) as parquet:
            for batch in parquet.iter_batches(131_072, columns=["id"]):
                # Arrow's own conversion to NumPy loads pandas.
                yield np.from_dlpack(batch.column("id")).astype(np.int32, copy=False)
