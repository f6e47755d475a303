"""Turn an audited build into the published file: require its checks, add provenance, replace the file as a whole."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import astuple, dataclass
from datetime import UTC, datetime

import duckdb

from acl_assets.settings import Settings
from acl_assets.source_schema import SOURCE_TABLES
from acl_assets.source_tables.current_state import ConvertedChain, DamagedStateError, read_current
from acl_assets.util.atomic_write import fsync_path, replace_durably
from acl_assets.util.sql import qualified_name
from acl_assets.warehouse.build_file import AUDIT_SCHEMA, BuildRecord, file_identity
from acl_assets.warehouse.published_file import published_digest

CheckName = tuple[str, str]
"""A check by its asset, as `layer/name`, and its name."""

_MAX_NAMED = 10


class PublicationError(Exception):
    """The build must not replace the published file; the message says why and what to do."""


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


def require_publishable(
    settings: Settings, record: BuildRecord, required: Collection[CheckName], results: Sequence[AuditResult]
) -> ConvertedChain:
    """Return the source tables of a build; refuse a build that mixes two states, misses a check or failed one.

    Each of the `required` checks needs a result. Of several results of a check the newest, which is the last, counts.

    Raises:
        PublicationError: the build must not be published.
    """
    try:
        chain = read_current(settings.source_tables_dir)
    except DamagedStateError as error:
        raise PublicationError(f"{error}. Refresh again to make a new build.") from None
    if chain.digest != record.state:
        raise PublicationError(
            f"The source tables have moved on since run {record.run_id} built from them, so their checks are not about "
            "this build. Refresh again."
        )
    if not record.complete and published_digest(settings) != record.state:
        raise PublicationError(
            "Only some models were built, and the source tables have moved on since the published ones were: together "
            "they would be a mixture of two states. Materialize everything (job refresh, or --select '*')."
        )
    newest = {(result.asset_key, result.check_name): result for result in results}
    if missing := sorted(set(required) - newest.keys()):
        raise PublicationError(
            f"{len(missing)} of {len(required)} blocking checks have no result from this run, so the build was not "
            f"published: {_named(missing)}. Run the job refresh, or select these checks together with their assets."
        )
    failed = [
        name for name, result in newest.items() if result.blocking and result.severity == "ERROR" and not result.passed
    ]
    if failed:
        raise PublicationError(f"The build failed its audit and was not published: {_named(failed)}.")
    return chain


def _named(checks: Sequence[CheckName]) -> str:
    named = ", ".join(f"{asset}: {check}" for asset, check in checks[:_MAX_NAMED])
    return f"{named} and {len(checks) - _MAX_NAMED} more" if len(checks) > _MAX_NAMED else named


def seal_build(
    settings: Settings,
    record: BuildRecord,
    chain: ConvertedChain,
    results: Sequence[AuditResult],
    published_at: datetime,
) -> None:
    """Write provenance and audit results into the build file, drop what is not for readers, and close it.

    The views on the source tables, which show personal data, and empty stores of failing rows are dropped. `results`
    are the oldest first; `published_at` is UTC without a zone.
    """
    batches = [
        (batch.batch_id, batch.kind, _without_zone(batch.exported_at), batch.digest, batch.has_manifest)
        for batch in chain.batches
    ]
    source_rows = [(table, chain.tables[table].rows) for table in SOURCE_TABLES]
    with duckdb.connect(str(settings.build_file)) as connection:
        connection.execute("begin")
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
            "insert into publication.publications values (?, ?, ?)", [published_at, record.run_id, record.state]
        )
        _write_audit_results(connection, record, results)
        connection.execute("drop schema if exists festival cascade")
        _drop_empty_failures(connection)
        connection.execute("commit")
        connection.execute("checkpoint")
    fsync_path(settings.build_file)


def _without_zone(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(tzinfo=None)


def _write_audit_results(
    connection: duckdb.DuckDBPyConnection, record: BuildRecord, results: Sequence[AuditResult]
) -> None:
    """Keep the newest result of every check; a partial build keeps the earlier results of other checks."""
    if record.complete:
        connection.execute("drop table if exists publication.audit_results")
    connection.execute(
        "create table if not exists publication.audit_results (asset_key varchar, check_name varchar, passed boolean, "
        "severity varchar, blocking boolean, description varchar, checked_at timestamp, "
        "primary key (asset_key, check_name))"
    )
    if rows := [astuple(result) for result in results]:
        connection.executemany("insert or replace into publication.audit_results values (?, ?, ?, ?, ?, ?, ?)", rows)


def _drop_empty_failures(connection: duckdb.DuckDBPyConnection) -> None:
    query = "select table_name from information_schema.tables where table_schema = ?"
    for (name,) in connection.execute(query, [AUDIT_SCHEMA]).fetchall():
        store = qualified_name(AUDIT_SCHEMA, name)
        if connection.execute(f"select 1 from {store} limit 1").fetchone() is None:
            connection.execute(f"drop table {store}")


def swap_in(settings: Settings, record: BuildRecord) -> None:
    """Replace the published file by the sealed build, at once; readers keep the old file until they reconnect.

    Raises:
        PublicationError: the published file is not the one the build began from.
    """
    published = settings.published_file
    published.parent.mkdir(parents=True, exist_ok=True)
    if file_identity(published) != record.published:
        raise PublicationError(
            f"{published} was replaced while run {record.run_id} was building. Nothing was published by this run; "
            "refresh again to build on what is published now."
        )
    replace_durably(settings.build_file, published)
