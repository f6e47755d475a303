"""What Spark's warehouse is taken to hold, and how it is copied; a server that says nothing stands in for Spark."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from dagster import AssetCheckResult, AssetExecutionContext, Output
from dagster_dbt import DbtCliInvocation
from dagster_dbt.errors import DagsterDbtCliRuntimeError
from processes import free_port
from refreshes import land_batch, refresh, sha256

from acl_assets.settings import Settings
from acl_assets.warehouse import dbt_assets as assets
from acl_assets.warehouse import spark_warehouse
from acl_assets.warehouse.build_file import BuildError, row_counts
from acl_assets.warehouse.memory import build_memory_limit
from acl_assets.warehouse.spark_warehouse import (
    Column,
    CopyOrder,
    Relation,
    begin_spark_build,
    copy_from_spark,
    copy_relations,
    missing_relations,
    note_publication,
)

MANIFEST = {
    "nodes": {
        "model.bands": {"schema": "star_schema", "alias": "dim_bands"},
        "test.bands": {"schema": "audit", "alias": "bands_have_names"},
    }
}
BUILT = Output(None, output_name="dim_bands", metadata={"unique_id": "model.bands"})
FAILED = AssetCheckResult(passed=False, check_name="bands_have_names", metadata={"unique_id": "test.bands"})


@contextmanager
def listening() -> Iterator[str]:
    """The remote of a server that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"sc://127.0.0.1:{server.getsockname()[1]}/;token=geheim"


@pytest.fixture
def on_spark(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    """An installation that has published what Spark built."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    settings.published_file.parent.mkdir(parents=True)
    duckdb.connect(str(settings.published_file)).close()
    settings.build_dir.mkdir()
    with listening() as remote:
        settings = replace(settings, dbt_target="spark", spark_remote=remote)
        note_publication(settings)
        yield settings


def no_table(name: str) -> bool:
    """What a catalog without tables says of any."""
    return False


def have_spark(
    monkeypatch: pytest.MonkeyPatch, table_exists: Callable[[str], bool] = no_table, table: object = None
) -> list[str]:
    """Put a catalog, and the one table in it, in Spark's place; the remotes that are asked come into the list."""
    remotes = []

    @contextmanager
    def session(remote: str) -> Iterator[Any]:
        remotes.append(remote)
        yield SimpleNamespace(catalog=SimpleNamespace(tableExists=table_exists), table=lambda name: table)

    monkeypatch.setattr(spark_warehouse, "_session", session)
    return remotes


# What it holds ------------------------------------------------------------------------------------------------------


def refusal(settings: Settings, *upstream: str) -> str:
    with pytest.raises(BuildError, match="Spark's warehouse does not hold the others as they are published") as raised:
        begin_spark_build(settings, complete=False, upstream=upstream)
    assert "geheim" not in str(raised.value)
    assert "Materialize everything (job refresh" in str(raised.value)
    return str(raised.value)


def test_single_models_are_not_mixed_with_a_build_that_was_not_published(on_spark: Settings) -> None:
    """Spark's warehouse is not swapped in as a whole: a build that failed its audit is in it all the same."""
    begin_spark_build(on_spark, complete=False, upstream=[])
    assert "published: a build since then was not published." in refusal(on_spark)
    begin_spark_build(on_spark, complete=True, upstream=[])


def test_single_models_are_not_mixed_with_what_another_engine_published(on_spark: Settings) -> None:
    """Spark's tables are older than what DuckDB has built since."""
    on_spark.published_file.write_bytes(b"published by DuckDB")
    assert "the published file has been replaced since Spark built it" in refusal(on_spark)


def test_single_models_are_not_mixed_with_what_another_cluster_holds(on_spark: Settings) -> None:
    """Its tables may be those of an earlier refresh, made when it was this one's turn."""
    with listening() as remote:
        elsewhere = replace(on_spark, spark_remote=remote)
        begin_spark_build(elsewhere, complete=True, upstream=[])
        note_publication(elsewhere)
        said = refusal(on_spark)
        begin_spark_build(
            replace(elsewhere, spark_remote=remote.replace("geheim", "newer")), complete=False, upstream=[]
        )
    built_by, asked = (str(part.spark_remote).partition("/;")[0] for part in (elsewhere, on_spark))
    assert f"published: {built_by} built them, and ACL_SPARK_REMOTE is {asked}. Materialize" in said


def test_a_note_that_names_no_cluster_is_of_none(on_spark: Settings) -> None:
    """Such are the notes of versions that wrote down the published file alone."""
    note = on_spark.build_dir / "spark_holds_published"
    note.write_text(note.read_text().splitlines()[0])
    assert "Spark at an address that was not noted built them" in refusal(on_spark)


def test_nothing_of_the_token_is_noted(on_spark: Settings) -> None:
    assert "geheim" not in (on_spark.build_dir / "spark_holds_published").read_text()


def test_single_models_are_not_built_where_the_others_are_gone(
    on_spark: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A metastore can be lost while its address stays; Spark would name the first table it does not find."""
    monkeypatch.setattr(spark_warehouse, "_missing_from_spark", lambda settings, names: [*names][:2])
    said = refusal(on_spark, "star_schema.dim_bands", "star_schema.dim_dates", "star_schema.dim_venues")
    assert "there is no star_schema.dim_bands, star_schema.dim_dates in it." in said


def test_spark_is_asked_for_every_relation(monkeypatch: pytest.MonkeyPatch) -> None:
    remotes = have_spark(monkeypatch, table_exists=lambda name: name == "star_schema.dim_dates")
    wanted = ["star_schema.dim_bands", "star_schema.dim_dates", "star_schema.dim_venues"]
    assert missing_relations("sc://spark", wanted) == ["star_schema.dim_bands", "star_schema.dim_venues"]
    assert remotes == ["sc://spark"]


# When it is not there -----------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_refresh_without_spark_fails_at_once_and_changes_nothing(on_spark: Settings) -> None:
    """What Spark's warehouse holds stays noted, so that single models can be built when it is back."""
    land_batch(on_spark)
    note = on_spark.build_dir / "spark_holds_published"
    before = note.read_text(), sha256(on_spark.published_file)
    address = f"sc://127.0.0.1:{free_port()}"
    gone = replace(on_spark, spark_remote=f"{address}/;token=geheim")
    for select in (None, 'key:"star_schema/dim_dates"'):
        refreshed = refresh(gone, select=select)
        assert "dbt_models" in refreshed.failed_steps
        assert f"Nobody answers at {address}, where ACL_SPARK_REMOTE" in refreshed.errors
        assert "make spark-cluster" in refreshed.errors
        assert "geheim" not in refreshed.errors + refreshed.log
        assert (note.read_text(), sha256(on_spark.published_file)) == before


def test_nothing_is_copied_from_a_spark_that_is_gone(on_spark: Settings) -> None:
    """It may have gone while dbt built; that is said in seconds too."""
    gone = replace(on_spark, spark_remote=f"sc://127.0.0.1:{free_port()}")
    with pytest.raises(BuildError, match="Nobody answers"):
        copy_from_spark(gone, {}, [], Path(), [])
    assert not gone.build_file.exists()


class FailedDbt:
    """A dbt that has said some things before it failed."""

    target_path = Path()

    def __init__(self, *events: Output[Any] | AssetCheckResult) -> None:
        self.events = events

    def stream(self) -> Iterator[Output[Any] | AssetCheckResult]:
        """What it said, and the error."""
        yield from self.events
        raise DagsterDbtCliRuntimeError("dbt says why it failed")


def described(settings: Settings, dbt: FailedDbt) -> tuple[list[Any], list[str]]:
    """What becomes of dbt's events, up to its error, and the warnings beside them."""
    warnings: list[str] = []
    context = cast(AssetExecutionContext, SimpleNamespace(log=SimpleNamespace(warning=warnings.append)))
    events = assets._described_events(context, settings, MANIFEST, cast(DbtCliInvocation, dbt))
    told = []

    def listen() -> None:
        for event in events:
            told.append(event)  # noqa: PERF402 # those before the error are wanted too

    with pytest.raises(DagsterDbtCliRuntimeError, match="dbt says why it failed"):
        listen()
    return told, warnings


def test_nothing_is_copied_where_nothing_was_built(on_spark: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Spark that fails dbt at its first query is not waited for a second time."""
    monkeypatch.setattr(assets, "copy_from_spark", lambda *arguments: pytest.fail("was called"))
    assert described(on_spark, FailedDbt()) == ([], [])


def test_an_error_of_the_copy_does_not_hide_that_of_dbt(on_spark: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Failed checks are told all the same; models of which the build file has nothing are not called built."""

    def copy(
        settings: Settings, manifest: Any, model_ids: list[str], target_path: Path, stores: list[str]
    ) -> list[str]:
        assert (model_ids, stores) == (["model.bands"], ["audit.bands_have_names"])
        raise BuildError("Spark is gone")

    monkeypatch.setattr(assets, "copy_from_spark", copy)
    events, warnings = described(on_spark, FailedDbt(BUILT, FAILED))
    assert [event.check_name for event in events] == ["bands_have_names"]
    assert warnings == ["What dbt had built when it failed was not copied from Spark: Spark is gone"]


# How it is copied ---------------------------------------------------------------------------------------------------


def copy_order(
    settings: Settings, limit: str | None, *, relations: tuple[Relation, ...] = (), stores: tuple[str, ...] = ()
) -> CopyOrder:
    """The order to copy into an empty build file."""
    batches = settings.source_tables_dir / "export_batches.parquet"
    batches.parent.mkdir(parents=True)
    settings.build_dir.mkdir()
    duckdb.sql(f"copy (select 'first' as batch_id) to '{batches}'")
    return CopyOrder("sc://spark", settings.build_file, relations, stores, 10**9, batches, limit)


@pytest.mark.parametrize(("limit", "held_to"), [("300MB", "286.1 MiB"), (None, None)])
def test_the_copy_is_held_to_the_limit(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, limit: str | None, held_to: str | None
) -> None:
    """DuckDB would take most of the machine, which the memory limit of a refresh is to prevent."""
    own = duckdb.sql("select current_setting('memory_limit')").fetchall()
    limits = []

    def table_exists(name: str) -> bool:
        # Connections of one process to one file share its settings.
        with duckdb.connect(str(settings.build_file)) as connection:
            limits.append(connection.execute("select current_setting('memory_limit')").fetchall())
        return False

    have_spark(monkeypatch, table_exists)
    copy_relations(copy_order(settings, limit, stores=("audit.bands_have_names",)))
    assert limits == [[(held_to,)] if held_to else own]


@pytest.mark.parametrize("limit", ["2GB", None])
def test_the_limit_of_the_copy_is_that_of_the_refresh(
    on_spark: Settings, monkeypatch: pytest.MonkeyPatch, limit: str | None
) -> None:
    """The one that is set or, without, in proportion to the source tables, as for what DuckDB builds itself."""
    orders: list[CopyOrder] = []

    def call(process: object, function: str, order: CopyOrder) -> list[str]:
        orders.append(order)
        return []

    monkeypatch.setattr(spark_warehouse.ChildProcess, "call", call)
    copy_from_spark(replace(on_spark, memory_limit=limit), {}, [], Path(), [])
    assert [order.memory_limit for order in orders] == [limit or build_memory_limit(on_spark.source_tables_dir)]


def test_row_groups_larger_than_the_limit_are_copied(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Spark writes such as 128 MB of pages of 1 MB, and every core of the machine that copies reads one."""
    file, rows = tmp_path / "part-0.parquet", 5_000_000
    prices = pa.table({"price": np.random.default_rng(20).random(rows)})
    pq.write_table(prices, file, row_group_size=rows, data_page_size=1 << 20, use_dictionary=False)
    assert file.stat().st_size > 40_000_000
    have_spark(monkeypatch, table=SimpleNamespace(count=lambda: rows, inputFiles=lambda: [file.as_uri()]))
    tickets = Relation("star_schema.tickets", (Column("price", "double", is_nullable=False),), None, ())
    assert copy_relations(copy_order(settings, "40MB", relations=(tickets,))) == []
    assert row_counts(settings.build_file, [tickets.name]) == {tickets.name: rows}


def test_files_of_a_folder_that_looks_like_a_pattern_are_copied(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """DuckDB would read the sibling folder's file too."""
    for folder, bands in (("[a-z] *", [1, 2]), ("b c", [3])):
        (tmp_path / folder).mkdir()
        pq.write_table(pa.table({"band_id": pa.array(bands, pa.int32())}), tmp_path / folder / "part-0.parquet")
    file = tmp_path / "[a-z] *" / "part-0.parquet"
    have_spark(monkeypatch, table=SimpleNamespace(count=lambda: 2, inputFiles=lambda: [file.as_uri()]))
    relation = Relation("star_schema.dim_bands", (Column("band_id", "int", is_nullable=False),), None, ())
    assert copy_relations(copy_order(settings, None, relations=(relation,))) == []
    with duckdb.connect(str(settings.build_file)) as connection:
        assert connection.execute("select band_id from star_schema.dim_bands order by all").fetchall() == [(1,), (2,)]
