"""Load the manifest of the dbt project, and parse the project when the manifest is older than its files."""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from dagster_dbt import DbtProject

from acl_assets.settings import DBT_PROJECT_DIR
from acl_assets.util.atomic_write import fsync_path, replace_durably
from acl_assets.warehouse.dbt_process import dbt_environment

_LOG = logging.getLogger(__name__)
# What dbt keeps of an earlier parse.
_PARSER_STATE = "partial_parse.msgpack"
_PARSED_SUFFIXES = {".sql", ".yml", ".yaml", ".md", ".csv"}
_GENERATED_FOLDERS = {"target", "logs", "dbt_packages"}


class DbtProjectError(RuntimeError):
    """The dbt project cannot be parsed; the message ends with dbt's output."""


def dbt_project(project_dir: Path = DBT_PROJECT_DIR) -> DbtProject:
    """Return the dbt project, whose profiles are in its own folder."""
    return DbtProject(project_dir=project_dir, profiles_dir=project_dir)


def dbt_command() -> list[str]:
    """Return the command that runs dbt with this interpreter.

    It needs neither a PATH nor the script `dbt`, which breaks when the environment is moved. -P keeps the project's
    folder `dbt` out of the places where Python looks for modules.
    """
    return [sys.executable, "-P", "-m", "dbt.cli.main"]


def festival_timezone(manifest: Mapping[str, Any]) -> str:
    """Return the time zone of the festival, which `dbt_project.yml` copies from its var into the meta of the models."""
    models = (node for node in manifest["nodes"].values() if node["resource_type"] == "model")
    return str(next(models)["meta"]["festival_timezone"])


def load_manifest(project: DbtProject, variables: Mapping[str, str] | None = None) -> Mapping[str, Any]:
    """Read the manifest, parsing the project first if the manifest is missing, outdated or damaged.

    `variables` are the environment variables that the refresh sets; dbt parses again if they differ.

    Raises:
        DbtProjectError: the project does not parse.
    """
    if not is_stale(project):
        try:
            return _read_manifest(project.manifest_path)
        except (ValueError, TypeError, KeyError) as error:
            _LOG.warning("%s cannot be used (%r); the dbt project is parsed again.", project.manifest_path, error)
    parse(project, variables)
    return _read_manifest(project.manifest_path)


def _read_manifest(file: Path) -> Mapping[str, Any]:
    """Read a manifest; raise ValueError, TypeError or KeyError if it is damaged or of another version of dbt."""
    manifest: dict[str, Any] = json.loads(file.read_bytes())
    written_by, installed = manifest["metadata"]["dbt_version"], version("dbt-core")
    if written_by != installed:
        raise ValueError(f"dbt {written_by} wrote it, and {installed} is installed")
    return manifest


def provide_parser_state(project: DbtProject, target_path: Path) -> None:
    """Copy the parser state of the manifest to the target folder of builds, unless a build has left a newer one there.

    dagster-dbt would copy its mode too, and dbt cannot write into a copy of a file that is read-only.
    """
    state, of_project = target_path / _PARSER_STATE, project.manifest_path.with_name(_PARSER_STATE)
    is_newer = state.exists() and state.stat().st_mtime_ns >= project.manifest_path.stat().st_mtime_ns
    if of_project.exists() and not is_newer:
        target_path.mkdir(parents=True, exist_ok=True)
        state.unlink(missing_ok=True)
        shutil.copyfile(of_project, state)


def is_stale(project: DbtProject) -> bool:
    """Return whether the manifest is missing or older than a file it was made from."""
    try:
        made_at = project.manifest_path.stat().st_mtime_ns
    except FileNotFoundError:
        return True
    for folder, subfolders, files in os.walk(project.project_dir):
        subfolders[:] = [name for name in subfolders if name not in _GENERATED_FOLDERS]
        parsed = [Path(folder, name) for name in files if Path(name).suffix in _PARSED_SUFFIXES]
        # A folder's own time changes when a file in it is added or removed. dbt adds folders to that of the project.
        folders = [] if Path(folder) == project.project_dir else [Path(folder)]
        if any(path.stat().st_mtime_ns > made_at for path in (*folders, *parsed)):
            return True
    return False


def parse(project: DbtProject, variables: Mapping[str, str] | None = None) -> None:
    """Parse the whole project and put manifest and parser state into its target folder, each replaced at once.

    An earlier parse is not used: after a change of a macro dbt lost what the YAML says of tests that use it. Several
    processes may parse at the same time. The target is DuckDB whichever engine builds: it is always installed, and
    Dagster uses nothing of the manifest that differs.

    Raises:
        DbtProjectError: the project does not parse, or its target folder cannot be written.
    """
    target = project.manifest_path.parent
    try:
        target.mkdir(parents=True, exist_ok=True)
        scratch = tempfile.TemporaryDirectory(dir=target)
    except OSError as error:
        raise DbtProjectError(
            f"The manifest in {target} is missing or older than the files of the dbt project, and the folder cannot be "
            f"written ({error.strerror}). Make the manifest as a user who may write there, with: "
            f"{sys.executable} -m dagster definitions validate -m acl_assets.definitions"
        ) from None
    with scratch as folder:
        command = [*dbt_command(), "--quiet", "parse", "--no-partial-parse"]
        command += ["--project-dir", str(project.project_dir), "--profiles-dir", str(project.profiles_dir)]
        command += ["--target", "duckdb", "--target-path", folder, "--log-path", folder]
        environment = dbt_environment(variables or {})
        parsed = subprocess.run(
            command, cwd=project.project_dir, env=environment, capture_output=True, text=True, check=False
        )
        if parsed.returncode != 0:
            output = (parsed.stdout + parsed.stderr).strip()
            raise DbtProjectError(f"dbt cannot parse {project.project_dir}:\n{output}")
        for name in (_PARSER_STATE, "manifest.json"):
            fsync_path(Path(folder) / name)
            replace_durably(Path(folder) / name, target / name)
