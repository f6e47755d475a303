"""The evidence behind the verdicts, computed a second time with numpy and scipy: loops and integrals, no SQL.

The steps are those of docs/evidence.md. Names follow its symbols.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import norm
from warehouse.dbt_festivals import Show

FLOOR = 0.05
WIDE_SHARE = 0.05
WIDE_SPREAD = 9.0
LEAST_VARIANCE = 0.0004
Z90 = 1.645


@dataclass(frozen=True)
class Posterior:
    """The distribution of a band's level at a venue: two normal parts, the second with the weight `wide`."""

    means: tuple[float, float]
    sds: tuple[float, float]
    wide: float

    @property
    def mean(self) -> float:
        return (1 - self.wide) * self.means[0] + self.wide * self.means[1]

    @property
    def sd(self) -> float:
        shares = (1 - self.wide, self.wide)
        second = sum(share * (d**2 + m**2) for share, m, d in zip(shares, self.means, self.sds, strict=True))
        return math.sqrt(second - self.mean**2)

    def density(self, x: np.ndarray) -> np.ndarray:
        narrow, wide = (norm.pdf(x, mean, sd) for mean, sd in zip(self.means, self.sds, strict=True))
        return (1 - self.wide) * narrow + self.wide * wide

    def log_cdf(self, x: np.ndarray) -> np.ndarray:
        narrow, wide = (norm.cdf(x, mean, sd) for mean, sd in zip(self.means, self.sds, strict=True))
        return np.log(np.maximum((1 - self.wide) * narrow + self.wide * wide, 1e-300))


@dataclass(frozen=True)
class Evidence:
    """Expected tickets and chances of a band at a venue."""

    expected_tickets: float
    expected_low: float
    expected_high: float
    p_best: float
    p_top_group: float
    p_stands_out: float


def evidence(shows: Sequence[Show], *, other_venues: bool = True) -> dict[tuple[int, int], Evidence]:
    """Return the evidence for every band at every venue, by (venue, band); festivals that sold nothing give none."""
    sold_something = {show.year for show in shows if show.sold}
    shows = [show for show in shows if show.year in sold_something]
    if not shows:
        return {}
    venue_level, festival_level = levels(shows)
    ratios = np.array([show.sold / (venue_level[show.venue] * festival_level[show.year]) for show in shows])
    is_log = uses_logarithms(ratios)
    z = np.log(np.maximum(ratios, FLOOR)) if is_log else ratios
    found: dict[tuple[int, int], Evidence] = {}
    for venue, posteriors in posteriors_by_venue(shows, z, other_venues=other_venues).items():
        level = venue_level[venue]
        chances = chances_at(posteriors, is_log=is_log)
        for band, posterior in posteriors.items():
            ends = [posterior.mean + side * Z90 * posterior.sd for side in (-1, 0, 1)]
            low, expected, high = (level * (math.exp(end) if is_log else max(end, 0.0)) for end in ends)
            found[venue, band] = Evidence(expected, low, high, *chances[band])
    return found


def levels(shows: Sequence[Show]) -> tuple[dict[int, float], dict[int, float]]:
    """Fit what is usual at a venue and in a festival by marginal totals (Bailey 1963)."""
    festival = {show.year: 1.0 for show in shows}
    venue: dict[int, float] = {}

    def fit_venues() -> None:
        for key in {show.venue for show in shows}:
            there = [show for show in shows if show.venue == key]
            venue[key] = max(sum(show.sold for show in there) / sum(festival[show.year] for show in there), 1e-9)

    for _ in range(16):
        fit_venues()
        for year in festival:
            then = [show for show in shows if show.year == year]
            festival[year] = sum(show.sold for show in then) / sum(venue[show.venue] for show in then)
    recent = float(np.mean([festival[year] for year in sorted(festival)[-3:]]))
    for year in festival:
        festival[year] /= recent
    fit_venues()
    return venue, festival


def uses_logarithms(ratios: np.ndarray) -> bool:
    """Return whether ratios are more skewed than their logarithms, by Kelly's coefficient of nearest-rank deciles."""
    ordered = np.sort(ratios)
    deciles = [max(float(ordered[math.floor(p * (len(ordered) - 1))]), FLOOR) for p in (0.1, 0.5, 0.9)]

    def kelly(q10: float, q50: float, q90: float) -> float:
        return (q10 + q90 - 2 * q50) / max(q90 - q10, 1e-9)

    return kelly(*deciles) + kelly(*(math.log(decile) for decile in deciles)) > 1e-6


def posteriors_by_venue(shows: Sequence[Show], z: np.ndarray, *, other_venues: bool) -> dict[int, dict[int, Posterior]]:
    """Shrink the mean of every band at every venue towards what is usual there and what the band did elsewhere."""
    values: dict[int, dict[int, np.ndarray]] = {}
    for venue in sorted({show.venue for show in shows}):
        bands = sorted({show.band for show in shows if show.venue == venue})
        values[venue] = {
            band: np.array([x for x, show in zip(z, shows, strict=True) if (show.venue, show.band) == (venue, band)])
            for band in bands
        }
    sigma2, kappa2_everywhere = variances(values, z)
    venue_means = {venue: float(np.mean(np.concatenate(list(bands.values())))) for venue, bands in values.items()}
    return {
        venue: posteriors_at(venue, values, venue_means, sigma2, kappa2_everywhere, other_venues=other_venues)
        for venue in values
    }


def variances(values: Mapping[int, Mapping[int, np.ndarray]], z: np.ndarray) -> tuple[float, float]:
    """Return sigma2, the variance of a band's shows, and kappa2, that of its level between venues (not capped)."""
    groups = [shows for bands in values.values() for shows in bands.values()]
    within = sum(float(np.sum((shows - shows.mean()) ** 2)) for shows in groups)
    freedom = sum(len(shows) - 1 for shows in groups)
    by_band: dict[int, list[float]] = {}
    for bands in values.values():
        mean = float(np.mean(np.concatenate(list(bands.values()))))
        for band, shows in bands.items():
            by_band.setdefault(band, []).extend(shows - mean)
    anywhere = sum(float(np.sum((np.array(shows) - np.mean(shows)) ** 2)) for shows in by_band.values())
    anywhere_freedom = sum(len(shows) - 1 for shows in by_band.values())
    if freedom >= 20:
        sigma2 = max(within / freedom, LEAST_VARIANCE)
        return sigma2, max(0.0, anywhere / anywhere_freedom - sigma2)
    if anywhere_freedom >= 1:
        return max(anywhere / anywhere_freedom, LEAST_VARIANCE), 0.0
    return max(float(np.var(z, ddof=1)) if len(z) > 1 else 0.01, LEAST_VARIANCE), 0.0


def posteriors_at(
    venue: int,
    values: Mapping[int, Mapping[int, np.ndarray]],
    venue_means: Mapping[int, float],
    sigma2: float,
    kappa2: float,
    *,
    other_venues: bool,
) -> dict[int, Posterior]:
    here = values[venue]
    band_means = [float(shows.mean()) for shows in here.values()]
    m = float(np.mean(band_means))
    spread = float(np.var(band_means, ddof=1)) if len(here) > 1 else 0.0
    tau2 = max(LEAST_VARIANCE, spread - sigma2 * float(np.mean([1 / len(shows) for shows in here.values()])))
    kappa2 = min(kappa2, 0.9 * tau2)
    found = {}
    for band, shows in here.items():
        center, t = m, tau2
        elsewhere = [
            (len(bands[band]), float(bands[band].mean()) - venue_means[other])
            for other, bands in values.items()
            if other != venue and band in bands
        ]
        if other_venues and elsewhere:
            precisions = [1 / (kappa2 + sigma2 / n) for n, _ in elsewhere]
            total = sum(precisions)
            shift = sum(p * d for p, (_, d) in zip(precisions, elsewhere, strict=True))
            common = tau2 - kappa2
            center = m + shift / (1 / common + total)
            t = 1 / (1 / common + total) + kappa2
        found[band] = posterior(shows, center, t, sigma2, variance_of_mean=tau2 / len(here))
    return found


def posterior(shows: np.ndarray, m: float, tau2: float, sigma2: float, *, variance_of_mean: float) -> Posterior:
    """Shrink a mean (Efron & Morris 1975) under a prior of a narrow and a wide part."""
    n, zbar = len(shows), float(shows.mean())
    means, sds, likelihoods = [], [], []
    for part in (tau2, WIDE_SPREAD * tau2):
        b = part / (part + sigma2 / n)
        means.append(m + b * (zbar - m))
        sds.append(math.sqrt(part * (1 - b) + (1 - b) ** 2 * variance_of_mean))
        likelihoods.append(norm.logpdf(zbar, m, math.sqrt(part + sigma2 / n)))
    narrow_to_wide = math.exp(min(700.0, likelihoods[0] - likelihoods[1]))
    wide = 1 / (1 + (1 - WIDE_SHARE) / WIDE_SHARE * narrow_to_wide)
    return Posterior((means[0], means[1]), (sds[0], sds[1]), wide)


def chances_at(
    posteriors: Mapping[int, Posterior], *, is_log: bool, points: int = 4001
) -> dict[int, tuple[float, ...]]:
    """Return p_best, p_top_group and p_stands_out of each band at a venue (Laird & Louis 1989)."""
    lowest = min(min(p.means[i] - 8 * p.sds[i] for i in (0, 1)) for p in posteriors.values())
    highest = max(max(p.means[i] + 8 * p.sds[i] for i in (0, 1)) for p in posteriors.values())
    x = np.linspace(lowest, highest, points)
    shifted = [x, x - math.log(0.9), x + math.log(0.9)] if is_log else [x, x / 0.9, x * 0.9]
    log_cdfs = {band: [p.log_cdf(at) for at in shifted] for band, p in posteriors.items()}
    return {
        band: tuple(
            float(
                np.trapezoid(p.density(x) * np.exp(sum(log_cdfs[other][k] for other in posteriors if other != band)), x)
            )
            for k in range(3)
        )
        for band, p in posteriors.items()
    }
