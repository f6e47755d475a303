"""The build file: how a run begins it, which run it belongs to, and that the published file stays untouched."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import duckdb
import pytest
from refreshes import sha256

from acl_assets.settings import Settings
from acl_assets.warehouse.build_file import (
    BuildError,
    BuildRecord,
    begin_build,
    file_identity,
    read_build,
    remove_build,
    row_counts,
)

COMPLETE = BuildRecord("run-1", None, complete=True, state="state", assets=("star_schema/dim_bands",))


def write_database(file: Path, statement: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with duckdb.connect(str(file)) as connection:
        connection.execute(statement)


@pytest.fixture
def with_published(settings: Settings) -> Settings:
    """An installation whose published file holds a table of two rows."""
    write_database(
        settings.published_file,
        "create table bands as select * from range(2); create schema publication; "
        "create table publication.publications as select 'digest' as state_digest",
    )
    return settings


def partial(settings: Settings) -> BuildRecord:
    return replace(COMPLETE, complete=False, published=file_identity(settings.published_file))


def test_complete_build_starts_empty(with_published: Settings) -> None:
    write_database(with_published.build_file, "create table left_over (id int)")
    begin_build(with_published, COMPLETE, self_sufficient=True)
    assert not with_published.build_file.exists()


def test_partial_build_starts_with_a_copy_of_the_published_file(with_published: Settings) -> None:
    before = sha256(with_published.published_file)
    record = partial(with_published)
    begin_build(with_published, record, self_sufficient=False)
    assert sha256(with_published.build_file) == before
    write_database(with_published.build_file, "drop table bands")
    assert sha256(with_published.published_file) == before
    assert not record.is_fragment


def test_models_that_read_others_cannot_be_built_without_a_published_file(settings: Settings) -> None:
    """dbt's own message would name a missing table; this one says what to select."""
    with pytest.raises(BuildError, match="Materialize everything once") as raised:
        begin_build(settings, partial(settings), self_sufficient=False)
    assert f"there is no {settings.published_file}" in str(raised.value)
    assert read_build(settings, ["run-1"]) is None


def test_models_selected_with_their_upstream_can_be_built_without_a_published_file(settings: Settings) -> None:
    """`--select '+key:"…"'` works in a fresh clone."""
    begin_build(settings, partial(settings), self_sufficient=True)
    assert partial(settings).is_fragment


def test_models_are_not_built_on_a_damaged_published_file(with_published: Settings) -> None:
    os.truncate(with_published.published_file, 8192)
    with pytest.raises(BuildError, match="Run the job refresh, which replaces it") as raised:
        begin_build(with_published, partial(with_published), self_sufficient=True)
    assert f"The published file {with_published.published_file} cannot be read" in str(raised.value)
    assert not with_published.build_file.exists()
    begin_build(with_published, COMPLETE, self_sufficient=True)


@pytest.mark.parametrize(
    "content", ["", '{"run_id": "run-1', "[]", "{}", '{"run_id": "run-1", "of": "another version"}']
)
def test_damaged_record_belongs_to_no_run(settings: Settings, content: str) -> None:
    begin_build(settings, COMPLETE, self_sufficient=True)
    write_database(settings.build_file, "create table bands (id int)")
    (settings.build_dir / "acl.json").write_text(content)
    assert read_build(settings, ["run-1"]) is None


def test_leftovers_of_a_killed_build_are_removed(settings: Settings) -> None:
    build_file = settings.build_file
    write_database(build_file, "create table left_over (id int)")
    left_over = [build_file.with_name("acl.duckdb.wal"), settings.build_dir / "acl.json"]
    for file in left_over:
        file.touch()
    spilled = build_file.with_name("acl.duckdb.tmp")
    spilled.mkdir()
    (spilled / "block").touch()
    remove_build(settings)
    assert not [path for path in (build_file, *left_over, spilled) if path.exists()]
    remove_build(settings)


def test_build_belongs_to_the_run_that_began_it(settings: Settings) -> None:
    begin_build(settings, COMPLETE, self_sufficient=True)
    assert read_build(settings, ["run-1"]) is None, "dbt has not created the file yet"
    write_database(settings.build_file, "create table bands (id int)")
    assert read_build(settings, ["run-1"]) == COMPLETE
    assert read_build(settings, ["run-2"]) is None
    assert read_build(settings, ["run-2", "run-1"]) == COMPLETE, "a re-execution finds its parent's build"


def test_identity_changes_when_a_file_is_replaced_by_an_equal_one(tmp_path: Path) -> None:
    file, other = tmp_path / "acl.duckdb", tmp_path / "other"
    assert file_identity(file) is None
    file.write_text("a")
    before = file_identity(file)
    assert file_identity(file) == before
    other.write_text("a")
    os.replace(other, file)
    assert file_identity(file) != before


def test_rows_are_counted_per_relation(settings: Settings) -> None:
    """A model that failed has no relation and no count, and that is no error."""
    assert row_counts(settings.build_file, ["star_schema.dim_venues"]) == {}
    write_database(
        settings.build_file,
        "create schema star_schema; create table star_schema.dim_venues as select * from range(11)",
    )
    assert row_counts(settings.build_file, ["star_schema.dim_venues", "star_schema.dim_bands"]) == {
        "star_schema.dim_venues": 11
    }
