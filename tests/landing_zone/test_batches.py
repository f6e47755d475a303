"""Which folders are batches, which batches make up the source tables, and how all others are named."""

import os
import shutil
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from landing_zones import EXPORTED_AT, SETTLE_SECONDS, FolderZone, hours, listed_ids, rewrite

from acl_assets.landing_zone.batches import list_batches
from acl_assets.landing_zone.folder_store import FolderLandingZone
from acl_assets.landing_zone.manifest import (
    BatchError,
    ManifestFile,
    ManifestTable,
    MissingPredecessorError,
    NoBatchError,
)
from acl_assets.landing_zone.store import FileStamp, LandingZoneError, landing_zone_at
from acl_assets.source_schema import SOURCE_TABLES


def set_landed_at(batch: Path, second: float) -> None:
    os.utime(batch / "manifest.json", (second, second))


def named(*replaced: str, instead: tuple[str, ...] = ()) -> list[str]:
    """Return the names of a CSV file per table, some tables left out and other names added."""
    return [*(f"{table}.csv" for table in SOURCE_TABLES if table not in replaced), *instead]


# Listing --------------------------------------------------------------------------------------------------------


def test_missing_landing_zone_is_an_empty_one(tmp_path: Path) -> None:
    listing = FolderZone(tmp_path / "nowhere").listing()
    assert (listing.headers, listing.broken, listing.skipped) == ((), (), {})


def test_landing_zone_that_is_a_file_is_an_error_that_names_the_setting(tmp_path: Path) -> None:
    (tmp_path / "exports").touch()
    with pytest.raises(LandingZoneError, match=rf"{tmp_path / 'exports'} .*ACL_EXPORTS_DIR"):
        FolderZone(tmp_path / "exports").listing()


def test_hidden_folders_and_other_files_are_ignored(zone: FolderZone) -> None:
    """A leading dot or underscore takes a folder out of the landing zone."""
    for batch_id in ["b", "a"]:
        zone.land(batch_id)
    for aside in [".c", "_d"]:
        (zone.folder / "a").rename(zone.folder / aside)
        zone.land("a")
    for name in ["README.txt", ".tickets.csv", "_tickets.csv"]:
        (zone.folder / name).write_text("id\n")
    assert listed_ids(zone.listing()) == ["a", "b"]
    assert zone.listing().skipped == {}


@pytest.mark.parametrize(
    ("waited", "is_used"), [(-800, False), (-10, False), (0, False), (59, False), (60, True), (10_000, True)]
)
def test_plain_folder_is_a_batch_once_its_files_are_unchanged_for_a_while(
    waited: float, is_used: bool, zone: FolderZone
) -> None:
    """Nothing else shows that a copy is done; a modification time slightly in the future is waited for."""
    modified_at = datetime.now(UTC).timestamp() + 1_000
    zone.land_plain("plain", modified_at)
    listing = zone.listing(now=modified_at + waited)
    assert listed_ids(listing) == (["plain"] if is_used else [])
    if is_used:
        assert listing.skipped == {}
    else:
        assert f"changed {max(waited, 0)} s ago" in listing.skipped["plain"]
        assert "60 s" in listing.skipped["plain"]


def test_copy_that_keeps_old_modification_times_is_waited_for(zone: FolderZone) -> None:
    os.utime(zone.land_plain("plain", modified_at=0), (0, 0))
    assert listed_ids(zone.listing()) == []
    assert "must be unchanged" in zone.listing().skipped["plain"]


def test_file_that_is_no_table_restarts_the_wait(zone: FolderZone) -> None:
    """The copy is not done while anything in the folder changes."""
    now = datetime.now(UTC).timestamp() + 1_000
    batch = zone.land_plain("plain", modified_at=0)
    (batch / "notes.txt").touch()
    os.utime(batch / "notes.txt", (now, now))
    assert listed_ids(zone.listing(now=now + 30)) == []
    assert listed_ids(zone.listing(now=now + 60)) == ["plain"]


def test_plain_folder_is_a_full_batch_of_its_newest_file_time(zone: FolderZone) -> None:
    zone.land_plain("plain", modified_at=1_000_000)
    os.utime(zone.folder / "plain" / "tickets.csv", (1_000_030.5, 1_000_030.5))
    batch = zone.chain().newest
    assert (batch.kind, batch.has_manifest) == ("full", False)
    assert batch.exported_at == datetime.fromtimestamp(1_000_030.5, UTC)
    file = ManifestFile("tickets.csv", 3, sha256=None, rows=None, modified_ns=1_000_030_500_000_000)
    assert batch.tables["tickets"] == ManifestTable(None, (file,))
    assert batch.tables["tickets"].rows is None


# Folders without a manifest -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "names",
    [
        [f"{table}.csv.gz" for table in SOURCE_TABLES],
        [f"{table}.csv.zst" for table in SOURCE_TABLES],
        [f"{table}.parquet" for table in SOURCE_TABLES],
        named("bands", "tickets", instead=("bands.parquet", "tickets.csv.gz")),
        named("tickets", instead=("tickets-1.csv", "tickets-2.csv")),
        named("tickets", instead=("tickets-0.csv", "tickets-1.parquet")),
        named("tickets", instead=tuple(f"tickets-{part:04}.csv" for part in range(1, 12))),
        named("tickets", instead=tuple(f"tickets-{part}.csv" for part in range(1, 12))),
        named(instead=("notes.txt", "export.zip")),
    ],
    ids=["gzip", "zstd", "parquet", "mixed", "parts", "parts from 0", "padded parts", "eleven parts", "other files"],
)
def test_plain_folder_may_hold_any_format_and_numbered_parts(names: list[str], zone: FolderZone) -> None:
    zone.land_plain("plain", names=names)
    assert zone.settled().skipped == {}
    tables = zone.chain().newest.tables
    assert list(tables) == list(SOURCE_TABLES)
    found = [file.path for table in tables.values() for file in table.files]
    assert sorted(found) == sorted(name for name in names if name not in ("notes.txt", "export.zip"))


def test_numbered_parts_are_in_the_order_of_their_numbers(zone: FolderZone) -> None:
    parts = tuple(f"tickets-{part}.csv" for part in range(1, 12))
    zone.land_plain("plain", names=named("tickets", instead=parts))
    assert [file.path for file in zone.chain().newest.tables["tickets"].files] == list(parts)


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (named(instead=("tickets.parquet",)), ["tickets", "more than once", "tickets.csv", "tickets.parquet"]),
        (named(instead=("tickets.csv.gz",)), ["tickets", "more than once", "tickets.csv.gz"]),
        (named(instead=("tickets-1.csv",)), ["tickets", "more than once", "tickets.csv", "tickets-1.csv"]),
        (
            named("tickets", instead=("tickets-1.csv", "tickets-01.csv")),
            ["more than once", "tickets-1.csv", "tickets-01.csv"],
        ),
        (named("tickets", instead=("tickets-1.csv", "tickets-3.csv")), ["gap", "tickets-1.csv", "tickets-3.csv"]),
        (named("tickets", instead=("tickets-2.csv", "tickets-3.csv")), ["gap", "tickets-2.csv", "tickets-3.csv"]),
        (named("tickets", instead=("tickets-2.csv",)), ["gap", "tickets-2.csv"]),
    ],
    ids=["two formats", "two compressions", "whole and part", "part twice", "gap", "no first part", "only second part"],
)
def test_plain_folder_that_holds_a_table_twice_or_in_part_is_named(
    names: list[str], found: list[str], zone: FolderZone
) -> None:
    zone.land("good")
    zone.land_plain("plain", names=names)
    assert [text for text in found if text not in zone.settled().skipped["plain"]] == []
    assert zone.ids() == ["good"]


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (named("people", "tickets"), ["people, tickets"]),
        (
            named("bands", instead=("Bands.csv",)),
            ["neither manifest.json nor files of bands", "Bands.csv", "bands.csv"],
        ),
        (named("bands", instead=("BANDS.CSV.GZ",)), ["BANDS.CSV.GZ", "bands.csv.gz"]),
        (named("bands", instead=("bands-1.Parquet",)), ["bands-1.Parquet", "bands-1.parquet"]),
        (named("bands", instead=("band.csv",)), ["files of bands", "band.csv"]),
        (named("bands", instead=("bands.csv.bz2",)), ["bands.csv.bz2", "tickets.csv.gz"]),
        (["export.zip"], ["bands, venues, performances, people, purchases, tickets", "export.zip"]),
        (["Manifest.json"], ["manifest.json", "Manifest.json"]),
        ([], ["it is empty"]),
    ],
    ids=["missing", "case", "case of suffix", "case of part", "other name", "format", "zip", "manifest case", "empty"],
)
def test_settled_folder_that_is_no_batch_is_named_with_what_it_holds(
    names: list[str], found: list[str], zone: FolderZone
) -> None:
    zone.land("good")
    zone.land_plain("other", names=names)
    assert [text for text in found if text not in zone.settled().skipped["other"]] == []
    assert zone.ids() == ["good"]


def test_batch_one_folder_too_deep_is_named_with_its_folder(zone: FolderZone) -> None:
    zone.land("good")
    FolderZone(zone.folder / "2022").land("08-01", exported_at=hours(1))
    assert "08-01" in zone.settled().skipped["2022"]
    assert "one level up" in zone.settled().skipped["2022"]
    assert zone.ids() == ["good"]


@pytest.mark.parametrize("name", ["tickets.csv", "EXPORT.ZIP", "manifest.json"])
def test_file_that_lies_directly_in_the_landing_zone_is_named(name: str, zone: FolderZone) -> None:
    zone.land("good")
    (zone.folder / name).write_text("id\n")
    assert "it is a file, and a batch is a folder" in zone.settled().skipped[name]
    assert zone.ids() == ["good"]


# Batches of the future ------------------------------------------------------------------------------------------

NOW = EXPORTED_AT.timestamp()


@pytest.fixture
def ahead(zone: FolderZone) -> FolderZone:
    """A landing zone with a good batch and `early`, exported 16 minutes later."""
    zone.land("good")
    zone.land("early", exported_at=EXPORTED_AT + timedelta(minutes=16))
    return zone


@pytest.mark.parametrize(("minutes", "is_used"), [(-1, True), (0, True), (15, True), (15.1, False), (1e6, False)])
def test_clocks_may_differ_by_fifteen_minutes(minutes: float, is_used: bool, zone: FolderZone) -> None:
    zone.land("early", exported_at=EXPORTED_AT + timedelta(minutes=minutes))
    assert listed_ids(zone.listing(now=NOW)) == (["early"] if is_used else [])


def test_batch_of_the_future_is_used_once_its_time_has_come(ahead: FolderZone) -> None:
    before = ahead.listing(now=NOW)
    after = ahead.listing(now=NOW + 60)
    assert listed_ids(after) == ["good", "early"]
    assert after.fingerprint != before.fingerprint
    assert after.skipped == {}


@pytest.mark.parametrize("exported_at", ["9999-12-31T23:59:59+00:00", "9999-12-31T23:59:59-14:00"])
def test_batch_at_the_end_of_time_stops_no_other(exported_at: str, zone: FolderZone) -> None:
    zone.land("good")
    batch = zone.land("late", exported_at=hours(1))
    rewrite(batch, lambda document: document.update(exported_at=exported_at))
    set_landed_at(batch, 0)
    assert zone.ids() == ["good"]


@pytest.mark.parametrize("days", [0.02, 1, 100_000])
def test_plain_batch_of_the_future_is_skipped_and_named_with_its_date(days: float, zone: FolderZone) -> None:
    zone.land("good")
    now = datetime.now(UTC).timestamp() + 1_000
    modified_at = now + days * 86_400
    zone.land_plain("plain", modified_at)
    listing = zone.listing(now=now)
    assert listed_ids(listing) == ["good"]
    assert "the time of its newest file is " in listing.skipped["plain"]
    assert "in the future" in listing.skipped["plain"]
    if days <= 1:
        assert f"{datetime.fromtimestamp(modified_at, UTC):%Y-%m-%d %H:%M:%S} UTC" in listing.skipped["plain"]
        assert listed_ids(zone.listing(now=modified_at + SETTLE_SECONDS)) == ["good", "plain"]


def test_file_time_beyond_the_calendar_is_in_the_future(zone: FolderZone, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some file systems store such times."""
    zone.land("good")
    zone.land_plain("plain")
    *entries, plain = landing_zone_at(zone.folder).entries()
    files = {name: FileStamp(3, 10**21) for name in plain.files}
    changed = replace(plain, files=files, last_change=10**12)
    monkeypatch.setattr(FolderLandingZone, "entries", lambda zone: iter([*entries, changed]))
    assert listed_ids(zone.settled()) == ["good"]
    assert "in the future" in zone.settled().skipped["plain"]


# Change ---------------------------------------------------------------------------------------------------------


def test_fingerprint_changes_with_the_batches_and_nothing_else(zone: FolderZone) -> None:
    """The sensor compares it at every tick, by names and file times alone."""
    settled = datetime.now(UTC).timestamp() + 1_000

    def fingerprint() -> str:
        return zone.listing(now=settled).fingerprint

    seen = [fingerprint()]
    zone.land("a")
    seen.append(fingerprint())
    zone.land_plain("b", modified_at=1_000)
    seen.append(fingerprint())
    os.utime(zone.folder / "b" / "people.csv", (2_000, 2_000))
    seen.append(fingerprint())
    rewrite(zone.folder / "a", lambda document: document.update(source_snapshot={}))
    seen.append(fingerprint())
    (zone.folder / "a" / "manifest.json").write_text("{")
    seen.append(fingerprint())
    (zone.folder / "a").rename(zone.folder / "c")
    seen.append(fingerprint())
    assert len(set(seen)) == len(seen)
    zone.land_plain("unfinished", names=["tickets.csv"])
    (zone.folder / "tickets.csv").touch()
    assert fingerprint() == seen[-1]
    assert zone.listing(now=settled + 9_999).fingerprint == seen[-1]


def test_digest_names_the_content(zone: FolderZone, tmp_path: Path) -> None:
    """Of a manifest its bytes, wherever the folder lies; of plain files their names, sizes and times."""
    zone.land("a")
    elsewhere = FolderZone(tmp_path / "elsewhere")
    elsewhere.folder.mkdir()
    before = zone.chain()
    (zone.folder / "a").rename(elsewhere.folder / "a")
    assert elsewhere.chain().newest.digest == before.newest.digest
    assert elsewhere.chain().digest == before.digest
    rewrite(elsewhere.folder / "a", lambda document: document.update(source_snapshot={"lsn": 1}))
    assert elsewhere.chain().newest.digest != before.newest.digest
    assert elsewhere.chain().digest != before.digest

    zone.land_plain("b", modified_at=1_000)
    before = zone.chain()
    assert zone.chain().digest == before.digest
    os.utime(zone.folder / "b" / "people.csv", (999, 999))
    assert zone.chain().newest.digest != before.newest.digest


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
        ([("a", "full", 0)], ["a"]),
        ([("b", "full", 0), ("a", "full", 1)], ["a"]),
        ([("a", "full", 0), ("b", "full", 0)], ["b"]),
        ([("c", "full", 0), ("a", "incremental", 2), ("b", "incremental", 1)], ["c", "b", "a"]),
        ([("c", "full", 1), ("a", "incremental", 0), ("d", "incremental", 2)], ["c", "d"]),
        ([("a", "full", 0), ("b", "incremental", 1), ("c", "full", 2), ("d", "incremental", 3)], ["c", "d"]),
        ([("b", "full", 0), ("a", "incremental", 0), ("c", "incremental", 0)], ["b", "c"]),
        ([("a", "full", 0), ("b", "incremental", 0), ("c", "incremental", 0)], ["a", "b", "c"]),
    ],
)
def test_chain_is_the_newest_full_batch_and_the_incremental_ones_after_it(
    batches: list[tuple[str, str, int]], expected: list[str], zone: FolderZone
) -> None:
    """Batches are ordered by export time, then by id; never by name alone or by when the folder arrived."""
    before = None
    for batch_id, kind, exported in sorted(batches, key=lambda batch: (batch[2], batch[0])):
        zone.land(batch_id, kind, hours(exported), after=before)
        before = batch_id
    assert zone.ids() == expected
    assert zone.chain().newest.batch_id == expected[-1]


def test_batch_with_a_manifest_can_follow_plain_files(zone: FolderZone) -> None:
    zone.land_plain("plain", modified_at=EXPORTED_AT.timestamp())
    zone.land("next", "incremental", hours(1), after="plain")
    assert zone.ids() == ["plain", "next"]


@pytest.fixture
def chain(zone: FolderZone) -> FolderZone:
    """A full batch `a`, and `b` and `c` that continue from it, one hour apart."""
    zone.land("a", exported_at=hours(0))
    zone.land("b", "incremental", hours(1), after="a")
    zone.land("c", "incremental", hours(2), after="b")
    return zone


def test_batch_that_lands_before_its_predecessor_is_waited_for(chain: FolderZone) -> None:
    """The rows of the missing one would be missing; once it is there both are used, and nothing has to be repaired."""
    aside = (chain.folder / "b").rename(chain.folder / "_b")
    with pytest.raises(MissingPredecessorError) as raised:
        chain.chain()
    assert f"Batch c continues from batch b, which is not in {chain.folder}" in str(raised.value)
    assert "land a newer full batch" in str(raised.value)
    aside.rename(chain.folder / "b")
    assert chain.ids() == ["a", "b", "c"]


def test_missing_predecessor_is_named_with_the_reason_why_it_is_skipped(chain: FolderZone) -> None:
    (chain.folder / "b" / "manifest.json").unlink()
    (chain.folder / "b" / "people.csv").unlink()
    with pytest.raises(MissingPredecessorError, match=r"continues from batch b, .*files of people"):
        chain.chain()


def test_predecessor_name_is_printable(zone: FolderZone) -> None:
    zone.land("a")
    batch = zone.land("b", "incremental", hours(1), after="a")
    rewrite(batch, lambda document: document["continues_from"].update(batch_id="a\n\x1b[2J"))
    with pytest.raises(MissingPredecessorError) as raised:
        zone.chain()
    assert str(raised.value).isprintable()


def test_changed_predecessor_is_refused(chain: FolderZone) -> None:
    """The next batch left out rows that were in the batch as it was, and may not be in the one in its place."""
    rewrite(chain.folder / "b", lambda document: document.update(source_snapshot={"xid_horizon": 7}))
    with pytest.raises(BatchError, match=r"c/manifest\.json: it continues from batch b, which has changed since"):
        chain.chain()


def test_batch_that_arrives_late_in_between_is_refused(chain: FolderZone) -> None:
    """Two exports continued from the same batch, and their order does not show which rows are the newer ones."""
    chain.land("late", "incremental", hours(1.5), after="b")
    with pytest.raises(BatchError, match=r"c/manifest\.json: it continues from batch b, but the .* before it is late"):
        chain.chain()


def test_newer_full_batch_recovers_a_broken_chain(chain: FolderZone) -> None:
    chain.land("late", "incremental", hours(1.5), after="a")
    chain.land("d", exported_at=hours(3))
    assert chain.ids() == ["d"]


def test_error_without_a_batch_says_what_is_there_and_what_to_do(zone: FolderZone) -> None:
    zone.land_plain("half", names=["bands.csv"])
    with pytest.raises(NoBatchError) as raised:
        zone.chain()
    message = str(raised.value)
    assert str(zone.folder) in message
    assert "Folder half is not used: it has neither manifest.json nor files of venues" in message
    assert "tickets.csv" in message
    assert "ACL_EXPORTS_DIR" in message
    assert "make run" in message


# Batches that break the contract --------------------------------------------------------------------------------


def test_broken_manifest_fails_until_a_newer_full_batch_lands(zone: FolderZone) -> None:
    """It could be the newest batch, so it is never skipped."""
    set_landed_at(zone.land("a", exported_at=hours(0)), 1_000)
    broken = zone.land("b", exported_at=hours(1))
    (broken / "manifest.json").write_text("{")
    set_landed_at(broken, 2_000)
    with pytest.raises(BatchError, match=r"b/manifest\.json: it is not JSON"):
        zone.chain()
    set_landed_at(zone.land("c", "incremental", hours(2), after="b"), 3_000)
    with pytest.raises(BatchError, match=r"b/manifest\.json: it is not JSON"):
        zone.chain()
    set_landed_at(zone.land("d", exported_at=hours(3)), 3_000)
    assert zone.ids() == ["d"]


def test_broken_batch_that_is_superseded_is_not_read(zone: FolderZone) -> None:
    batch = zone.land("a", exported_at=hours(0))
    rewrite(batch, lambda document: document["tables"].pop("people"))
    with pytest.raises(BatchError, match="it lists no people"):
        zone.chain()
    zone.land("b", exported_at=hours(1))
    assert zone.ids() == ["b"]


@pytest.mark.parametrize("size", [(16 << 20) + 1, 1 << 40])
def test_manifest_larger_than_16_mib_is_a_breach_and_not_read(
    size: int, zone: FolderZone, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_landed_at(zone.land("a"), 1_000)
    broken = zone.land("b", exported_at=hours(1))
    os.truncate(broken / "manifest.json", size)
    with monkeypatch.context() as patch:
        patch.setattr(FolderLandingZone, "read_manifest", _read_all_but(broken, FolderLandingZone.read_manifest))
        with pytest.raises(BatchError, match=r"b/manifest\.json: .*16 MiB"):
            zone.chain()
    set_landed_at(broken, 2_000)
    set_landed_at(zone.land("c", exported_at=hours(2)), 3_000)
    assert zone.ids() == ["c"]


def _read_all_but(unread: Path, read: Any) -> Any:
    def read_manifest(zone: FolderLandingZone, folder: str) -> bytes:
        assert folder != str(unread)
        return read(zone, folder)

    return read_manifest


def test_folder_removed_while_it_is_listed_stops_no_other(zone: FolderZone, monkeypatch: pytest.MonkeyPatch) -> None:
    zone.land("good")
    gone = zone.land("gone", exported_at=hours(1))
    entries = list(landing_zone_at(zone.folder).entries())
    shutil.rmtree(gone)
    monkeypatch.setattr(FolderLandingZone, "entries", lambda zone: iter(entries))
    listing = list_batches(landing_zone_at(zone.folder), SETTLE_SECONDS)
    assert listed_ids(listing) == ["good"]
    assert "not there" in listing.skipped["gone"]
