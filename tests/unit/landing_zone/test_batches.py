"""The listing of a landing zone: batches, the batch chain, and the reasons for which other folders are skipped."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from landing_zones import EXPORTED_AT, FolderZone, hours, listed_ids, rewrite

from acl_assets.landing_zone.folder_store import FolderLandingZone
from acl_assets.landing_zone.manifest import (
    BatchError,
    ManifestFile,
    ManifestTable,
    MissingPredecessorError,
)
from acl_assets.landing_zone.store import LandingZoneError
from acl_assets.source_schema import SOURCE_TABLES

NOW = EXPORTED_AT.timestamp()


def set_landed_at(batch: Path, second: float) -> None:
    os.utime(batch / "manifest.json", (second, second))


def named(*replaced: str, instead: tuple[str, ...] = ()) -> list[str]:
    """Return the names of a CSV file per table, some tables left out and other names added."""
    return [*(f"{table}.csv" for table in SOURCE_TABLES if table not in replaced), *instead]


# Listing --------------------------------------------------------------------------------------------------------


def test_missing_landing_zone_is_empty_and_a_file_is_an_error(tmp_path: Path) -> None:
    zone = FolderZone(tmp_path / "exports")
    assert zone.listing().headers == ()
    zone.folder.touch()
    with pytest.raises(LandingZoneError, match=rf"{zone.folder} .*ACL_EXPORTS_DIR"):
        zone.listing()


def test_hidden_entries_and_other_files_are_ignored_and_files_like_exports_are_named(zone: FolderZone) -> None:
    """A leading dot or underscore takes a folder out of the landing zone."""
    zone.land("a").rename(zone.folder / "_a")
    zone.land("a")
    for name in ["README.txt", ".tickets.csv", "tickets.csv", "EXPORT.ZIP", "manifest.json"]:
        (zone.folder / name).touch()
    assert zone.settled().skipped.keys() == {"tickets.csv", "EXPORT.ZIP", "manifest.json"}
    assert "it is a file, and a batch is a folder" in zone.settled().skipped["tickets.csv"]
    assert zone.ids() == ["a"]


@pytest.mark.parametrize("waited", [59, 60])
def test_plain_folder_is_a_batch_once_its_files_are_unchanged_for_a_while(waited: float, zone: FolderZone) -> None:
    """A copy may keep old modification times, so the time of the last change decides."""
    now = datetime.now(UTC).timestamp() + 1_000
    os.utime(zone.land_plain("plain", modified_at=0), (0, 0))
    assert "must be unchanged for 60 s" in zone.listing().skipped["plain"]
    zone.land_plain("plain", modified_at=now - waited, names=["notes.txt"])
    reason = "its files changed 59 s ago and must be unchanged for 60 s"
    assert zone.listing(now).skipped == ({} if waited == 60 else {"plain": reason})


def test_plain_folder_is_a_full_batch_of_its_newest_file_time(zone: FolderZone) -> None:
    zone.land_plain("plain", modified_at=1_000_000)
    zone.land_plain("plain", modified_at=1_000_030.5, names=["tickets.csv"])
    batch = zone.chain().newest
    assert (batch.kind, batch.has_manifest) == ("full", False)
    assert batch.exported_at == datetime.fromtimestamp(1_000_030.5, UTC)
    file = ManifestFile("tickets.csv", 3, sha256=None, rows=None, modified_ns=1_000_030_500_000_000)
    assert batch.tables["tickets"] == ManifestTable(None, (file,))


def test_plain_folder_may_hold_any_format_and_numbered_parts(zone: FolderZone) -> None:
    """Parts are in the order of their numbers."""
    parts = ["tickets-0.csv.zst", *(f"tickets-{part}.parquet" for part in range(1, 11))]
    zone.land_plain("plain", names=named("tickets", instead=(*parts, "notes.txt", "export.zip")))
    assert [file.path for file in zone.chain().newest.tables["tickets"].files] == parts


REASONS: dict[str, tuple[list[str], str]] = {
    "two formats": (named(instead=("tickets.parquet",)), "tickets is there more than once"),
    "gap": (named("tickets", instead=("tickets-1.csv", "tickets-3.csv")), "are not numbered without a gap"),
    "missing": (named("people", "tickets"), "it has neither manifest.json nor files of people, tickets"),
    "another name": (named("bands", instead=("Bands.csv",)), "files of bands; found instead: Bands.csv; expected are "),
    "a part of DBeaver": (named(instead=("tickets_2.csv",)), "rows of a table is not named as expected; found "),
    "a copy of Windows": (named(instead=("Tickets (1).CSV",)), "found instead: Tickets (1).CSV; expected are "),
    "empty": ([], "it is empty"),
}


@pytest.mark.parametrize(("names", "reason"), REASONS.values(), ids=REASONS)
def test_settled_folder_that_is_no_batch_is_named_with_the_reason(
    names: list[str], reason: str, zone: FolderZone
) -> None:
    zone.land("good")
    zone.land_plain("other", names=names)
    assert reason in zone.settled().skipped["other"]
    assert zone.ids() == ["good"]


@pytest.mark.parametrize(("minutes", "is_used"), [(15, True), (15.1, False)])
def test_clocks_may_differ_by_fifteen_minutes(minutes: float, is_used: bool, zone: FolderZone) -> None:
    exported_at = EXPORTED_AT + timedelta(minutes=minutes)
    zone.land("early", exported_at)
    now, later = zone.listing(now=NOW), zone.listing(now=exported_at.timestamp())
    assert listed_ids(now) == (["early"] if is_used else [])
    assert listed_ids(later) == ["early"]
    if not is_used:
        assert f"exported_at is {exported_at:%Y-%m-%d %H:%M:%S} UTC, which is in the future" in now.skipped["early"]


def test_plain_batch_of_the_future_is_skipped_and_named_with_its_date(zone: FolderZone) -> None:
    zone.land_plain("plain", modified_at=datetime(2100, 1, 2).timestamp())
    assert "the time of its newest file is 2100-" in zone.settled().skipped["plain"]


def test_manifest_is_read_once_while_it_does_not_change(zone: FolderZone, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tick of the sensor over ten thousand batches opens none of them."""
    zone.land("a")
    zone.listing()
    with monkeypatch.context() as patch:
        patch.setattr(FolderLandingZone, "read_manifest", lambda zone, folder: pytest.fail("a manifest was read"))
        assert listed_ids(zone.listing()) == ["a"]
    rewrite(zone.folder / "a", lambda document: document.update(exported_at="2022-08-02T06:00:00+00:00"))
    assert zone.listing().headers[0].exported_at == hours(24)


# The chain ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("batches", "expected"),
    [
        ({"a": 1, "b": 0}, ["a"]),
        ({"c": 0, "b+": 1, "a+": 2}, ["c", "b+", "a+"]),
        ({"a": 0, "b+": 1, "c": 2, "d+": 3}, ["c", "d+"]),
        ({"a": 0, "b+": 0, "c+": 0}, ["a", "b+", "c+"]),
    ],
)
def test_chain_is_the_newest_full_batch_and_the_incremental_ones_after_it(
    batches: dict[str, int], expected: list[str], zone: FolderZone
) -> None:
    """Batches are ordered by export time, then by id; never by name alone or by when the folder arrived."""
    before = None
    for batch_id, exported in batches.items():
        zone.land(batch_id, hours(exported), after=before if "+" in batch_id else None)
        before = batch_id
    assert zone.ids() == expected


@pytest.fixture
def chain(zone: FolderZone) -> FolderZone:
    """A full batch `a`, and `b` and `c` that continue from it, one hour apart."""
    zone.land("a", hours(0))
    zone.land("b", hours(1), after="a")
    zone.land("c", hours(2), after="b")
    return zone


def test_batch_that_lands_before_its_predecessor_is_waited_for(chain: FolderZone) -> None:
    """The rows of the missing one would be missing; once it is there both are used, and nothing has to be repaired."""
    aside = (chain.folder / "b").rename(chain.folder / "_b")
    with pytest.raises(MissingPredecessorError) as raised:
        chain.chain()
    assert f"Batch c continues from batch b, which is not in {chain.folder}" in str(raised.value)
    assert "land a newer full batch" in str(raised.value)
    (aside / "manifest.json").rename(aside / "kept.json")
    (aside / "people.csv").unlink()
    aside.rename(chain.folder / "b")
    with pytest.raises(MissingPredecessorError, match=r"continues from batch b, .*files of people"):
        chain.chain()
    (chain.folder / "b" / "kept.json").rename(chain.folder / "b" / "manifest.json")
    assert chain.ids() == ["a", "b", "c"]


def test_changed_predecessor_is_refused(chain: FolderZone) -> None:
    """The next batch left out rows that were in the batch as it was, and may not be in the one in its place."""
    rewrite(chain.folder / "b", lambda document: document.update(source_snapshot={"xid_horizon": 7}))
    with pytest.raises(BatchError, match=r"c/manifest\.json: it continues from batch b, which has changed since"):
        chain.chain()


def test_batch_that_arrives_late_in_between_is_refused_until_a_newer_full_batch_lands(chain: FolderZone) -> None:
    """Two exports continued from the same batch, and their order does not show which rows are the newer ones."""
    chain.land("late", hours(1.5), after="b")
    with pytest.raises(BatchError, match=r"c/manifest\.json: it continues from batch b, but the .* before it is late"):
        chain.chain()
    chain.land("d", hours(3))
    assert chain.ids() == ["d"]


# Batches that break the contract --------------------------------------------------------------------------------


def test_broken_manifest_fails_until_a_newer_full_batch_lands(zone: FolderZone) -> None:
    """It could be the newest batch, so it is never skipped."""
    set_landed_at(zone.land("a", hours(0)), 1_000)
    broken = zone.land("b", hours(1))
    (broken / "manifest.json").write_text("{")
    set_landed_at(broken, 2_000)
    set_landed_at(zone.land("c", hours(2), after="b"), 3_000)
    with pytest.raises(BatchError, match=r"b/manifest\.json: it is not JSON"):
        zone.chain()
    set_landed_at(zone.land("d", hours(3)), 3_000)
    assert zone.ids() == ["d"]


def test_manifest_with_broken_tables_counts_by_its_export_time(zone: FolderZone) -> None:
    """An old one that is copied in late fails nothing; one that landed early, of a newer export, does."""
    broken = zone.land("b", hours(1))
    rewrite(broken, lambda document: document["tables"].pop("people"))
    set_landed_at(broken, 1_000)
    zone.land("a", hours(0))
    with pytest.raises(BatchError, match="it lists no people"):
        zone.chain()
    zone.land("c", hours(2))
    set_landed_at(broken, NOW + 1e9)
    assert zone.ids() == ["c"]


def test_manifest_larger_than_16_mib_is_a_breach_and_read_in_part(zone: FolderZone) -> None:
    os.truncate(zone.land("a") / "manifest.json", 1 << 40)
    with pytest.raises(BatchError, match=r"a/manifest\.json: .*16 MiB"):
        zone.chain()
