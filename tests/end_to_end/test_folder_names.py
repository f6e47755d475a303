"""The data folder may have any name, also one that is a pattern of a sibling's name."""

from __future__ import annotations

import json
from pathlib import Path

import duckdb
import pytest
from refreshes import (
    Festival,
    copy_installation,
    festival_settings,
    land_batch,
    land_increment,
    published_rows,
    refresh,
)

pytestmark = pytest.mark.slow

SCALE = 0.002


def test_refresh_reads_its_own_folder_and_no_sibling_that_its_name_matches(festival: Festival, tmp_path: Path) -> None:
    settings = festival_settings(tmp_path / 'it\'s $HOME %41 [a-z] {x} # * ä "q"')
    copy_installation(festival.template, tmp_path / 'it\'s $HOME %41 b {x} # zz ä "q"')
    land_batch(settings, scale=SCALE)
    increment = land_increment(settings, scale=SCALE)
    refreshed = refresh(settings)
    assert refreshed.success, refreshed.errors
    tables = json.loads((increment / "manifest.json").read_bytes())["tables"]
    expected = [(tables["tickets"]["rows_at_source"], tables["tickets"]["sums_at_source"]["price"])]
    query = "select count(*), sum(ticket_price) from star_schema.fct_ticket_sales"
    assert published_rows(settings, query) == expected
    people = published_rows(settings, "select count(*) from star_schema.dim_people")
    assert people == [(tables["people"]["rows_at_source"],)]
    with duckdb.connect(str(settings.published_file), read_only=True) as connection:
        assert connection.execute("select current_database()").fetchall() == [("acl",)]
