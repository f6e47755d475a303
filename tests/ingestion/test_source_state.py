"""Which converted files the transformation reads: all tables of one state, switched at once, nothing kept too long."""

from __future__ import annotations

import os
import threading
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from refreshes import LATER, WEEKS_LATER, land_batch, land_increment

from acl_assets.ingestion.conversion import convert_table
from acl_assets.ingestion.export_batch import LandingZoneState, list_landing_zone, resolve_state
from acl_assets.ingestion.source_schema import SOURCE_TABLES
from acl_assets.ingestion.source_state import (
    EXPORT_BATCHES,
    converted_file,
    current_files,
    known_conversions,
    merged_totals,
    read_current_batches,
    switch_current,
)
from acl_assets.settings import Settings


def newest_state(settings: Settings) -> LandingZoneState:
    return resolve_state(settings.exports_dir, list_landing_zone(settings.exports_dir, settings.settle_seconds))


def convert(settings: Settings, state: LandingZoneState) -> None:
    """Convert all tables of a state."""
    for name, table in SOURCE_TABLES.items():
        for batch in state.batches:
            target = converted_file(settings.source_tables_dir, name, batch)
            convert_table(batch, table, target, target.with_suffix(".rejects.jsonl"))


@pytest.fixture
def first_state(landed: Settings) -> LandingZoneState:
    """The state of the batch `first`, converted and current."""
    state = newest_state(landed)
    convert(landed, state)
    switch_current(landed.source_tables_dir, state)
    return state


@pytest.fixture
def second_state(landed: Settings, first_state: LandingZoneState) -> LandingZoneState:
    """The state of a later batch, converted but not yet current."""
    land_batch(landed, "second", exported_at=LATER, seed=21)
    state = newest_state(landed)
    convert(landed, state)
    return state


def linked_files(settings: Settings) -> dict[str, list[str]]:
    folders = (settings.source_tables_dir / "current").iterdir()
    return {folder.name: sorted(file.name for file in folder.iterdir()) for folder in folders}


def test_current_shows_every_table_of_the_state(landed: Settings, first_state: LandingZoneState) -> None:
    """Both engines read `current/<table>/*.parquet`, whatever batches a state is made of."""
    expected = {table: ["00000-first.parquet"] for table in SOURCE_TABLES}
    assert linked_files(landed) == {**expected, EXPORT_BATCHES: [f"{first_state.digest}.parquet"]}


# Several batches ----------------------------------------------------------------------------------------------


def write_fees(folder: Path, name: str, *rows: tuple[int, int | None]) -> Path:
    file = folder / f"{name}.parquet"
    columns = {"id": [number for number, _ in rows], "fee": [fee for _, fee in rows]}
    pq.write_table(pa.table(columns, pa.schema([("id", pa.int32()), ("fee", pa.int32())])), file)
    return file


def test_files_are_named_in_the_order_of_their_batches(landed: Settings) -> None:
    """Which row is the newest is told by the names alone, whatever batches are called."""
    land_increment(landed, "b")
    land_increment(landed, "a", after="b", since=WEEKS_LATER, exported_at=WEEKS_LATER + timedelta(days=1))
    state = newest_state(landed)
    convert(landed, state)
    switch_current(landed.source_tables_dir, state)
    names = ["00000-first.parquet", "00001-b.parquet", "00002-a.parquet"]
    assert linked_files(landed)["tickets"] == names
    assert [file.name for file in current_files(landed.source_tables_dir, "tickets")] == names


def test_of_every_id_the_row_of_the_newest_batch_counts(tmp_path: Path) -> None:
    """An increment holds what is new or changed; rows it repeats unchanged do no harm."""
    first = write_fees(tmp_path, "z", (1, 10), (2, 20), (3, 30), (4, 40))
    second = write_fees(tmp_path, "m", (2, 200), (4, 40), (9, 90))
    third = write_fees(tmp_path, "a", (2, 2), (5, None), (9, 9))
    assert merged_totals([first], ["fee"]) == (4, 100)
    assert merged_totals([first, second], ["fee", "id"]) == (5, 370, 19)
    assert merged_totals([first, second, third], ["fee"]) == (6, 10 + 2 + 30 + 40 + 9)
    assert merged_totals([first, second, third]) == (6,)


def test_totals_are_those_of_the_files_as_they_are(tmp_path: Path) -> None:
    """They are remembered, and a file converted anew has its old name."""
    assert merged_totals([write_fees(tmp_path, "first", (1, 10))], ["fee"]) == (1, 10)
    assert merged_totals([write_fees(tmp_path, "first", (1, 10), (2, 20))], ["fee"]) == (2, 30)


def test_an_id_twice_in_one_batch_counts_twice(tmp_path: Path) -> None:
    """Merging must not repair what the checks are there to find."""
    first = write_fees(tmp_path, "first", (1, 10))
    second = write_fees(tmp_path, "second", (1, 11), (2, 20), (2, 20))
    assert merged_totals([first, second], ["fee"]) == (3, 51)


def test_empty_files_count_nothing(tmp_path: Path) -> None:
    assert merged_totals([write_fees(tmp_path, "a"), write_fees(tmp_path, "b")], ["fee"]) == (0, 0)


# The state ----------------------------------------------------------------------------------------------------


def test_the_state_names_its_batches(landed: Settings, first_state: LandingZoneState) -> None:
    """The provenance travels as data, from here to what people read."""
    batch = first_state.newest
    assert read_current_batches(landed.source_tables_dir) == [("first", batch.digest)]
    rows = pq.read_table(landed.source_tables_dir / "current" / EXPORT_BATCHES).to_pylist()
    assert rows == [
        {
            "batch_id": "first",
            "kind": "full",
            "exported_at": batch.exported_at,
            "manifest_digest": batch.digest,
            "has_manifest": True,
        }
    ]


def test_the_switch_shows_one_state_or_the_other(
    landed: Settings, first_state: LandingZoneState, second_state: LandingZoneState
) -> None:
    """Whoever looks while the state switches sees all tables of one batch: never none, never some of each."""
    current = landed.source_tables_dir / "current"
    folders = {landed.source_tables_dir / "states" / state.digest for state in (first_state, second_state)}
    seen: set[Path | None] = set()
    done = threading.Event()

    def look() -> None:
        while not done.is_set():
            try:
                seen.add(landed.source_tables_dir / os.readlink(current))
            except FileNotFoundError:
                seen.add(None)

    watcher = threading.Thread(target=look)
    watcher.start()
    switch_current(landed.source_tables_dir, second_state)
    done.set()
    watcher.join()
    assert seen <= folders
    assert os.readlink(current) == f"states/{second_state.digest}"


def test_superseded_conversions_are_removed(
    landed: Settings, first_state: LandingZoneState, second_state: LandingZoneState
) -> None:
    """Twenty years of nightly exports must not pile up; the landing zone still has the batches."""
    switch_current(landed.source_tables_dir, second_state)
    assert [folder.name for folder in (landed.source_tables_dir / "states").iterdir()] == [second_state.digest]
    for table in SOURCE_TABLES:
        assert [file.name for file in (landed.source_tables_dir / table).glob("*.parquet")] == ["second.parquet"]
    assert (landed.exports_dir / "first" / "manifest.json").exists()


def test_switching_to_the_current_state_changes_nothing(landed: Settings, first_state: LandingZoneState) -> None:
    """A refresh without a new batch switches as well."""
    before = linked_files(landed)
    switch_current(landed.source_tables_dir, first_state)
    assert linked_files(landed) == before


def test_a_switch_that_was_killed_half_way_is_made_anew(
    landed: Settings, first_state: LandingZoneState, second_state: LandingZoneState
) -> None:
    """A killed run leaves half a folder of links and a dangling link; the next one must not trip over them."""
    unfinished = landed.source_tables_dir / "states" / f"{second_state.digest}.unfinished"
    (unfinished / "bands").mkdir(parents=True)
    (landed.source_tables_dir / "current.unfinished").symlink_to("states/nowhere")
    switch_current(landed.source_tables_dir, second_state)
    assert linked_files(landed)["tickets"] == ["00000-second.parquet"]
    assert not unfinished.exists()


def test_a_conversion_is_known_only_for_the_batch_it_was_made_from(
    landed: Settings, first_state: LandingZoneState
) -> None:
    """A batch taken away and landed again under the same name is another batch."""
    batch = first_state.newest
    assert None not in known_conversions(landed.source_tables_dir, "bands", [batch])
    manifest = landed.exports_dir / "first" / "manifest.json"
    manifest.write_text(manifest.read_text() + "\n")
    assert known_conversions(landed.source_tables_dir, "bands", newest_state(landed).batches) == [None]
