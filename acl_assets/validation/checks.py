"""The asset checks on source tables that look beyond the tables themselves, run in one step.

What belongs here: thin checks. What does not: the rules (`row_counts`), and whatever dbt tests can say.
"""

from collections.abc import Iterator

import duckdb
from dagster import (
    AssetCheckExecutionContext,
    AssetCheckResult,
    AssetCheckSeverity,
    AssetCheckSpec,
    Config,
    ResourceParam,
    multi_asset_check,
)
from pydantic import Field

from acl_assets.ingestion.export_batch import BatchError, ExportBatch, find_batch, list_landing_zone
from acl_assets.ingestion.source_schema import SOURCE_TABLES
from acl_assets.ingestion.source_state import known_conversion, read_current_batches
from acl_assets.ingestion.source_tables import source_asset_key
from acl_assets.settings import Settings
from acl_assets.validation.row_counts import MOST_LOSS, disagreements, lost_share

ROWS_CHECK = "rows_as_manifest_and_source"
VOLUME_CHECK = "volume_against_published"


class VolumeConfig(Config):
    """What this one run lets through."""

    accept_volume_loss: bool = Field(
        default=False,
        description="Let a full batch through, in this run, that lost more than half of a table's published rows.",
    )


@multi_asset_check(
    name="source_row_counts",
    specs=[
        spec
        for table in SOURCE_TABLES
        for spec in (
            AssetCheckSpec(
                ROWS_CHECK,
                asset=source_asset_key(table),
                description="Rows in the table = rows in the manifest = rows at the source.",
                blocking=True,
            ),
            AssetCheckSpec(
                VOLUME_CHECK,
                asset=source_asset_key(table),
                description="A full batch does not lose more than half of the rows that are published.",
                blocking=True,
            ),
        )
    ],
    can_subset=True,
)
def source_row_counts(
    context: AssetCheckExecutionContext, config: VolumeConfig, settings: ResourceParam[Settings]
) -> Iterator[AssetCheckResult]:
    """Compare the current source tables with manifest, source and published state."""
    selected = context.selected_asset_check_keys
    published = published_source_rows(settings)
    current: list[ExportBatch] | BatchError
    try:
        current = current_batches(settings)
    except BatchError as error:
        current = error
    for table in SOURCE_TABLES:
        results = [rows_result(settings, table, current), volume_result(settings, table, published, config)]
        for result in results:
            if any(key.asset_key == result.asset_key and key.name == result.check_name for key in selected):
                yield result


def current_batches(settings: Settings) -> list[ExportBatch]:
    """The batches of the landing zone that the current source tables were converted from.

    Raises:
        BatchError: one of them is gone or has changed.
    """
    listing = list_landing_zone(settings.exports_dir, settings.settle_seconds)
    return [
        find_batch(listing, batch_id, digest) for batch_id, digest in read_current_batches(settings.source_tables_dir)
    ]


def rows_result(settings: Settings, table: str, current: list[ExportBatch] | BatchError) -> AssetCheckResult:
    """Whether a current source table holds what its manifest and its source say."""
    found: list[str] = []
    rows = 0
    if isinstance(current, BatchError):
        found.append(str(current))
    else:
        for batch in current:
            converted = known_conversion(settings.source_tables_dir, table, batch)
            rows_by_file = converted.rows_by_file if converted else {}
            rows += converted.rows if converted else 0
            found += disagreements(batch.tables[table], rows_by_file)
    stated = not isinstance(current, BatchError) and all(batch.has_manifest for batch in current)
    return AssetCheckResult(
        check_name=ROWS_CHECK,
        asset_key=source_asset_key(table),
        passed=not found,
        severity=AssetCheckSeverity.ERROR,
        description="; ".join(found) or (None if stated else "The batch has no manifest that states row counts."),
        metadata={"rows": rows, "manifest_states_rows": stated},
    )


def volume_result(settings: Settings, table: str, published: dict[str, int], config: VolumeConfig) -> AssetCheckResult:
    """Whether a current source table kept enough of what is published."""
    rows = _rows(settings, table)
    lost = lost_share(rows, published.get(table))
    too_much = lost > MOST_LOSS
    description = None
    if too_much:
        description = (
            f"{table} has {rows:,} rows where {published[table]:,} are published: {lost:.0%} are gone. If that is "
            "right, let it through once by launching refresh with the run config "
            "{ops: {source_row_counts: {config: {accept_volume_loss: true}}}}; otherwise land a newer full batch."
        )
    return AssetCheckResult(
        check_name=VOLUME_CHECK,
        asset_key=source_asset_key(table),
        passed=not too_much or config.accept_volume_loss,
        severity=AssetCheckSeverity.ERROR,
        description=description,
        metadata={"rows": rows, "published_rows": published.get(table, 0), "lost_share": lost},
    )


def published_source_rows(settings: Settings) -> dict[str, int]:
    """Rows of each source table in the state that is published; empty when nothing is."""
    if not settings.published_file.exists():
        return {}
    with duckdb.connect(str(settings.published_file), read_only=True) as connection:
        return dict(connection.execute("select table_name, row_count from publication.source_tables").fetchall())


def _rows(settings: Settings, table: str) -> int:
    files = settings.source_tables_dir / "current" / table / "*.parquet"
    with duckdb.connect() as connection:
        row = connection.execute("select count(*) from read_parquet(?)", [str(files)]).fetchone()
    return int(row[0]) if row else 0
