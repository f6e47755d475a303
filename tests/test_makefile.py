"""Make's targets work in a folder of any name, and `make clean` removes nothing but what this project made."""

from __future__ import annotations

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

MAKE = shutil.which("make") or "make"
AWKWARD = ["acl copy [ä] (1)", 'acl it\'s $HOME & ; "x" *']
LOCK = "run 0b3c, process 1"

# Stands in for .venv/bin/python: writes down how it was called, and answers what the Makefile asks of the settings.
RECORD = 'import json, os, sys; print(json.dumps([os.environ.get("DAGSTER_HOME"), *sys.argv[1:]]))'
STUB = f"""#!/bin/bash
python={shlex.quote(sys.executable)}
if [ "$1" = -c ]; then exec "$python" "$@"; fi
"$python" -c '{RECORD}' "$@" >> calls
"""


def copy_project(folder: Path) -> Path:
    """Copy the tracked files, and set up stubs of the environments."""
    listed = subprocess.run(
        [shutil.which("git") or "git", "ls-files", "-z"], cwd=PROJECT_DIR, capture_output=True, text=True, check=True
    )
    for name in filter(None, listed.stdout.split("\0")):
        if (PROJECT_DIR / name).exists():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(PROJECT_DIR / name, folder / name)
    for environment in (".venv", "superset/.venv", "spark/.venv"):
        python = write(folder / environment / "bin" / "python", STUB)
        python.chmod(0o755)
        write(folder / environment / "installed")
    write(folder / ".venv" / "spark_client_installed")
    return folder


def write(file: Path, text: str = "") -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


@pytest.fixture(params=AWKWARD)
def project(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """A copy of the project in a folder with an awkward name."""
    return copy_project(tmp_path / request.param)


def make(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run make in a folder, in an environment that has none of make's own variables or the project's settings."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    return subprocess.run(
        [MAKE, *arguments], cwd=folder, env={**kept, **variables}, capture_output=True, text=True, check=False
    )


def calls(project: Path) -> list[list[str]]:
    """DAGSTER_HOME and arguments of every call of the stub."""
    return [json.loads(line) for line in (project / "calls").read_text().splitlines()]


def files(folder: Path) -> set[str]:
    return {str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()}


def test_clean_removes_what_was_built_and_nothing_else(project: Path, tmp_path: Path) -> None:
    """In `acl copy`, an unquoted path removed the folder `acl`."""
    words = project.name.replace(";", " ").split()
    for neighbour in (*words, "build", "data/build"):
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


def test_clean_removes_the_build_folder_of_a_data_folder_with_spaces(project: Path, tmp_path: Path) -> None:
    for folder in ("my", "data", "my data"):
        write(tmp_path / folder / "build" / "refresh.lock", LOCK)
    assert make(project, "clean", ACL_DATA_DIR=str(tmp_path / "my data")).returncode == 0
    assert not (tmp_path / "my data" / "build").exists()
    assert (tmp_path / "my" / "build").exists()
    assert (tmp_path / "data" / "build").exists()


@pytest.mark.parametrize("relative", ["..", "../", "../other ", "-rf", "~/data", "s3://bucket/acl"])
def test_clean_takes_any_text_for_the_data_folder(tmp_path: Path, relative: str) -> None:
    project = copy_project(tmp_path / AWKWARD[0])
    if "://" in relative:
        build = project / "data" / "build"
    else:
        build = Path(os.path.normpath(project / relative.replace("~", str(tmp_path)))) / "build"
    write(build / "refresh.lock", LOCK)
    neighbour = write(tmp_path / "other" / "build" / "refresh.lock", "of another program")
    cleaned = make(project, "clean", ACL_DATA_DIR=relative, HOME=str(tmp_path))
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
    assert make(project, "clean", ACL_DATA_DIR="/").returncode == 0


def test_clean_elsewhere_removes_nothing(project: Path, tmp_path: Path) -> None:
    """With make -f the paths would be those of another project."""
    other = write(tmp_path / "other project" / ".venv" / "kept")
    refused = make(other.parents[1], "-f", str(project / "Makefile"), "clean")
    assert refused.returncode != 0
    assert "Run make in the folder of the project" in refused.stderr
    assert other.exists()


def test_commands_are_the_same_in_every_folder(project: Path, tmp_path: Path) -> None:
    targets = re.findall(r"^([a-z-]+):.*## ", (project / "Makefile").read_text(), flags=re.MULTILINE)
    plain = copy_project(tmp_path / "plain")
    for _ in ("installed", "not installed"):
        planned = make(project, "--dry-run", *targets)
        assert (planned.returncode, planned.stderr) == (0, "")
        assert planned.stdout == make(plain, "--dry-run", *targets).stdout
        make(project, "clean")
        make(plain, "clean")


def test_run_simulates_refreshes_and_says_where_the_results_are(project: Path) -> None:
    made = make(project, "run", "SCALE=0.01")
    assert (made.returncode, made.stderr) == (0, "")
    home = str(project / ".dagster")
    assert calls(project) == [
        [None, *shlex.split("-m acl_assets.simulator write-batch --scale 0.01 --seed 20 --format parquet")],
        [home, *shlex.split("-m dagster asset materialize --select '*' -m acl_assets.definitions")],
    ]
    assert f"No export in {project}/data/exports: simulating" in made.stdout
    assert f"The report:    {project}/data/report/index.html\n" in made.stdout
    assert f"The warehouse: {project}/data/published/acl.duckdb\n" in made.stdout


def test_run_uses_the_export_that_has_landed(project: Path, tmp_path: Path) -> None:
    landing_zone = tmp_path / "landing zone"
    write(landing_zone / "first" / "tickets.csv")
    assert make(project, "run", ACL_EXPORTS_DIR=str(landing_zone), DAGSTER_HOME="my home").returncode == 0
    ((home, *command),) = calls(project)
    assert home == str(project / "my home")
    assert command[:3] == ["-m", "dagster", "asset"]


def test_run_simulates_nothing_for_object_storage(project: Path) -> None:
    made = make(project, "run", f"ACL_WORK_DIR={project.parent}/my work", ACL_DATA_DIR="s3://bucket/acl")
    assert len(calls(project)) == 1
    assert f"The report:    {project.parent}/my work/report/index.html\n" in made.stdout


def test_run_replaces_an_outdated_configuration_of_the_instance(project: Path) -> None:
    """One of an earlier version names an event log that is gone; it may be newer than this version's dagster.yaml."""
    outdated = write(project / ".dagster" / "dagster.yaml", "event_log_storage: {module: acl_assets.event_log}\n")
    assert make(project, "run").returncode == 0
    assert outdated.read_bytes() == (project / "dagster.yaml").read_bytes()


@pytest.mark.parametrize("name", ["acl:copy", "acl?", "acl 100%", "acl #1", "acl\\copy", "acl\ncopy"])
def test_installing_where_python_dagster_or_dbt_cannot_work_says_what_to_do(tmp_path: Path, name: str) -> None:
    """A colon separates the entries of PATH; the others are special to the URLs and patterns made of paths."""
    project = copy_project(tmp_path / name)
    make(project, "clean")
    installed = make(project, "install", PYTHON=sys.executable)
    assert installed.returncode != 0
    assert installed.stderr.startswith(f"The environment cannot be set up in '{project}': Python, Dagster and dbt take")
    assert "Move or rename the folder." in installed.stderr
    assert not (project / ".venv").exists()
