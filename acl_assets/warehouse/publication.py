"""Turn an audited build into the published file: require its checks, add provenance, replace the file as a whole."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime

import duckdb

from acl_assets.settings import Settings
from acl_assets.source_tables.current_state import ConvertedChain, DamagedStateError, read_current
from acl_assets.util.atomic_write import fsync_path, replace_durably
from acl_assets.util.sql import qualified_name
from acl_assets.warehouse.build_file import AUDIT_SCHEMA, BuildRecord, file_identity
from acl_assets.warehouse.publication_changes import write_changes
from acl_assets.warehouse.publication_schema import AuditResult, write_audit_results, write_origin, write_summary
from acl_assets.warehouse.published_file import published_digest

CheckName = tuple[str, str]
"""A check by its asset, as `layer/name`, and its name."""

_MAX_NAMED = 10


class PublicationError(Exception):
    """The build must not replace the published file; the message says why and what to do."""


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
    """Write the schema `publication` into the build file, drop what is not for readers, and close it.

    The views on the source tables, which show personal data, and empty stores of failing rows are dropped. `results`
    are the oldest first; `published_at` has the festival's time zone.
    """
    changes_since = write_changes(settings, record.state)
    with duckdb.connect(str(settings.build_file)) as connection:
        connection.execute("begin")
        write_origin(connection, record, chain, published_at)
        write_audit_results(connection, record, results)
        write_summary(connection, str(published_at.tzinfo), changes_since)
        connection.execute("drop schema if exists festival cascade")
        _drop_empty_failures(connection)
        connection.execute("commit")
        connection.execute("checkpoint")
    fsync_path(settings.build_file)


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
