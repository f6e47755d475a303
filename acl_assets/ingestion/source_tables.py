"""The source tables as Dagster assets: the newest state of the landing zone, converted to typed Parquet.

What belongs here: thin assets over `export_batch`, `conversion` and `source_state`, and the metadata people read in
the UI. What does not: rules about batches or files.
"""

import time
from collections.abc import Iterator, Mapping
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
    MaterializeResult,
    MetadataValue,
    ResourceParam,
    TableColumn,
    TableColumnConstraints,
    TableMetadataValue,
    TableSchema,
    multi_asset,
)

from acl_assets.child_process import ChildProcess, ChildProcesses
from acl_assets.ingestion import remote_source_tables, source_state
from acl_assets.ingestion.converted_table import ConvertedTable
from acl_assets.ingestion.export_batch import (
    BatchError,
    ExportBatch,
    LandingZoneState,
    list_landing_zone,
    resolve_state,
)
from acl_assets.ingestion.extraction_job import ticketing_asset_key
from acl_assets.ingestion.object_storage import ObjectStorageError
from acl_assets.ingestion.refresh_lock import RefreshLock
from acl_assets.ingestion.remote_landing_zone import on_this_machine
from acl_assets.ingestion.source_schema import SOURCE_TABLES, SUMMED_COLUMNS, SourceTable
from acl_assets.settings import Settings
from acl_assets.util.metadata_tables import metadata_table

SOURCE_PREFIX = "festival"
EXPORT_FILES_CHECK = "export_files_as_manifest"
_CONVERT_TABLE = "acl_assets.ingestion.conversion:convert_table"
_MERGE_FILES = "acl_assets.ingestion.compaction:merge_files"
_PREVIEW_ROWS = 5
_BYTES_FOR_TWO = 20_000_000
_COLUMN_TYPES = {"int": "integer", "text": "varchar", "timestamptz": "timestamp with time zone"}


def source_asset_key(table: str) -> AssetKey:
    """The asset key of a source table."""
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
    source_asset_key(source_state.EXPORT_BATCHES),
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
    """Convert the landing zone's newest state and make it the current one.

    A state is switched as a whole, because models must never read tables of two states: tables that are not selected
    are converted too where they have not been.
    """
    refresh_lock.acquire(context.run.run_id, context.log.info)
    state = find_state(settings)
    context.log.info(
        f"The newest state of {settings.exports_dir} is batch {state.newest.batch_id}, "
        f"exported at {state.newest.exported_at.isoformat()}."
    )
    errors: list[str] = []
    with ChildProcesses(_processes_for(state)) as processes:
        conversions = {
            table.name: processes.submit(_convert, context, settings, state, table)
            for table in sorted(SOURCE_TABLES.values(), key=lambda table: _exported_bytes(state, table), reverse=True)
        }
        for table in SOURCE_TABLES.values():
            key = source_asset_key(table.name)
            try:
                metadata = conversions[table.name].result()
            except BatchError as error:
                errors.append(str(error))
                yield from _export_files_result(context, table, error)
                continue
            if key in context.selected_asset_keys:
                yield MaterializeResult(asset_key=key, metadata=metadata)
            elif metadata["converted_in_this_run"]:
                context.log_event(AssetMaterialization(key, metadata=metadata))
            yield from _export_files_result(context, table, None)
    if errors:
        raise Failure("\n".join(errors), allow_retries=False)
    source_state.switch_current(settings.source_tables_dir, state)
    if settings.source_tables_url:
        remote_source_tables.send_current(settings.source_tables_url, settings.source_tables_dir, state)
    if EXPORT_BATCHES_SPEC.key in context.selected_asset_keys:
        yield MaterializeResult(asset_key=EXPORT_BATCHES_SPEC.key, metadata=_state_metadata(state))


def find_state(settings: Settings) -> LandingZoneState:
    """Find what the source tables should hold now.

    Raises:
        Failure: no complete batch has landed, one that counts is bad, or the landing zone cannot be reached; the
            message says what to do.
    """
    try:
        listing = list_landing_zone(settings.exports_dir, settings.settle_seconds)
        state = resolve_state(settings.exports_dir, listing)
    except (BatchError, ObjectStorageError) as error:
        raise Failure(str(error), allow_retries=False) from None
    return state


def _processes_for(state: LandingZoneState) -> int:
    """How many conversions to run side by side: two tables hold nearly all rows, and a process takes time to start."""
    return 2 if sum(_exported_bytes(state, table) for table in SOURCE_TABLES.values()) >= _BYTES_FOR_TWO else 1


def _exported_bytes(state: LandingZoneState, table: SourceTable) -> int:
    return sum(file.bytes for batch in state.batches for file in batch.tables[table.name].files)


def _convert(
    converter: ChildProcess,
    context: AssetExecutionContext,
    settings: Settings,
    state: LandingZoneState,
    table: SourceTable,
) -> dict[str, Any]:
    """Convert every batch of the state that is not converted yet, and describe the newest and the whole table."""
    source_tables_dir = settings.source_tables_dir
    known = _known_conversions(settings, table, state)
    conversions: list[ConvertedTable] = []
    for batch, found in zip(state.batches, known, strict=True):
        started = time.perf_counter()
        converted = found or _convert_batch(converter, context, settings, batch, table)
        seconds = None if found else time.perf_counter() - started
        if seconds is not None:
            context.log.info(
                f"{table.name}: converted {converted.rows:,} rows in {seconds:.2f} s to {converted.path.name} "
                f"({converted.bytes:,} bytes)."
            )
        conversions.append(converted)
    if any(known):
        rows = sum(found.rows for found in known if found)
        context.log.info(
            f"{table.name}: {rows:,} rows of {len(known) - known.count(None)} batches are converted already."
        )
    metadata = _table_metadata(table, state.newest, converted, seconds)
    metadata["converted_in_this_run"] = None in known
    if merge := source_state.due_merge(source_tables_dir, table.name, state.batches, conversions):
        kept = converter.call(_MERGE_FILES, merge, table)
        context.log.info(f"{table.name}: merged {len(merge.files)} files into one of {kept:,} rows.")
    if len(state.batches) > 1:
        files = source_state.table_files(source_tables_dir, table.name, state.batches)
        sums = SUMMED_COLUMNS.get(table.name, ())
        metadata["dagster/row_count"], *_ = source_state.merged_totals(list(files.values()), sums)
    return metadata


def _known_conversions(settings: Settings, table: SourceTable, state: LandingZoneState) -> list[ConvertedTable | None]:
    source_tables_dir, url = settings.source_tables_dir, settings.source_tables_url
    known = source_state.known_conversions(source_tables_dir, table.name, state.batches)
    if url and None in known:
        remote_source_tables.fetch_conversions(url, source_tables_dir, table.name, state.batches, known)
        return source_state.known_conversions(source_tables_dir, table.name, state.batches)
    return known


def _convert_batch(
    converter: ChildProcess, context: AssetExecutionContext, settings: Settings, batch: ExportBatch, table: SourceTable
) -> ConvertedTable:
    target = source_state.converted_file(settings.source_tables_dir, table.name, batch)
    rejects_file = target.with_suffix(".rejects.jsonl")
    with on_this_machine(batch, table.name, settings.source_tables_dir / source_state.FETCHED) as here:
        converted: ConvertedTable = converter.call(
            _CONVERT_TABLE, here, table, target, rejects_file, log=context.log.info
        )
    return converted


def _table_metadata(
    table: SourceTable, batch: ExportBatch, converted: ConvertedTable, seconds: float | None
) -> dict[str, Any]:
    exported = batch.tables[table.name]
    metadata: dict[str, Any] = {
        "dagster/row_count": converted.rows,
        "rows_of_batch": converted.rows,
        "batch_id": batch.batch_id,
        "exported_bytes": sum(file.bytes for file in exported.files),
        "rows_by_file": MetadataValue.json(dict(converted.rows_by_file)),
        "path": MetadataValue.path(str(converted.path)),
        "bytes": converted.bytes,
        "preview": _preview(table, converted),
    }
    if seconds:
        metadata["rows_per_second"] = round(converted.rows / seconds)
    return metadata


def _preview(table: SourceTable, converted: ConvertedTable) -> TableMetadataValue:
    """Return the first rows as table metadata, personal data masked."""
    with duckdb.connect() as connection:
        # One thread reads one row group; each keeps ten megabytes.
        connection.execute("set TimeZone = 'UTC'; set threads = 1")
        found = connection.execute("from read_parquet(?) limit ?", [str(converted.path), _PREVIEW_ROWS]).fetchall()
    hidden = [name in table.personal_columns for name in table.column_names]
    rows = [["(personal data)" if mask else value for mask, value in zip(hidden, row, strict=True)] for row in found]
    return metadata_table(table.column_names, rows)


def _state_metadata(state: LandingZoneState) -> Mapping[str, Any]:
    newest = state.newest
    return {
        "dagster/row_count": len(state.batches),
        "batch_id": newest.batch_id,
        "exported_at": MetadataValue.timestamp(newest.exported_at),
        "exported_at_is_file_time": not newest.has_manifest,
        "state_digest": state.digest,
    }


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
            description=None if error is None else f"The files of {table.name} break the contract: see the reason.",
            # The error quotes the files, and the UI renders descriptions as Markdown but not text.
            metadata={} if error is None else {"reason": MetadataValue.text(str(error))},
        )
