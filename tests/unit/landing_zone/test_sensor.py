"""The sensor requests one refresh per state of the landing zone, and none for an incomplete batch."""

import json
import os
import shutil
from pathlib import Path

import pytest
from dagster import AssetMaterialization, DagsterInstance, SensorResult, build_sensor_context
from landing_zones import FolderZone, hours

from acl_assets.asset_keys import PUBLISHED_WAREHOUSE, STATE_DIGEST_METADATA
from acl_assets.landing_zone.manifest import MANIFEST_NAME
from acl_assets.landing_zone.sensor import new_export_batch_sensor
from acl_assets.settings import Settings


class Ticks:
    """Ticks of the sensor as the daemon makes them: each starts with the cursor of the one before."""

    def __init__(self, settings: Settings, instance: DagsterInstance) -> None:
        self.settings = settings
        self.instance = instance
        self.cursor: str | None = None
        self.zone = FolderZone(Path(settings.exports_dir))

    def next(self) -> SensorResult:
        context = build_sensor_context(self.instance, self.cursor, resources={"settings": self.settings})
        result = new_export_batch_sensor(context)
        assert isinstance(result, SensorResult)
        self.cursor = result.cursor or self.cursor
        return result

    def requested(self) -> str:
        """Tick once and return the run key of the requested run."""
        (request,) = self.next().run_requests or []
        return str(request.run_key)

    def message(self) -> str:
        """Tick once and return the reason why nothing was requested."""
        result = self.next()
        assert not result.run_requests
        assert result.skip_reason
        return str(result.skip_reason.skip_message)

    def run_key(self, number: int) -> str:
        """Return the run key of the newest batch as the request of that number."""
        newest = self.zone.chain().newest
        return f"{newest.batch_id}:{newest.digest[:16]}:{number}"


@pytest.fixture
def ticks(settings: Settings, instance: DagsterInstance) -> Ticks:
    return Ticks(settings, instance)


def test_batch_is_requested_once_and_the_cursor_holds_no_time(ticks: Ticks) -> None:
    """A refresh at every tick would never end; a clock in the cursor would lose batches whenever clocks disagree."""
    ticks.zone.land("night-1")
    assert ticks.requested() == ticks.run_key(1)
    assert json.loads(ticks.cursor or "") == {"state_digest": ticks.zone.chain().digest, "requests": 1}
    assert ticks.message() == "The newest batch is night-1. Its refresh was requested already."


def test_bad_batch_is_requested_once_and_named_at_every_tick(ticks: Ticks) -> None:
    """One failed run alerts people; the same failure at every tick would make them ignore it."""
    manifest = ticks.zone.land("night-1") / MANIFEST_NAME
    manifest.write_text("{")
    assert ticks.requested().startswith("bad-batch:")
    for _ in range(2):
        message = ticks.message()
        assert f"Bad batch: {manifest}: it is not JSON" in message
        assert "land a newer full batch, or take this folder out of the landing zone" in message


def test_batch_that_landed_before_its_predecessor_is_waited_for(ticks: Ticks) -> None:
    """Copies can overtake each other: nothing fails, and people can read what is missing."""
    ticks.zone.land("night-1", hours(0))
    ticks.requested()
    late = ticks.zone.land("night-2", hours(24), after="night-1")
    ticks.zone.land("night-3", hours(48), after="night-2")
    aside = late.rename(ticks.zone.folder / "_night-2")
    for _ in range(2):
        assert "Batch night-3 continues from batch night-2, which is not in" in ticks.message()
    aside.rename(late)
    assert ticks.requested() == ticks.run_key(2)
    assert ticks.zone.ids()[-1] == "night-3"


def test_run_keys_repeat_for_a_lost_cursor_and_not_for_a_state_that_comes_back(ticks: Ticks) -> None:
    """Dagster starts no second run for a run key, so a state that was removed and put back needs a new one."""
    ticks.zone.land("night-1", hours(0))
    first = ticks.requested()
    ticks.cursor = None
    assert ticks.requested() == first == ticks.run_key(1)
    away = ticks.zone.land("night-2", hours(24))
    ticks.requested()
    shutil.rmtree(away)
    assert ticks.requested() == ticks.run_key(3)


def test_published_state_is_requested_only_when_its_file_is_gone(ticks: Ticks) -> None:
    """After `make run`, starting the daemon must not refresh again, unless the published file was deleted."""
    ticks.zone.land("night-1")
    published_file = ticks.settings.published_file
    published_file.parent.mkdir(parents=True)
    published_file.touch()
    metadata = {STATE_DIGEST_METADATA: ticks.zone.chain().digest}
    ticks.instance.report_runless_asset_event(AssetMaterialization(PUBLISHED_WAREHOUSE, metadata=metadata))
    assert "It is published already" in ticks.message()
    published_file.unlink()
    ticks.cursor = None
    assert ticks.requested() == ticks.run_key(1)


def test_incomplete_and_unusable_folders_are_named_and_request_nothing(ticks: Ticks) -> None:
    """Six files appear one after the other; a tick in between must not request them."""
    folder = ticks.zone.land_plain("plain")
    tickets = (folder / "tickets.csv").rename(ticks.zone.folder / "_tickets.csv")
    (ticks.zone.folder / os.fsdecode(b"\xff")).mkdir()
    message = ticks.message()
    assert "No complete full export batch in" in message
    assert "Folder plain is not used: it has neither manifest.json nor files of tickets" in message
    assert "Folder \\udcff is not used" in message
    tickets.rename(folder / "tickets.csv")
    assert ticks.requested() == ticks.run_key(1)
