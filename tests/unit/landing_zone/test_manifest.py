"""The contract of a manifest and of a batch's name, and the writing of manifests."""

import hashlib
import json
from typing import Any

import pytest
from landing_zones import EXPORTED_AT, FolderZone, hours, listed_ids, rewrite

from acl_assets.landing_zone.manifest import (
    BatchError,
    Manifest,
    begin_batch,
    is_unfinished,
    write_manifest,
)
from acl_assets.source_schema import SOURCE_TABLES

# Writing --------------------------------------------------------------------------------------------------------


def test_manifest_has_the_keys_of_the_contract(zone: FolderZone) -> None:
    zone.land("a")
    digest = zone.settled().headers[0].digest
    document = json.loads((zone.land("b", hours(1), after="a") / "manifest.json").read_text())
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
    assert sorted(path.name for path in batch.iterdir() if path.suffix != ".csv") == ["manifest.json"]
    # An upload writes the manifest first and removes its mark afterwards.
    (batch / ".manifest.json.unfinished").touch()
    assert not is_unfinished(batch)
    assert listed_ids(zone.listing()) == ["slow"]


def test_existing_folder_is_not_written_to(zone: FolderZone) -> None:
    zone.land("2022-08-01")
    with pytest.raises(BatchError, match="immutable"):
        begin_batch(zone.folder, "2022-08-01")


@pytest.mark.parametrize("batch_id", ["", "../a", "a b", "a\n", "é", "x" * 129])
def test_ids_outside_the_contract_are_refused(batch_id: str, zone: FolderZone) -> None:
    with pytest.raises(BatchError, match="cannot name a batch"):
        begin_batch(zone.folder, batch_id)
    assert not zone.folder.exists()


# Parsing --------------------------------------------------------------------------------------------------------

MISSING = object()
FILE = "tables.people.files.0"


def put(batch: Any, place: str, value: object) -> None:
    """Set or remove a value of a landed batch's manifest."""

    def change(part: Any) -> None:
        *parents, last = place.split(".")
        for name in parents:
            part = part[int(name)] if isinstance(part, list) else part[name]
        part[last] = value
        if value is MISSING:
            del part[last]

    rewrite(batch, change)


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        ("manifest_version", 2, "manifest_version is 2: "),
        ("kind", "delta", "kind is 'delta': "),
        ("exported_at", "2022-08-01", "exported_at is '2022-08-01': it must be an ISO 8601 time with an offset"),
        ("exported_at", "0001-01-01T00:00:00+05:00", "exported_at is "),
        ("exported_at", 1659333600, "exported_at is 1659333600: "),
        ("tables.people.sums_at_source.id", 1.5, "tables.people.sums_at_source.id is 1.5: "),
        (f"{FILE}.path", MISSING, f"{FILE}.path is missing: "),
        (f"{FILE}.path", "../people.csv", "path '../people.csv' is not accepted for people"),
        (f"{FILE}.path", "tickets.csv", "path 'tickets.csv' is not accepted for people"),
        (f"{FILE}.path", "people.csv.bz2", "path 'people.csv.bz2' is not accepted for people"),
        (f"{FILE}.bytes", -1, f"{FILE}.bytes is -1: "),
        (f"{FILE}.rows", True, f"{FILE}.rows is True: "),
        (f"{FILE}.rows", None, "rows_at_source of people, or sha256 or rows of one of its files, is null"),
        (f"{FILE}.sha256", "ab" * 16, f"{FILE}.sha256 is "),
        ("batch_id", "b", "batch_id is 'b', but the folder is 'a'"),
        ("tables.people", MISSING, "it lists no people"),
        ("tables.refunds", {"rows_at_source": 0, "files": []}, "it lists unknown tables: refunds"),
        ("tables.people.files", [], "it lists no file of people"),
        (
            "tables.people.files",
            [{"path": "people.csv", "bytes": 1, "sha256": "ab" * 32, "rows": 1}] * 2,
            "it lists people.csv twice",
        ),
        ("tables.people.sums_at_source", {"name": 1}, "sums_at_source of people is {'name': 1}"),
        ("kind", "incremental", "continues_from is missing"),
    ],
)
def test_value_that_breaks_the_contract_is_refused(place: str, value: object, message: str, zone: FolderZone) -> None:
    """The message names the manifest, what is wrong in it, and how to recover."""
    zone.land("good", hours(-1))
    batch = zone.land("a")
    put(batch, place, value)
    with pytest.raises(BatchError) as raised:
        zone.chain()
    assert str(raised.value).startswith(f"{batch / 'manifest.json'}: {message}")
    assert "land a newer full batch" in str(raised.value)


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"kind": "\xff"}'])
def test_manifest_that_is_no_json_object_is_refused(content: bytes, zone: FolderZone) -> None:
    (zone.land("a") / "manifest.json").write_bytes(content)
    with pytest.raises(BatchError, match=r"not JSON|the document is .* an object"):
        zone.chain()


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("batch_id", "b\n" * 10_000),
        ("tables." + "\n" * 10_000, {"rows_at_source": 0, "files": []}),
        ("tables.people.sums_at_source", {"\n" * 10_000: 1}),
        (f"{FILE}.path", f"people-{'9' * 10_000}.csv"),
        ("continues_from.batch_id", "\x1b[2J" * 10_000),
    ],
)
def test_errors_quote_a_manifest_briefly_and_printably(place: str, value: object, zone: FolderZone) -> None:
    """A manifest comes from outside, and its errors go to logs, events and alerts."""
    zone.land("a")
    put(zone.land("b", hours(1), after="a"), place, value)
    with pytest.raises(BatchError) as raised:
        zone.chain()
    assert str(raised.value).isprintable()
    assert len(str(raised.value)) < 2_000


def test_optional_parts_are_kept_unknown_ones_ignored_and_checksums_of_any_case_read(zone: FolderZone) -> None:
    zone.land("a")
    digest = zone.chain().newest.digest
    batch = zone.land("b", hours(1), after="a")
    put(batch, "tables.bands.files.0.sha256", hashlib.sha256(b"id\n").hexdigest().upper())
    put(batch, "continues_from.manifest_digest", digest.upper())
    put(batch, "exported_at", "2022-08-01T16:00:00+09:00")
    put(batch, "source_snapshot", {"xid_horizon": 4_294_967_297})
    put(batch, "tables.tickets.sums_at_source", {"price": 89_152_630})
    put(batch, "tables.people.sums_at_source", None)
    put(batch, "tables.people.files", [])
    put(batch, "tables.bands.files.0.modified_ns", 1)
    put(batch, "tables.bands.later_version", True)
    found = zone.chain().newest
    assert (found.exported_at, list(found.tables)) == (hours(1), list(SOURCE_TABLES))
    assert found.source_snapshot == {"xid_horizon": 4_294_967_297}
    assert found.tables["tickets"].sums_at_source == {"price": 89_152_630}
    people = found.tables["people"]
    assert (people.sums_at_source, people.files, people.rows) == ({}, (), 0)
    bands = found.tables["bands"].files[0]
    assert (bands.sha256, bands.modified_ns) == (hashlib.sha256(b"id\n").hexdigest(), None)
