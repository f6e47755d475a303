"""The age of the published data: judged by the export, with the limits that dbt's freshness has."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import duckdb
import pytest
from dagster import AssetCheckResult, AssetCheckSeverity

from acl_assets.settings import Settings
from acl_assets.warehouse.data_age import data_age, judge_age
from acl_assets.warehouse.project import dbt_project, load_manifest

NOW = datetime(2022, 8, 3, tzinfo=UTC)


def test_limits_are_those_of_dbt_source_freshness(settings: Settings) -> None:
    sources = load_manifest(dbt_project(), settings.dbt_variables)["sources"].values()
    (freshness,) = [source["freshness"] for source in sources if source["name"] == "export_batches"]
    warn, error = freshness["warn_after"], freshness["error_after"]
    assert {warn["period"], error["period"]} == {"hour"}
    for hours, severity in [
        (warn["count"], None),
        (warn["count"] + 0.1, AssetCheckSeverity.WARN),
        (error["count"], AssetCheckSeverity.WARN),
        (error["count"] + 0.1, AssetCheckSeverity.ERROR),
    ]:
        assert judge_age(NOW - timedelta(hours=hours), NOW) is severity


@pytest.mark.parametrize(("hours", "passed"), [(1, True), (30, False)])
def test_newest_published_batch_is_judged(settings: Settings, hours: int, passed: bool) -> None:
    settings.published_file.parent.mkdir(parents=True)
    newest = datetime.now(UTC).replace(tzinfo=None) - timedelta(hours=hours)
    with duckdb.connect(str(settings.published_file)) as connection:
        connection.execute("create schema publication")
        connection.execute("create table publication.export_batches (batch_id varchar, exported_at timestamp)")
        batches = [("night-1", newest - timedelta(days=3)), ("night-2", newest)]
        connection.executemany("insert into publication.export_batches values (?, ?)", batches)
    result = data_age(settings)
    assert isinstance(result, AssetCheckResult)
    assert (result.passed, result.metadata["batch_id"].value) == (passed, "night-2")


def test_missing_published_file_is_an_error_that_names_the_refresh(settings: Settings) -> None:
    result = data_age(settings)
    assert isinstance(result, AssetCheckResult)
    assert not result.passed
    assert "Run the job refresh" in str(result.description)
