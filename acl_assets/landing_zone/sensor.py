"""The sensor that launches a refresh when a new export batch has landed."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, replace

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

from acl_assets.asset_keys import PUBLISHED_WAREHOUSE, STATE_DIGEST_METADATA
from acl_assets.landing_zone.batches import Listing, list_batches, resolve_chain
from acl_assets.landing_zone.manifest import BatchError, MissingPredecessorError, NoBatchError
from acl_assets.landing_zone.store import landing_zone_at
from acl_assets.settings import Settings


@dataclass(frozen=True)
class SensorCursor:
    """The state of the sensor: digests, never a time.

    Attributes:
        fingerprint: of the landing zone at the last tick that looked inside it.
        state_digest: of the batch chain the last request was for.
        requests: how many runs were requested; it keeps run keys distinct when a state comes back.
        message: what the last look inside found, repeated until something changes.
    """

    fingerprint: str = ""
    state_digest: str = ""
    requests: int = 0
    message: str = ""

    @classmethod
    def from_text(cls, text: str | None) -> SensorCursor:
        """Return the cursor Dagster stored, the empty one before the first tick."""
        return cls(**json.loads(text)) if text else cls()

    def to_text(self) -> str:
        """Return the cursor in the form in which Dagster stores it."""
        return json.dumps(asdict(self))


@sensor(
    job_name="refresh",
    default_status=DefaultSensorStatus.RUNNING,
    minimum_interval_seconds=30,
    description="Launches refresh once for every complete batch that lands, the newest when several wait.",
)
def new_export_batch_sensor(context: SensorEvaluationContext, settings: ResourceParam[Settings]) -> SensorResult:
    """Compare the landing zone with the cursor, and request a run when it holds a new state."""
    listing = list_batches(landing_zone_at(settings.exports_dir), settings.settle_seconds)
    cursor = SensorCursor.from_text(context.cursor)
    if listing.fingerprint == cursor.fingerprint:
        message = f"Nothing has landed in {settings.exports_dir} since the last look. {cursor.message}"
        return SensorResult(skip_reason=SkipReason(message + listing.skipped_text))
    seen, requests = look_inside(settings, listing, cursor, context.instance)
    if not requests:
        return SensorResult(skip_reason=SkipReason(seen.message + listing.skipped_text), cursor=seen.to_text())
    if listing.skipped:
        context.log.warning(listing.skipped_text.strip())
    return SensorResult(run_requests=requests, cursor=seen.to_text())


def look_inside(
    settings: Settings, listing: Listing, cursor: SensorCursor, instance: DagsterInstance
) -> tuple[SensorCursor, list[RunRequest]]:
    """Return the new cursor, and a run request when the landing zone holds a state that was not requested yet.

    A bad batch is requested like a good one, once: the run it fails is what people and alerts see. A batch that landed
    before its predecessor is waited for: with the predecessor the landing zone changes, and both are refreshed from.
    """
    seen = replace(cursor, fingerprint=listing.fingerprint)
    try:
        chain = resolve_chain(listing)
    except NoBatchError:
        return replace(seen, message=f"No complete full export batch in {listing.location}."), []
    except MissingPredecessorError as error:
        return replace(seen, message=str(error)), []
    except BatchError as error:
        digest = state_digest = hashlib.sha256(str(error).encode()).hexdigest()
        name, message = "bad-batch", f"Bad batch: {error}"
    else:
        name, digest, state_digest = chain.newest.batch_id, chain.newest.digest, chain.digest
        message = f"The newest batch is {name}."
        if settings.published_file.exists() and state_digest == published_state_digest(instance):
            message = f"{message} It is published already."
            return replace(seen, state_digest=state_digest, message=message), []
    if state_digest == cursor.state_digest:
        return replace(seen, message=f"{message} Its refresh was requested already."), []
    requested = replace(
        seen, state_digest=state_digest, requests=cursor.requests + 1, message=f"{message} Its refresh was requested."
    )
    run_key = f"{name}:{digest[:16]}:{requested.requests}"
    return requested, [RunRequest(run_key=run_key, tags={"acl/export_batch": name[:63]})]


def published_state_digest(instance: DagsterInstance) -> str | None:
    """Return the chain digest that the last publication recorded, None when nothing was published."""
    event = instance.get_latest_materialization_event(PUBLISHED_WAREHOUSE)
    materialization = event.asset_materialization if event else None
    recorded = materialization.metadata.get(STATE_DIGEST_METADATA) if materialization else None
    return str(recorded.value) if recorded else None
