"""A refresh replaces derived files that were damaged, and names them; nobody has to delete anything."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from refreshes import published_batches, published_rows, refresh

from acl_assets.settings import Settings

pytestmark = pytest.mark.slow


def cut(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


def empty(file: Path) -> None:
    file.write_bytes(b"")


def garbage(file: Path) -> None:
    file.write_bytes(os.urandom(10_000))


@pytest.mark.parametrize("damage", [empty, cut, garbage], ids=lambda damage: damage.__name__)
def test_refresh_replaces_damaged_files_and_names_them(published: Settings, damage: object) -> None:
    tickets = published_rows(published, "select count(*) from star_schema.fct_ticket_sales")
    named = [
        published.published_file,
        published.build_dir / "dbt" / "column_lineage.json",
        published.build_dir / "dbt" / "partial_parse.msgpack",
    ]
    for file in named:
        assert callable(damage)
        damage(file)
    for name in ("acl.duckdb", "acl.duckdb.wal", "acl.json", "spark_holds_published"):
        garbage(published.build_dir / name)
    refreshed = refresh(published)
    assert refreshed.success, refreshed.errors
    assert [file for file in named if str(file) not in refreshed.log] == []
    assert published_batches(published) == ["first"]
    assert published_rows(published, "select count(*) from star_schema.fct_ticket_sales") == tickets
    again = refresh(published)
    assert again.success, again.errors
    assert "damaged" not in again.log
    assert "cannot be read" not in again.log


def test_selected_model_is_not_built_on_a_damaged_published_file(published: Settings) -> None:
    cut(published.published_file)
    refreshed = refresh(published, select='key:"data_products/band_sales_by_venue" or key:"published_warehouse"')
    assert refreshed.failed_steps == {"dbt_models"}
    assert f"The published file {published.published_file} cannot be read" in refreshed.errors
    assert "Run the job refresh, which replaces it." in refreshed.errors
    alone = refresh(published, select='key:"published_warehouse"')
    assert f"The published file {published.published_file} cannot be read" in alone.errors
