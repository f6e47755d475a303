"""The dbt models as assets, built by one dbt process, and dbt's tests as their checks."""

import os
from collections.abc import Iterator, Mapping
from typing import Any

from dagster import AssetExecutionContext, AssetsDefinition, Failure, ResourceParam

from acl_assets.settings import Settings
from acl_assets.source_tables.current_state import DamagedStateError, read_current
from acl_assets.util.locks import held_lock
from acl_assets.util.refresh_lock import RefreshLock
from acl_assets.util.runs import selected_assets
from acl_assets.warehouse.build_file import MIXED_STATES, BuildError, BuildRecord, begin_build
from acl_assets.warehouse.dbt_events import DbtEvent, described_events
from acl_assets.warehouse.dbt_process import PARENT_VARIABLE, applied_dbt_environment
from acl_assets.warehouse.engine import Engine
from acl_assets.warehouse.lean_dagster_dbt import DbtProject, LeanDbtCliResource, dbt_assets
from acl_assets.warehouse.project import provide_parser_state
from acl_assets.warehouse.published_file import PublishedFileError, read_published_digest
from acl_assets.warehouse.translator import FestivalDbtTranslator

SOURCE_TABLES_VARIABLE = "FESTIVAL_SOURCE_TABLES"
"""The environment variable by which the dbt project finds the source tables."""


def build_dbt_assets(project: DbtProject, manifest: Mapping[str, Any], engine: Engine) -> AssetsDefinition:
    """Return the models of a dbt project as assets that an engine builds, and its tests as their checks."""
    translator = FestivalDbtTranslator(engine.name)

    @dbt_assets(manifest=manifest, project=project, dagster_dbt_translator=translator, name="dbt_models")
    def dbt_models(
        context: AssetExecutionContext,
        dbt: LeanDbtCliResource,
        settings: ResourceParam[Settings],
        refresh_lock: RefreshLock,
    ) -> Iterator[DbtEvent]:
        refresh_lock.acquire(context.run.run_id, context.log.warning)
        with held_lock(settings.dbt_lock_file, seconds=-1):
            pass  # A dbt process of an earlier run ends a moment after its run.
        record = _begin_build(context, settings, engine, dbt_models)
        variables = {
            **settings.dbt_variables,
            **engine.dbt_environment(),
            PARENT_VARIABLE: str(os.getpid()),
            SOURCE_TABLES_VARIABLE: engine.source_tables_location(record.state),
            # The run's output holds dbt's messages already.
            "DBT_LOG_LEVEL_FILE": "none",
            # Nobody reads them: the manifest is that of the project, and results come with the events.
            "DBT_WRITE_JSON": "false",
            # Dagster's UI shows codes of colours as text.
            "DBT_USE_COLORS": "false",
        }
        if record.is_fragment:
            # Tests that compare a selected model with one that does not exist are left out.
            variables["DBT_INDIRECT_SELECTION"] = "buildable"
        target_path = settings.build_dir / "dbt"
        provide_parser_state(project, target_path)
        with applied_dbt_environment(variables):
            command = ["build", "--exclude-resource-type", "unit_test"]
            invocation = dbt.cli(command, context=context, target_path=target_path)
        yield from described_events(context, engine, manifest, invocation)

    return dbt_models


def _begin_build(
    context: AssetExecutionContext, settings: Settings, engine: Engine, models: AssetsDefinition
) -> BuildRecord:
    """Prepare engine and build file for the models selected in this run; fail the run where that is impossible."""
    selected = context.selected_asset_keys
    checked = {check.asset_key for check in context.selected_asset_check_keys}
    needed = checked.union(*(models.asset_deps[model] for model in selected)) & models.keys
    complete = selected == models.keys
    published_state = None
    try:
        if settings.published_file.exists():
            published_state = read_published_digest(settings)
    except PublishedFileError as error:
        if not complete:
            raise Failure(str(error), allow_retries=False) from None
        context.log.warning(str(error))
    try:
        state = read_current(settings.source_tables_dir).digest
        is_mixed = not complete and published_state not in (None, state)
        if is_mixed and any(models.asset_deps[model] - models.keys for model in (selected | checked) & models.keys):
            # Checks would compare models of one state with models or source tables of another.
            raise BuildError(MIXED_STATES)
        engine.begin_build(complete=complete)
        record = BuildRecord(
            run_id=context.run.run_id,
            published_state=published_state,
            complete=complete,
            state=state,
            assets=selected_assets(context),
        )
        begin_build(settings, record, self_sufficient=needed <= selected)
    except DamagedStateError as error:
        raise Failure(
            f"{error}, so there is nothing to build models from. Materialize everything once (job refresh, or "
            "--select '*'), then single models.",
            allow_retries=False,
        ) from None
    except BuildError as error:
        raise Failure(str(error), allow_retries=False) from None
    if complete:
        context.log.info("Building every model from nothing.")
    else:
        base = "" if record.is_fragment else " on a copy of the published file"
        context.log.info(f"Building {len(selected)} selected models{base}.")
    return record
