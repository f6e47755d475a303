"""A landing zone on object storage: what is a batch there, what is not yet, and what becomes of one that breaks off."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from dagster import DagsterInstance, SensorResult, build_sensor_context
from object_storage import remote_settings
from refreshes import festival_settings, land_batch, land_plain_batch, wait_until

from acl_assets.ingestion.export_batch import (
    BatchError,
    ExportBatch,
    LandingZoneListing,
    list_landing_zone,
    resolve_state,
    verify_file,
)
from acl_assets.ingestion.object_storage import list_files, remove, write_file
from acl_assets.ingestion.remote_landing_zone import land_remotely, on_this_machine, remove_unfinished
from acl_assets.ingestion.sensors import new_export_batch_sensor
from acl_assets.settings import PROJECT_DIR, Settings


@pytest.fixture
def remote(bucket: str, tmp_path: Path) -> Settings:
    """An installation without any data, on object storage."""
    return remote_settings(tmp_path / "data", f"{bucket}/acl")


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    """Six CSV files without a manifest, on this machine."""
    return land_plain_batch(festival_settings(tmp_path / "here"))


def listing(settings: Settings, settle_seconds: float = 0.0) -> LandingZoneListing:
    return list_landing_zone(settings.exports_dir, settle_seconds)


def newest(settings: Settings) -> ExportBatch:
    return resolve_state(settings.exports_dir, listing(settings)).newest


def test_a_batch_is_the_same_there(remote: Settings, first_batch: Path) -> None:
    """Its digest names its content: a state is the same state wherever it lies."""
    assert land_remotely(first_batch, str(remote.exports_dir)) == f"{remote.exports_dir}/first"
    landed = newest(remote)
    (here,) = resolve_state(first_batch.parent, list_landing_zone(first_batch.parent, 0.0)).batches
    assert landed.digest == here.digest
    assert landed.tables == here.tables
    assert landed.folder == f"{remote.exports_dir}/first"


def test_nothing_has_landed_where_there_is_nothing(remote: Settings) -> None:
    with pytest.raises(BatchError, match=f"No complete full export batch in {remote.exports_dir}"):
        newest(remote)


def test_a_batch_is_landed_once(remote: Settings, first_batch: Path) -> None:
    land_remotely(first_batch, str(remote.exports_dir))
    with pytest.raises(BatchError, match=f"{remote.exports_dir}/first is there already and batches are immutable"):
        land_remotely(first_batch, str(remote.exports_dir))


def test_plain_files_are_a_batch_when_they_are_all_there_and_have_settled(remote: Settings, plain: Path) -> None:
    tickets = (plain / "tickets.csv").rename(plain.parent / "tickets.csv")
    land_remotely(plain, str(remote.exports_dir))
    assert listing(remote).incomplete["first"] == "it has neither manifest.json nor tickets.csv"
    write_file(f"{remote.exports_dir}/first/tickets.csv", tickets.read_bytes())
    assert "must lie unchanged for 3600 s" in listing(remote, settle_seconds=3600).incomplete["first"]
    assert newest(remote).tables["tickets"].files[0].bytes == tickets.stat().st_size


def test_other_objects_are_no_batches(remote: Settings, first_batch: Path) -> None:
    """What somebody hid, and what lies beside the folders or deeper, is nobody's batch."""
    for path in ("_hidden/manifest.json", ".hidden/manifest.json", "manifest.json", "first/deeper/manifest.json"):
        write_file(f"{remote.exports_dir}/{path}", b"{")
    land = listing(remote)
    assert [found.batch_id for found in land.complete] == []
    assert list(land.incomplete) == ["first"]


def test_an_upload_of_files_that_could_be_a_plain_batch_is_none_before_its_manifest(
    remote: Settings, tmp_path: Path
) -> None:
    """All six CSV files are there, and the process that sends them is killed before the manifest."""
    here = land_batch(festival_settings(tmp_path / "here"), form="csv")
    write_file(f"{remote.exports_dir}/first/.manifest.json.unfinished", b"")
    for file in here.glob("*.csv"):
        write_file(f"{remote.exports_dir}/first/{file.name}", file.read_bytes())
    assert listing(remote).incomplete == {"first": "its export has not finished: the manifest is still to come"}
    remove_unfinished(str(remote.exports_dir), "first")
    assert list_files(str(remote.exports_dir)) == {}


def test_a_batch_that_is_there_is_not_taken_for_a_left_over(remote: Settings, first_batch: Path) -> None:
    land_remotely(first_batch, str(remote.exports_dir))
    files = list_files(str(remote.exports_dir))
    remove_unfinished(str(remote.exports_dir), "first")
    assert list_files(str(remote.exports_dir)) == files


LAND = "import sys; from pathlib import Path; from acl_assets.ingestion.remote_landing_zone import land_remotely; \
land_remotely(Path(sys.argv[1]), sys.argv[2])"


def test_a_killed_upload_leaves_no_batch(remote: Settings, first_batch: Path, tmp_path: Path) -> None:
    """Whatever has arrived; and the batch can be sent again."""
    here = tmp_path / "first"
    here.mkdir()
    for file in first_batch.iterdir():
        (here / file.name).write_bytes(file.read_bytes())
    with (here / "performances.parquet").open("ab") as stream:
        stream.truncate(400_000_000)
    process = subprocess.Popen([sys.executable, "-c", LAND, here, remote.exports_dir], cwd=PROJECT_DIR)
    wait_until(lambda: "first/people.parquet" in list_files(str(remote.exports_dir)), "a file has arrived")
    process.kill()
    process.wait()
    assert listing(remote).incomplete == {"first": "its export has not finished: the manifest is still to come"}
    remove_unfinished(str(remote.exports_dir), "first")
    land_remotely(first_batch, str(remote.exports_dir))
    assert newest(remote).batch_id == "first"


def test_an_upload_that_fails_removes_what_it_has_sent(remote: Settings, first_batch: Path, tmp_path: Path) -> None:
    here = tmp_path / "first"
    here.mkdir()
    for file in first_batch.iterdir():
        (here / file.name).symlink_to(file if file.name != "tickets.parquet" else tmp_path / "nowhere")
    with pytest.raises(Exception, match=f"Cannot write {remote.exports_dir}/first/tickets.parquet"):
        land_remotely(here, str(remote.exports_dir))
    assert list_files(str(remote.exports_dir)) == {}


def test_the_sensor_requests_what_has_landed(remote: Settings, first_batch: Path, instance: DagsterInstance) -> None:
    """Once, and not before it is a batch."""
    cursor: str | None = None

    def tick() -> SensorResult:
        nonlocal cursor
        context = build_sensor_context(instance=instance, cursor=cursor, resources={"settings": remote})
        result = new_export_batch_sensor(context)
        assert isinstance(result, SensorResult)
        cursor = result.cursor or cursor
        return result

    write_file(f"{remote.exports_dir}/first/tickets.parquet", b"PAR1")
    waiting = tick()
    assert not waiting.run_requests
    assert "Folder first is not a batch yet" in str(waiting.skip_reason)
    remove([f"{remote.exports_dir}/first/tickets.parquet"])
    land_remotely(first_batch, str(remote.exports_dir))
    (request,) = tick().run_requests or []
    assert request.tags["acl/export_batch"] == "first"
    assert "Nothing has landed" in str(tick().skip_reason)


def test_files_are_on_this_machine_for_as_long_as_they_are_used(
    remote: Settings, first_batch: Path, tmp_path: Path
) -> None:
    land_remotely(first_batch, str(remote.exports_dir))
    with on_this_machine(newest(remote), "bands", tmp_path / "scratch") as here:
        (file,) = here.tables["bands"].files
        assert (Path(here.folder) / file.path).read_bytes() == (first_batch / file.path).read_bytes()
        assert [path.name for path in Path(here.folder).iterdir()] == ["bands.parquet"]
    assert not list((tmp_path / "scratch").rglob("*.parquet"))


@pytest.mark.parametrize(
    ("damage", "found"),
    [
        (lambda url: remove([url]), "the manifest lists this file, but it is not there"),
        (lambda url: write_file(url, b"PAR1"), "it has 4 bytes where"),
    ],
    ids=["taken away", "cut"],
)
def test_a_damaged_file_is_named_where_it_lies(
    remote: Settings, first_batch: Path, tmp_path: Path, damage: Callable[[str], None], found: str
) -> None:
    """People look for it in the landing zone, not where it was copied to."""
    land_remotely(first_batch, str(remote.exports_dir))
    damage(f"{remote.exports_dir}/first/bands.parquet")
    batch = newest(remote)
    with (
        pytest.raises(BatchError, match=f"^{remote.exports_dir}/first/bands.parquet: {found}"),
        on_this_machine(batch, "bands", tmp_path / "scratch") as here,
    ):
        verify_file(here, here.tables["bands"].files[0])


def test_plain_files_that_change_after_they_were_listed_are_refused(
    remote: Settings, plain: Path, tmp_path: Path
) -> None:
    """Nothing but their sizes and times tells; the new ones are another batch."""
    land_remotely(plain, str(remote.exports_dir))
    batch = newest(remote)
    content = (plain / "bands.csv").read_bytes()
    write_file(f"{remote.exports_dir}/first/bands.csv", content + b"5000,Late,1\n")
    with (
        pytest.raises(BatchError, match=f"^{remote.exports_dir}/first: it changed while it was read"),
        on_this_machine(batch, "bands", tmp_path / "scratch"),
    ):
        pass
