"""The dbt project as Dagster sees it: where it is, and a manifest that is never older than its files.

What belongs here: locating and preparing. What does not: how nodes become assets (`translator`), running them
(`assets`).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from dagster_dbt import DbtProject

from acl_assets.settings import DBT_PROJECT_DIR

# What dbt keeps of an earlier parse.
_PARSER_STATE = "partial_parse.msgpack"
_PARSED_SUFFIXES = {".sql", ".yml", ".yaml", ".md", ".csv"}
_GENERATED_FOLDERS = {"target", "logs", "dbt_packages"}


class DbtProjectError(RuntimeError):
    """The dbt project cannot be parsed; the message ends with what dbt said."""


def dbt_project(project_dir: Path = DBT_PROJECT_DIR) -> DbtProject:
    """The dbt project, whose profiles live beside its models."""
    return DbtProject(project_dir=project_dir, profiles_dir=project_dir)


def dbt_command() -> list[str]:
    """Return the command that runs dbt with this interpreter.

    It needs neither a PATH nor the script `dbt`: a script names its interpreter in its first line, which breaks when
    the environment was moved. -P keeps the project's folder `dbt` out of the places where Python looks for modules.
    """
    return [sys.executable, "-P", "-m", "dbt.cli.main"]


def load_manifest(project: DbtProject, variables: Mapping[str, str] | None = None) -> Mapping[str, Any]:
    """Read the manifest, parsing the project first when the manifest is missing or older than any of its files.

    Args:
        project: the dbt project.
        variables: environment variables the refresh sets; dbt parses anew whatever was parsed under others.

    Raises:
        DbtProjectError: the project does not parse.
    """
    if is_stale(project):
        parse(project, variables)
    manifest: Mapping[str, Any] = json.loads(project.manifest_path.read_bytes())
    return manifest


def drop_older_parser_state(project: DbtProject, target_path: Path) -> None:
    """Remove the parser state of builds when it is older than the manifest; dbt then starts from the manifest's."""
    state = target_path / _PARSER_STATE
    if state.exists() and state.stat().st_mtime_ns < project.manifest_path.stat().st_mtime_ns:
        state.unlink()


def is_stale(project: DbtProject) -> bool:
    """Whether the manifest is missing or older than a file it was made from."""
    try:
        made_at = project.manifest_path.stat().st_mtime_ns
    except FileNotFoundError:
        return True
    return any(changed_at > made_at for changed_at in _change_times(project.project_dir))


def _change_times(project_dir: Path) -> Iterator[int]:
    for folder, subfolders, _ in os.walk(project_dir):
        subfolders[:] = [name for name in subfolders if name not in _GENERATED_FOLDERS]
        # A folder's own time changes when a file in it is added or removed.
        if Path(folder) != project_dir:
            yield os.stat(folder).st_mtime_ns
    for file in _parsed_files(project_dir):
        yield file.stat().st_mtime_ns


def _parsed_files(project_dir: Path) -> Iterator[Path]:
    for folder, subfolders, files in os.walk(project_dir):
        subfolders[:] = [name for name in subfolders if name not in _GENERATED_FOLDERS]
        yield from (Path(folder, name) for name in files if Path(name).suffix in _PARSED_SUFFIXES)


def parse(project: DbtProject, variables: Mapping[str, str] | None = None) -> None:
    """Parse the whole project and put manifest and parser state into its target folder, each replaced at once.

    Nothing is taken from an earlier parse: where a macro had changed, dbt was seen to lose what the YAML says of
    tests that use it. Two processes may parse at the same time: both write the same under names of their own.
    It is parsed for DuckDB whichever engine builds: what is taken from the manifest is the same for all of them, and
    this one is always installed.

    Raises:
        DbtProjectError: the project does not parse.
    """
    target = project.manifest_path.parent
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target) as scratch:
        command = [*dbt_command(), "--quiet", "parse", "--no-partial-parse"]
        command += ["--target", "duckdb", "--target-path", scratch, "--log-path", scratch]
        parsed = subprocess.run(
            command,
            cwd=project.project_dir,
            env={**os.environ, **(variables or {}), "DBT_PROFILES_DIR": str(project.profiles_dir)},
            capture_output=True,
            text=True,
            check=False,
        )
        if parsed.returncode != 0:
            said = (parsed.stdout + parsed.stderr).strip()
            raise DbtProjectError(f"dbt cannot parse {project.project_dir}:\n{said}")
        for name in (_PARSER_STATE, "manifest.json"):
            os.replace(Path(scratch) / name, target / name)
