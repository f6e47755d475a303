"""The age of the published data: a check, with the limits of dbt's freshness, and the hourly schedule that runs it.

Dagster's freshness policies look at materializations, so publishing an old batch again would count as fresh.
"""

from __future__ import annotations

from datetime import UTC, datetime

from dagster import (
    AssetCheckKey,
    AssetCheckResult,
    AssetCheckSeverity,
    AssetSelection,
    DefaultScheduleStatus,
    MetadataValue,
    ResourceParam,
    ScheduleDefinition,
    asset_check,
    define_asset_job,
)

from acl_assets.asset_keys import FAIL_AGE, PUBLISHED_WAREHOUSE, WARN_AGE
from acl_assets.settings import Settings
from acl_assets.warehouse.published_file import PublishedFileError, open_published

DATA_AGE = AssetCheckKey(PUBLISHED_WAREHOUSE, "data_age")


@asset_check(
    asset=PUBLISHED_WAREHOUSE,
    name=DATA_AGE.name,
    blocking=False,
    description="The newest published batch was exported less than 26 hours ago; after 50 hours it is an error.",
)
def data_age(settings: ResourceParam[Settings]) -> AssetCheckResult:
    """Judge the published batch against the time of the check."""
    try:
        batch_id, exported_at = _newest_batch(settings)
    except PublishedFileError as error:
        return AssetCheckResult(passed=False, severity=AssetCheckSeverity.ERROR, description=str(error))
    severity = judge_age(exported_at, datetime.now(UTC))
    limit = FAIL_AGE if severity is AssetCheckSeverity.ERROR else WARN_AGE
    # The age itself would make the same incident look new at every check.
    reason = (
        f"The newest published batch was exported at {exported_at:%Y-%m-%d %H:%M} UTC, more than "
        f"{limit.total_seconds() / 3600:.0f} hours ago. Look for a failed extract or refresh."
    )
    return AssetCheckResult(
        passed=severity is None,
        severity=severity or AssetCheckSeverity.ERROR,
        description=reason if severity else None,
        metadata={"batch_id": batch_id, "exported_at": MetadataValue.timestamp(exported_at)},
    )


def judge_age(exported_at: datetime, now: datetime) -> AssetCheckSeverity | None:
    """Return how bad the age of data is that was exported at an instant, None if it is fresh."""
    age = now - exported_at
    if age > FAIL_AGE:
        return AssetCheckSeverity.ERROR
    return AssetCheckSeverity.WARN if age > WARN_AGE else None


def _newest_batch(settings: Settings) -> tuple[str, datetime]:
    newest = "select batch_id, exported_at from publication.export_batches order by exported_at desc limit 1"
    with open_published(settings) as connection:
        ((batch_id, exported_at),) = connection.execute(newest).fetchall()
    return batch_id, exported_at.replace(tzinfo=UTC)


check_data_age = define_asset_job(
    "check_data_age",
    selection=AssetSelection.checks(DATA_AGE),
    description="Looks at the age of the published data, and at nothing else.",
)


def build_hourly_data_age(settings: Settings) -> ScheduleDefinition:
    """Return the schedule of the check; it runs by default where alerts are sent."""
    return ScheduleDefinition(
        name="hourly_data_age",
        job=check_data_age,
        cron_schedule="15 * * * *",
        default_status=DefaultScheduleStatus.RUNNING if settings.alert_urls else DefaultScheduleStatus.STOPPED,
        description="Checks every hour how old the published data is.",
    )
