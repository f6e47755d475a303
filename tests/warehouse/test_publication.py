"""From an audited build to the published file: what readers get, what they never get, and when nothing is swapped."""

from __future__ import annotations

from datetime import datetime

import duckdb
import pytest
from refreshes import Refreshed, published_rows, refresh, sha256

from acl_assets.definitions import build_definitions
from acl_assets.landing_zone.batches import chain_digest
from acl_assets.settings import Settings
from acl_assets.source_schema import SOURCE_TABLES
from acl_assets.warehouse.build_file import BuildRecord, begin_build, file_identity
from acl_assets.warehouse.publication import AuditResult, PublicationError, require_publishable, seal_build, swap_in
from acl_assets.warehouse.published_file import read_published_digest

pytestmark = pytest.mark.slow

AT_NOON = datetime(2022, 8, 1, 12)
SOURCE_ROWS = dict.fromkeys(SOURCE_TABLES, 3)


def build(settings: Settings, run_id: str, *, batch: str = "first", complete: bool = True) -> BuildRecord:
    """Build what dbt leaves behind, in small: views on the source tables, a model, stores of failing rows."""
    state = chain_digest([(batch, f"digest of {batch}")])
    record = BuildRecord(run_id, file_identity(settings.published_file), complete, state)
    begin_build(settings, record, self_sufficient=True)
    with duckdb.connect(str(settings.build_file)) as connection:
        connection.execute("create schema festival")
        for table in SOURCE_TABLES:
            connection.execute(f"create view festival.{table} as select 'Ada Lovelace' as name from range(3)")
        connection.execute(
            f"create view festival.export_batches as select '{batch}' as batch_id, 'full' as kind, "
            "timestamptz '2022-08-01 01:00:00-05:00' as exported_at, "
            f"'digest of {batch}' as manifest_digest, true as has_manifest"
        )
        connection.execute("create schema if not exists star_schema")
        connection.execute(f"create or replace table star_schema.dim_bands as select '{batch}' as band_name")
        connection.execute("create schema if not exists audit")
        connection.execute("create or replace table audit.nothing_failed as select 1 as id where false")
        connection.execute("create or replace table audit.two_failed as select * from range(2)")
    return record


def publish(settings: Settings, run_id: str, *, batch: str = "first", complete: bool = True) -> None:
    record = build(settings, run_id, batch=batch, complete=complete)
    seal_build(settings, record, [], AT_NOON, SOURCE_ROWS)
    swap_in(settings, record)


def result(check_name: str, passed: bool, checked_at: datetime = AT_NOON, severity: str = "ERROR") -> AuditResult:
    return AuditResult("festival/bands", check_name, passed, severity, severity == "ERROR", None, checked_at)


def test_published_file_has_its_provenance_and_nothing_that_is_not_for_readers(settings: Settings) -> None:
    """Views on the source tables show names of people. Sixty empty stores of failing rows would hide the two others."""
    record = build(settings, "run-1")
    publication = seal_build(settings, record, [], AT_NOON, SOURCE_ROWS)
    swap_in(settings, record)
    assert published_rows(settings, "from publication.export_batches") == [
        ("first", "full", datetime(2022, 8, 1, 6), "digest of first", True)
    ]
    assert published_rows(settings, "from publication.publications") == [(AT_NOON, "run-1", publication.state_digest)]
    assert set(published_rows(settings, "from publication.source_tables")) == {(name, 3) for name in SOURCE_TABLES}
    assert read_published_digest(settings) == publication.state_digest == record.state
    query = "select table_schema, table_name from information_schema.tables where table_schema <> 'publication'"
    assert set(published_rows(settings, query)) == {("star_schema", "dim_bands"), ("audit", "two_failed")}
    assert [path.name for path in settings.published_file.parent.iterdir()] == ["acl.duckdb"], "no log of writes"


def test_newest_result_of_every_check_is_kept(settings: Settings) -> None:
    """A re-execution, and a partial build, evaluate some checks again and keep the results of the others."""
    record = build(settings, "run-1")
    results = [result("a", False), result("b", True), result("a", True, datetime(2022, 8, 1, 13))]
    seal_build(settings, record, results, AT_NOON, SOURCE_ROWS)
    swap_in(settings, record)
    query = "select check_name, passed from publication.audit_results order by 1"
    assert published_rows(settings, query) == [("a", True), ("b", True)]
    again = build(settings, "run-2", complete=False)
    seal_build(settings, again, [result("b", False, severity="WARN")], AT_NOON, SOURCE_ROWS)
    swap_in(settings, again)
    assert published_rows(settings, query) == [("a", True), ("b", False)]


@pytest.mark.parametrize("is_first", [False, True])
def test_partial_build_without_a_published_file_of_its_state_is_refused(settings: Settings, is_first: bool) -> None:
    """It would be a mixture of two states, or lack tables that readers need."""
    if not is_first:
        publish(settings, "run-1", batch="first")
    record = build(settings, "run-2", batch="second", complete=False)
    with pytest.raises(PublicationError, match="mixture of two states"):
        require_publishable(settings, record, [], [])


def test_build_is_refused_when_the_source_tables_have_moved_on(settings: Settings) -> None:
    """Its provenance is read through views on the current source tables."""
    record = build(settings, "run-1")
    with duckdb.connect(str(settings.build_file)) as connection:
        connection.execute(
            "create or replace view festival.export_batches as select 'second' as batch_id, 'full' as kind, "
            "timestamptz '2022-08-02 01:00:00-05:00' as exported_at, 'other' as manifest_digest, true as has_manifest"
        )
    with pytest.raises(PublicationError, match="source tables have moved on since run run-1"):
        require_publishable(settings, record, [], [])


def test_build_is_refused_when_required_checks_have_no_result(settings: Settings) -> None:
    """The message names ten checks and counts the rest."""
    record = build(settings, "run-1")
    required = [("festival/bands", f"check_{number:02}") for number in range(13)]
    with pytest.raises(PublicationError) as raised:
        require_publishable(settings, record, required, [result("check_00", True)])
    assert str(raised.value).startswith("12 of 13 blocking checks have no result from this run")
    assert "festival/bands: check_01, " in str(raised.value)
    assert "festival/bands: check_10 and 2 more." in str(raised.value)
    assert "check_11" not in str(raised.value)
    require_publishable(settings, record, required, [result(name, True) for _, name in required])


def test_build_is_refused_when_a_blocking_check_failed(settings: Settings) -> None:
    """Dagster skips the publication then, but somebody may re-execute that step alone."""
    record = build(settings, "run-1")
    failed = [result("bands_id_is_unique", passed=False)]
    with pytest.raises(PublicationError, match=r"failed its audit.*festival/bands: bands_id_is_unique"):
        require_publishable(settings, record, [], failed)
    require_publishable(settings, record, [], [*failed, result("bands_id_is_unique", passed=True)])


@pytest.mark.parametrize("is_first", [True, False])
def test_file_that_another_run_published_is_not_overwritten(settings: Settings, is_first: bool) -> None:
    """The first run to publish wins; the other says that it did not publish, also when it is re-executed."""
    if not is_first:
        publish(settings, "run-1")
    record = build(settings, "run-2")
    seal_build(settings, record, [], AT_NOON, SOURCE_ROWS)
    settings.published_file.parent.mkdir(parents=True, exist_ok=True)
    other = settings.published_file.with_name("other")
    other.write_bytes(settings.build_file.read_bytes())
    other.replace(settings.published_file)
    before = file_identity(settings.published_file)
    with pytest.raises(PublicationError, match="was replaced while run run-2 was building"):
        swap_in(settings, record)
    assert file_identity(settings.published_file) == before
    with pytest.raises(PublicationError, match="Refresh again"):
        require_publishable(settings, record, [], [])


# A whole refresh ----------------------------------------------------------------------------------------------


def test_no_name_of_a_person_is_published(published: Settings) -> None:
    """Not in a column, not in a failing row, not in a description: every text of the file is read."""
    people = str(published.source_tables_dir / "current" / "people.parquet")
    names = {name for (name,) in duckdb.execute("select name from read_parquet(?)", [people]).fetchall()}
    bands = {name for (name,) in published_rows(published, "select band_name from star_schema.dim_bands")}
    texts: set[str] = set()
    columns = published_rows(
        published,
        "select table_schema, table_name, column_name from information_schema.columns where data_type = 'VARCHAR'",
    )
    for schema, table, column in columns:
        query = f'select distinct "{column}" from {schema}."{table}" where "{column}" is not null'
        texts |= {text for (text,) in published_rows(published, query)}
    assert len(names) > 100
    assert not names & bands, "a band that is called like a person would hide a leak"
    assert [name for name in names if any(name in text for text in texts)] == []


def test_every_check_is_stored_with_its_result(published: Settings, first_refresh: Refreshed) -> None:
    """Who reads the data reads what was checked; nothing that was evaluated may be missing."""
    stored = published_rows(published, "select asset_key, check_name, passed, blocking from publication.audit_results")
    graph = build_definitions(published).resolve_asset_graph()
    declared = {
        (key.asset_key.to_user_string(), key.name): graph.get_check_spec(key).blocking for key in graph.asset_check_keys
    }
    assert {(asset, check): blocking for asset, check, _, blocking in stored} == declared
    assert {(asset, check) for asset, check, passed, _ in stored if not passed} == first_refresh.warnings


def test_publishing_without_building_changes_nothing_and_says_so(published: Settings) -> None:
    """Materializing the published warehouse alone is a question people ask the UI; the answer must be clear."""
    before = sha256(published.published_file)
    refreshed = refresh(published, select='key:"published_warehouse"')
    assert refreshed.success, refreshed.errors
    assert refreshed.metadata["published_warehouse"]["published"] is False
    assert "built no model" in refreshed.metadata["published_warehouse"]["reason"]
    assert sha256(published.published_file) == before


def test_publishing_where_nothing_was_ever_built_says_what_to_do(settings: Settings) -> None:
    refreshed = refresh(settings, select='key:"published_warehouse"')
    assert not refreshed.success
    assert f"There is no published file {settings.published_file}" in refreshed.errors
    assert "Run the job refresh" in refreshed.errors
