"""The source tables as Dagster assets: the batch chain of the landing zone, converted to typed Parquet."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
from dagster import (
    AssetCheckKey,
    AssetCheckResult,
    AssetCheckSeverity,
    AssetCheckSpec,
    AssetExecutionContext,
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

from acl_assets.asset_keys import (
    CODE_METADATA,
    COLUMN_SCHEMA_METADATA,
    OWNERS,
    PERSONAL_DATA_TAGS,
    ROW_COUNT_METADATA,
    SOURCE_TABLES_GROUP,
    source_table_key,
    ticketing_key,
)
from acl_assets.landing_zone.batches import BatchChain, Listing, list_batches, resolve_chain
from acl_assets.landing_zone.manifest import BatchError
from acl_assets.landing_zone.store import LandingZoneError, landing_zone_at
from acl_assets.settings import Settings
from acl_assets.source_schema import EXPORT_BATCHES_TABLE, SOURCE_TABLES, SourceTable
from acl_assets.source_tables.conversion import BadTablesError, convert_chain
from acl_assets.source_tables.current_state import EXPORT_BATCHES, ConvertedChain, table_file
from acl_assets.util.metadata_tables import metadata_table
from acl_assets.util.object_storage import ObjectStorageError
from acl_assets.util.refresh_lock import RefreshLock
from acl_assets.util.runs import unwritable
from acl_assets.util.sql import duckdb_files, quoted_name

EXPORT_FILES_CHECK = "export_files_as_manifest"
_PREVIEW_ROWS = 5
_COLUMN_TYPES = {"int": "integer", "text": "varchar", "timestamptz": "timestamp with time zone", "bool": "boolean"}


def _spec(table: SourceTable, **options: Any) -> AssetSpec:
    columns = [
        TableColumn(
            column.name,
            _COLUMN_TYPES[column.type],
            column.description,
            constraints=TableColumnConstraints(nullable=column.is_optional, unique=column is table.columns[0]),
            tags=PERSONAL_DATA_TAGS if column.is_personal else None,
        )
        for column in table.columns
    ]
    return AssetSpec(
        source_table_key(table.name),
        group_name=SOURCE_TABLES_GROUP,
        owners=list(OWNERS),
        kinds={"parquet", "table"},
        skippable=True,
        tags=PERSONAL_DATA_TAGS if table.personal_columns else None,
        metadata={
            COLUMN_SCHEMA_METADATA: TableSchema(columns),
            CODE_METADATA: MetadataValue.path("acl_assets/source_tables/assets.py"),
        },
        **options,
    )


_SPECS = [
    _spec(
        table,
        deps=[ticketing_key(table.name)],
        description=f"{table.description} As exported by the ticketing system, verified and typed.",
    )
    for table in SOURCE_TABLES.values()
] + [_spec(EXPORT_BATCHES_TABLE, description=EXPORT_BATCHES_TABLE.description)]


@multi_asset(
    name="source_tables",
    specs=_SPECS,
    check_specs=[
        AssetCheckSpec(
            EXPORT_FILES_CHECK,
            asset=source_table_key(table),
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
    refresh_lock.acquire(context.run.run_id, context.log.warning)
    try:
        listing = list_batches(landing_zone_at(settings.exports_dir), settings.settle_seconds)
        chain = resolve_chain(listing)
        if listing.skipped:
            context.log.warning(listing.skipped_text.strip())
        context.log.info(
            f"The newest batch of {settings.exports_dir} is {chain.newest.batch_id}, "
            f"exported at {chain.newest.exported_at.isoformat()}."
        )
        current, made = convert_chain(settings, chain, log=context.log.info, warn=context.log.warning)
    except BadTablesError as error:
        for table in SOURCE_TABLES.values():
            yield from _export_files_result(context, table, error.errors.get(table.name))
        raise Failure(str(error), allow_retries=False) from None
    except (BatchError, LandingZoneError, ObjectStorageError) as error:
        raise Failure(str(error), allow_retries=False) from None
    except OSError as error:
        raise unwritable(settings.source_tables_dir, error) from None
    for table in SOURCE_TABLES.values():
        key = source_table_key(table.name)
        path = table_file(settings.source_tables_dir / current.digest, table.name)
        metadata = _table_metadata(table, current, path) | {"converted_in_this_run": made}
        if key in context.selected_asset_keys:
            yield MaterializeResult(asset_key=key, metadata=metadata)
        elif made:
            context.log_event(AssetMaterialization(key, metadata=metadata))
        yield from _export_files_result(context, table, None)
    key = source_table_key(EXPORT_BATCHES)
    if key in context.selected_asset_keys:
        yield MaterializeResult(asset_key=key, metadata=_chain_metadata(chain, listing))


def _table_metadata(table: SourceTable, current: ConvertedChain, path: Path) -> dict[str, Any]:
    file, newest = current.tables[table.name], current.newest
    return {
        ROW_COUNT_METADATA: file.rows,
        "rows_of_batch": sum(newest.rows_by_file[table.name].values()),
        "batch_id": newest.batch_id,
        "exported_bytes": sum(exported.bytes for exported in newest.tables[table.name].files),
        "rows_by_file": MetadataValue.json(newest.rows_by_file[table.name]),
        "path": MetadataValue.path(str(path)),
        "bytes": file.bytes,
        "preview": _preview(table, path),
    }


def _preview(table: SourceTable, path: Path) -> TableMetadataValue:
    """Return the first rows as table metadata, personal data masked."""
    columns = [
        "'(personal data)'" if name in table.personal_columns else quoted_name(name) for name in table.column_names
    ]
    # pyarrow would read a whole row group, load pandas, and keep both in memory until the run ends.
    with duckdb.connect() as connection:
        connection.execute("set TimeZone = 'UTC'")
        query = f"select {', '.join(columns)} from read_parquet({duckdb_files([path])}) limit {_PREVIEW_ROWS}"
        return metadata_table(table.column_names, connection.execute(query).fetchall())


def _chain_metadata(chain: BatchChain, listing: Listing) -> dict[str, Any]:
    newest = chain.newest
    return {
        ROW_COUNT_METADATA: len(chain.batches),
        "batch_id": newest.batch_id,
        "exported_at": MetadataValue.timestamp(newest.exported_at),
        "exported_at_is_file_time": not newest.has_manifest,
        "state_digest": chain.digest,
        "skipped_folders": len(listing.skipped),
        "why_skipped": metadata_table(["folder", "reason"], listing.skipped.items()),
    }


def _export_files_result(
    context: AssetExecutionContext, table: SourceTable, error: BatchError | None
) -> Iterator[AssetCheckResult]:
    key = source_table_key(table.name)
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
