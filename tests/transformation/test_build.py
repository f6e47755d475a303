"""The build file: every run starts it anew, knows it again, and leaves the published file alone."""

from __future__ import annotations

import os
from pathlib import Path

import duckdb
import pytest
from refreshes import sha256

from acl_assets.settings import Settings
from acl_assets.transformation.build import (
    BuildError,
    Ingredients,
    begin_build,
    copy_file,
    file_identity,
    read_build,
    read_published_ingredients,
    reason_to_start_from_nothing,
    remove_build,
    row_counts,
)

FULL, INCREMENT, ANOTHER = ("full", "a" * 64), ("increment", "b" * 64), ("another", "c" * 64)
WANTED = Ingredients((FULL, INCREMENT), "project")


def write_database(file: Path, statement: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with duckdb.connect(str(file)) as connection:
        connection.execute(statement)


@pytest.fixture
def with_published(settings: Settings) -> Settings:
    """An installation whose published file holds a table of two rows."""
    write_database(settings.published_file, "create table bands as select * from range(2)")
    return settings


def publish(settings: Settings, ingredients: Ingredients) -> None:
    """Make the published file say what it was made of, and give it a model and rows that failed a check."""
    batches = ", ".join(
        f"('{batch_id}', '{digest}', timestamp '2022-08-01' + to_days({number}))"
        for number, (batch_id, digest) in enumerate(ingredients.batches)
    )
    project = "null" if ingredients.project is None else f"'{ingredients.project}'"
    write_database(
        settings.published_file,
        "create schema publication; create schema audit; create table bands as select * from range(2); "
        f"create table publication.export_batches as from (values {batches}) as rows(batch_id, manifest_digest, "
        f"exported_at); create table publication.publications as select {project} as project; "
        "create table audit.old_failures as select 1 as id",
    )


@pytest.mark.parametrize(
    ("published", "wanted", "reason"),
    [
        (Ingredients((FULL,), "p"), Ingredients((FULL, INCREMENT), "p"), None),
        (Ingredients((FULL,), "p"), Ingredients((FULL, INCREMENT, ANOTHER), "p"), None),
        (Ingredients((FULL, INCREMENT), "p"), Ingredients((FULL, INCREMENT, ANOTHER), "p"), None),
        (None, Ingredients((FULL,), "p"), "nothing is published"),
        (Ingredients((FULL,), "p"), Ingredients((FULL, INCREMENT), "q"), "models, checks or dbt itself have changed"),
        (Ingredients((FULL,), None), Ingredients((FULL, INCREMENT), "p"), "models, checks or dbt itself have changed"),
        (Ingredients((FULL,), "p"), Ingredients((FULL,), "p"), "no batch has been added"),
        (Ingredients((FULL,), "p"), Ingredients((ANOTHER,), "p"), "the source tables are not those"),
        (Ingredients((FULL, INCREMENT), "p"), Ingredients((FULL,), "p"), "the source tables are not those"),
        (Ingredients((FULL, INCREMENT), "p"), Ingredients((FULL, ANOTHER), "p"), "the source tables are not those"),
        (Ingredients((FULL,), "p"), Ingredients((("full", "d" * 64), INCREMENT), "p"), "the source tables are not"),
    ],
)
def test_what_is_published_is_continued_only_by_later_batches(
    published: Ingredients | None, wanted: Ingredients, reason: str | None
) -> None:
    """Whatever else is new could have changed any row; the log says why a refresh takes long."""
    found = reason_to_start_from_nothing(published, wanted)
    assert found is None if reason is None else reason in str(found)


def test_a_build_for_later_batches_starts_from_a_copy(settings: Settings) -> None:
    """Failing rows of the build before are not taken for this one's; dbt reads there which batches are published."""
    publish(settings, Ingredients((FULL,), "project"))
    before = sha256(settings.published_file)
    record = begin_build(settings, "run-1", WANTED, complete=True, self_sufficient=True)
    assert record.complete
    assert record.begun_from == "Building on a copy of what is published, from what changed in increment."
    assert row_counts(settings.build_file, ["main.bands", "publication.export_batches", "audit.old_failures"]) == {
        "main.bands": 2,
        "publication.export_batches": 1,
    }
    assert sha256(settings.published_file) == before


def test_changed_models_are_built_from_nothing(settings: Settings) -> None:
    """Rows that no batch changed would keep what the models said before."""
    publish(settings, Ingredients((FULL,), "another project"))
    record = begin_build(settings, "run-1", WANTED, complete=True, self_sufficient=True)
    assert not settings.build_file.exists()
    assert record.begun_from.startswith("Building from nothing: models, checks or dbt itself have changed")


@pytest.mark.parametrize(("published_by", "kept"), [("project", "project"), ("another project", None), (None, None)])
def test_models_of_two_projects_are_of_none(settings: Settings, published_by: str | None, kept: str | None) -> None:
    """A model built anew among older ones must not make the next refresh take all of them for new."""
    publish(settings, Ingredients((FULL, INCREMENT), published_by))
    assert begin_build(settings, "run-1", WANTED, complete=False, self_sufficient=True).project == kept


def test_a_file_that_does_not_say_what_it_is_made_of_is_not_continued(with_published: Settings) -> None:
    """That is how every file published before was; so is one that somebody put there by hand."""
    assert read_published_ingredients(with_published) is None
    record = begin_build(with_published, "run-1", WANTED, complete=True, self_sufficient=True)
    assert record.begun_from == "Building from nothing: nothing is published that could be continued."


def test_a_copy_is_the_same_and_its_own(tmp_path: Path) -> None:
    """Larger than what the kernel copies in one call on some systems, and over whatever lay there."""
    source, target = tmp_path / "source", tmp_path / "target"
    with source.open("wb") as stream:
        stream.truncate(3 << 30)
        stream.seek(-1, os.SEEK_END)
        stream.write(b"x")
    target.write_text("old")
    copy_file(source, target)
    assert target.stat().st_size == 3 << 30
    with target.open("rb") as stream:
        stream.seek(-1, os.SEEK_END)
        assert stream.read() == b"x"
    source.write_text("changed")
    assert target.stat().st_size == 3 << 30


def test_a_complete_build_starts_from_nothing(with_published: Settings) -> None:
    """What an older project left in the published file must not survive in the new one."""
    write_database(with_published.build_file, "create table left_over (id int)")
    record = begin_build(with_published, "run-1", WANTED, complete=True, self_sufficient=True)
    assert not with_published.build_file.exists()
    assert record.complete
    assert not record.is_fragment


def test_a_partial_build_starts_from_a_copy_of_the_published_file(with_published: Settings) -> None:
    """One model can be built alone, among the tables that are published."""
    before = sha256(with_published.published_file)
    record = begin_build(with_published, "run-1", WANTED, complete=False, self_sufficient=False)
    assert sha256(with_published.build_file) == before
    write_database(with_published.build_file, "drop table bands")
    assert sha256(with_published.published_file) == before
    assert not record.is_fragment


def test_models_that_need_others_cannot_be_built_where_nothing_is_published(settings: Settings) -> None:
    """dbt would say that a table does not exist; people need to know what to select instead."""
    with pytest.raises(BuildError) as raised:
        begin_build(settings, "run-1", WANTED, complete=False, self_sufficient=False)
    assert f"there is no {settings.published_file}" in str(raised.value)
    assert "Materialize everything once" in str(raised.value)
    assert read_build(settings, ["run-1"]) is None


def test_models_selected_with_all_their_upstream_can_be_built_where_nothing_is_published(settings: Settings) -> None:
    """`--select '+key:"…"'` works in a fresh clone."""
    assert begin_build(settings, "run-1", WANTED, complete=False, self_sufficient=True).is_fragment


def test_left_over_builds_are_removed(settings: Settings) -> None:
    """A killed run leaves its build file, the log of its last writes and spilled data; a disk fills up with those."""
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


def test_a_build_is_known_to_the_run_that_began_it(settings: Settings) -> None:
    """A publication must not take what another run has left in the folder for its own."""
    record = begin_build(settings, "run-1", WANTED, complete=True, self_sufficient=True)
    assert read_build(settings, ["run-1"]) is None, "dbt has not made the file yet"
    write_database(settings.build_file, "create table bands (id int)")
    assert read_build(settings, ["run-1"]) == record
    assert read_build(settings, ["run-2", None]) is None
    assert read_build(settings, ["run-2", "run-1", None]) == record, "a re-execution finds its parent's build"


def test_a_file_is_told_from_the_one_that_replaced_it(tmp_path: Path) -> None:
    """The swap compares identities; same size and same content must not deceive it."""
    file, other = tmp_path / "acl.duckdb", tmp_path / "other"
    assert file_identity(file) is None
    file.write_text("a")
    before = file_identity(file)
    assert file_identity(file) == before
    other.write_text("a")
    os.replace(other, file)
    assert file_identity(file) != before


def test_rows_are_counted_per_relation(settings: Settings) -> None:
    """Counts become metadata of every model; a model that failed has none, and that is no error."""
    assert row_counts(settings.build_file, ["star_schema.dim_venues"]) == {}
    write_database(
        settings.build_file,
        "create schema star_schema; create table star_schema.dim_venues as select * from range(11)",
    )
    assert row_counts(settings.build_file, ["star_schema.dim_venues", "star_schema.dim_bands"]) == {
        "star_schema.dim_venues": 11
    }
