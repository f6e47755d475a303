"""Turn an audited build into the published file: require its checks, add provenance, replace the file as a whole."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass
from datetime import datetime
from typing import NamedTuple

import duckdb

from acl_assets.landing_zone.batches import chain_digest
from acl_assets.settings import Settings
from acl_assets.source_schema import SOURCE_TABLES
from acl_assets.source_tables.current_state import DamagedStateError, read_chain
from acl_assets.util.atomic_write import fsync_path, replace_durably
from acl_assets.warehouse.build_file import AUDIT_SCHEMA, BuildRecord, file_identity
from acl_assets.warehouse.published_file import published_digest

CheckName = tuple[str, str]
"""A check by its asset, as `layer/name`, and its name."""

_SOURCE_SCHEMA = "festival"
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


class Publication(NamedTuple):
    """A publication: the digest of the state, its batches, and the export time of the newest one (UTC)."""

    state_digest: str
    batch_ids: list[str]
    exported_at: datetime


def require_publishable(
    settings: Settings, record: BuildRecord, required: Collection[CheckName], results: Sequence[AuditResult]
) -> None:
    """Refuse a build of another state, one that mixes two states, misses the result of a check, or failed one.

    Args:
        settings: of the installation.
        record: of the build.
        required: the blocking checks of which each needs a result.
        results: results of checks, oldest first; of several results of a check the newest counts.

    Raises:
        PublicationError: the build must not be published.
    """
    if read_build_digest(settings) != record.state:
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


def _named(checks: Sequence[CheckName]) -> str:
    named = ", ".join(f"{asset}: {check}" for asset, check in checks[:_MAX_NAMED])
    return f"{named} and {len(checks) - _MAX_NAMED} more" if len(checks) > _MAX_NAMED else named


def seal_build(
    settings: Settings,
    record: BuildRecord,
    results: Sequence[AuditResult],
    published_at: datetime,
    source_rows: Mapping[str, int],
) -> Publication:
    """Write provenance and audit results into the build file, drop what is not for readers, and close it.

    The views on the source tables, which show personal data, and empty stores of failing rows are dropped. `results`
    are the oldest first, as in `require_publishable`; `published_at` is UTC without a zone.
    """
    with duckdb.connect(str(settings.build_file)) as connection:
        batches = _read_batches(connection)
        digest = chain_digest((batch_id, digest) for batch_id, digest, _ in batches)
        connection.execute("begin")
        connection.execute("create schema if not exists publication")
        connection.execute(
            "create or replace table publication.export_batches as select batch_id, kind, "
            "cast(exported_at at time zone 'UTC' as timestamp) as exported_at, manifest_digest, has_manifest "
            f"from {_SOURCE_SCHEMA}.export_batches"
        )
        connection.execute("create or replace table publication.source_tables (table_name varchar, row_count bigint)")
        connection.executemany("insert into publication.source_tables values (?, ?)", list(source_rows.items()))
        connection.execute(
            "create or replace table publication.publications as "
            "select ?::timestamp as published_at, ? as run_id, ? as state_digest",
            [published_at, record.run_id, digest],
        )
        _write_audit_results(connection, record, results)
        connection.execute(f"drop schema {_SOURCE_SCHEMA} cascade")
        _drop_empty_failures(connection)
        connection.execute("commit")
        connection.execute("checkpoint")
    fsync_path(settings.build_file)
    return Publication(digest, [batch_id for batch_id, _, _ in batches], batches[-1][2])


def read_build_digest(settings: Settings) -> str:
    """Return the digest of the state that the source tables of the build file hold.

    Raises:
        PublicationError: an earlier attempt to publish this build has dropped them.
    """
    with duckdb.connect(str(settings.build_file), read_only=True) as connection:
        try:
            return chain_digest((batch_id, digest) for batch_id, digest, _ in _read_batches(connection))
        except duckdb.CatalogException:
            raise PublicationError(
                f"{settings.build_file} was prepared for publication by an earlier attempt, which then failed. Refresh "
                "again to make a new build."
            ) from None


def _read_batches(connection: duckdb.DuckDBPyConnection) -> list[tuple[str, str, datetime]]:
    return connection.execute(
        f"select batch_id, manifest_digest, cast(exported_at at time zone 'UTC' as timestamp) "
        f"from {_SOURCE_SCHEMA}.export_batches order by exported_at, batch_id"
    ).fetchall()


def read_source_rows(settings: Settings, record: BuildRecord) -> dict[str, int]:
    """Return the number of rows of every source table that the build was made from.

    Raises:
        PublicationError: these source tables do not exist any more, or are damaged.
    """
    folder = settings.source_tables_dir / record.state
    try:
        chain = read_chain(folder)
    except DamagedStateError as error:
        raise PublicationError(f"{error}. Refresh again to make a new build.") from None
    if chain is None:
        raise PublicationError(f"{folder}, which was built from, is no longer kept. Refresh again to make a new build.")
    return {table: chain.tables[table].rows for table in SOURCE_TABLES}


def _write_audit_results(
    connection: duckdb.DuckDBPyConnection, record: BuildRecord, results: Iterable[AuditResult]
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
    stores = connection.execute(
        "select table_name from information_schema.tables where table_schema = ?", [AUDIT_SCHEMA]
    ).fetchall()
    for (name,) in stores:
        store = f'{AUDIT_SCHEMA}."{name}"'
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
