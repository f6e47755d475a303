"""What a manifest may hold, how it is written, and how a batch's name may look."""

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from landing_zones import EXPORTED_AT, Document, FolderZone, hours, listed_ids, rewrite

from acl_assets.landing_zone.folder_store import open_verified
from acl_assets.landing_zone.manifest import (
    BatchError,
    FileUnreadableError,
    Manifest,
    ManifestFile,
    ManifestTable,
    begin_batch,
    is_unfinished,
    write_manifest,
)
from acl_assets.source_schema import SOURCE_TABLES

Change = Callable[[Document], Any]


def set_file(**entries: Any) -> Change:
    return lambda document: document["tables"]["people"]["files"][0].update(entries)


def set_table(name: str, **entries: Any) -> Change:
    return lambda document: document["tables"][name].update(entries)


def set_key(**entries: Any) -> Change:
    return lambda document: document.update(entries)


# Writing --------------------------------------------------------------------------------------------------------


def test_written_batch_reads_back_as_it_was(zone: FolderZone) -> None:
    zone.land("2022-08-01", content="id,name\n")
    batch = zone.chain().newest
    assert (batch.batch_id, batch.kind, batch.exported_at) == ("2022-08-01", "full", EXPORTED_AT)
    assert batch.has_manifest
    assert list(batch.tables) == list(SOURCE_TABLES)
    [file] = batch.tables["bands"].files
    assert (file.path, file.bytes, file.rows, batch.tables["bands"].rows_at_source) == ("bands.csv", 8, 0, 0)
    with open_verified(Path(batch.folder), file) as stream:
        assert stream.read() == b"id,name\n"


def test_manifest_has_the_keys_of_the_contract(zone: FolderZone) -> None:
    zone.land("a")
    document = json.loads((zone.land("b", hours(1), after="a") / "manifest.json").read_text())
    digest = zone.settled().headers[0].digest
    bands = document.pop("tables")["bands"]
    assert document == {
        "manifest_version": 1,
        "batch_id": "b",
        "kind": "incremental",
        "exported_at": "2022-08-01T07:00:00+00:00",
        "continues_from": {"batch_id": "a", "manifest_digest": digest},
        "source_snapshot": None,
    }
    file = {"path": "bands.csv", "bytes": 3, "sha256": bands["files"][0]["sha256"], "rows": 0}
    assert bands == {"rows_at_source": 0, "sums_at_source": {}, "files": [file]}


def test_batch_does_not_exist_before_its_manifest(zone: FolderZone) -> None:
    """Six CSV files that were not changed for a minute are no batch while their export goes on."""
    batch = begin_batch(zone.folder, "slow")
    zone.land_plain("slow", modified_at=0)
    assert is_unfinished(batch)
    assert "the manifest is still to come" in zone.settled().skipped["slow"]
    write_manifest(batch, Manifest("slow", "full", EXPORTED_AT, {}))
    assert not is_unfinished(batch)
    assert listed_ids(zone.listing()) == ["slow"]
    assert sorted(path.name for path in batch.iterdir() if path.suffix != ".csv") == ["manifest.json"]


def test_batch_with_a_manifest_is_finished_although_it_is_marked(zone: FolderZone) -> None:
    """An upload writes the manifest first and removes its mark afterwards."""
    batch = zone.land("a")
    (batch / ".manifest.json.unfinished").touch()
    assert not is_unfinished(batch)
    assert zone.ids() == ["a"]


def test_existing_folder_is_not_written_to(zone: FolderZone) -> None:
    zone.land("2022-08-01")
    with pytest.raises(BatchError, match="immutable"):
        begin_batch(zone.folder, "2022-08-01")


@pytest.mark.parametrize("batch_id", ["", "..", "_aside", "../a", "a b", "a\n", "é", "x" * 129])
def test_ids_outside_the_contract_are_refused(batch_id: str, zone: FolderZone) -> None:
    with pytest.raises(BatchError, match="cannot name a batch"):
        begin_batch(zone.folder, batch_id)
    assert not zone.folder.exists()


@pytest.mark.parametrize("batch_id", ["2022-08-01T06:00:00+00:00", "full@1=x_y.z", "x" * 128])
def test_ids_of_common_exports_are_accepted(batch_id: str, zone: FolderZone) -> None:
    zone.land(batch_id)
    assert zone.ids() == [batch_id]


def test_rows_of_a_table_are_those_of_its_files() -> None:
    files = [ManifestFile(f"people-{part}.csv", 1, None, rows) for part, rows in enumerate([5, 7])]
    assert ManifestTable(12, tuple(files)).rows == 12
    assert ManifestTable(12, (*files, ManifestFile("people-3.csv", 1, None, None))).rows is None


def test_error_of_an_unreadable_file_survives_pickling() -> None:
    """Files are read in child processes, which send their errors to the run."""
    error = FileUnreadableError("s3://bucket/a/bands.csv", "it is a symbolic link")
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301, pickled here
    assert (str(copy), copy.what) == (str(error), error.what)


# Parsing --------------------------------------------------------------------------------------------------------


FILE = "tables.people.files.0"
NO_TIME = "it must be an ISO 8601 time with an offset"
REFUSED_MANIFESTS: dict[str, tuple[Change, str]] = {
    "another version": (set_key(manifest_version=2), "manifest_version is 2"),
    "no version": (lambda document: document.pop("manifest_version"), "manifest_version is missing"),
    "another kind": (set_key(kind="delta"), "kind is 'delta'"),
    "a time without offset": (set_key(exported_at="2022-08-01"), f"exported_at is '2022-08-01': {NO_TIME}"),
    "a time before the calendar": (set_key(exported_at="0001-01-01T00:00:00+05:00"), NO_TIME),
    "a number as time": (set_key(exported_at=1659333600), f"exported_at is 1659333600: {NO_TIME}"),
    "another id": (set_key(batch_id="b"), "batch_id is 'b', but the folder is 'a'"),
    "a missing table": (lambda document: document["tables"].pop("tickets"), "it lists no tickets"),
    "an unknown table": (
        lambda document: document["tables"].update(refunds=document["tables"]["people"]),
        "it lists unknown tables: refunds",
    ),
    "a full batch without a file": (set_table("people", files=[]), "it lists no file of people"),
    "no row count of the source": (set_table("people", rows_at_source=None), "tables.people.rows_at_source is None"),
    "a file without a path": (set_table("people", files=[{}]), f"{FILE}.path is missing"),
    "a file twice": (
        lambda document: document["tables"]["people"]["files"].append(document["tables"]["people"]["files"][0]),
        "it lists people.csv twice",
    ),
    "a negative size": (set_file(bytes=-1), f"{FILE}.bytes is -1"),
    "a row count that is true": (set_file(rows=True), f"{FILE}.rows is True"),
    "no checksum": (set_file(sha256=None), f"{FILE}.sha256 is None"),
    "half a checksum": (set_file(sha256="ab" * 16), f"{FILE}.sha256 is 'abab"),
    "a sum of a text": (set_table("people", sums_at_source={"name": 1}), "sums_at_source of people is {'name': 1}"),
    "a sum with a fraction": (
        set_table("people", sums_at_source={"id": 1.5}),
        "people.sums_at_source.id is 1.5",
    ),
    "no predecessor": (set_key(kind="incremental"), "continues_from is missing"),
    "half a predecessor": (set_key(continues_from={"batch_id": "good"}), "continues_from.manifest_digest is missing"),
}


@pytest.mark.parametrize(("change", "message"), REFUSED_MANIFESTS.values(), ids=REFUSED_MANIFESTS)
def test_manifest_that_breaks_the_contract_is_refused(change: Change, message: str, zone: FolderZone) -> None:
    """The message names the manifest, what is wrong in it, and how to recover."""
    zone.land("good", hours(-1))
    batch = zone.land("a")
    rewrite(batch, change)
    with pytest.raises(BatchError) as raised:
        zone.chain()
    assert f"{batch / 'manifest.json'}: " in str(raised.value)
    assert message in str(raised.value)
    assert "land a newer full batch" in str(raised.value)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"[" * 100_000, b'{"kind": "\xff"}'])
def test_manifest_that_is_no_json_object_is_refused(content: bytes, zone: FolderZone) -> None:
    (zone.land("a") / "manifest.json").write_bytes(content)
    with pytest.raises(BatchError, match=r"not JSON|the document is .* an object"):
        zone.chain()


@pytest.mark.parametrize(
    "change",
    [
        set_key(exported_at="\x1b[2J" * 10_000),
        set_key(batch_id="a b"),
        lambda document: document["tables"].update({"\n" * 10_000: 5}),
        lambda document: document["tables"].update({"\n" * 10_000: {"rows_at_source": 0, "files": []}}),
        set_table("people", sums_at_source={"\n" * 10_000: 1}),
        set_file(path="\n" * 10_000),
        set_file(path=f"people-{'9' * 10_000}.csv"),
        set_key(kind="incremental", continues_from={"batch_id": "\x1b[2J", "manifest_digest": "ab" * 32}),
    ],
)
def test_errors_quote_a_manifest_briefly_and_printably(change: Change, zone: FolderZone) -> None:
    """A manifest comes from outside, and its errors go to logs, events and alerts."""
    zone.land("a")
    rewrite(zone.land("b", hours(1)), change)
    with pytest.raises(BatchError) as raised:
        zone.chain()
    assert str(raised.value).isprintable()
    assert len(str(raised.value)) < 2_000


def test_folder_whose_name_cannot_be_an_id_is_refused(zone: FolderZone) -> None:
    batch = zone.land("a").rename(zone.folder / "a b")
    rewrite(batch, set_key(batch_id="a b"))
    with pytest.raises(BatchError, match="'a b' cannot name a batch"):
        zone.chain()


OTHER_PATHS = (
    "../people.csv|/people.csv|parts/people.csv|tickets.csv|people.csv.bz2|People.csv|people-1-2.csv|people.csv\n|"
)


@pytest.mark.parametrize("path", OTHER_PATHS.split("|"))
def test_paths_that_are_no_file_names_of_the_table_are_refused(path: str, zone: FolderZone) -> None:
    """A manifest cannot point out of its folder, nor at another table's file."""
    rewrite(zone.land("a"), set_file(path=path))
    with pytest.raises(BatchError, match="is not accepted for people"):
        zone.chain()


@pytest.mark.parametrize("name", ["people.csv.gz", "people.csv.zst", "people.parquet", "people-0001.csv"])
def test_every_format_is_accepted_in_one_file_or_numbered_parts(name: str, zone: FolderZone) -> None:
    rewrite(zone.land("a"), set_file(path=name))
    assert zone.chain().newest.tables["people"].files[0].path == name


def test_incremental_batch_may_leave_a_table_out(zone: FolderZone) -> None:
    zone.land("a")
    rewrite(zone.land("b", hours(1), after="a"), set_table("people", files=[]))
    assert zone.chain().newest.tables["people"].files == ()
    assert zone.chain().newest.tables["people"].rows == 0


def test_snapshot_and_sums_of_the_source_are_kept_and_unknown_keys_ignored(zone: FolderZone) -> None:
    batch = zone.land("a")
    rewrite(batch, set_key(source_snapshot={"xid_horizon": 4_294_967_297}, later_version=True))
    rewrite(batch, set_table("tickets", sums_at_source={"price": 89_152_630}, later_version=True))
    rewrite(batch, set_table("people", sums_at_source=None))
    rewrite(batch, set_file(modified_ns=1))
    found = zone.chain().newest
    assert found.source_snapshot == {"xid_horizon": 4_294_967_297}
    assert found.tables["tickets"].sums_at_source == {"price": 89_152_630}
    assert found.tables["people"].sums_at_source == {}
    assert found.tables["people"].files[0].modified_ns is None


def test_checksums_may_be_in_upper_case(zone: FolderZone) -> None:
    def raise_case(document: Document) -> None:
        for table in document["tables"].values():
            table["files"][0]["sha256"] = table["files"][0]["sha256"].upper()
        document["continues_from"]["manifest_digest"] = document["continues_from"]["manifest_digest"].upper()

    zone.land("a")
    batch = zone.land("b", hours(1), after="a")
    rewrite(batch, raise_case)
    assert zone.ids() == ["a", "b"]
    with open_verified(batch, zone.chain().newest.tables["people"].files[0]) as stream:
        assert stream.read() == b"id\n"


def test_export_times_are_compared_in_utc(zone: FolderZone) -> None:
    zone.land("a", exported_at=EXPORTED_AT)
    rewrite(zone.land("b"), set_key(exported_at="2022-08-01T14:59:00+09:00"))
    assert zone.ids() == ["a"]
