"""The simulated sales have the published shape and tell the same story at every scale and seed."""

from collections import defaultdict
from datetime import UTC, datetime
from itertools import islice

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from acl_assets.simulator.names import HARD_BAND_NAMES
from acl_assets.simulator.sales import TicketingHistory
from acl_assets.source_schema import SOURCE_TABLES, arrow_schema

pytestmark = pytest.mark.slow

PUBLISHED_TICKETS = dict(
    zip(
        [*range(2002, 2020), 2021],
        [
            *(72_635, 139_874, 130_275, 76_656, 109_206, 113_309, 141_224, 141_126, 139_352, 139_715),
            *(115_402, 222_901, 272_240, 320_278, 312_752, 276_075, 269_340, 315_593, 282_455),
        ],
        strict=True,
    )
)
PUBLISHED_REVENUE = 89_152_630
STAR_STAGE, NEAR_EQUALS_STAGE, THIRD_STAGE = "The Long Meadow", "Lantern Lawn, North Side", "Riverbend"


def tables_of(history: TicketingHistory) -> dict[str, pa.Table]:
    pieces = defaultdict(list)
    for name, rows in history.stream():
        pieces[name].append(rows)
    return {name: pa.concat_tables(rows) for name, rows in pieces.items()}


class Festival:
    """The rows of a history, and what they add up to for each performance."""

    def __init__(self, history: TicketingHistory) -> None:
        self.tables = tables_of(history)
        self.exported_at = history.exported_at
        rows = {name: self.tables[name].to_pandas() for name in ("bands", "venues", "performances")}
        tickets = self.tables["tickets"].select(["performance_id", "price"]).to_pandas()
        sold = tickets.groupby("performance_id")["price"].agg(tickets="size", revenue="sum")
        performances = (
            rows["performances"]
            .join(sold, on="id")
            .fillna({"tickets": 0, "revenue": 0})
            .merge(rows["bands"].rename(columns={"id": "band_id", "name": "band"}), on="band_id")
            .merge(rows["venues"].rename(columns={"id": "venue_id", "name": "venue"}), on="venue_id")
        )
        local_start = performances["performance_start"].dt.tz_convert("America/Chicago")
        performances["year"] = local_start.dt.year
        performances["hour"] = local_start.dt.hour
        performances["is_completed"] = performances["performance_start"] < pd.Timestamp(history.exported_at)
        self.performances = performances
        self.completed = performances[performances["is_completed"]]

    def bands_at(self, venue: str) -> pd.DataFrame:
        """Bands of one venue by average tickets per performance, the best first."""
        at_venue = self.completed[self.completed["venue"] == venue]
        bands = at_venue.groupby("band")["tickets"].agg(average="mean", total="sum")
        return bands.sort_values("average", ascending=False)


def gaps(averages: pd.Series) -> list[float]:
    """By which share each average is below the one before."""
    return (1 - averages / averages.shift()).iloc[1:].tolist()


def test_shape_at_scale_one_is_the_published_one():
    festival = Festival(TicketingHistory(scale=1))
    completed = festival.completed
    assert completed.groupby("year")["tickets"].sum().astype(int).to_dict() == PUBLISHED_TICKETS
    assert completed["tickets"].sum() == 3_590_408
    assert completed["revenue"].sum() == pytest.approx(PUBLISHED_REVENUE, rel=0.002)
    assert sorted(pc.unique(festival.tables["tickets"]["price"]).to_pylist()) == [10, 15, 20, 25, 30, 35, 40]
    purchases = festival.tables["purchases"]["purchase_date"]
    before_2022 = pc.sum(pc.less(purchases, pa.scalar(datetime(2022, 1, 1, tzinfo=UTC), purchases.type)))
    assert before_2022.as_py() == pytest.approx(2_100_000, rel=0.01)
    assert festival.tables["people"].num_rows == 170_000
    assert len(completed) == pytest.approx(1_900, rel=0.02)
    assert (festival.tables["bands"].num_rows, festival.performances["band_id"].nunique()) == (1_421, 1_417)
    venues = festival.tables["venues"].to_pandas()
    idle = venues[~venues["id"].isin(festival.performances["venue_id"])]
    assert (len(venues), sorted(idle["capacity"])) == (11, [500, 600])
    appearances = completed["band"].value_counts()
    assert (appearances.iloc[0], appearances.iloc[1] < 15, (appearances == 1).mean() > 0.5) == (20, True, True)
    assert 2_700 < festival.performances["tickets"].max() < 2_850
    for who in ("band_id", "venue_id"):
        assert not festival.performances.duplicated([who, "performance_start"]).any()


@pytest.fixture(
    scope="module",
    params=[(0.001, 7), (0.03, 1)],
    ids=lambda parameters: "scale {} seed {}".format(*parameters),
)
def small(request: pytest.FixtureRequest) -> Festival:
    scale, seed = request.param
    return Festival(TicketingHistory(scale, seed))


class TestRows:
    def test_tables_have_the_columns_and_types_of_the_source_and_ascending_ids_with_gaps(self, small: Festival):
        assert {name: rows.schema for name, rows in small.tables.items()} == {
            name: arrow_schema(table) for name, table in SOURCE_TABLES.items()
        }
        assert all(column.null_count == 0 for rows in small.tables.values() for column in rows.columns)
        for rows in small.tables.values():
            ids = rows["id"].to_pandas()
            assert ids.is_monotonic_increasing
            assert ids.is_unique
        purchases = small.tables["purchases"]
        assert pc.max(purchases["id"]).as_py() > purchases.num_rows

    def test_referenced_rows_come_first(self):
        """The stream is loaded into a database."""
        known = defaultdict(set)
        references = {
            "performances": {"band_id": "bands", "venue_id": "venues"},
            "purchases": {"person_id": "people"},
            "tickets": {"performance_id": "performances", "purchase_id": "purchases"},
        }
        for name, rows in TicketingHistory(0.001).stream():
            known[name] |= set(rows["id"].to_pylist())
            for column, target in references.get(name, {}).items():
                assert set(rows[column].to_pylist()) <= known[target]

    def test_tickets_are_numbered_uniquely_and_bought_by_one_to_four(self, small: Festival):
        tickets = small.tables["tickets"]
        assert pc.count_distinct(tickets["ticketnum"]).as_py() == len(tickets)
        assert pc.all(pc.match_substring_regex(tickets["ticketnum"], "^TT[0-9]{14}$")).as_py()
        sizes = tickets["purchase_id"].value_counts()
        assert len(sizes) == small.tables["purchases"].num_rows
        assert {size["counts"].as_py() for size in sizes} == {1, 2, 3, 4}

    def test_everyone_buys_before_the_show_and_before_the_export(self, small: Festival):
        tickets = small.tables["tickets"].select(["performance_id", "purchase_id"]).to_pandas()
        purchases = small.tables["purchases"].to_pandas().set_index("id")["purchase_date"]
        starts = small.performances.set_index("id")["performance_start"]
        bought_at = tickets["purchase_id"].map(purchases)
        assert (bought_at < tickets["performance_id"].map(starts)).all()
        assert bought_at.max() < pd.Timestamp(small.exported_at)
        assert (small.performances["tickets"] <= small.performances["capacity"]).all()
        assert small.performances["hour"].between(12, 21).all()

    def test_hard_names_are_there(self, small: Festival):
        names = small.tables["bands"]["name"].to_pylist()
        assert {"NULL", "'68", "!!!"} < set(HARD_BAND_NAMES) <= set(names)
        assert len(set(names)) == len(names)


def test_story_is_visible_at_every_scale_and_seed(small: Festival):
    totals = small.completed.groupby("venue")["tickets"].sum().sort_values(ascending=False)
    assert totals.index[:3].tolist() == [STAR_STAGE, NEAR_EQUALS_STAGE, THIRD_STAGE]
    assert totals.iloc[3] < 0.75 * totals.iloc[2]
    star = small.bands_at(STAR_STAGE)
    assert gaps(star["average"])[0] > 0.10, "one band must be invited"
    faithful = star["total"].idxmax()
    assert star.loc[faithful, "average"] < star["average"].iloc[0] * 0.65, "most tickets come of many shows"
    assert faithful not in star.index[:8]
    first_gaps = gaps(small.bands_at(NEAR_EQUALS_STAGE)["average"])[:4]
    assert max(first_gaps[:3]) < 0.10 < first_gaps[3], "four bands are near-equals"
    assert max(gaps(small.bands_at(THIRD_STAGE)["average"])[:3]) < 0.10, "nobody stands out"
    assert 0.1 < (small.completed.groupby("band")["year"].nunique() > 1).mean() < 0.5
    assert (small.completed["tickets"] == 0).any()


def test_festival_on_sale_would_hide_the_band_to_invite_if_it_were_averaged_in(small: Festival):
    on_sale = small.performances[~small.performances["is_completed"]]
    assert set(on_sale["year"]) == {2022}
    assert 0.2 < on_sale["tickets"].sum() / small.completed.query("year == 2021")["tickets"].sum() < 0.8
    best = small.bands_at(STAR_STAGE).iloc[0]
    sold = on_sale.loc[(on_sale["band"] == best.name) & (on_sale["venue"] == STAR_STAGE), "tickets"]
    assert 0 < sold.sum() < 0.8 * best["average"]


class TestHistory:
    def test_rows_depend_on_the_seed_alone(self):
        """How far a stream is read changes nothing: every piece has random numbers of its own."""
        history = TicketingHistory(0.005, seed=3)
        list(islice(history.stream(), 7))
        one, other = tables_of(history), tables_of(TicketingHistory(0.005, seed=4))
        assert one == tables_of(TicketingHistory(0.005, seed=3))
        assert all(one[name] != other[name] for name in ("bands", "performances", "people", "purchases", "tickets"))

    def test_a_later_export_holds_the_earlier_one(self):
        earlier = tables_of(TicketingHistory(0.005))
        later = tables_of(TicketingHistory(0.005, exported_at=datetime(2022, 9, 1, tzinfo=UTC)))
        assert later["tickets"].num_rows > earlier["tickets"].num_rows
        assert {name: rows.slice(0, earlier[name].num_rows) for name, rows in later.items()} == earlier

    @pytest.mark.parametrize(("year", "month", "tickets_sold"), [(2023, 1, 2_900), (2012, 7, None)])
    def test_festival_is_on_sale_until_it_has_taken_place(self, year: int, month: int, tickets_sold: int | None):
        history = TicketingHistory(0.01, exported_at=datetime(year, month, 1, tzinfo=UTC))
        festival = Festival(history)
        last = festival.performances[festival.performances["year"] == festival.performances["year"].max()]
        assert history.expected_tickets == pytest.approx(festival.tables["tickets"].num_rows, rel=0.01)
        if tickets_sold is None:
            assert not last["is_completed"].any()
            assert (last["year"].iloc[0], 0 < last["tickets"].sum() < 1_154) == (2012, True)
        else:
            assert last["is_completed"].all()
            assert last["tickets"].sum() == tickets_sold

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"scale": 0.0009}, r"must lie between 0\.001 and 500"),
            ({"seed": -1}, "seed is -1"),
            ({"scenario": "rain"}, "scenario is 'rain'; it must be one of story, no-standout"),
            ({"exported_at": datetime(2022, 8, 1)}, "without an offset"),
            ({"exported_at": datetime(2001, 8, 1, tzinfo=UTC)}, "before the first line-up"),
        ],
    )
    def test_impossible_history_is_refused(self, arguments: dict[str, object], message: str):
        with pytest.raises(ValueError, match=message):
            TicketingHistory(**{"scale": 0.001, **arguments})
