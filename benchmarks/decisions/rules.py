"""The rules that are compared: the project's models, the tiers they replaced, and filters by performances."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb
import pandas as pd

from acl_assets.settings import DBT_PROJECT_DIR
from acl_assets.warehouse.project import dbt_command
from benchmarks.decisions.worlds import EQUAL_WITHIN, World

TIER_GAP = 0.10


@dataclass(frozen=True)
class Claim:
    """The verdict of a rule on a venue: `must invite` one band, `near-equals` of several, or nothing.

    `first` is the band it would invite first in any case.
    """

    venue: int
    verdict: str
    bands: tuple[int, ...]
    first: int


@cache
def evidence_models() -> tuple[tuple[str, str], ...]:
    """Return names and compiled SQL of the evidence models, those first that others read."""
    with TemporaryDirectory() as folder:
        # dbt connects to the warehouse of the data folder before it compiles.
        (Path(folder) / "build").mkdir()
        command = [*dbt_command(), "--quiet", "compile", "--select", "path:models/evidence", "--target-path", folder]
        subprocess.run(
            [*command, "--log-path", folder, "--profiles-dir", str(DBT_PROJECT_DIR)],
            cwd=DBT_PROJECT_DIR,
            env={**os.environ, "ACL_DATA_DIR": folder},
            check=True,
        )
        nodes = json.loads((Path(folder) / "manifest.json").read_bytes())["nodes"]
    models = {key: node for key, node in nodes.items() if node.get("schema") == "evidence" and "compiled_code" in node}
    order = TopologicalSorter({key: node["depends_on"]["nodes"] for key, node in models.items()}).static_order()
    return tuple((models[key]["name"], models[key]["compiled_code"]) for key in order if key in models)


def evidence_of(world: World) -> pd.DataFrame:
    """Return `band_levels`, `band_chances` and `band_verdicts` of a world in one frame."""
    fact = world.shows.assign(performance_id=range(len(world.shows)), is_completed=True)  # noqa: F841 # DuckDB reads it
    with duckdb.connect() as connection:
        connection.execute("attach ':memory:' as acl; use acl; create schema star_schema; create schema evidence")
        connection.execute("create table star_schema.fct_performances as from fact")
        for name, sql in evidence_models():
            connection.execute(f"create table evidence.{name} as {sql}")
        return connection.execute(
            "from evidence.band_levels join evidence.band_chances using (venue_id, band_id) "
            "join evidence.band_verdicts using (venue_id, band_id) join evidence.venue_levels using (venue_id)"
        ).df()


def claims_of_evidence(evidence: pd.DataFrame) -> list[Claim]:
    """Return the claims of the project's own rule."""
    claims = []
    for venue in evidence.venue_id.unique().tolist():
        bands = evidence[evidence.venue_id == venue]
        by_chance = bands.sort_values("p_best", ascending=False)
        verdict = str(bands.venue_verdict.iloc[0])
        named = by_chance[by_chance.verdict == verdict].band_id
        claims.append(Claim(venue, verdict, tuple(map(int, named)), int(by_chance.band_id.iloc[0])))
    return claims


def claims_of_tiers(world: World, least_performances: int = 1) -> list[Claim]:
    """Return the claims of the rule before: the first tier of the averages, which ends at a fall of over 10 %."""
    claims = []
    for venue in world.shows.venue_id.unique().tolist():
        averages = world.shows[world.shows.venue_id == venue].groupby("band_id").tickets_sold.agg(["mean", "size"])
        ranked = averages[averages["size"] >= least_performances]["mean"].sort_values(ascending=False)
        if ranked.empty:
            continue
        tier = list(_first_tier(ranked))
        verdict = "must invite" if len(tier) == 1 else "near-equals"
        claims.append(Claim(venue, verdict, tuple(tier), tier[0]))
    return claims


def _first_tier(ranked: pd.Series) -> Iterable[int]:
    before = None
    for band, average in zip(ranked.index.tolist(), ranked.tolist(), strict=True):
        if before is not None and average < (1 - TIER_GAP) * before:
            return
        yield band
        before = average


def is_right(claim: Claim, world: World) -> bool:
    """Return whether a claim is true.

    A must-invite is right when that band is truly the best of its venue. Near-equals are right when the truly best band
    is one of them, and more than half of them are truly within 10 % of it.
    """
    levels = world.truth[world.truth.venue_id == claim.venue].set_index("band_id").true_tickets
    if claim.verdict == "must invite":
        return bool(levels.idxmax() == claim.bands[0])
    equal = sum(world.is_within(claim.venue, band, EQUAL_WITHIN) for band in claim.bands)
    return levels.idxmax() in claim.bands and equal > len(claim.bands) / 2
