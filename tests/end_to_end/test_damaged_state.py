"""A refresh replaces derived files that were damaged, and names them; nobody has to delete anything."""

from __future__ import annotations

import json
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


def test_refresh_replaces_damaged_files_and_names_them(published: Settings) -> None:
    """Source tables that are intact are not converted again, and the figures stay."""
    figures = "from data_products.band_sales_by_venue order by venue_id, band_id"
    before = published_rows(published, figures)
    lineage = published.build_dir / "dbt" / "column_lineage.json"
    named = [published.published_file, lineage, published.build_dir / "dbt" / "partial_parse.msgpack"]
    for damage, file in zip((cut, garbage, empty), named, strict=True):
        damage(file)
    for name in ("acl.duckdb", "acl.duckdb.wal", "acl.json", "spark_holds_published"):
        garbage(published.build_dir / name)
    refreshed = refresh(published)
    assert refreshed.success, refreshed.errors
    assert [file for file in named if str(file) not in refreshed.log] == []
    assert published_batches(published) == ["first"]
    assert published_rows(published, figures) == before
    assert published_rows(published, "select run_id from publication.publications") == [(refreshed.run_id,)]
    assert refreshed.metadata["festival/tickets"]["converted_in_this_run"] is False
    assert json.loads(lineage.read_bytes())


def test_selected_model_is_not_built_on_a_damaged_published_file(published: Settings) -> None:
    cut(published.published_file)
    refreshed = refresh(published, select='key:"data_products/band_sales_by_venue" or key:"published_warehouse"')
    assert refreshed.failed_steps == {"dbt_models"}
    assert f"The published file {published.published_file} cannot be read" in refreshed.errors
    assert "Run the job refresh, which replaces it." in refreshed.errors
    alone = refresh(published, select='key:"published_warehouse"')
    assert f"The published file {published.published_file} cannot be read" in alone.errors
