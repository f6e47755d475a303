"""Wire everything: assets, checks, jobs, schedules, sensors and resources.

`build_definitions` takes settings and resources to use instead of the default ones. Dagster loads `defs`: these
definitions and those in `acl_assets/defs`.
"""

import gc
import warnings
from pathlib import Path
from typing import Any

from dagster import (
    AssetSelection,
    BetaWarning,
    Definitions,
    InitResourceContext,
    ResourceDefinition,
    define_asset_job,
    in_process_executor,
    load_from_defs_folder,
)

from acl_assets.alerts.data_age import build_hourly_data_age, check_data_age, data_age
from acl_assets.alerts.sensors import build_alert_sensors
from acl_assets.extraction.job import build_nightly_extract, extract, ticketing_tables
from acl_assets.landing_zone.sensor import new_export_batch_sensor
from acl_assets.report.asset import build_all_stars_report
from acl_assets.settings import Settings
from acl_assets.source_tables.assets import source_tables
from acl_assets.superset.asset import superset_dashboard
from acl_assets.util.refresh_lock import RefreshLock
from acl_assets.util.runs import require_selection
from acl_assets.util.sqlite_storage import keep_shared_files_open
from acl_assets.warehouse.checks import fact_amounts, source_row_counts
from acl_assets.warehouse.dbt_assets import build_dbt_assets
from acl_assets.warehouse.dbt_process import guarded_dbt
from acl_assets.warehouse.engine import DuckDBEngine
from acl_assets.warehouse.lean_dagster_dbt import LeanDbtCliResource
from acl_assets.warehouse.project import dbt_project, festival_timezone, load_manifest
from acl_assets.warehouse.publication_asset import build_published_warehouse
from acl_assets.warehouse.spark_engine import SparkEngine

# For selections such as `*` or `group:` Dagster passes a beta parameter to its own functions, and warns of that.
warnings.filterwarnings("ignore", r"Parameter `include_sources` of function `AssetSelection\.", BetaWarning)

_ENGINES = {engine.name: engine for engine in (DuckDBEngine, SparkEngine)}


def build_definitions(settings: Settings | None = None, **resources: Any) -> Definitions:
    """Return all definitions for the given settings, those of the environment when None.

    `resources` replace the default ones of the same name: `settings`, `refresh_lock`, `dbt`.

    Raises:
        SettingsError: an environment variable cannot be used.
        DbtProjectError: the dbt project does not parse.
    """
    settings = settings or Settings.from_environment()
    engine = _ENGINES[settings.dbt_target](settings)
    engine.require_installed()
    project = dbt_project()
    manifest = load_manifest(project, settings.dbt_variables)
    time_zone = festival_timezone(manifest)
    dbt_models = build_dbt_assets(project, manifest, engine)
    checked = (source_tables, dbt_models, source_row_counts, fact_amounts)
    published_warehouse = build_published_warehouse(
        dbt_models.specs, [spec for definition in checked for spec in definition.check_specs], engine, time_zone
    )
    refresh = define_asset_job(
        "refresh",
        selection=AssetSelection.all() - AssetSelection.checks(*data_age.check_keys),
        description="From the newest export batch to the published warehouse, the report and the dashboards.",
    )
    return Definitions(
        assets=[
            *ticketing_tables,
            source_tables,
            dbt_models,
            published_warehouse,
            build_all_stars_report(time_zone),
            superset_dashboard,
        ],
        asset_checks=[source_row_counts, fact_amounts, data_age],
        jobs=[extract, refresh, check_data_age],
        schedules=[build_nightly_extract(time_zone), build_hourly_data_age(is_on=settings.alert_urls is not None)],
        sensors=[new_export_batch_sensor, *build_alert_sensors(settings)],
        # One dbt process does the work; a process per step would only add its start-up to every refresh.
        executor=in_process_executor,
        resources={
            "settings": _settings_resource(settings),
            "refresh_lock": RefreshLock(lock_file=str(settings.refresh_lock_file)),
            "dbt": LeanDbtCliResource(
                project_dir=str(project.project_dir),
                profiles_dir=str(project.profiles_dir),
                target=engine.name,
                **guarded_dbt(settings.dbt_lock_file),
            ),
            **resources,
        },
    )


def _settings_resource(settings: Settings) -> ResourceDefinition:
    """Provide the settings to every step, and fail a run before its first step if its selection matches no asset."""

    def provide(context: InitResourceContext) -> Settings:
        if context.run:
            require_selection(context.run)
        return settings

    return ResourceDefinition(provide)


keep_shared_files_open()
defs = Definitions.merge(build_definitions(), load_from_defs_folder(path_within_project=Path(__file__).parent))
# They stay until the process ends, and so do its modules. Otherwise it would search all of them for garbage at its end.
gc.freeze()
