"""The definitions that Dagster loads, compared with a snapshot of the asset graph.

After an intended change, update the snapshot with `python tests/test_definitions.py` and read its diff.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from dagster import Definitions, materialize

import acl_assets.definitions
from acl_assets.definitions import build_definitions
from acl_assets.settings import DBT_PROJECT_DIR, PROJECT_DIR, Settings
from acl_assets.warehouse.project import dbt_project

SNAPSHOT = Path(__file__).with_name("definitions_snapshot.json")
PACKAGE = PROJECT_DIR / "acl_assets"


def describe(definitions: Definitions) -> dict[str, Any]:
    """Everything about the definitions that people and schedules rely on, in a form that can be compared."""
    graph = definitions.resolve_asset_graph()
    checks = {
        f"{key.asset_key.to_user_string()}: {key.name}": {"blocking": graph.get_check_spec(key).blocking}
        for key in graph.asset_check_keys
    }
    assets = {
        key.to_user_string(): {
            "deps": sorted(dep.to_user_string() for dep in graph.get(key).parent_keys),
            "group": graph.get(key).group_name,
            "kinds": sorted(graph.get(key).kinds),
            "owners": sorted(graph.get(key).owners),
            "pools": sorted(graph.get(key).pools or []),
            "freshness": graph.get(key).freshness_policy is not None,
            "is_described": bool(graph.get(key).description),
        }
        for key in graph.get_all_asset_keys()
    }
    repository = definitions.get_repository_def()
    jobs = [job.name for job in repository.get_all_jobs() if not job.name.startswith("__")]
    sensors = {
        sensor.name: {"job": sensor.job_name, "default_status": sensor.default_status.value}
        for sensor in repository.sensor_defs
    }
    schedules = {
        schedule.name: {
            "job": schedule.job_name,
            "cron": schedule.cron_schedule,
            "timezone": schedule.execution_timezone,
            "default_status": schedule.default_status.value,
        }
        for schedule in repository.schedule_defs
    }
    return {
        "assets": dict(sorted(assets.items())),
        "checks": dict(sorted(checks.items())),
        "jobs": sorted(jobs),
        "schedules": dict(sorted(schedules.items())),
        "sensors": dict(sorted(sensors.items())),
    }


@pytest.fixture(scope="module")
def described() -> dict[str, Any]:
    return describe(build_definitions())


@pytest.mark.parametrize("part", ["assets", "checks", "jobs", "schedules", "sensors"])
def test_definitions_are_as_recorded(described: dict[str, Any], part: str) -> None:
    """Keys, dependencies, groups, checks and what they block are a contract: they change on purpose only."""
    assert described[part] == json.loads(SNAPSHOT.read_text())[part]


def test_every_asset_is_described_owned_and_grouped(described: dict[str, Any]) -> None:
    """Whoever opens the graph for the first time finds out what a node is and whom to ask."""
    for name, asset in described["assets"].items():
        assert asset["is_described"], name
        assert asset["owners"], name
        assert asset["kinds"], name
        assert asset["group"] in {
            "ticketing",
            "source_tables",
            "star_schema",
            "evidence",
            "data_products",
            "publication",
            "visualization",
        }


def test_publication_waits_for_everything_that_is_checked(described: dict[str, Any]) -> None:
    """A blocking check stops what is downstream of its asset: every checked asset must be upstream of the swap."""
    upstream: set[str] = set()
    waiting = ["published_warehouse"]
    while waiting:
        found = set(described["assets"][waiting.pop()]["deps"]) - upstream
        upstream |= found
        waiting += found
    assert {check.split(": ")[0] for check, entry in described["checks"].items() if entry["blocking"]} <= upstream


def test_every_step_needs_the_settings() -> None:
    """The settings resource refuses a run whose selection matches no asset, so no step may run without it."""
    job = build_definitions().resolve_implicit_global_asset_job_def()
    without = [node.name for node in job.nodes if "settings" not in node.definition.required_resource_keys]
    assert [node.name for node in job.nodes]
    assert without == []


@pytest.mark.slow
def test_loading_raises_no_warning_about_an_unstable_api() -> None:
    """Nothing deprecated, superseded, in preview or in beta: an upgrade must not break what worked."""
    code = "from acl_assets.definitions import defs; defs.get_repository_def(); defs.resolve_asset_graph()"
    loaded = subprocess.run(
        [sys.executable, "-W", "always", "-c", code], cwd=PROJECT_DIR, capture_output=True, text=True, check=True
    )
    ours = [line for line in loaded.stderr.splitlines() if str(PACKAGE) in line]
    unstable = [
        line
        for line in loaded.stderr.splitlines()
        for kind in ("BetaWarning", "PreviewWarning", "SupersessionWarning")
        if kind in line
    ]
    assert ours == []
    assert unstable == []


@pytest.mark.slow
def test_the_definitions_validate_as_the_command_line_sees_them() -> None:
    """`dagster definitions validate` is what a deployment runs before it restarts."""
    validated = subprocess.run(
        [sys.executable, "-m", "dagster", "definitions", "validate", "-m", "acl_assets.definitions"],
        cwd=PROJECT_DIR,
        capture_output=True,
        text=True,
        check=False,
    )
    assert validated.returncode == 0, validated.stderr


WATCH_OPENED_FILES = """
import sys
opened = []
sys.addaudithook(lambda event, arguments: opened.append((arguments[0], arguments[1])) if event == "open" else None)
from acl_assets.definitions import defs
defs.get_repository_def()
for path, mode in opened:
    print(mode, path)
"""


@pytest.mark.slow
def test_loading_reads_the_manifest_and_writes_nothing(tmp_path: Path) -> None:
    """Every Dagster process loads the definitions, also where nothing can be written and no data has landed."""
    build_definitions()  # makes the manifest, should it be missing
    variables = {**os.environ, "ACL_DATA_DIR": str(tmp_path / "data"), "PYTHONDONTWRITEBYTECODE": "1"}
    loaded = subprocess.run(
        [sys.executable, "-c", WATCH_OPENED_FILES],
        cwd=PROJECT_DIR,
        env=variables,
        capture_output=True,
        text=True,
        check=True,
    )
    opened = [line.split(" ", 1) for line in loaded.stdout.splitlines()]
    ours = {
        Path(path).relative_to(PROJECT_DIR)
        for _, path in opened
        if path.startswith(str(PROJECT_DIR)) and ".venv" not in path and not path.endswith((".py", ".pyc"))
    }
    assert Path("dbt/target/manifest.json") in ours
    assert {path.parts[0] for path in ours} == {"dbt", "pyproject.toml"}
    assert [path for mode, path in opened if mode[0] in "wax"] == []
    assert not (tmp_path / "data").exists()


@pytest.mark.slow
def test_time_zone_of_the_dbt_project_is_that_of_schedule_and_report(
    published: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = shutil.copytree(DBT_PROJECT_DIR, tmp_path / "dbt", ignore=shutil.ignore_patterns("target", "logs"))
    project_file = elsewhere / "dbt_project.yml"
    project_file.write_text(project_file.read_text().replace("America/Chicago", "Asia/Kolkata"))
    monkeypatch.setattr(acl_assets.definitions, "dbt_project", lambda: dbt_project(elsewhere))
    definitions = build_definitions(published)
    assert definitions.resolve_schedule_def("nightly_extract").execution_timezone == "Asia/Kolkata"
    report = definitions.resolve_assets_def("all_stars_report")
    assert materialize([report]).success
    assert "in Asia/Kolkata)" in published.report_file.read_text()


@pytest.mark.slow
def test_scaffolded_definition_is_loaded_with_the_others(tmp_path: Path) -> None:
    project = tmp_path / "project"
    for name in ("acl_assets", "dbt"):
        shutil.copytree(PROJECT_DIR / name, project / name)
    shutil.copy(PROJECT_DIR / "pyproject.toml", project)
    variables = {**os.environ, "PYTHONPATH": str(project), "ACL_DATA_DIR": str(tmp_path / "data")}

    def run(*command: str) -> str:
        ran = subprocess.run(
            [sys.executable, *command], cwd=project, env=variables, capture_output=True, text=True, check=True
        )
        return ran.stdout

    run("-c", "from dagster_dg_cli.cli import main; main()", "scaffold", "defs", "dagster.asset", "fourth_chart.py")
    loaded = run(
        "-c", "from acl_assets.definitions import defs; print(defs.resolve_asset_graph().get_all_asset_keys())"
    )
    assert "'fourth_chart'" in loaded
    assert "'all_stars_report'" in loaded


if __name__ == "__main__":
    SNAPSHOT.write_text(json.dumps(describe(build_definitions()), indent=2) + "\n")
    print(f"Wrote {SNAPSHOT}.")
