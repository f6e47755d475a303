"""Files of Spark's tables, as Spark names them, become files DuckDB can read; no Spark is needed to say which."""

from __future__ import annotations

from pathlib import Path

import pytest

from acl_assets.util.object_storage import write_file
from acl_assets.warehouse.build_file import BuildError
from acl_assets.warehouse.spark_warehouse import _local_files


def test_files_of_a_shared_file_system_are_read_where_they_are(tmp_path: Path) -> None:
    named = ["file:///warehouse/a%20b/part-0.parquet", "/warehouse/part-1.parquet"]
    assert _local_files(named, tmp_path) == ["/warehouse/a b/part-0.parquet", "/warehouse/part-1.parquet"]


@pytest.mark.parametrize("scheme", ["s3", "s3a"])
def test_files_on_object_storage_are_fetched(bucket: str, tmp_path: Path, scheme: str) -> None:
    """Both are names for the same: Spark's own is s3a, that of hosted clusters s3."""
    for part in ("0", "1"):
        write_file(f"{bucket}/warehouse/a b/part-{part}.parquet", part.encode())
    named = [f"{bucket}/warehouse/a%20b/part-{part}.parquet".replace("s3:", f"{scheme}:") for part in ("0", "1")]
    assert [Path(file).read_bytes() for file in _local_files(named, tmp_path)] == [b"0", b"1"]


def test_a_file_that_is_gone_stops_the_copy(bucket: str, tmp_path: Path) -> None:
    with pytest.raises(BuildError, match=f"{bucket}/part-0.parquet is gone"):
        _local_files([f"{bucket}/part-0.parquet"], tmp_path)


def test_other_places_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match=r"does not read files: gs://bucket/part-0\.parquet"):
        _local_files(["gs://bucket/part-0.parquet"], tmp_path)
