"""The compared rules: the evidence models, and the tiers that they replaced, with filters by performances."""

import json
from dataclasses import dataclass
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb
import pandas as pd

from acl_assets.warehouse.project import dbt_project, run_dbt
from benchmarks.decisions.worlds import World

_TIER_GAP = 0.10
_EQUAL_WITHIN = 0.10


@dataclass(frozen=True)
class Claim:
    """The verdict of a rule on a venue, the bands that it names, and the band to invite first in any case."""

    venue: int
    verdict: str
    bands: tuple[int, ...]
    first: int


@cache
def evidence_models() -> tuple[tuple[str, str], ...]:
    """Return names and compiled SQL of the evidence models, in the order of their dependencies."""
    with TemporaryDirectory() as folder:
        # dbt connects to the build file before it compiles.
        (Path(folder) / "build").mkdir()
        run_dbt(dbt_project(), {"ACL_DATA_DIR": folder}, folder, "compile", "--select", "path:models/evidence")
        nodes = json.loads((Path(folder) / "manifest.json").read_bytes())["nodes"]
    models = {key: node for key, node in nodes.items() if node.get("schema") == "evidence" and "compiled_code" in node}
    order = TopologicalSorter({key: node["depends_on"]["nodes"] for key, node in models.items()}).static_order()
    return tuple((models[key]["name"], models[key]["compiled_code"]) for key in order if key in models)


def evidence_of(world: World) -> pd.DataFrame:
    """Return `band_levels`, `band_chances` and `band_verdicts` of a world in one data frame."""
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
    """Return the claims of the evidence models."""
    claims = []
    for venue in evidence.venue_id.unique().tolist():
        bands = evidence[evidence.venue_id == venue]
        by_chance = bands.sort_values("p_best", ascending=False)
        verdict = str(bands.venue_verdict.iloc[0])
        named = by_chance[by_chance.verdict == verdict].band_id
        claims.append(Claim(venue, verdict, tuple(map(int, named)), int(by_chance.band_id.iloc[0])))
    return claims


def claims_of_tiers(world: World, least_performances: int = 1) -> list[Claim]:
    """Return the claims of the former rule: the first tier of the averages, which ends before a fall of over 10 %."""
    claims = []
    for venue in world.shows.venue_id.unique().tolist():
        averages = world.shows[world.shows.venue_id == venue].groupby("band_id").tickets_sold.agg(["mean", "size"])
        ranked = averages[averages["size"] >= least_performances]["mean"].sort_values(ascending=False)
        falls = ranked < (1 - _TIER_GAP) * ranked.shift()
        tier = tuple(ranked.index[falls.cumsum() == 0].tolist())
        if tier:
            claims.append(Claim(venue, "must invite" if len(tier) == 1 else "near-equals", tier, tier[0]))
    return claims


def is_right(claim: Claim, world: World) -> bool:
    """Return whether a claim is true.

    A must-invite is right if the band is truly the best of its venue. Near-equals are right if they include the truly
    best band and more than half of them are truly within 10 % of it.
    """
    levels = world.levels(claim.venue)
    if claim.verdict == "must invite":
        return bool(levels.idxmax() == claim.bands[0])
    equals = levels[list(claim.bands)] >= (1 - _EQUAL_WITHIN) * levels.max()
    return bool(levels.idxmax() in claim.bands and equals.mean() > 0.5)
