"""Make's targets work in a folder of any name, and `make clean` removes nothing but what this project made."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from acl_assets.settings import PROJECT_DIR

pytestmark = pytest.mark.slow

MAKE = shutil.which("make") or "make"
AWKWARD = 'acl it\'s $HOME & ; "x" *[ä] (1)'
LOCK = "run 0b3c, process 1"

# Stands in for .venv/bin/python: writes down how it was called, and answers what the Makefile asks of the settings.
RECORD = (
    "import json, os, sys; read = os.environ.get; "
    'print(json.dumps([read("DAGSTER_HOME"), *sys.argv[1:], *filter(None, [read("ACL_DAGSTER_URL")])]))'
)
STUB = f"""#!/bin/bash
python={shlex.quote(sys.executable)}
if [ "$2" = acl_assets.settings ]; then exec "$python" "$@"; fi
"$python" -c '{RECORD}' "$@" >> calls
"""


def write(file: Path, text: str = "") -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of the files that make needs, in a folder with an awkward name, with stubs of the environments."""
    folder = tmp_path / AWKWARD
    shutil.copytree(PROJECT_DIR / "acl_assets", folder / "acl_assets", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("Makefile", "dagster.yaml", "pyproject.toml", "requirements.lock"):
        shutil.copy(PROJECT_DIR / name, folder / name)
    for environment in (".venv", "superset/.venv", "spark/.venv"):
        write(folder / environment / "bin" / "python", STUB).chmod(0o755)
        write(folder / environment / "installed")
    for lock in ("superset/requirements.lock", "spark/client.lock", "spark/cluster.lock"):
        write(folder / lock)
    write(folder / ".venv" / "installed")
    write(folder / ".venv" / "spark_client_installed")
    return folder


def make(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run make in a folder, in an environment that has none of make's own variables or the project's settings."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    return subprocess.run(
        [MAKE, *arguments], cwd=folder, env={**kept, **variables}, capture_output=True, text=True, check=False
    )


def calls(project: Path) -> list[list[str]]:
    """DAGSTER_HOME, arguments, and ACL_DAGSTER_URL if it is set, of every call of the stub."""
    return [json.loads(line) for line in (project / "calls").read_text().splitlines()]


def files(folder: Path) -> set[str]:
    return {str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()}


def test_clean_removes_what_was_built_and_nothing_else(project: Path, tmp_path: Path) -> None:
    for neighbour in (*project.name.replace(";", " ").split(), "build", "data/build"):
        write(tmp_path / neighbour / "kept")
    before = files(tmp_path)
    for built in ("dbt/target/manifest.json", "dbt/logs/dbt.log", ".dagster/dagster.yaml", "data/build/acl.duckdb"):
        write(project / built)
    write(project / "data" / "build" / "refresh.lock", LOCK)
    kept = {write(project / "data" / name) for name in ("exports/first/tickets.csv", "published/acl.duckdb")}

    cleaned = make(project, "clean")

    assert (cleaned.returncode, cleaned.stderr) == (0, "")
    environments = {name for name in before if ".venv/" in name}
    assert files(tmp_path) == before - environments | {str(file.relative_to(tmp_path)) for file in kept}


@pytest.mark.parametrize("data_dir", ["../my data", "~/my data", "-rf", "s3://bucket/acl"])
def test_clean_removes_the_build_folder_of_any_data_folder_and_no_neighbour(
    project: Path, tmp_path: Path, data_dir: str
) -> None:
    folder = "data" if "://" in data_dir else data_dir.replace("~", str(tmp_path))
    build = Path(os.path.normpath(project / folder)) / "build"
    write(build / "refresh.lock", LOCK)
    neighbour = write(tmp_path / "my" / "build" / "refresh.lock", LOCK)
    cleaned = make(project, "clean", ACL_DATA_DIR=data_dir, HOME=str(tmp_path))
    assert (cleaned.returncode, cleaned.stderr) == (0, "")
    assert not build.exists()
    assert neighbour.exists()


def test_clean_leaves_a_build_folder_that_no_refresh_made(project: Path, tmp_path: Path) -> None:
    """ACL_DATA_DIR may name a folder of other work too."""
    foreign = write(tmp_path / "work" / "build" / "thesis.pdf")
    cleaned = make(project, "clean", ACL_DATA_DIR=str(tmp_path / "work"))
    assert cleaned.returncode == 0
    assert f"{foreign.parent} stays: it holds no lock of a refresh" in cleaned.stderr
    assert foreign.exists()


def test_run_simulates_only_where_no_export_has_landed_and_says_when_a_scale_is_not_used(
    project: Path, tmp_path: Path
) -> None:
    refresh = ["-m", "acl_assets.refresh"]
    simulate = "-m acl_assets.simulator write-batch --scale 0.01 --seed 20 --scenario story --format parquet"
    made = make(project, "run", "SCALE=0.01")
    assert (made.returncode, made.stderr) == (0, "")
    assert "Not used" not in made.stdout
    write(tmp_path / "landing zone" / "first" / "tickets.csv")
    exports_dir = str(tmp_path / "landing zone")
    made = make(project, "run", "SCALE=2", SEED="3", ACL_EXPORTS_DIR=exports_dir, DAGSTER_HOME="my home", VERBOSE="1")
    assert f"Not used: SCALE SEED. Exports are read from {exports_dir}." in made.stdout
    for home in (".dagster", "my home"):
        assert (project / home / "dagster.yaml").read_bytes() == (project / "dagster.yaml").read_bytes()
    made = make(project, "run", ACL_EXPORTS_DIR=exports_dir, DAGSTER_HOME="~/dagster", HOME=str(tmp_path))
    assert "Not used" not in made.stdout
    assert calls(project) == [
        [None, *shlex.split(simulate)],
        [str(project / ".dagster"), *refresh],
        [str(project / "my home"), *refresh, "--verbose"],
        [str(tmp_path / "dagster"), *refresh],
    ]


def test_dev_warns_of_an_instance_configured_by_another_version(project: Path, tmp_path: Path) -> None:
    home = str(tmp_path / "home")
    assert make(project, "dev", DAGSTER_HOME=home).stderr == ""
    write(Path(home) / "dagster.yaml", "telemetry: {enabled: false}")
    made = make(project, "dev", DAGSTER_HOME=home)
    assert f"Warning: {home}/dagster.yaml differs from that of the project." in made.stderr
    assert len(calls(project)) == 2


def test_every_server_listens_on_the_port_that_is_named(project: Path) -> None:
    write(project / "data" / "published" / "acl.duckdb")
    servers = ["dev", "dbt-docs", "superset", "demo-source"]
    assert make(project, *servers, PORT="18099").returncode == 0
    assert sum("18099" in call for call in calls(project)) == len(servers)


@pytest.mark.parametrize(
    ("variables", "url"),
    [
        ({}, "http://127.0.0.1:3000"),
        ({"PORT": "18099"}, "http://127.0.0.1:18099"),
        ({"PORT": "18099", "ACL_DAGSTER_URL": "https://dagster.example.org"}, "https://dagster.example.org"),
    ],
)
def test_links_in_failures_lead_to_the_port_of_dagsters_ui(project: Path, variables: dict[str, str], url: str) -> None:
    assert make(project, "dev", **variables).returncode == 0
    assert calls(project)[-1][-1] == url


@pytest.mark.parametrize("target", ["run", "dev", "extract", "superset", "dbt-docs"])
def test_bad_setting_stops_every_command_before_it_starts(project: Path, target: str) -> None:
    made = make(project, target, ACL_MEMORY_LIMIT="lots", ACL_SETLE_SECONDS="5")
    assert made.returncode != 0
    assert "ACL_MEMORY_LIMIT cannot be used" in made.stderr
    assert "ACL_SETLE_SECONDS is not a setting. Did you mean ACL_SETTLE_SECONDS?" in made.stderr
    assert "Traceback" not in made.stderr
    assert not (project / "calls").exists()


def test_superset_names_what_to_do_before_it_installs_anything(project: Path) -> None:
    (project / "superset" / ".venv" / "installed").unlink()
    refused = make(project, "superset")
    assert refused.returncode != 0
    assert re.match(r"Nothing is published: there is no .*acl\.duckdb\. Run: make run\n", refused.stderr)
    assert not (project / "calls").exists()
