"""The definitions that Dagster loads, compared with a snapshot of the asset graph.

After an intended change, update the snapshot with `python tests/unit/test_definitions.py` and read its diff.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from dagster import AssetSelection, Definitions

import acl_assets.definitions
from acl_assets.definitions import build_definitions
from acl_assets.settings import PROJECT_DIR, Settings
from acl_assets.warehouse.dbt_assets import build_dbt_assets
from acl_assets.warehouse.project import DbtProjectError, dbt_project, festival_timezone, load_manifest
from acl_assets.warehouse.spark_engine import SparkEngine

pytestmark = pytest.mark.slow

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
            "tags": sorted(tag for tag in graph.get(key).tags if not tag.startswith("dagster/")),
            "code": str(graph.get(key).metadata["code"].value),
        }
        for key in graph.get_all_asset_keys()
    }
    repository = definitions.get_repository_def()
    jobs = [job.name for job in repository.get_all_jobs() if not job.name.startswith("__")]
    sensors = {
        sensor.name: {
            "jobs": [target.job_name for target in sensor.targets],
            "default_status": sensor.default_status.value,
        }
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


def test_definitions_are_as_recorded() -> None:
    """Keys, dependencies, groups, checks and what they block are a contract: they change on purpose only."""
    described = describe(build_definitions())
    advice = "If that is intended, run .venv/bin/python tests/unit/test_definitions.py and read the diff."
    assert described == json.loads(SNAPSHOT.read_text()), advice
    for name, asset in described["assets"].items():
        assert asset["is_described"], name
        assert (PROJECT_DIR / asset["code"]).is_file(), name
        assert asset["owners"], name


def test_publication_waits_for_everything_that_is_checked() -> None:
    """A blocking check stops what is downstream of its asset: every checked asset must be upstream of the swap."""
    graph = build_definitions().resolve_asset_graph()
    upstream = AssetSelection.assets("published_warehouse").upstream().resolve(graph)
    assert {key.asset_key for key in graph.asset_check_keys if graph.get_check_spec(key).blocking} <= upstream


def test_age_of_the_data_is_judged_by_its_own_job_alone() -> None:
    """Exports that are old are no reason why a refresh should look like one that found a problem."""
    definitions = build_definitions()
    steps = {
        name: {node.name for node in definitions.resolve_job_def(name).nodes} for name in ("refresh", "check_data_age")
    }
    assert steps["check_data_age"] == {"data_age"}
    assert not steps["check_data_age"] & steps["refresh"]
    assert "published_warehouse" in steps["refresh"]


def test_every_step_needs_the_settings() -> None:
    """The settings resource refuses a run whose selection matches no asset, so no step may run without it."""
    job = build_definitions().resolve_implicit_global_asset_job_def()
    assert job.nodes
    assert all("settings" in node.definition.required_resource_keys for node in job.nodes)


def test_models_show_their_engine_and_their_columns() -> None:
    manifest = load_manifest(dbt_project())
    settings = Settings(dbt_target="spark", spark_remote="sc://127.0.0.1")
    models = build_dbt_assets(dbt_project(), manifest, SparkEngine(settings))
    for found in models.specs:
        node = manifest["nodes"][f"model.acl_assets.{found.key.path[-1]}"]
        assert found.kinds == {"dbt", "spark", "view" if node["config"]["materialized"] == "view" else "table"}
        assert found.description == node["description"]
        columns = found.metadata["dagster/column_schema"].columns
        keys = {column.name for column in columns if column.constraints.unique and not column.constraints.nullable}
        assert keys or not found.key.path[-1].startswith(("dim_", "fct_"))
        assert columns
        assert not [column.name for column in columns if not column.description or column.type == "?"]


def test_time_zone_of_the_dbt_project_is_that_of_schedule_and_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """The models copy it into their meta."""
    manifest = json.dumps(load_manifest(dbt_project()))
    found = {zone: json.loads(manifest.replace("America/Chicago", zone)) for zone in ("Asia/Kolkata", "Asia", "None")}
    monkeypatch.setattr(acl_assets.definitions, "load_manifest", lambda project, variables: found["Asia/Kolkata"])
    zones: list[str] = []
    build_report = acl_assets.definitions.build_all_stars_report
    monkeypatch.setattr(
        acl_assets.definitions, "build_all_stars_report", lambda zone: zones.append(zone) or build_report(zone)
    )
    definitions = build_definitions()
    assert definitions.resolve_schedule_def("nightly_extract").execution_timezone == "Asia/Kolkata"
    assert zones == ["Asia/Kolkata"]
    for zone in ("Asia", "None"):
        with pytest.raises(DbtProjectError, match=rf"^{zone} is no time zone\. Set the var festival_timezone"):
            festival_timezone(found[zone])


WATCH_OPENED_FILES = """
import sys
opened = []
sys.addaudithook(lambda event, arguments: opened.append((arguments[0], arguments[1])) if event == "open" else None)
from acl_assets.definitions import defs
defs.get_repository_def()
defs.resolve_asset_graph()
for path, mode in opened:
    print(mode, path)
"""


def test_loading_reads_the_manifest_writes_nothing_and_warns_of_no_unstable_api(tmp_path: Path) -> None:
    """Every Dagster process loads them, also without data in a read-only folder. An upgrade may remove such an API."""
    build_definitions()  # makes the manifest, should it be missing
    variables = {**os.environ, "ACL_DATA_DIR": str(tmp_path / "data"), "PYTHONDONTWRITEBYTECODE": "1"}
    loaded = subprocess.run(
        [sys.executable, "-W", "always", "-c", WATCH_OPENED_FILES],
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
    unstable = ("BetaWarning", "PreviewWarning", "SupersessionWarning", str(PACKAGE))
    assert [line for line in loaded.stderr.splitlines() if any(text in line for text in unstable)] == []


def test_selections_of_assets_warn_of_nothing(tmp_path: Path) -> None:
    select = (
        "from dagster import AssetSelection; from acl_assets.definitions import defs\n"
        "for text in ('*', 'group:evidence', 'tag:pii', 'owner:\"team:festival-data\"', 'kind:duckdb'):\n"
        "    assert AssetSelection.from_string(text).resolve(defs.resolve_asset_graph())"
    )
    variables = {**os.environ, "ACL_DATA_DIR": str(tmp_path / "data")}
    ran = subprocess.run(
        [sys.executable, "-c", select], cwd=PROJECT_DIR, env=variables, capture_output=True, text=True, check=True
    )
    assert "BetaWarning" not in ran.stderr


def test_scaffolded_definition_is_loaded_with_the_others(tmp_path: Path) -> None:
    project = tmp_path / "project"
    for name in ("acl_assets", "dbt"):
        shutil.copytree(PROJECT_DIR / name, project / name)
    shutil.copy(PROJECT_DIR / "pyproject.toml", project)
    variables = {**os.environ, "PYTHONPATH": str(project), "ACL_DATA_DIR": str(tmp_path / "data")}
    loaded = ""
    for command in (
        ["-c", "from dagster_dg_cli.cli import main; main()", "scaffold", "defs", "dagster.asset", "fourth_chart.py"],
        ["-c", "from acl_assets.definitions import defs; print(defs.resolve_asset_graph().get_all_asset_keys())"],
    ):
        ran = subprocess.run(
            [sys.executable, *command], cwd=project, env=variables, capture_output=True, text=True, check=True
        )
        loaded = ran.stdout
    assert "'fourth_chart'" in loaded
    assert "'all_stars_report'" in loaded


if __name__ == "__main__":
    SNAPSHOT.write_text(json.dumps(describe(build_definitions()), indent=2) + "\n")
    print(f"Wrote {SNAPSHOT}.")
