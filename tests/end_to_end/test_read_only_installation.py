"""A refresh works from an installation in which nothing can be written."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from refreshes import dagster_home, environment

from acl_assets.settings import DBT_PROJECT_DIR, PROJECT_DIR, Settings
from acl_assets.warehouse.project import dbt_project, load_manifest

REFRESH = [sys.executable, "-m", "dagster", "asset", "materialize", "--select", "*", "-m", "acl_assets.definitions"]


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[Path]:
    """A copy of the installation, its manifest made, whose files and folders are read-only."""
    load_manifest(dbt_project())
    folder = tmp_path / "installation"
    for part in (PROJECT_DIR / "acl_assets", DBT_PROJECT_DIR):
        shutil.copytree(part, folder / part.name, ignore=shutil.ignore_patterns("__pycache__", "logs", "tmp*"))
    os.utime(folder / "dbt" / "target" / "manifest.json")
    change_modes(folder, files=0o444, folders=0o555)
    yield folder
    change_modes(folder, files=0o644, folders=0o755)


def change_modes(folder: Path, *, files: int, folders: int) -> None:
    for path in [folder, *folder.rglob("*")]:
        path.chmod(folders if path.is_dir() else files)


def heeding_modes(command: list[str]) -> list[str]:
    """The command, run without root's power to write where modes forbid it."""
    if os.geteuid() != 0:
        return command
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        pytest.skip("root can write everywhere, and there is no setpriv to take that power away")
    return [setpriv, "--bounding-set=-dac_override,-dac_read_search", *command]


@pytest.mark.exhaustive
@pytest.mark.slow
def test_a_refresh_succeeds_twice(installation: Path, landed: Settings, tmp_path: Path) -> None:
    """dbt writes its parser state where the first refresh has put a copy of the installation's."""
    variables = {**environment(landed, dagster_home(tmp_path / "home")), "PYTHONPATH": str(installation)}
    for _ in range(2):
        refreshed = subprocess.run(
            heeding_modes(REFRESH), cwd=installation, env=variables, capture_output=True, text=True, check=False
        )
        assert refreshed.returncode == 0, refreshed.stdout + refreshed.stderr
    assert landed.published_file.exists()
