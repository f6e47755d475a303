"""Each scenario of the simulator makes another verdict true at the top venues."""

import numpy as np
import pytest
from warehouse.dbt_festivals import Show, evidence_of

from acl_assets.simulator.lineup import LAST_PUBLISHED_FESTIVAL, SCENARIOS, STAGES, TICKETS_BY_FESTIVAL, plan_lineup

pytestmark = pytest.mark.slow

STORY = ["must invite", "near-equals", "no clear lead"]


@pytest.mark.parametrize(
    ("scenario", "verdicts"),
    [
        ("story", STORY),
        ("no-standout", ["no clear lead"] * 3),
        ("one-show", ["leads on one show", *STORY[1:]]),
        ("sold-out", STORY),
        ("growth", STORY),
    ],
)
def test_top_venues_of_a_scenario_get_its_verdicts(scenario: str, verdicts: list[str]) -> None:
    lineup, _ = plan_lineup(1.0, np.random.default_rng(1), SCENARIOS[scenario])
    years = list(TICKETS_BY_FESTIVAL)
    shows = [
        Show(int(stage), int(band), years[festival], int(sold), STAGES[stage].capacity)
        for stage, band, festival, sold in zip(lineup.stage, lineup.band, lineup.festival, lineup.tickets, strict=True)
        if years[festival] <= LAST_PUBLISHED_FESTIVAL
    ]
    sold = {stage: sum(show.sold for show in shows if show.venue == stage) for stage in range(len(STAGES))}
    top = sorted(sold, key=lambda stage: -sold[stage])[: len(verdicts)]
    found = {venue: row["venue_verdict"] for (venue, _), row in evidence_of(shows).items()}
    assert [found[venue] for venue in top] == verdicts
    assert any(show.sold == show.capacity for show in shows) is (scenario == "sold-out")
    first, last = (sum(show.sold for show in shows if show.year == year) for year in (2002, 2021))
    assert (last > 6 * first) is (scenario == "growth")
