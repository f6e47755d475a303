"""Source tables stay in few files, however many increments are applied, and hold what they would without that."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from acl_assets.ingestion import compaction
from acl_assets.ingestion.compaction import MOST_FILES, Merge, compacted_files, files_to_merge, merge_files
from acl_assets.ingestion.conversion import convert_table
from acl_assets.ingestion.converted_table import ConvertedTable
from acl_assets.ingestion.export_batch import (
    LandingZoneState,
    Manifest,
    Predecessor,
    begin_batch,
    describe_file,
    list_landing_zone,
    resolve_state,
    write_manifest,
)
from acl_assets.ingestion.export_batch import ManifestTable as Table
from acl_assets.ingestion.source_schema import SOURCE_TABLES
from acl_assets.ingestion.source_state import (
    converted_file,
    current_files,
    due_merge,
    known_conversions,
    merged_totals,
    switch_current,
)
from acl_assets.ingestion.typed_columns import arrow_schema

VENUES = SOURCE_TABLES["venues"]
START = datetime(2022, 8, 1, 6, tzinfo=UTC)
Row = tuple[int, str | None, int | None]


# Which files -------------------------------------------------------------------------------------------------


def test_few_files_are_left_alone() -> None:
    assert files_to_merge([10, *[1] * (MOST_FILES - 1)]) is None


def test_small_files_are_merged_and_the_large_one_stays() -> None:
    """Not the newest two: the newest may be taken away again, when it is bad."""
    assert files_to_merge([100, *[1] * MOST_FILES]) == range(1, MOST_FILES - 1)


def test_a_larger_file_joins_when_what_is_merged_has_grown() -> None:
    end = MOST_FILES - 1
    assert files_to_merge([1000, 11, *[1] * (MOST_FILES - 1)]) == range(2, end)
    assert files_to_merge([1000, 10, *[1] * (MOST_FILES - 1)]) == range(1, end)
    assert files_to_merge([30, 10, *[1] * (MOST_FILES - 1)]) == range(end)


@pytest.mark.parametrize("full", [100, 10_000, 1_000_000])
def test_many_increments_make_few_files_and_little_work(full: int) -> None:
    """What one increment costs must not grow with the number of those before it."""
    sizes = [full]
    written = 0
    for _ in range(500):
        sizes.append(100)
        if chosen := files_to_merge(sizes):
            merged = sum(sizes[chosen.start : chosen.stop])
            sizes[chosen.start : chosen.stop] = [merged]
            written += merged
        assert len(sizes) <= MOST_FILES
    assert written < 6 * sum(sizes)


# One file of several ------------------------------------------------------------------------------------------


def write_venues(path: Path, *rows: Row) -> Path:
    listed = [dict(zip(VENUES.column_names, row, strict=True)) for row in rows]
    pq.write_table(pa.Table.from_pylist(listed, arrow_schema(VENUES)), path)
    return path


def merged(folder: Path, *files: Sequence[Row]) -> pa.Table:
    paths = tuple(write_venues(folder / f"{number}.parquet", *rows) for number, rows in enumerate(files))
    merge_files(Merge(paths, (), folder / "merged" / "venues.parquet"), VENUES)
    return pq.read_table(folder / "merged" / "venues.parquet")


def test_of_every_id_the_newest_row_is_kept(tmp_path: Path) -> None:
    found = merged(tmp_path, [(1, "a", 10), (2, "b", 20)], [(2, "c", 21), (3, "d", 30)], [(3, None, None)])
    assert sorted(found.to_pylist(), key=lambda row: row["id"]) == [
        {"id": 1, "name": "a", "capacity": 10},
        {"id": 2, "name": "c", "capacity": 21},
        {"id": 3, "name": None, "capacity": None},
    ]
    assert found.schema.names == list(VENUES.column_names)
    assert found.schema.types == arrow_schema(VENUES).types


def test_an_id_twice_in_one_file_stays_there_twice(tmp_path: Path) -> None:
    """Merging must not repair what the checks are there to find: neither in the full batch nor in an increment."""
    found = merged(tmp_path, [(1, "a", 10), (1, "a", 10), (2, "b", 20)], [(3, "c", 1), (3, "c", 2)], [(2, "b", 21)])
    assert sorted(found["id"].to_pylist()) == [1, 1, 2, 3, 3]


def test_instants_survive(tmp_path: Path) -> None:
    """To the microsecond, and as instants, whatever the time zone of the machine."""
    table = SOURCE_TABLES["purchases"]
    moment = datetime(2022, 8, 1, 6, 0, 0, 123456, tzinfo=UTC)
    paths = (tmp_path / "a.parquet", tmp_path / "b.parquet")
    for number, path in enumerate(paths):
        rows = [{"id": number, "purchase_date": moment, "person_id": 1}]
        pq.write_table(pa.Table.from_pylist(rows, arrow_schema(table)), path)
    merge_files(Merge(paths, (), tmp_path / "merged.parquet"), table)
    found = pq.read_table(tmp_path / "merged.parquet")
    assert found["purchase_date"].to_pylist() == [moment, moment]
    assert found.schema.types == arrow_schema(table).types


# In a state ---------------------------------------------------------------------------------------------------


class Zone:
    """A landing zone in which venues open and close; the other tables stay as they are."""

    def __init__(self, folder: Path) -> None:
        self.exports_dir, self.source_tables_dir = folder / "exports", folder / "source_tables"
        self.newest: Predecessor | None = None
        self.landed = 0

    def land(self, *venues: Row) -> None:
        """Land a batch that holds these venues: a full one first, then increments."""
        kind = "incremental" if self.newest else "full"
        name = f"batch-{self.landed:02}"
        folder = begin_batch(self.exports_dir, name)
        tables: dict[str, Table] = {}
        for table in SOURCE_TABLES.values():
            if table == VENUES:
                write_venues(folder / "venues.parquet", *venues)
            elif kind == "full":
                pq.write_table(arrow_schema(table).empty_table(), folder / f"{table.name}.parquet")
            rows = len(venues) if table == VENUES else 0
            is_there = (folder / f"{table.name}.parquet").exists()
            files = (describe_file(folder, f"{table.name}.parquet", rows),) if is_there else ()
            tables[table.name] = Table(rows, files)
        exported_at = START + timedelta(hours=self.landed)
        write_manifest(folder, Manifest(name, kind, exported_at, tables, continues_from=self.newest))
        self.newest = Predecessor(name, self.state().newest.digest)
        self.landed += 1

    def state(self) -> LandingZoneState:
        return resolve_state(self.exports_dir, list_landing_zone(self.exports_dir, settle_seconds=0))

    def refresh(self) -> list[str]:
        """What the asset does; returns the names of the files that are read of venues."""
        state = self.state()
        for name, table in SOURCE_TABLES.items():
            conversions: list[ConvertedTable] = []
            known = known_conversions(self.source_tables_dir, name, state.batches)
            for batch, found in zip(state.batches, known, strict=True):
                target = converted_file(self.source_tables_dir, name, batch)
                conversions.append(found or convert_table(batch, table, target, target.with_suffix(".rejects.jsonl")))
            if merge := due_merge(self.source_tables_dir, name, state.batches, conversions):
                merge_files(merge, table)
        switch_current(self.source_tables_dir, state)
        return [file.name.split(".")[0][:8] for file in current_files(self.source_tables_dir, "venues")]

    def totals(self) -> tuple[int, ...]:
        return merged_totals(current_files(self.source_tables_dir, "venues"), ["capacity"])


@pytest.fixture
def zone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Zone:
    """A full batch and four increments, refreshed from now and then, where more than four files are too many."""
    monkeypatch.setattr(compaction, "MOST_FILES", 4)
    monkeypatch.setattr(compaction, "TIMES_AS_LARGE", 0)
    zone = Zone(tmp_path)
    zone.land((1, "a", 1), (2, "b", 1))
    zone.land((2, "b", 10))
    zone.land((2, "b", 100), (3, "c", 100))
    zone.refresh()
    zone.land((4, "d", 1000))
    zone.land()
    zone.refresh()
    return zone


def test_the_state_reads_the_merged_file_by_the_newest_batch_in_it(zone: Zone) -> None:
    """The position a name begins with tells what has been published already."""
    assert zone.refresh() == ["00000-ba", "00002-00", "00003-ba", "00004-ba"]
    assert zone.totals() == (4, 1201)


def test_every_batch_in_a_merged_file_stays_known(zone: Zone) -> None:
    """What was converted is held against the manifests of all batches, whenever they were merged."""
    state = zone.state()
    found = known_conversions(zone.source_tables_dir, "venues", state.batches)
    assert [known and (known.batch_id, known.rows_by_file["venues.parquet"]) for known in found] == [
        ("batch-00", 2),
        ("batch-01", 1),
        ("batch-02", 2),
        ("batch-03", 1),
        ("batch-04", 0),
    ]


def test_what_was_merged_is_removed(zone: Zone) -> None:
    kept = {file.name for file in (zone.source_tables_dir / "venues").glob("*.parquet")}
    assert kept == {"batch-00.parquet", "batch-03.parquet", "batch-04.parquet"}
    zone.land((1, "a", 2))
    zone.refresh()
    assert len(list((zone.source_tables_dir / "venues" / "compacted").iterdir())) == 1


def test_merged_files_are_merged_again(zone: Zone) -> None:
    """A table an increment brings no rows of gets no file, and counts like any other."""
    for price in range(2, 6):
        zone.land((1, "a", price))
        zone.refresh()
    assert len(zone.refresh()) <= 4
    assert zone.totals() == (4, 1205)
    assert merged_totals(current_files(zone.source_tables_dir, "bands")) == (0,)


def test_a_merged_file_of_batches_that_changed_is_not_used(zone: Zone) -> None:
    """The state is a function of the landing zone: a history that is replaced is converted anew."""
    for name in ("batch-02", "batch-03", "batch-04"):
        shutil.rmtree(zone.exports_dir / name)
    assert not compacted_files(zone.source_tables_dir, "venues", zone.state().batches)
    assert zone.refresh() == ["00000-ba", "00001-ba"]
    assert zone.totals() == (2, 11)
    assert not list((zone.source_tables_dir / "venues" / "compacted").iterdir())


def test_a_bad_newest_batch_is_taken_away_without_a_trace(zone: Zone) -> None:
    """What it came with is not merged, nor what was the newest before, so nothing need be converted again."""
    zone.land((1, "a", -5))
    zone.refresh()
    shutil.rmtree(zone.exports_dir / "batch-05")
    assert None not in known_conversions(zone.source_tables_dir, "venues", zone.state().batches)
    zone.refresh()
    assert zone.totals() == (4, 1201)


def test_a_killed_merge_leaves_nothing_that_counts(zone: Zone) -> None:
    folder = zone.source_tables_dir / "venues" / "compacted"
    (folder / "00000-00003-abc.unfinished").write_text("half a file")
    zone.refresh()
    assert [file.suffix for file in folder.iterdir()] == [".parquet"]
