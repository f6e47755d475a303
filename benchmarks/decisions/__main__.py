"""Score the rules on many worlds and make the page of it: `python -m benchmarks.decisions --help`."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import altair as alt
import pandas as pd
import vl_convert

from benchmarks.decisions.rules import Claim, claims_of_evidence, claims_of_tiers, evidence_of, is_right
from benchmarks.decisions.worlds import DESIGNS, World, make_world
from benchmarks.measuring import PROJECT_DIR
from benchmarks.page import write_from_template
from benchmarks.results import RESULTS_DIR

RESULTS_FILE = RESULTS_DIR / "decisions.json"
PAGE = PROJECT_DIR / "docs" / "benchmarks_decisions.md"
PLOT = PROJECT_DIR / "docs" / "images" / "calibration.png"
EVIDENCE = "evidence"
_FIRST_SEED = 5_000
_BINS = [tenth / 10 for tenth in range(11)]


@dataclass
class Score:
    """How a rule did over all worlds; regret is the share of the best band's tickets that its first choice lacks."""

    venues: int = 0
    claims: int = 0
    claims_right: int = 0
    must_invites: int = 0
    must_invites_right: int = 0
    standouts: int = 0
    standouts_found: int = 0
    regret: float = 0.0

    def add(self, claim: Claim, world: World) -> None:
        """Count a claim."""
        levels = world.truth[world.truth.venue_id == claim.venue].set_index("band_id").true_tickets.sort_values()
        best, second = levels.iloc[-1], levels.iloc[-2]
        performances = (world.shows.venue_id == claim.venue) & (world.shows.band_id == levels.index[-1])
        self.venues += 1
        self.regret += float(1 - levels[claim.first] / best)
        if claim.verdict in ("must invite", "near-equals"):
            self.claims += 1
            self.claims_right += is_right(claim, world)
        if claim.verdict == "must invite":
            self.must_invites += 1
            self.must_invites_right += is_right(claim, world)
        if second < 0.9 * best and performances.sum() > 1:
            self.standouts += 1
            self.standouts_found += claim.verdict == "must invite" and is_right(claim, world)


@dataclass
class Results:
    """The scores of all rules, and how well the chances and intervals of the evidence are calibrated."""

    first_seed: int
    worlds: int
    scores: dict[str, Score] = field(default_factory=dict)
    calibration: list[dict[str, float]] = field(default_factory=list)
    covered: float = 0.0


def score(seeds: Iterable[int]) -> Results:
    """Let every rule judge the worlds of the seeds."""
    seeds = list(seeds)
    results = Results(seeds[0], len(seeds))
    judged: list[pd.DataFrame] = []
    for seed in seeds:
        world = make_world(seed)
        evidence = evidence_of(world).merge(world.truth, on=["venue_id", "band_id"])
        rules: Mapping[str, list[Claim]] = {
            EVIDENCE: claims_of_evidence(evidence),
            **{
                f"tiers, at least {least} performances" if least > 1 else "tiers": claims_of_tiers(world, least)
                for least in (1, 2, 3)
            },
        }
        for name, claims in rules.items():
            for claim in claims:
                results.scores.setdefault(name, Score()).add(claim, world)
        judged.append(_with_truth(evidence))
    everything = pd.concat(judged)
    results.covered = float(everything.is_covered.mean())
    results.calibration = _calibration(everything)
    return results


def _with_truth(evidence: pd.DataFrame) -> pd.DataFrame:
    """Add whether a band is truly the best at its venue, and whether its interval holds its true mean."""
    true = evidence.true_tickets
    return evidence.assign(
        is_best=true == evidence.groupby("venue_id").true_tickets.transform("max"),
        is_covered=(evidence.expected_low <= true) & (true <= evidence.expected_high),
    )


def _calibration(evidence: pd.DataFrame) -> list[dict[str, float]]:
    bins = pd.cut(evidence.p_best, _BINS, include_lowest=True)
    groups = evidence.groupby(bins, observed=True)
    return [
        {"said": float(group.p_best.mean()), "true": float(group.is_best.mean()), "bands": len(group)}
        for _, group in groups
    ]


def write_page(results: Results) -> None:
    """Write the page and its plot."""
    write_from_template(PAGE, "decisions.md.jinja", results=results, kinds=list(DESIGNS))
    rows = [row for row in results.calibration if row["bands"] >= 5]
    diagonal = {"values": [{"said": 0, "true": 0}, {"said": 1, "true": 1}]}
    line = alt.Chart(diagonal).mark_line(strokeDash=[4, 4], color="#566173")
    points = alt.Chart({"values": rows}).mark_point(filled=True, size=90, color="#0072b2", opacity=1)
    axes: dict[str, Any] = {
        "x": alt.X("said:Q", title="chance to be the best, as said", axis=alt.Axis(format="%")),
        "y": alt.Y("true:Q", title="share that was the best", axis=alt.Axis(format="%")),
    }
    chart = alt.layer(line.encode(**axes), points.encode(**axes)).properties(width=340, height=300)
    PLOT.write_bytes(vl_convert.vegalite_to_png(chart.to_dict(), scale=1.5))


def read_results() -> Results:
    """Read the stored results."""
    stored = json.loads(RESULTS_FILE.read_text(encoding="utf-8"))
    return Results(**stored | {"scores": {name: Score(**values) for name, values in stored["scores"].items()}})


def main() -> None:
    """Score, store the results, and write the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.decisions", description=__doc__)
    parser.add_argument("--worlds", type=int, default=240, help="how many worlds (%(default)s)")
    parser.add_argument("--first-seed", type=int, default=_FIRST_SEED, help="seed of the first world (%(default)s)")
    parser.add_argument("--dry", action="store_true", help="print the scores, and write nothing")
    options = parser.parse_args()
    results = score(range(options.first_seed, options.first_seed + options.worlds))
    if options.dry:
        print(json.dumps(asdict(results), indent=2))
        return
    RESULTS_FILE.write_text(json.dumps(asdict(results), indent=2) + "\n", encoding="utf-8")
    write_page(results)


if __name__ == "__main__":
    main()
