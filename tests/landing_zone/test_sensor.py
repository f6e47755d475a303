"""When the sensor requests a refresh: once per state of the landing zone, never for half a batch."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
from dagster import (
    AssetMaterialization,
    DagsterInstance,
    DagsterRunStatus,
    Failure,
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

from acl_assets.landing_zone import batches
from acl_assets.landing_zone.batches import BatchChain, list_batches, resolve_chain
from acl_assets.landing_zone.manifest import (
    MANIFEST_NAME,
    Manifest,
    ManifestFile,
    ManifestTable,
    Predecessor,
    begin_batch,
    write_manifest,
)
from acl_assets.landing_zone.sensor import (
    PUBLISHED_WAREHOUSE,
    STATE_DIGEST_METADATA,
    SensorCursor,
    new_export_batch_sensor,
)
from acl_assets.landing_zone.store import landing_zone_at
from acl_assets.settings import PROJECT_DIR, Settings
from acl_assets.source_schema import SOURCE_TABLES
from acl_assets.source_tables.assets import find_chain

FIRST_NIGHT = instant(2022, 8, 1, 6)
NEXT_NIGHT = FIRST_NIGHT + timedelta(days=1)


class Ticks:
    """Ticks of the sensor as the daemon makes them: each starts with the cursor of the one before."""

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
        """Tick once and return the run keys of the requested runs."""
        return [str(request.run_key) for request in self.next().run_requests or []]

    def message(self) -> str:
        """Tick once and return the reason why nothing was requested."""
        result = self.next()
        assert not result.run_requests
        return str(result.skip_reason.skip_message) if result.skip_reason else ""


@pytest.fixture
def ticks(settings: Settings, instance: DagsterInstance) -> Ticks:
    return Ticks(settings, instance)


def land(settings: Settings, batch_id: str, exported_at: datetime, after: Path | None = None) -> Path:
    """Land a batch of which only the manifest is there, an incremental one with a batch to continue from.

    The sensor must not need more than manifests.
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
    """Return the run key of the newest batch as the request of that number."""
    newest = newest_chain(settings).newest
    return f"{newest.batch_id}:{newest.digest[:16]}:{number}"


def newest_chain(settings: Settings) -> BatchChain:
    return resolve_chain(list_batches(landing_zone_at(settings.exports_dir), settings.settle_seconds))


def publish(ticks: Ticks, digest: str) -> None:
    """Leave the published file and the event of a publication."""
    ticks.settings.published_file.parent.mkdir(parents=True, exist_ok=True)
    ticks.settings.published_file.touch()
    metadata: Mapping[str, str] = {STATE_DIGEST_METADATA: digest}
    ticks.instance.report_runless_asset_event(AssetMaterialization(PUBLISHED_WAREHOUSE, metadata=metadata))


def test_batch_is_requested_once(ticks: Ticks) -> None:
    """A refresh at every tick would never end; the run key ties the request to the batch's content."""
    land(ticks.settings, "night-1", FIRST_NIGHT)
    assert ticks.requested() == [run_key(ticks.settings, 1)]
    assert "Its refresh was requested" in ticks.message()
    assert ticks.requested() == []


def test_run_is_tagged_with_its_batch(ticks: Ticks) -> None:
    """Runs can be found by batch in the UI."""
    land(ticks.settings, "night-1", FIRST_NIGHT)
    (request,) = ticks.next().run_requests or []
    assert request.tags["acl/export_batch"] == "night-1"


def test_message_names_an_empty_landing_zone(ticks: Ticks) -> None:
    """People who look at the sensor before the first export must see where to put it."""
    assert f"No complete full export batch in {ticks.settings.exports_dir}" in ticks.message()


def test_batch_is_not_requested_before_its_manifest(ticks: Ticks) -> None:
    """The manifest is written last; until then the export is still running."""
    begin_batch(ticks.settings.exports_dir, "night-1")
    assert "Folder night-1 is not used: its export has not finished" in ticks.message()


def test_plain_files_are_requested_once_they_are_complete_and_settled(
    settings: Settings, instance: DagsterInstance
) -> None:
    """Six files appear one after the other and grow for a while; a tick in between must not request them."""
    folder = land_plain_batch(settings)
    (folder / "tickets.csv").rename(settings.exports_dir / "tickets.csv")
    ticks = Ticks(replace(settings, settle_seconds=3600), instance)
    message = ticks.message()
    assert "Folder first is not used: it has neither manifest.json nor files of tickets" in message
    assert "Folder tickets.csv is not used: it is a file" in message
    (settings.exports_dir / "tickets.csv").rename(folder / "tickets.csv")
    assert "must be unchanged for 3600 s" in ticks.message()
    ticks.settings = settings
    assert ticks.requested() == [run_key(settings, 1)]


def test_newest_of_several_batches_is_requested(ticks: Ticks) -> None:
    """After a weekend without the daemon one refresh brings everything up to date."""
    land(ticks.settings, "night-3", FIRST_NIGHT + timedelta(days=2))
    land(ticks.settings, "night-1", FIRST_NIGHT)
    land(ticks.settings, "night-2", NEXT_NIGHT)
    requested = ticks.requested()
    assert requested == [run_key(ticks.settings, 1)]
    assert requested[0].startswith("night-3:")
    assert ticks.requested() == []


def test_older_batch_that_lands_late_is_not_requested(ticks: Ticks) -> None:
    """Batches are ordered by export times, not by when files arrived."""
    land(ticks.settings, "night-2", NEXT_NIGHT)
    ticks.requested()
    land(ticks.settings, "night-1", FIRST_NIGHT)
    assert "newest batch is night-2. Its refresh was requested already" in ticks.message()


def test_every_newer_batch_is_requested(ticks: Ticks) -> None:
    land(ticks.settings, "night-1", FIRST_NIGHT)
    ticks.requested()
    land(ticks.settings, "night-2", NEXT_NIGHT)
    requested = ticks.requested()
    assert requested == [run_key(ticks.settings, 2)]
    assert requested[0].startswith("night-2:")


def test_bad_batch_is_requested_once_and_named_at_every_tick(ticks: Ticks) -> None:
    """One failed run alerts people; the same failure twice a minute would teach them to ignore it."""
    folder = land(ticks.settings, "night-1", FIRST_NIGHT)
    (folder / MANIFEST_NAME).write_text("{")
    (key,) = ticks.requested()
    assert key.startswith("bad-batch:")
    for _ in range(2):
        message = ticks.message()
        assert f"Bad batch: {folder / MANIFEST_NAME}: it is not JSON" in message
        assert "land a newer full batch, or take this folder out of the landing zone" in message


def test_incremental_batch_is_requested(ticks: Ticks) -> None:
    night_1 = land(ticks.settings, "night-1", FIRST_NIGHT)
    ticks.requested()
    land(ticks.settings, "night-2", NEXT_NIGHT, after=night_1)
    assert ticks.requested() == [run_key(ticks.settings, 2)]


def test_batch_that_landed_before_its_predecessor_is_waited_for(ticks: Ticks) -> None:
    """Copies can overtake each other: nothing fails, and people can read what is missing."""
    night_1 = land(ticks.settings, "night-1", FIRST_NIGHT)
    ticks.requested()
    night_2 = land(ticks.settings, "night-2", NEXT_NIGHT, after=night_1)
    land(ticks.settings, "night-3", NEXT_NIGHT + timedelta(days=1), after=night_2)
    late = night_2.rename(ticks.settings.exports_dir / "_night-2")
    for _ in range(2):
        assert "Batch night-3 continues from batch night-2, which is not in" in ticks.message()
    late.rename(night_2)
    assert ticks.requested() == [run_key(ticks.settings, 2)]
    assert newest_chain(ticks.settings).newest.batch_id == "night-3"


def test_newer_batch_is_requested_after_a_bad_one(ticks: Ticks) -> None:
    """To recover, land again; the sensor needs no attention."""
    folder = land(ticks.settings, "night-1", FIRST_NIGHT)
    (folder / MANIFEST_NAME).write_text("{")
    os.utime(folder / MANIFEST_NAME, (FIRST_NIGHT.timestamp(),) * 2)
    ticks.requested()
    land(ticks.settings, "night-2", NEXT_NIGHT)
    assert ticks.requested()[0].startswith("night-2:")


def test_no_manifest_is_opened_while_nothing_changed(ticks: Ticks) -> None:
    """A tick over ten thousand batches must stay cheap: names and file times show whether to look inside."""
    manifest = land(ticks.settings, "night-1", FIRST_NIGHT) / MANIFEST_NAME
    ticks.requested()
    before = manifest.stat()
    # A tick that opened it would report a bad batch.
    manifest.write_bytes(b"x" * before.st_size)
    os.utime(manifest, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert "Nothing has landed" in ticks.message()
    manifest.touch()
    assert ticks.requested()[0].startswith("bad-batch:")


def test_state_that_comes_back_is_requested_under_another_key(ticks: Ticks) -> None:
    """Dagster starts no second run for a run key, so a state that was removed and put back needs a new one."""
    land(ticks.settings, "night-1", FIRST_NIGHT)
    first = ticks.requested()
    away = land(ticks.settings, "night-2", NEXT_NIGHT)
    ticks.requested()
    shutil.rmtree(away)
    again = ticks.requested()
    assert again == [run_key(ticks.settings, 3)]
    assert again != first
    assert again[0].rsplit(":", 1)[0] == first[0].rsplit(":", 1)[0]


def test_published_state_is_not_requested(ticks: Ticks) -> None:
    """After `make run`, starting the daemon must not refresh the same batch again."""
    land(ticks.settings, "night-1", FIRST_NIGHT)
    publish(ticks, newest_chain(ticks.settings).digest)
    assert "It is published already" in ticks.message()


def test_state_is_requested_when_its_published_file_is_gone(ticks: Ticks) -> None:
    """The event log still has the publication of a file that was deleted."""
    land(ticks.settings, "night-1", FIRST_NIGHT)
    publish(ticks, newest_chain(ticks.settings).digest)
    ticks.settings.published_file.unlink()
    assert ticks.requested() == [run_key(ticks.settings, 1)]


def test_lost_cursor_requests_the_same_run_key(ticks: Ticks) -> None:
    """Dagster starts no second run for a run key, so a reset sensor may request it again."""
    land(ticks.settings, "night-1", FIRST_NIGHT)
    first = ticks.requested()
    ticks.cursor = None
    assert ticks.requested() == first


def test_cursor_holds_digests_and_no_time(ticks: Ticks) -> None:
    """A clock in the cursor would lose batches whenever clocks disagree."""
    land(ticks.settings, "night-1", FIRST_NIGHT)
    ticks.requested()
    cursor = SensorCursor.from_text(ticks.cursor)
    assert cursor.state_digest == newest_chain(ticks.settings).digest
    listing = list_batches(landing_zone_at(ticks.settings.exports_dir), ticks.settings.settle_seconds)
    assert cursor.fingerprint == listing.fingerprint
    assert cursor.requests == 1
    assert SensorCursor.from_text(cursor.to_text()) == cursor


def test_sensor_runs_by_default() -> None:
    """Copying files into a folder must be enough in a fresh installation."""
    assert isinstance(new_export_batch_sensor, SensorDefinition)
    assert new_export_batch_sensor.default_status.value == "RUNNING"
    assert new_export_batch_sensor.job_name == "refresh"


# Batches that are skipped ---------------------------------------------------------------------------------------


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[datetime], None]:
    """Set the time at which the landing zone is listed."""

    def set_time(now: datetime) -> None:
        monkeypatch.setattr(batches, "time", SimpleNamespace(time=now.timestamp))

    return set_time


def test_batch_of_the_future_is_requested_once_its_time_has_come(ticks: Ticks, clock: Callable[..., None]) -> None:
    """It would supersede every real batch, and turn performances that are still on sale into completed ones."""
    land(ticks.settings, "night-1", FIRST_NIGHT)
    land(ticks.settings, "night-2", NEXT_NIGHT)
    clock(NEXT_NIGHT - timedelta(minutes=16))
    (key,) = ticks.requested()
    assert key.startswith("night-1:")
    for _ in range(2):
        message = ticks.message()
        assert "Folder night-2 is not used: exported_at is 2022-08-02 06:00:00 UTC, which is in the future" in message
    clock(NEXT_NIGHT - timedelta(minutes=15))
    (key,) = ticks.requested()
    assert key.startswith("night-2:")
    assert ticks.requested() == []


def test_only_batch_being_of_the_future_is_named_by_sensor_and_refresh(
    ticks: Ticks, clock: Callable[..., None]
) -> None:
    land(ticks.settings, "night-2", NEXT_NIGHT)
    clock(FIRST_NIGHT)
    reason = "Folder night-2 is not used: exported_at is 2022-08-02 06:00:00 UTC, which is in the future"
    assert reason in ticks.message()
    with pytest.raises(Failure) as raised:
        find_chain(ticks.settings)
    assert "No complete full export batch" in str(raised.value.description)
    assert reason in str(raised.value.description)


def test_skipped_folders_are_logged_when_another_batch_is_requested(
    ticks: Ticks, capsys: pytest.CaptureFixture[str]
) -> None:
    land(ticks.settings, "night-1", FIRST_NIGHT)
    (ticks.settings.exports_dir / "broken-link").symlink_to("nowhere")
    assert ticks.requested()[0].startswith("night-1:")
    assert "Folder broken-link is not used: it is a link to something that is not there" in capsys.readouterr().err


def test_skipped_folder_changes_nothing_that_is_requested(ticks: Ticks) -> None:
    land(ticks.settings, "night-1", FIRST_NIGHT)
    ticks.requested()
    (ticks.settings.exports_dir / "broken-link").symlink_to("nowhere")
    (ticks.settings.exports_dir / os.fsdecode(b"\xff")).mkdir()
    message = ticks.message()
    assert "Nothing has landed" in message
    assert "Folder broken-link is not used" in message
    assert "Folder \\udcff is not used: its name" in message
    assert message.encode("utf-8").decode() == message


@pytest.mark.parametrize("name", ["Export of 1 Aug (final)", "Früh 'n' \"spät\" 🎸", "x" * 128])
def test_plain_batch_of_any_printable_name_is_requested(
    name: str, settings: Settings, instance: DagsterInstance
) -> None:
    land_plain_batch(settings, name)
    ticks = Ticks(settings, instance)
    assert ticks.requested() == [run_key(settings, 1)]
    assert "Its refresh was requested" in ticks.message()


# The daemon -----------------------------------------------------------------------------------------------------


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
def test_daemon_publishes_files_that_are_copied_into_a_folder(dagster_dev: tuple[Settings, DagsterInstance]) -> None:
    """Six files as psql's copy command leaves them are published, once."""
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
