"""The published warehouse as an asset: the audited build of the run replaces the published file."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import duckdb
from dagster import (
    AssetCheckSpec,
    AssetExecutionContext,
    AssetsDefinition,
    AssetSpec,
    DagsterEventType,
    DagsterInstance,
    Failure,
    MaterializeResult,
    MetadataValue,
    ResourceParam,
    asset,
)

from acl_assets.asset_keys import (
    CODE_METADATA,
    FRESHNESS,
    OWNERS,
    PUBLICATION_GROUP,
    PUBLISHED_WAREHOUSE,
    STATE_DIGEST_METADATA,
    source_table_key,
)
from acl_assets.settings import Settings
from acl_assets.source_schema import SOURCE_TABLES
from acl_assets.source_tables.current_state import EXPORT_BATCHES
from acl_assets.util.refresh_lock import RefreshLock
from acl_assets.util.runs import run_chain, selected_assets
from acl_assets.warehouse.build_file import BuildError, BuildRecord, read_build, remove_build
from acl_assets.warehouse.data_product_files import switch_data_products
from acl_assets.warehouse.engine import Engine
from acl_assets.warehouse.publication import AuditResult, publish_build, require_publishable
from acl_assets.warehouse.published_file import PublishedFileError, read_published_digest

_SOURCE_KEYS = [source_table_key(table) for table in (*SOURCE_TABLES, EXPORT_BATCHES)]
_SOURCES = {key.to_user_string() for key in _SOURCE_KEYS}


def build_published_warehouse(
    models: Iterable[AssetSpec], checks: Sequence[AssetCheckSpec], engine: Engine, time_zone: str
) -> AssetsDefinition:
    """Define the published DuckDB file, downstream of every model and of every source table.

    The source tables are dependencies because Dagster does not let the models' step, which evaluates checks on them
    itself, wait for other blocking checks on them. Publication requires the blocking ones of `checks` whose assets are
    selected in the run, or in the run that built.
    """
    blocking = [(check.asset_key.to_user_string(), check.name) for check in checks if check.blocking]
    descriptions = {(check.asset_key.to_user_string(), check.name): check.description for check in checks}
    model_keys = [model.key for model in models]

    @asset(
        key=PUBLISHED_WAREHOUSE,
        deps=[*model_keys, *_SOURCE_KEYS],
        group_name=PUBLICATION_GROUP,
        owners=list(OWNERS),
        metadata={CODE_METADATA: MetadataValue.path("acl_assets/warehouse/publication_asset.py")},
        kinds={"duckdb"},
        freshness_policy=FRESHNESS,
        pool="warehouse",
        description="The audited star schema and data products in one DuckDB file, replaced as a whole: what people, "
        "the report and the dashboards read.",
    )
    def published_warehouse(
        context: AssetExecutionContext, settings: ResourceParam[Settings], refresh_lock: RefreshLock
    ) -> MaterializeResult[Any]:
        refresh_lock.acquire(context.run.run_id, context.log.warning)
        selected = selected_assets(context)
        runs = run_chain(context.instance, context.run)
        record = read_build(settings, runs)
        if record is None:
            if {key.to_user_string() for key in model_keys}.intersection(selected):
                raise Failure(
                    f"{settings.build_file} does not hold the models of this run: another run has replaced the build. "
                    "Nothing was published. Refresh again.",
                    allow_retries=False,
                )
            return _nothing_to_publish(context, settings)
        # The source tables may hold a state that a check of an earlier run refused.
        is_new_state = record.state != record.published_state
        assets = {*record.assets, *selected, *(_SOURCES if is_new_state else ())}
        required = {(key, check) for key, check in blocking if key in assets}
        results = [
            result._replace(description=result.description or descriptions.get((result.asset_key, result.check_name)))
            for result in audit_results(context.instance, runs, record)
        ]
        try:
            chain = require_publishable(settings, record, required, results)
            publish_build(settings, record, chain, results, datetime.now(ZoneInfo(time_zone)))
        except BuildError as error:
            raise Failure(str(error), allow_retries=False) from None
        except (OSError, duckdb.IOException, duckdb.TransactionException) as error:
            raise Failure(
                f"{settings.published_file} cannot be replaced: {error}. Let this user write in its folder, keep that "
                f"on the file system of {settings.build_dir}, and make room if the disk is full. Then refresh again.",
                allow_retries=False,
            ) from None
        engine.note_publication()
        remove_build(settings)
        return MaterializeResult(
            metadata={
                "published": True,
                STATE_DIGEST_METADATA: record.state,
                "batches": ", ".join(batch.batch_id for batch in chain.batches),
                "exported_at": MetadataValue.timestamp(chain.newest.exported_at),
                "path": MetadataValue.path(str(settings.published_file)),
                "data_products": MetadataValue.path(str(settings.data_products_link)),
                "bytes": settings.published_file.stat().st_size,
            }
        )

    return published_warehouse


def _nothing_to_publish(context: AssetExecutionContext, settings: Settings) -> MaterializeResult[Any]:
    reason = "this run built no model, so there is nothing new to publish"
    try:
        digest = read_published_digest(settings)
    except PublishedFileError as error:
        raise Failure(f"{error} Nothing was published now: {reason}.", allow_retries=False) from None
    switch_data_products(settings)
    context.log.warning(f"{settings.published_file} stays as it is: {reason}.")
    return MaterializeResult(
        metadata={
            "published": False,
            "reason": reason,
            STATE_DIGEST_METADATA: digest,
            "path": MetadataValue.path(str(settings.published_file)),
        }
    )


def audit_results(instance: DagsterInstance, runs: Sequence[str], record: BuildRecord) -> Iterator[AuditResult]:
    """Yield the results of the checks that are about this build, oldest first.

    The run that built counts, and later runs that re-execute it. A run before the build, which a re-execution from
    failure continues, counts for the source tables alone, and only if it left them in the state that was built from.
    """
    since_build = runs[: runs.index(record.run_id) + 1]
    for run_id in reversed(runs):
        if run_id in since_build:
            yield from _results_of(instance, run_id)
        elif _state_left_by(instance, run_id) == record.state:
            yield from (result for result in _results_of(instance, run_id) if result.asset_key in _SOURCES)


def _state_left_by(instance: DagsterInstance, run_id: str) -> object:
    """Return the digest of the state that a run made the current one, None if it made none."""
    for entry in instance.all_logs(run_id, of_type=DagsterEventType.ASSET_MATERIALIZATION):
        event = entry.get_dagster_event()
        if event.asset_key == source_table_key(EXPORT_BATCHES):
            recorded = event.step_materialization_data.materialization.metadata.get(STATE_DIGEST_METADATA)
            return recorded.value if recorded else None
    return None


def _results_of(instance: DagsterInstance, run_id: str) -> Iterator[AuditResult]:
    for entry in instance.all_logs(run_id, of_type=DagsterEventType.ASSET_CHECK_EVALUATION):
        evaluation = entry.get_dagster_event().asset_check_evaluation_data
        yield AuditResult(
            asset_key=evaluation.asset_key.to_user_string(),
            check_name=evaluation.check_name,
            passed=evaluation.passed,
            severity=evaluation.severity.value,
            blocking=bool(evaluation.blocking),
            description=evaluation.description,
            checked_at=datetime.fromtimestamp(entry.timestamp, UTC),
        )
