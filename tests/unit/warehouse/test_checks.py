"""Checks compare the source tables with their manifests, their source and the published file."""

import duckdb
import pytest
from dagster import AssetCheckEvaluation, AssetSelection, AssetSpec, materialize
from warehouse.chains import batch, chain

from acl_assets.asset_keys import TICKET_SALES_FACT, source_table_key
from acl_assets.settings import Settings
from acl_assets.source_schema import SOURCE_TABLES
from acl_assets.source_tables.current_state import ConvertedBatch, ConvertedChain
from acl_assets.warehouse import checks
from acl_assets.warehouse.checks import (
    AMOUNTS_CHECK,
    ROWS_CHECK,
    VOLUME_CHECK,
    fact_amounts,
    row_faults,
    source_row_counts,
)

FULL = batch(("tickets.csv", 3, 3), at_source=3, sums={"price": 60})
INCREMENT = batch(("tickets.csv", 2, 2), name="second", kind="incremental", at_source=5, sums={"price": 60})


@pytest.mark.parametrize(
    ("batches", "rows", "faults"),
    [
        ([batch(("a.csv", 2, 2), ("b.csv", 3, 3), at_source=5)], 5, []),
        (
            [batch(("a.csv", 3, 2), ("b.csv", 2, 3), at_source=5)],
            5,
            ["a.csv holds 3 rows, its manifest says 2", "b.csv holds 2 rows, its manifest says 3"],
        ),
        ([batch(("a.csv", 3, 3), at_source=4)], 3, ["the batch holds 3 rows, the source had 4"]),
        ([FULL, INCREMENT], 5, []),
        (
            [FULL, INCREMENT],
            4,
            ["the table has 4 rows after the newest batch, the source had 5: rows are missing; export a full batch"],
        ),
        (
            [FULL, INCREMENT],
            6,
            ["the table has 6 rows after the newest batch, the source had 5: rows were deleted there, which "
             "increments do not say; export a full batch"],
        ),
    ],
    ids=["parts", "swapped parts", "row lost", "increment", "increment lost", "deleted at the source"],
)  # fmt: skip
def test_rows_are_those_of_manifest_and_source(batches: list[ConvertedBatch], rows: int, faults: list[str]) -> None:
    assert row_faults("tickets", chain(batches, rows)) == faults


def evaluate(settings: Settings, current: ConvertedChain) -> dict[str, AssetCheckEvaluation]:
    """Return the evaluated checks of the tickets by name."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checks, "read_current", lambda folder: current)
        result = materialize(
            [*(AssetSpec(source_table_key(table)) for table in SOURCE_TABLES), source_row_counts],
            resources={"settings": settings},
            selection=AssetSelection.checks(source_row_counts),
            raise_on_error=False,
        )
    found = result.get_asset_check_evaluations()
    assert len(found) == 3 * len(SOURCE_TABLES)
    assert all(check.blocking for check in found)
    return {check.check_name: check for check in found if check.asset_key == source_table_key("tickets")}


def publish_tickets(settings: Settings, rows: int) -> None:
    """Write a published file that states how many tickets it was made from."""
    settings.published_file.parent.mkdir(parents=True)
    with duckdb.connect(str(settings.published_file)) as connection:
        connection.execute("create schema publication")
        connection.execute(
            f"create table publication.source_tables as select 'tickets' as table_name, {rows} as row_count"
        )


def test_rows_or_money_that_differ_from_the_source_fail(settings: Settings) -> None:
    found = evaluate(settings, chain([batch(("a.csv", 3, 3), at_source=4, sums={"price": 70, "fee": 1})]))
    assert found[ROWS_CHECK].description == "the batch holds 3 rows, the source had 4"
    assert found[AMOUNTS_CHECK].description == (
        "it has 3 rows, the source had 4; price adds up to 60, at the source to 70"
    )
    assert {name for name, check in found.items() if not check.passed} == {ROWS_CHECK, AMOUNTS_CHECK}


def test_checks_pass_with_a_remark_when_the_manifest_states_nothing(settings: Settings) -> None:
    """A pass without anything to compare with must be recognisable."""
    found = evaluate(settings, chain([batch(("a.csv", 3, None))]))
    assert all(check.passed for check in found.values())
    assert found[ROWS_CHECK].description == "The batch has no manifest that states row counts."
    assert found[ROWS_CHECK].metadata["manifest_states_rows"].value is False
    assert found[AMOUNTS_CHECK].description == "The manifest states no rows or sums of tickets."


def test_losing_more_than_half_of_a_published_table_is_stopped(settings: Settings) -> None:
    """The checksums of an export that was cut short are right; only the published file shows what is missing."""
    publish_tickets(settings, 7)
    found = evaluate(settings.with_changes(accept_smaller_batch="another"), chain([FULL]))
    assert {name for name, check in found.items() if not check.passed} == {VOLUME_CHECK}
    said = str(found[VOLUME_CHECK].description)
    assert "tickets has 3 rows where 7 are published: 57% are gone" in said
    assert "set ACL_ACCEPT_SMALLER_BATCH=first, or launch refresh" in said
    assert "accept_volume_loss: true" in said


@pytest.mark.parametrize(("published", "accepted"), [(6, None), (1_000, "first")])
def test_half_of_the_rows_or_an_accepted_loss_passes(settings: Settings, published: int, accepted: str | None) -> None:
    """The setting names the full batch, also when increments have followed it."""
    publish_tickets(settings, published)
    found = evaluate(settings.with_changes(accept_smaller_batch=accepted), chain([FULL, INCREMENT]))
    assert found[VOLUME_CHECK].passed
    assert found[VOLUME_CHECK].metadata["published_rows"].value == published


def test_damaged_published_file_stops_no_publication(settings: Settings) -> None:
    """Only a new publication repairs it."""
    settings.published_file.parent.mkdir(parents=True)
    settings.published_file.write_bytes(b"damaged")
    check = evaluate(settings, chain([FULL]))[VOLUME_CHECK]
    assert check.passed
    assert str(check.description).startswith("There are no published rows to compare with.")
    assert f"{settings.published_file} cannot be read" in str(check.description)


def test_fact_of_a_missing_published_file_fails_its_check(settings: Settings) -> None:
    """Without a build the check reads the published file; it must name that file instead of raising."""
    result = materialize(
        [AssetSpec(TICKET_SALES_FACT), fact_amounts],
        resources={"settings": settings},
        selection=AssetSelection.checks(fact_amounts),
        raise_on_error=False,
    )
    (check,) = result.get_asset_check_evaluations()
    assert not check.passed
    assert str(settings.published_file) in str(check.metadata["reason"].value)
    assert "Run the job refresh" in str(check.metadata["reason"].value)
