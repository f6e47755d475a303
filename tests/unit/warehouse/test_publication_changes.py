"""Changes of ranks, verdicts and bands between two publications are found by ids."""

from collections.abc import Callable, Sequence
from pathlib import Path

import duckdb
import pytest

from acl_assets.settings import Settings
from acl_assets.warehouse import publication
from acl_assets.warehouse.build_file import BuildRecord

Band = tuple[int, str, int, str]
"""A band at the top venue: its id, name, rank and verdict there. The first two ranks are top bands."""

GONE: Band = (5, "Gone", 9, "reserve")
BEFORE: list[Band] = [(1, "NULL", 1, "must invite"), (2, "Ox", 2, "reserve"), (3, "Elk", 3, "possible"), GONE]
AFTER: list[Band] = [(2, "Ox", 1, "safe to invite"), (1, "NULL", 3, "near-equals"), (3, "Elks", 4, "reserve")]
NEW: Band = (4, "!!!", 2, "reserve")
CHANGES = [
    ("venue rank", "Venue 1", None, "2", "1"),
    ("venue rank", "Venue 2", None, "1", "2"),
    ("venue verdict", "Venue 1", None, "must invite here", "safe to invite here"),
    ("band rank", "Venue 1", "Ox", "2", "1"),
    ("band rank", "Venue 1", "!!!", None, "2"),
    ("band rank", "Venue 1", "NULL", "1", "3"),
    ("band verdict", "Venue 1", "!!!", None, "reserve"),
    ("band verdict", "Venue 1", "NULL", "must invite", "near-equals"),
    ("band verdict", "Venue 1", "Ox", "reserve", "safe to invite"),
    ("new band", None, "!!!", None, "new"),
]


def warehouse(file: Path, batch_id: str, bands: Sequence[Band], *, top_venue: int) -> None:
    """Write two venues and the bands of the first one, of a state that is named as its batch."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with duckdb.connect(str(file)) as connection:
        connection.execute(
            f"""
            create schema star_schema; create schema data_products; create schema publication;
            create table star_schema.dim_bands (band_id int, band_name varchar);
            create table data_products.ticket_sales_by_venue as
            select venue_id, 'Venue ' || venue_id as venue_name, if(venue_id = {top_venue}, 1, 2) as venue_rank
            from (values (1), (2), (2)) as festivals (venue_id);
            create table data_products.venue_verdicts as
            select 1 as venue_id, 'Venue 1' as venue_name, '{bands[0][3]} here' as verdict;
            create table data_products.band_sales_by_venue (
                band_id int, band_name varchar, rank_in_venue int, verdict varchar, is_top_band boolean,
                venue_id int default 1, venue_name varchar default 'Venue 1', is_top_venue boolean default true
            );
            create table publication.export_batches as
            select '{batch_id}' as batch_id, timestamp '2022-08-01' as exported_at;
            create table publication.publications as select '{batch_id}' as state_digest;
            """
        )
        for band_id, name, rank, verdict in bands:
            connection.execute("insert into star_schema.dim_bands values (?, ?)", [band_id, name])
            connection.execute(
                "insert into data_products.band_sales_by_venue by name "
                "select ? as band_id, ? as band_name, ? as rank_in_venue, ? as verdict, ? as is_top_band",
                [band_id, name, rank, verdict, rank <= 2],
            )


def write_changes(settings: Settings, published_state: str = "first") -> str | None:
    record = BuildRecord(run_id="run", published_state=published_state, complete=True, state="second")
    with duckdb.connect(str(settings.build_file)) as connection:
        return publication.write_changes(connection, settings, record)


def changes(settings: Settings) -> list[tuple[str | None, ...]]:
    with duckdb.connect(str(settings.build_file), read_only=True) as connection:
        return connection.execute("from publication.changes").fetchall()


@pytest.fixture
def built(settings: Settings) -> Settings:
    """An installation that published the batch `first` and has built `second`."""
    warehouse(settings.published_file, "first", BEFORE, top_venue=2)
    warehouse(settings.build_file, "second", [*AFTER, NEW], top_venue=1)
    return settings


def test_changes_are_those_that_people_look_at(built: Settings) -> None:
    """A corrected name is no change. Nor is listed what happened among bands below the top."""
    assert write_changes(built) == "first"
    assert changes(built) == CHANGES


def test_state_that_is_published_again_keeps_its_changes_unless_there_are_new_ones(built: Settings) -> None:
    """A reader still finds what the batch brought. Other rules, such as more top bands, are news of their own."""
    publish(built, write_changes(built))
    warehouse(built.build_file, "second", [*AFTER, NEW], top_venue=1)
    assert write_changes(built, "second") == "first"
    assert changes(built) == CHANGES
    publish(built, "first")
    warehouse(built.build_file, "second", [*AFTER, NEW], top_venue=2)
    assert write_changes(built, "second") == "second"
    assert [change for change, *_ in changes(built)] == ["venue rank", "venue rank"]


def publish(settings: Settings, changes_since: str | None) -> None:
    with duckdb.connect(str(settings.build_file)) as connection:
        connection.execute("create table publication.summary as select ? as changes_since", [changes_since])
    settings.build_file.replace(settings.published_file)


def without_verdicts(file: Path) -> None:
    with duckdb.connect(str(file)) as connection:
        connection.execute("drop table data_products.venue_verdicts")


@pytest.mark.parametrize("make_unusable", [Path.unlink, without_verdicts], ids=["missing", "of another version"])
def test_nothing_is_compared_with_a_published_file_that_cannot_be_read(
    built: Settings, make_unusable: Callable[[Path], object]
) -> None:
    make_unusable(built.published_file)
    assert write_changes(built) is None
    assert changes(built) == []
