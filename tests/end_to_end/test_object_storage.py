"""A refresh whose exports and source tables are on object storage publishes what one on this machine does."""

from __future__ import annotations

import shutil

import pytest
from object_storage import remote_settings
from refreshes import differing_rows, published_batches, refresh

from acl_assets.ingestion.object_storage import list_files
from acl_assets.ingestion.remote_landing_zone import land_remotely
from acl_assets.ingestion.source_schema import SOURCE_TABLES
from acl_assets.ingestion.source_state import EXPORT_BATCHES
from acl_assets.settings import Settings

pytestmark = pytest.mark.slow


def test_the_same_warehouse_is_published(published: Settings, bucket: str) -> None:
    """Every check passes, and only what must be a file of this machine is one."""
    expected = published.published_file.rename(published.data_dir / "expected.duckdb")
    shutil.rmtree(published.source_tables_dir)
    landed = shutil.move(published.exports_dir, published.data_dir / "elsewhere")
    remote = remote_settings(published.data_dir, f"{bucket}/acl")
    land_remotely(landed / "first", str(remote.exports_dir))
    refreshed = refresh(remote)
    assert refreshed.success, refreshed.errors
    assert differing_rows(expected, remote.published_file) == {}
    assert published_batches(remote) == ["first"]
    current = list_files(f"{remote.source_tables_url}/current")
    assert {path.split("/")[0] for path in current} == {*SOURCE_TABLES, EXPORT_BATCHES}
    assert not (remote.data_dir / "exports").exists()
