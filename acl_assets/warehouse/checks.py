"""The asset checks that look beyond the tables themselves: at the manifest, the source, what is published.

What belongs here: thin checks. What does not: the rules (`row_counts`), and whatever dbt tests can say.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import duckdb
from dagster import (
    AssetCheckExecutionContext,
    AssetCheckResult,
    AssetCheckSeverity,
    AssetCheckSpec,
    AssetKey,
    Config,
    Failure,
    MetadataValue,
    ResourceParam,
    asset_check,
    multi_asset_check,
)
from pydantic import Field

from acl_assets.asset_keys import TICKET_SALES_FACT, source_table_key
from acl_assets.landing_zone.batches import chain_digest
from acl_assets.landing_zone.manifest import ManifestTable
from acl_assets.settings import Settings
from acl_assets.source_schema import SOURCE_TABLES
from acl_assets.source_tables.current_state import ConvertedChain, DamagedStateError, read_chain, read_current
from acl_assets.util.runs import run_chain
from acl_assets.warehouse.build_file import read_build
from acl_assets.warehouse.published_file import PublishedFileError, open_published
from acl_assets.warehouse.row_counts import (
    MOST_LOSS,
    disagreements,
    drift,
    lost_share,
    merged_disagreements,
)

ROWS_CHECK = "rows_as_manifest_and_source"
VOLUME_CHECK = "volume_against_published"
AMOUNTS_CHECK = "amounts_as_source"
_FACT_COLUMNS = ("price",)
"""The columns of tickets that the fact has, in the order of these totals."""
_FACT_TOTALS = "select count(*), coalesce(sum(ticket_price), 0) from star_schema.fct_ticket_sales"
# Where the fact is too large for the file and stays in Spark: fct_performances_adds_up says that these are the same.
_TOTALS_BY_PERFORMANCE = (
    "select coalesce(sum(tickets_sold), 0), coalesce(sum(revenue), 0) from star_schema.fct_performances"
)


class VolumeConfig(Config):
    """What this one run lets through."""

    accept_volume_loss: bool = Field(
        default=False,
        description="Let a full batch through, in this run, that lost more than half of a table's published rows.",
    )


@dataclass(frozen=True)
class Totals:
    """What a table adds up to: its rows, and the sums of columns by their names at the source."""

    rows: int
    sums: Mapping[str, int]


@multi_asset_check(
    name="source_row_counts",
    specs=[
        spec
        for table in SOURCE_TABLES
        for spec in (
            AssetCheckSpec(
                ROWS_CHECK,
                asset=source_table_key(table),
                description="Rows in the table = rows in the manifest = rows at the source.",
                blocking=True,
            ),
            AssetCheckSpec(
                AMOUNTS_CHECK,
                asset=source_table_key(table),
                description="Rows and money are what the source had at the instant of the newest batch.",
                blocking=True,
            ),
            AssetCheckSpec(
                VOLUME_CHECK,
                asset=source_table_key(table),
                description="A full batch does not lose more than half of the rows that are published.",
                blocking=True,
            ),
        )
    ],
    can_subset=True,
)
def source_row_counts(
    context: AssetCheckExecutionContext, config: VolumeConfig, settings: ResourceParam[Settings]
) -> Iterator[AssetCheckResult]:
    """Compare the current source tables with manifest, source and published state."""
    selected = context.selected_asset_check_keys
    damage = None
    try:
        published = published_source_rows(settings)
    except PublishedFileError as error:
        published, damage = {}, f"There are no published rows to compare with. {error}"
    try:
        current = read_current(settings.source_tables_dir)
    except DamagedStateError as error:
        raise Failure(f"{error}. Refresh everything (job refresh, or --select '*').", allow_retries=False) from None
    for table in SOURCE_TABLES:
        results = [
            rows_result(table, current),
            volume_result(table, current.tables[table].rows, published, config, damage),
            amounts_result(source_table_key(table), table, current, source_totals(current, table)),
        ]
        for result in results:
            if any(key.asset_key == result.asset_key and key.name == result.check_name for key in selected):
                yield result


@asset_check(
    asset=TICKET_SALES_FACT,
    name=AMOUNTS_CHECK,
    description="Tickets and revenue are what the source had at the instant of the newest batch.",
    blocking=True,
)
def fact_amounts(context: AssetCheckExecutionContext, settings: ResourceParam[Settings]) -> AssetCheckResult:
    """Compare the fact with the source: that of this run's build, or the published fact in a run without one."""
    try:
        digest, totals = _read_built_or_published_fact(context, settings)
        chain = read_chain(settings.source_tables_dir / digest)
    except (PublishedFileError, DamagedStateError) as error:
        return _failed_fact(str(error))
    if chain is None:
        return _failed_fact(
            "The source tables that the fact was built from are no longer kept, so there is nothing to compare with. "
            "Refresh everything (job refresh, or --select '*')."
        )
    return amounts_result(TICKET_SALES_FACT, "tickets", chain, totals)


def _failed_fact(reason: str) -> AssetCheckResult:
    return AssetCheckResult(
        check_name=AMOUNTS_CHECK,
        asset_key=TICKET_SALES_FACT,
        passed=False,
        severity=AssetCheckSeverity.ERROR,
        description="There is nothing to compare the fact with: see the reason.",
        metadata={"reason": MetadataValue.text(reason)},
    )


def _read_built_or_published_fact(context: AssetCheckExecutionContext, settings: Settings) -> tuple[str, Totals]:
    if read_build(settings, run_chain(context.instance, context.run)):
        with duckdb.connect(str(settings.build_file), read_only=True) as connection:
            return read_fact(connection)
    with open_published(settings) as connection:
        return read_fact(connection)


def read_fact(connection: duckdb.DuckDBPyConnection) -> tuple[str, Totals]:
    """Return the digest of the batch chain a warehouse is made of, and the totals of its fact.

    In a build the batches are those of its source tables. `publication` there describes the file it was copied from.
    """
    tables = set(connection.execute("select table_schema, table_name from information_schema.tables").fetchall())
    schema = "festival" if ("festival", "export_batches") in tables else "publication"
    batches = connection.execute(
        f"select batch_id, manifest_digest from {schema}.export_batches order by exported_at, batch_id"
    ).fetchall()
    ((rows, *found),) = connection.execute(
        _FACT_TOTALS if tuple(TICKET_SALES_FACT.path) in tables else _TOTALS_BY_PERFORMANCE
    ).fetchall()
    return chain_digest(batches), Totals(rows, dict(zip(_FACT_COLUMNS, map(int, found), strict=True)))


def source_totals(chain: ConvertedChain, table: str) -> Totals:
    """Return the totals of a source table."""
    return Totals(chain.tables[table].rows, chain.tables[table].sums)


def rows_result(table: str, current: ConvertedChain) -> AssetCheckResult:
    """Return whether a current source table holds what its manifests and its source state."""
    found: list[str] = []
    for batch in current.batches:
        read = batch.tables[table]
        found += disagreements(read.as_manifest(), read.rows_by_file(), whole=batch.kind == "full")
    rows = current.tables[table].rows
    if len(current.batches) > 1:
        found += merged_disagreements(current.newest.tables[table].as_manifest(), rows)
    stated = all(batch.has_manifest for batch in current.batches)
    return AssetCheckResult(
        check_name=ROWS_CHECK,
        asset_key=source_table_key(table),
        passed=not found,
        severity=AssetCheckSeverity.ERROR,
        description="; ".join(found) or (None if stated else "The batch has no manifest that states row counts."),
        metadata={"rows": rows, "manifest_states_rows": stated},
    )


def amounts_result(asset_key: AssetKey, table: str, chain: ConvertedChain, totals: Totals) -> AssetCheckResult:
    """Return whether an asset that holds the rows of a source table adds up to what the source stated of that table."""
    of_table = chain.newest.tables[table]
    sums = {column: total for column, total in of_table.sums_at_source.items() if column in totals.sums}
    stated = ManifestTable(of_table.rows_at_source, (), sums)
    found = drift(stated, totals.rows, totals.sums)
    unstated = "sums" if stated.rows_at_source is not None else "rows or sums"
    said = None if stated.sums_at_source else f"The manifest states no {unstated} of {table}."
    return AssetCheckResult(
        check_name=AMOUNTS_CHECK,
        asset_key=asset_key,
        passed=not found,
        severity=AssetCheckSeverity.ERROR,
        description="; ".join(found) or said,
        metadata={
            "batch_id": chain.newest.batch_id,
            "rows": totals.rows,
            "rows_at_source": stated.rows_at_source if stated.rows_at_source is not None else "not stated",
            **{name: totals.sums[name] for name in stated.sums_at_source},
            **{f"{name}_at_source": total for name, total in stated.sums_at_source.items()},
        },
    )


def volume_result(
    table: str, rows: int, published: Mapping[str, int], config: VolumeConfig, damage: str | None
) -> AssetCheckResult:
    """Return whether a current source table kept enough of the published rows.

    If `damage` says why these cannot be read, the check passes with that text: only a new publication repairs it.
    """
    lost = lost_share(rows, published.get(table))
    too_much = lost > MOST_LOSS
    description = damage
    if too_much:
        description = (
            f"{table} has {rows:,} rows where {published[table]:,} are published: {lost:.0%} are gone. If that is "
            "right, let it through once by launching refresh with the run config "
            "{ops: {source_row_counts: {config: {accept_volume_loss: true}}}}; otherwise land a newer full batch."
        )
    return AssetCheckResult(
        check_name=VOLUME_CHECK,
        asset_key=source_table_key(table),
        passed=not too_much or config.accept_volume_loss,
        severity=AssetCheckSeverity.ERROR,
        description=description,
        metadata={"rows": rows, "published_rows": published.get(table, 0), "lost_share": lost},
    )


def published_source_rows(settings: Settings) -> dict[str, int]:
    """Return the rows of each source table in the published state, nothing if nothing is published.

    Raises:
        PublishedFileError: the published file cannot be read.
    """
    if not settings.published_file.exists():
        return {}
    with open_published(settings) as connection:
        return dict(connection.execute("select table_name, row_count from publication.source_tables").fetchall())
