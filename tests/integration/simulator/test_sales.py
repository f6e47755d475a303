"""The simulated sales have the published shape and tell the same story at every scale and seed."""

from collections import defaultdict
from datetime import UTC, datetime
from itertools import islice, pairwise

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from acl_assets.simulator.names import HARD_BAND_NAMES
from acl_assets.simulator.sales import TicketingHistory
from acl_assets.source_schema import SOURCE_TABLES, arrow_schema

pytestmark = pytest.mark.slow

PUBLISHED_TICKETS = [
    *(72_635, 139_874, 130_275, 76_656, 109_206, 113_309, 141_224, 141_126, 139_352, 139_715),
    *(115_402, 222_901, 272_240, 320_278, 312_752, 276_075, 269_340, 315_593, 282_455),
]
"""Tickets of the festivals of 2002-2019 and 2021."""
TOP_STAGES = ["The Long Meadow", "Lantern Lawn, North Side", "Riverbend"]

SHOWS = """
    create view shows as
    select
        performances.*,
        venues.name as venue,
        capacity,
        bands.name as band,
        performance_start at time zone 'America/Chicago' as local_start,
        year(local_start) as year,
        performance_start < getvariable('exported_at') as is_completed,
        coalesce(sold, 0) as sold,
        coalesce(revenue, 0) as revenue
    from performances
    inner join bands on performances.band_id = bands.id
    inner join venues on performances.venue_id = venues.id
    left join (
        select performance_id, count(*) as sold, sum(price) as revenue from tickets group by all
    ) as sales on performances.id = sales.performance_id
"""


def tables_of(history: TicketingHistory) -> dict[str, pa.Table]:
    pieces = defaultdict(list)
    for name, rows in history.stream():
        pieces[name].append(rows)
    return {name: pa.concat_tables(rows) for name, rows in pieces.items()}


class Festival:
    """The rows of a history, which can be asked for in SQL together with a view of all shows."""

    def __init__(self, history: TicketingHistory) -> None:
        self.tables = tables_of(history)
        self._connection = duckdb.connect()
        self._connection.execute("set timezone = 'UTC'")
        self._connection.execute("set variable exported_at = $1::timestamptz", [history.exported_at])
        for name, rows in self.tables.items():
            self._connection.register(name, rows)
        self._connection.execute(SHOWS)

    def rows(self, query: str) -> list[tuple[object, ...]]:
        return self._connection.execute(query).fetchall()

    def values(self, query: str) -> list[object]:
        return [value for (value,) in self.rows(query)]

    def bands_at(self, venue: str) -> list[tuple[str, float, int]]:
        """Bands of one venue with average and total tickets, the best average first."""
        shows = f"from shows where is_completed and venue = '{venue}'"
        return self.rows(f"select band, avg(sold), sum(sold) {shows} group by band order by avg(sold) desc")

    def gaps_at(self, venue: str) -> list[float]:
        """Return the share by which the average of each band at a venue is below the one before."""
        averages = [average for _, average, _ in self.bands_at(venue)]
        return [1 - lower / higher for higher, lower in pairwise(averages) if higher]


def test_shape_at_scale_one_is_the_published_one():
    festival = Festival(TicketingHistory(scale=1))
    completed = festival.values("select sum(sold)::int from shows where is_completed group by year order by year")
    assert (completed, sum(completed)) == (PUBLISHED_TICKETS, 3_590_408)
    ((revenue, shows, fullest),) = festival.rows(
        "select sum(revenue), count(*), max(sold)::int from shows where is_completed"
    )
    assert revenue == pytest.approx(89_152_630, rel=0.002)
    assert shows == pytest.approx(1_900, rel=0.02)
    assert 2_700 < fullest < 2_850
    assert festival.values("select distinct price from tickets order by price") == [10, 15, 20, 25, 30, 35, 40]
    purchases = festival.values("select count(*) from purchases where purchase_date < '2022-01-01'::timestamptz")
    assert purchases == [pytest.approx(2_100_000, rel=0.01)]
    assert festival.tables["people"].num_rows == 170_000
    assert festival.rows("select (select count(*) from bands), count(distinct band_id) from shows") == [(1_421, 1_417)]
    idle = "select capacity from venues where id not in (select venue_id from performances) order by capacity"
    assert (festival.tables["venues"].num_rows, festival.values(idle)) == (11, [500, 600])
    appearances = festival.values("select count(*) from shows where is_completed group by band order by count(*) desc")
    assert (appearances[0], appearances[1] < 15) == (20, True)
    assert appearances.count(1) > len(appearances) / 2
    for who in ("band_id", "venue_id"):
        assert not festival.rows(f"from shows select 1 group by {who}, performance_start having count(*) > 1")


@pytest.fixture(scope="module", params=[(0.001, 7), (0.03, 1)], ids=str)
def small(request: pytest.FixtureRequest) -> Festival:
    return Festival(TicketingHistory(*request.param))


def test_rows_are_plausible_and_have_the_types_of_the_source(small: Festival):
    assert set(small.tables) == {name for name, table in SOURCE_TABLES.items() if not table.is_optional}
    for name, rows in small.tables.items():
        assert rows.schema == arrow_schema(SOURCE_TABLES[name])
        filled = [column.name for column in SOURCE_TABLES[name].columns if not column.is_optional]
        assert all(column.null_count == 0 for column in rows.select(filled).columns)
        ids = rows["id"].to_pylist()
        assert ids == sorted(set(ids))
    assert pc.max(small.tables["purchases"]["id"]).as_py() > small.tables["purchases"].num_rows
    names = small.tables["bands"]["name"].to_pylist()
    assert {"NULL", "'68", "!!!"} < set(HARD_BAND_NAMES) <= set(names)
    assert len(set(names)) == len(names)
    for implausible in (
        "from tickets inner join purchases on purchase_id = purchases.id "
        "inner join performances on performance_id = performances.id "
        "where purchase_date >= least(performance_start, getvariable('exported_at'))",
        "from shows where sold > capacity or hour(local_start) not between 12 and 21",
        "select 1 from tickets group by ticketnum having count(*) > 1",
        "from tickets where not regexp_full_match(ticketnum, 'TT[0-9]{14}')",
        "from purchases where id not in (select purchase_id from tickets)",
    ):
        assert not small.rows(implausible)
    assert small.values("select distinct count(*) from tickets group by purchase_id order by 1") == [1, 2, 3, 4]


def test_story_is_visible_at_every_scale_and_seed(small: Festival):
    totals = small.rows(
        "select venue, sum(sold)::int from shows where is_completed group by venue order by sum(sold) desc"
    )
    assert [venue for venue, _ in totals[:3]] == TOP_STAGES
    assert totals[3][1] < 0.75 * totals[2][1]
    star, near_equals, third = TOP_STAGES
    assert small.gaps_at(star)[0] > 0.10, "one band must be invited"
    bands = small.bands_at(star)
    faithful = max(bands, key=lambda band: band[2])
    assert faithful[1] < bands[0][1] * 0.65, "the band with the most tickets has a modest average"
    assert faithful not in bands[:8]
    assert max(small.gaps_at(near_equals)[:3]) < 0.10 < small.gaps_at(near_equals)[3], "four bands are near-equals"
    assert max(small.gaps_at(third)[:3]) < 0.10, "nobody stands out"
    festivals = small.values("select count(distinct year) from shows where is_completed group by band")
    assert 0.1 < sum(count > 1 for count in festivals) / len(festivals) < 0.5
    assert small.rows("from shows where is_completed and sold = 0")

    # The festival on sale would hide the band to invite if it were averaged in.
    assert small.values("select distinct year from shows where not is_completed") == [2022]
    (sold_2021, on_sale) = small.values("select sum(sold) from shows where year >= 2021 group by year order by year")
    assert 0.2 < on_sale / sold_2021 < 0.8
    best, average, _ = bands[0]
    at_the_top_stage = f"venue = '{star}' and not is_completed"
    (sold,) = small.values(f"select sum(sold) from shows where {at_the_top_stage} and band = '{best}'")
    assert 0 < sold < 0.8 * average


def test_rows_depend_on_the_seed_and_a_later_export_adds_to_them():
    """Every piece of a stream has its own random numbers, so reading a part of it changes no row."""
    history = TicketingHistory(0.005, seed=3, exported_at=datetime(2012, 7, 1, tzinfo=UTC))
    list(islice(history.stream(), 7))
    earlier, other = tables_of(history), tables_of(TicketingHistory(0.005, seed=4, exported_at=history.exported_at))
    assert all(earlier[name] != other[name] for name in earlier.keys() - {"venues"})
    assert history.expected_tickets == pytest.approx(earlier["tickets"].num_rows, rel=0.02)
    later = tables_of(TicketingHistory(0.005, seed=3, exported_at=datetime(2012, 8, 1, tzinfo=UTC)))
    assert later["tickets"].num_rows > earlier["tickets"].num_rows
    assert {name: rows.slice(0, earlier[name].num_rows) for name, rows in later.items()} == earlier


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"scale": 0.0009}, r"must lie between 0\.001 and 500"),
        ({"exported_at": datetime(2022, 8, 1)}, "without an offset"),
        ({"exported_at": datetime(2001, 8, 1, tzinfo=UTC)}, "before the first line-up"),
    ],
)
def test_impossible_history_is_refused(arguments: dict[str, object], message: str):
    with pytest.raises(ValueError, match=message):
        TicketingHistory(**{"scale": 0.001, **arguments})
