"""The age of the published data as a check, with a job and a schedule of its own.

A refresh does not evaluate it, because data gets old without a fault of any run.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from dagster import (
    AssetCheckExecutionContext,
    AssetCheckResult,
    AssetCheckSeverity,
    AssetCheckSpec,
    AssetSelection,
    DefaultScheduleStatus,
    MetadataValue,
    ResourceParam,
    ScheduleDefinition,
    define_asset_job,
    multi_asset_check,
)

from acl_assets.asset_keys import FAIL_AFTER, PUBLISHED_WAREHOUSE, WARN_AFTER
from acl_assets.settings import Settings
from acl_assets.warehouse.published_file import PublishedFileError, open_published

_HOUR = timedelta(hours=1)
_CHECK = AssetCheckSpec(
    "published_data_is_recent",
    asset=PUBLISHED_WAREHOUSE,
    description=f"The newest published batch was exported at most {WARN_AFTER // _HOUR} hours ago (warning) and "
    f"{FAIL_AFTER // _HOUR} hours ago (error).",
)


def age_result(batch_id: str, exported_at: datetime, now: datetime) -> AssetCheckResult:
    """Return whether a batch is recent enough to be published still; its reason does not change with the hour."""
    age = now - exported_at
    severity, limit = (
        (AssetCheckSeverity.ERROR, FAIL_AFTER) if age > FAIL_AFTER else (AssetCheckSeverity.WARN, WARN_AFTER)
    )
    since = f"exported on {exported_at:%Y-%m-%d at %H:%M} UTC, more than {limit // _HOUR} hours ago"
    return AssetCheckResult(
        passed=age <= WARN_AFTER,
        severity=severity,
        description=f"The newest published batch was {since}." if age > WARN_AFTER else None,
        metadata={
            "batch_id": batch_id,
            "exported_at": MetadataValue.timestamp(exported_at),
            "age_in_hours": round(age / _HOUR, 1),
        },
    )


@multi_asset_check(name="data_age", specs=[_CHECK], can_subset=True)
def data_age(context: AssetCheckExecutionContext, settings: ResourceParam[Settings]) -> Iterator[AssetCheckResult]:
    """Compare the newest published batch with now, unless this run publishes."""
    if PUBLISHED_WAREHOUSE in context.job_def.asset_layer.selected_asset_keys:
        context.log.info("The age of the data is not judged by a run that publishes, but by the job check_data_age.")
        return
    try:
        with open_published(settings) as connection:
            ((batch_id, exported_at),) = connection.execute(
                "select batch_id, exported_at from publication.export_batches order by exported_at desc limit 1"
            ).fetchall()
    except PublishedFileError as error:
        yield AssetCheckResult(passed=False, metadata={"reason": MetadataValue.text(str(error))})
    else:
        yield age_result(batch_id, exported_at.replace(tzinfo=UTC), datetime.now(UTC))


check_data_age = define_asset_job(
    "check_data_age",
    selection=AssetSelection.checks(_CHECK.key),
    description="Evaluates the age of the published data, and materializes nothing.",
)


def build_hourly_data_age(*, is_on: bool) -> ScheduleDefinition:
    """Return the schedule of the job `check_data_age`."""
    return ScheduleDefinition(
        name="hourly_data_age",
        job=check_data_age,
        cron_schedule="15 * * * *",
        default_status=DefaultScheduleStatus.RUNNING if is_on else DefaultScheduleStatus.STOPPED,
        description="Checks every hour that the published data is recent. Runs by default where ACL_ALERT_URLS is set.",
    )
