"""Simulate festivals with a known truth, which the compared rules do not see."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

VENUES = 3
FESTIVALS = tuple(range(2003, 2022))


@dataclass(frozen=True)
class World:
    """A festival and its truth.

    Attributes:
        kind: name of its design.
        shows: one row per completed performance: venue_id, band_id, festival_year, tickets_sold, capacity.
        truth: one row per venue and band that played there: venue_id, band_id and true_tickets, the mean of its
            performances in a recent festival if nothing ever sold out.
    """

    kind: str
    shows: pd.DataFrame
    truth: pd.DataFrame

    def levels(self, venue: int) -> pd.Series:
        """Return the true tickets of the bands at a venue, by band."""
        return self.truth[self.truth.venue_id == venue].set_index("band_id").true_tickets


@dataclass(frozen=True)
class Design:
    """Parameters of a kind of world."""

    bands: int = 120  # bands per venue
    spread: float = 0.15  # standard deviation of the logarithm of the levels of bands
    noise: float = 0.15  # standard deviation of the logarithm of the sales of one performance
    most_shows: int = 3  # maximum number of performances of a band at a venue
    leaders: int = 0  # bands per venue that lead
    lead: float = 0.0  # level of the leaders, in standard deviations above the typical band
    leader_shows: int = 4  # performances of each leader
    growth: float = 1.5  # sales of the last festival divided by those of the first
    fill: float = 0.4  # share of the capacity that a typical performance sells; sales end at the capacity
    degrees: float = 30.0  # degrees of freedom of the noise; few give heavy tails
    again: float = 0.2  # chance of each performance after the first
    guests: float = 0.15  # bands from other venues, as a share of the bands of a venue


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
    """Return the world of a seed. The kinds of worlds take turns."""
    kind = list(DESIGNS)[seed % len(DESIGNS)]
    random = np.random.default_rng(seed)
    design = _varied(DESIGNS[kind], random)
    growth = np.linspace(1, design.growth, len(FESTIVALS)) / design.growth * random.lognormal(0, 0.08, len(FESTIVALS))
    # As at the real festival, most bands play at one venue only, and some are guests at another one.
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
                demand = design.fill * capacity * growth[year] * level * next(noise)
                shows.append((venue + 1, int(band), FESTIVALS[year], min(round(demand), capacity), capacity))
            true_tickets = design.fill * capacity * growth[-3:].mean() * level
            truth.append((venue + 1, int(band), float(true_tickets)))
    return World(
        kind,
        pd.DataFrame(shows, columns=["venue_id", "band_id", "festival_year", "tickets_sold", "capacity"]),
        pd.DataFrame(truth, columns=["venue_id", "band_id", "true_tickets"]),
    )


def _varied(design: Design, random: np.random.Generator) -> Design:
    """Vary the number of bands, the noise and the lead."""
    return replace(
        design,
        bands=int(random.integers(40, 200)),
        noise=design.noise * random.uniform(0.6, 1.5),
        lead=design.lead * random.uniform(0.6, 1.2),
    )


def _noise(design: Design, random: np.random.Generator) -> Iterator[float]:
    """Return random factors with mean 1."""
    scale = design.noise / np.sqrt(design.degrees / (design.degrees - 2))
    sample = np.exp(np.clip(scale * random.standard_t(design.degrees, 20_000), -2, 2))
    return iter((sample / sample.mean()).tolist())
