"""Run the extract in Dagster: a job, its schedule, and the source tables as external assets."""

from typing import Any

from dagster import (
    AssetObservation,
    AssetSpec,
    Config,
    DefaultScheduleStatus,
    Failure,
    MetadataValue,
    OpExecutionContext,
    ResourceParam,
    ScheduleDefinition,
    job,
    op,
)
from pydantic import Field, ValidationError

from acl_assets.asset_keys import (
    CODE_METADATA,
    PERSONAL_DATA_TAGS,
    ROW_COUNT_METADATA,
    TICKETING_GROUP,
    TICKETING_OWNERS,
    ticketing_key,
)
from acl_assets.extraction.extracted_batch import Extraction, ExtractionError, only_extract
from acl_assets.landing_zone.manifest import ManifestTable
from acl_assets.settings import Settings
from acl_assets.source_schema import SOURCE_TABLES
from acl_assets.util.processes import ChildProcessDiedError, ChildProcesses

ticketing_tables = [
    AssetSpec(
        ticketing_key(table.name),
        description=f"{table.description} In the ticketing database, which sells while it is read.",
        group_name=TICKETING_GROUP,
        owners=list(TICKETING_OWNERS),
        kinds={"postgres", "table"},
        tags=PERSONAL_DATA_TAGS if table.personal_columns else None,
        metadata={CODE_METADATA: MetadataValue.path("acl_assets/source_schema.py")},
    )
    for table in SOURCE_TABLES.values()
]


class ExtractConfig(Config):
    """Run config of an extract."""

    full: bool = Field(default=False, description="Take a full batch in any case.")
    mb_per_second: float | None = Field(
        default=None, description="Read at most so fast, 0: as fast as possible. Unset: ACL_EXTRACT_MB_PER_S."
    )


@op(description="Reads the six tables at one instant and lands them as a batch, in a process of its own.")
def extract_tables(context: OpExecutionContext, config: ExtractConfig, settings: ResourceParam[Settings]) -> None:
    """Extract, hand the log on, and record what was seen of each table."""

    def log(line: str) -> None:
        level, _, message = line.partition(": ")
        context.log.log(level, message)

    if config.mb_per_second is not None:
        try:
            settings = settings.with_changes(extract_mb_per_s=config.mb_per_second)
        except ValidationError:
            pace = config.mb_per_second
            text = f"The run config's mb_per_second is {pace}. Set it to 0 or more, or leave it out."
            raise Failure(text, allow_retries=False) from None
    try:
        with ChildProcesses() as process:
            extraction = process.call(
                "acl_assets.extraction.extract:extract_and_tell", settings, full=config.full, log=log
            )
    except ExtractionError as error:
        raise Failure(str(error), allow_retries=False) from None
    except BaseException as error:
        # The process died, or the run was cancelled and the process was killed with the block. Remove what it left.
        with only_extract(settings):
            pass
        if isinstance(error, ChildProcessDiedError):
            raise Failure(str(error)) from None
        raise
    for name, table in extraction.tables.items():
        context.log_event(AssetObservation(ticketing_key(name), metadata=_metadata(extraction, table)))


def _metadata(extraction: Extraction, table: ManifestTable) -> dict[str, Any]:
    return {
        ROW_COUNT_METADATA: table.rows_at_source,
        "rows_in_batch": table.rows,
        "bytes": sum(file.bytes for file in table.files),
        **{f"sum_of_{column}": total for column, total in table.sums_at_source.items()},
        "batch_id": extraction.batch_id,
        "kind": extraction.kind,
        "full_because": extraction.full_because or "",
        "exported_at": extraction.exported_at.isoformat(),
        "snapshot": MetadataValue.json(dict(extraction.source_snapshot or {})),
        "folder": MetadataValue.path(extraction.folder),
    }


@job(description="From the ticketing database to a new export batch, which the sensor then refreshes from.")
def extract() -> None:
    """Extract in one op, so that the job can run at the same time as a refresh."""
    extract_tables()


def build_nightly_extract(time_zone: str) -> ScheduleDefinition:
    """Return the schedule of the job `extract`, in the festival's time zone."""
    return ScheduleDefinition(
        name="nightly_extract",
        job=extract,
        # An hour that daylight saving time neither skips nor repeats.
        cron_schedule="30 4 * * *",
        execution_timezone=time_zone,
        default_status=DefaultScheduleStatus.STOPPED,
        description=f"Extracts every night at half past four, {time_zone} time.",
    )
