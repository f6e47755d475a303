"""Turn an audited build into the published file: require its checks, add provenance, replace the file as a whole."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime

import duckdb

from acl_assets.settings import Settings
from acl_assets.source_tables.current_state import ConvertedChain, DamagedStateError, read_current
from acl_assets.util.atomic_write import fsync_path, replace_durably
from acl_assets.util.sql import qualified_name
from acl_assets.warehouse.build_file import BuildError, BuildRecord
from acl_assets.warehouse.data_product_files import switch_data_products, write_data_products
from acl_assets.warehouse.publication_schema import (
    AuditResult,
    write_audit_results,
    write_changes,
    write_origin,
    write_summary,
)

CheckName = tuple[str, str]
"""A check by its asset, as `layer/name`, and its name."""

_MAX_NAMED = 10
_AUDIT_SCHEMA = "audit"


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
        raise BuildError(
            "Only some models were built, and the source tables have moved on since the published ones were: together "
            "they would be a mixture of two states. Materialize everything (job refresh, or --select '*')."
        )
    newest = {(result.asset_key, result.check_name): result for result in results}
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
        write_origin(connection, record, chain, published_at)
        write_audit_results(connection, record, results)
        write_summary(connection, str(published_at.tzinfo), changes_since)
        connection.execute("drop schema if exists festival cascade")
        stores = "select table_name from information_schema.tables where table_schema = ?"
        for (name,) in connection.execute(stores, [_AUDIT_SCHEMA]).fetchall():
            store = qualified_name(_AUDIT_SCHEMA, name)
            if connection.execute(f"from {store} limit 1").fetchone() is None:
                connection.execute(f"drop table {store}")
        connection.execute("checkpoint")
    fsync_path(settings.build_file)
    write_data_products(settings, settings.build_file)
    replace_durably(settings.build_file, settings.published_file)
    switch_data_products(settings)
