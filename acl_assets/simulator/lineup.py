"""Plan the line-up of every simulated festival: who plays where and when, and how many tickets each performance sells.

Three stages stand out by all-time tickets. On the first, one band sells far more per performance than any other; on
the second, four bands are near-equals ahead of the rest; on the third nobody stands out. A band that plays at every
festival has the highest total of the first stage and a modest average.
"""

from datetime import date, datetime, time, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

from acl_assets.simulator.names import HARD_BAND_NAMES, invent_band_names

Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

_TICKETS_2002_TO_2019 = [
    *(72_635, 139_874, 130_275, 76_656, 109_206, 113_309, 141_224, 141_126, 139_352),
    *(139_715, 115_402, 222_901, 272_240, 320_278, 312_752, 276_075, 269_340, 315_593),
]
TICKETS_BY_FESTIVAL = {**dict(enumerate(_TICKETS_2002_TO_2019, start=2002)), 2021: 282_455, 2022: 290_000}
"""Tickets of each festival at scale 1 once its sale has closed; 2022 is assumed, the others are real."""

LAST_PUBLISHED_FESTIVAL = 2021
FIRST_TWO_WEEKEND_FESTIVAL = 2013


class Stage(NamedTuple):
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
_ORDINARY, _UNSOLD = -1, -2


class Scenario(NamedTuple):
    """A story that the festival's records tell, at scale 1."""

    must_invite_shows: int = 6  # of the band that outsells all others, at the first stage
    near_equal_shows: int = 3  # of each of the bands that share the lead of the second stage
    is_sold_out: bool = False  # whether the fullest performances of every stage sell all places
    growth: float | None = None  # tickets of the last festival over those of the first; None for the real numbers


SCENARIOS = {
    "story": Scenario(),
    "no-standout": Scenario(must_invite_shows=0, near_equal_shows=0),
    "one-show": Scenario(must_invite_shows=1),
    "sold-out": Scenario(is_sold_out=True),
    "growth": Scenario(growth=8.0),
}
"""The default has a must-invite, near-equals and a stage without a clear lead; the others change the story."""

_BANDS, _BANDS_THAT_NEVER_PLAYED = 1_421, 4
_MEAN_TICKETS_PER_PERFORMANCE = 1_890
_UNSOLD_PERFORMANCES = 2
_BASE_PRICES = np.repeat(np.array([15, 20, 25, 30, 35], dtype=np.int64), [170, 219, 252, 193, 166])


class Lineup(NamedTuple):
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
    base_price: Integers

    def of_festival(self, festival: int) -> slice:
        """Return the positions of the performances of one festival."""
        first, end = np.searchsorted(self.festival, [festival, festival + 1])
        return slice(int(first), int(end))


def plan_lineup(
    scale: float, generator: np.random.Generator, scenario: Scenario = SCENARIOS["story"]
) -> tuple[Lineup, list[str]]:
    """Plan every festival's performances, and return them with the names of all bands, those that never play last."""
    years = np.array(list(TICKETS_BY_FESTIVAL))
    tickets = np.round(scale * _tickets_by_festival(scenario)).astype(np.int64)
    emptiness = min(1.0, scale**0.6)
    mean_tickets = _MEAN_TICKETS_PER_PERFORMANCE * emptiness
    performances = np.maximum(1, np.round(tickets / mean_tickets)).astype(np.int64)
    while True:
        festival = np.repeat(np.arange(len(years)), performances)
        stage = _share_out_stages(len(festival))
        story = _cast_story(years[festival], performances[festival], stage, min(1.0, scale**0.4), scenario)
        capacity, ceiling = np.array([(each.capacity, each.ceiling) for each in STAGES]).T[:, stage]
        # Of the bands of the story, of an unsold performance and of an ordinary one, which has its stage's.
        fill_by_role = np.array([_MUST_INVITE_FILL, _FAITHFUL_FILL, *NEAR_EQUAL_BANDS.values(), 0.0, 0.0])
        story_fill = fill_by_role[story] * (1 + generator.uniform(-0.006, 0.006, len(story)))
        fill = np.where(story == _ORDINARY, ceiling, story_fill)
        if scenario.is_sold_out:
            fill = np.minimum(1.15 * fill, 1.0)
        at_most = np.floor(fill * capacity * emptiness)
        crowded = np.bincount(festival, at_most * 0.82) < tickets
        if not crowded.any():
            break
        performances += crowded
    bands = round(_BANDS * max(scale, scale**0.4))
    band, quality, names = _book_bands(generator, story, bands)
    demand = 0.8 * quality + 0.6 * generator.normal(size=len(band))
    sold = _sell_out_to(tickets, festival, story, at_most, demand)
    start = _programme(years, festival, stage, sold)
    by_start = np.lexsort((start, festival))
    stratified = (generator.permutation(len(band)) + 0.5) / len(band)
    base_price = _BASE_PRICES[(stratified * len(_BASE_PRICES)).astype(np.int64)]
    return Lineup(*(column[by_start] for column in (festival, stage, band, start, sold, base_price))), names


def _tickets_by_festival(scenario: Scenario) -> Floats:
    real = np.array([*TICKETS_BY_FESTIVAL.values()], dtype=np.float64)
    if scenario.growth is None:
        return real
    steady = scenario.growth ** (np.arange(len(real)) / (len(real) - 1))
    return steady * real.sum() / steady.sum()


def _share_out_stages(performances: int) -> Integers:
    """Give each performance a stage, each stage its share, evenly over the years."""
    shares = np.array([stage.share for stage in STAGES])
    hosts = np.flatnonzero(shares)
    turns = [(np.arange(round(performances * share) + 1) + 0.5) / share for share in shares[hosts]]
    order = np.argsort(np.concatenate(turns), kind="stable")
    return np.repeat(hosts, [len(turn) for turn in turns])[order][:performances]


def _cast_story(year: Integers, festival_size: Integers, stage: Integers, size: float, scenario: Scenario) -> Integers:
    """Say which performances belong to a band of the story, `_UNSOLD` or `_ORDINARY`.

    `size` (0-1) is how much of the story there is room for. A festival of few performances has no room for any.
    """
    story = np.full(len(year), _ORDINARY)
    done = (year <= LAST_PUBLISHED_FESTIVAL) & (festival_size >= 5)
    recent = done & (year >= FIRST_TWO_WEEKEND_FESTIVAL)

    def cast(role: int, places: npt.NDArray[np.bool_], times: int) -> None:
        free = np.flatnonzero(places & (story == _ORDINARY))
        if times:
            story[free[((np.arange(min(times, len(free))) + 0.5) / times * len(free)).astype(np.int64)]] = role

    shows = scenario.must_invite_shows
    cast(_MUST_INVITE, recent & (stage == MUST_INVITE_STAGE), max(2, round(shows * size)) if shows > 1 else shows)
    cast(_MUST_INVITE, (year > LAST_PUBLISHED_FESTIVAL) & (stage == MUST_INVITE_STAGE), min(1, shows // 2))
    for role in range(_FIRST_NEAR_EQUAL, len(_STORY_BANDS)):
        shows = scenario.near_equal_shows
        cast(role, recent & (stage == NEAR_EQUALS_STAGE), max(1, round(shows * size)) if shows else 0)
    faithful = max(5, round(20 * size))
    elsewhere = faithful // 3
    cast(_FAITHFUL, done & (stage == MUST_INVITE_STAGE), faithful - elsewhere)
    cast(_FAITHFUL, done & np.isin(stage, QUIET_STAGES), elsewhere)
    cast(_UNSOLD, done & np.isin(stage, QUIET_STAGES), _UNSOLD_PERFORMANCES)
    return story


def _book_bands(generator: np.random.Generator, story: Integers, bands: int) -> tuple[Integers, Floats, list[str]]:
    """Book a band for every performance; return the bands, the draw of each (standard normal), and all names.

    Most bands play once; some come back, evenly spaced over the years.
    """
    open_places = np.flatnonzero(story < 0)
    ordinary = min(bands - len(_STORY_BANDS) - _BANDS_THAT_NEVER_PLAYED, len(open_places))
    returning = generator.integers(0, max(1, ordinary // 4), len(open_places) - ordinary)
    appearances = 1 + np.bincount(returning, minlength=ordinary)
    band = np.repeat(np.arange(ordinary), appearances)
    nth = np.arange(len(band)) - np.repeat(np.cumsum(appearances) - appearances, appearances)
    phase = generator.random(ordinary)[band] + 0.3 * generator.random(len(band))
    turn = np.argsort((nth + phase) / appearances[band], kind="stable")

    booked = story.copy()
    booked[open_places] = band[turn] + len(_STORY_BANDS)
    names = invent_band_names(generator, ordinary + _BANDS_THAT_NEVER_PLAYED)
    places = np.linspace(0, ordinary - 1, len(HARD_BAND_NAMES)).astype(int)
    for place, name in zip(places, HARD_BAND_NAMES, strict=True):
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
        noons = np.array([local_time(day, time(12)).timestamp() for day in festival_days(year)], dtype=np.int64)
        for number in range(len(STAGES)):
            places = np.flatnonzero((festival == each) & (stage == number))
            places = places[np.argsort(tickets[places], kind="stable")]
            order = np.arange(len(places))
            last = max(1, (len(places) - 1) // len(noons))
            quarter_hours = order // len(noons) * 36 // last
            start[places] = noons[order % len(noons)] + quarter_hours * 900
    return start


def local_time(day: date, at: time) -> datetime:
    """Return a time of day at the festival."""
    return datetime.combine(day, at, ZoneInfo("America/Chicago"))


def festival_days(year: int) -> list[date]:
    """Friday to Sunday from the first Friday of October, and the weekend after since there are two."""
    first_friday = date(year, 10, 1 + (4 - date(year, 10, 1).weekday()) % 7)
    days = (0, 1, 2) if year < FIRST_TWO_WEEKEND_FESTIVAL else (0, 1, 2, 7, 8, 9)
    return [first_friday + timedelta(days=day) for day in days]
