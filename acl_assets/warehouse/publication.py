"""Turn an audited build into the published file: require its checks, add its origin, replace the file as a whole.

The schema `publication` of a published file holds its origin, its checks, what changed, and a summary for its readers.
Its timestamps are UTC without a zone; the connection that writes them has UTC as its time zone.
"""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import NamedTuple

import duckdb

from acl_assets.settings import Settings
from acl_assets.source_schema import SOURCE_TABLES
from acl_assets.source_tables.current_state import ConvertedChain, DamagedStateError, read_current
from acl_assets.util.atomic_write import fsync_path, replace_durably
from acl_assets.util.sql import qualified_name, quoted_text
from acl_assets.warehouse.build_file import MIXED_STATES, BuildError, BuildRecord
from acl_assets.warehouse.data_product_files import switch_data_products, write_data_products

CheckName = tuple[str, str]
"""A check by its asset, as `layer/name`, and its name."""

_MAX_NAMED = 10
_AUDIT_SCHEMA = "audit"

# Ids identify venues and bands: a corrected name is no change. Ranks beyond the top bands and changes between
# "possible" and "reserve" there would make a list that nobody reads.
_FACTS = """
    select distinct
        'venue rank' as change, venue_id, null::integer as band_id, venue_name, null as band_name,
        venue_rank::varchar as value, true as is_listed
    from {file}data_products.ticket_sales_by_venue
    union all
    select 'venue verdict', venue_id, null, venue_name, null, verdict, true
    from {file}data_products.venue_verdicts
    union all
    select
        'band rank', venue_id, band_id, venue_name, band_name, rank_in_venue::varchar,
        is_top_venue and is_top_band
    from {file}data_products.band_sales_by_venue
    union all
    select
        'band verdict', venue_id, band_id, venue_name, band_name, verdict,
        is_top_venue and (is_top_band or verdict not in ('possible', 'reserve'))
    from {file}data_products.band_sales_by_venue
    union all
    select 'new band', null, band_id, null, band_name, 'new', true
    from {file}star_schema.dim_bands
"""

_CHANGES = f"""
    with

    facts as (
        select *, true as is_new from ({_FACTS.format(file="")})
        union all
        select *, false as is_new from ({_FACTS.format(file="published.")})
    )

    select
        change,
        arg_max(venue_name, is_new) as venue_name,
        arg_max(band_name, is_new) as band_name,
        any_value(value) filter (not is_new) as before,
        any_value(value) filter (is_new) as after
    from facts
    group by change, venue_id, band_id
    having before is distinct from after and bool_or(is_listed) and (change <> 'new band' or after = 'new')
    order by
        list_position(['venue rank', 'venue verdict', 'band rank', 'band verdict', 'new band'], change),
        venue_name, try_cast(after as integer), band_name
"""


class AuditResult(NamedTuple):
    """One evaluated check, as `publication.audit_results` stores it."""

    asset_key: str
    check_name: str
    passed: bool
    severity: str
    blocking: bool
    description: str | None
    checked_at: datetime


def require_publishable(
    settings: Settings, record: BuildRecord, required: Collection[CheckName], results: Sequence[AuditResult]
) -> ConvertedChain:
    """Return the source tables of a build; refuse a build that mixes two states, misses a check or failed one.

    Each of the `required` checks needs a result. Of several results of a check the newest, which is the last, counts.

    Raises:
        BuildError: the build must not be published.
    """
    try:
        chain = read_current(settings.source_tables_dir)
    except DamagedStateError as error:
        raise BuildError(f"{error}. Refresh again to make a new build.") from None
    if chain.digest != record.state:
        raise BuildError(
            f"The source tables have moved on since run {record.run_id} built from them, so their checks are not about "
            "this build. Refresh again."
        )
    if not record.complete and record.published_state != record.state:
        raise BuildError(MIXED_STATES)
    newest = _newest_results(results)
    if missing := sorted(set(required) - newest.keys()):
        raise BuildError(
            f"{len(missing)} of {len(required)} blocking checks have no result from this run, so the build was not "
            f"published: {_named(missing)}. Run the job refresh, or select these checks together with their assets."
        )
    failed = [
        name for name, result in newest.items() if result.blocking and result.severity == "ERROR" and not result.passed
    ]
    if failed:
        raise BuildError(f"The build failed its audit and was not published: {_named(failed)}.")
    return chain


def _newest_results(results: Sequence[AuditResult]) -> dict[CheckName, AuditResult]:
    """Return the newest result of every check; `results` are the oldest first."""
    return {(result.asset_key, result.check_name): result for result in results}


def _named(checks: Sequence[CheckName]) -> str:
    named = ", ".join(f"{asset}: {check}" for asset, check in checks[:_MAX_NAMED])
    return f"{named} and {len(checks) - _MAX_NAMED} more" if len(checks) > _MAX_NAMED else named


def publish_build(
    settings: Settings,
    record: BuildRecord,
    chain: ConvertedChain,
    results: Sequence[AuditResult],
    published_at: datetime,
) -> None:
    """Complete the build and replace the published file by it, at once; readers keep the old file until they reconnect.

    The views on the source tables, which show personal data, and empty stores of failing rows are dropped. `results`
    are the oldest first; `published_at` has the festival's time zone.
    """
    with duckdb.connect(str(settings.build_file)) as connection:
        connection.execute("set TimeZone = 'UTC'")
        changes_since = write_changes(connection, settings, record)
        _write_origin(connection, record, chain, published_at)
        _write_audit_results(connection, record, results)
        _write_summary(connection, str(published_at.tzinfo), changes_since)
        connection.execute("drop schema if exists festival cascade")
        stores = "select table_name from information_schema.tables where table_schema = ?"
        for (name,) in connection.execute(stores, [_AUDIT_SCHEMA]).fetchall():
            store = qualified_name(_AUDIT_SCHEMA, name)
            if connection.execute(f"from {store} limit 1").fetchone() is None:
                connection.execute(f"drop table {store}")
        connection.execute("checkpoint")
    fsync_path(settings.build_file)
    write_data_products(settings, settings.build_file)
    # DuckDB does not open a file next to the log of another one, which a program that wrote into it can leave.
    settings.published_file.with_name(f"{settings.published_file.name}.wal").unlink(missing_ok=True)
    replace_durably(settings.build_file, settings.published_file)
    switch_data_products(settings)


# The schema `publication` ----------------------------------------------------------------------------------------


def write_changes(connection: duckdb.DuckDBPyConnection, settings: Settings, record: BuildRecord) -> str | None:
    """Write `publication.changes` into a build, and return the newest batch of the publication before.

    Where that publication has the same state and nothing changed, its own changes are kept. The table is empty, and
    None returned, if no published file can be compared: there is none, it is damaged, or of another version.
    """
    connection.execute(
        "create schema if not exists publication; create or replace table publication.changes "
        "(change varchar, venue_name varchar, band_name varchar, before varchar, after varchar)"
    )
    if record.published_state is None:
        return None
    try:
        connection.execute(f"attach {quoted_text(str(settings.published_file))} as published (read_only)")
        ((count,),) = connection.execute(f"insert into publication.changes {_CHANGES}").fetchall()
        since = "batch_id from published.publication.export_batches order by exported_at desc, batch_id desc"
        if count == 0 and record.published_state == record.state:
            connection.execute("insert into publication.changes from published.publication.changes")
            since = "changes_since from published.publication.summary"
        ((batch_id,),) = connection.execute(f"select {since} limit 1").fetchall()
    except duckdb.Error:
        return None
    return None if batch_id is None else str(batch_id)


def _write_origin(
    connection: duckdb.DuckDBPyConnection, record: BuildRecord, chain: ConvertedChain, published_at: datetime
) -> None:
    """Write the batches, the rows of the source tables and the publication."""

    def write(table: str, columns: str, rows: Sequence[tuple[object, ...]]) -> None:
        connection.execute(f"create or replace table publication.{table} ({columns})")
        connection.executemany(f"insert into publication.{table} values ({', '.join('?' * len(rows[0]))})", rows)

    write(
        "export_batches",
        "batch_id varchar, kind varchar, exported_at timestamp, manifest_digest varchar, has_manifest boolean",
        [(batch.batch_id, batch.kind, batch.exported_at, batch.digest, batch.has_manifest) for batch in chain.batches],
    )
    rows = [(table, chain.tables[table].rows) for table in SOURCE_TABLES]
    write("source_tables", "table_name varchar, row_count bigint", rows)
    columns = "published_at timestamp, run_id varchar, state_digest varchar"
    write("publications", columns, [(published_at, record.run_id, record.state)])


def _write_audit_results(
    connection: duckdb.DuckDBPyConnection, record: BuildRecord, results: Sequence[AuditResult]
) -> None:
    """Keep the newest result of every check; a partial build keeps the earlier results of other checks.

    `results` are the oldest first.
    """
    if record.complete:
        connection.execute("drop table if exists publication.audit_results")
    connection.execute(
        "create table if not exists publication.audit_results (asset_key varchar, check_name varchar, passed boolean, "
        "severity varchar, blocking boolean, description varchar, checked_at timestamp, "
        "primary key (asset_key, check_name))"
    )
    if results:
        rows = [result._asdict() for result in _newest_results(results).values()]
        query = "select unnest(?, recursive := true)"
        connection.execute(f"insert or replace into publication.audit_results {query}", [rows])


def _write_summary(connection: duckdb.DuckDBPyConnection, time_zone: str, changes_since: str | None) -> None:
    """Write the age of the data and the outcome of its checks, in one row and as a statement in a time zone.

    A check that failed and did not stop the publication is a warning. `changes_since` is the batch of the publication
    that `publication.changes` compares with.
    """
    connection.execute(
        """
        create or replace table publication.summary as
        with

        facts as (
            select
                batches.batch_id,
                batches.exported_at,
                publications.published_at,
                (select count(*) from publication.audit_results where passed)::integer as checks_passed,
                (select count(*) from publication.audit_results where not passed)::integer as checks_warned
            from publication.publications, publication.export_batches as batches
            order by batches.exported_at desc, batches.batch_id desc
            limit 1
        )

        select
            *,
            format(
                'Data as of {}, published {} ({}), {:,} {} passed, {:,} {}',
                strftime(exported_at at time zone 'UTC' at time zone $zone, '%-d %b %Y %H:%M'),
                strftime(published_at at time zone 'UTC' at time zone $zone, '%-d %b %Y %H:%M'),
                $zone,
                checks_passed,
                if(checks_passed = 1, 'check', 'checks'),
                checks_warned,
                if(checks_warned = 1, 'warning', 'warnings')
            ) as statement,
            $since::varchar as changes_since
        from facts
        """,
        {"zone": time_zone, "since": changes_since},
    )
