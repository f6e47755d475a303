"""Score the rules on many worlds and write the page of the results: `python -m benchmarks.decisions --help`."""

import argparse
import json
from collections.abc import Iterable
from typing import Any

import altair as alt
import pandas as pd
import vl_convert

from acl_assets.settings import PROJECT_DIR
from benchmarks.decisions.rules import Claim, claims_of_evidence, claims_of_tiers, evidence_of, is_right
from benchmarks.decisions.worlds import DESIGNS, World, make_world
from benchmarks.page import write_from_template
from benchmarks.results import RESULTS_DIR

RESULTS_FILE = RESULTS_DIR / "decisions.json"
PAGE = PROJECT_DIR / "docs" / "benchmarks_decisions.md"
PLOT = PROJECT_DIR / "docs" / "images" / "calibration.png"
_FIRST_SEED = 5_000
_BINS = [tenth / 10 for tenth in range(11)]


def score(seeds: Iterable[int]) -> dict[str, Any]:
    """Apply every rule to the worlds of the seeds, and return the scores of the rules and the calibration."""
    seeds = list(seeds)
    scored: list[dict[str, Any]] = []
    judged: list[pd.DataFrame] = []
    for seed in seeds:
        world = make_world(seed)
        evidence = evidence_of(world).merge(world.truth, on=["venue_id", "band_id"])
        rules = {"evidence": claims_of_evidence(evidence), "tiers": claims_of_tiers(world)}
        rules |= {f"tiers, at least {least} performances": claims_of_tiers(world, least) for least in (2, 3)}
        scored += [{"rule": rule, **_score(claim, world)} for rule, claims in rules.items() for claim in claims]
        is_best = evidence.true_tickets == evidence.groupby("venue_id").true_tickets.transform("max")
        is_covered = evidence.true_tickets.between(evidence.expected_low, evidence.expected_high)
        judged.append(evidence.assign(is_best=is_best, is_covered=is_covered))
    everything = pd.concat(judged)
    bins = everything.groupby(pd.cut(everything.p_best, _BINS, include_lowest=True), observed=True)
    return {
        "first_seed": seeds[0],
        "worlds": len(seeds),
        "scores": pd.DataFrame(scored).groupby("rule", sort=False).sum().to_dict("index"),
        "calibration": [
            {"said": float(band.p_best.mean()), "true": float(band.is_best.mean()), "bands": len(band)}
            for _, band in bins
        ],
        "covered": float(everything.is_covered.mean()),
    }


def _score(claim: Claim, world: World) -> dict[str, float]:
    """Score one claim. Regret is the share of the best band's tickets that the first choice lacks."""
    levels = world.levels(claim.venue).sort_values()
    best, second = levels.iloc[-1], levels.iloc[-2]
    shows_of_best = (world.shows.venue_id == claim.venue) & (world.shows.band_id == levels.index[-1])
    right = is_right(claim, world)
    must_invite = claim.verdict == "must invite"
    is_claim = must_invite or claim.verdict == "near-equals"
    standout = bool(second < 0.9 * best and shows_of_best.sum() > 1)
    return {
        "venues": 1,
        "claims": int(is_claim),
        "claims_right": int(is_claim and right),
        "must_invites": int(must_invite),
        "must_invites_right": int(must_invite and right),
        "standouts": int(standout),
        "standouts_found": int(standout and must_invite and right),
        "regret": float(1 - levels[claim.first] / best),
    }


def write_page(results: dict[str, Any]) -> None:
    """Write the page and its plot."""
    write_from_template(PAGE, "decisions.md.jinja", results=results, kinds=list(DESIGNS))
    rows = [row for row in results["calibration"] if row["bands"] >= 5]
    diagonal = {"values": [{"said": 0, "true": 0}, {"said": 1, "true": 1}]}
    line = alt.Chart(diagonal).mark_line(strokeDash=[4, 4], color="#566173")
    points = alt.Chart({"values": rows}).mark_point(filled=True, size=90, color="#0072b2", opacity=1)
    axes: dict[str, Any] = {
        "x": alt.X("said:Q", title="chance to be the best, as said", axis=alt.Axis(format="%")),
        "y": alt.Y("true:Q", title="share that was the best", axis=alt.Axis(format="%")),
    }
    chart = alt.layer(line.encode(**axes), points.encode(**axes)).properties(width=340, height=300)
    PLOT.write_bytes(vl_convert.vegalite_to_png(chart.to_dict(), scale=1.5))


def main() -> None:
    """Score the rules, store the results and write the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.decisions", description=__doc__)
    parser.add_argument("--worlds", type=int, default=240, help="number of worlds (%(default)s)")
    parser.add_argument("--first-seed", type=int, default=_FIRST_SEED, help="seed of the first world (%(default)s)")
    options = parser.parse_args()
    results = score(range(options.first_seed, options.first_seed + options.worlds))
    RESULTS_FILE.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    write_page(results)


if __name__ == "__main__":
    main()
