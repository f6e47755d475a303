"""The benchmark of decisions scores claims against the truth of its worlds."""

import json
from pathlib import Path

import pandas as pd
import pytest

from benchmarks.decisions import __main__ as decisions
from benchmarks.decisions.rules import Claim, claims_of_tiers, is_right
from benchmarks.decisions.worlds import World

pytestmark = pytest.mark.slow

TRUTH = pd.DataFrame(
    {"venue_id": 1, "band_id": [1, 2, 3, 4], "true_tickets": [1_000.0, 950.0, 920.0, 500.0]},
)


@pytest.mark.parametrize(
    ("verdict", "bands", "right"),
    [
        ("must invite", (1,), True),
        ("must invite", (2,), False),
        ("near-equals", (1, 2, 3), True),
        ("near-equals", (2, 3), False),
        ("near-equals", (1, 4), False),
    ],
)
def test_a_claim_is_right_by_the_truth_alone(verdict: str, bands: tuple[int, ...], right: bool) -> None:
    world = World("flat", pd.DataFrame(), TRUTH)
    assert is_right(Claim(1, verdict, bands, bands[0]), world) is right


def test_tiers_chain_small_steps_and_end_at_a_large_one() -> None:
    sold = {1: 1_000, 2: 920, 3: 850, 4: 700}
    shows = pd.DataFrame([{"venue_id": 1, "band_id": band, "tickets_sold": tickets} for band, tickets in sold.items()])
    [claim] = claims_of_tiers(World("flat", shows, TRUTH))
    assert (claim.verdict, claim.bands) == ("near-equals", (1, 2, 3))


def test_every_rule_is_scored() -> None:
    results = decisions.score([0])
    assert results["scores"].keys() >= {"evidence", "tiers"}
    assert results["scores"]["tiers"]["venues"] == 3
    assert 0 < results["covered"] <= 1


def test_page_is_made_from_the_stored_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decisions, "PAGE", tmp_path / "page.md")
    monkeypatch.setattr(decisions, "PLOT", tmp_path / "plot.png")
    made = (Path(decisions.__file__).parents[2] / "docs" / "benchmarks_decisions.md").read_text()
    decisions.write_page(json.loads(decisions.RESULTS_FILE.read_bytes()))
    assert (tmp_path / "page.md").read_text() == made
