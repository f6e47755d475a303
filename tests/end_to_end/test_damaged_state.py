"""A refresh replaces damaged derived files and names them, without manual steps."""

import os

import pytest
from refreshes import published_rows, refresh

from acl_assets.settings import Settings

pytestmark = pytest.mark.slow


def test_refresh_replaces_damaged_files_and_names_the_published_one(published: Settings) -> None:
    """Source tables that are intact are not converted again, and the figures stay."""
    figures = "from data_products.band_sales_by_venue order by venue_id, band_id"
    before = published_rows(published, figures)
    parser_state = published.build_dir / "dbt" / "partial_parse.msgpack"
    for file in (published.published_file, parser_state):
        os.truncate(file, file.stat().st_size // 2)
    for name in ("acl.duckdb", "acl.duckdb.wal", "acl.json"):
        (published.build_dir / name).write_bytes(os.urandom(10_000))
    alone = refresh(published, select='key:"published_warehouse"')
    model = refresh(published, select='key:"data_products/band_sales_by_venue" or key:"published_warehouse"')
    for refused in (alone, model):
        assert not refused.success
        assert f"The published file {published.published_file} cannot be read" in refused.errors
        assert "Run the job refresh, which replaces it." in refused.errors

    refreshed = refresh(published)
    assert refreshed.success, refreshed.errors
    assert str(published.published_file) in refreshed.log
    assert published_rows(published, figures) == before
    assert published_rows(published, "select run_id from publication.publications") == [(refreshed.run_id,)]
    assert refreshed.metadata["festival/tickets"]["converted_in_this_run"] is False


def test_published_file_that_cannot_be_replaced_is_one_error_with_what_to_do(published: Settings) -> None:
    """Not even root can write below a dangling link."""
    folder = published.published_file.parent
    folder.rename(folder.with_name("elsewhere"))
    folder.symlink_to("nowhere")
    refreshed = refresh(published)
    assert refreshed.failed_steps == {"published_warehouse"}
    assert f"{published.published_file} cannot be replaced: [Errno " in refreshed.errors
