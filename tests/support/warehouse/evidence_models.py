"""The evidence models on given performances: their compiled SQL, run in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple
from typing import Any

import duckdb
import pandas as pd
from warehouse.dbt_festivals import nodes
from warehouse.evidence_reference import Show


def computed(shows: Sequence[Show], *, other_venues: bool = True) -> dict[tuple[int, int], dict[str, Any]]:
    """Return the rows of band_levels, band_chances and band_verdicts, by (venue, band)."""
    names = ("performance_id", "venue_id", "band_id", "festival_year", "tickets_sold", "capacity")
    columns = zip(*([number, *astuple(show)] for number, show in enumerate(shows)), strict=True)
    fact = pd.DataFrame(dict(zip(names, columns, strict=False)), columns=names, dtype="int64")  # noqa: F841 # DuckDB reads it by its name
    with duckdb.connect(config={"threads": 1}) as connection:
        connection.execute("attach ':memory:' as acl; use acl; create schema star_schema; create schema evidence")
        connection.execute("create table star_schema.fct_performances as select *, true as is_completed from fact")
        connection.execute(f"set variable evidence_from_other_venues = {other_venues}")
        for model in nodes("model"):
            if model["schema"] == "evidence":
                connection.execute(f"create table evidence.{model['name']} as {model['compiled_code']}")
        rows = connection.execute(
            "from evidence.band_levels full join evidence.band_chances using (venue_id, band_id) "
            "full join evidence.band_verdicts using (venue_id, band_id)"
        ).to_arrow_table()
    return {(row["venue_id"], row["band_id"]): row for row in rows.to_pylist()}
