"""Simulate twenty years of ticket sales with the shape of the real festival, as a stream of Arrow tables.

At scale 1 there are 3,590,408 tickets over the festivals of 2002-2019 and 2021, exact for each year, about 1,900
performances, 2.1 million purchases and 170,000 people; a festival of 2022 is on sale and comes on top. Scale
multiplies tickets, purchases and people. Above 1 there are more performances and bands, since a stage holds no more
people; below 1 there are fewer and emptier ones, so that the story of `lineup` stays visible in a few thousand tickets.

The same seed and scale give the same rows. A later `exported_at` gives the same rows and the sales made since.
"""

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from acl_assets.simulator.lineup import (
    SCENARIOS,
    STAGES,
    TICKETS_BY_FESTIVAL,
    Floats,
    Integers,
    festival_days,
    local_time,
    plan_lineup,
)
from acl_assets.simulator.names import invent_people_names
from acl_assets.source_schema import SOURCE_TABLES, arrow_schema

DEFAULT_EXPORTED_AT = datetime(2022, 8, 1, 6, tzinfo=UTC)
ARROW_SCHEMAS: dict[str, pa.Schema] = {name: arrow_schema(table) for name, table in SOURCE_TABLES.items()}

_TICKETS_IN_A_PURCHASE = np.repeat(np.array([1, 2, 3, 4], dtype=np.int64), [50, 35, 9, 6])
_MIXED_BASKETS = 0.15
_PRICE_STEPS = np.array([-5, 0, 0, 5])
# In festival time.
_SALES_BY_HOUR = np.array(
    [
        *(2.2, 1.2, 0.6, 0.3, 0.2, 0.3, 0.8, 1.8, 3.0, 4.2, 6.0, 6.2),
        *(6.4, 5.8, 5.2, 5.0, 5.2, 5.6, 6.2, 7.0, 7.6, 7.2, 5.6, 3.8),
    ]
)
# Tickets in one slice of a sale, which bounds the memory at every scale.
_SLICE_TICKETS = 1 << 18

# Every purpose has random numbers of its own, so that a later export has the rows of an earlier one.
_LINEUP_STREAM, _BAND_STREAM, _PEOPLE_STREAM, _SEASON_STREAM, _SALE_STREAM = range(5)

_GAP_EVERY = {"venues": 100, "bands": 211, "performances": 97, "people": 997, "purchases": 487, "tickets": 1_511}


class TicketingHistory:
    """The content of the ticketing database at one instant, as a stream of Arrow tables.

    Sales made and festivals announced before `exported_at` are in.

    Raises:
        ValueError: the scale cannot be simulated, or the instant has no offset or precedes the first line-up.
    """

    def __init__(
        self,
        scale: float = 1.0,
        seed: int = 20,
        exported_at: datetime = DEFAULT_EXPORTED_AT,
        scenario: str = "story",
    ) -> None:
        if not 0.001 <= scale <= 500:
            raise ValueError(f"scale is {scale}; it must lie between 0.001 and 500 (ids are 32-bit numbers)")
        if seed < 0:
            raise ValueError(f"seed is {seed}; it must not be negative")
        if exported_at.tzinfo is None:
            raise ValueError(f"exported_at is {exported_at.isoformat()}, without an offset from UTC")
        self.scale = scale
        self.seed = seed
        self.exported_at = exported_at.astimezone(UTC)
        self._now = exported_at.timestamp()
        # A line-up is in the database from the first of March on.
        self._years = [year for year in TICKETS_BY_FESTIVAL if datetime(year, 3, 1, 18, tzinfo=UTC) < exported_at]
        if not self._years:
            raise ValueError(f"exported_at is {exported_at.isoformat()}, before the first line-up was known")
        self._lineup, self._band_names = plan_lineup(scale, _stream(seed, _LINEUP_STREAM), SCENARIOS[scenario])
        self._people = _people_by_festival(scale)

    @property
    def expected_tickets(self) -> int:
        """About how many tickets the stream will hold; exact when no festival is on sale."""
        tickets = (self._lineup.tickets[self._lineup.of_festival(each)].sum() for each in range(len(self._years)))
        shares = (np.interp(self._now, *_season(self.seed, year)) for year in self._years)
        return round(sum(float(share * total) for share, total in zip(shares, tickets, strict=True)))

    def stream(self) -> Iterator[tuple[str, pa.Table]]:
        """Give the rows of all six tables as (table name, rows), each row after those it refers to.

        Each table has the columns and types of the source. Ids ascend within a table. People come festival by
        festival, purchases and tickets in pieces of bounded size, the other tables whole.
        """
        lineup, announced = self._lineup, slice(0, self._lineup.of_festival(len(self._years) - 1).stop)
        generator = _stream(self.seed, _BAND_STREAM)
        fees = np.round(np.exp(generator.normal(1.2, 1.1, len(self._band_names))) * 4).astype(np.int32) * 250
        yield _table("bands", np.arange(len(fees)), self._band_names, fees)
        names, capacities = [stage.name for stage in STAGES], [stage.capacity for stage in STAGES]
        yield _table("venues", np.arange(len(STAGES)), names, capacities)
        start, band, stage = (column[announced] for column in (lineup.start, lineup.band, lineup.stage))
        yield _table("performances", np.arange(len(start)), start * 1_000_000, _ids("bands", band), stage + 1)
        people = purchases = tickets = 0
        for festival, year in enumerate(self._years):
            new_people = np.arange(people, self._people[festival])
            names = invent_people_names(_stream(self.seed, _PEOPLE_STREAM, year), len(new_people))
            yield _table("people", new_people, names)
            people += len(new_people)
            for purchased_at, person, purchase, performance, price in self._sales(festival, year):
                orders = purchases + np.arange(len(purchased_at))
                yield _table("purchases", orders, purchased_at * 1_000_000, _ids("people", person))
                places = tickets + np.arange(len(price))
                bought_in, numbers = _ids("purchases", orders[purchase]), ticket_numbers(_ids("tickets", places))
                yield _table("tickets", places, price, _ids("performances", performance), bought_in, numbers)
                purchases += len(orders)
                tickets += len(places)

    def _sales(self, festival: int, year: int) -> Iterator[tuple[Integers, ...]]:
        """Give the sale of one festival slice by slice, in order of time, up to the instant of the export.

        Each slice sells every performance the same share of its tickets, and covers the part of the season in
        which that share of all tickets is sold. Of its purchases it has time (seconds since the epoch) and person, of
        its tickets the place of the purchase, the performance and the price.
        """
        place = self._lineup.of_festival(festival)
        tickets = self._lineup.tickets[place]
        hours, share_sold = _season(self.seed, year)
        slices = max(1, -(-int(tickets.sum()) // _SLICE_TICKETS))
        rounding = _stream(self.seed, _SALE_STREAM, year).random(len(tickets))
        for number in range(slices):
            begin, end = number / slices, (number + 1) / slices
            if np.interp(self._now, hours, share_sold) <= begin:
                return
            on_offer = np.floor(tickets * end + rounding) - np.floor(tickets * begin + rounding)
            generator = _stream(self.seed, _SALE_STREAM, year, number)
            performance = np.repeat(np.arange(place.start, place.stop), on_offer.astype(np.int64))
            purchase = _fill_baskets(generator, performance)
            shares = begin + np.sort(generator.random(int(purchase[-1]) + 1)) * (end - begin)
            price = self._lineup.base_price[performance] + generator.choice(_PRICE_STEPS, len(performance))
            person = (generator.random(len(shares)) ** 1.25 * self._people[festival]).astype(np.int64)
            purchased_at = np.interp(shares, share_sold, hours).astype(np.int64)
            made = int(np.searchsorted(purchased_at, self._now))
            sold = int(np.searchsorted(purchase, made))
            yield purchased_at[:made], person[:made], purchase[:sold], performance[:sold], price[:sold]


def _season(seed: int, year: int) -> tuple[Floats, Floats]:
    """Return the hours of a festival's sale, in seconds since the epoch, and the share sold by each (0-1).

    The sale lasts from a morning in spring to the hour before the gates open. Buyers rush in when it opens and again
    before the festival; weekends and evenings sell best. All of it is in daylight saving time, so days have 24 hours.
    """
    generator = _stream(seed, _SEASON_STREAM, year)
    opening = local_time(date(year, 4, 20) + timedelta(days=int(generator.integers(0, 20))), time(10))
    closing = local_time(festival_days(year)[0], time(11))
    hours = np.arange(round((closing - opening).total_seconds() / 3600))
    days = (hours + opening.hour) // 24
    rush = 1 + 9 * np.exp(-hours / 48) + 3 * np.exp((hours - len(hours)) / 220)
    weekday = (opening.weekday() + days) % 7
    mood = np.exp(generator.normal(0, 0.15, days[-1] + 1))[days] * np.where(weekday >= 4, 1.25, 1.0)
    weights = rush * mood * _SALES_BY_HOUR[(hours + opening.hour) % 24]
    sold = np.concatenate([[0.0], np.cumsum(weights)]) / weights.sum()
    return opening.timestamp() + 3600 * np.arange(len(sold), dtype=np.float64), sold


def _fill_baskets(generator: np.random.Generator, performance: Integers) -> Integers:
    """Put tickets, given as their performances, into purchases; reorders `performance` by purchase, in place.

    Gives the place of each ticket's purchase. Most purchases hold tickets to one performance.
    """
    tickets = len(performance)
    ends = np.cumsum(generator.choice(_TICKETS_IN_A_PURCHASE, tickets))
    ends = ends[: int(np.searchsorted(ends, tickets)) + 1]
    ends[-1] = tickets
    sizes = np.diff(ends, prepend=0)
    turn = generator.permutation(len(sizes))
    first_of_turn = np.cumsum(sizes[turn]) - sizes[turn]
    source = np.arange(tickets) + np.repeat((ends - sizes)[turn] - first_of_turn, sizes[turn])
    performance[:] = performance[source]
    swapped = np.flatnonzero(generator.random(tickets) < _MIXED_BASKETS)
    performance[swapped] = performance[generator.permutation(swapped)]
    return np.repeat(np.arange(len(sizes)), sizes[turn])


def _people_by_festival(scale: float) -> list[int]:
    """Return the number of people with an account when the sale of each festival opens."""
    share = np.cumsum(list(TICKETS_BY_FESTIVAL.values())) / sum(TICKETS_BY_FESTIVAL.values())
    return [max(20, round(count)) for count in (scale * 170_000 * share**0.7).tolist()]


def _stream(seed: int, *key: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64DXSM(np.random.SeedSequence(seed, spawn_key=key)))


def _table(name: str, places: Integers, *columns: object) -> tuple[str, pa.Table]:
    """Return rows with their table's name, given the places of the rows in the table and the columns after the id.

    Optional columns at the end that are not given are null.
    """
    given = [_ids(name, places), *columns]
    absent = [pa.nulls(len(places)) for column in SOURCE_TABLES[name].columns[len(given) :] if column.is_optional]
    arrays = [
        (column if isinstance(column, pa.Array) else pa.array(column)).cast(field.type)
        for column, field in zip([*given, *absent], ARROW_SCHEMAS[name], strict=True)
    ]
    return name, pa.Table.from_arrays(arrays, schema=ARROW_SCHEMAS[name])


def _ids(table: str, places: Integers) -> Integers:
    """Return ids of rows by their place in the table; a sequence loses a number when a transaction rolls back."""
    return places + places // _GAP_EVERY[table] + 1


def ticket_numbers(ids: Integers) -> pa.StringArray:
    """Return numbers that look random, and differ because the multiplier is coprime to 10^14."""
    numbers = ids.astype(np.uint64) * np.uint64(7_574_892_183) % np.uint64(10**14)
    return pc.binary_join_element_wise("TT", pc.utf8_lpad(pa.array(numbers).cast(pa.string()), 14, "0"), "")
