"""The manifest Dagster loads is never older than the dbt project, and a project that does not parse says why."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from dagster_dbt import DbtProject

from acl_assets.settings import DBT_PROJECT_DIR, PROJECT_DIR
from acl_assets.transformation.project import (
    DbtProjectError,
    dbt_command,
    dbt_project,
    is_stale,
    load_manifest,
    parse,
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
