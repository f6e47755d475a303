"""The data folder may have any name, also one that is a pattern of a sibling's name."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest
from refreshes import festival_settings, land_batch, land_increment, published_rows, refresh

from acl_assets.settings import Settings

pytestmark = pytest.mark.slow

QUERIES = [
    "select count(*), sum(ticket_price) from star_schema.fct_ticket_sales",
    "select count(*) from star_schema.dim_people",
    "select batch_id from publication.export_batches order by all",
    "from publication.source_tables order by all",
]


def figures(settings: Settings) -> list[list[tuple[object, ...]]]:
    return [published_rows(settings, query) for query in QUERIES]


@pytest.mark.exhaustive
def test_refresh_reads_its_own_folder_and_no_sibling(tmp_path: Path) -> None:
    odd = festival_settings(tmp_path / 'it\'s [a-z] {x} # * ä "q"')
    sibling = festival_settings(tmp_path / 'it\'s b {x} # zz ä "q"')
    plain = festival_settings(tmp_path / "plain")
    land_batch(sibling, "sibling", scale=0.002, seed=21)
    for settings in (plain, odd):
        land_batch(settings)
    for settings in (sibling, plain, odd):
        refreshed = refresh(settings)
        assert refreshed.success, refreshed.errors
    assert figures(odd) == figures(plain) != figures(sibling)
    for settings in (plain, odd):
        land_increment(settings)
        assert refresh(settings).success
    assert figures(odd) == figures(plain)
    with duckdb.connect(str(odd.published_file), read_only=True) as connection:
        assert connection.execute("select current_database()").fetchall() == [("acl",)]
