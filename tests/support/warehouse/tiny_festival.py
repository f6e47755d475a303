"""A small festival with known chances, which were computed by a third program."""

from __future__ import annotations

import csv
from pathlib import Path

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
