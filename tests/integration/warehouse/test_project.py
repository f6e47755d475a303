"""The manifest that Dagster loads is never older than the dbt project, and errors name what does not parse."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from dagster_dbt import DbtProject

from acl_assets.settings import DBT_PROJECT_DIR
from acl_assets.warehouse import project as project_module
from acl_assets.warehouse.project import (
    DbtProjectError,
    dbt_project,
    is_stale,
    load_manifest,
    parse,
    provide_parser_state,
)

pytestmark = pytest.mark.slow

STATE = "partial_parse.msgpack"


@pytest.fixture
def project(tmp_path: Path) -> DbtProject:
    """A copy of the project, with its generated files."""
    load_manifest(dbt_project())
    copy = shutil.copytree(DBT_PROJECT_DIR, tmp_path / "dbt", ignore=shutil.ignore_patterns("logs", "tmp*"))
    os.utime(copy / "target" / "manifest.json")
    return dbt_project(copy)


def touch(file: Path, project: DbtProject) -> None:
    """Give a file a time after that of the manifest."""
    later = project.manifest_path.stat().st_mtime_ns + 1_000_000
    os.utime(file, ns=(later, later))


def test_manifest_is_stale_when_a_file_or_folder_that_dbt_parses_has_changed(project: DbtProject) -> None:
    """Files that a refresh generates do not count, or every refresh would cause the next one to parse."""
    generated = [project.project_dir / "target" / "run_results.json", project.project_dir / "logs" / "dbt.log"]
    for file in generated:
        file.parent.mkdir(exist_ok=True)
        file.write_text("{}")
        touch(file, project)
    assert not is_stale(project)
    for changed in ("dbt_project.yml", "models/**/*.sql", "macros/*.sql", "models/*/"):
        touch(next(project.project_dir.glob(changed)), project)
        assert is_stale(project), changed
        touch(project.manifest_path, project)


def test_missing_manifest_is_made_without_foreign_variables(
    project: DbtProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A daemon or an editor starts Python without activating its environment."""
    for name in ("PATH", "DBT_PROFILES_DIR", "DBT_PROJECT_DIR", "DBT_TARGET", "DBT_ENGINE_TARGET"):
        monkeypatch.setenv(name, "/nowhere")
    model = next(project.project_dir.glob("models/**/dim_bands.sql"))
    model.with_name("dim_friends.sql").write_text("{{ config(contract={'enforced': false}) }}\n" + model.read_text())
    project.manifest_path.unlink()
    assert "model.acl_assets.dim_friends" in load_manifest(project)["nodes"]
    assert not is_stale(project)
    assert sorted(path.name for path in project.manifest_path.parent.glob("tmp*")) == []


def test_project_that_does_not_parse_says_why_and_keeps_the_manifest(project: DbtProject) -> None:
    """Dagster's page shows this error instead of assets; it must name file and reason."""
    broken = next(project.project_dir.glob("models/**/*.yml"))
    broken.write_text("version: 2\nmodels: [\n")
    before = project.manifest_path.read_bytes()
    with pytest.raises(DbtProjectError, match=f"dbt parse failed in {project.project_dir}:\n(.|\n)*{broken.name}"):
        parse(project)
    assert project.manifest_path.read_bytes() == before


def test_manifest_that_cannot_be_written_is_one_clear_error(project: DbtProject) -> None:
    """As in a read-only installation that was never loaded. Not even root can make a folder of a dangling link."""
    shutil.rmtree(project.manifest_path.parent)
    project.manifest_path.parent.symlink_to("missing")
    with pytest.raises(DbtProjectError, match=r"folder cannot be written .* with: .* definitions validate"):
        load_manifest(project)


def of_another_dbt(file: Path) -> None:
    document = json.loads(file.read_bytes())
    document["metadata"]["dbt_version"] = "1.0.0"
    file.write_text(json.dumps(document))


@pytest.mark.parametrize(
    "damage",
    [
        lambda file: os.truncate(file, 1000),
        of_another_dbt,
    ],
    ids=["cut", "other dbt"],
)
def test_damaged_manifest_is_named_and_made_again(
    project: DbtProject,
    damage: Callable[[Path], object],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A sound one is not parsed again: that takes seconds, and every Dagster process loads the definitions."""
    sound = project.manifest_path.read_bytes()
    parsed: list[DbtProject] = []

    def make_again(of: DbtProject, variables: object) -> None:
        parsed.append(of)
        of.manifest_path.write_bytes(sound)

    monkeypatch.setattr(project_module, "parse", make_again)
    assert load_manifest(project)["nodes"]
    assert parsed == []
    damage(project.manifest_path)
    assert "model.acl_assets.dim_bands" in load_manifest(project)["nodes"]
    assert parsed == [project]
    assert f"{project.manifest_path} is damaged or of another version" in caplog.text


def test_builds_keep_their_parser_state_until_the_manifest_is_newer(project: DbtProject, tmp_path: Path) -> None:
    """In a read-only installation a copy with the mode of the project's state could not be written."""
    made, state = project.manifest_path.with_name(STATE), tmp_path / STATE
    made.chmod(0o444)
    state.write_bytes(b"left by a build")
    provide_parser_state(project, tmp_path)
    assert state.read_bytes() == b"left by a build"
    os.utime(state, (0, 0))
    provide_parser_state(project, tmp_path)
    assert state.read_bytes() == made.read_bytes()
    assert state.stat().st_mode & 0o200
