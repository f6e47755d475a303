"""A warehouse continued from batch to batch equals one built from nothing, whatever happened at the source."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import Phase, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from refreshes import differing_rows, festival_settings
from transformation.dbt_festivals import outcomes, run_dbt

from acl_assets.ingestion import compaction, source_state
from acl_assets.ingestion.compaction import merge_files
from acl_assets.ingestion.conversion import convert_table
from acl_assets.ingestion.converted_table import ConvertedTable
from acl_assets.ingestion.export_batch import MissingPredecessorError, list_landing_zone, resolve_state
from acl_assets.ingestion.source_schema import SOURCE_TABLES
from acl_assets.ingestion.typed_columns import arrow_schema
from acl_assets.publication.publish import seal_build, swap_in
from acl_assets.settings import DBT_PROJECT_DIR, Settings
from acl_assets.simulator.batch import write_batch, write_incremental_batch
from acl_assets.simulator.sales import TicketingHistory
from acl_assets.transformation.build import BuildRecord, Ingredients, begin_build
from acl_assets.transformation.project import fingerprint

START = datetime(2022, 8, 1, 6, tzinfo=UTC)
Row = tuple[Any, ...]


@dataclass
class Source:
    """The ticketing database: rows by id, per table, in the order of the columns."""

    tables: dict[str, dict[int, Row]] = field(default_factory=lambda: {name: {} for name in SOURCE_TABLES})
    now: datetime = START

    def put(self, table: str, *row: Any) -> None:
        self.tables[table][row[0]] = row

    def change(self, table: str, number: int, **values: Any) -> None:
        names = SOURCE_TABLES[table].column_names
        self.put(table, *(values.get(name, old) for name, old in zip(names, self.tables[table][number], strict=True)))

    def sell(self, purchase: int, person: int, *tickets: tuple[int, int, int]) -> None:
        """Sell tickets, given as (id, price, performance), in one purchase."""
        self.put("purchases", purchase, self.now - timedelta(hours=1), person)
        for number, price, performance in tickets:
            self.put("tickets", number, price, performance, purchase, f"TT{number:014d}")

    def copy(self) -> Source:
        return Source({name: dict(rows) for name, rows in self.tables.items()}, self.now)

    def stream(self) -> Iterator[tuple[str, pa.Table]]:
        for name, rows in self.tables.items():
            schema = arrow_schema(SOURCE_TABLES[name])
            listed = [dict(zip(schema.names, row, strict=True)) for row in rows.values()]
            yield name, pa.Table.from_pylist(listed, schema)


class Snapshot(TicketingHistory):
    """A source as the simulator's writer of full batches takes it."""

    def __init__(self, source: Source) -> None:
        self.scale, self.seed, self.exported_at = 1.0, 0, source.now
        self._source = source

    @property
    def expected_tickets(self) -> int:
        return len(self._source.tables["tickets"])

    def stream(self) -> Iterator[tuple[str, pa.Table]]:
        return self._source.stream()


class Exports:
    """A source that is exported again and again into the landing zone of an installation."""

    def __init__(self, settings: Settings, source: Source) -> None:
        self.settings = settings
        self.source = source
        self.exported = Source()
        self.newest: Path | None = None
        self.number = 0

    def full(self) -> Path:
        return self._export(write_batch(self.settings.exports_dir, self._next_id(), Snapshot(self.source)))

    def incremental(self, repeated: Mapping[str, list[int]] | None = None) -> Path:
        """Export what is new or changed, and rows that are neither: an xid horizon cannot tell them all apart."""
        assert self.newest is not None
        for table, numbers in (repeated or {}).items():
            for number in numbers:
                self.exported.tables[table].pop(number, None)
        batch_id = self._next_id()
        return self._export(
            write_incremental_batch(
                self.newest, batch_id, self.exported.stream(), self.source.stream(), self.source.now
            )
        )

    def _next_id(self) -> str:
        self.number += 1
        self.source.now += timedelta(hours=6)
        # Names that sort against the order of export.
        return f"batch-{100 - self.number}"

    def _export(self, folder: Path) -> Path:
        self.exported, self.newest = self.source.copy(), folder
        return folder


def refresh(settings: Settings, *commands: str) -> BuildRecord:
    """What a refresh does with a landing zone, without Dagster: convert, build, seal, swap in."""
    state = resolve_state(settings.exports_dir, list_landing_zone(settings.exports_dir, settings.settle_seconds))
    for name, table in SOURCE_TABLES.items():
        conversions: list[ConvertedTable] = []
        known = source_state.known_conversions(settings.source_tables_dir, name, state.batches)
        for batch, found in zip(state.batches, known, strict=True):
            target = source_state.converted_file(settings.source_tables_dir, name, batch)
            conversions.append(found or convert_table(batch, table, target, target.with_suffix(".rejects.jsonl")))
        if merge := source_state.due_merge(settings.source_tables_dir, name, state.batches, conversions):
            merge_files(merge, table)
    source_state.switch_current(settings.source_tables_dir, state)
    batches = tuple(source_state.read_current_batches(settings.source_tables_dir))
    ingredients = Ingredients(batches, fingerprint(DBT_PROJECT_DIR))
    record = begin_build(settings, "run", ingredients, complete=True, self_sufficient=True)
    result = run_dbt(settings.data_dir, *(commands or ("run",)))
    assert result.success, result.result
    if commands:
        assert "fail" not in outcomes(result).values()
    seal_build(settings, record, [], datetime(2022, 8, 1), source_state.count_rows(settings.source_tables_dir))
    swap_in(settings, record)
    return record


def assert_equals_full_rebuild(settings: Settings, source: Source) -> None:
    """Compare what is published with the warehouse made of one full export of the source as it is."""
    with TemporaryDirectory() as folder:
        other = festival_settings(Path(folder) / "data")
        now = source.now
        write_batch(other.exports_dir, "full", Snapshot(source))
        refresh(other)
        assert source.now == now
        assert differing_rows(settings.published_file, other.published_file) == {}


def sound_source() -> Source:
    """A festival on sale, with gaps among the ids that transactions still under way may fill."""
    source = Source()
    for band in range(1, 4):
        source.put("bands", band, f"Band {band}", 100 * band)
    for venue in range(1, 4):
        source.put("venues", venue, f"Venue {venue}", 100)
    for show in range(1, 7):
        start = datetime(2021, 10, 2, 20, tzinfo=UTC) + timedelta(days=show + (365 if show > 3 else 0))
        source.put("performances", show, start, 1 + show % 3, 1 + show % 2)
    for person in range(1, 5):
        source.put("people", person, f"Person {person}")
    for purchase in range(10, 100, 10):
        show = 1 + purchase // 10 % 6
        source.sell(purchase, 1 + purchase // 10 % 4, (purchase, 10, show), (purchase + 1, 15, 1 + show % 6))
        moment = datetime(2021, 5, 1, 5, tzinfo=UTC) + timedelta(hours=purchase)
        source.change("purchases", purchase, purchase_date=moment)
    return source


@pytest.fixture
def exports(tmp_path: Path) -> Exports:
    """A landing zone with a full batch, published."""
    exports = Exports(festival_settings(tmp_path / "data"), sound_source())
    exports.full()
    refresh(exports.settings)
    return exports


# One change at a time -----------------------------------------------------------------------------------------


def sold_more(source: Source) -> None:
    source.put("people", 9, "Person 9")
    source.sell(200, 9, (200, 20, 4), (201, 25, 5))


def committed_late(source: Source) -> None:
    source.sell(15, 2, (14, 20, 1), (15, 20, 6))


def corrected_prices(source: Source) -> None:
    source.change("tickets", 10, price=0)
    source.change("tickets", 31, price=40)


def moved_a_purchase(source: Source) -> None:
    source.change("purchases", 20, person_id=4, purchase_date=datetime(2021, 1, 1, 3, tzinfo=UTC))


def moved_a_ticket(source: Source) -> None:
    source.change("tickets", 20, purchase_id=50, performance_id=6)


def moved_a_performance(source: Source) -> None:
    start = datetime(2020, 12, 31, 23, tzinfo=UTC)
    source.change("performances", 2, venue_id=3, band_id=3, performance_start=start)


def renamed(source: Source) -> None:
    source.change("bands", 1, name="NULL", fee=7)
    source.change("venues", 2, name="'68", capacity=1)
    source.change("people", 1, name="Somebody Else")


def announced(source: Source) -> None:
    source.put("bands", 8, "!!!", 1)
    source.put("performances", 9, source.now + timedelta(days=30), 8, 3)


def changed_ticket_and_purchase_at_once(source: Source) -> None:
    source.change("tickets", 20, price=99)
    source.change("purchases", 20, person_id=1)
    source.change("performances", 3, venue_id=3)


def nothing(source: Source) -> None:
    """Time passes: a performance that was to come may be over."""
    source.now = datetime(2022, 10, 8, tzinfo=UTC)


@pytest.mark.parametrize(
    "change",
    [
        sold_more, committed_late, corrected_prices, moved_a_purchase, moved_a_ticket, moved_a_performance, renamed,
        announced, changed_ticket_and_purchase_at_once, nothing,
    ],
    ids=lambda change: change.__name__,
)  # fmt: skip
def test_a_change_at_the_source_reaches_every_table(exports: Exports, change: Any) -> None:
    """Which rows of the fact it touches is worked out; nothing may be forgotten."""
    change(exports.source)
    exports.incremental()
    assert refresh(exports.settings).begun_from.startswith("Building on a copy")
    assert_equals_full_rebuild(exports.settings, exports.source)


def test_every_check_passes_on_a_copy_too(exports: Exports) -> None:
    """They look at what changed, where that is enough; the sums are over everything."""
    for change in (sold_more, committed_late, corrected_prices, moved_a_purchase, moved_a_ticket, announced):
        change(exports.source)
    exports.incremental()
    refresh(exports.settings, "build", "--exclude-resource-type", "unit_test")
    assert_equals_full_rebuild(exports.settings, exports.source)


def test_several_batches_are_taken_in_at_once(exports: Exports) -> None:
    """What was exported while nothing was refreshed: of every row the newest version counts."""
    exports.source.change("tickets", 10, price=1)
    sold_more(exports.source)
    exports.incremental()
    exports.source.change("tickets", 10, price=2)
    exports.source.change("tickets", 200, price=3)
    exports.incremental({"tickets": [11, 21], "purchases": [30]})
    assert refresh(exports.settings).begun_from.endswith("changed in batch-98, batch-97.")
    assert_equals_full_rebuild(exports.settings, exports.source)


def test_batches_that_arrive_out_of_order_count_in_the_order_of_export(exports: Exports) -> None:
    """The later one waits for the earlier; then both are taken in as if nothing had happened."""
    exports.source.change("tickets", 10, price=1)
    overtaken = exports.incremental()
    exports.source.change("tickets", 10, price=2)
    exports.incremental()
    aside = overtaken.rename(overtaken.with_name("_aside"))
    with pytest.raises(MissingPredecessorError):
        refresh(exports.settings)
    aside.rename(overtaken)
    refresh(exports.settings)
    assert_equals_full_rebuild(exports.settings, exports.source)


def test_a_full_batch_takes_away_what_was_deleted(exports: Exports) -> None:
    """An increment cannot say it; after the full batch nothing is continued, and nothing stays behind."""
    sold_more(exports.source)
    exports.incremental()
    refresh(exports.settings)
    for ticket in (10, 200):
        del exports.source.tables["tickets"][ticket]
    exports.full()
    assert refresh(exports.settings).begun_from.startswith("Building from nothing: the source tables are not those")
    assert_equals_full_rebuild(exports.settings, exports.source)


# Any history --------------------------------------------------------------------------------------------------


@st.composite
def histories(draw: st.DrawFn) -> list[tuple[str, list[tuple[Any, ...]]]]:
    """Exports in order, each after some changes at the source, named by what follows: nothing or a refresh."""
    shows, people = st.integers(1, 6), st.integers(1, 4)
    ticket, numbers = st.integers(10, 99), st.integers(1, 400)
    moment = st.datetimes(datetime(2021, 1, 1), datetime(2022, 7, 1), timezones=st.just(UTC))
    moment = moment.map(lambda found: found.replace(microsecond=0))
    changes = st.one_of(
        st.tuples(st.just("sell"), numbers, people, st.lists(st.tuples(numbers, shows), max_size=3)),
        st.tuples(st.just("price"), ticket, st.integers(0, 50)),
        st.tuples(st.just("ticket"), ticket, shows, st.integers(1, 9).map(lambda number: 10 * number)),
        st.tuples(st.just("purchase"), st.integers(1, 9).map(lambda number: 10 * number), people, moment),
        st.tuples(st.just("performance"), shows, st.integers(1, 3), st.integers(1, 3), moment),
        st.tuples(st.just("rename"), st.integers(1, 3), st.text("abc'\"", min_size=1, max_size=4)),
        st.tuples(st.just("delete"), ticket),
    )
    exports = st.sampled_from(
        ["incremental", "incremental", "incremental and refresh", "overtaken", "full and refresh"]
    )
    return [(draw(exports), draw(st.lists(changes, max_size=8))) for _ in range(draw(st.integers(2, 5)))]


def apply(source: Source, change: tuple[Any, ...], *, deletes: bool) -> None:
    """Make one change at the source, where it can be made."""
    kind, number, *values = change
    tickets, purchases = source.tables["tickets"], source.tables["purchases"]
    if kind == "sell" and number not in purchases:
        person, sold = values
        new = {ticket: show for ticket, show in sold if ticket not in tickets}
        source.sell(number, person, *((ticket, 5, show) for ticket, show in new.items()))
    elif kind == "price" and number in tickets:
        source.change("tickets", number, price=values[0])
    elif kind == "ticket" and number in tickets and values[1] in purchases:
        source.change("tickets", number, performance_id=values[0], purchase_id=values[1])
    elif kind == "purchase" and number in purchases:
        source.change("purchases", number, person_id=values[0], purchase_date=values[1])
    elif kind == "performance":
        band, venue, start = values
        source.change("performances", number, band_id=band, venue_id=venue, performance_start=start)
    elif kind == "rename":
        source.change("bands", number, name=values[0])
    elif kind == "delete" and deletes:
        tickets.pop(number, None)


@hypothesis_settings(max_examples=6, deadline=None, phases=[Phase.explicit, Phase.generate], derandomize=True)
@given(histories(), st.sampled_from([(3, 0), (2, 2)]))
def test_any_history_ends_where_a_full_rebuild_does(
    history: list[tuple[str, list[tuple[Any, ...]]]], merging: tuple[int, int]
) -> None:
    """Sales, corrections, moves, late commits and deletions, exported in parts, some of which arrive late.

    So few files are many here that increments are merged, with the full batch or without it.
    """
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(compaction, "MOST_FILES", merging[0])
        patch.setattr(compaction, "TIMES_AS_LARGE", merging[1])
        patch.setattr(compaction, "FILES_LEFT", 1)
        exports = Exports(festival_settings(Path(folder) / "data"), sound_source())
        exports.full()
        refresh(exports.settings)
        for export, changes in history:
            for change in changes:
                # An increment cannot say what was deleted, so that happens before full batches.
                apply(exports.source, change, deletes=export.startswith("full"))
            if export.startswith("full"):
                exports.full()
            else:
                landed = exports.incremental({"tickets": [10, 11], "performances": [1]})
            if export == "overtaken":
                exports.source.change("performances", 1, venue_id=3)
                exports.incremental()
                aside = landed.rename(landed.with_name("_aside"))
                with pytest.raises(MissingPredecessorError):
                    refresh(exports.settings)
                aside.rename(landed)
            if export.endswith("refresh"):
                refresh(exports.settings)
        exports.incremental()
        refresh(exports.settings)
        assert_equals_full_rebuild(exports.settings, exports.source)
