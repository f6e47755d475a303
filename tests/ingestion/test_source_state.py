"""Which converted files the transformation reads: all tables of one state, switched at once, nothing kept too long."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from refreshes import LATER, land_batch

from acl_assets.ingestion.conversion import convert_table
from acl_assets.ingestion.export_batch import LandingZoneState, list_landing_zone, resolve_state
from acl_assets.ingestion.source_schema import SOURCE_TABLES
from acl_assets.ingestion.source_state import (
    EXPORT_BATCHES,
    converted_file,
    known_conversion,
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


def current_files(settings: Settings) -> dict[str, list[str]]:
    folders = (settings.source_tables_dir / "current").iterdir()
    return {folder.name: sorted(file.name for file in folder.iterdir()) for folder in folders}


def test_current_shows_every_table_of_the_state(landed: Settings, first_state: LandingZoneState) -> None:
    """Both engines read `current/<table>/*.parquet`, whatever batches a state is made of."""
    expected = {table: ["first.parquet"] for table in SOURCE_TABLES}
    assert current_files(landed) == {**expected, EXPORT_BATCHES: [f"{first_state.digest}.parquet"]}


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
    before = current_files(landed)
    switch_current(landed.source_tables_dir, first_state)
    assert current_files(landed) == before


def test_a_switch_that_was_killed_half_way_is_made_anew(
    landed: Settings, first_state: LandingZoneState, second_state: LandingZoneState
) -> None:
    """A killed run leaves half a folder of links and a dangling link; the next one must not trip over them."""
    unfinished = landed.source_tables_dir / "states" / f"{second_state.digest}.unfinished"
    (unfinished / "bands").mkdir(parents=True)
    (landed.source_tables_dir / "current.unfinished").symlink_to("states/nowhere")
    switch_current(landed.source_tables_dir, second_state)
    assert current_files(landed)["tickets"] == ["second.parquet"]
    assert not unfinished.exists()


def test_a_conversion_is_known_only_for_the_batch_it_was_made_from(
    landed: Settings, first_state: LandingZoneState
) -> None:
    """A batch taken away and landed again under the same name is another batch."""
    batch = first_state.newest
    assert known_conversion(landed.source_tables_dir, "bands", batch) is not None
    manifest = landed.exports_dir / "first" / "manifest.json"
    manifest.write_text(manifest.read_text() + "\n")
    assert known_conversion(landed.source_tables_dir, "bands", newest_state(landed).newest) is None
