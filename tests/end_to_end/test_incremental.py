"""A refresh from a full batch and increments: what it publishes and which increments it refuses."""

import json
import os
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from refreshes import (
    SMALL,
    WEEKS_LATER,
    copy_installation,
    festival_settings,
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

FOLDER = 'it\'s $HOME %41 [a-z] {x} # * ä "q" hive=1'
SIBLING = 'it\'s $HOME %41 b {x} # zz ä "q" hive=1'


def with_value(rows: pa.Table, column: str, is_changed: pa.Array, value: object) -> pa.Table:
    position = rows.schema.get_field_index(column)
    field = rows.schema.field(column)
    return rows.set_column(position, field, pc.if_else(is_changed, pa.scalar(value, field.type), rows[column]))


def corrected(table: str, rows: pa.Table) -> pa.Table:
    """Some refunds, a purchase that was somebody else's, a performance on another stage."""
    if table == "tickets":
        return with_value(rows, "price", pc.equal(pc.bit_wise_and(rows["id"], 63), 5), 0)
    if table == "purchases":
        return with_value(
            rows, "person_id", pc.equal(pc.bit_wise_and(rows["id"], 127), 9), rows["person_id"][0].as_py()
        )
    if table == "performances":
        return with_value(rows, "venue_id", pc.equal(rows["id"], 3), 2)
    return rows


class Corrected(TicketingHistory):
    """The festival three weeks later, with the corrections."""

    def __init__(self) -> None:
        super().__init__(SMALL, exported_at=WEEKS_LATER)

    def stream(self) -> Iterator[tuple[str, pa.Table]]:
        for table, rows in super().stream():
            yield table, corrected(table, rows)


def test_increments_give_the_warehouse_of_a_full_batch(published: Settings, tmp_path: Path) -> None:
    """Sales and corrections arrive in two increments. Hand-written SQL builds the same from one full batch.

    The name of the data folder is a pattern that a sibling's name matches.
    """
    settings = festival_settings(tmp_path / FOLDER)
    for folder in (settings.data_dir, tmp_path / SIBLING):
        copy_installation(published.data_dir, folder)
    third = {"after": "second", "since": WEEKS_LATER, "exported_at": WEEKS_LATER + timedelta(hours=1)}
    land_increment(settings)
    land_increment(settings, "third", change=corrected, **third)
    added = refresh(settings)
    assert added.success, added.errors
    assert published_batches(settings) == ["first", "second", "third"]
    full = write_batch(tmp_path, "full", Corrected())
    by_hand = build(full, tmp_path / "by_hand", "1GB")
    require_equal(settings.published_file, by_hand)
    assert {*os.listdir(settings.data_products_link)} == {*os.listdir(by_hand.parent / "data_products")}


def test_count_and_sum_that_differ_from_the_source_are_named(published: Settings) -> None:
    """An increment does not say which rows were deleted at the source; the count and the sum of the table do."""
    before = sha256(published.published_file)
    manifest = land_increment(published) / "manifest.json"
    document = json.loads(manifest.read_bytes())
    tickets = document["tables"]["tickets"]
    rows = tickets["rows_at_source"]
    tickets |= {"rows_at_source": rows - 2, "sums_at_source": {"price": 1}}
    manifest.write_text(json.dumps(document))
    refreshed = refresh(published)
    assert refreshed.failed_checks == {
        ("festival/tickets", "rows_as_manifest_and_source"),
        ("festival/tickets", "amounts_as_source"),
        ("star_schema/fct_ticket_sales", "amounts_as_source"),
    }
    said, _ = refreshed.check_results["festival/tickets", "rows_as_manifest_and_source"]
    assert f"the table has {rows:,} rows after the newest batch, the source had {rows - 2:,}" in str(said)
    said, metadata = refreshed.check_results["star_schema/fct_ticket_sales", "amounts_as_source"]
    assert "price adds up to " in str(said)
    assert metadata["price_at_source"] == 1
    assert "published_warehouse" in refreshed.skipped_steps
    assert sha256(published.published_file) == before
