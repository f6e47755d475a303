"""From an audited build to the published file: seal it with its provenance, then swap it in as a whole.

What belongs here: what the published file carries beside the models, and the swap. What does not: building
(`transformation`), deciding whether the audit passed (Dagster's blocking checks).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass
from datetime import datetime
from pathlib import Path

import duckdb

from acl_assets.landing_zone.batches import chain_digest
from acl_assets.settings import Settings
from acl_assets.transformation.build import AUDIT_SCHEMA, BuildRecord, file_identity

_SOURCE_SCHEMA = "festival"


class PublicationError(Exception):
    """The build must not replace the published file; the message says why and what to do."""


@dataclass(frozen=True)
class AuditResult:
    """One evaluated check, as people read it beside the data; `checked_at` is UTC without a zone."""

    asset_key: str
    check_name: str
    passed: bool
    severity: str
    blocking: bool
    description: str | None
    checked_at: datetime


@dataclass(frozen=True)
class Publication:
    """What was published: the state's digest, its newest batch and the file's size."""

    state_digest: str
    batch_ids: list[str]
    exported_at: datetime
    published_at: datetime
    bytes: int


def seal_build(
    settings: Settings,
    record: BuildRecord,
    results: Sequence[AuditResult],
    published_at: datetime,
    source_rows: Mapping[str, int],
) -> Publication:
    """Write provenance and audit results into the build file, drop what is not for readers, and close it.

    Dropped are the views on the source tables, which hold personal data, and the stores of failing rows that are
    empty. `published_at` is UTC without a zone; `source_rows` are how many rows every source table has.

    Raises:
        PublicationError: a blocking check failed, or only some models were built, and from source tables that have
            moved on since the rest.
    """
    _require_passed(results)
    with duckdb.connect(str(settings.build_file)) as connection:
        batches = connection.execute(
            f"select batch_id, manifest_digest, cast(exported_at at time zone 'UTC' as timestamp) "
            f"from {_SOURCE_SCHEMA}.export_batches order by exported_at, batch_id"
        ).fetchall()
        digest = chain_digest((batch_id, batch_digest) for batch_id, batch_digest, _ in batches)
        _require_one_state(settings, record, digest)
        connection.execute("begin")
        _write_provenance(connection, record, digest, published_at, source_rows)
        _write_audit_results(connection, record, results)
        connection.execute(f"drop schema {_SOURCE_SCHEMA} cascade")
        _drop_empty_failures(connection)
        connection.execute("commit")
        connection.execute("checkpoint")
    _flush(settings.build_file)
    return Publication(
        state_digest=digest,
        batch_ids=[batch_id for batch_id, _, _ in batches],
        exported_at=batches[-1][2],
        published_at=published_at,
        bytes=settings.build_file.stat().st_size,
    )


def _require_passed(results: Sequence[AuditResult]) -> None:
    """Refuse what failed its audit, also where a person re-executes nothing but the publication."""
    newest = {(result.asset_key, result.check_name): result for result in results}
    failed = [
        f"{result.asset_key}: {result.check_name}"
        for result in newest.values()
        if result.blocking and result.severity == "ERROR" and not result.passed
    ]
    if failed:
        raise PublicationError(f"The build failed its audit and was not published: {', '.join(failed)}.")


def _require_one_state(settings: Settings, record: BuildRecord, digest: str) -> None:
    published = None if record.complete else read_published_digest(settings)
    if not record.complete and published != digest:
        raise PublicationError(
            "Only some models were built, and the source tables have moved on since the published ones were: together "
            "they would be a mixture of two states. Materialize everything (job refresh, or --select '*')."
        )


def read_published_digest(settings: Settings) -> str | None:
    """The state digest of the published file, None when there is none."""
    if not settings.published_file.exists():
        return None
    with duckdb.connect(str(settings.published_file), read_only=True) as connection:
        row = connection.execute("select state_digest from publication.publications").fetchone()
    return row[0] if row else None


def _write_provenance(
    connection: duckdb.DuckDBPyConnection,
    record: BuildRecord,
    digest: str,
    published_at: datetime,
    source_rows: Mapping[str, int],
) -> None:
    connection.execute("create schema if not exists publication")
    connection.execute(
        "create or replace table publication.export_batches as select batch_id, kind, "
        "cast(exported_at at time zone 'UTC' as timestamp) as exported_at, manifest_digest, has_manifest "
        f"from {_SOURCE_SCHEMA}.export_batches"
    )
    connection.execute("create or replace table publication.source_tables (table_name varchar, row_count bigint)")
    connection.executemany("insert into publication.source_tables values (?, ?)", list(source_rows.items()))
    connection.execute(
        "create or replace table publication.publications "
        "(published_at timestamp, run_id varchar, state_digest varchar)"
    )
    connection.execute("insert into publication.publications values (?, ?, ?)", [published_at, record.run_id, digest])


def _write_audit_results(
    connection: duckdb.DuckDBPyConnection, record: BuildRecord, results: Iterable[AuditResult]
) -> None:
    """Keep the newest result of every check; a partial build keeps those it did not evaluate again."""
    if record.complete:
        connection.execute("drop table if exists publication.audit_results")
    connection.execute(
        "create table if not exists publication.audit_results (asset_key varchar, check_name varchar, passed boolean, "
        "severity varchar, blocking boolean, description varchar, checked_at timestamp, "
        "primary key (asset_key, check_name))"
    )
    rows = [astuple(result) for result in results]
    if rows:
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
    os.replace(settings.build_file, published)
    _flush(published.parent)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
