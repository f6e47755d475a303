"""The manifest Dagster loads is never older than the dbt project, and a project that does not parse says why."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import msgpack
import pytest
from dagster_dbt import DbtProject

from acl_assets.settings import DBT_PROJECT_DIR, PROJECT_DIR
from acl_assets.warehouse import project as project_module
from acl_assets.warehouse.project import (
    DbtProjectError,
    dbt_command,
    dbt_project,
    festival_timezone,
    is_stale,
    load_manifest,
    parse,
    provide_parser_state,
)


@pytest.fixture
def project(tmp_path: Path) -> DbtProject:
    """A copy of the project, with its generated files."""
    copy = shutil.copytree(DBT_PROJECT_DIR, tmp_path / "dbt", ignore=shutil.ignore_patterns("logs"))
    load_manifest(dbt_project())
    for name in ("manifest.json", "partial_parse.msgpack"):
        (copy / "target").mkdir(exist_ok=True)
        shutil.copy2(DBT_PROJECT_DIR / "target" / name, copy / "target" / name)
    os.utime(copy / "target" / "manifest.json")
    return dbt_project(copy)


def make_older(file: Path) -> None:
    """Give a file a time long before any of the project's own."""
    os.utime(file, (0, 0))


def test_a_missing_manifest_is_stale(project: DbtProject) -> None:
    """A fresh clone has none."""
    project.manifest_path.unlink()
    assert is_stale(project)


def test_an_untouched_project_is_not_parsed_again(project: DbtProject) -> None:
    """Parsing takes seconds, and every Dagster process loads the definitions."""
    assert not is_stale(project)
    before = project.manifest_path.stat().st_mtime_ns
    assert load_manifest(project)["nodes"]
    assert project.manifest_path.stat().st_mtime_ns == before


@pytest.mark.parametrize(
    "changed",
    [
        "dbt_project.yml",
        "profiles.yml",
        "models/star_schema/dim_bands.sql",
        "models/star_schema/_star_schema.yml",
        "tests/generic/accepted_range.sql",
        "macros/time_zones.sql",
    ],
)
def test_any_file_of_the_project_can_make_it_stale(project: DbtProject, changed: str) -> None:
    """A forgotten kind of file would show old assets after an edit."""
    later = project.manifest_path.stat().st_mtime_ns + 1_000_000
    os.utime(project.project_dir / changed, ns=(later, later))
    assert is_stale(project)


def test_a_file_taken_away_makes_it_stale(project: DbtProject) -> None:
    """A deleted model leaves no file whose time could tell."""
    model = project.project_dir / "models" / "data_products" / "all_star_candidates.sql"
    later = project.manifest_path.stat().st_mtime_ns + 1_000_000
    model.unlink()
    os.utime(model.parent, ns=(later, later))
    assert is_stale(project)


@pytest.mark.parametrize("generated", ["target/run_results.json", "logs/dbt.log"])
def test_what_dbt_writes_itself_does_not(project: DbtProject, generated: str) -> None:
    """Otherwise every refresh would cause the next one to parse."""
    file = project.project_dir / generated
    file.parent.mkdir(exist_ok=True)
    file.write_text("{}")
    later = project.manifest_path.stat().st_mtime_ns + 1_000_000
    os.utime(file, ns=(later, later))
    assert not is_stale(project)


def test_a_stale_manifest_is_made_anew(project: DbtProject) -> None:
    """The new model is there without any command in between."""
    model = project.project_dir / "models" / "star_schema" / "dim_bands.sql"
    model.with_name("dim_friends.sql").write_text(model.read_text())
    (model.with_name("_dim_friends.yml")).write_text(
        "version: 2\nmodels:\n  - name: dim_friends\n    config: {contract: {enforced: false}}\n"
    )
    make_older(project.manifest_path)
    assert "model.acl_assets.dim_friends" in load_manifest(project)["nodes"]
    assert not is_stale(project)
    assert sorted(path.name for path in project.manifest_path.parent.glob("tmp*")) == []


def of_another_dbt(file: Path) -> None:
    document = json.loads(file.read_bytes())
    document["metadata"]["dbt_version"] = "1.0.0"
    file.write_text(json.dumps(document))


@pytest.mark.parametrize(
    "damage",
    [
        lambda file: file.write_text(""),
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
    caplog.clear()
    load_manifest(project)
    assert caplog.text == ""


def test_foreign_dbt_variables_do_not_reach_the_parser(project: DbtProject, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DBT_PROFILES_DIR", "DBT_PROJECT_DIR", "DBT_TARGET", "DBT_PROFILE", "DBT_ENGINE_TARGET"):
        monkeypatch.setenv(name, "/nowhere")
    project.manifest_path.unlink()
    assert "model.acl_assets.dim_bands" in load_manifest(project)["nodes"]


def parser_state(project: DbtProject, target_path: Path) -> tuple[Path, Path]:
    """Give builds a copy of the project's parser state; return both files."""
    of_project = project.manifest_path.with_name("partial_parse.msgpack")
    target_path.mkdir()
    of_builds = Path(shutil.copy2(of_project, target_path))
    os.utime(of_builds)
    return of_builds, of_project


@pytest.mark.parametrize("content", [b"", b"\x81\xa5nodes", b"\xc1garbage", b"\x90", b"\x80"])
def test_damaged_parser_state_is_named_and_removed(project: DbtProject, tmp_path: Path, content: bytes) -> None:
    states = parser_state(project, tmp_path / "build")
    provide_parser_state(project, tmp_path / "build", pytest.fail)
    assert all(state.exists() for state in states)
    for state in states:
        state.write_bytes(content)
    warnings: list[str] = []
    provide_parser_state(project, tmp_path / "build", warnings.append)
    assert [f"{state} is damaged" in warning for state, warning in zip(states, warnings, strict=True)] == [True, True]
    assert not any(state.exists() for state in states)


def test_a_project_that_does_not_parse_says_why(project: DbtProject) -> None:
    """Dagster's page shows this error instead of assets; it must name file and reason."""
    (project.project_dir / "models" / "star_schema" / "_star_schema.yml").write_text("version: 2\nmodels: [\n")
    before = json.loads(project.manifest_path.read_bytes())["metadata"]["invocation_id"]
    with pytest.raises(DbtProjectError) as raised:
        parse(project)
    assert f"dbt cannot parse {project.project_dir}" in str(raised.value)
    assert "_star_schema.yml" in str(raised.value)
    assert json.loads(project.manifest_path.read_bytes())["metadata"]["invocation_id"] == before


def test_dbt_is_found_without_a_path_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    """The daemon or an editor starts Python without activating its environment."""
    monkeypatch.setenv("PATH", "/nowhere")
    version = subprocess.run([*dbt_command(), "--version"], cwd=PROJECT_DIR, capture_output=True, text=True, check=True)
    assert "Core:" in version.stdout


STATE = "partial_parse.msgpack"


def test_builds_get_the_parser_state_of_the_manifest_to_write_to(project: DbtProject, tmp_path: Path) -> None:
    """In an installation whose files are read-only a copy with their mode could not be written."""
    made = project.manifest_path.with_name(STATE)
    made.chmod(0o444)
    provide_parser_state(project, tmp_path / "build", pytest.fail)
    state = tmp_path / "build" / STATE
    assert state.read_bytes() == made.read_bytes()
    assert state.stat().st_mode & 0o200


def test_builds_keep_the_parser_state_they_left_until_the_manifest_is_newer(
    project: DbtProject, tmp_path: Path
) -> None:
    state = tmp_path / STATE
    left = msgpack.packb({"nodes": {}, "left by": "a build"})
    state.write_bytes(left)
    provide_parser_state(project, tmp_path, pytest.fail)
    assert state.read_bytes() == left
    make_older(state)
    provide_parser_state(project, tmp_path, pytest.fail)
    assert state.read_bytes() == project.manifest_path.with_name(STATE).read_bytes()


def test_builds_start_without_a_parser_state_when_there_is_none(project: DbtProject, tmp_path: Path) -> None:
    project.manifest_path.with_name(STATE).unlink()
    provide_parser_state(project, tmp_path, pytest.fail)
    assert not (tmp_path / STATE).exists()


def test_a_manifest_that_cannot_be_written_is_one_clear_error(project: DbtProject) -> None:
    """As in a read-only installation that was never loaded. Not even root can make a folder of a dangling link."""
    shutil.rmtree(project.manifest_path.parent)
    project.manifest_path.parent.symlink_to("missing")
    with pytest.raises(DbtProjectError, match=r"folder cannot be written .* with: .* definitions validate") as raised:
        load_manifest(project)
    assert str(project.manifest_path.parent) in str(raised.value)


def test_time_zone_is_read_from_a_copy_of_the_dbt_var() -> None:
    manifest = load_manifest(dbt_project())
    declared = re.search(r"festival_timezone: &\w+ (\S+)", (DBT_PROJECT_DIR / "dbt_project.yml").read_text())
    assert declared
    assert festival_timezone(manifest) == declared[1]
    with pytest.raises(DbtProjectError, match="festival_timezone"):
        festival_timezone({"nodes": {}})
