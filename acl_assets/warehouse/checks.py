"""Asset checks that compare the source tables and the fact with the manifest, the source and the published file."""

from collections.abc import Iterator, Mapping
from typing import Any

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
from acl_assets.warehouse.published_file import PublishedFileError, open_published, read_published_digest

ROWS_CHECK = "rows_as_manifest_and_source"
VOLUME_CHECK = "volume_against_published"
AMOUNTS_CHECK = "amounts_as_source"
_SOURCE_CHECKS = {
    ROWS_CHECK: "Rows in the table = rows in the manifest = rows at the source.",
    AMOUNTS_CHECK: "Rows and money are what the source had at the instant of the newest batch.",
    VOLUME_CHECK: "A full batch does not lose more than half of the rows that are published.",
}
# A full export that lost more than half of a table is likelier a broken export than a smaller festival.
_MAX_LOSS = 0.5
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
    published: dict[str, int] = {}
    damage = None
    if settings.published_file.exists():
        try:
            with open_published(settings) as connection:
                published = dict(connection.execute("from publication.source_tables").fetchall())
        except PublishedFileError as error:
            # The checks pass with a remark: only a new publication repairs the published file.
            damage = f"There are no published rows to compare with. {error}"
    accepted = config.accept_volume_loss or settings.accept_smaller_batch == current.batches[0].batch_id
    for table in SOURCE_TABLES:
        key, file = source_table_key(table), current.tables[table]
        for result in (
            _rows_result(table, current),
            _amounts_result(key, current.newest, table, file.rows, file.sums),
            _volume_result(table, current, published.get(table, 0), accepted=accepted, remark=damage),
        ):
            if AssetCheckKey(key, str(result.check_name)) in context.selected_asset_check_keys:
                yield result


@asset_check(
    asset=TICKET_SALES_FACT,
    name=AMOUNTS_CHECK,
    description="Tickets and revenue are what the source had at the instant of the newest batch.",
    blocking=True,
)
def fact_amounts(context: AssetCheckExecutionContext, settings: ResourceParam[Settings]) -> AssetCheckResult:
    """Compare the fact with the source: that of this run's build, or the published fact in a run without one."""
    record = read_build(settings, run_chain(context.instance, context.run))
    try:
        digest = record.state if record else read_published_digest(settings)
        with duckdb.connect(str(settings.build_file), read_only=True) if record else open_published(settings) as built:
            rows, revenue = _fact_totals(built)
        chain = read_chain(settings.source_tables_dir / digest)
        if chain is None:
            raise DamagedStateError(
                "The source tables that the fact was built from are no longer kept, so there is nothing to compare "
                f"with. {_ADVICE}"
            )
    except (PublishedFileError, DamagedStateError) as error:
        missing = ["There is nothing to compare the fact with: see the reason."]
        return _result(AMOUNTS_CHECK, TICKET_SALES_FACT, missing, reason=MetadataValue.text(str(error)))
    return _amounts_result(TICKET_SALES_FACT, chain.newest, "tickets", rows, {"price": revenue})


def _fact_totals(connection: duckdb.DuckDBPyConnection) -> tuple[int, int]:
    """Return the tickets and the revenue of the fact in a warehouse.

    If the engine keeps the fact, the performances have its totals: the test fct_performances_adds_up compares them.
    """
    tables = connection.execute("select table_schema, table_name from information_schema.tables").fetchall()
    ((rows, revenue),) = connection.execute(
        "select count(*), coalesce(sum(ticket_price), 0) from star_schema.fct_ticket_sales"
        if tuple(TICKET_SALES_FACT.path) in tables
        else "select coalesce(sum(tickets_sold), 0), coalesce(sum(revenue), 0) from star_schema.fct_performances"
    ).fetchall()
    return int(rows), int(revenue)


def row_faults(table: str, current: ConvertedChain) -> list[str]:
    """Return where a source table differs from what its manifests and its source state, in words.

    An incremental batch does not hold the whole table, so its rows are not compared with the source.
    """
    faults: list[str] = []
    for batch in current.batches:
        stated, read = batch.tables[table], batch.rows_by_file[table]
        faults += [
            f"{file.path} holds {read[file.path]:,} rows, its manifest says {file.rows:,}"
            for file in stated.files
            if file.rows not in (None, read[file.path])
        ]
        held = sum(read.values())
        if batch.kind == "full" and stated.rows_at_source not in (None, held):
            faults.append(f"the batch holds {held:,} rows, the source had {stated.rows_at_source:,}")
    rows, at_source = current.tables[table].rows, current.newest.tables[table].rows_at_source
    if len(current.batches) > 1 and at_source is not None and rows != at_source:
        reason = "rows are missing" if rows < at_source else "rows were deleted there, which increments do not say"
        faults.append(
            f"the table has {rows:,} rows after the newest batch, the source had {at_source:,}: {reason}; "
            "export a full batch"
        )
    return faults


def _rows_result(table: str, current: ConvertedChain) -> AssetCheckResult:
    is_stated = all(batch.has_manifest for batch in current.batches)
    remark = None if is_stated else "The batch has no manifest that states row counts."
    faults, rows = row_faults(table, current), current.tables[table].rows
    return _result(ROWS_CHECK, source_table_key(table), faults, remark, rows=rows, manifest_states_rows=is_stated)


def _amounts_result(
    asset_key: AssetKey, batch: ConvertedBatch, table: str, rows: int, sums: Mapping[str, int]
) -> AssetCheckResult:
    """Return whether an asset that holds the rows of a source table adds up to what the source stated in a batch."""
    rows_at_source = batch.tables[table].rows_at_source
    at_source = {column: total for column, total in batch.tables[table].sums_at_source.items() if column in sums}
    faults = [] if rows_at_source in (None, rows) else [f"it has {rows:,} rows, the source had {rows_at_source:,}"]
    faults += [
        f"{column} adds up to {sums[column]:,}, at the source to {total:,}"
        for column, total in at_source.items()
        if sums[column] != total
    ]
    unstated = "rows or sums" if rows_at_source is None else "sums"
    return _result(
        AMOUNTS_CHECK,
        asset_key,
        faults,
        None if at_source else f"The manifest states no {unstated} of {table}.",
        batch_id=batch.batch_id,
        rows=rows,
        rows_at_source="not stated" if rows_at_source is None else rows_at_source,
        **{column: sums[column] for column in at_source},
        **{f"{column}_at_source": total for column, total in at_source.items()},
    )


def _volume_result(
    table: str, current: ConvertedChain, published: int, *, accepted: bool, remark: str | None
) -> AssetCheckResult:
    """Return whether a current source table kept enough of the published rows, or its loss is accepted."""
    rows = current.tables[table].rows
    lost = max(0.0, 1 - rows / published) if published else 0.0
    if lost > _MAX_LOSS:
        remark = (
            f"{table} has {rows:,} rows where {published:,} are published: {lost:.0%} are gone. If that is right, let "
            f"the batch through once: set ACL_ACCEPT_SMALLER_BATCH={current.batches[0].batch_id}, or launch refresh "
            "with the run config {ops: {source_row_counts: {config: {accept_volume_loss: true}}}}; otherwise land a "
            "newer full batch."
        )
    faults = [str(remark)] if lost > _MAX_LOSS and not accepted else []
    key = source_table_key(table)
    return _result(VOLUME_CHECK, key, faults, remark, rows=rows, published_rows=published, lost_share=lost)


def _result(
    name: str, asset_key: AssetKey, faults: list[str], remark: str | None = None, **metadata: Any
) -> AssetCheckResult:
    """Return a result that fails where there are faults, and passes with a remark otherwise."""
    return AssetCheckResult(
        check_name=name,
        asset_key=asset_key,
        passed=not faults,
        severity=AssetCheckSeverity.ERROR,
        description="; ".join(faults) or remark,
        metadata=metadata,
    )
