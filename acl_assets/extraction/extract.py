"""From the live ticketing database to an export batch: all six tables at one instant, read slowly, landed as a whole.

An extract is one read-only transaction. Its memory stays small whatever the tables hold, so nothing is imported here
that takes much itself. What belongs here: the order of an extract, reading at a pace,
typed Parquet, the command line. What does not: the connection and its role (`source_connection`), what an instant of
the source is and what changed since another one (`source_snapshot`), the server's stress (`source_stress`), Dagster
(`extraction_job`).
"""

from __future__ import annotations

import argparse
import logging
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from acl_assets.extraction.connection import (
    SourceConnection,
    begin_reading,
    qualified,
    require_export_role,
    require_guard_rails,
)
from acl_assets.extraction.extracted_batch import (
    BATCH_PREFIX,
    ExtractedTable,
    Extraction,
    ExtractionError,
    SourceBehindError,
    SourceUnreachableError,
    landing,
    only_extract,
)
from acl_assets.extraction.snapshot import (
    SourceSnapshot,
    changed_rows_condition,
    full_because_of_counts,
    full_because_of_landing_zone,
    full_because_of_source,
    read_snapshot,
)
from acl_assets.extraction.throttle import StressLimits, StressMonitor, watching
from acl_assets.landing_zone.batches import BatchChain, list_batches, resolve_chain
from acl_assets.landing_zone.manifest import (
    BatchError,
    BatchKind,
    Manifest,
    ManifestTable,
    NoBatchError,
    Predecessor,
    begin_batch,
    describe_file,
    is_unfinished,
    write_manifest,
)
from acl_assets.landing_zone.s3_store import land_remotely
from acl_assets.landing_zone.store import LandingZoneError, landing_zone_at
from acl_assets.settings import Settings, SettingsError, secret_text
from acl_assets.source_schema import SOURCE_TABLES, SUMMED_COLUMNS, SourceTable, arrow_schema
from acl_assets.util.object_storage import ObjectStorageError
from acl_assets.util.sql import quoted_name

SECONDS_BETWEEN_PROGRESS = 5.0
LONG_SNAPSHOT_SECONDS = 300.0
_ROWS_PER_GROUP = 131_072
_SECONDS_TO_CATCH_UP = 0.25

_log = logging.getLogger(__name__ if __name__ != "__main__" else "acl_assets.extraction.extract")


class _DeletedRowsError(Exception):
    """An incremental batch cannot bring the state to the source's; the message says why a full one must."""


def extract(
    settings: Settings,
    *,
    full: bool = False,
    mb_per_s: float | None = None,
    limits: StressLimits | None = None,
) -> Extraction:
    """Extract what the ticketing database holds now into a new batch of the landing zone, and describe it.

    The batch is incremental when the newest state of the landing zone can be continued, otherwise full. Whatever
    goes wrong, no part of a batch is left behind.

    Args:
        settings: where the database and the landing zone are.
        full: take a full batch in any case.
        mb_per_s: megabytes a second to read at most, 0 as fast as possible; that of the settings when None.
        limits: how much stress of the server to bear with.

    Raises:
        ExtractionError: with what went wrong, where, and what to do.
    """
    secrets = (settings.ticketing_standby_dsn, settings.ticketing_dsn)
    addresses = [dsn for secret in secrets if (dsn := secret_text(secret))]
    if not addresses:
        raise ExtractionError(
            "ACL_TICKETING_DSN is not set, so there is no database to extract from. Set it to the address of the "
            "ticketing database with the export role, such as postgresql://acl_export@db.example.org:5432/ticketing."
        )
    with _landing_anywhere(), only_extract(settings.extracts_dir, settings.exports_url):
        state, full_because = _find_state(settings, full)
        job = _Extract(
            settings=settings,
            state=state,
            mb_per_s=settings.extract_mb_per_s if mb_per_s is None else mb_per_s,
            limits=limits or StressLimits(),
        )
        for dsn in addresses[:-1]:
            try:
                return job.run(dsn, full_because)
            except (SourceUnreachableError, SourceBehindError) as error:
                _log.warning(f"{error} Extracting from the primary instead of the standby.")
        return job.run(addresses[-1], full_because)


@contextmanager
def _landing_anywhere() -> Iterator[None]:
    try:
        yield
    except (LandingZoneError, ObjectStorageError) as error:
        raise ExtractionError(f"{error} Nothing was landed.") from None


def extract_and_tell(settings: Settings, *, log: Callable[[str], None], **arguments: Any) -> Extraction:
    """Extract in a process of its own, for the one that called it; `log` receives lines such as `INFO: …`.

    The other arguments, the result and the errors are those of `extract`.
    """
    _tell_by(_LineHandler(log))
    return extract(settings, **arguments)


class _LineHandler(logging.Handler):
    """Hands every message on as a line."""

    def __init__(self, log: Callable[[str], None]) -> None:
        super().__init__()
        self._hand_on = log

    def emit(self, record: logging.LogRecord) -> None:
        self._hand_on(self.format(record))


def _tell_by(handler: logging.Handler) -> None:
    handler.setFormatter(logging.Formatter("%(levelname)s: %(message)s"))
    logger = logging.getLogger("acl_assets.extraction")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)


# Before anything is read --------------------------------------------------------------------------------------


def _find_state(settings: Settings, full: bool) -> tuple[BatchChain | None, str | None]:
    """The landing zone's newest state, and why it must not be continued; None when it may be."""
    try:
        state = resolve_chain(list_batches(landing_zone_at(settings.exports_dir), settings.settle_seconds))
    except NoBatchError:
        return None, "it was asked for" if full else "no full batch has landed yet"
    except BatchError as error:
        return None, f"the landing zone's state cannot be continued: {error}"
    if full:
        return state, "it was asked for"
    return state, full_because_of_landing_zone(state, settings.full_extract_days, datetime.now(UTC))


# The extract --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Extract:
    """One extract into a landing zone whose newest state is `state`, None when it has none that counts."""

    settings: Settings
    state: BatchChain | None
    mb_per_s: float
    limits: StressLimits

    def run(self, dsn: str, full_because: str | None) -> Extraction:
        """Read from one server and land the batch."""
        schema = self.settings.ticketing_schema
        began = time.monotonic()
        with SourceConnection(dsn) as source, watching(dsn, schema, self.limits) as monitor:
            require_export_role(source, schema)
            _log.info(f"Extracting from {source.name}, {_pace_text(self.mb_per_s)}.")
            monitor.pace()
            try:
                return self._land(source, monitor, full_because, began)
            except _DeletedRowsError as reason:
                _log.info(f"The incremental batch is given up, because {reason}; a full one is read in a new snapshot.")
                return self._land(source, monitor, str(reason), began)

    def _land(
        self, source: SourceConnection, monitor: StressMonitor, full_because: str | None, began: float
    ) -> Extraction:
        schema = self.settings.ticketing_schema
        begin_reading(source, schema)
        snapshot, exported_at = read_snapshot(source, schema)
        require_guard_rails(source)
        before = SourceSnapshot.from_manifest(self.state.newest.source_snapshot) if self.state else None
        self._require_later(snapshot, before, exported_at)
        if full_because is None and before is not None:
            full_because = full_because_of_source(before, snapshot)
        condition = None if full_because or before is None else changed_rows_condition(before.xid_horizon)
        kind: BatchKind = "incremental" if condition else "full"
        why = f", because {full_because}" if full_because else ", with what changed since the batch before"
        _log.info(f"Reading a batch of {exported_at.isoformat()}: {kind}{why}.")
        reading = _PacedReading(monitor, _reader_pid(source), self.mb_per_s, self.limits)
        with self._new_folder() as folder:
            tables = {
                table.name: self._export(source, table, folder, condition, reading) for table in SOURCE_TABLES.values()
            }
            source.execute("commit", "end the transaction")
            predecessor = self._require_continuation(self.state, tables, folder) if condition and self.state else None
            recorded = {**snapshot.to_manifest(), "full_because": full_because}
            manifest = Manifest(
                batch_id=folder.name,
                kind=kind,
                exported_at=exported_at,
                tables=tables,
                source_snapshot=recorded,
                continues_from=predecessor,
            )
            with landing(folder):
                write_manifest(folder, manifest)
            exports_url = self.settings.exports_url
            landed = land_remotely(folder, exports_url) if exports_url else str(folder)
        extraction = _describe(landed, manifest, full_because, time.monotonic() - began)
        _log.info(_summary(extraction, reading))
        return extraction

    def _require_later(self, now: SourceSnapshot, before: SourceSnapshot | None, exported_at: datetime) -> None:
        """Refuse an instant that would be ordered before what has landed: nobody would ever see the batch."""
        if self.state is None:
            return
        newest = self.state.newest
        is_behind = now.in_recovery and before is not None and now.wal_position < before.wal_position
        if is_behind or exported_at <= newest.exported_at:
            raise SourceBehindError(
                f"The source is at {exported_at.isoformat()}, before batch {newest.batch_id} of "
                f"{newest.exported_at.isoformat()}, which has landed already. Wait until the standby has caught up; if "
                "that batch's clock was wrong, take it out of the landing zone."
            )

    def _require_continuation(
        self, state: BatchChain, tables: Mapping[str, ManifestTable], folder: Path
    ) -> Predecessor:
        """Hold an incremental batch against the source's counts, and against what has landed since it was begun."""
        if reason := full_because_of_counts(state, tables, folder):
            raise _DeletedRowsError(reason)
        now, _ = _find_state(self.settings, full=False)
        if now is None or now.digest != state.digest:
            raise ExtractionError(
                f"The landing zone changed during the extract: batch {state.newest.batch_id} is no longer the newest. "
                "Nothing was landed; extract again."
            )
        return Predecessor(state.newest.batch_id, state.newest.digest)

    @contextmanager
    def _new_folder(self) -> Iterator[Path]:
        """The folder of a new batch, removed again unless the manifest has made it one of the landing zone."""
        with landing(self.settings.extracts_dir):
            folder = begin_batch(self.settings.extracts_dir, f"{BATCH_PREFIX}{datetime.now(UTC):%Y%m%dT%H%M%S-%f}")
        try:
            yield folder
        finally:
            if self.settings.exports_url or is_unfinished(folder):
                shutil.rmtree(folder)

    def _export(
        self, source: SourceConnection, table: SourceTable, folder: Path, condition: str | None, reading: _PacedReading
    ) -> ManifestTable:
        """Read one table, or its changed rows, into a Parquet file; an incremental batch has none without rows."""
        name = qualified(self.settings.ticketing_schema, table.name)
        sums = ", ".join(
            f"coalesce(sum({quoted_name(column)}), 0)::bigint as {quoted_name(column)}"
            for column in SUMMED_COLUMNS.get(table.name, ())
        )
        counted = source.rows(
            f"select count(*) as rows_at_source{sums and ', '}{sums} from {name}", f"count {table.name}"
        )[0]
        rows_at_source: int = counted.pop("rows_at_source")
        columns = ", ".join(quoted_name(column) for column in table.column_names)
        where = f" where {condition}" if condition else ""
        path = folder / f"{table.name}.parquet"
        progress = _Progress(table.name, None if condition else rows_at_source)
        with source.stream(f"select {columns} from {name}{where}", table) as batches:
            rows = _write_parquet(path, table, reading.paced(batches, progress))
        progress.finish()
        if condition and not rows:
            path.unlink()
            return ManifestTable(rows_at_source, (), counted)
        if not condition and rows != rows_at_source:
            raise ExtractionError(
                f"{table.name} has {rows_at_source:,} rows at {source.name}, but {rows:,} were read in one snapshot. "
                "Nothing was landed; look at the server's log, check its indexes (amcheck), and extract again."
            )
        with landing(path):
            return ManifestTable(rows_at_source, (describe_file(folder, path.name, rows),), counted)


def _reader_pid(source: SourceConnection) -> int:
    pid: int = source.rows("select pg_backend_pid() as pid", "ask for the session's process")[0]["pid"]
    return pid


def _describe(folder: str, manifest: Manifest, full_because: str | None, seconds: float) -> Extraction:
    return Extraction(
        batch_id=manifest.batch_id,
        folder=folder,
        kind=manifest.kind,
        full_because=full_because,
        exported_at=manifest.exported_at.isoformat(),
        seconds=round(seconds, 3),
        source_snapshot=manifest.source_snapshot or {},
        tables={
            name: ExtractedTable(
                rows=table.rows or 0,
                bytes=sum(file.bytes for file in table.files),
                rows_at_source=table.rows_at_source or 0,
                sums_at_source=table.sums_at_source,
            )
            for name, table in manifest.tables.items()
        },
    )


def _pace_text(mb_per_s: float) -> str:
    return f"at {mb_per_s:g} MB/s at most" if mb_per_s else "as fast as it can"


def _summary(extraction: Extraction, reading: _PacedReading) -> str:
    rows = sum(table.rows for table in extraction.tables.values())
    size = sum(table.bytes for table in extraction.tables.values())
    return (
        f"Landed {extraction.kind} batch {extraction.batch_id}: {rows:,} rows, {size / 1e6:,.1f} MB of Parquet, "
        f"{reading.bytes / 1e6:,.1f} MB read in {extraction.seconds:.1f} s."
    )


# Reading at a pace --------------------------------------------------------------------------------------------


class _PacedReading:
    """Takes batches of a statement no faster than it may: the server waits for its reader, and is free for buyers.

    Attributes:
        bytes: received from the server so far, by all statements.
    """

    def __init__(self, monitor: StressMonitor, reader_pid: int, mb_per_s: float, limits: StressLimits) -> None:
        self.bytes = 0
        self._monitor = monitor
        self._reader_pid = reader_pid
        self._bytes_per_s = mb_per_s * 1e6 if mb_per_s else float("inf")
        self._slowed_bytes_per_s = min(self._bytes_per_s, limits.slowed_mb_per_s * 1e6)
        self._may_read_at = time.monotonic()
        self._warn_at = self._may_read_at + LONG_SNAPSHOT_SECONDS

    def paced(self, batches: Iterator[pa.RecordBatch], progress: _Progress) -> Iterator[pa.RecordBatch]:
        """The same batches, each no sooner than the pace allows."""
        for batch in batches:
            received = received_bytes(batch)
            self.bytes += received
            progress.add(batch.num_rows, received)
            yield batch
            self._wait(received)

    def _wait(self, received: int) -> None:
        pace = self._monitor.pace(self._reader_pid)
        bytes_per_s = self._bytes_per_s if pace == "normal" else self._slowed_bytes_per_s
        now = time.monotonic()
        # A little time lost may be caught up with; what a pause lost may not, or a burst would follow it.
        self._may_read_at = max(self._may_read_at, now - _SECONDS_TO_CATCH_UP) + received / bytes_per_s
        if now > self._warn_at:
            _log.warning(
                f"The snapshot has been held for {(now - self._warn_at + LONG_SNAPSHOT_SECONDS) / 60:.0f} minutes; "
                "meanwhile vacuum cannot remove rows that die on the server. A higher ACL_EXTRACT_MB_PER_S shortens it."
            )
            self._warn_at += LONG_SNAPSHOT_SECONDS
        if self._may_read_at > now:
            time.sleep(self._may_read_at - now)


def received_bytes(batch: pa.RecordBatch) -> int:
    """Bytes the server sent for a batch in PostgreSQL's binary COPY format, each row being a message of its own.

    A message has 5 bytes before it, a row 2, a value 4, which for a text are as many as its offset takes in Arrow.
    """
    values = sum(4 for column in batch.schema if column.type != pa.string())
    return int(batch.nbytes + batch.num_rows * (5 + 2 + values))


class _Progress:
    """Tells now and then how much of a table has been read."""

    def __init__(self, table: str, expected_rows: int | None) -> None:
        self._table = table
        self._expected_rows = expected_rows
        self._rows = 0
        self._bytes = 0
        self._began = self._told_at = time.monotonic()

    def add(self, rows: int, received: int) -> None:
        self._rows += rows
        self._bytes += received
        if time.monotonic() - self._told_at > SECONDS_BETWEEN_PROGRESS:
            self._told_at = time.monotonic()
            self._tell("read so far")

    def finish(self) -> None:
        self._tell("read")

    def _tell(self, what: str) -> None:
        share = f" ({self._rows / self._expected_rows:.0%})" if self._expected_rows else ""
        speed = self._bytes / 1e6 / max(time.monotonic() - self._began, 1e-3)
        _log.info(f"{self._table}: {self._rows:,} rows {what}{share}, {self._bytes / 1e6:,.1f} MB, {speed:.1f} MB/s")


# Writing ------------------------------------------------------------------------------------------------------


def _write_parquet(path: Path, table: SourceTable, batches: Iterator[pa.RecordBatch]) -> int:
    """Write batches to a new Parquet file, flushed to disk, in row groups of bounded size; the number of rows.

    Raises:
        ExtractionError: the landing zone cannot be written.
    """
    schema = arrow_schema(table)
    rows = 0
    with landing(path), path.open("xb") as stream:
        # Most columns are keys and unique texts, for which dictionaries cost time and space.
        with pq.ParquetWriter(
            stream, schema, compression="zstd", use_dictionary=False, write_page_checksum=True
        ) as writer:
            for group in _row_groups(batches, schema):
                writer.write_table(group)
                rows += group.num_rows
        stream.flush()
        os.fsync(stream.fileno())
    return rows


def _row_groups(batches: Iterator[pa.RecordBatch], schema: pa.Schema) -> Iterator[pa.Table]:
    waiting: list[pa.RecordBatch] = []
    rows = 0
    for batch in batches:
        waiting.append(pa.RecordBatch.from_arrays(batch.columns, schema=schema))
        rows += batch.num_rows
        if rows >= _ROWS_PER_GROUP:
            yield pa.Table.from_batches(waiting)
            waiting, rows = [], 0
    if waiting:
        yield pa.Table.from_batches(waiting)


# The command line ---------------------------------------------------------------------------------------------


def main(arguments: Sequence[str] | None = None) -> int:
    """Extract once, as told by the environment; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m acl_assets.extraction.extract",
        description="Extracts the ticketing database (ACL_TICKETING_DSN) into a new batch of the landing zone.",
    )
    parser.add_argument("--full", action="store_true", help="take a full batch in any case")
    parser.add_argument("--mb-per-second", type=float, help="read at most so fast, 0: as fast as possible")
    options = parser.parse_args(arguments)
    if options.mb_per_second is not None and not options.mb_per_second >= 0:
        parser.error("--mb-per-second is 0 or more")
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _interrupt)
    _tell_by(logging.StreamHandler())
    try:
        print(extract(Settings.from_environment(), full=options.full, mb_per_s=options.mb_per_second).folder)
    except (ExtractionError, SettingsError) as error:
        _log.error(str(error))
        return 1
    except KeyboardInterrupt:
        _log.error("The extract was cancelled; nothing was landed.")
        return 130
    return 0


def _interrupt(number: int, frame: object) -> None:
    """End the extract in order, once: what cleans up must not be interrupted."""
    for again in (signal.SIGTERM, signal.SIGINT):
        signal.signal(again, signal.SIG_IGN)
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
