"""Checks compare the source tables with their manifests, their source and the published file."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from typing import Any

import duckdb
import pytest
from dagster import (
    AssetCheckEvaluation,
    AssetSelection,
    AssetSpec,
    DagsterInstance,
    ExecuteInProcessResult,
    materialize,
)
from refreshes import LATER, land_batch, land_increment, land_plain_batch

from acl_assets.asset_keys import TICKET_SALES_FACT
from acl_assets.landing_zone.manifest import MANIFEST_NAME
from acl_assets.settings import Settings
from acl_assets.source_schema import SOURCE_TABLES
from acl_assets.source_tables.assets import source_tables
from acl_assets.util.refresh_lock import RefreshLock
from acl_assets.warehouse.checks import AMOUNTS_CHECK, ROWS_CHECK, VOLUME_CHECK, fact_amounts, source_row_counts

pytestmark = pytest.mark.slow

CHECKS = (ROWS_CHECK, VOLUME_CHECK, AMOUNTS_CHECK)
LET_THROUGH = {"ops": {"source_row_counts": {"config": {"accept_volume_loss": True}}}}


@pytest.fixture
def ephemeral() -> Iterator[DagsterInstance]:
    with DagsterInstance.ephemeral() as instance:
        yield instance


def evaluate(
    settings: Settings, instance: DagsterInstance, run_config: Mapping[str, Any] | None = None
) -> dict[tuple[str, str], AssetCheckEvaluation]:
    """Convert the newest batch and evaluate its checks, by (table, check name)."""
    result = materialize(
        [source_tables, source_row_counts],
        instance=instance,
        resources={"settings": settings, "refresh_lock": RefreshLock(lock_file=str(settings.refresh_lock_file))},
        run_config=run_config,
        raise_on_error=False,
    )
    return {
        (evaluation.asset_key.path[-1], evaluation.check_name): evaluation
        for evaluation in result.get_asset_check_evaluations()
        if evaluation.check_name in CHECKS
    }


def publish_rows(settings: Settings, **rows: int) -> None:
    """Write a published file that states how many rows its source tables had."""
    settings.published_file.parent.mkdir(parents=True)
    with duckdb.connect(str(settings.published_file)) as connection:
        connection.execute("create schema publication")
        connection.execute("create table publication.source_tables (table_name varchar, row_count bigint)")
        connection.executemany("insert into publication.source_tables values (?, ?)", list(rows.items()))


def edit_tickets_entry(settings: Settings, **values: Any) -> None:
    manifest = settings.exports_dir / "first" / MANIFEST_NAME
    document = json.loads(manifest.read_bytes())
    document["tables"]["tickets"].update(values)
    manifest.write_text(json.dumps(document))


def test_row_or_money_missing_from_the_export_fails(landed: Settings, ephemeral: DagsterInstance) -> None:
    """The source counted one row more than was exported, and one ticket lost its price."""
    file = f"{landed.exports_dir}/first/tickets.parquet"
    ((rows, dollars),) = duckdb.sql(f"select count(*), sum(price)::int from '{file}'").fetchall()
    edit_tickets_entry(landed, rows_at_source=rows + 1, sums_at_source={"price": dollars + 10})
    checks = evaluate(landed, ephemeral)
    assert checks["tickets", ROWS_CHECK].description == f"the batch holds {rows:,} rows, the source had {rows + 1:,}"
    assert checks["tickets", AMOUNTS_CHECK].description == (
        f"it has {rows:,} rows, the source had {rows + 1:,}; "
        f"price adds up to {dollars:,}, at the source to {dollars + 10:,}"
    )
    failed = {key for key, check in checks.items() if not check.passed}
    assert failed == {("tickets", ROWS_CHECK), ("tickets", AMOUNTS_CHECK)}


def test_several_batches_are_checked_as_one_table(landed: Settings, ephemeral: DagsterInstance) -> None:
    """Each batch is compared with its manifest, the merged table with the source at the newest batch."""
    land_increment(landed)
    checks = evaluate(landed, ephemeral)
    assert set(checks) == {(table, name) for table in SOURCE_TABLES for name in CHECKS}
    assert all(check.passed and check.blocking for check in checks.values())
    exported = json.loads((landed.exports_dir / "second" / MANIFEST_NAME).read_bytes())["tables"]["tickets"]
    rows = checks["tickets", AMOUNTS_CHECK].metadata["rows"].value
    assert rows == exported["rows_at_source"] > exported["files"][0]["rows"]


def test_checks_pass_with_a_remark_when_the_manifest_states_nothing(
    settings: Settings, ephemeral: DagsterInstance
) -> None:
    """A pass without anything to compare with must be recognisable."""
    land_plain_batch(settings)
    checks = evaluate(settings, ephemeral)
    rows, amounts = checks["tickets", ROWS_CHECK], checks["tickets", AMOUNTS_CHECK]
    assert (rows.passed, rows.description) == (True, "The batch has no manifest that states row counts.")
    assert rows.metadata["manifest_states_rows"].value is False
    assert (amounts.passed, amounts.description) == (True, "The manifest states no rows or sums of tickets.")


def check_only(settings: Settings, instance: DagsterInstance) -> ExecuteInProcessResult:
    """Evaluate the checks of the current source tables without converting anything."""
    return materialize(
        [source_tables, source_row_counts],
        instance=instance,
        resources={"settings": settings, "refresh_lock": RefreshLock(lock_file=str(settings.refresh_lock_file))},
        selection=AssetSelection.checks(source_row_counts),
        raise_on_error=False,
    )


def test_checks_of_current_tables_need_no_landing_zone(landed: Settings, ephemeral: DagsterInstance) -> None:
    """The source tables keep what their manifests stated, and are checked against that."""
    edit_tickets_entry(landed, rows_at_source=7)
    evaluate(landed, ephemeral)
    land_batch(landed, "second", exported_at=LATER, seed=21)
    shutil.rmtree(landed.exports_dir / "first")
    failed = [check for check in check_only(landed, ephemeral).get_asset_check_evaluations() if not check.passed]
    assert {check.check_name for check in failed} == {ROWS_CHECK, AMOUNTS_CHECK}
    assert all("the source had 7" in str(check.description) for check in failed)


def test_checks_fail_when_there_are_no_current_tables(landed: Settings, ephemeral: DagsterInstance) -> None:
    result = check_only(landed, ephemeral)
    (failure,) = [event.step_failure_data for event in result.all_events if event.is_step_failure]
    assert not result.success
    assert str(landed.source_tables_dir) in str(failure.error)
    assert "Refresh everything" in str(failure.error)


def test_losing_more_than_half_of_a_published_table_is_stopped(landed: Settings, ephemeral: DagsterInstance) -> None:
    """The checksums of an export that was cut short are right; only the published file shows what is missing."""
    publish_rows(landed, tickets=1_000_000, bands=10)
    accepts_another = landed.with_changes(accept_smaller_batch="another")
    checks = evaluate(accepts_another, ephemeral)
    failed = checks["tickets", VOLUME_CHECK]
    assert {key for key, check in checks.items() if not check.passed} == {("tickets", VOLUME_CHECK)}
    assert "where 1,000,000 are published" in str(failed.description)
    assert "set ACL_ACCEPT_SMALLER_BATCH=first, or launch refresh" in str(failed.description)
    assert "accept_volume_loss: true" in str(failed.description)


@pytest.mark.parametrize("by", ["run config", "setting"])
def test_loss_is_let_through_for_one_run_or_one_batch(landed: Settings, ephemeral: DagsterInstance, by: str) -> None:
    publish_rows(landed, tickets=1_000_000)
    accepting = landed
    if by == "setting":
        land_increment(landed)
        accepting = landed.with_changes(accept_smaller_batch="first")
    check = evaluate(accepting, ephemeral, LET_THROUGH if by == "run config" else None)["tickets", VOLUME_CHECK]
    assert check.passed
    assert check.metadata["published_rows"].value == 1_000_000


def test_damaged_published_file_leaves_nothing_to_compare_with(landed: Settings, ephemeral: DagsterInstance) -> None:
    """Only a new publication repairs it, so the check must not stop one."""
    landed.published_file.parent.mkdir(parents=True)
    landed.published_file.write_bytes(b"damaged")
    check = evaluate(landed, ephemeral)["tickets", VOLUME_CHECK]
    assert check.passed
    assert str(check.description).startswith("There are no published rows to compare with.")
    assert f"{landed.published_file} cannot be read" in str(check.description)


@pytest.mark.parametrize("content", [None, b"", b"damaged"])
def test_fact_of_an_unreadable_published_file_fails_its_check(
    settings: Settings, ephemeral: DagsterInstance, content: bytes | None
) -> None:
    """Without a build the check reads the published file; it must name that file instead of raising."""
    if content is not None:
        settings.published_file.parent.mkdir(parents=True)
        settings.published_file.write_bytes(content)
    result = materialize(
        [AssetSpec(TICKET_SALES_FACT), fact_amounts],
        instance=ephemeral,
        resources={"settings": settings},
        selection=AssetSelection.checks(fact_amounts),
        raise_on_error=False,
    )
    (check,) = result.get_asset_check_evaluations()
    assert not check.passed
    reason = str(check.metadata["reason"].value)
    assert str(settings.published_file) in reason
    assert "Run the job refresh" in reason
