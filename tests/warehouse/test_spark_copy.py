"""Relations are copied from the files of Spark's tables; a catalog in memory stands in for Spark."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from acl_assets.settings import Settings
from acl_assets.util.object_storage import write_file
from acl_assets.warehouse import spark_copy
from acl_assets.warehouse.build_file import BuildError, row_counts
from acl_assets.warehouse.spark_copy import Column, CopyOrder, Relation, copy_relations, local_files, missing_relations

BANDS = Relation("star_schema.dim_bands", (Column("band_id", "int", is_nullable=False),))


def have_spark(monkeypatch: pytest.MonkeyPatch, **tables: Path) -> None:
    """Put tables, each of one Parquet file, in Spark's place; `__` stands for the dot of a name."""
    files = {name.replace("__", "."): file for name, file in tables.items()}

    def table(name: str) -> SimpleNamespace:
        fields = [
            SimpleNamespace(name=field.name, dataType=SimpleNamespace(typeName=lambda: "integer"))
            for field in pq.read_schema(files[name])
        ]
        return SimpleNamespace(
            count=lambda: pq.read_metadata(files[name]).num_rows,
            inputFiles=lambda: [files[name].as_uri()],
            schema=SimpleNamespace(fields=fields),
        )

    @contextmanager
    def session(remote: str) -> Iterator[SimpleNamespace]:
        assert remote == "sc://spark"
        yield SimpleNamespace(catalog=SimpleNamespace(tableExists=lambda name: name in files), table=table)

    monkeypatch.setattr(spark_copy, "spark_session", session)


def order(
    settings: Settings, *relations: Relation, stores: tuple[str, ...] = (), max_rows: int = 10**9, limit: str = "1GB"
) -> CopyOrder:
    batches = settings.source_tables_dir / "export_batches.parquet"
    batches.parent.mkdir(parents=True, exist_ok=True)
    settings.build_dir.mkdir(exist_ok=True)
    duckdb.sql(f"copy (select 'first' as batch_id) to '{batches}'")
    return CopyOrder("sc://spark", settings.build_file, relations, stores, max_rows, batches, limit)


def numbers(file: Path, *values: int) -> Path:
    file.parent.mkdir(exist_ok=True)
    pq.write_table(pa.table({"band_id": pa.array(values, pa.int32())}), file)
    return file


def test_tables_views_and_failing_rows_are_copied_again(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Relations of an earlier copy are replaced, and a test without a failing row has no table."""
    view = Relation("data_products.bands", BANDS.columns, f"select * from {BANDS.name}", (BANDS.name,))
    copied = order(settings, view, BANDS, stores=("audit.failed", "audit.passed"))
    for values in ((1, 2), (1, 2, 3)):
        file = numbers(tmp_path / "bands.parquet", *values)
        have_spark(monkeypatch, star_schema__dim_bands=file, data_products__bands=file, audit__failed=file)
        assert copy_relations(copied) == {}
    relations = [BANDS.name, view.name, "audit.failed", "festival.export_batches", "audit.passed"]
    counts = {BANDS.name: 3, view.name: 3, "audit.failed": 3, "festival.export_batches": 1}
    assert row_counts(settings.build_file, relations) == counts


def test_too_large_tables_and_views_on_them_stay_in_spark(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = numbers(tmp_path / "bands.parquet", 1, 2, 3)
    have_spark(monkeypatch, star_schema__dim_bands=file, data_products__bands=file)
    view = Relation("data_products.bands", BANDS.columns, f"select * from {BANDS.name}", (BANDS.name,))
    left_out = {BANDS.name: 3, view.name: 3}
    assert copy_relations(order(settings, view, BANDS, max_rows=2)) == left_out
    with duckdb.connect(str(settings.build_file)) as connection:
        assert dict(connection.execute(f"from {spark_copy.LEFT_IN_SPARK}").fetchall()) == left_out
    assert copy_relations(order(settings, view, BANDS)) == {}
    assert row_counts(settings.build_file, [spark_copy.LEFT_IN_SPARK, view.name]) == {
        spark_copy.LEFT_IN_SPARK: 0,
        view.name: 3,
    }


def test_row_groups_larger_than_the_memory_limit_are_copied(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Spark writes row groups of 128 MB, and every core of the machine that copies reads one."""
    file, rows = tmp_path / "part-0.parquet", 5_000_000
    prices = pa.table({"price": np.random.default_rng(20).random(rows)})
    pq.write_table(prices, file, row_group_size=rows, data_page_size=1 << 20, use_dictionary=False)
    assert file.stat().st_size > 40_000_000
    have_spark(monkeypatch, star_schema__tickets=file)
    tickets = Relation("star_schema.tickets", (Column("price", "double", is_nullable=False),))
    assert copy_relations(order(settings, tickets, limit="40MB")) == {}
    assert row_counts(settings.build_file, [tickets.name]) == {tickets.name: rows}


def test_files_of_a_folder_that_looks_like_a_pattern_are_copied(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """DuckDB would read the sibling folder's file too."""
    file = numbers(tmp_path / "[a-z] *" / "part-0.parquet", 1, 2)
    numbers(tmp_path / "b c" / "part-0.parquet", 3)
    have_spark(monkeypatch, star_schema__dim_bands=file)
    assert copy_relations(order(settings, BANDS)) == {}
    assert row_counts(settings.build_file, [BANDS.name]) == {BANDS.name: 2}


def test_relations_that_spark_does_not_have_are_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    have_spark(monkeypatch, star_schema__dim_bands=tmp_path)
    assert missing_relations("sc://spark", [BANDS.name, "star_schema.dim_venues"]) == ["star_schema.dim_venues"]


def test_files_of_a_shared_file_system_are_read_in_place(tmp_path: Path) -> None:
    named = ["file:///warehouse/a%20b/part-0.parquet", "/warehouse/part-1.parquet"]
    assert local_files(named, tmp_path) == ["/warehouse/a b/part-0.parquet", "/warehouse/part-1.parquet"]


def test_files_on_object_storage_are_downloaded(bucket: str, tmp_path: Path) -> None:
    """Spark's own scheme is s3a, that of hosted clusters s3."""
    for part in ("0", "1"):
        write_file(f"{bucket}/warehouse/a b/part-{part}.parquet", part.encode())
    for scheme in ("s3", "s3a"):
        named = [f"{bucket}/warehouse/a%20b/part-{part}.parquet".replace("s3:", f"{scheme}:") for part in ("0", "1")]
        assert [Path(file).read_bytes() for file in local_files(named, tmp_path)] == [b"0", b"1"]
    with pytest.raises(BuildError, match=f"{bucket}/part-0.parquet is gone"):
        local_files([f"{bucket}/part-0.parquet"], tmp_path)


def test_files_in_other_places_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match=r"does not read files: gs://bucket/part-0\.parquet"):
        local_files(["gs://bucket/part-0.parquet"], tmp_path)
