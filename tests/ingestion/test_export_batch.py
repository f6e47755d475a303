"""The contract of the landing zone: what is a batch, which batches count, and what is refused."""

import hashlib
import json
import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from acl_assets.ingestion import export_batch
from acl_assets.ingestion.export_batch import (
    BatchError,
    ExportBatch,
    LandingZoneState,
    Manifest,
    ManifestFile,
    ManifestTable,
    MissingPredecessorError,
    NoBatchError,
    Predecessor,
)
from acl_assets.ingestion.source_schema import SOURCE_TABLES

EXPORTED_AT = datetime(2022, 8, 1, 6, tzinfo=UTC)
SETTLE_SECONDS = 60.0
Document = dict[str, Any]


class LandingZone:
    """A landing zone on disk in which batches are laid down."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def land(
        self,
        batch_id: str,
        kind: Any = "full",
        exported_at: datetime = EXPORTED_AT,
        content: str = "id\n",
        after: str | None = None,
    ) -> Path:
        """Write a batch the way an export does: the files first, the manifest last.

        An incremental one continues from the batch `after`, as it is now; from one nobody has seen without that.
        """
        batch = export_batch.begin_batch(self.folder, batch_id)
        tables: dict[str, ManifestTable] = {}
        for table in SOURCE_TABLES:
            (batch / f"{table}.csv").write_text(content)
            tables[table] = ManifestTable(0, (export_batch.describe_file(batch, f"{table}.csv", rows=0),))
        continues_from = self.predecessor(after) if kind == "incremental" else None
        manifest = Manifest(batch_id, kind, exported_at, tables, continues_from=continues_from)
        export_batch.write_manifest(batch, manifest)
        return batch

    def predecessor(self, batch_id: str | None) -> Predecessor:
        """A batch as the one after it names it."""
        if batch_id is None:
            return Predecessor("unseen", "0" * 64)
        manifest = self.folder / batch_id / "manifest.json"
        if manifest.exists():
            return Predecessor(batch_id, hashlib.sha256(manifest.read_bytes()).hexdigest())
        return Predecessor(batch_id, next(batch.digest for batch in self.state().batches if batch.batch_id == batch_id))

    def land_plain(self, batch_id: str, modified_at: float, tables: Any = tuple(SOURCE_TABLES)) -> Path:
        """Write a folder of plain CSV files, last modified at the given second."""
        batch = self.folder / batch_id
        batch.mkdir(parents=True, exist_ok=True)
        for table in tables:
            path = batch / f"{table}.csv"
            path.write_text("id\n")
            os.utime(path, (modified_at, modified_at))
        return batch

    def listing(self, now: float | None = None) -> export_batch.LandingZoneListing:
        return export_batch.list_landing_zone(self.folder, SETTLE_SECONDS, now)

    def state(self) -> LandingZoneState:
        later = datetime.now(UTC).timestamp() + 10 * SETTLE_SECONDS
        return export_batch.resolve_state(self.folder, self.listing(now=later))

    def ids(self) -> list[str]:
        return [batch.batch_id for batch in self.state().batches]


@pytest.fixture
def zone(tmp_path: Path) -> LandingZone:
    return LandingZone(tmp_path / "exports")


def rewrite(batch: Path, change: Callable[[Document], Any]) -> None:
    """Change the manifest of a landed batch."""
    path = batch / "manifest.json"
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


def set_landed_at(batch: Path, second: float) -> None:
    os.utime(batch / "manifest.json", (second, second))


# Writing ------------------------------------------------------------------------------------------------------


def test_a_written_batch_reads_back_as_it_was(zone: LandingZone) -> None:
    zone.land("2022-08-01", content="id,name\n")
    batch = zone.state().newest
    assert (batch.batch_id, batch.kind, batch.exported_at) == ("2022-08-01", "full", EXPORTED_AT)
    assert batch.has_manifest
    assert list(batch.tables) == list(SOURCE_TABLES)
    [file] = batch.tables["bands"].files
    assert (file.path, file.bytes, file.rows, batch.tables["bands"].rows_at_source) == ("bands.csv", 8, 0, 0)
    assert export_batch.verify_file(batch, file) == zone.folder / "2022-08-01" / "bands.csv"


def test_a_batch_does_not_exist_before_its_manifest(zone: LandingZone) -> None:
    """Six CSV files that lie still for a minute are no batch while their export goes on."""
    batch = export_batch.begin_batch(zone.folder, "slow")
    zone.land_plain("slow", modified_at=0)
    listing = zone.listing(now=datetime.now(UTC).timestamp() + 10_000)
    assert listing.complete == ()
    assert listing.incomplete == {"slow": "its export has not finished: the manifest is still to come"}
    export_batch.write_manifest(batch, Manifest("slow", "full", EXPORTED_AT, {}))
    assert [found.batch_id for found in zone.listing().complete] == ["slow"]
    assert sorted(path.name for path in batch.iterdir() if path.suffix != ".csv") == ["manifest.json"]


def test_batches_are_immutable(zone: LandingZone) -> None:
    zone.land("2022-08-01")
    with pytest.raises(BatchError, match="is there already and batches are immutable"):
        export_batch.begin_batch(zone.folder, "2022-08-01")


@pytest.mark.parametrize("batch_id", ["", ".", "..", ".hidden", "_aside", "a/b", "../a", "a b", "a\n", "é", "x" * 129])
def test_refuses_ids_that_cannot_name_a_folder(batch_id: str, zone: LandingZone) -> None:
    with pytest.raises(BatchError, match="cannot name a batch"):
        export_batch.begin_batch(zone.folder, batch_id)
    assert not zone.folder.exists()


@pytest.mark.parametrize("batch_id", ["2022-08-01T06:00:00+00:00", "a", "full@1=x_y.z", "x" * 128])
def test_accepts_ids_as_exports_name_themselves(batch_id: str, zone: LandingZone) -> None:
    zone.land(batch_id)
    assert zone.ids() == [batch_id]


# Listing ------------------------------------------------------------------------------------------------------


def test_a_missing_landing_zone_is_an_empty_one(tmp_path: Path) -> None:
    listing = LandingZone(tmp_path / "nowhere").listing()
    assert (listing.complete, listing.incomplete) == ((), {})


def test_lists_folders_by_name_and_ignores_the_rest(zone: LandingZone) -> None:
    """A leading dot or underscore puts a folder aside; files beside the folders are nobody's batch."""
    for batch_id in ["b", "a"]:
        zone.land(batch_id)
    for aside in [".c", "_d"]:
        (zone.folder / "a").rename(zone.folder / aside)
        zone.land("a")
    (zone.folder / "tickets.csv").write_text("id\n")
    assert [found.batch_id for found in zone.listing().complete] == ["a", "b"]
    assert zone.listing().incomplete == {}


@pytest.mark.parametrize(
    ("waited", "reason"),
    [
        (-10, "its files changed 0 s ago and must lie unchanged for 60 s"),
        (0, "its files changed 0 s ago and must lie unchanged for 60 s"),
        (59, "its files changed 59 s ago and must lie unchanged for 60 s"),
        (60, None),
        (10_000, None),
    ],
)
def test_a_plain_folder_must_lie_still(waited: float, reason: str | None, zone: LandingZone) -> None:
    """Nothing else tells that a copy is done; a modification time in the future is waited for."""
    modified_at = datetime.now(UTC).timestamp() + 1_000
    zone.land_plain("plain", modified_at)
    listing = zone.listing(now=modified_at + waited)
    assert listing.incomplete == ({} if reason is None else {"plain": reason})
    assert [found.batch_id for found in listing.complete] == ([] if reason else ["plain"])


def test_a_copy_that_keeps_old_modification_times_must_lie_still_too(zone: LandingZone) -> None:
    zone.land_plain("plain", modified_at=0)
    assert zone.listing().complete == ()
    assert "must lie unchanged" in zone.listing().incomplete["plain"]


def test_says_what_a_plain_folder_lacks(zone: LandingZone) -> None:
    zone.land_plain("plain", modified_at=0, tables=set(SOURCE_TABLES) - {"people", "tickets"})
    assert zone.listing().incomplete == {"plain": "it has neither manifest.json nor people.csv, tickets.csv"}


def test_a_plain_folder_is_a_full_batch_of_its_newest_files_time(zone: LandingZone) -> None:
    zone.land_plain("plain", modified_at=1_000_000)
    os.utime(zone.folder / "plain" / "tickets.csv", (1_000_030.5, 1_000_030.5))
    batch = zone.state().newest
    assert (batch.kind, batch.has_manifest) == ("full", False)
    assert batch.exported_at == datetime.fromtimestamp(1_000_030.5, UTC)
    assert batch.tables["tickets"] == ManifestTable(None, (ManifestFile("tickets.csv", 3, None, None),))
    assert batch.tables["tickets"].rows is None


# Change -------------------------------------------------------------------------------------------------------


def test_the_fingerprint_changes_with_what_is_there_and_with_nothing_else(zone: LandingZone) -> None:
    """The sensor asks at every tick whether anything happened, by names and times alone."""
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
    (zone.folder / "a").rename(zone.folder / "c")
    seen.append(fingerprint())
    assert len(set(seen)) == len(seen)
    zone.land_plain("unfinished", modified_at=0, tables=["tickets"])
    assert fingerprint() == seen[-1]
    assert zone.listing(now=settled + 9_999).fingerprint == seen[-1]


def test_a_digest_names_the_content(zone: LandingZone, tmp_path: Path) -> None:
    """Of a manifest its bytes, wherever the folder lies; of plain files their names, sizes and times."""
    zone.land("a")
    elsewhere = LandingZone(tmp_path / "elsewhere")
    elsewhere.folder.mkdir()
    before = zone.state()
    (zone.folder / "a").rename(elsewhere.folder / "a")
    assert elsewhere.state().newest.digest == before.newest.digest
    assert elsewhere.state().digest == before.digest
    rewrite(elsewhere.folder / "a", lambda document: document.update(source_snapshot={"lsn": 1}))
    assert elsewhere.state().newest.digest != before.newest.digest
    assert elsewhere.state().digest != before.digest

    zone.land_plain("b", modified_at=1_000)
    before = zone.state()
    assert zone.state().digest == before.digest
    os.utime(zone.folder / "b" / "people.csv", (999, 999))
    assert zone.state().newest.digest != before.newest.digest


def test_finds_the_batch_something_was_converted_from(zone: LandingZone) -> None:
    zone.land("a")
    batch = zone.state().newest
    assert export_batch.find_batches(zone.listing(), [("a", batch.digest)]) == [batch]
    with pytest.raises(BatchError, match=r"Batch b, .* no longer in the landing zone"):
        export_batch.find_batches(zone.listing(), [("a", batch.digest), ("b", batch.digest)])
    with pytest.raises(BatchError, match="it has changed since"):
        export_batch.find_batches(zone.listing(), [("a", "another digest")])


# Which batches count ------------------------------------------------------------------------------------------


def hours(number: int) -> datetime:
    return EXPORTED_AT + timedelta(hours=number)


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
def test_the_newest_full_batch_and_what_came_after(
    batches: list[tuple[str, str, int]], expected: list[str], zone: LandingZone
) -> None:
    """Ordered by the instant of export, then by id; never by name alone or by when the folder arrived."""
    before = None
    for batch_id, kind, exported in sorted(batches, key=lambda batch: (batch[2], batch[0])):
        zone.land(batch_id, kind, hours(exported), after=before)
        before = batch_id
    assert zone.ids() == expected
    assert zone.state().newest.batch_id == expected[-1]


def test_instants_are_compared_and_not_their_texts(zone: LandingZone) -> None:
    zone.land("a", exported_at=EXPORTED_AT)
    zone.land("b", exported_at=EXPORTED_AT.astimezone(timezone(timedelta(hours=9))) - timedelta(minutes=1))
    assert zone.ids() == ["a"]


def test_a_batch_with_a_manifest_can_follow_plain_files(zone: LandingZone) -> None:
    zone.land_plain("plain", modified_at=EXPORTED_AT.timestamp())
    zone.land("next", "incremental", hours(1), after="plain")
    assert zone.ids() == ["plain", "next"]


# The chain of incremental batches -----------------------------------------------------------------------------


@pytest.fixture
def chain(zone: LandingZone) -> LandingZone:
    """A full batch `a`, and `b` and `c` that continue from it, one hour apart."""
    zone.land("a", exported_at=hours(0))
    zone.land("b", "incremental", hours(1), after="a")
    zone.land("c", "incremental", hours(2), after="b")
    return zone


def test_an_incremental_batch_says_what_it_continues_from(chain: LandingZone) -> None:
    full, first, second = chain.state().batches
    assert full.continues_from is None
    assert first.continues_from == (full.batch_id, full.digest)
    assert second.continues_from == (first.batch_id, first.digest)


def test_a_batch_that_lands_before_its_predecessor_is_waited_for(chain: LandingZone) -> None:
    """The rows of the missing one would be missing; once it is there both count, nothing has to be repaired."""
    aside = (chain.folder / "b").rename(chain.folder / "_b")
    with pytest.raises(MissingPredecessorError) as raised:
        chain.state()
    assert f"Batch c continues from batch b, which is not in {chain.folder}" in str(raised.value)
    assert "land a newer full batch" in str(raised.value)
    aside.rename(chain.folder / "b")
    assert chain.ids() == ["a", "b", "c"]


def test_a_predecessor_that_has_changed_is_refused(chain: LandingZone) -> None:
    """What the next batch left out was in the batch as it was, and may not be in the one that took its place."""
    rewrite(chain.folder / "b", lambda document: document.update(source_snapshot={"xid_horizon": 7}))
    with pytest.raises(BatchError, match=r"c/manifest\.json: it continues from batch b, which has changed since"):
        chain.state()


def test_a_batch_that_arrives_late_in_between_is_refused(chain: LandingZone) -> None:
    """Two exports went on from the same batch: which rows are the newer ones cannot be told from the order."""
    chain.land("late", "incremental", hours(1) + timedelta(minutes=30), after="b")
    with pytest.raises(BatchError, match=r"c/manifest\.json: it continues from batch b, but the .* before it is late"):
        chain.state()


def test_a_newer_full_batch_gets_past_a_broken_chain(chain: LandingZone) -> None:
    chain.land("late", "incremental", hours(1) + timedelta(minutes=30), after="a")
    chain.land("d", exported_at=hours(3))
    assert chain.ids() == ["d"]


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (None, "continues_from is None, and an incremental batch names its predecessor"),
        ("a", "continues_from is 'a', and an incremental batch names its predecessor"),
        ({"batch_id": "a"}, "without batch_id and SHA-256 manifest_digest"),
        ({"batch_id": "a", "manifest_digest": "ab"}, "without batch_id and SHA-256 manifest_digest"),
        ({"batch_id": 1, "manifest_digest": "ab" * 32}, "without batch_id and SHA-256 manifest_digest"),
    ],
)
def test_refuses_an_incremental_batch_whose_predecessor_cannot_be_told(
    entry: Any, message: str, zone: LandingZone
) -> None:
    zone.land("a")
    rewrite(zone.land("b", "incremental", hours(1), after="a"), lambda document: document.update(continues_from=entry))
    with pytest.raises(BatchError, match=message):
        zone.state()


def test_without_a_batch_says_what_is_there_and_what_to_do(zone: LandingZone) -> None:
    zone.land_plain("half", modified_at=0, tables=["bands"])
    with pytest.raises(NoBatchError) as raised:
        zone.state()
    message = str(raised.value)
    assert str(zone.folder) in message
    assert "Folder half is not a batch yet: it has neither manifest.json nor venues.csv" in message
    assert "tickets.csv" in message
    assert "ACL_EXPORTS_DIR" in message
    assert "make run" in message


def test_incremental_batches_alone_are_no_state(zone: LandingZone) -> None:
    zone.land("a", "incremental")
    with pytest.raises(NoBatchError, match="No complete full export batch"):
        zone.state()


def test_an_unreadable_manifest_stops_until_a_newer_full_batch_landed(zone: LandingZone) -> None:
    """It could be the newest batch, and is never skipped silently."""
    set_landed_at(zone.land("a", exported_at=hours(0)), 1_000)
    broken = zone.land("b", exported_at=hours(1))
    (broken / "manifest.json").write_text("{")
    set_landed_at(broken, 2_000)
    with pytest.raises(BatchError, match=r"b/manifest\.json: it is not JSON"):
        zone.state()
    set_landed_at(zone.land("c", "incremental", hours(2), after="b"), 3_000)
    with pytest.raises(BatchError, match=r"b/manifest\.json: it is not JSON"):
        zone.state()
    set_landed_at(zone.land("d", exported_at=hours(3)), 3_000)
    assert zone.ids() == ["d"]


def test_an_unreadable_manifest_stops_when_it_is_taken_away(zone: LandingZone) -> None:
    zone.land("a")
    broken = zone.land("b")
    (broken / "manifest.json").write_text("{")
    broken.rename(zone.folder / "_b")
    assert zone.ids() == ["a"]


def test_a_bad_batch_that_is_superseded_is_not_read(zone: LandingZone) -> None:
    batch = zone.land("a", exported_at=hours(0))
    rewrite(batch, lambda document: document["tables"].pop("people"))
    with pytest.raises(BatchError, match="it lists no people"):
        zone.state()
    zone.land("b", exported_at=hours(1))
    assert zone.ids() == ["b"]


# What a manifest may say --------------------------------------------------------------------------------------


def set_file(**entries: Any) -> Callable[[Document], Any]:
    return lambda document: document["tables"]["people"]["files"][0].update(entries)


REFUSED_MANIFESTS: dict[str, tuple[Callable[[Document], Any], str]] = {
    "another version": (lambda document: document.update(manifest_version=2), "manifest_version is 2, not 1"),
    "no version": (lambda document: document.pop("manifest_version"), "manifest_version is None, not 1"),
    "another kind": (lambda document: document.update(kind="delta"), "kind is 'delta', neither"),
    "an instant without offset": (
        lambda document: document.update(exported_at="2022-08-01T06:00:00"),
        "exported_at is '2022-08-01T06:00:00', not an ISO 8601 instant with an offset",
    ),
    "no instant": (lambda document: document.update(exported_at="yesterday"), "exported_at is 'yesterday'"),
    "an instant before the calendar": (
        lambda document: document.update(exported_at="0001-01-01T00:00:00+05:00"),
        "exported_at is '0001-01-01T00:00:00+05:00', not an ISO 8601",
    ),
    "a number as instant": (lambda document: document.update(exported_at=1659333600), "exported_at is 1659333600"),
    "another id": (lambda document: document.update(batch_id="b"), "batch_id is 'b', but the folder is 'a'"),
    "no tables": (lambda document: document.pop("tables"), "tables is not an object"),
    "a list of tables": (lambda document: document.update(tables=[]), "tables is not an object"),
    "missing tables": (
        lambda document: [document["tables"].pop(table) for table in ["tickets", "people"]],
        "it lists no people, tickets",
    ),
    "an unknown table": (lambda document: document["tables"].update(refunds={}), "it lists unknown tables: refunds"),
    "a table without files": (
        lambda document: document["tables"]["people"].pop("files"),
        "the entry of people has no list of files",
    ),
    "a table that is a list": (
        lambda document: document["tables"].update(people=[]),
        "the entry of people has no list of files",
    ),
    "a full batch without a file": (
        lambda document: document["tables"]["people"].update(files=[]),
        "it lists no file of people, and a full batch holds every table",
    ),
    "no row count of the source": (
        lambda document: document["tables"]["people"].pop("rows_at_source"),
        "rows_at_source of people is None, not a whole number",
    ),
    "a file that is a name": (
        lambda document: document["tables"]["people"].update(files=["people.csv"]),
        "a file of people has no path",
    ),
    "a file without a path": (lambda document: document["tables"]["people"].update(files=[{}]), "has no path"),
    "a file twice": (
        lambda document: document["tables"]["people"]["files"].append(document["tables"]["people"]["files"][0]),
        "it lists people.csv twice",
    ),
    "a negative size": (set_file(bytes=-1), "bytes of people.csv is -1, not a whole number"),
    "a size in words": (set_file(bytes="8"), "bytes of people.csv is '8', not a whole number"),
    "a row count that is true": (set_file(rows=True), "rows of people.csv is True, not a whole number"),
    "a fraction of a row": (set_file(rows=1.5), "rows of people.csv is 1.5, not a whole number"),
    "no checksum": (set_file(sha256=None), "sha256 of people.csv is None, not 64 hexadecimal digits"),
    "a snapshot that is a text": (
        lambda document: document.update(source_snapshot="xid 7"),
        "source_snapshot is 'xid 7', not an object or null",
    ),
    "sums that are a list": (
        lambda document: document["tables"]["people"].update(sums_at_source=["id"]),
        "sums_at_source of people is ['id'], not sums of its whole-number columns",
    ),
    "a sum of a text": (
        lambda document: document["tables"]["people"].update(sums_at_source={"name": 1}),
        "sums_at_source of people is {'name': 1}, not sums",
    ),
    "a sum with a fraction": (
        lambda document: document["tables"]["tickets"].update(sums_at_source={"price": 1.5}),
        "sums_at_source of tickets.price is 1.5, not a whole number",
    ),
    "half a checksum": (set_file(sha256="ab" * 16), "not 64 hexadecimal digits"),
}


@pytest.mark.parametrize(("change", "message"), REFUSED_MANIFESTS.values(), ids=REFUSED_MANIFESTS)
def test_refuses_a_manifest_that_breaks_the_contract(
    change: Callable[[Document], Any], message: str, zone: LandingZone
) -> None:
    """The message names the manifest, what is wrong in it, and how to get past it."""
    batch = zone.land("a")
    rewrite(batch, change)
    with pytest.raises(BatchError) as raised:
        zone.state()
    assert f"{batch / 'manifest.json'}: " in str(raised.value)
    assert message in str(raised.value)
    assert "land a newer full batch" in str(raised.value)


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '"full"', "[" * 100_000])
def test_refuses_a_manifest_that_is_no_json_object(content: str, zone: LandingZone) -> None:
    (zone.land("a") / "manifest.json").write_text(content, encoding="utf-8")
    with pytest.raises(BatchError, match=r"not JSON|not an object"):
        zone.state()


def test_refuses_a_manifest_that_is_no_utf_8(zone: LandingZone) -> None:
    (zone.land("a") / "manifest.json").write_bytes(b'{"kind": "\xff"}')
    with pytest.raises(BatchError, match="not JSON"):
        zone.state()


def test_refuses_a_manifest_that_cannot_be_read(zone: LandingZone) -> None:
    """A folder can also be taken away between listing and reading."""
    manifest = zone.land("a") / "manifest.json"
    manifest.unlink()
    manifest.mkdir()
    with pytest.raises(BatchError, match="it cannot be read"):
        zone.state()


def test_refuses_a_folder_whose_name_cannot_be_an_id(zone: LandingZone) -> None:
    batch = zone.land("a").rename(zone.folder / "a b")
    rewrite(batch, lambda document: document.update(batch_id="a b"))
    with pytest.raises(BatchError, match="'a b' cannot name a batch"):
        zone.state()


@pytest.mark.parametrize(
    "path",
    [
        "../people.csv",
        "/etc/passwd",
        "/people.csv",
        "parts/people.csv",
        "./people.csv",
        "people.csv/",
        "..",
        "",
        "tickets.csv",
        "people",
        "people.txt",
        "people.csv.bz2",
        "people.csv.parquet",
        "People.csv",
        "people-.csv",
        "people-a.csv",
        "people-1-2.csv",
        "people.csv\n",
        "people.csv\0",
        "people\\people.csv",
    ],
)
def test_refuses_paths_that_are_not_plain_names_of_the_table(path: str, zone: LandingZone) -> None:
    """A manifest cannot point out of its folder, nor at another table's file."""
    rewrite(zone.land("a"), set_file(path=path))
    with pytest.raises(BatchError, match="is not accepted for people"):
        zone.state()


@pytest.mark.parametrize("name", ["people.csv", "people.csv.gz", "people.csv.zst", "people.parquet", "people-0001.csv"])
def test_accepts_every_format_in_one_file_or_numbered_parts(name: str, zone: LandingZone) -> None:
    rewrite(zone.land("a"), set_file(path=name))
    assert zone.state().newest.tables["people"].files[0].path == name


def test_an_incremental_batch_may_leave_a_table_out(zone: LandingZone) -> None:
    zone.land("a")
    batch = zone.land("b", "incremental", hours(1), after="a")
    rewrite(batch, lambda document: document["tables"]["people"].update(files=[]))
    assert zone.state().newest.tables["people"].files == ()
    assert zone.state().newest.tables["people"].rows == 0


@pytest.mark.parametrize("snapshot", [None, {}, {"xid_horizon": 4_294_967_297}])
def test_what_the_source_said_is_kept(snapshot: Any, zone: LandingZone) -> None:
    """The next export reads it from here; the sums are held against the tables."""
    batch = zone.land("a")
    rewrite(batch, lambda document: document.update(source_snapshot=snapshot))
    rewrite(batch, lambda document: document["tables"]["tickets"].update(sums_at_source={"price": 89_152_630}))
    assert zone.state().newest.source_snapshot == snapshot
    assert zone.state().newest.tables["tickets"].sums_at_source == {"price": 89_152_630}
    assert zone.state().newest.tables["people"].sums_at_source == {}


def test_the_rows_of_a_table_are_those_of_its_files() -> None:
    files = [ManifestFile(f"people-{part}.csv", 1, None, rows) for part, rows in enumerate([5, 7])]
    assert ManifestTable(12, tuple(files)).rows == 12
    assert ManifestTable(12, (*files, ManifestFile("people-3.csv", 1, None, None))).rows is None


# Verification -------------------------------------------------------------------------------------------------


@pytest.fixture
def landed(zone: LandingZone) -> tuple[ExportBatch, ManifestFile, Path]:
    zone.land("a", content="id\n1\n")
    batch = zone.state().newest
    return batch, batch.tables["people"].files[0], zone.folder / "a" / "people.csv"


def refusal(landed: tuple[ExportBatch, ManifestFile, Path]) -> str:
    batch, file, path = landed
    with pytest.raises(BatchError) as raised:
        export_batch.verify_file(batch, file)
    assert str(raised.value).startswith(f"{path}: ")
    return str(raised.value)


def test_refuses_a_file_that_is_missing(landed: tuple[ExportBatch, ManifestFile, Path]) -> None:
    landed[2].unlink()
    assert "it is not there" in refusal(landed)


def test_refuses_a_file_that_was_cut(landed: tuple[ExportBatch, ManifestFile, Path]) -> None:
    landed[2].write_text("id\n")
    assert "it has 3 bytes where 5 were exported" in refusal(landed)


def test_refuses_a_file_whose_content_changed(landed: tuple[ExportBatch, ManifestFile, Path]) -> None:
    landed[2].write_text("id\n2\n")
    assert "its SHA-256 is" in refusal(landed)


def test_holds_a_file_without_a_checksum_against_its_size(landed: tuple[ExportBatch, ManifestFile, Path]) -> None:
    batch, _, path = landed
    assert export_batch.verify_file(batch, ManifestFile("people.csv", 5, None, None)) == path
    assert "it has 5 bytes where 6" in refusal((batch, ManifestFile("people.csv", 6, None, None), path))


def test_refuses_a_link_out_of_the_folder(landed: tuple[ExportBatch, ManifestFile, Path], tmp_path: Path) -> None:
    """Even one to the same content: what lies elsewhere is not part of an immutable batch."""
    (tmp_path / "elsewhere.csv").write_text("id\n1\n")
    landed[2].unlink()
    landed[2].symlink_to(tmp_path / "elsewhere.csv")
    assert "a link that leads out of the batch's folder" in refusal(landed)


def test_refuses_a_link_to_itself(landed: tuple[ExportBatch, ManifestFile, Path]) -> None:
    landed[2].unlink()
    landed[2].symlink_to("people.csv")
    assert "it is not there" in refusal(landed)


def test_accepts_a_link_within_the_folder(landed: tuple[ExportBatch, ManifestFile, Path]) -> None:
    landed[2].rename(landed[2].with_name("people-1.csv"))
    landed[2].symlink_to("people-1.csv")
    assert export_batch.verify_file(landed[0], landed[1]) == landed[2]


def test_refuses_what_is_no_file(landed: tuple[ExportBatch, ManifestFile, Path]) -> None:
    landed[2].unlink()
    landed[2].mkdir()
    assert "it is not a regular file" in refusal(landed)


def test_reads_batches_in_a_linked_landing_zone(zone: LandingZone, tmp_path: Path) -> None:
    """The landing zone itself may be a mount or a link."""
    zone.land("a")
    (tmp_path / "link").symlink_to(zone.folder)
    batch = LandingZone(tmp_path / "link").state().newest
    assert export_batch.verify_file(batch, batch.tables["bands"].files[0])
