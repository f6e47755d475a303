"""Conditions under which the changes since the batch before are not enough and a full batch is taken."""

from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from acl_assets.extraction.snapshot import (
    LARGEST_HORIZON_LAG,
    LARGEST_XID_DISTANCE,
    SourceSnapshot,
    changed_rows_condition,
    count_new_ids,
    full_because_of_landing_zone,
    full_because_of_source,
)
from acl_assets.landing_zone.batches import BatchChain
from acl_assets.landing_zone.manifest import ExportBatch, ManifestFile, ManifestTable

BEFORE = SourceSnapshot(
    system_identifier="7711019434196305484",
    timeline=1,
    server_version="18.6",
    database="ticketing",
    database_oid=16384,
    schema="public",
    columns="d41d8cd98f00b204e9800998ecf8427e",
    in_recovery=False,
    wal_position=2_655_327_560,
    snapshot="5000000000:5000000010:",
    xid_horizon=5_000_000_000,
    next_xid=5_000_000_010,
)
LATER = replace(BEFORE, wal_position=BEFORE.wal_position + 1, xid_horizon=5_000_000_500, next_xid=5_000_000_500)
SUNDAY = datetime(2022, 7, 3, 4, tzinfo=UTC)
CSV = ManifestTable(10, (ManifestFile("tickets.csv", bytes=1, sha256="0" * 64, rows=10),))


@pytest.mark.parametrize("entry", [None, {"simulated": True}, {**asdict(BEFORE), "xid_horizon": "5"}])
def test_what_is_no_snapshot_of_a_server_is_none(entry: dict[str, object] | None) -> None:
    assert SourceSnapshot.from_manifest(entry) is None
    assert SourceSnapshot.from_manifest({**asdict(BEFORE), "full_because": None}) == BEFORE


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"in_recovery": True, "server_version": "18.7"}, "None"),
        ({"next_xid": LATER.xid_horizon + LARGEST_HORIZON_LAG}, "None"),
        ({"system_identifier": "1"}, "the cluster's system identifier is 1 where the batch before was read from 77"),
        ({"schema": "sales"}, "the schema is sales where"),
        ({"wal_position": BEFORE.wal_position - 1}, "the server is at an earlier point"),
        ({"next_xid": BEFORE.xid_horizon - 1}, "the server is at an earlier point"),
        ({"next_xid": BEFORE.xid_horizon + LARGEST_XID_DISTANCE}, "2,097,483,648 transactions have begun since"),
        ({"next_xid": LATER.xid_horizon + LARGEST_HORIZON_LAG + 1}, "the horizon is stalled: transaction 5000000500"),
    ],
)
def test_another_past_or_too_long_a_one_needs_a_full_batch(changes: dict[str, object], reason: str) -> None:
    assert str(full_because_of_source(BEFORE, replace(LATER, **changes))).startswith(reason)


def test_a_horizon_is_asked_for_as_the_32_bits_that_rows_carry() -> None:
    assert changed_rows_condition(5_000_000_000) == "age(xmin) <= (select age('705032704'::xid))"


@pytest.mark.parametrize(
    ("changes", "days", "now", "reason"),
    [
        # The next night's run may begin some minutes earlier than a week after the last one did.
        ({}, 7, SUNDAY + timedelta(days=7, minutes=-5), "the last full batch, sunday, is as old as"),
        ({}, 7, SUNDAY + timedelta(days=6, minutes=5), "None"),
        ({}, 0, SUNDAY, "the last full batch"),
        ({}, 1e12, SUNDAY, "None"),
        ({"tables": {"tickets": CSV}}, 7, SUNDAY, "batch monday is not one that an extract wrote"),
        ({"tables": {"tickets": ManifestTable(None, ())}}, 7, SUNDAY, "batch monday is not one that an extract wrote"),
        ({"source_snapshot": None}, 7, SUNDAY, "batch monday records no snapshot that this version can continue"),
    ],
)
def test_a_full_batch_is_due_when_the_last_one_is_old_or_the_newest_is_foreign(
    changes: dict[str, object], days: float, now: datetime, reason: str
) -> None:
    full = ExportBatch(
        batch_id="sunday",
        folder="sunday",
        kind="full",
        exported_at=SUNDAY,
        digest="0" * 64,
        has_manifest=True,
        tables={"tickets": replace(CSV, files=(replace(CSV.files[0], path="tickets.parquet"),))},
        source_snapshot=asdict(BEFORE),
    )
    monday = replace(full, batch_id="monday", kind="incremental", exported_at=SUNDAY + timedelta(days=1), **changes)
    assert str(full_because_of_landing_zone(BatchChain((full, monday)), days, now)).startswith(reason)


def test_new_ids_are_those_that_no_landed_file_holds(tmp_path: Path) -> None:
    def file(name: str, *ids: int) -> Path:
        pq.write_table(pa.table({"name": ["x"] * len(ids), "id": pa.array(ids, pa.int32())}), tmp_path / name)
        return tmp_path / name

    exported = file("exported", -(2**31), -3, 1, 5, 9, 2**31 - 1)
    landed = [file("a", 1, 2, 3, 2**31 - 1), file("b", 9, 10)]
    assert count_new_ids([exported], landed) == 3
    assert count_new_ids([exported], []) == 6
    assert count_new_ids([], landed) == 0
    with pytest.raises(FileNotFoundError):
        count_new_ids([], [*landed, tmp_path / "removed"])
