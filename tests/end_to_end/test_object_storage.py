"""A refresh from object storage publishes the same file as a refresh from this machine."""

import shutil

import pytest
from object_storage import remote_settings
from refreshes import published_batches, refresh

from acl_assets.landing_zone.s3_store import land_remotely
from acl_assets.settings import Settings
from acl_assets.source_schema import SOURCE_TABLES
from acl_assets.source_tables.current_state import CHAIN_FILE, EXPORT_BATCHES
from acl_assets.util.object_storage import list_files
from benchmarks.equality import require_equal

pytestmark = pytest.mark.slow


def test_the_same_warehouse_is_published(published: Settings, bucket: str) -> None:
    """Every check passes, and the exports are not copied to this machine."""
    expected = published.published_file.rename(published.data_dir / "expected.duckdb")
    shutil.rmtree(published.source_tables_dir)
    landed = shutil.move(published.exports_dir, published.data_dir / "elsewhere")
    remote = remote_settings(published.data_dir, f"{bucket}/acl")
    land_remotely(landed / "first", str(remote.exports_dir))
    refreshed = refresh(remote)
    assert refreshed.success, refreshed.errors
    require_equal(expected, remote.published_file)
    assert published_batches(remote) == ["first"]
    sent = {path.split("/")[-1] for path in list_files(f"{remote.source_tables_url}")}
    assert sent == {"current", CHAIN_FILE, *(f"{table}.parquet" for table in (*SOURCE_TABLES, EXPORT_BATCHES))}
    assert not (remote.data_dir / "exports").exists()
