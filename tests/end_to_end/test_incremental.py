"""A refresh from a full batch and increments: what it publishes and which increments it refuses."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from refreshes import (
    SMALL,
    WEEKS_LATER,
    land_increment,
    published_batches,
    refresh,
    sha256,
)

from acl_assets.settings import Settings
from acl_assets.simulator.batch import write_batch
from acl_assets.simulator.sales import TicketingHistory
from benchmarks.equality import require_equal
from benchmarks.hand_written import build

pytestmark = pytest.mark.slow


def with_column(rows: pa.Table, name: str, values: pa.Array) -> pa.Table:
    position = rows.schema.get_field_index(name)
    return rows.set_column(position, rows.schema.field(name), values.cast(rows.schema.field(name).type))


def corrected(table: str, rows: pa.Table) -> pa.Table:
    """Some refunds, a purchase that was somebody else's, a performance on another stage."""
    if table == "tickets":
        return with_column(rows, "price", pc.if_else(pc.equal(pc.bit_wise_and(rows["id"], 63), 5), 0, rows["price"]))
    if table == "purchases":
        moved = pc.equal(pc.bit_wise_and(rows["id"], 127), 9)
        return with_column(rows, "person_id", pc.if_else(moved, rows["person_id"][0], rows["person_id"]))
    if table == "performances":
        return with_column(rows, "venue_id", pc.if_else(pc.equal(rows["id"], 3), 2, rows["venue_id"]))
    return rows


class Corrected(TicketingHistory):
    """The festival three weeks later, with the corrections."""

    def __init__(self) -> None:
        super().__init__(SMALL, exported_at=WEEKS_LATER)

    def stream(self) -> Iterator[tuple[str, pa.Table]]:
        for table, rows in super().stream():
            yield table, corrected(table, rows)


def test_increments_give_the_warehouse_of_a_full_batch(published: Settings, tmp_path: Path) -> None:
    """Sales and corrections arrive in two increments. Hand-written SQL builds the same from one full batch."""
    land_increment(published)
    land_increment(
        published,
        "third",
        after="second",
        since=WEEKS_LATER,
        exported_at=WEEKS_LATER + timedelta(hours=1),
        change=corrected,
    )
    added = refresh(published)
    assert added.success, added.errors
    assert published_batches(published) == ["first", "second", "third"]
    full = write_batch(tmp_path, "full", Corrected())
    require_equal(published.published_file, build(full, tmp_path / "by_hand"))


# Stopped ------------------------------------------------------------------------------------------------------


def orphaned(table: str, rows: pa.Table) -> pa.Table:
    """A published ticket moves to a performance nobody has announced."""
    if table != "tickets":
        return rows
    first = pc.equal(rows["id"], rows["id"][0])
    return with_column(rows, "performance_id", pc.if_else(first, 999_999, rows["performance_id"]))


def unknown_stage(table: str, rows: pa.Table) -> pa.Table:
    """A performance moves to a stage nobody has built, and takes all its tickets along."""
    if table != "performances":
        return rows
    return with_column(rows, "venue_id", pc.if_else(pc.equal(rows["id"], rows["id"][0]), 99, rows["venue_id"]))


def printed_twice(table: str, rows: pa.Table) -> pa.Table:
    """A ticket gets the number of another one, which has been published for long."""
    if table != "tickets":
        return rows
    last = pc.equal(rows["id"], rows["id"][-1])
    return with_column(rows, "ticketnum", pc.if_else(last, rows["ticketnum"][0], rows["ticketnum"]))


def twice(table: str, rows: pa.Table) -> pa.Table:
    """The export holds a ticket twice."""
    return pa.concat_tables([rows, rows.slice(rows.num_rows - 1)]) if table == "tickets" else rows


FOUND_BY = {
    orphaned: {"tickets_performance_is_known"},
    unknown_stage: {"performances_venue_is_known", "tickets_have_known_venue_and_band"},
    printed_twice: {"ticketnum_is_unique"},
    twice: {"tickets_id_is_unique"},
}


def test_bad_rows_of_an_increment_are_caught(published: Settings) -> None:
    """Also where the other half of what is wrong was published long ago."""
    before = sha256(published.published_file)

    def changed(table: str, rows: pa.Table) -> pa.Table:
        for change in FOUND_BY:
            rows = change(table, rows)
        return rows

    land_increment(published, change=changed)
    refreshed = refresh(published)
    assert set().union(*FOUND_BY.values()) - {name for _, name in refreshed.failed_checks} == set()
    assert "published_warehouse" in refreshed.skipped_steps
    assert sha256(published.published_file) == before


def edit_tickets(folder: Path, **values: object) -> None:
    manifest = folder / "manifest.json"
    document = json.loads(manifest.read_bytes())
    document["tables"]["tickets"].update(values)
    manifest.write_text(json.dumps(document))


def test_count_and_sum_that_differ_from_the_source_are_named(published: Settings) -> None:
    """An increment does not say which rows were deleted at the source; the count and the sum of the table do."""
    before = sha256(published.published_file)
    second = land_increment(published)
    rows = json.loads((second / "manifest.json").read_bytes())["tables"]["tickets"]["rows_at_source"]
    edit_tickets(second, rows_at_source=rows - 2, sums_at_source={"price": 1})
    refreshed = refresh(published)
    assert refreshed.failed_checks == {
        ("festival/tickets", "rows_as_manifest_and_source"),
        ("festival/tickets", "amounts_as_source"),
        ("star_schema/fct_ticket_sales", "amounts_as_source"),
    }
    said, _ = refreshed.check_results["festival/tickets", "rows_as_manifest_and_source"]
    assert f"the table has {rows:,} rows after the newest batch, the source had {rows - 2:,}" in str(said)
    assert "export a full batch" in str(said)
    for asset in ("festival/tickets", "star_schema/fct_ticket_sales"):
        said, metadata = refreshed.check_results[asset, "amounts_as_source"]
        assert "price adds up to " in str(said)
        assert metadata["price_at_source"] == 1
    assert "published_warehouse" in refreshed.skipped_steps
    assert sha256(published.published_file) == before
