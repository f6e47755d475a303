"""The sensor that launches a refresh when a new export batch has landed."""

import hashlib

from dagster import (
    DagsterInstance,
    DefaultSensorStatus,
    ResourceParam,
    RunRequest,
    SensorEvaluationContext,
    SensorResult,
    SkipReason,
    sensor,
)
from pydantic import BaseModel

from acl_assets.asset_keys import BATCH_TAG, PUBLISHED_WAREHOUSE, STATE_DIGEST_METADATA
from acl_assets.landing_zone.batches import list_batches, resolve_chain
from acl_assets.landing_zone.manifest import BatchError, MissingPredecessorError, NoBatchError
from acl_assets.landing_zone.store import landing_zone_at
from acl_assets.settings import Settings


class SensorCursor(BaseModel):
    """The state of the sensor: the digest of the batch chain last requested, and never a time.

    `requests` counts the requested runs, so that run keys differ when a state comes back.
    """

    state_digest: str = ""
    requests: int = 0


@sensor(
    job_name="refresh",
    default_status=DefaultSensorStatus.RUNNING,
    minimum_interval_seconds=30,
    description="Launches refresh once for every complete batch that lands, the newest when several wait.",
)
def new_export_batch_sensor(context: SensorEvaluationContext, settings: ResourceParam[Settings]) -> SensorResult:
    """Request a run when the landing zone holds a batch chain that is neither published nor requested already.

    A bad batch is requested like a good one, once: the run it fails is what people and alerts see. A batch that landed
    before its predecessor is waited for: with the predecessor the chain changes, and both are refreshed from.
    """
    listing = list_batches(landing_zone_at(settings.exports_dir), settings.settle_seconds)
    cursor = SensorCursor.model_validate_json(context.cursor or "{}")
    is_published = False
    try:
        chain = resolve_chain(listing)
    except NoBatchError:
        message = f"No complete full export batch in {listing.location}."
        return SensorResult(skip_reason=SkipReason(message + listing.skipped_text))
    except MissingPredecessorError as error:
        return SensorResult(skip_reason=SkipReason(f"{error}{listing.skipped_text}"))
    except BatchError as error:
        digest = state_digest = hashlib.sha256(str(error).encode()).hexdigest()
        name, message = "bad-batch", f"Bad batch: {error}"
    else:
        name, digest, state_digest = chain.newest.batch_id, chain.newest.digest, chain.digest
        message = f"The newest batch is {name}."
        is_published = settings.published_file.exists() and state_digest == _published_state_digest(context.instance)
    is_requested = state_digest == cursor.state_digest
    cursor.state_digest = state_digest
    if is_published or is_requested:
        message += f" {'It is published' if is_published else 'Its refresh was requested'} already."
        skip_reason = SkipReason(message + listing.skipped_text)
        return SensorResult(skip_reason=skip_reason, cursor=cursor.model_dump_json())
    if listing.skipped:
        context.log.warning(listing.skipped_text.strip())
    cursor.requests += 1
    request = RunRequest(run_key=f"{name}:{digest[:16]}:{cursor.requests}", tags={BATCH_TAG: name[:63]})
    return SensorResult(run_requests=[request], cursor=cursor.model_dump_json())


def _published_state_digest(instance: DagsterInstance) -> str | None:
    """Return the chain digest that the last publication recorded, None when nothing was published."""
    event = instance.get_latest_materialization_event(PUBLISHED_WAREHOUSE)
    materialization = event.asset_materialization if event else None
    recorded = materialization.metadata.get(STATE_DIGEST_METADATA) if materialization else None
    return str(recorded.value) if recorded else None
