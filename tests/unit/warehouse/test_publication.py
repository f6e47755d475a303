"""Publication of an audited build: the content of the published file, and the builds that are refused."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import duckdb
import pytest
from refreshes import published_rows
from warehouse.chains import batch, chain

from acl_assets.settings import Settings
from acl_assets.source_schema import SOURCE_TABLES
from acl_assets.source_tables.current_state import ConvertedChain, DamagedStateError
from acl_assets.warehouse import publication
from acl_assets.warehouse.build_file import BuildError, BuildRecord, begin_build
from acl_assets.warehouse.publication import AuditResult, publish_build, require_publishable
from acl_assets.warehouse.published_file import read_published_digest

AT_NOON = datetime(2022, 8, 1, 12)
FIRST, SECOND = (chain([batch(name=name, at_source=3)]) for name in ("first", "second"))
NAME_CHECK = ("festival/bands", "bands_id_is_unique")


@pytest.fixture(autouse=True)
def current(monkeypatch: pytest.MonkeyPatch) -> dict[str, ConvertedChain]:
    """The current source tables, which a test may replace."""
    found = {"chain": FIRST}
    monkeypatch.setattr(publication, "read_current", lambda folder: found["chain"])
    return found


def build(
    settings: Settings, run_id: str = "run-1", *, made_of: ConvertedChain = FIRST, complete: bool = True
) -> BuildRecord:
    """Build what dbt leaves behind, in small: views on the source tables, a model, stores of failing rows."""
    published_state = FIRST.digest if settings.published_file.exists() else None
    record = BuildRecord(run_id=run_id, published_state=published_state, complete=complete, state=made_of.digest)
    begin_build(settings, record, self_sufficient=True)
    with duckdb.connect(str(settings.build_file)) as connection:
        connection.execute("create schema festival; create view festival.people as select 'Ada Lovelace' as name")
        connection.execute(
            "create schema if not exists star_schema; create schema if not exists audit; "
            f"create or replace table star_schema.dim_bands as select '{run_id}' as band_name; "
            "create or replace table audit.nothing_failed as select 1 as id where false; "
            "create or replace table audit.two_failed as select * from range(2)"
        )
    return record


def publish(settings: Settings, record: BuildRecord, *results: AuditResult) -> None:
    at_noon = AT_NOON.replace(tzinfo=UTC).astimezone(ZoneInfo("America/Chicago"))
    publish_build(settings, record, FIRST, results, at_noon)


def result(passed: bool, check_name: str = NAME_CHECK[1], severity: str = "ERROR") -> AuditResult:
    return AuditResult(NAME_CHECK[0], check_name, passed, severity, severity == "ERROR", None, AT_NOON)


def test_published_file_has_its_provenance_and_nothing_that_is_not_for_readers(settings: Settings) -> None:
    """Views on the source tables show names of people. Sixty empty stores of failing rows would hide the two others."""
    publish(settings, build(settings))
    assert published_rows(settings, "from publication.export_batches") == [
        ("first", "full", datetime(2022, 8, 1, 6), "digest of first", True)
    ]
    assert published_rows(settings, "from publication.publications") == [(AT_NOON, "run-1", FIRST.digest)]
    assert set(published_rows(settings, "from publication.source_tables")) == {(name, 3) for name in SOURCE_TABLES}
    assert read_published_digest(settings) == FIRST.digest
    query = "select table_schema, table_name from information_schema.tables where table_schema <> 'publication'"
    assert set(published_rows(settings, query)) == {("star_schema", "dim_bands"), ("audit", "two_failed")}
    assert [path.name for path in settings.published_file.parent.glob("acl*")] == ["acl.duckdb"], "no log of writes"


def test_log_of_a_program_that_wrote_into_the_published_file_stops_no_reader_of_the_next_one(
    settings: Settings,
) -> None:
    publish(settings, build(settings))
    log = settings.published_file.with_name("acl.duckdb.wal")
    with duckdb.connect(str(settings.published_file)) as connection:
        connection.execute("create table notes as select 'Ask again' as note")
        left_when_killed = log.read_bytes()
    log.write_bytes(left_when_killed)
    publish(settings, build(settings, "run-2"))
    assert published_rows(settings, "select run_id from publication.publications") == [("run-2",)]


def test_newest_result_of_every_check_is_kept_and_counted_in_the_summary(settings: Settings) -> None:
    """A re-execution, and a partial build, evaluate some checks again and keep the results of the others.

    The summary states the age of the data on the clock of the festival.
    """
    publish(settings, build(settings), result(False, "a"), result(True, "b"), result(True, "a"))
    kept, summary = "select check_name, passed from publication.audit_results order by 1", "from publication.summary"
    assert published_rows(settings, kept) == [("a", True), ("b", True)]
    statement = "Data as of 1 Aug 2022 01:00, published 1 Aug 2022 07:00 (America/Chicago), 2 checks passed, 0 warnings"
    assert published_rows(settings, summary) == [("first", datetime(2022, 8, 1, 6), AT_NOON, 2, 0, statement, None)]
    publish(settings, build(settings, "run-2", complete=False), result(False, "b", "WARN"))
    assert published_rows(settings, kept) == [("a", True), ("b", False)]
    ((*_, passed, warned, statement, since),) = published_rows(settings, summary)
    assert (passed, warned) == (1, 1)
    assert statement.endswith("1 check passed, 1 warning")
    assert since is None, "the file published before has no data products to compare"


def test_partial_build_without_a_published_file_of_its_state_is_refused(
    settings: Settings, current: dict[str, ConvertedChain]
) -> None:
    """It would be a mixture of two states, or lack tables that readers need."""
    current["chain"] = SECOND
    for _ in range(2):
        record = build(settings, "run-2", made_of=SECOND, complete=False)
        with pytest.raises(BuildError, match="mixture of two states"):
            require_publishable(settings, record, [], [])
        publish(settings, build(settings))


def test_build_is_refused_when_its_source_tables_are_not_the_current_ones(
    settings: Settings, current: dict[str, ConvertedChain], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Checks that are re-executed read the current source tables."""
    record = build(settings)
    current["chain"] = SECOND
    with pytest.raises(BuildError, match="source tables have moved on since run run-1"):
        require_publishable(settings, record, [], [])

    def damaged(folder: object) -> None:
        raise DamagedStateError("chain.json cannot be read")

    monkeypatch.setattr(publication, "read_current", damaged)
    with pytest.raises(BuildError, match=r"chain.json cannot be read\. Refresh again"):
        require_publishable(settings, record, [], [])


def test_build_is_refused_when_required_checks_have_no_result(settings: Settings) -> None:
    """The message names ten checks and counts the rest."""
    record = build(settings)
    required = [(NAME_CHECK[0], f"check_{number:02}") for number in range(13)]
    with pytest.raises(BuildError) as raised:
        require_publishable(settings, record, required, [result(True, "check_00")])
    assert str(raised.value).startswith("12 of 13 blocking checks have no result from this run")
    assert "festival/bands: check_10 and 2 more." in str(raised.value)
    assert require_publishable(settings, record, required, [result(True, name) for _, name in required]) == FIRST


def test_build_is_refused_when_a_blocking_check_failed(settings: Settings) -> None:
    """Dagster skips the publication then, but somebody may re-execute that step alone."""
    record = build(settings)
    with pytest.raises(BuildError, match=r"failed its audit.*festival/bands: bands_id_is_unique"):
        require_publishable(settings, record, [NAME_CHECK], [result(False)])
    require_publishable(settings, record, [NAME_CHECK], [result(False), result(True)])
    require_publishable(settings, record, [NAME_CHECK], [result(False, severity="WARN")])
