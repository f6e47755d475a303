"""A small festival with known chances, which were computed by a third program."""

from __future__ import annotations

import csv
from datetime import timedelta
from pathlib import Path

from warehouse.dbt_festivals import Festival, instant
from warehouse.evidence_reference import Show

Chances = dict[tuple[int, int], dict[str, float]]

_HERE = Path(__file__).parent


def _rows(name: str) -> list[dict[str, str]]:
    with (_HERE / name).open() as stream:
        return list(csv.DictReader(stream))


def _chances(name: str) -> Chances:
    columns = ("p_best", "p_top_group", "p_stands_out")
    return {
        (int(row["venue_id"]), int(row["band_id"])): {column: float(row[column]) for column in columns}
        for row in _rows(name)
    }


SHOWS = [
    Show(*(int(row[name]) for name in ("venue_id", "band_id", "festival_year", "tickets_sold", "capacity")))
    for row in _rows("tiny_shows.csv")
]
TINY = _chances("tiny_expected.csv")
TINY_WITH_OTHER_VENUES = _chances("tiny_expected_other_venues.csv")


def tiny_festival() -> Festival:
    """Return the source tables of the festival, ticket by ticket."""
    festival = Festival(
        bands=[(band, f"Band {band}", 500) for band in sorted({show.band for show in SHOWS})],
        venues=sorted({(show.venue, f"Venue {show.venue}", show.capacity) for show in SHOWS}),
        people=[(1, "Ada Buyer")],
    )
    for number, show in enumerate(SHOWS, 1):
        start = instant(f"{show.year}-10-05 20:00")
        festival.performances.append((number, start, show.band, show.venue))
        festival.sell(number, [start - timedelta(days=30)] * show.sold)
    festival.export(instant("2022-08-01 06:00"))
    return festival
