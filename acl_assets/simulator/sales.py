"""Twenty years of synthetic ticket sales, with the shape of the real festival and a story to find in them.

What belongs here: who plays where, how many tickets each performance sells, and the stream of purchases and
tickets that adds up to it, as Arrow tables. What does not: files (`batch`), names (`names`), damage
(`defects`).

The shape at scale 1: 3,590,408 tickets over the 19 festivals of 2002-2019 and 2021, exact for each year,
about 1,900 performances, 2.1 million purchases and 170,000 people; a twentieth festival, 2022, is on sale
and comes on top. The story: three stages stand out by all-time tickets. On the first of them one band sells
far more per performance than any other; on the second, four bands are near-equals ahead of the rest; on the
third nobody stands out. A band that plays at every festival has the highest total of the first stage and a
modest average.

Scale multiplies tickets, purchases and people. Above 1 the festivals have more performances and bands, since
a stage holds no more people than it does. Below 1 they have fewer (scale ** 0.4) and emptier ones (scale **
0.6), so that the story stays visible in a few thousand tickets. Festivals and stages are the same at every
scale.

Every random number comes from a stream of its own, keyed by seed, purpose, festival and slice of the sale:
the same seed and scale give the same rows, whatever is read first and wherever the rows go. A later
`exported_at` gives the same rows and the sales made since.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from acl_assets.simulator.names import HARD_BAND_NAMES, invent_band_names, invent_people_names
from acl_assets.source_schema import SOURCE_TABLES, arrow_schema

Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

DEFAULT_EXPORTED_AT = datetime(2022, 8, 1, 6, tzinfo=UTC)

TICKETS_BY_FESTIVAL = {
    2002: 72_635,
    2003: 139_874,
    2004: 130_275,
    2005: 76_656,
    2006: 109_206,
    2007: 113_309,
    2008: 141_224,
    2009: 141_126,
    2010: 139_352,
    2011: 139_715,
    2012: 115_402,
    2013: 222_901,
    2014: 272_240,
    2015: 320_278,
    2016: 312_752,
    2017: 276_075,
    2018: 269_340,
    2019: 315_593,
    2021: 282_455,
    2022: 290_000,
}
"""Tickets of each festival at scale 1 once its sale has closed; 2022 is assumed, the others are real."""

LAST_PUBLISHED_FESTIVAL = 2021
FIRST_TWO_WEEKEND_FESTIVAL = 2013


@dataclass(frozen=True)
class Stage:
    """A venue: its share of all performances (0-1) and the fill rate (0-1) an ordinary band stays below."""

    name: str
    capacity: int
    share: float = 0.0
    ceiling: float = 0.0


STAGES = (
    Stage("Pecan Row", 2_500, share=0.085, ceiling=1.0),
    Stage("The Long Meadow", 3_000, share=0.19, ceiling=0.86),
    Stage("Rain Tent", 600),
    Stage('"Back Porch" Stage', 2_400, share=0.075, ceiling=1.0),
    Stage("Limestone Hall", 2_600, share=0.10, ceiling=1.0),
    Stage("Riverbend", 2_800, share=0.145, ceiling=0.99),
    Stage("Carpa Peñasco", 2_500, share=0.085, ceiling=1.0),
    Stage("Greenroom Annex", 500),
    Stage("Lantern Lawn, North Side", 3_000, share=0.175, ceiling=0.86),
    Stage("Fiddler's Green", 2_200, share=0.065, ceiling=1.0),
    Stage("Old Depot", 2_700, share=0.08, ceiling=1.0),
)
MUST_INVITE_STAGE, NEAR_EQUALS_STAGE = 1, 8
QUIET_STAGES = (0, 3, 6, 9)

MUST_INVITE_BAND = "Marigold & the Paper Armadillos"
NEAR_EQUAL_BANDS = {
    "The Crooked Teakettles": 0.930,
    "Bonfire, Bonfire": 0.918,
    "Señora Relámpago": 0.906,
    "Dovecote Dispatch": 0.892,
}
"""The bands that share the lead of the second stage, and the fill rate (0-1) each of them reaches there."""
FAITHFUL_BAND = "The Tuesday Regulars"
_MUST_INVITE_FILL, _FAITHFUL_FILL = 0.922, 0.56
_STORY_BANDS = (MUST_INVITE_BAND, FAITHFUL_BAND, *NEAR_EQUAL_BANDS)
_MUST_INVITE, _FAITHFUL, _FIRST_NEAR_EQUAL = 0, 1, 2

_BANDS, _BANDS_THAT_NEVER_PLAYED, _MOST_ORDINARY_APPEARANCES = 1_421, 4, 9
_PEOPLE = 170_000
_MEAN_TICKETS_PER_PERFORMANCE = 1_890
_UNSOLD_PERFORMANCES = 2

TICKETS_IN_A_PURCHASE = np.repeat(np.array([1, 2, 3, 4], dtype=np.int64), [50, 35, 9, 6])
_MIXED_BASKETS = 0.15
_BASE_PRICES = np.repeat(np.array([15, 20, 25, 30, 35], dtype=np.int32), [170, 219, 252, 193, 166])
PRICE_STEPS = np.array([-5, 0, 0, 5], dtype=np.int32)
_SALES_BY_HOUR = np.array(
    [
        *(2.2, 1.2, 0.6, 0.3, 0.2, 0.3, 0.8, 1.8, 3.0, 4.2, 6.0, 6.2),
        *(6.4, 5.8, 5.2, 5.0, 5.2, 5.6, 6.2, 7.0, 7.6, 7.2, 5.6, 3.8),
    ]
)
"""How sales spread over the hours of a day, festival time."""

_SLICE_TICKETS = 1 << 18
"""About how many tickets one slice of a sale holds: what bounds the memory, whatever the scale."""

_LINEUP_STREAM, _BAND_STREAM, _PEOPLE_STREAM, _SEASON_STREAM, _SALE_STREAM = range(5)

ARROW_SCHEMAS: dict[str, pa.Schema] = {name: arrow_schema(table) for name, table in SOURCE_TABLES.items()}


@dataclass(frozen=True)
class Lineup:
    """All performances of all festivals, one element per performance, ordered by festival.

    `festival` indexes the festivals in order of year, `stage` indexes `STAGES`, `band` is a band's place in
    order of first performance; `start` is in seconds since the epoch; `tickets` is what the performance has sold
    once its sale has closed; `base_price` is in whole dollars.
    """

    festival: Integers
    stage: Integers
    band: Integers
    start: Integers
    tickets: Integers
    base_price: npt.NDArray[np.int32]

    def of_festival(self, festival: int) -> slice:
        """Where the performances of one festival stand."""
        first, end = np.searchsorted(self.festival, [festival, festival + 1])
        return slice(int(first), int(end))


class TicketingHistory:
    """What the ticketing database holds at one instant, as a stream of Arrow tables.

    Args:
        scale: 1 is the size of the real festival; 0.001 to 30 and beyond.
        seed: the same seed gives the same history.
        exported_at: the instant, with an offset; sales made and festivals announced before it are in.

    Raises:
        ValueError: the scale cannot be simulated, or the instant has no offset or precedes the first line-up.
    """

    def __init__(self, scale: float = 1.0, seed: int = 20, exported_at: datetime = DEFAULT_EXPORTED_AT) -> None:
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
        self._years = [year for year in TICKETS_BY_FESTIVAL if _announced_at(year) < self._now]
        if not self._years:
            raise ValueError(f"exported_at is {exported_at.isoformat()}, before the first line-up was known")
        self._lineup, self._band_names = _plan_lineup(scale, seed)
        self._people = _people_by_festival(scale)
        self._announced = self._lineup.of_festival(len(self._years) - 1).stop

    @property
    def expected_tickets(self) -> int:
        """About how many tickets the stream will hold; exact when no festival is on sale."""
        tickets = 0.0
        for festival, year in enumerate(self._years):
            sold = _Season.of(self.seed, year).share_sold(self._now)
            tickets += sold * int(self._lineup.tickets[self._lineup.of_festival(festival)].sum())
        return round(tickets)

    def stream(self) -> Iterator[tuple[str, pa.Table]]:
        """Give the rows of all six tables as (table name, rows), each row after those it refers to.

        Each table has the columns and types of the source. Ids ascend within a table. People come festival by
        festival, purchases and tickets in pieces of bounded size, the other tables whole.
        """
        yield "bands", self._bands()
        yield "venues", self._venues()
        yield "performances", self._performances()
        purchases = tickets = 0
        for festival, year in enumerate(self._years):
            yield "people", self._new_people(festival, year)
            for sale in self._sales(festival, year):
                yield "purchases", _purchases_table(sale, purchases)
                yield "tickets", _tickets_table(sale, purchases, tickets)
                purchases += len(sale.purchased_at)
                tickets += len(sale.price)

    def _bands(self) -> pa.Table:
        generator = _stream(self.seed, _BAND_STREAM)
        fees = np.round(np.exp(generator.normal(1.2, 1.1, len(self._band_names))) * 4).astype(np.int32) * 250
        played = int(self._lineup.band[: self._announced].max()) + 1
        never_played = len(self._band_names) - _BANDS_THAT_NEVER_PLAYED
        known = np.r_[0:played, never_played : len(self._band_names)]
        return _table("bands", _band_ids(known), [self._band_names[band] for band in known], fees[known])

    def _venues(self) -> pa.Table:
        return _table(
            "venues",
            np.arange(1, len(STAGES) + 1),
            [stage.name for stage in STAGES],
            [stage.capacity for stage in STAGES],
        )

    def _performances(self) -> pa.Table:
        announced = slice(0, self._announced)
        return _table(
            "performances",
            _performance_ids(np.arange(self._announced)),
            self._lineup.start[announced] * 1_000_000,
            _band_ids(self._lineup.band[announced]),
            self._lineup.stage[announced] + 1,
        )

    def _new_people(self, festival: int, year: int) -> pa.Table:
        first = self._people[festival - 1] if festival else 0
        people = np.arange(first, self._people[festival])
        names = invent_people_names(_stream(self.seed, _PEOPLE_STREAM, year), len(people))
        return _table("people", _person_ids(people), names)

    def _sales(self, festival: int, year: int) -> Iterator[_Sale]:
        """Give the sale of one festival slice by slice, in order of time, up to the instant of the export.

        Each slice sells every performance the same share of its tickets, and covers the part of the season in
        which that share of all tickets is sold.
        """
        place = self._lineup.of_festival(festival)
        tickets = self._lineup.tickets[place]
        season = _Season.of(self.seed, year)
        slices = max(1, -(-int(tickets.sum()) // _SLICE_TICKETS))
        rounding = _stream(self.seed, _SALE_STREAM, year).random(len(tickets))
        for number in range(slices):
            begin, end = number / slices, (number + 1) / slices
            if season.share_sold(self._now) <= begin:
                return
            on_offer = np.floor(tickets * end + rounding) - np.floor(tickets * begin + rounding)
            generator = _stream(self.seed, _SALE_STREAM, year, number)
            performance = np.repeat(np.arange(place.start, place.stop), on_offer.astype(np.int64))
            purchase = _fill_baskets(generator, performance)
            shares = begin + np.sort(generator.random(int(purchase[-1]) + 1)) * (end - begin)
            price = self._lineup.base_price[performance] + generator.choice(PRICE_STEPS, len(performance))
            yield _Sale(
                purchased_at=season.instants(shares),
                person=(generator.random(len(shares)) ** 1.25 * self._people[festival]).astype(np.int64),
                purchase=purchase,
                performance=performance,
                price=price,
            ).before(self._now)


@dataclass(frozen=True)
class _Sale:
    """Consecutive purchases in order of time, and their tickets in order of purchase.

    `purchased_at` is in seconds since the epoch; `purchase` is, for each ticket, the place of its purchase.
    """

    purchased_at: Integers
    person: Integers
    purchase: Integers
    performance: Integers
    price: npt.NDArray[np.int32]

    def before(self, instant: float) -> _Sale:
        """Keep what was bought before an instant, in seconds since the epoch."""
        purchases = int(np.searchsorted(self.purchased_at, instant))
        tickets = int(np.searchsorted(self.purchase, purchases))
        return _Sale(
            self.purchased_at[:purchases],
            self.person[:purchases],
            self.purchase[:tickets],
            self.performance[:tickets],
            self.price[:tickets],
        )


class _Season(NamedTuple):
    """The sale of one festival: hourly `times` (seconds since the epoch), the share `sold` by each (0-1)."""

    times: Floats
    sold: Floats

    @classmethod
    def of(cls, seed: int, year: int) -> _Season:
        """Lay out the sale from a morning in spring to the hour before the gates open.

        Buyers rush in when the sale opens and again before the festival; weekends and evenings sell best. The
        whole season lies in daylight saving time, so every day has 24 hours.
        """
        generator = _stream(seed, _SEASON_STREAM, year)
        opening = _local(date(year, 4, 20) + timedelta(days=int(generator.integers(0, 20))), time(10))
        closing = _local(_festival_days(year)[0], time(11))
        hours = np.arange(round((closing - opening).total_seconds() / 3600))
        days = (hours + opening.hour) // 24
        rush = 1 + 9 * np.exp(-hours / 48) + 3 * np.exp((hours - len(hours)) / 220)
        weekday = (opening.weekday() + days) % 7
        mood = np.exp(generator.normal(0, 0.15, days[-1] + 1))[days] * np.where(weekday >= 4, 1.25, 1.0)
        weights = rush * mood * _SALES_BY_HOUR[(hours + opening.hour) % 24]
        sold = np.concatenate([[0.0], np.cumsum(weights)]) / weights.sum()
        return cls(opening.timestamp() + 3600 * np.arange(len(sold), dtype=np.float64), sold)

    def share_sold(self, instant: float) -> float:
        return float(np.interp(instant, self.times, self.sold))

    def instants(self, shares: Floats) -> Integers:
        """When these shares of all tickets are sold, in whole seconds since the epoch."""
        return np.interp(shares, self.sold, self.times).astype(np.int64)


def _fill_baskets(generator: np.random.Generator, performance: Integers) -> Integers:
    """Put tickets, given as their performances, into purchases; reorders `performance` by purchase, in place.

    Gives the place of each ticket's purchase. Most purchases hold tickets to one performance.
    """
    tickets = len(performance)
    ends = np.cumsum(generator.choice(TICKETS_IN_A_PURCHASE, tickets))
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


def _purchases_table(sale: _Sale, purchases_before: int) -> pa.Table:
    ids = _purchase_ids(purchases_before + np.arange(len(sale.purchased_at)))
    return _table("purchases", ids, sale.purchased_at * 1_000_000, _person_ids(sale.person))


def _tickets_table(sale: _Sale, purchases_before: int, tickets_before: int) -> pa.Table:
    ids = _ticket_ids(tickets_before + np.arange(len(sale.price)))
    purchase_ids = _purchase_ids(purchases_before + sale.purchase)
    return _table("tickets", ids, sale.price, _performance_ids(sale.performance), purchase_ids, ticket_numbers(ids))


# The line-up ------------------------------------------------------------------------------------------------


def _plan_lineup(scale: float, seed: int) -> tuple[Lineup, list[str]]:
    """Plan every festival's performances; also gives the bands' names, those that never play last."""
    generator = _stream(seed, _LINEUP_STREAM)
    years = np.array(list(TICKETS_BY_FESTIVAL))
    tickets = np.array([round(scale * count) for count in TICKETS_BY_FESTIVAL.values()])
    emptiness = min(1.0, scale**0.6)
    mean_tickets = _MEAN_TICKETS_PER_PERFORMANCE * emptiness
    performances = np.maximum(1, np.round(tickets / mean_tickets)).astype(np.int64)
    while True:
        festival = np.repeat(np.arange(len(years)), performances)
        stage = _share_out_stages(len(festival))
        story = _cast_story(years[festival], performances[festival], stage, min(1.0, scale**0.4))
        capacity = np.array([each.capacity for each in STAGES])[stage]
        story_fill = _story_fill(story, generator)
        at_most = np.floor(np.where(story == _ORDINARY, _ceilings(stage), story_fill) * capacity * emptiness)
        crowded = np.bincount(festival, at_most * 0.82) < tickets
        if not crowded.any():
            break
        performances += crowded
    bands = round(_BANDS * max(scale, scale**0.4))
    most_appearances = max(2, round(_MOST_ORDINARY_APPEARANCES * min(1.0, scale**0.4)))
    band, quality, names = _book_bands(generator, story, bands, most_appearances)
    demand = 0.8 * quality + 0.6 * generator.normal(size=len(band))
    sold = _sell_out_to(tickets, festival, story, at_most, demand)
    start = _programme(years, festival, stage, sold)
    by_start = np.lexsort((start, festival))
    stratified = (generator.permutation(len(band)) + 0.5) / len(band)
    base_price = _BASE_PRICES[(stratified * len(_BASE_PRICES)).astype(np.int64)]
    lineup = Lineup(
        festival=festival[by_start],
        stage=stage[by_start],
        band=band[by_start],
        start=start[by_start],
        tickets=sold[by_start],
        base_price=base_price[by_start],
    )
    return _number_bands_by_first_performance(lineup, names)


_ORDINARY, _UNSOLD = -1, -2


def _share_out_stages(performances: int) -> Integers:
    """Give each performance a stage, each stage its share, evenly over the years."""
    shares = np.array([stage.share for stage in STAGES])
    hosts = np.flatnonzero(shares)
    turns = [(np.arange(round(performances * share) + 1) + 0.5) / share for share in shares[hosts]]
    order = np.argsort(np.concatenate(turns), kind="stable")
    return np.repeat(hosts, [len(turn) for turn in turns])[order][:performances]


def _cast_story(year: Integers, festival_size: Integers, stage: Integers, size: float) -> Integers:
    """Say which performances belong to a band of the story, `_UNSOLD` or `_ORDINARY`.

    Args:
        festival_size: performances of the same festival; the smallest have no room for a story.
        size: 0-1, how much of the story there is room for.
    """
    story = np.full(len(year), _ORDINARY)
    done = (year <= LAST_PUBLISHED_FESTIVAL) & (festival_size >= 5)
    recent = done & (year >= FIRST_TWO_WEEKEND_FESTIVAL)

    def cast(role: int, places: npt.NDArray[np.bool_], times: int) -> None:
        free = np.flatnonzero(places & (story == _ORDINARY))
        story[free[((np.arange(min(times, len(free))) + 0.5) / times * len(free)).astype(np.int64)]] = role

    cast(_MUST_INVITE, recent & (stage == MUST_INVITE_STAGE), max(2, round(6 * size)))
    cast(_MUST_INVITE, (year > LAST_PUBLISHED_FESTIVAL) & (stage == MUST_INVITE_STAGE), 1)
    for role in range(_FIRST_NEAR_EQUAL, len(_STORY_BANDS)):
        cast(role, recent & (stage == NEAR_EQUALS_STAGE), max(1, round(3 * size)))
    faithful = max(5, round(20 * size))
    elsewhere = faithful // 3
    cast(_FAITHFUL, done & (stage == MUST_INVITE_STAGE), faithful - elsewhere)
    cast(_FAITHFUL, done & np.isin(stage, QUIET_STAGES), elsewhere)
    cast(_UNSOLD, done & np.isin(stage, QUIET_STAGES), _UNSOLD_PERFORMANCES)
    return story


def _story_fill(story: Integers, generator: np.random.Generator) -> Floats:
    """How full (0-1) the performances of the story's bands are; 0 for all others."""
    by_role = np.array([_MUST_INVITE_FILL, _FAITHFUL_FILL, *NEAR_EQUAL_BANDS.values(), 0.0, 0.0])
    return by_role[story] * (1 + generator.uniform(-0.006, 0.006, len(story)))


def _ceilings(stage: Integers) -> Floats:
    return np.array([each.ceiling for each in STAGES])[stage]


def _book_bands(
    generator: np.random.Generator, story: Integers, bands: int, most_appearances: int
) -> tuple[Integers, Floats, list[str]]:
    """Book a band for every performance: gives the bands, the draw (standard normal) of each, and all names.

    Most bands play once, some come back, evenly spaced over the years.
    """
    open_places = np.flatnonzero(story < 0)
    ordinary = min(bands - len(_STORY_BANDS) - _BANDS_THAT_NEVER_PLAYED, len(open_places))
    appearances = np.ones(ordinary, dtype=np.int64)
    returning = generator.permutation(ordinary)[: ordinary // 4]
    popularity = generator.exponential(size=len(returning))
    while (missing := len(open_places) - int(appearances.sum())) > 0:
        weights = popularity * (appearances[returning] < most_appearances)
        if weights.any():
            more = generator.multinomial(missing, weights / weights.sum())
            appearances[returning] = np.minimum(appearances[returning] + more, most_appearances)
        else:
            most_appearances += 1
    band = np.repeat(np.arange(ordinary), appearances)
    nth = np.arange(len(band)) - np.repeat(np.cumsum(appearances) - appearances, appearances)
    phase = generator.random(ordinary)[band] + 0.3 * generator.random(len(band))
    turn = np.argsort((nth + phase) / appearances[band], kind="stable")

    booked = story.copy()
    booked[open_places] = band[turn] + len(_STORY_BANDS)
    names = invent_band_names(generator, ordinary + _BANDS_THAT_NEVER_PLAYED)
    hard = (np.arange(len(HARD_BAND_NAMES)) + 0.5) / len(HARD_BAND_NAMES) * ordinary
    for place, name in zip(hard.astype(np.int64), HARD_BAND_NAMES, strict=True):
        names[place] = name
    quality = generator.normal(size=len(_STORY_BANDS) + ordinary)[booked]
    return booked, quality, [*_STORY_BANDS, *names]


def _sell_out_to(tickets: Integers, festival: Integers, story: Integers, at_most: Floats, demand: Floats) -> Integers:
    """Sell exactly `tickets` at each festival: the story's bands what they always sell, the others by demand.

    `demand` is standard normal; poor demand weighs more than good demand, so that leads are narrow.
    """
    sold = np.where(story >= 0, at_most, 0).astype(np.int64)
    appeal = np.where(demand > 0, 0.3, 0.6) * demand
    for each, total in enumerate(tickets):
        ordinary = np.flatnonzero((festival == each) & (story == _ORDINARY))
        target = int(total) - int(sold[festival == each].sum())
        low, high = -30.0, 30.0
        for _ in range(60):
            middle = (low + high) / 2
            wanted = at_most[ordinary] / (1 + np.exp(-appeal[ordinary] - middle))
            low, high = (middle, high) if wanted.sum() <= target else (low, middle)
        sold[ordinary] = np.floor(wanted)
        rest = target - int(sold[ordinary].sum())
        sold[ordinary[np.argsort(sold[ordinary] - wanted, kind="stable")[:rest]]] += 1
    return sold


def _programme(years: Integers, festival: Integers, stage: Integers, tickets: Integers) -> Integers:
    """When each performance starts, in seconds since the epoch: noon to night, a stage's biggest last."""
    start = np.empty(len(festival), dtype=np.int64)
    for each, year in enumerate(years.tolist()):
        noons = np.array([_local(day, time(12)).timestamp() for day in _festival_days(year)], dtype=np.int64)
        for number in range(len(STAGES)):
            places = np.flatnonzero((festival == each) & (stage == number))
            places = places[np.argsort(tickets[places], kind="stable")]
            order = np.arange(len(places))
            last = max(1, (len(places) - 1) // len(noons))
            quarter_hours = order // len(noons) * 36 // last
            start[places] = noons[order % len(noons)] + quarter_hours * 900
    return start


def _number_bands_by_first_performance(lineup: Lineup, names: list[str]) -> tuple[Lineup, list[str]]:
    """Renumber bands in the order they first play, as ids are given out; bands that never play come last."""
    played, first = np.unique(lineup.band, return_index=True)
    order = played[np.argsort(first, kind="stable")]
    rank = np.empty(len(names), dtype=np.int64)
    rank[order] = np.arange(len(order))
    never_played = np.setdiff1d(np.arange(len(names)), order)
    renumbered = Lineup(
        lineup.festival, lineup.stage, rank[lineup.band], lineup.start, lineup.tickets, lineup.base_price
    )
    return renumbered, [names[band] for band in np.concatenate([order, never_played])]


def _people_by_festival(scale: float) -> list[int]:
    """How many people have an account when each festival's sale opens."""
    share = np.cumsum(list(TICKETS_BY_FESTIVAL.values())) / sum(TICKETS_BY_FESTIVAL.values())
    return [max(20, round(count)) for count in (scale * _PEOPLE * share**0.7).tolist()]


# Dates ------------------------------------------------------------------------------------------------------


def _local(day: date, at: time) -> datetime:
    return datetime.combine(day, at, ZoneInfo("America/Chicago"))


def _announced_at(year: int) -> float:
    """When a festival's line-up is in the database, in seconds since the epoch."""
    return datetime(year, 3, 1, 18, tzinfo=UTC).timestamp()


def _festival_days(year: int) -> list[date]:
    """Friday to Sunday from the first Friday of October, and the weekend after since there are two."""
    first_friday = date(year, 10, 1 + (4 - date(year, 10, 1).weekday()) % 7)
    days = (0, 1, 2) if year < FIRST_TWO_WEEKEND_FESTIVAL else (0, 1, 2, 7, 8, 9)
    return [first_friday + timedelta(days=day) for day in days]


# Columns ----------------------------------------------------------------------------------------------------


def _stream(seed: int, *key: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64DXSM(np.random.SeedSequence(seed, spawn_key=key)))


def _table(name: str, *columns: object) -> pa.Table:
    schema = ARROW_SCHEMAS[name]
    arrays = [
        (column if isinstance(column, pa.Array) else pa.array(column)).cast(field.type)
        for column, field in zip(columns, schema, strict=True)
    ]
    return pa.Table.from_arrays(arrays, schema=schema)


def _ids(places: Integers, gap_every: int) -> Integers:
    """Ids of rows by their place in the table; a sequence loses a number when a transaction rolls back."""
    return places + places // gap_every + 1


def _band_ids(bands: Integers) -> Integers:
    return _ids(bands, gap_every=211)


def _performance_ids(performances: Integers) -> Integers:
    return _ids(performances, gap_every=97)


def _person_ids(people: Integers) -> Integers:
    return _ids(people, gap_every=997)


def _purchase_ids(purchases: Integers) -> Integers:
    return _ids(purchases, gap_every=487)


def _ticket_ids(tickets: Integers) -> Integers:
    return _ids(tickets, gap_every=1_511)


def ticket_numbers(ids: Integers) -> pa.StringArray:
    """Numbers that look drawn at random and differ for different ids: a Feistel network on 7 + 7 digits."""
    left, right = np.divmod(ids.astype(np.uint64), np.uint64(10_000_000))
    for multiplier in (2_654_435_761, 2_246_822_519, 3_266_489_917, 668_265_263):
        mixed = (right + np.uint64(1)) * np.uint64(multiplier)
        left, right = right, (left + (mixed ^ (mixed >> np.uint64(15)))) % np.uint64(10_000_000)
    characters = np.empty((len(ids), 16), dtype=np.uint8)
    characters[:, :2] = ord("T")
    characters[:, 2:9] = _seven_digits(left)
    characters[:, 9:] = _seven_digits(right)
    offsets = np.arange(len(ids) + 1, dtype=np.int32) * 16
    return pa.StringArray.from_buffers(len(ids), pa.py_buffer(offsets), pa.py_buffer(characters))


_THREE_DIGITS = np.array([list(f"{number:03}".encode()) for number in range(1_000)], dtype=np.uint8)
_FOUR_DIGITS = np.array([list(f"{number:04}".encode()) for number in range(10_000)], dtype=np.uint8)


def _seven_digits(numbers: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint8]:
    high, low = np.divmod(numbers, np.uint64(10_000))
    return np.concatenate([_THREE_DIGITS[high], _FOUR_DIGITS[low]], axis=1)
