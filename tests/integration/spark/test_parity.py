"""A refresh on Apache Spark publishes what a refresh on DuckDB publishes, row for row."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest
from refreshes import (
    Refreshed,
    copy_installation,
    festival_settings,
    land_batch,
    published_rows,
    refresh,
)
from spark_catalog import existing

from acl_assets.settings import DBT_PROJECT_DIR, Settings
from acl_assets.source_schema import SOURCE_TABLES
from acl_assets.source_tables.current_state import EXPORT_BATCHES
from acl_assets.warehouse.project import dbt_command
from acl_assets.warehouse.spark_engine import SparkEngine
from benchmarks.equality import require_equal
from spark.cluster import Workers, running_cluster

pytestmark = [pytest.mark.server, pytest.mark.slow]

FACT = "star_schema.fct_ticket_sales"
STORES = ["audit.performances_have_tickets", "audit.tickets_id_is_unique"]
"""Where dbt stores the failing rows of a test that fails with every batch here, and of one that passes."""
SOURCE_VIEWS = [f"festival.{table}" for table in (*SOURCE_TABLES, EXPORT_BATCHES)]


# For some thousand rows, compiling queries takes longer than interpreting them, and adapting plans than running them.
INTERPRETED = {
    "spark.sql.adaptive.enabled": "false",
    "spark.sql.codegen.wholeStage": "false",
    "spark.sql.codegen.factoryMode": "NO_CODEGEN",
    "spark.sql.catalogImplementation": "in-memory",
    "spark.executor.extraJavaOptions": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC",
}


@pytest.fixture
def remote(tmp_path: Path) -> Iterator[str]:
    """The address of a cluster of one worker for little data."""
    workers = Workers(count=1, cores=1, partitions_per_core=2)
    with running_cluster(tmp_path / "cluster", workers=workers, configuration=INTERPRETED) as cluster:
        yield cluster.remote


@pytest.fixture(scope="module")
def two_workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a cluster as `make spark-cluster` starts it."""
    with running_cluster(tmp_path_factory.mktemp("spark") / "cluster") as cluster:
        yield cluster.remote


def using(remote: str, settings: Settings, other: Settings) -> Settings:
    """Return settings of an installation that builds on Spark from another one's landing zone."""
    return settings.with_changes(exports_dir=other.exports_dir, dbt_target="spark", spark_remote=remote)


def require_parity(duckdb: Settings, spark: Settings, refreshed: Refreshed) -> dict[str, int]:
    """Readers cannot tell which engine built the published file."""
    rows = require_equal(duckdb.published_file, spark.published_file)
    assert FACT in rows
    for query in (
        "from publication.export_batches order by all",
        "from publication.source_tables order by all",
        "select asset_key, check_name, passed, severity, blocking from publication.audit_results order by all",
        "select table_schema, table_name, table_type from information_schema.tables where table_schema = 'audit'",
        "select table_name, column_name from duckdb_columns() where not is_nullable and schema_name <> 'publication' "
        "order by all",
    ):
        assert published_rows(spark, query) == published_rows(duckdb, query), query
    _, metadata = refreshed.check_results["star_schema/fct_performances", "performances_have_tickets"]
    columns = [column.name for column in metadata["failing_rows"].schema.columns]
    assert columns[:4] == ["performance_id", "band_id", "venue_id", "festival_year"]
    assert existing(spark, [*SOURCE_VIEWS, FACT]) == [FACT], "the source tables hold names of people"
    assert existing(spark, STORES) == STORES[:1], "a table without failing rows costs a job"
    return rows


def test_publishes_what_duckdb_publishes(remote: str, published: Settings, tmp_path: Path) -> None:
    on_spark = using(remote, festival_settings(tmp_path / "spark"), published)
    refreshed = refresh(on_spark)
    assert refreshed.success, refreshed.errors
    require_parity(published, on_spark, refreshed)


# Minutes on Spark -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def larger(two_workers: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Settings, Settings]:
    """The same batch of hundreds of thousands of tickets, refreshed by DuckDB and by Spark, with equal results."""
    folder = tmp_path_factory.mktemp("parity")
    on_duckdb = festival_settings(folder / "duckdb")
    land_batch(on_duckdb, scale=0.1)
    assert refresh(on_duckdb).success
    on_spark = using(two_workers, festival_settings(folder / "spark"), on_duckdb)
    refreshed = refresh(on_spark)
    assert refreshed.success, refreshed.errors
    assert require_parity(on_duckdb, on_spark, refreshed)[FACT] > 300_000
    return on_duckdb, on_spark


@pytest.mark.spark
@pytest.mark.exhaustive
def test_single_models_are_built_among_the_others_and_too_large_ones_stay_in_spark(
    larger: tuple[Settings, Settings], tmp_path: Path
) -> None:
    """The totals of a fact that stays in Spark are still compared with the source."""
    on_duckdb, on_spark = larger
    settings = on_spark.with_changes(data_dir=tmp_path / "data", spark_published_rows=10_000)
    copy_installation(on_spark.data_dir, settings.data_dir)
    SparkEngine(settings).note_publication()
    models = 'key:"star_schema/fct_ticket_sales" or key:"data_products/ticket_sales"'
    refreshed = refresh(settings, select=f'{models} or key:"published_warehouse"')
    assert refreshed.success, refreshed.errors
    ((tickets,),) = published_rows(on_duckdb, f"select count(*) from {FACT}")
    left = published_rows(settings, "from publication.left_in_spark order by relation")
    assert left == [("data_products.ticket_sales", tickets), (FACT, tickets)]
    assert refreshed.metadata["star_schema/fct_ticket_sales"]["dagster/row_count"] == tickets
    _, totals = refreshed.check_results["star_schema/fct_ticket_sales", "amounts_as_source"]
    assert totals["rows"] == tickets
    with pytest.raises(duckdb.CatalogException, match="fct_ticket_sales"):
        published_rows(settings, f"from {FACT}")
    others = "select count(*), sum(tickets_sold) from star_schema.fct_performances"
    assert published_rows(settings, others) == published_rows(on_duckdb, others)


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
def test_failed_run_leaves_failing_rows_and_no_source_tables_in_spark_and_unit_tests_pass(
    larger: tuple[Settings, Settings], tmp_path: Path
) -> None:
    """They hold names of people, and others read the catalog too."""
    _, settings = larger
    failed = ("test", "--select", "ticket_price_is_believable", "--vars", "{max_ticket_price: 1}")
    ended = dbt_on_spark(settings, tmp_path, *failed)
    assert ended.returncode == 1, ended.stdout
    assert "Got 1000 results, configured to fail if != 0" in ended.stdout
    store = "audit.ticket_price_is_believable"
    assert existing(settings, [*SOURCE_VIEWS, store]) == [store]
    ended = dbt_on_spark(settings, tmp_path, "test", "--select", "ticket_price_is_believable", "test_type:unit")
    assert ended.returncode == 0, ended.stdout
    assert "WARN=0 ERROR=0 SKIP=0" in ended.stdout
    assert existing(settings, [store]) == [], "its rows were those of the test before"
