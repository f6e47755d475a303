"""The source tables as Dagster assets: the batch chain of the landing zone, converted to typed Parquet."""

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import duckdb
from dagster import (
    AssetCheckKey,
    AssetCheckResult,
    AssetCheckSeverity,
    AssetCheckSpec,
    AssetExecutionContext,
    AssetKey,
    AssetMaterialization,
    AssetSpec,
    Failure,
    MarkdownMetadataValue,
    MaterializeResult,
    MetadataValue,
    ResourceParam,
    TableColumn,
    TableColumnConstraints,
    TableRecord,
    TableSchema,
    multi_asset,
)

from acl_assets.child_process import ChildProcess, ChildProcesses
from acl_assets.ingestion.extraction_job import ticketing_asset_key
from acl_assets.ingestion.object_storage import ObjectStorageError
from acl_assets.ingestion.refresh_lock import RefreshLock
from acl_assets.ingestion.source_schema import SOURCE_TABLES, SourceTable
from acl_assets.landing_zone.batches import BatchChain, Listing, list_batches, resolve_chain
from acl_assets.landing_zone.manifest import BatchError, ExportBatch
from acl_assets.landing_zone.store import LandingZoneError, landing_zone_at
from acl_assets.settings import Settings
from acl_assets.source_tables import remote
from acl_assets.source_tables.conversion import TableOrder
from acl_assets.source_tables.current_state import (
    EXPORT_BATCHES,
    REJECTS,
    ConvertedBatch,
    ConvertedChain,
    begin_folder,
    describe_batch,
    finish_folder,
    longest_prefix,
    read_chain,
    switch_current,
    table_file,
)
from acl_assets.util.sql import duckdb_files

SOURCE_PREFIX = "festival"
EXPORT_FILES_CHECK = "export_files_as_manifest"
_MAKE_TABLE = "acl_assets.source_tables.conversion:make_table"
_TOTALS = "acl_assets.source_tables.conversion:totals_of"
_PREVIEW_ROWS = 5
_BYTES_FOR_TWO = 20_000_000
_COLUMN_TYPES = {"int": "integer", "text": "varchar", "timestamptz": "timestamp with time zone"}


def source_asset_key(table: str) -> AssetKey:
    """Return the asset key of a source table."""
    return AssetKey([SOURCE_PREFIX, table])


def _source_table_spec(table: SourceTable) -> AssetSpec:
    columns = [
        TableColumn(
            column.name,
            _COLUMN_TYPES[column.type],
            column.description,
            constraints=TableColumnConstraints(nullable=column.name != "id", unique=column.name == "id"),
        )
        for column in table.columns
    ]
    return AssetSpec(
        source_asset_key(table.name),
        deps=[ticketing_asset_key(table.name)],
        description=f"{table.description} As exported by the ticketing system, verified and typed.",
        group_name="source_tables",
        owners=["team:festival-data"],
        kinds={"parquet", "table"},
        skippable=True,
        metadata={"dagster/column_schema": TableSchema(columns)},
    )


EXPORT_BATCHES_SPEC = AssetSpec(
    source_asset_key(EXPORT_BATCHES),
    description="The export batches the source tables were read from, one row each: the provenance people read.",
    group_name="source_tables",
    owners=["team:festival-data"],
    kinds={"parquet", "table"},
    skippable=True,
    metadata={
        "dagster/column_schema": TableSchema(
            [
                TableColumn("batch_id", "varchar", "Folder of the batch in the landing zone."),
                TableColumn("kind", "varchar", "full or incremental."),
                TableColumn("exported_at", "timestamp with time zone", "Instant of the source snapshot."),
                TableColumn("manifest_digest", "varchar", "SHA-256 that names the batch's content."),
                TableColumn("has_manifest", "boolean", "Whether the batch stated sizes, checksums and row counts."),
            ]
        )
    },
)


@multi_asset(
    name="source_tables",
    specs=[*(_source_table_spec(table) for table in SOURCE_TABLES.values()), EXPORT_BATCHES_SPEC],
    check_specs=[
        AssetCheckSpec(
            EXPORT_FILES_CHECK,
            asset=source_asset_key(table),
            description="Files have the manifest's size and SHA-256, the header is right, no line is rejected.",
            blocking=True,
        )
        for table in SOURCE_TABLES
    ],
    can_subset=True,
)
def source_tables(
    context: AssetExecutionContext, settings: ResourceParam[Settings], refresh_lock: RefreshLock
) -> Iterator[MaterializeResult[Any] | AssetCheckResult]:
    """Convert the batch chain of the landing zone and make its tables the current ones.

    Tables are switched as a whole, because models must never read tables of two chains: tables that are not selected
    are converted too where they have not been.
    """
    refresh_lock.acquire(context.run.run_id, context.log.info)
    listing, chain = find_chain(settings)
    if listing.skipped:
        context.log.warning(listing.skipped_text.strip())
    context.log.info(
        f"The newest batch of {settings.exports_dir} is {chain.newest.batch_id}, "
        f"exported at {chain.newest.exported_at.isoformat()}."
    )
    conversion = _Conversion(context, settings, chain)
    errors: list[str] = []
    with ChildProcesses(conversion.processes) as processes:
        made = {table.name: processes.submit(conversion.make, table) for table in conversion.largest_first()}
        for table in SOURCE_TABLES.values():
            try:
                made[table.name].result()
            except BatchError as error:
                errors.append(str(error))
                yield from _export_files_result(context, table, error)
    if errors:
        raise Failure("\n".join(errors), allow_retries=False)
    folder, converted = conversion.finish()
    switch_current(settings.source_tables_dir, folder)
    if settings.source_tables_url:
        remote.send_current(settings.source_tables_url, folder)
    for table in SOURCE_TABLES.values():
        key = source_asset_key(table.name)
        metadata = _table_metadata(table, chain.newest, folder, converted, conversion)
        if key in context.selected_asset_keys:
            yield MaterializeResult(asset_key=key, metadata=metadata)
        elif conversion.is_needed:
            context.log_event(AssetMaterialization(key, metadata=metadata))
        yield from _export_files_result(context, table, None)
    if EXPORT_BATCHES_SPEC.key in context.selected_asset_keys:
        yield MaterializeResult(asset_key=EXPORT_BATCHES_SPEC.key, metadata=_chain_metadata(chain, listing))


def find_chain(settings: Settings) -> tuple[Listing, BatchChain]:
    """List the landing zone and find what the source tables should hold now.

    Raises:
        Failure: no complete batch has landed, one that counts is bad, or the landing zone cannot be reached; the
            message says what to do.
    """
    try:
        listing = list_batches(landing_zone_at(settings.exports_dir), settings.settle_seconds)
        return listing, resolve_chain(listing)
    except (BatchError, LandingZoneError, ObjectStorageError) as error:
        raise Failure(str(error), allow_retries=False) from None


class _Conversion:
    """Makes the tables of a batch chain in a new folder, beginning with what earlier refreshes have made."""

    def __init__(self, context: AssetExecutionContext, settings: Settings, chain: BatchChain) -> None:
        self._context, self._settings, self._chain = context, settings, chain
        self._seconds: dict[str, float] = {}
        self._rows_by_file: dict[str, list[dict[str, int]]] = {}
        self._totals: dict[str, tuple[int, Mapping[str, int]]] = {}
        self._base, self._held = self._find_base()
        self.new_batches = chain.batches[len(self._held) :]
        self._unfinished = begin_folder(settings.source_tables_dir, chain.digest) if self.is_needed else None

    @property
    def is_needed(self) -> bool:
        """Whether there is anything to convert."""
        return bool(self.new_batches)

    @property
    def processes(self) -> int:
        """How many conversions run at a time: two tables hold nearly all rows, and a process takes time to start."""
        return 2 if sum(map(self._exported_bytes, SOURCE_TABLES.values())) >= _BYTES_FOR_TWO else 1

    def _find_base(self) -> tuple[Path | None, tuple[ConvertedBatch, ...]]:
        source_tables_dir, url = self._settings.source_tables_dir, self._settings.source_tables_url
        base, held, damage = longest_prefix(source_tables_dir, self._chain)
        for found in damage:
            self._context.log.warning(f"{found}. The source tables are made again.")
        if url and len(held) < len(self._chain.batches):
            remote.fetch_prefix(url, source_tables_dir, self._chain, len(held))
            base, held, _ = longest_prefix(source_tables_dir, self._chain)
        if held:
            self._context.log.info(f"Tables of {len(held)} of {len(self._chain.batches)} batches are converted already.")
        return base, held

    def largest_first(self) -> list[SourceTable]:
        """Return the source tables, those first that take longest to convert."""
        return sorted(SOURCE_TABLES.values(), key=self._exported_bytes, reverse=True)

    def _exported_bytes(self, table: SourceTable) -> int:
        return sum(file.bytes for batch in self.new_batches for file in batch.tables[table.name].files)

    def make(self, process: ChildProcess, table: SourceTable) -> None:
        """Make one table in a process of its own, which gives its memory back; do nothing when it has been made.

        Raises:
            BatchError: a batch breaks the contract.
        """
        if self._unfinished is None:
            return
        started = time.perf_counter()
        target = table_file(self._unfinished, table.name)
        order = TableOrder(
            zone=landing_zone_at(self._settings.exports_dir),
            batches=self.new_batches,
            table=table,
            base=table_file(self._base, table.name) if self._base else None,
            target=target,
            rejects_file=self._settings.source_tables_dir / REJECTS / f"{table.name}.jsonl",
        )
        self._rows_by_file[table.name] = process.call(_MAKE_TABLE, order, log=self._context.log.info)
        self._totals[table.name] = process.call(_TOTALS, target, table)
        self._seconds[table.name] = time.perf_counter() - started
        self._context.log.info(
            f"{table.name}: {self.new_rows(table):,} rows of {len(self.new_batches)} batches converted in "
            f"{self._seconds[table.name]:.2f} s ({target.stat().st_size:,} bytes)."
        )

    def new_rows(self, table: SourceTable) -> int:
        """Return how many rows of a table were read in this run."""
        return sum(sum(rows.values()) for rows in self._rows_by_file.get(table.name, ()))

    def rows_per_second(self, table: SourceTable) -> int | None:
        """Return how fast a table was read, None when it was not."""
        seconds = self._seconds.get(table.name)
        return round(self.new_rows(table) / seconds) if seconds else None

    def finish(self) -> tuple[Path, ConvertedChain]:
        """Return the folder of the chain and what it holds, once every table has been made."""
        if self._unfinished is None:
            folder = self._settings.source_tables_dir / self._chain.digest
            converted = read_chain(folder)
            if converted is None:
                raise Failure(f"{folder} was removed while this run read it. Refresh again.", allow_retries=False)
            return folder, converted
        new = [
            describe_batch(batch, {table: rows[number] for table, rows in self._rows_by_file.items()})
            for number, batch in enumerate(self.new_batches)
        ]
        return finish_folder(self._unfinished, [*self._held, *new], self._totals)


def _table_metadata(
    table: SourceTable, batch: ExportBatch, folder: Path, converted: ConvertedChain, conversion: _Conversion
) -> dict[str, Any]:
    path = table_file(folder, table.name)
    described = converted.tables[table.name]
    newest = converted.newest.tables[table.name]
    metadata: dict[str, Any] = {
        "dagster/row_count": described.rows,
        "rows_of_batch": newest.rows,
        "batch_id": batch.batch_id,
        "exported_bytes": sum(file.bytes for file in batch.tables[table.name].files),
        "rows_by_file": MetadataValue.json(newest.rows_by_file()),
        "path": MetadataValue.path(str(path)),
        "bytes": described.bytes,
        "converted_in_this_run": conversion.is_needed,
        "preview": _preview(table, path),
    }
    if speed := conversion.rows_per_second(table):
        metadata["rows_per_second"] = speed
    return metadata


def _preview(table: SourceTable, path: Path) -> MarkdownMetadataValue:
    """The first rows as a Markdown table, personal data masked."""
    with duckdb.connect() as connection:
        # One thread reads one row group; each keeps ten megabytes.
        connection.execute("set TimeZone = 'UTC'; set threads = 1")
        found = connection.execute(
            f"from read_parquet({duckdb_files([path])}) limit ?", [_PREVIEW_ROWS]
        ).fetchall()
    rows = [dict(zip(table.column_names, row, strict=True)) for row in found]
    header = f"| {' | '.join(table.column_names)} |\n|{'---|' * len(table.column_names)}\n"
    return MetadataValue.md(header + "".join(_markdown_row(table, row) for row in rows))


def _markdown_row(table: SourceTable, row: Mapping[str, object]) -> str:
    hidden = table.personal_columns
    cells = ("(personal data)" if name in hidden else _markdown_cell(row[name]) for name in table.column_names)
    return f"| {' | '.join(cells)} |\n"


def _markdown_cell(value: object) -> str:
    return "" if value is None else str(value).replace("|", "\\|").replace("\n", " ")


def _chain_metadata(chain: BatchChain, listing: Listing) -> Mapping[str, Any]:
    newest = chain.newest
    metadata: dict[str, Any] = {
        "dagster/row_count": len(chain.batches),
        "batch_id": newest.batch_id,
        "exported_at": MetadataValue.timestamp(newest.exported_at),
        "exported_at_is_file_time": not newest.has_manifest,
        "state_digest": chain.digest,
        "skipped_folders": len(listing.skipped),
    }
    if listing.skipped:
        metadata["why_skipped"] = MetadataValue.table(
            [TableRecord({"folder": name, "reason": reason}) for name, reason in listing.skipped.items()]
        )
    return metadata


def _export_files_result(
    context: AssetExecutionContext, table: SourceTable, error: BatchError | None
) -> Iterator[AssetCheckResult]:
    key = source_asset_key(table.name)
    if AssetCheckKey(key, EXPORT_FILES_CHECK) in context.selected_asset_check_keys:
        yield AssetCheckResult(
            check_name=EXPORT_FILES_CHECK,
            asset_key=key,
            passed=error is None,
            severity=AssetCheckSeverity.ERROR,
            description=None if error is None else str(error),
        )
