"""The published warehouse as an asset: the audited build of this run, swapped in.

What belongs here: the thin asset and its metadata. What does not: sealing and swapping (`publish`).
"""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

from dagster import (
    AssetExecutionContext,
    AssetsDefinition,
    AssetSpec,
    DagsterEventType,
    Failure,
    MaterializeResult,
    MetadataValue,
    ResourceParam,
    asset,
)

from acl_assets.ingestion.refresh_lock import RefreshLock
from acl_assets.ingestion.source_schema import SOURCE_TABLES
from acl_assets.landing_zone.sensor import PUBLISHED_WAREHOUSE, STATE_DIGEST_METADATA
from acl_assets.publication.publish import (
    AuditResult,
    PublicationError,
    read_published_digest,
    seal_build,
    swap_in,
)
from acl_assets.settings import Settings
from acl_assets.source_tables.assets import source_asset_key
from acl_assets.source_tables.current_state import EXPORT_BATCHES, read_current
from acl_assets.transformation.build import read_build, remove_build
from acl_assets.transformation.spark_warehouse import SPARK, note_publication
from acl_assets.transformation.translator import FRESHNESS, OWNERS
from acl_assets.validation.checks import FACT


def build_published_warehouse(models: Iterable[AssetSpec]) -> AssetsDefinition:
    """The published DuckDB file, downstream of every model and of every source table.

    Of the models only those that no other model reads are named: the rest are upstream of them.

    The source tables and the fact are named beside them because the models' step evaluates checks on those itself:
    Dagster exempts such a step from waiting for other blocking checks on them, so those must gate the publication.
    """
    models = list(models)
    read_by_models = {dep.asset_key for model in models for dep in model.deps}
    last_models = [model.key for model in models if model.key not in read_by_models]
    source_keys = [source_asset_key(table) for table in (*SOURCE_TABLES, EXPORT_BATCHES)]

    @asset(
        key=PUBLISHED_WAREHOUSE,
        deps=[*last_models, FACT, *source_keys],
        group_name="publication",
        owners=list(OWNERS),
        kinds={"duckdb"},
        freshness_policy=FRESHNESS,
        pool="warehouse",
        description="The audited star schema and data products in one DuckDB file, replaced as a whole: what people, "
        "the report and the dashboards read.",
    )
    def published_warehouse(
        context: AssetExecutionContext, settings: ResourceParam[Settings], refresh_lock: RefreshLock
    ) -> MaterializeResult[Any]:
        refresh_lock.acquire(context.run.run_id, context.log.info)
        run_ids = [context.run.run_id, context.run.parent_run_id, context.run.root_run_id]
        record = read_build(settings, run_ids)
        if record is None:
            return _nothing_to_publish(context, settings)
        try:
            publication = seal_build(
                settings,
                record,
                list(audit_results(context, run_ids)),
                datetime.now(UTC).replace(tzinfo=None),
                _source_rows(settings),
            )
            swap_in(settings, record)
            if settings.dbt_target == SPARK:
                note_publication(settings)
        except PublicationError as error:
            raise Failure(str(error), allow_retries=False) from None
        remove_build(settings)
        return MaterializeResult(
            metadata={
                "published": True,
                STATE_DIGEST_METADATA: publication.state_digest,
                "batches": ", ".join(publication.batch_ids),
                "exported_at": MetadataValue.timestamp(publication.exported_at.replace(tzinfo=UTC)),
                "path": MetadataValue.path(str(settings.published_file)),
                "bytes": publication.bytes,
            }
        )

    return published_warehouse


def _nothing_to_publish(context: AssetExecutionContext, settings: Settings) -> MaterializeResult[Any]:
    reason = "this run built no model, so there is nothing new to publish"
    if not settings.published_file.exists():
        raise Failure(
            f"There is no {settings.published_file}, and {reason}. Materialize everything (job refresh, or "
            "--select '*').",
            allow_retries=False,
        )
    context.log.warning(f"{settings.published_file} stays as it is: {reason}.")
    return MaterializeResult(
        metadata={
            "published": False,
            "reason": reason,
            STATE_DIGEST_METADATA: read_published_digest(settings) or "",
            "path": MetadataValue.path(str(settings.published_file)),
        }
    )


def _source_rows(settings: Settings) -> dict[str, int]:
    """Return how many rows every current source table has."""
    current = read_current(settings.source_tables_dir)
    return {table: current.tables[table].rows for table in SOURCE_TABLES}


def audit_results(context: AssetExecutionContext, run_ids: Iterable[str | None]) -> Iterator[AuditResult]:
    """Every check evaluated so far by this run, or by the run it re-executes, oldest first."""
    for run_id in sorted({run_id for run_id in run_ids if run_id}, key=lambda run_id: run_id == context.run.run_id):
        for entry in context.instance.all_logs(run_id, of_type=DagsterEventType.ASSET_CHECK_EVALUATION):
            if entry.dagster_event is None:
                continue
            evaluation = entry.dagster_event.asset_check_evaluation_data
            yield AuditResult(
                asset_key=evaluation.asset_key.to_user_string(),
                check_name=evaluation.check_name,
                passed=evaluation.passed,
                severity=evaluation.severity.value,
                blocking=bool(evaluation.blocking),
                description=evaluation.description,
                checked_at=datetime.fromtimestamp(entry.timestamp, UTC).replace(tzinfo=None),
            )
