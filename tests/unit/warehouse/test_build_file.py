"""The build file belongs to the run that began it, and a build leaves the published file unchanged."""

from pathlib import Path

import duckdb
import pytest
from refreshes import sha256

from acl_assets.settings import Settings
from acl_assets.warehouse.build_file import BuildError, BuildRecord, begin_build, read_build, row_counts

COMPLETE = BuildRecord(run_id="run-1", published_state=None, complete=True, state="state")
PARTIAL = COMPLETE.model_copy(update={"complete": False})


def write_database(file: Path, statement: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with duckdb.connect(str(file)) as connection:
        connection.execute(statement)


def test_partial_build_starts_with_a_copy_of_the_published_file(settings: Settings) -> None:
    write_database(settings.published_file, "create table bands as select * from range(2)")
    before = sha256(settings.published_file)
    begin_build(settings, PARTIAL.model_copy(update={"published_state": "state"}), self_sufficient=False)
    assert sha256(settings.build_file) == before
    write_database(settings.build_file, "drop table bands")
    assert sha256(settings.published_file) == before


def test_models_without_a_published_file_need_their_upstream(settings: Settings) -> None:
    """dbt's own message would name a missing table. `--select '+key:"…"'` works in a fresh clone."""
    with pytest.raises(BuildError, match=rf"there is no {settings.published_file} .* Materialize everything once"):
        begin_build(settings, PARTIAL, self_sufficient=False)
    begin_build(settings, PARTIAL, self_sufficient=True)


def test_complete_build_removes_what_a_killed_build_left(settings: Settings) -> None:
    write_database(settings.build_file, "create table left_over (id int)")
    (settings.build_dir / "acl.duckdb.wal").touch()
    (settings.build_dir / "acl.duckdb.tmp").mkdir()
    begin_build(settings, COMPLETE, self_sufficient=True)
    assert [path.name for path in settings.build_dir.iterdir()] == ["acl.json"]


def test_build_belongs_to_the_run_that_began_it(settings: Settings) -> None:
    begin_build(settings, COMPLETE, self_sufficient=True)
    assert read_build(settings, ["run-1"]) is None, "dbt has not created the file yet"
    write_database(settings.build_file, "create table bands (id int)")
    assert read_build(settings, ["run-2"]) is None
    assert read_build(settings, ["run-2", "run-1"]) == COMPLETE, "a re-execution finds its parent's build"
    (settings.build_dir / "acl.json").write_text('{"run_id": "run-1", "of": "another version"}')
    assert read_build(settings, ["run-1"]) is None


def test_rows_are_counted_per_relation_that_exists(settings: Settings) -> None:
    """A model that failed has no relation and no count, and that is no error."""
    assert row_counts(settings.build_file, ["main.venues"]) == {}
    write_database(settings.build_file, "create table venues as select * from range(11)")
    assert row_counts(settings.build_file, ["main.venues", "main.bands"]) == {"main.venues": 11}
