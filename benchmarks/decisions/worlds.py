"""Simulated festivals with a known truth, which the rules that are compared do not see."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

VENUES = 3
FESTIVALS = tuple(range(2003, 2022))
EQUAL_WITHIN = 0.10


@dataclass(frozen=True)
class World:
    """A festival and its truth.

    Attributes:
        kind: what it was designed to show.
        shows: one row per completed performance: venue_id, band_id, festival_year, tickets_sold, capacity.
        truth: one row per venue and band that played there: venue_id, band_id and true_tickets, the mean of its
            performances in a recent festival if nothing ever sold out.
    """

    kind: str
    shows: pd.DataFrame
    truth: pd.DataFrame

    def is_within(self, venue: int, band: int, share: float) -> bool:
        """Return whether a band is truly within a share of the best band at a venue."""
        levels = self.truth[self.truth.venue_id == venue].set_index("band_id").true_tickets
        return bool(levels[band] >= (1 - share) * levels.max())


@dataclass(frozen=True)
class Design:
    """The parameters in which the kinds of worlds differ.

    Attributes:
        bands: bands per venue.
        spread: standard deviation of the logarithm of their levels.
        noise: standard deviation of the logarithm of one show.
        most_shows: performances of a band at a venue, from 1 to this many, most of them once.
        leaders: bands of each venue that lead, as a group of near-equals or alone.
        lead: level of the leaders, in standard deviations above the usual band.
        leader_shows: performances of each leader.
        growth: sales of the last festival over those of the first.
        fill: share of the capacity that a usual show sells; what is above the capacity is not sold.
        degrees: of freedom of the noise; few give heavy tails.
        again: chance of each further performance.
        guests: bands that also play at another venue, as a share of those of a venue.
    """

    bands: int = 120
    spread: float = 0.15
    noise: float = 0.15
    most_shows: int = 3
    leaders: int = 0
    lead: float = 0.0
    leader_shows: int = 4
    growth: float = 1.5
    fill: float = 0.4
    degrees: float = 30.0
    again: float = 0.2
    guests: float = 0.15


DESIGNS: dict[str, Design] = {
    "standout": Design(leaders=1, lead=4.5),
    "group": Design(leaders=4, lead=3.5),
    "flat": Design(spread=0.03),
    "one-timers": Design(most_shows=2, again=0.05, noise=0.25, guests=0.05),
    "standout that played once": Design(leaders=1, lead=4.5, leader_shows=1),
    "growth": Design(growth=5.0, leaders=1, lead=4.0),
    "sold out": Design(fill=0.75, leaders=2, lead=3.0),
    "heavy tails": Design(degrees=3.0, leaders=1, lead=4.0),
}


def make_world(seed: int) -> World:
    """Return the world of a seed; the kinds take turns."""
    kind = list(DESIGNS)[seed % len(DESIGNS)]
    random = np.random.default_rng(seed)
    design = _varied(DESIGNS[kind], random)
    growth = np.linspace(1, design.growth, len(FESTIVALS)) / design.growth * random.lognormal(0, 0.08, len(FESTIVALS))
    # As at the real festival, most bands play at one venue; some are at home at one and guests at another.
    pool = VENUES * design.bands
    everywhere = random.normal(0, design.spread * 0.8, pool)
    shows, truth = [], []
    for venue in range(VENUES):
        guests = random.choice(pool, size=round(design.guests * design.bands), replace=False)
        bands = np.union1d(np.arange(venue * design.bands, (venue + 1) * design.bands), guests)
        levels = np.exp(everywhere[bands] + random.normal(0, design.spread * 0.6, len(bands)))
        counts = 1 + random.binomial(design.most_shows - 1, design.again, len(bands))
        leading = random.choice(len(bands), size=design.leaders, replace=False)
        levels[leading] = np.exp(design.lead * design.spread) * random.uniform(0.97, 1.03, design.leaders)
        counts[leading] = design.leader_shows
        capacity = int(random.integers(500, 3000))
        noise = _noise(design, random)
        for band, level, count in zip(bands, levels, counts, strict=True):
            for year in random.choice(len(FESTIVALS), size=count, replace=False):
                demand = design.fill * capacity * growth[year] * level * noise()
                shows.append((venue + 1, int(band), FESTIVALS[year], min(round(demand), capacity), capacity))
            true_tickets = design.fill * capacity * growth[-3:].mean() * level
            truth.append((venue + 1, int(band), float(true_tickets)))
    return World(
        kind,
        pd.DataFrame(shows, columns=["venue_id", "band_id", "festival_year", "tickets_sold", "capacity"]),
        pd.DataFrame(truth, columns=["venue_id", "band_id", "true_tickets"]),
    )


def _varied(design: Design, random: np.random.Generator) -> Design:
    """Vary what a real festival would vary: how many bands play, how much shows differ, how far leaders lead."""
    return Design(
        **vars(design)
        | {
            "bands": int(random.integers(40, 200)),
            "noise": design.noise * random.uniform(0.6, 1.5),
            "lead": design.lead * random.uniform(0.6, 1.2),
            "leaders": min(design.leaders, 40),
        }
    )


def _noise(design: Design, random: np.random.Generator) -> Callable[[], float]:
    """Return a source of factors with mean 1 in the long run."""
    scale = design.noise / np.sqrt(design.degrees / (design.degrees - 2))
    sample = np.exp(np.clip(scale * random.standard_t(design.degrees, 20_000), -2, 2))
    factors = iter(sample / sample.mean())
    return lambda: float(next(factors))
