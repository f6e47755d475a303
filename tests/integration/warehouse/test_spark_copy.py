"""Relations are copied from the files of Spark's tables; a catalog in memory stands in for Spark."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from acl_assets.settings import Settings
from acl_assets.util.object_storage import write_file
from acl_assets.warehouse import spark_copy
from acl_assets.warehouse.build_file import BuildError, row_counts
from acl_assets.warehouse.spark_copy import Relation, copy_relations, local_files

pytestmark = pytest.mark.slow

BANDS = Relation("star_schema.dim_bands", ('"band_id" int not null',))
VIEW = Relation("data_products.bands", BANDS.columns, f"select * from {BANDS.name}", (BANDS.name,))


def have_spark(monkeypatch: pytest.MonkeyPatch, file: Path, *names: str) -> None:
    """Put tables, all of the same Parquet file, in Spark's place."""
    table = SimpleNamespace(count=lambda: pq.read_metadata(file).num_rows, inputFiles=lambda: [file.as_uri()])
    catalog = SimpleNamespace(tableExists=lambda name: name in names)

    @contextmanager
    def session(settings: Settings) -> Iterator[SimpleNamespace]:
        yield SimpleNamespace(catalog=catalog, table=dict.fromkeys(names, table).__getitem__)

    monkeypatch.setattr(spark_copy, "spark_session", session)


def numbers(file: Path, *values: int) -> Path:
    file.parent.mkdir(exist_ok=True)
    pq.write_table(pa.table({"band_id": pa.array(values, pa.int32())}), file)
    return file


def test_tables_views_and_failing_rows_are_copied_again(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Relations of an earlier copy are replaced, and a test without a failing row has no table."""
    settings.build_dir.mkdir(parents=True)
    for values in ((1, 2), (1, 2, 3)):
        # DuckDB would take the name of the folder for a pattern, and read the sibling's file too.
        file = numbers(tmp_path / "[a-z] *" / "part-0.parquet", *values)
        numbers(tmp_path / "b c" / "part-0.parquet", 7)
        have_spark(monkeypatch, file, BANDS.name, VIEW.name, "audit.failed")
        assert copy_relations(settings, [VIEW, BANDS], ["audit.failed", "audit.passed"]) == {}
    relations = [BANDS.name, VIEW.name, "audit.failed", "audit.passed"]
    assert row_counts(settings.build_file, relations) == dict.fromkeys(relations[:-1], 3)
    with duckdb.connect(str(settings.build_file)) as connection:
        nullable = "select column_name from duckdb_columns() where is_nullable and table_name = 'dim_bands'"
        assert connection.execute(nullable).fetchall() == []


def test_too_large_tables_and_views_on_them_stay_in_spark(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    have_spark(monkeypatch, numbers(tmp_path / "bands.parquet", 1, 2, 3), BANDS.name, VIEW.name)
    settings.build_dir.mkdir(parents=True)
    left_out = {BANDS.name: 3, VIEW.name: 3}
    assert copy_relations(settings.with_changes(spark_published_rows=2), [VIEW, BANDS], []) == left_out
    with duckdb.connect(str(settings.build_file)) as connection:
        assert dict(connection.execute(f"from {spark_copy.LEFT_IN_SPARK}").fetchall()) == left_out
    assert copy_relations(settings, [VIEW, BANDS], []) == {}
    counts = row_counts(settings.build_file, [spark_copy.LEFT_IN_SPARK, VIEW.name])
    assert counts == {spark_copy.LEFT_IN_SPARK: 0, VIEW.name: 3}


def test_files_on_a_shared_file_system_are_read_in_place_and_others_downloaded(bucket: str, tmp_path: Path) -> None:
    """Spark's own scheme is s3a, that of hosted clusters s3."""
    named = ["file:///warehouse/a%20b/part-0.parquet", "/warehouse/part-1.parquet"]
    assert local_files(named, tmp_path) == ["/warehouse/a b/part-0.parquet", "/warehouse/part-1.parquet"]
    write_file(f"{bucket}/warehouse/a b/part-0.parquet", b"0")
    for scheme in ("s3", "s3a"):
        (file,) = local_files([f"{bucket}/warehouse/a%20b/part-0.parquet".replace("s3:", f"{scheme}:")], tmp_path)
        assert Path(file).read_bytes() == b"0"
    with pytest.raises(BuildError, match=f"{bucket}/part-0.parquet is gone"):
        local_files([f"{bucket}/part-0.parquet"], tmp_path)
    with pytest.raises(BuildError, match=r"does not read files: gs://bucket/part-0\.parquet"):
        local_files(["gs://bucket/part-0.parquet"], tmp_path)
