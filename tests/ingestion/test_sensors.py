"""When a refresh is launched by itself: once for every state of the landing zone, and never for half a batch."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from dagster import (
    AssetMaterialization,
    DagsterInstance,
    DagsterRunStatus,
    SensorDefinition,
    SensorResult,
    build_sensor_context,
)
from dagster._core.scheduler.instigation import TickStatus
from processes import family, free_port, kill
from refreshes import (
    LATER,
    dagster_home,
    environment,
    festival_settings,
    instant,
    land_plain_batch,
    open_instance,
    published_batches,
    wait_until,
)

from acl_assets.ingestion import export_batch
from acl_assets.ingestion.export_batch import (
    MANIFEST_NAME,
    Manifest,
    ManifestFile,
    ManifestTable,
    Predecessor,
    begin_batch,
    list_landing_zone,
    resolve_state,
    write_manifest,
)
from acl_assets.ingestion.sensors import (
    PUBLISHED_WAREHOUSE,
    STATE_DIGEST_METADATA,
    SensorCursor,
    new_export_batch_sensor,
)
from acl_assets.ingestion.source_schema import SOURCE_TABLES
from acl_assets.settings import PROJECT_DIR, Settings

FIRST_NIGHT = instant(2022, 8, 1, 6)
NEXT_NIGHT = FIRST_NIGHT + timedelta(days=1)


class Ticks:
    """Ticks of the sensor as the daemon makes them: each starts from the cursor the one before left."""

    def __init__(self, settings: Settings, instance: DagsterInstance) -> None:
        self.settings = settings
        self.instance = instance
        self.cursor: str | None = None

    def next(self) -> SensorResult:
        context = build_sensor_context(
            instance=self.instance, cursor=self.cursor, resources={"settings": self.settings}
        )
        result = new_export_batch_sensor(context)
        assert isinstance(result, SensorResult)
        self.cursor = result.cursor or self.cursor
        return result

    def requested(self) -> list[str]:
        """Tick once and give the run keys of the requested runs."""
        return [str(request.run_key) for request in self.next().run_requests or []]

    def message(self) -> str:
        """Tick once and give the reason for which nothing was requested."""
        result = self.next()
        assert not result.run_requests
        return str(result.skip_reason.skip_message) if result.skip_reason else ""


@pytest.fixture
def ticks(settings: Settings, instance: DagsterInstance) -> Ticks:
    return Ticks(settings, instance)


def land(settings: Settings, batch_id: str, exported_at: datetime, after: Path | None = None) -> Path:
    """Land a batch of which only the manifest is there: the sensor must not need more.

    With a batch to continue from it is an incremental one.
    """
    folder = begin_batch(settings.exports_dir, batch_id)
    tables = {
        name: ManifestTable(1, (ManifestFile(f"{name}.parquet", bytes=1, sha256="0" * 64, rows=1),))
        for name in SOURCE_TABLES
    }
    if after is None:
        write_manifest(folder, Manifest(batch_id, "full", exported_at, tables))
        return folder
    digest = hashlib.sha256((after / MANIFEST_NAME).read_bytes()).hexdigest()
    continues_from = Predecessor(after.name, digest)
    write_manifest(folder, Manifest(batch_id, "incremental", exported_at, tables, continues_from=continues_from))
    return folder


def run_key(settings: Settings, number: int) -> str:
    """The run key of the newest state, when it is the so-manieth request."""
    newest = newest_state(settings).newest
    return f"{newest.batch_id}:{newest.digest[:16]}:{number}"


def newest_state(settings: Settings) -> export_batch.LandingZoneState:
    return resolve_state(settings.exports_dir, list_landing_zone(settings.exports_dir, settings.settle_seconds))


def publish(ticks: Ticks, digest: str) -> None:
    """Leave behind what a publication of a state leaves behind."""
    ticks.settings.published_file.parent.mkdir(parents=True, exist_ok=True)
    ticks.settings.published_file.touch()
    metadata: Mapping[str, str] = {STATE_DIGEST_METADATA: digest}
    ticks.instance.report_runless_asset_event(AssetMaterialization(PUBLISHED_WAREHOUSE, metadata=metadata))


def test_a_batch_is_requested_once(ticks: Ticks) -> None:
    """A refresh for every tick would be a storm; the run key ties the one request to the batch's content."""
    land(ticks.settings, "night-1", FIRST_NIGHT)
    assert ticks.requested() == [run_key(ticks.settings, 1)]
    assert "Its refresh was requested" in ticks.message()
    assert ticks.requested() == []


def test_the_run_is_tagged_with_its_batch(ticks: Ticks) -> None:
    """Runs can be found by batch in the UI."""
    land(ticks.settings, "night-1", FIRST_NIGHT)
    (request,) = ticks.next().run_requests or []
    assert request.tags["acl/export_batch"] == "night-1"


def test_an_empty_landing_zone_says_what_to_do(ticks: Ticks) -> None:
    """Somebody who looks at the sensor before the first export must learn where to put it."""
    assert f"No complete full export batch in {ticks.settings.exports_dir}" in ticks.message()


def test_a_batch_without_its_manifest_is_not_requested(ticks: Ticks) -> None:
    """The manifest is written last; until then the export is still running."""
    begin_batch(ticks.settings.exports_dir, "night-1")
    assert "night-1 is not a batch yet" in ticks.message()


def test_plain_files_are_requested_when_they_are_all_there_and_have_settled(
    settings: Settings, instance: DagsterInstance
) -> None:
    """Six files appear one after the other and grow for a while; a tick in between must not take them for a batch."""
    folder = land_plain_batch(settings)
    (folder / "tickets.csv").rename(settings.exports_dir / "tickets.csv")
    ticks = Ticks(replace(settings, settle_seconds=3600), instance)
    assert "neither manifest.json nor tickets.csv" in ticks.message()
    (settings.exports_dir / "tickets.csv").rename(folder / "tickets.csv")
    assert "must lie unchanged for 3600 s" in ticks.message()
    ticks.settings = settings
    assert ticks.requested() == [run_key(settings, 1)]


def test_the_newest_of_several_is_requested(ticks: Ticks) -> None:
    """After a weekend without the daemon one refresh brings everything up to date."""
    land(ticks.settings, "night-3", FIRST_NIGHT + timedelta(days=2))
    land(ticks.settings, "night-1", FIRST_NIGHT)
    land(ticks.settings, "night-2", NEXT_NIGHT)
    requested = ticks.requested()
    assert requested == [run_key(ticks.settings, 1)]
    assert requested[0].startswith("night-3:")
    assert ticks.requested() == []


def test_an_older_batch_that_lands_late_changes_nothing(ticks: Ticks) -> None:
    """The state is a function of export times, not of when files arrived."""
    land(ticks.settings, "night-2", NEXT_NIGHT)
    ticks.requested()
    land(ticks.settings, "night-1", FIRST_NIGHT)
    assert "newest batch is night-2. Its refresh was requested already" in ticks.message()


def test_every_new_state_is_requested(ticks: Ticks) -> None:
    """Night after night."""
    land(ticks.settings, "night-1", FIRST_NIGHT)
    ticks.requested()
    land(ticks.settings, "night-2", NEXT_NIGHT)
    requested = ticks.requested()
    assert requested == [run_key(ticks.settings, 2)]
    assert requested[0].startswith("night-2:")


def test_a_bad_batch_is_requested_once_and_explained_ever_after(ticks: Ticks) -> None:
    """One failed run alerts people; the same failure twice a minute would teach them to ignore it."""
    folder = land(ticks.settings, "night-1", FIRST_NIGHT)
    (folder / MANIFEST_NAME).write_text("{")
    (key,) = ticks.requested()
    assert key.startswith("bad-batch:")
    for _ in range(2):
        message = ticks.message()
        assert f"Bad batch: {folder / MANIFEST_NAME}: it is not JSON" in message
        assert "land a newer full batch, or take this folder out of the landing zone" in message


def test_an_incremental_batch_is_requested_like_a_full_one(ticks: Ticks) -> None:
    night_1 = land(ticks.settings, "night-1", FIRST_NIGHT)
    ticks.requested()
    land(ticks.settings, "night-2", NEXT_NIGHT, after=night_1)
    assert ticks.requested() == [run_key(ticks.settings, 2)]


def test_a_batch_that_landed_before_its_predecessor_is_waited_for(ticks: Ticks) -> None:
    """Copies can overtake each other: nothing fails, people can read what is missing, and it goes on by itself."""
    night_1 = land(ticks.settings, "night-1", FIRST_NIGHT)
    ticks.requested()
    night_2 = land(ticks.settings, "night-2", NEXT_NIGHT, after=night_1)
    land(ticks.settings, "night-3", NEXT_NIGHT + timedelta(days=1), after=night_2)
    late = night_2.rename(ticks.settings.exports_dir / "_night-2")
    for _ in range(2):
        assert "Batch night-3 continues from batch night-2, which is not in" in ticks.message()
    late.rename(night_2)
    assert ticks.requested() == [run_key(ticks.settings, 2)]
    assert newest_state(ticks.settings).newest.batch_id == "night-3"


def test_a_newer_batch_gets_past_a_bad_one(ticks: Ticks) -> None:
    """Repairing is landing again; nobody has to touch the sensor."""
    folder = land(ticks.settings, "night-1", FIRST_NIGHT)
    (folder / MANIFEST_NAME).write_text("{")
    os.utime(folder / MANIFEST_NAME, (FIRST_NIGHT.timestamp(),) * 2)
    ticks.requested()
    land(ticks.settings, "night-2", NEXT_NIGHT)
    assert ticks.requested()[0].startswith("night-2:")


def test_nothing_is_opened_while_nothing_has_changed(ticks: Ticks) -> None:
    """A tick over ten thousand batches must stay cheap: names and file times tell whether to look inside.

    The manifest is made unreadable behind its file times: a tick that opened it would report a bad batch.
    """
    manifest = land(ticks.settings, "night-1", FIRST_NIGHT) / MANIFEST_NAME
    ticks.requested()
    before = manifest.stat()
    manifest.write_bytes(b"x" * before.st_size)
    os.utime(manifest, ns=(before.st_atime_ns, before.st_mtime_ns))
    export_batch._read_header.cache_clear()
    assert "Nothing has landed" in ticks.message()
    manifest.touch()
    assert ticks.requested()[0].startswith("bad-batch:")


def test_a_state_that_comes_back_is_requested_under_another_key(ticks: Ticks) -> None:
    """Dagster starts no second run for a run key it knows, so a state taken away and put back needs a new one."""
    land(ticks.settings, "night-1", FIRST_NIGHT)
    first = ticks.requested()
    away = land(ticks.settings, "night-2", NEXT_NIGHT)
    ticks.requested()
    shutil.rmtree(away)
    again = ticks.requested()
    assert again == [run_key(ticks.settings, 3)]
    assert again != first
    assert again[0].rsplit(":", 1)[0] == first[0].rsplit(":", 1)[0]


def test_a_published_state_is_not_requested(ticks: Ticks) -> None:
    """After `make run`, switching the daemon on must not refresh the same batch again."""
    land(ticks.settings, "night-1", FIRST_NIGHT)
    publish(ticks, newest_state(ticks.settings).digest)
    assert "It is published already" in ticks.message()


def test_a_state_whose_published_file_is_gone_is_requested(ticks: Ticks) -> None:
    """The event log remembers a publication that somebody has deleted since."""
    land(ticks.settings, "night-1", FIRST_NIGHT)
    publish(ticks, newest_state(ticks.settings).digest)
    ticks.settings.published_file.unlink()
    assert ticks.requested() == [run_key(ticks.settings, 1)]


def test_a_lost_cursor_asks_for_the_same_run_key(ticks: Ticks) -> None:
    """A reset sensor may ask again; Dagster knows the key and starts no second run for it."""
    land(ticks.settings, "night-1", FIRST_NIGHT)
    first = ticks.requested()
    ticks.cursor = None
    assert ticks.requested() == first


def test_the_cursor_holds_digests_and_no_time(ticks: Ticks) -> None:
    """A clock in the cursor would lose batches whenever clocks disagree."""
    land(ticks.settings, "night-1", FIRST_NIGHT)
    ticks.requested()
    cursor = SensorCursor.from_text(ticks.cursor)
    assert cursor.state_digest == newest_state(ticks.settings).digest
    listing = list_landing_zone(ticks.settings.exports_dir, ticks.settings.settle_seconds)
    assert cursor.fingerprint == listing.fingerprint
    assert cursor.requests == 1
    assert SensorCursor.from_text(cursor.to_text()) == cursor


def test_the_sensor_runs_without_being_switched_on() -> None:
    """Dropping files into a folder must be enough in a fresh installation."""
    assert isinstance(new_export_batch_sensor, SensorDefinition)
    assert new_export_batch_sensor.default_status.value == "RUNNING"
    assert new_export_batch_sensor.job_name == "refresh"


# The daemon ---------------------------------------------------------------------------------------------------


@pytest.fixture
def dagster_dev(tmp_path: Path) -> Iterator[tuple[Settings, DagsterInstance]]:
    """`dagster dev` as `make dev` runs it, over an empty landing zone in which files settle in a second."""
    settings = replace(festival_settings(tmp_path / "data"), settle_seconds=1.0)
    settings.exports_dir.mkdir(parents=True)
    home = dagster_home(tmp_path / "home")
    log = tmp_path / "dagster-dev.log"
    with open_instance(home) as instance, log.open("w") as stream:
        # Two processes that make the databases at the same time get in each other's way.
        instance.all_instigator_state()
        process = subprocess.Popen(
            [sys.executable, "-m", "dagster", "dev", "-h", "127.0.0.1", "-p", str(free_port())],
            cwd=PROJECT_DIR,
            env=environment(settings, home),
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            yield settings, instance
        finally:
            _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process and those it started, by their ids."""
    members = family(process)
    process.send_signal(signal.SIGINT)
    # On a busy machine the servers need longer to say goodbye than a test wants to wait.
    with suppress(subprocess.TimeoutExpired):
        process.wait(timeout=30)
    kill(members)
    process.wait()


@pytest.mark.server
def test_dropped_files_are_published_by_the_daemon(dagster_dev: tuple[Settings, DagsterInstance]) -> None:
    """Six files as psql's copy command leaves them, put into a folder: that is all it takes, and it happens once."""
    settings, instance = dagster_dev
    land_plain_batch(settings, "dropped", exported_at=LATER)
    wait_until(lambda: bool(instance.get_runs()), "the sensor launched a run")
    wait_until(lambda: all(run.is_finished for run in instance.get_runs()), "the run ended", at_most_seconds=300)
    (run,) = instance.get_runs()
    assert run.status == DagsterRunStatus.SUCCESS
    assert run.tags["acl/export_batch"] == "dropped"
    assert published_batches(settings) == ["dropped"]
    assert settings.report_file.exists()
    ended_at = max(entry.timestamp for entry in instance.all_logs(run.run_id))
    wait_until(lambda: any(start > ended_at for start in _tick_starts(instance)), "the sensor ticked again")
    assert len(instance.get_runs()) == 1


def _tick_starts(instance: DagsterInstance) -> list[float]:
    return [
        tick.timestamp
        for state in instance.all_instigator_state()
        for tick in instance.get_ticks(state.instigator_origin_id, state.selector_id)
        if tick.status in (TickStatus.SKIPPED, TickStatus.SUCCESS)
    ]
