"""The dbt models as assets, built by one dbt process into the build file, and dbt's tests as their checks.

What belongs here: running dbt and turning what it says into events with the metadata people read. What does not:
what a model means (its SQL and YAML), what happens to the build afterwards (`publication`).
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from functools import cached_property
from importlib.metadata import version as installed_version
from typing import Any, cast

import duckdb
from dagster import (
    AssetCheckEvaluation,
    AssetCheckResult,
    AssetExecutionContext,
    AssetKey,
    AssetMaterialization,
    AssetObservation,
    AssetsDefinition,
    Failure,
    Output,
    ResourceParam,
    TableColumnDep,
    TableColumnLineage,
    TableMetadataValue,
)
from dagster_dbt import DbtCliInvocation, DbtCliResource, DbtProject, dbt_assets
from dagster_dbt.errors import DagsterDbtCliRuntimeError
from packaging.version import Version

from acl_assets.asset_keys import COLUMN_LINEAGE_METADATA, ROW_COUNT_METADATA
from acl_assets.settings import Settings
from acl_assets.source_tables.current_state import DamagedStateError, read_current
from acl_assets.util.metadata_tables import metadata_table
from acl_assets.util.refresh_lock import RefreshLock
from acl_assets.util.runs import selected_assets
from acl_assets.warehouse.build_file import BuildError, BuildRecord, BuildSelection, begin_build, row_counts
from acl_assets.warehouse.column_lineage import lineage_of_models
from acl_assets.warehouse.dbt_process import PARENT_VARIABLE, applied_dbt_environment, wait_for_dbt
from acl_assets.warehouse.memory import build_memory_limit
from acl_assets.warehouse.project import provide_parser_state
from acl_assets.warehouse.published_file import published_damage
from acl_assets.warehouse.spark_warehouse import QUIET_DBT, SPARK, begin_spark_build, copy_from_spark
from acl_assets.warehouse.translator import FestivalDbtTranslator

_SAMPLE_ROWS = 10
SOURCE_TABLES_VARIABLE = "FESTIVAL_SOURCE_TABLES"
"""The environment variable by which the dbt project finds the source tables."""
_PREVIEW_ROWS = 5
_PREVIEWED_SCHEMA = "data_products"
_DbtEvent = Output[Any] | AssetMaterialization | AssetObservation | AssetCheckResult | AssetCheckEvaluation


class LeanDbtCliResource(DbtCliResource):
    """dagster-dbt's resource without the work a refresh has no use for.

    Before every command the parent class runs `dbt --version` in a process of its own and loads profile, project and
    adapter into this one, to count rows and fetch columns through them: seconds, and a hundred megabytes, in which
    no model is built. The version is known from the installed package; rows are counted from the build file.
    """

    @cached_property
    def _cli_version(self) -> Version:
        return Version(installed_version("dbt-core"))

    def _initialize_dbt_core_adapter(self, args: Any) -> Any:
        return None


def build_dbt_assets(project: DbtProject, manifest: Mapping[str, Any], engine: str = "duckdb") -> AssetsDefinition:
    """The models of a dbt project as assets, its tests as checks; `engine` is the dbt target that builds them."""
    translator = FestivalDbtTranslator(engine)

    @dbt_assets(manifest=manifest, project=project, dagster_dbt_translator=translator, name="dbt_models")
    def dbt_models(
        context: AssetExecutionContext,
        dbt: LeanDbtCliResource,
        settings: ResourceParam[Settings],
        refresh_lock: RefreshLock,
    ) -> Iterator[_DbtEvent]:
        refresh_lock.acquire(context.run.run_id, context.log.info)
        try:
            source_tables = read_current(settings.source_tables_dir)
        except DamagedStateError as error:
            raise Failure(
                f"{error}, so there is nothing to build models from. Materialize everything once (job refresh, or "
                "--select '*'), then single models.",
                allow_retries=False,
            ) from None
        wait_for_dbt(settings.dbt_lock_file)
        selected = context.selected_asset_keys
        complete = selected == dbt_models.keys
        upstream = _upstream_models(dbt_models, selected)
        try:
            if settings.dbt_target == SPARK:
                beside = sorted(".".join(key.path) for key in upstream - selected)
                begin_spark_build(settings, complete=complete, upstream=beside)
            record = begin_build(
                settings,
                context.run.run_id,
                source_tables.digest,
                BuildSelection(complete, upstream <= selected, selected_assets(context)),
            )
        except BuildError as error:
            raise Failure(str(error), allow_retries=False) from None
        context.log.info(_described_build(record, len(selected)))
        if complete and (damage := published_damage(settings)):
            context.log.warning(damage)
        variables = {**settings.dbt_variables, PARENT_VARIABLE: str(os.getpid())}
        variables[SOURCE_TABLES_VARIABLE] = source_tables_location(settings, source_tables.digest)
        # The run's output holds dbt's messages already.
        variables["DBT_LOG_LEVEL_FILE"] = "none"
        if not settings.memory_limit and (limit := build_memory_limit(settings.source_tables_dir / "current")):
            variables["ACL_RECKONED_MEMORY_LIMIT"] = limit
        if settings.dbt_target == SPARK:
            variables |= QUIET_DBT
        if record.is_fragment:
            # Tests that compare a selected model with one that is not there are left out.
            variables["DBT_INDIRECT_SELECTION"] = "buildable"
        target_path = settings.build_dir / "dbt"
        provide_parser_state(project, target_path, context.log.warning)
        with applied_dbt_environment(variables):
            command = ["build", "--exclude-resource-type", "unit_test"]
            invocation = dbt.cli(command, context=context, target_path=target_path)
        yield from _described_events(context, settings, manifest, invocation)

    return dbt_models


def source_tables_location(settings: Settings, digest: str) -> str:
    """Return the folder, or for Spark the URL, in which the engine reads the source tables of a batch chain.

    The folder of the chain, not the link to it: an engine may cache what it has read under a path.
    """
    if settings.dbt_target == SPARK and settings.source_tables_url:
        return f"{settings.source_tables_url}/{digest}"
    return str(settings.source_tables_dir / digest)


def _described_build(record: BuildRecord, models: int) -> str:
    if record.complete:
        return "Building every model from nothing."
    return f"Building {models} selected models{'' if record.is_fragment else ' on a copy of the published file'}."


def _upstream_models(models: AssetsDefinition, selected: AbstractSet[AssetKey]) -> set[AssetKey]:
    """The models that the selected ones are built from, one step up."""
    return {upstream for key in selected for upstream in models.asset_deps[key] if upstream in models.keys}


def _described_events(
    context: AssetExecutionContext, settings: Settings, manifest: Mapping[str, Any], invocation: DbtCliInvocation
) -> Iterator[_DbtEvent]:
    """dbt's events; those that need a look into the build file wait until dbt has let go of it."""
    waiting: list[Output[Any] | AssetCheckResult] = []
    error: DagsterDbtCliRuntimeError | None = None
    try:
        for event in invocation.stream():
            if isinstance(event, Output) or (isinstance(event, AssetCheckResult) and not event.passed):
                waiting.append(event)
            else:
                yield event
    except DagsterDbtCliRuntimeError as raised:
        error = raised
    if settings.dbt_target == SPARK and (waiting or not error):
        try:
            _copy_what_spark_built(context, settings, manifest, invocation, waiting)
        except Exception as copy_error:
            if not error:
                raise
            # What dbt says is what people must read; a Spark that went away fails both.
            context.log.warning(f"What dbt had built when it failed was not copied from Spark: {copy_error}")
            waiting = [event for event in waiting if not isinstance(event, Output)]
    outputs = [event for event in waiting if isinstance(event, Output)]
    described = _output_metadata(context, settings, manifest, invocation, outputs) if outputs else {}
    for event in waiting:
        if isinstance(event, Output):
            metadata = {**event.metadata, **described[event.output_name]}
            yield Output(None, output_name=event.output_name, metadata=metadata)
        else:
            yield _with_failing_rows(settings, manifest, event)
    if error:
        raise error


def _copy_what_spark_built(
    context: AssetExecutionContext,
    settings: Settings,
    manifest: Mapping[str, Any],
    invocation: DbtCliInvocation,
    events: Iterable[Output[Any] | AssetCheckResult],
) -> None:
    """Copy built models and stored failing rows into the build file, and log what was too large for it."""
    stores: list[str] = []
    model_ids: list[str] = []
    for event in events:
        if isinstance(event, Output):
            model_ids.append(str(_raw(event.metadata["unique_id"])))
        else:
            stores.append(_relation(_node(manifest, event)))
    for left_out in copy_from_spark(settings, manifest, model_ids, invocation.target_path, stores):
        context.log.info(f"Too large for the published file, and left in Spark: {left_out}.")


def _output_metadata(
    context: AssetExecutionContext,
    settings: Settings,
    manifest: Mapping[str, Any],
    invocation: DbtCliInvocation,
    outputs: list[Output[Any]],
) -> dict[str, dict[str, Any]]:
    """Return row count, column lineage and, of data products, the first rows of every built model, by output name."""
    model_ids = {output.output_name: str(_raw(output.metadata["unique_id"])) for output in outputs}
    relations = {name: _relation(manifest["nodes"][unique_id]) for name, unique_id in model_ids.items()}
    counts = row_counts(settings.build_file, list(relations.values()))
    lineage = lineage_of_models(manifest, invocation.target_path, list(model_ids.values()), context.log.warning)
    translator = invocation.dagster_dbt_translator
    publishes = "published_warehouse" in selected_assets(context)
    described: dict[str, dict[str, Any]] = {}
    for name, unique_id in model_ids.items():
        deps = {
            column: [
                TableColumnDep(translator.get_asset_spec(manifest, upstream, invocation.project).key, upstream_column)
                for upstream, upstream_column in sources
            ]
            for column, sources in lineage.get(unique_id, {}).items()
        }
        described[name] = {
            ROW_COUNT_METADATA: counts[relations[name]],
            COLUMN_LINEAGE_METADATA: TableColumnLineage(deps),
            "publication": (
                "left to published_warehouse in this run"
                if publishes
                else f"nothing: published_warehouse is not selected; the build stays in {settings.build_file}"
            ),
        }
        if relations[name].startswith(f"{_PREVIEWED_SCHEMA}."):
            preview = _first_rows(settings, relations[name], _PREVIEW_ROWS)
            described[name] |= {} if preview is None else {"preview": preview}
    return described


def _with_failing_rows(settings: Settings, manifest: Mapping[str, Any], result: AssetCheckResult) -> AssetCheckResult:
    """The result with its test's description and a sample of the failing rows that dbt stored."""
    test = _node(manifest, result)
    relation = _relation(test)
    where = f"{relation} in {settings.build_file}, or in the published file once that build is published"
    metadata: dict[str, Any] = {**result.metadata, "stored_failures": where}
    if (sample := _first_rows(settings, relation, _SAMPLE_ROWS)) is not None:
        metadata["failing_rows"] = sample
    return AssetCheckResult(
        passed=result.passed,
        asset_key=result.asset_key,
        check_name=result.check_name,
        severity=result.severity,
        description=test.get("description") or None,
        metadata=metadata,
    )


def _first_rows(settings: Settings, relation: str, limit: int) -> TableMetadataValue | None:
    """Return the first rows of a relation as table metadata, or None where the build file does not hold it."""
    if not settings.build_file.exists():
        return None
    with duckdb.connect(str(settings.build_file), read_only=True) as connection:
        connection.execute("set TimeZone = 'UTC'")
        try:
            cursor = connection.execute(f"select * from {relation} limit {limit}")
        except duckdb.CatalogException:
            return None
        return metadata_table([column[0] for column in cursor.description], cursor.fetchall())


def _node(manifest: Mapping[str, Any], result: AssetCheckResult) -> Mapping[str, Any]:
    node: Mapping[str, Any] = manifest["nodes"][str(_raw(result.metadata["unique_id"]))]
    return node


def _relation(node: Mapping[str, Any]) -> str:
    return f"{node['schema']}.{node['alias']}"


def _raw(value: object) -> object:
    return cast(Any, value).value if hasattr(value, "value") else value
