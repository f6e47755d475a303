"""A refresh on Apache Spark publishes what a refresh on DuckDB publishes, row for row."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from refreshes import (
    WEEKS_LATER,
    Refreshed,
    copy_installation,
    dagster_home,
    festival_settings,
    land_batch,
    land_increment,
    open_instance,
    published_rows,
    refresh,
)
from warehouse.tiny_festival import TINY, TINY_WITH_OTHER_VENUES, tiny_festival

from acl_assets.definitions import build_definitions
from acl_assets.settings import DBT_PROJECT_DIR, Settings, SettingsError, secret_text
from acl_assets.source_schema import SOURCE_TABLES
from acl_assets.source_tables.current_state import EXPORT_BATCHES
from acl_assets.util.processes import ChildProcesses
from acl_assets.warehouse import spark_copy, spark_engine
from acl_assets.warehouse.project import dbt_command
from acl_assets.warehouse.spark_engine import SparkEngine
from benchmarks.equality import require_equal
from spark.cluster import running_cluster

pytestmark = [pytest.mark.server, pytest.mark.slow]

FACT = "star_schema.fct_ticket_sales"
SCALE = 0.1


@dataclass(frozen=True)
class Parity:
    """The same batches, refreshed by both engines."""

    duckdb: Settings
    spark: Settings
    refreshed: Refreshed


@pytest.fixture(scope="module")
def remote(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a cluster, which ends with this module: when idle it still uses CPU time."""
    with running_cluster(tmp_path_factory.mktemp("spark") / "cluster") as cluster:
        yield cluster.remote


@pytest.fixture(scope="module")
def parity(remote: str, tmp_path_factory: pytest.TempPathFactory) -> Parity:
    """A full and three incremental batches, refreshed by both engines."""
    folder = tmp_path_factory.mktemp("parity")
    on_duckdb = festival_settings(folder / "duckdb")
    land_batches(on_duckdb)
    on_spark = using(remote, festival_settings(folder / "spark"), on_duckdb)
    with open_instance(dagster_home(folder / "home")) as instance:
        assert refresh(on_duckdb, instance=instance).success
        refreshed = refresh(on_spark, instance=instance)
        assert refreshed.success, refreshed.errors
        return Parity(on_duckdb, on_spark, refreshed)


def using(remote: str, settings: Settings, other: Settings) -> Settings:
    """Return settings of an installation that builds on Spark from another one's landing zone."""
    return settings.with_changes(exports_dir=other.exports_dir, dbt_target="spark", spark_remote=remote)


def land_batches(settings: Settings) -> None:
    """Two of the increments correct the same tickets, and the later one has the last word."""
    second, third, fourth = (WEEKS_LATER + timedelta(weeks=weeks) for weeks in range(3))
    land = partial(land_increment, settings, scale=SCALE)
    land_batch(settings, scale=SCALE)
    land("second", exported_at=second)
    land("third", after="second", since=second, exported_at=third, change=partial(corrected, price=1))
    land("fourth", after="third", since=third, exported_at=fourth, change=partial(corrected, price=2))


def corrected(table: str, rows: pa.Table, price: int) -> pa.Table:
    """Some tickets had been sold for another price."""
    if table != "tickets":
        return rows
    prices = pc.if_else(pc.equal(pc.bit_wise_and(rows["id"], 63), 5), price, rows["price"])
    place = rows.schema.get_field_index("price")
    return rows.set_column(place, rows.schema.field(place), prices.cast(rows.schema.field(place).type))


def test_publishes_what_duckdb_publishes(published: Settings, remote: str, tmp_path: Path) -> None:
    """A small festival, from a full and an incremental batch."""
    on_spark = using(remote, festival_settings(tmp_path / "spark"), published)
    land_increment(published, change=partial(corrected, price=1))
    assert refresh(published).success
    refreshed = refresh(on_spark)
    assert refreshed.success, refreshed.errors
    require_parity(published, on_spark, refreshed)


@pytest.mark.spark
@pytest.mark.exhaustive
def test_publishes_what_duckdb_publishes_from_several_increments(parity: Parity) -> None:
    rows = require_parity(parity.duckdb, parity.spark, parity.refreshed)
    assert rows[FACT] > 300_000


def require_parity(duckdb: Settings, spark: Settings, refreshed: Refreshed) -> dict[str, int]:
    """Row for row, with names and types of columns: readers cannot tell which engine built the published file."""
    rows = require_equal(duckdb.published_file, spark.published_file)
    assert len(rows) == 14
    require_source_tables_are_gone(spark)
    require_equal_surroundings(duckdb, spark)
    require_samples_of_failing_rows(refreshed)
    return rows


def require_equal_surroundings(duckdb: Settings, spark: Settings) -> None:
    """Where the data comes from, what was checked and how it ended."""
    for query in (
        "from publication.export_batches order by all",
        "from publication.source_tables order by all",
        "select asset_key, check_name, passed, severity, blocking from publication.audit_results order by all",
        "select table_schema, table_name, table_type from information_schema.tables where table_schema = 'audit'",
        "select table_name, column_name from duckdb_columns() where not is_nullable and schema_name <> 'publication' "
        "order by all",
    ):
        assert published_rows(spark, query) == published_rows(duckdb, query), query


def require_samples_of_failing_rows(refreshed: Refreshed) -> None:
    key = ("star_schema/fct_performances", "performances_have_tickets")
    assert key in refreshed.warnings
    _, metadata = refreshed.check_results[key]
    columns = [column.name for column in metadata["failing_rows"].schema.columns]
    assert columns[:4] == ["performance_id", "band_id", "venue_id", "festival_year"]


def require_source_tables_are_gone(settings: Settings) -> None:
    """Spark's catalog knows the models and none of the views on source tables.

    Asked in a process, as builds do: Spark's client takes one of pytest-xdist for its own doctests.
    """
    tables = [*SOURCE_TABLES, EXPORT_BATCHES]
    views = [f"festival.{table}" for table in tables]
    with ChildProcesses() as process:
        missing = process.call(
            f"{spark_copy.__name__}:missing_relations", secret_text(settings.spark_remote), [*views, FACT]
        )
    assert missing == views


def dbt_on_spark(settings: Settings, folder: Path, command: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    places = ["--target", "spark", "--target-path", str(folder), "--log-path", str(folder)]
    return subprocess.run(
        [*dbt_command(), command, *places, *arguments],
        cwd=DBT_PROJECT_DIR,
        env={**os.environ, **settings.dbt_variables, "DBT_PROFILES_DIR": str(DBT_PROJECT_DIR)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.spark
@pytest.mark.exhaustive
def test_evidence_of_a_small_festival_has_the_expected_values(remote: str, tmp_path: Path) -> None:
    """The values that DuckDB meets too, with and without the performances at other venues."""
    settings = festival_settings(tmp_path / "data").with_changes(dbt_target="spark", spark_remote=remote)
    tiny_festival().write(settings.data_dir)
    query = "select * from {{ ref('band_chances') }}"
    for other_venues, expected in ((True, TINY_WITH_OTHER_VENUES), (False, TINY)):
        variables = json.dumps({"evidence_from_other_venues": other_venues})
        built = dbt_on_spark(settings, tmp_path, "run", "--select", "+band_chances", "--vars", variables)
        assert built.returncode == 0, built.stdout
        shown = dbt_on_spark(
            settings, tmp_path, "show", "--quiet", "--inline", query, "--limit", "-1", "--output", "json"
        )
        assert shown.returncode == 0, shown.stdout
        found = {(row["venue_id"], row["band_id"]): row for row in json.loads(shown.stdout)["show"]}
        assert found.keys() == expected.keys()
        for key, chances in expected.items():
            for name, chance in chances.items():
                assert found[key][name] == pytest.approx(chance, abs=1e-4), (key, name)


@pytest.mark.spark
@pytest.mark.exhaustive
def test_the_unit_tests_of_the_models_pass_on_spark(parity: Parity, tmp_path: Path) -> None:
    ended = dbt_on_spark(parity.spark, tmp_path, "test", "--select", "test_type:unit")
    assert ended.returncode == 0, ended.stdout
    assert "WARN=0 ERROR=0 SKIP=0" in ended.stdout


@pytest.mark.spark
@pytest.mark.exhaustive
def test_a_run_that_fails_leaves_no_source_tables_in_spark(parity: Parity, tmp_path: Path) -> None:
    """They hold names of people, and others read the catalog too."""
    ended = dbt_on_spark(
        parity.spark, tmp_path, "test", "--select", "ticket_price_is_believable", "--vars", "{max_ticket_price: 1}"
    )
    assert ended.returncode == 1, ended.stdout
    assert "Got 1000 results, configured to fail if != 0" in ended.stdout
    require_source_tables_are_gone(parity.spark)


@pytest.mark.spark
@pytest.mark.exhaustive
def test_single_models_are_built_beside_the_others_and_too_large_ones_stay_in_spark(
    parity: Parity, tmp_path: Path
) -> None:
    """What a fact that stays adds up to can still be held against the source."""
    settings = parity.spark.with_changes(data_dir=tmp_path / "data", spark_published_rows=10_000)
    copy_installation(parity.spark.data_dir, settings.data_dir)
    SparkEngine(settings).note_publication()
    refreshed = refresh(
        settings,
        select='key:"star_schema/fct_ticket_sales" or key:"data_products/ticket_sales" or key:"published_warehouse"',
    )
    assert refreshed.success, refreshed.errors
    ((tickets,),) = published_rows(parity.duckdb, f"select count(*) from {FACT}")
    left = published_rows(settings, "from publication.left_in_spark order by relation")
    assert left == [("data_products.ticket_sales", tickets), (FACT, tickets)]
    assert refreshed.metadata["star_schema/fct_ticket_sales"]["dagster/row_count"] == tickets
    _, totals = refreshed.check_results["star_schema/fct_ticket_sales", "amounts_as_source"]
    assert totals["rows"] == tickets
    with pytest.raises(duckdb.CatalogException, match="fct_ticket_sales"):
        published_rows(settings, f"from {FACT}")
    others = "select count(*), sum(tickets_sold) from star_schema.fct_performances"
    assert published_rows(settings, others) == published_rows(parity.duckdb, others)


def test_says_what_to_install(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> None:
    def version(package: str) -> str:
        raise PackageNotFoundError(package)

    monkeypatch.setattr(spark_engine, "version", version)
    with pytest.raises(SettingsError, match="needs the package dbt-spark, which is not installed; run: make spark-in"):
        build_definitions(settings.with_changes(dbt_target="spark", spark_remote="sc://127.0.0.1:1"))
