"""The manifest that Dagster loads is never older than the dbt project, and a project that does not parse says why."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import msgpack
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
    copy = shutil.copytree(DBT_PROJECT_DIR, tmp_path / "dbt", ignore=shutil.ignore_patterns("logs"))
    load_manifest(dbt_project())
    (copy / "target").mkdir(exist_ok=True)
    for name in ("manifest.json", STATE):
        shutil.copy2(DBT_PROJECT_DIR / "target" / name, copy / "target" / name)
    os.utime(copy / "target" / "manifest.json")
    return dbt_project(copy)


def touch(file: Path, project: DbtProject) -> None:
    """Give a file a time after that of the manifest."""
    later = project.manifest_path.stat().st_mtime_ns + 1_000_000
    os.utime(file, ns=(later, later))


def test_untouched_project_is_not_parsed_again(project: DbtProject, monkeypatch: pytest.MonkeyPatch) -> None:
    """Parsing takes seconds, and every Dagster process loads the definitions."""
    monkeypatch.setattr(project_module, "parse", lambda *_: pytest.fail("was parsed"))
    assert load_manifest(project)["nodes"]


@pytest.mark.parametrize(
    "changed", ["dbt_project.yml", "profiles.yml", "models/**/*.sql", "models/**/*.yml", "macros/**/*.sql", "models/*/"]
)
def test_any_file_or_folder_of_the_project_can_make_it_stale(project: DbtProject, changed: str) -> None:
    touch(next(project.project_dir.glob(changed)), project)
    assert is_stale(project)


@pytest.mark.parametrize("generated", ["target/run_results.json", "logs/dbt.log"])
def test_generated_files_do_not_make_it_stale(project: DbtProject, generated: str) -> None:
    """Otherwise every refresh would cause the next one to parse."""
    file = project.project_dir / generated
    file.parent.mkdir(exist_ok=True)
    file.write_text("{}")
    touch(file, project)
    assert not is_stale(project)


def test_missing_manifest_is_made_without_foreign_variables(
    project: DbtProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A daemon or an editor starts Python without activating its environment."""
    for name in ("PATH", "DBT_PROFILES_DIR", "DBT_PROJECT_DIR", "DBT_TARGET", "DBT_ENGINE_TARGET"):
        monkeypatch.setenv(name, "/nowhere")
    model = next(project.project_dir.glob("models/**/dim_bands.sql"))
    model.with_name("dim_friends.sql").write_text("{{ config(contract={'enforced': false}) }}\n" + model.read_text())
    project.manifest_path.unlink()
    assert is_stale(project)
    assert "model.acl_assets.dim_friends" in load_manifest(project)["nodes"]
    assert not is_stale(project)
    assert sorted(path.name for path in project.manifest_path.parent.glob("tmp*")) == []


def test_project_that_does_not_parse_says_why_and_keeps_the_manifest(project: DbtProject) -> None:
    """Dagster's page shows this error instead of assets; it must name file and reason."""
    broken = next(project.project_dir.glob("models/**/*.yml"))
    broken.write_text("version: 2\nmodels: [\n")
    before = project.manifest_path.read_bytes()
    with pytest.raises(DbtProjectError, match=broken.name) as raised:
        parse(project)
    assert f"dbt cannot parse {project.project_dir}" in str(raised.value)
    assert project.manifest_path.read_bytes() == before


def test_manifest_that_cannot_be_written_is_one_clear_error(project: DbtProject) -> None:
    """As in a read-only installation that was never loaded. Not even root can make a folder of a dangling link."""
    shutil.rmtree(project.manifest_path.parent)
    project.manifest_path.parent.symlink_to("missing")
    with pytest.raises(DbtProjectError, match=r"folder cannot be written .* with: .* definitions validate") as raised:
        load_manifest(project)
    assert str(project.manifest_path.parent) in str(raised.value)


def of_another_dbt(file: Path) -> None:
    document = json.loads(file.read_bytes())
    document["metadata"]["dbt_version"] = "1.0.0"
    file.write_text(json.dumps(document))


@pytest.mark.parametrize(
    "damage",
    [
        lambda file: os.truncate(file, 0),
        lambda file: os.truncate(file, 1000),
        lambda file: file.write_text("[]"),
        lambda file: file.write_text("{}"),
        lambda file: file.write_bytes(b"\xff\x00"),
        of_another_dbt,
    ],
    ids=["empty", "cut", "list", "no manifest", "garbage", "other dbt"],
)
def test_damaged_manifest_is_named_and_made_again(
    project: DbtProject,
    damage: Callable[[Path], object],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sound = project.manifest_path.read_bytes()
    monkeypatch.setattr(project_module, "parse", lambda project, _: project.manifest_path.write_bytes(sound))
    damage(project.manifest_path)
    assert "model.acl_assets.dim_bands" in load_manifest(project)["nodes"]
    assert f"{project.manifest_path} cannot be used" in caplog.text


@pytest.mark.parametrize("content", [b"", b"\x81\xa5nodes", b"\xc1garbage", b"\x90", b"\x80"])
def test_damaged_parser_state_is_named_and_removed(project: DbtProject, tmp_path: Path, content: bytes) -> None:
    states = [tmp_path / STATE, project.manifest_path.with_name(STATE)]
    for state in states:
        state.write_bytes(content)
    warnings: list[str] = []
    provide_parser_state(project, tmp_path, warnings.append)
    assert [f"{state} is damaged" in warning for state, warning in zip(states, warnings, strict=True)] == [True, True]
    assert not any(state.exists() for state in states)
    provide_parser_state(project, tmp_path, pytest.fail)


def test_builds_keep_their_parser_state_until_the_manifest_is_newer(project: DbtProject, tmp_path: Path) -> None:
    """In a read-only installation a copy with the mode of the project's state could not be written."""
    made, state = project.manifest_path.with_name(STATE), tmp_path / STATE
    made.chmod(0o444)
    left = msgpack.packb({"nodes": {}, "left by": "a build"})
    state.write_bytes(left)
    provide_parser_state(project, tmp_path, pytest.fail)
    assert state.read_bytes() == left
    os.utime(state, (0, 0))
    provide_parser_state(project, tmp_path, pytest.fail)
    assert state.read_bytes() == made.read_bytes()
    assert state.stat().st_mode & 0o200
