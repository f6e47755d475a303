"""The age of the published data is judged against now, by a job of its own."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest
import yaml
from dagster import AssetSpec, DagsterInstance, Definitions, ExecuteInProcessResult, asset

from acl_assets.alerts.data_age import age_result, check_data_age, data_age
from acl_assets.asset_keys import FAIL_AFTER, PUBLISHED_WAREHOUSE, WARN_AFTER
from acl_assets.settings import DBT_PROJECT_DIR, Settings

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)


@asset(key=PUBLISHED_WAREHOUSE)
def published_again() -> None:
    pass


def evaluate(settings: Settings, published: Any, job: str = "check_data_age") -> ExecuteInProcessResult:
    definitions = Definitions(
        assets=[published], asset_checks=[data_age], jobs=[check_data_age], resources={"settings": settings}
    )
    with DagsterInstance.ephemeral() as instance:
        return definitions.resolve_job_def(job).execute_in_process(instance=instance)


@pytest.mark.parametrize(
    ("age", "outcome"),
    [
        (WARN_AFTER, (True, None)),
        (WARN_AFTER + timedelta(seconds=1), (False, "WARN")),
        (FAIL_AFTER, (False, "WARN")),
        (FAIL_AFTER + timedelta(seconds=1), (False, "ERROR")),
    ],
)
def test_age_counts_from_the_export_and_its_reason_stays_the_same_for_hours(
    age: timedelta, outcome: tuple[bool, str | None]
) -> None:
    result, later = (age_result("night-2", NOW - age, NOW + passed) for passed in (timedelta(), timedelta(minutes=50)))
    assert (result.passed, None if result.passed else result.severity.value) == outcome
    if result.severity == later.severity and not result.passed:
        assert later.description == result.description


def test_publishing_an_old_batch_again_leaves_the_data_too_old(tmp_path: Path) -> None:
    """The newest of the published batches counts."""
    settings = Settings(data_dir=tmp_path)
    settings.published_file.parent.mkdir()
    with duckdb.connect(str(settings.published_file)) as connection:
        connection.execute("create schema publication")
        connection.execute(
            "create table publication.export_batches as select 'night-' || night as batch_id, "
            "timestamp '2022-07-30 06:00' + to_days(night) as exported_at from (values (2), (1)) as nights (night)"
        )
    (evaluation,) = evaluate(settings, AssetSpec(PUBLISHED_WAREHOUSE)).get_asset_check_evaluations()
    assert (evaluation.passed, evaluation.severity.value) == (False, "ERROR")
    assert str(evaluation.description).startswith("The newest published batch was exported on 2022-08-01 at 06:00 UTC")
    assert evaluation.metadata["batch_id"].value == "night-2"


def test_missing_published_file_fails_the_check_and_not_the_run(tmp_path: Path) -> None:
    result = evaluate(Settings(data_dir=tmp_path), AssetSpec(PUBLISHED_WAREHOUSE))
    (evaluation,) = result.get_asset_check_evaluations()
    assert result.success
    assert not evaluation.passed
    assert "There is no published file" in str(evaluation.metadata["reason"].value)


def test_run_that_publishes_does_not_judge_the_age(tmp_path: Path) -> None:
    """The sample data was exported in 2022, and `--select '*'` selects every check of every selected asset."""
    result = evaluate(Settings(data_dir=tmp_path), published_again, "__ASSET_JOB")
    assert result.success
    assert result.get_asset_check_evaluations() == []


def test_dbt_source_freshness_has_the_same_limits() -> None:
    sources = yaml.safe_load((DBT_PROJECT_DIR / "models" / "sources" / "_sources.yml").read_text(encoding="utf-8"))
    (batches,) = [table for table in sources["sources"][0]["tables"] if table["name"] == "export_batches"]
    freshness = batches["config"]["freshness"]
    limits = [timedelta(**{f"{f['period']}s": f["count"]}) for f in (freshness["warn_after"], freshness["error_after"])]
    assert limits == [WARN_AFTER, FAIL_AFTER]
