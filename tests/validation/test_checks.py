"""The checks that look beyond a source table: at its manifest, at its source, at what is published."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from typing import Any

import duckdb
import pytest
from dagster import AssetCheckEvaluation, AssetSelection, DagsterInstance, TextMetadataValue, materialize
from refreshes import LATER, land_batch, land_increment, land_plain_batch

from acl_assets.ingestion.export_batch import MANIFEST_NAME
from acl_assets.ingestion.refresh_lock import RefreshLock
from acl_assets.ingestion.source_schema import SOURCE_TABLES
from acl_assets.ingestion.source_tables import source_tables
from acl_assets.settings import Settings
from acl_assets.validation.checks import AMOUNTS_CHECK, ROWS_CHECK, VOLUME_CHECK, source_row_counts

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
    """Make a published file that says how many rows its source tables had."""
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


def test_every_source_table_is_checked(landed: Settings, ephemeral: DagsterInstance) -> None:
    """Against its manifest, its source and what is published; each must be able to stop a publication."""
    checks = evaluate(landed, ephemeral)
    assert set(checks) == {(table, name) for table in SOURCE_TABLES for name in CHECKS}
    assert all(check.passed for check in checks.values())
    assert all(check.blocking for check in checks.values())


def test_a_row_missing_from_the_export_fails(landed: Settings, ephemeral: DagsterInstance) -> None:
    """The source counted one more than was exported: the export lost a row and nobody else would notice."""
    rows = duckdb.sql(f"select count(*) from '{landed.exports_dir}/first/tickets.parquet'").fetchall()[0][0]
    edit_tickets_entry(landed, rows_at_source=rows + 1)
    checks = evaluate(landed, ephemeral)
    assert checks["tickets", ROWS_CHECK].description == (f"the batch holds {rows:,} rows, the source had {rows + 1:,}")
    failed = {key for key, check in checks.items() if not check.passed}
    assert failed == {("tickets", ROWS_CHECK), ("tickets", AMOUNTS_CHECK)}


def test_money_missing_from_the_export_fails(landed: Settings, ephemeral: DagsterInstance) -> None:
    """Every row is there, and one lost its price on the way."""
    dollars = duckdb.sql(f"select sum(price) from '{landed.exports_dir}/first/tickets.parquet'").fetchall()[0][0]
    edit_tickets_entry(landed, sums_at_source={"price": int(dollars) + 10})
    checks = evaluate(landed, ephemeral)
    said = f"After batch first: price adds up to {dollars:,}, at the source to {dollars + 10:,}"
    assert checks["tickets", AMOUNTS_CHECK].description == said
    assert {key for key, check in checks.items() if not check.passed} == {("tickets", AMOUNTS_CHECK)}


def test_sums_that_were_not_stated_are_not_proven(landed: Settings, ephemeral: DagsterInstance) -> None:
    """The check passes, and says that there was nothing to compare with."""
    edit_tickets_entry(landed, sums_at_source={})
    check = evaluate(landed, ephemeral)["tickets", AMOUNTS_CHECK]
    assert check.passed
    assert check.description == "The manifest states no sums of tickets."


def test_several_batches_are_checked_as_one_table(landed: Settings, ephemeral: DagsterInstance) -> None:
    """Each batch's files against its manifest, the merged table against what the newest says of the source."""
    land_increment(landed)
    checks = evaluate(landed, ephemeral)
    assert [key for key, check in checks.items() if not check.passed] == []
    exported = json.loads((landed.exports_dir / "second" / MANIFEST_NAME).read_bytes())["tables"]["tickets"]
    rows = checks["tickets", AMOUNTS_CHECK].metadata["rows"].value
    assert rows == exported["rows_at_source"] > exported["files"][0]["rows"]


def test_a_batch_without_a_manifest_passes_and_says_that_nothing_was_stated(
    settings: Settings, ephemeral: DagsterInstance
) -> None:
    """A pass without anything to compare with must not look like a proof."""
    land_plain_batch(settings)
    check = evaluate(settings, ephemeral)["tickets", ROWS_CHECK]
    assert check.passed
    assert check.description == "The batch has no manifest that states row counts."
    assert check.metadata["manifest_states_rows"].value is False
    amounts = evaluate(settings, ephemeral)["tickets", AMOUNTS_CHECK]
    assert (amounts.passed, amounts.description) == (True, "The manifest states no rows or sums of tickets.")


def test_a_batch_that_is_gone_fails_in_words(landed: Settings, ephemeral: DagsterInstance) -> None:
    """What the tables were converted from is needed to check them; without it nothing is proven."""
    evaluate(landed, ephemeral)
    land_batch(landed, "second", exported_at=LATER, seed=21)
    shutil.rmtree(landed.exports_dir / "first")
    with_first = materialize(
        [source_tables, source_row_counts],
        instance=ephemeral,
        resources={"settings": landed, "refresh_lock": RefreshLock(lock_file=str(landed.refresh_lock_file))},
        selection=AssetSelection.checks(source_row_counts),
        raise_on_error=False,
    )
    failed = [check for check in with_first.get_asset_check_evaluations() if not check.passed]
    assert {check.check_name for check in failed} == {ROWS_CHECK, AMOUNTS_CHECK}
    (reason,) = {check.metadata["reason"] for check in failed}
    assert isinstance(reason, TextMetadataValue)
    assert "Batch first, which the source tables were converted from, is no longer in the landing zone" in reason.value


def test_losing_more_than_half_of_a_published_table_is_stopped(landed: Settings, ephemeral: DagsterInstance) -> None:
    """An export cut short has every checksum right; only the published state shows what is missing."""
    publish_rows(landed, tickets=1_000_000, bands=10)
    checks = evaluate(landed, ephemeral)
    failed = checks["tickets", VOLUME_CHECK]
    assert {key for key, check in checks.items() if not check.passed} == {("tickets", VOLUME_CHECK)}
    assert "where 1,000,000 are published" in str(failed.description)
    assert "accept_volume_loss: true" in str(failed.description)


def test_a_loss_is_let_through_by_the_run_config_and_only_in_that_run(
    landed: Settings, ephemeral: DagsterInstance
) -> None:
    """Somebody who knows that the loss is right must not have to edit code, nor leave the door open."""
    publish_rows(landed, tickets=1_000_000)
    check = evaluate(landed, ephemeral, LET_THROUGH)["tickets", VOLUME_CHECK]
    assert check.passed
    assert check.metadata["published_rows"].value == 1_000_000
    assert not evaluate(landed, ephemeral)["tickets", VOLUME_CHECK].passed
