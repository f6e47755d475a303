"""Write the schema `publication` of a build: its origin, the results of its checks, and a summary for its readers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass
from datetime import UTC, datetime

import duckdb

from acl_assets.source_schema import SOURCE_TABLES
from acl_assets.source_tables.current_state import ConvertedChain
from acl_assets.warehouse.build_file import BuildRecord


@dataclass(frozen=True)
class AuditResult:
    """One evaluated check, as `publication.audit_results` stores it; `checked_at` is UTC without a zone."""

    asset_key: str
    check_name: str
    passed: bool
    severity: str
    blocking: bool
    description: str | None
    checked_at: datetime


def write_origin(
    connection: duckdb.DuckDBPyConnection, record: BuildRecord, chain: ConvertedChain, published_at: datetime
) -> None:
    """Write the batches, the rows of the source tables and the publication."""
    batches = [
        (batch.batch_id, batch.kind, _without_zone(batch.exported_at), batch.digest, batch.has_manifest)
        for batch in chain.batches
    ]
    source_rows = [(table, chain.tables[table].rows) for table in SOURCE_TABLES]
    connection.execute(
        """
        create schema if not exists publication;
        create or replace table publication.export_batches (
            batch_id varchar, kind varchar, exported_at timestamp, manifest_digest varchar, has_manifest boolean
        );
        create or replace table publication.source_tables (table_name varchar, row_count bigint);
        create or replace table publication.publications (
            published_at timestamp, run_id varchar, state_digest varchar
        );
        """
    )
    connection.executemany("insert into publication.export_batches values (?, ?, ?, ?, ?)", batches)
    connection.executemany("insert into publication.source_tables values (?, ?)", source_rows)
    connection.execute(
        "insert into publication.publications values (?, ?, ?)",
        [_without_zone(published_at), record.run_id, record.state],
    )


def _without_zone(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(tzinfo=None)


def write_audit_results(
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
    if rows := [astuple(result) for result in results]:
        connection.executemany("insert or replace into publication.audit_results values (?, ?, ?, ?, ?, ?, ?)", rows)


def write_summary(connection: duckdb.DuckDBPyConnection, time_zone: str, changes_since: str | None) -> None:
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
