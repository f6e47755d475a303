"""Extract the ticketing database into an export batch: `python -m acl_assets.extraction.extract --help`.

An extract is one read-only transaction over all tables. Do not import pandas or Dagster here, so that its process
stays small.
"""

import argparse
import logging
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from acl_assets.extraction.connection import SourceConnection, begin_reading, require_guard_rails
from acl_assets.extraction.export_role import require_export_role
from acl_assets.extraction.extracted_batch import (
    BATCH_PREFIX,
    Extraction,
    ExtractionError,
    SourceUnusableError,
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
from acl_assets.extraction.throttle import Throttle
from acl_assets.landing_zone.batches import BatchChain, list_batches, resolve_chain
from acl_assets.landing_zone.manifest import (
    BatchError,
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
from acl_assets.util.atomic_write import fsync_path
from acl_assets.util.object_storage import ObjectStorageError
from acl_assets.util.sql import qualified_name, quoted_name

_SECONDS_BETWEEN_PROGRESS = 30.0
_ROWS_PER_GROUP = 131_072

_log = logging.getLogger("acl_assets.extraction.extract")


class _FullBatchNeededError(Exception):
    """The rows that were read are not enough with those that have landed; the message is the reason."""


def extract(settings: Settings, *, full: bool = False) -> Extraction:
    """Extract the ticketing database into a new batch of the landing zone, and describe it.

    The batch is incremental when the newest batch chain can be continued, otherwise full. A failed extract leaves
    nothing behind.

    Raises:
        ExtractionError: with what is wrong, where, and what to do.
    """
    secrets = (settings.ticketing_standby_dsn, settings.ticketing_dsn)
    addresses = [dsn for secret in secrets if (dsn := secret_text(secret))]
    if not addresses:
        raise ExtractionError(
            "ACL_TICKETING_DSN is not set, so there is no database to extract from. Set it to the address of the "
            "ticketing database with the export role, such as postgresql://acl_export@db.example.org:5432/ticketing."
        )
    try:
        with only_extract(settings):
            chain, full_because = _find_chain(settings, full)
            job = _Extract(settings, chain, full_because)
            for dsn in addresses[:-1]:
                try:
                    return job.run(dsn)
                except SourceUnusableError as error:
                    _log.warning(f"{error} Extracting from the primary instead of the standby.")
            return job.run(addresses[-1])
    except (LandingZoneError, ObjectStorageError) as error:
        raise ExtractionError(f"{error} Nothing was landed.") from None


def extract_and_tell(settings: Settings, *, full: bool, log: Callable[[str], None]) -> Extraction:
    """Extract in a process of its own; `log` receives lines such as `INFO: …`. All else is as for `extract`."""

    class LineHandler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            log(self.format(record))

    _log_to(LineHandler())
    return extract(settings, full=full)


def _log_to(handler: logging.Handler) -> None:
    handler.setFormatter(logging.Formatter("%(levelname)s: %(message)s"))
    logger = logging.getLogger("acl_assets.extraction")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)


def _find_chain(settings: Settings, full: bool) -> tuple[BatchChain | None, str | None]:
    """Return the landing zone's batch chain, and why it must not be continued, or None if it may be."""
    try:
        chain = resolve_chain(list_batches(landing_zone_at(settings.exports_dir), settings.settle_seconds))
    except NoBatchError:
        return None, "it was asked for" if full else "no full batch has landed yet"
    except BatchError as error:
        return None, f"the landing zone's state cannot be continued: {error}"
    if full:
        return chain, "it was asked for"
    return chain, full_because_of_landing_zone(chain, settings.full_extract_days, datetime.now(UTC))


@dataclass(frozen=True)
class _Extract:
    """One extract into a landing zone; `chain` is None if it has no valid batch chain."""

    settings: Settings
    chain: BatchChain | None
    full_because: str | None

    def run(self, dsn: str) -> Extraction:
        """Read from one server and land the batch."""
        schema, mb_per_s = self.settings.ticketing_schema, self.settings.extract_mb_per_s
        with (
            closing(SourceConnection(dsn)) as source,
            closing(Throttle(source, dsn, schema, mb_per_s)) as throttle,
        ):
            require_export_role(source, schema)
            pace = (
                f"at {mb_per_s:g} MB/s and a small share of a processor at most" if mb_per_s else "without a rate limit"
            )
            _log.info(f"Extracting from {source.name}, {pace}.")
            throttle.wait()
            try:
                return self._land(source, throttle, self.full_because)
            except _FullBatchNeededError as reason:
                _log.info(f"The incremental batch is given up, because {reason}; a full one is read in a new snapshot.")
                return self._land(source, throttle, str(reason))

    def _land(self, source: SourceConnection, throttle: Throttle, full_because: str | None) -> Extraction:
        began = time.monotonic()
        begin_reading(source, self.settings.ticketing_schema)
        snapshot, exported_at = read_snapshot(source, self.settings.ticketing_schema)
        require_guard_rails(source)
        before = SourceSnapshot.from_manifest(self.chain.newest.source_snapshot) if self.chain else None
        self._require_later(snapshot, before, exported_at)
        condition = None
        if before is not None and not full_because:
            full_because = full_because_of_source(before, snapshot)
            condition = None if full_because else changed_rows_condition(before.xid_horizon)
        why = f"because {full_because}" if full_because else "with what changed since the batch before"
        _log.info(f"Reading a batch of {exported_at.isoformat()}: {'incremental' if condition else 'full'}, {why}.")
        with self._new_folder() as folder:
            tables = {
                table.name: self._export(source, table, folder, condition, throttle) for table in SOURCE_TABLES.values()
            }
            source.rows("commit", "end the transaction")
            manifest = Manifest(
                batch_id=folder.name,
                kind="incremental" if condition else "full",
                exported_at=exported_at,
                tables=tables,
                source_snapshot={**asdict(snapshot), "full_because": full_because},
                continues_from=self._predecessor(self.chain, tables, folder) if self.chain and condition else None,
            )
            write_manifest(folder, manifest)
            exports_url = self.settings.exports_url
            landed = land_remotely(folder, exports_url) if exports_url else str(folder)
        rows = sum(table.rows or 0 for table in tables.values())
        size = sum(file.bytes for table in tables.values() for file in table.files) / 1e6
        _log.info(
            f"Landed {manifest.kind} batch {manifest.batch_id}: {rows:,} rows, {size:,.1f} MB of Parquet, in "
            f"{time.monotonic() - began:.1f} s."
        )
        return Extraction(**vars(manifest), folder=landed, full_because=full_because)

    def _require_later(self, now: SourceSnapshot, before: SourceSnapshot | None, exported_at: datetime) -> None:
        """Refuse an instant that would order the batch before one that has landed: no refresh would ever use it."""
        if self.chain is None:
            return
        newest = self.chain.newest
        is_behind = now.in_recovery and before is not None and now.wal_position < before.wal_position
        if is_behind or exported_at <= newest.exported_at:
            raise SourceUnusableError(
                f"The source is at {exported_at.isoformat()}, before batch {newest.batch_id} of "
                f"{newest.exported_at.isoformat()}, which has landed already. Wait until the standby has caught up; if "
                "that batch's clock was wrong, take it out of the landing zone."
            )

    def _predecessor(self, chain: BatchChain, tables: dict[str, ManifestTable], folder: Path) -> Predecessor:
        """Return the batch that an incremental one continues from, after comparing counts and landing zone with it."""
        if reason := full_because_of_counts(chain, tables, folder):
            raise _FullBatchNeededError(reason)
        now, _ = _find_chain(self.settings, full=False)
        if now is None or now.digest != chain.digest:
            raise ExtractionError(
                f"The landing zone changed during the extract: batch {chain.newest.batch_id} is no longer the newest. "
                "Nothing was landed; extract again."
            )
        return Predecessor(chain.newest.batch_id, chain.newest.digest)

    @contextmanager
    def _new_folder(self) -> Iterator[Path]:
        """Make the folder of a batch, and remove it again unless it has got its manifest and stays here."""
        folder = begin_batch(self.settings.extracts_dir, f"{BATCH_PREFIX}{datetime.now(UTC):%Y%m%dT%H%M%S-%f}")
        try:
            yield folder
        finally:
            if self.settings.exports_url or is_unfinished(folder):
                shutil.rmtree(folder)

    def _export(
        self, source: SourceConnection, table: SourceTable, folder: Path, condition: str | None, throttle: Throttle
    ) -> ManifestTable:
        """Read one table, or its changed rows, into a Parquet file; without changed rows there is no file."""
        path = folder / f"{table.name}.parquet"
        counts: Counter[str] = Counter()
        began = time.monotonic()
        rows = _write_parquet(path, table, self._read(source, table, condition, throttle, counts))
        wanted, rows_at_source = counts.pop("wanted"), counts.pop("rows_at_source")
        _log.info(f"{table.name}: {rows:,} of {rows_at_source:,} rows read in {time.monotonic() - began:.1f} s")
        if rows != wanted:
            raise ExtractionError(
                f"{source.name} counted {wanted:,} rows of {table.name} to read, but {rows:,} arrived. Nothing was "
                "landed; look at the server's log, check the table (amcheck), and extract again."
            )
        if condition and not rows:
            path.unlink()
            return ManifestTable(rows_at_source, (), dict(counts))
        return ManifestTable(rows_at_source, (describe_file(folder, path.name, rows),), dict(counts))

    def _read(
        self,
        source: SourceConnection,
        table: SourceTable,
        condition: str | None,
        throttle: Throttle,
        counts: Counter[str],
    ) -> Iterator[pa.RecordBatch]:
        """Give the rows of one table, or its changed rows, at the pace of the throttle.

        `counts` receives what the server counts: all rows, the rows wanted, and the sums of columns.
        """
        name = qualified_name(self.settings.ticketing_schema, table.name)
        wanted = condition or "true"
        totals = ["count(*) as rows_at_source", f"count(*) filter (where {wanted}) as wanted"] + [
            f"coalesce(sum({quoted_name(column)}), 0)::bigint as {quoted_name(column)}"
            for column in SUMMED_COLUMNS.get(table.name, ())
        ]
        columns = ", ".join(quoted_name(column) for column in table.column_names)
        slices = source.slices(name, f"measure {table.name}")
        logged_at = time.monotonic()
        for number, (where, size) in enumerate(slices, start=1):
            began = time.monotonic()
            (counted,) = source.rows(f"select {', '.join(totals)} from {name} where {where}", f"count {table.name}")
            # A slice is scanned twice, to count and to read.
            throttle.wait(size // 2, time.monotonic() - began)
            counts.update(counted)
            # The last slice is read in any case, because the types of columns are compared there.
            if counted["wanted"] or number == len(slices):
                began = time.monotonic()
                query = f"select {columns} from {name} where {where} and {wanted}"
                rows = source.batches(query, table)
                throttle.wait(size // 2, time.monotonic() - began)
                yield from rows
            if time.monotonic() - logged_at > _SECONDS_BETWEEN_PROGRESS:
                logged_at = time.monotonic()
                _log.info(f"{table.name}: {number / len(slices):.0%} read so far")


def _write_parquet(path: Path, table: SourceTable, batches: Iterable[pa.RecordBatch]) -> int:
    """Write batches to a Parquet file on disk, and return its rows.

    Row groups are of bounded size, because writers and readers need memory for one.
    """
    rows = rows_in_groups = 0
    waiting: list[pa.RecordBatch] = []
    # Most columns are keys and unique texts, for which dictionaries cost time and space.
    with pq.ParquetWriter(
        path, arrow_schema(table), compression="zstd", use_dictionary=False, write_page_checksum=True
    ) as writer:
        for batch in batches:
            waiting.append(batch)
            rows += batch.num_rows
            if rows - rows_in_groups >= _ROWS_PER_GROUP:
                writer.write_table(pa.Table.from_batches(waiting))
                waiting, rows_in_groups = [], rows
        if waiting:
            writer.write_table(pa.Table.from_batches(waiting))
    fsync_path(path)
    return rows


def main(arguments: Sequence[str] | None = None) -> int:
    """Extract once, with the settings of the environment, and return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m acl_assets.extraction.extract",
        description="Extracts the ticketing database (ACL_TICKETING_DSN) into a new batch of the landing zone.",
    )
    parser.add_argument("--full", action="store_true", help="take a full batch in any case")
    parser.add_argument("--mb-per-second", type=float, help="read at most so fast, 0: as fast as possible")
    options = parser.parse_args(arguments)
    if options.mb_per_second is not None and not options.mb_per_second >= 0:
        parser.error("--mb-per-second is 0 or more")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    _log_to(logging.StreamHandler())
    try:
        settings = Settings.from_environment()
        if options.mb_per_second is not None:
            settings = settings.with_changes(extract_mb_per_s=options.mb_per_second)
        print(extract(settings, full=options.full).folder)
    except (ExtractionError, SettingsError) as error:
        _log.error(str(error))
        return 1
    except KeyboardInterrupt:
        _log.error("The extract was cancelled; nothing was landed.")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
