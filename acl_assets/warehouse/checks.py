"""Asset checks that compare the source tables and the fact with the manifest, the source and the published file."""

from collections.abc import Iterator, Mapping

import duckdb
from dagster import (
    AssetCheckExecutionContext,
    AssetCheckKey,
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
from acl_assets.source_tables.current_state import (
    ConvertedBatch,
    ConvertedChain,
    DamagedStateError,
    read_chain,
    read_current,
)
from acl_assets.util.runs import run_chain
from acl_assets.warehouse.build_file import read_build
from acl_assets.warehouse.published_file import PublishedFileError, open_published
from acl_assets.warehouse.row_counts import MAX_LOSS, disagreements, drift, lost_share, merged_disagreements

ROWS_CHECK = "rows_as_manifest_and_source"
VOLUME_CHECK = "volume_against_published"
AMOUNTS_CHECK = "amounts_as_source"
_SOURCE_CHECKS = {
    ROWS_CHECK: "Rows in the table = rows in the manifest = rows at the source.",
    AMOUNTS_CHECK: "Rows and money are what the source had at the instant of the newest batch.",
    VOLUME_CHECK: "A full batch does not lose more than half of the rows that are published.",
}
_ADVICE = "Refresh everything (job refresh, or --select '*')."


class VolumeConfig(Config):
    """Configuration of the volume check for one run."""

    accept_volume_loss: bool = Field(
        default=False,
        description="Let a full batch through, in this run, that lost more than half of a table's published rows.",
    )


@multi_asset_check(
    name="source_row_counts",
    specs=[
        AssetCheckSpec(name, asset=source_table_key(table), description=description, blocking=True)
        for table in SOURCE_TABLES
        for name, description in _SOURCE_CHECKS.items()
    ],
    can_subset=True,
)
def source_row_counts(
    context: AssetCheckExecutionContext, config: VolumeConfig, settings: ResourceParam[Settings]
) -> Iterator[AssetCheckResult]:
    """Compare the current source tables with manifest, source and published state."""
    try:
        current = read_current(settings.source_tables_dir)
    except DamagedStateError as error:
        raise Failure(f"{error}. {_ADVICE}", allow_retries=False) from None
    damage = None
    try:
        published = _published_source_rows(settings)
    except PublishedFileError as error:
        # The checks pass with a remark: only a new publication repairs the published file.
        published, damage = {}, f"There are no published rows to compare with. {error}"
    accepted = config.accept_volume_loss or settings.accept_smaller_batch == current.batches[0].batch_id
    for table in SOURCE_TABLES:
        file = current.tables[table]
        for result in (
            _rows_result(table, current),
            _amounts_result(source_table_key(table), current.newest, table, file.rows, file.sums),
            _volume_result(table, current, published.get(table), accepted=accepted, remark=damage),
        ):
            if AssetCheckKey(source_table_key(table), str(result.check_name)) in context.selected_asset_check_keys:
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
        if read_build(settings, run_chain(context.instance, context.run)):
            with duckdb.connect(str(settings.build_file), read_only=True) as connection:
                digest, rows, revenue = _read_fact(connection)
        else:
            with open_published(settings) as connection:
                digest, rows, revenue = _read_fact(connection)
        chain = read_chain(settings.source_tables_dir / digest)
        if chain is None:
            raise DamagedStateError(
                "The source tables that the fact was built from are no longer kept, so there is nothing to compare "
                f"with. {_ADVICE}"
            )
    except (PublishedFileError, DamagedStateError) as error:
        return AssetCheckResult(
            check_name=AMOUNTS_CHECK,
            asset_key=TICKET_SALES_FACT,
            passed=False,
            severity=AssetCheckSeverity.ERROR,
            description="There is nothing to compare the fact with: see the reason.",
            metadata={"reason": MetadataValue.text(str(error))},
        )
    return _amounts_result(TICKET_SALES_FACT, chain.newest, "tickets", rows, {"price": revenue})


def _read_fact(connection: duckdb.DuckDBPyConnection) -> tuple[str, int, int]:
    """Return the digest of the batch chain a warehouse is made of, and the tickets and revenue of its fact.

    In a build the batches are those of its source tables; `publication` there describes the file it was copied from.
    If the engine keeps the fact, the performances have its totals: the test fct_performances_adds_up compares them.
    """
    tables = connection.execute("select table_schema, table_name from information_schema.tables").fetchall()
    schema = "festival" if ("festival", "export_batches") in tables else "publication"
    batches = connection.execute(
        f"select batch_id, manifest_digest from {schema}.export_batches order by exported_at, batch_id"
    ).fetchall()
    ((rows, revenue),) = connection.execute(
        "select count(*), coalesce(sum(ticket_price), 0) from star_schema.fct_ticket_sales"
        if tuple(TICKET_SALES_FACT.path) in tables
        else "select coalesce(sum(tickets_sold), 0), coalesce(sum(revenue), 0) from star_schema.fct_performances"
    ).fetchall()
    return chain_digest(batches), int(rows), int(revenue)


def _published_source_rows(settings: Settings) -> dict[str, int]:
    if not settings.published_file.exists():
        return {}
    with open_published(settings) as connection:
        return dict(connection.execute("select table_name, row_count from publication.source_tables").fetchall())


def _rows_result(table: str, current: ConvertedChain) -> AssetCheckResult:
    """Return whether a current source table holds what its manifests and its source state."""
    found: list[str] = []
    for batch in current.batches:
        found += disagreements(batch.tables[table], batch.rows_by_file[table], whole=batch.kind == "full")
    rows = current.tables[table].rows
    if len(current.batches) > 1:
        found += merged_disagreements(current.newest.tables[table], rows)
    stated = all(batch.has_manifest for batch in current.batches)
    return AssetCheckResult(
        check_name=ROWS_CHECK,
        asset_key=source_table_key(table),
        passed=not found,
        severity=AssetCheckSeverity.ERROR,
        description="; ".join(found) or (None if stated else "The batch has no manifest that states row counts."),
        metadata={"rows": rows, "manifest_states_rows": stated},
    )


def _amounts_result(
    asset_key: AssetKey, batch: ConvertedBatch, table: str, rows: int, sums: Mapping[str, int]
) -> AssetCheckResult:
    """Return whether an asset that holds the rows of a source table adds up to what the source stated in a batch."""
    stated = batch.tables[table]
    at_source = {column: total for column, total in stated.sums_at_source.items() if column in sums}
    found = drift(ManifestTable(stated.rows_at_source, (), at_source), rows, sums)
    unstated = "sums" if stated.rows_at_source is not None else "rows or sums"
    remark = None if at_source else f"The manifest states no {unstated} of {table}."
    return AssetCheckResult(
        check_name=AMOUNTS_CHECK,
        asset_key=asset_key,
        passed=not found,
        severity=AssetCheckSeverity.ERROR,
        description="; ".join(found) or remark,
        metadata={
            "batch_id": batch.batch_id,
            "rows": rows,
            "rows_at_source": stated.rows_at_source if stated.rows_at_source is not None else "not stated",
            **{column: sums[column] for column in at_source},
            **{f"{column}_at_source": total for column, total in at_source.items()},
        },
    )


def _volume_result(
    table: str, current: ConvertedChain, published: int | None, *, accepted: bool, remark: str | None
) -> AssetCheckResult:
    """Return whether a current source table kept enough of the published rows, or its loss is accepted."""
    rows = current.tables[table].rows
    lost = lost_share(rows, published)
    if lost > MAX_LOSS:
        remark = (
            f"{table} has {rows:,} rows where {published:,} are published: {lost:.0%} are gone. If that is right, let "
            f"the batch through once: set ACL_ACCEPT_SMALLER_BATCH={current.batches[0].batch_id}, or launch refresh "
            "with the run config {ops: {source_row_counts: {config: {accept_volume_loss: true}}}}; otherwise land a "
            "newer full batch."
        )
    return AssetCheckResult(
        check_name=VOLUME_CHECK,
        asset_key=source_table_key(table),
        passed=lost <= MAX_LOSS or accepted,
        severity=AssetCheckSeverity.ERROR,
        description=remark,
        metadata={"rows": rows, "published_rows": published or 0, "lost_share": lost},
    )
