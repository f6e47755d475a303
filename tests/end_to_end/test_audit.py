"""No build is published without its audit: deselected checks, re-executed and partial runs."""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from dagster import (
    AssetCheckKey,
    AssetKey,
    AssetSelection,
    DagsterInstance,
    Definitions,
    JobExecutionResult,
    ReexecutionOptions,
    define_asset_job,
    execute_job,
    reconstructable,
)
from defects.catalogue import DEFECTS
from refreshes import (
    LATER,
    Festival,
    copy_installation,
    dagster_home,
    environment,
    festival_settings,
    land_batch,
    open_instance,
    published_batches,
    published_rows,
    refresh,
    refresh_job,
    sha256,
)

from acl_assets.definitions import build_definitions
from acl_assets.settings import DBT_PROJECT_DIR, Settings
from acl_assets.warehouse.dbt_process import guarded_dbt
from acl_assets.warehouse.lean_dagster_dbt import LeanDbtCliResource

pytestmark = pytest.mark.slow

MODELS = 'key:"star_schema/*" or key:"evidence/*" or key:"data_products/*" or key:"published_warehouse"'
SOME_MODELS = 'key:"star_schema/fct_ticket_sales" or key:"data_products/ticket_sales" or key:"published_warehouse"'


def test_models_are_published_only_with_all_of_their_checks(published: Settings) -> None:
    assert refresh(published, select=SOME_MODELS).metadata["published_warehouse"]["published"] is True
    deselected = AssetSelection.checks_for_assets("data_products/ticket_sales")
    job = define_asset_job("selected", AssetSelection.from_string(SOME_MODELS) - deselected)
    definitions = Definitions.merge(build_definitions(published), Definitions(jobs=[job]))
    result = definitions.resolve_job_def("selected").execute_in_process(raise_on_error=False)
    errors = failures_of(result)
    assert "blocking checks have no result from this run" in errors
    assert "data_products/ticket_sales: " in errors
    assert "star_schema/fct_ticket_sales: " not in errors


def test_models_of_source_tables_that_failed_a_check_are_not_published(published: Settings) -> None:
    """The source tables hold a refused batch; selecting the models alone must not let it through.

    Checks of a single model would compare it with models of the published batch.
    """
    before = sha256(published.published_file)
    DEFECTS["lost_tickets"].plant(land_batch(published, "second", exported_at=LATER, form="parquet"))
    stopped = refresh(published, select='key:"festival/*"')
    assert stopped.failed_checks == {("festival/tickets", "volume_against_published")}
    mixed = refresh(published, select='key:"star_schema/fct_ticket_sales"')
    assert "would be a mixture of two states" in mixed.errors
    assert not mixed.failed_checks
    refreshed = refresh(published, select=MODELS)
    assert refreshed.failed_steps == {"published_warehouse"}
    assert "festival/bands: volume_against_published" in refreshed.errors
    assert sha256(published.published_file) == before


def test_check_of_a_model_that_is_neither_built_nor_published_says_so(published: Settings) -> None:
    """dbt's error would make it a failed check, of a severity that it does not have."""
    published.published_file.unlink()
    check = AssetCheckKey(AssetKey(["star_schema", "fct_performances"]), "performances_have_tickets")
    job = define_asset_job("selected", AssetSelection.checks(check))
    definitions = Definitions.merge(build_definitions(published), Definitions(jobs=[job]))
    result = definitions.resolve_job_def("selected").execute_in_process(raise_on_error=False)
    assert f"there is no {published.published_file} that has them" in failures_of(result)
    assert not result.get_asset_check_evaluations()


# Re-executed runs ---------------------------------------------------------------------------------------------


@pytest.fixture
def published(festival: Festival, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """An installation whose folder is the same in every test: Dagster loads the job once, with its settings."""
    data_dir = tmp_path_factory.getbasetemp() / "re_executed"
    shutil.rmtree(data_dir, ignore_errors=True)
    copy_installation(festival.data_dir, data_dir)
    return festival_settings(data_dir)


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[DagsterInstance]:
    """A Dagster instance that keeps runs and events in SQLite, as the project's own does."""
    with open_instance(dagster_home(tmp_path / "home")) as opened:
        yield opened


def re_execute(
    settings: Settings,
    instance: DagsterInstance,
    run_id: str,
    monkeypatch: pytest.MonkeyPatch,
    steps: Sequence[str] = (),
    *,
    run_config: Mapping[str, Any] | None = None,
) -> JobExecutionResult:
    """Re-execute a run from its failure, or only the given steps of it."""
    for name in ("ACL_DATA_DIR", "ACL_EXPORTS_DIR", "ACL_SETTLE_SECONDS"):
        monkeypatch.setenv(name, environment(settings)[name])
    options = (
        ReexecutionOptions(run_id, step_selection=steps) if steps else ReexecutionOptions.from_failure(run_id, instance)
    )
    return execute_job(
        reconstructable(refresh_job), instance=instance, run_config=run_config, reexecution_options=options
    )


def steps_of(result: JobExecutionResult) -> set[str]:
    """The steps that have events; one whose dependencies failed has none."""
    return {str(event.step_key) for event in result.all_node_events}


def failures_of(result: Any) -> str:
    return "".join(str(event.step_failure_data.error) for event in result.all_node_events if event.is_step_failure)


def test_run_whose_dbt_failed_and_whose_loss_is_accepted_is_published_by_re_executing_it(
    published: Settings, instance: DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The source tables are those that the first run checked, and the build is that of the second one.

    Publication alone cannot be re-executed past a failed check.
    """
    before = sha256(published.published_file)
    DEFECTS["lost_tickets"].plant(land_batch(published, "second", exported_at=LATER, form="parquet"))
    folder = str(DBT_PROJECT_DIR)
    broken = LeanDbtCliResource(
        project_dir=folder, profiles_dir=folder, target="nowhere", **guarded_dbt(published.dbt_lock_file)
    )
    failed = refresh(published, instance=instance, with_report=True, dbt=broken)
    assert failed.failed_steps == {"dbt_models", "source_row_counts"}

    stopped = re_execute(published, instance, failed.run_id, monkeypatch)
    assert "source_tables" not in steps_of(stopped)
    assert "volume_against_published" in failures_of(stopped)
    assert "published_warehouse" not in steps_of(stopped)
    assert not re_execute(published, instance, stopped.run_id, monkeypatch, ["published_warehouse"]).success
    assert sha256(published.published_file) == before

    accept = {"ops": {"source_row_counts": {"config": {"accept_volume_loss": True}}}}
    accepted = re_execute(published, instance, stopped.run_id, monkeypatch, run_config=accept)
    assert accepted.success
    assert not {"source_tables", "dbt_models"} & steps_of(accepted)
    assert published_batches(published) == ["second"]
    stored = "select distinct check_name, passed from publication.audit_results where asset_key = 'festival/tickets'"
    results = dict(published_rows(published, stored))
    assert (results["volume_against_published"], results["tickets_id_is_unique"]) == (True, True)

    late = re_execute(published, instance, stopped.run_id, monkeypatch, ["published_warehouse"])
    assert "another run has replaced the build" in failures_of(late)
