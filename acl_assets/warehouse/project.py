"""The dbt project as Dagster sees it: where it is, and a manifest that is never older than its files."""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

import msgpack
from dagster_dbt import DbtProject

from acl_assets.settings import DBT_PROJECT_DIR
from acl_assets.util.atomic_write import fsync_path
from acl_assets.warehouse.dbt_process import dbt_environment

_LOG = logging.getLogger(__name__)
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
    """Read the manifest, parsing the project first if the manifest is missing, outdated or damaged.

    Args:
        project: the dbt project.
        variables: environment variables the refresh sets; dbt parses anew whatever was parsed under others.

    Raises:
        DbtProjectError: the project does not parse.
    """
    if not is_stale(project):
        try:
            return _read_manifest(project.manifest_path)
        except ValueError as error:
            _LOG.warning("%s cannot be used (%s); the dbt project is parsed again.", project.manifest_path, error)
    parse(project, variables)
    return _read_manifest(project.manifest_path)


def _read_manifest(file: Path) -> Mapping[str, Any]:
    """Read a manifest that the installed dbt has written.

    Raises:
        ValueError: the file is damaged, or another version of dbt has written it.
    """
    manifest = json.loads(file.read_bytes())
    metadata = manifest.get("metadata") if isinstance(manifest, dict) else None
    if not isinstance(metadata, dict) or not {"nodes", "sources"} <= manifest.keys():
        raise ValueError("it is no manifest")
    if metadata.get("dbt_version") != version("dbt-core"):
        raise ValueError(f"dbt {metadata.get('dbt_version')} wrote it, and {version('dbt-core')} is installed")
    return cast("Mapping[str, Any]", manifest)


def festival_timezone(manifest: Mapping[str, Any]) -> str:
    """Return the dbt var `festival_timezone`, which dbt_project.yml copies into the meta of every model.

    Raises:
        DbtProjectError: no model has it.
    """
    for node in manifest["nodes"].values():
        if zone := node["config"].get("meta", {}).get("festival_timezone"):
            return str(zone)
    raise DbtProjectError("No model has festival_timezone in its meta; add it to +meta in dbt/dbt_project.yml.")


def provide_parser_state(project: DbtProject, target_path: Path, warn: Callable[[str], None]) -> None:
    """Put the parser state of the manifest into the target folder of builds, unless a build has left a newer one.

    dagster-dbt would copy it with its mode, and dbt cannot write into a copy of a file that is read-only. Without a
    usable state dbt parses everything, but does not name the damaged file, so that is done here.
    """
    state, of_project = target_path / _PARSER_STATE, project.manifest_path.with_name(_PARSER_STATE)
    made_at = project.manifest_path.stat().st_mtime_ns
    if _is_usable(state, warn) and os.access(state, os.W_OK) and state.stat().st_mtime_ns >= made_at:
        return
    target_path.mkdir(parents=True, exist_ok=True)
    state.unlink(missing_ok=True)
    if _is_usable(of_project, warn):
        shutil.copyfile(of_project, state)


def _is_usable(state: Path, warn: Callable[[str], None]) -> bool:
    """Return whether there is parser state; one that is damaged is named and removed, where it may be."""
    if not state.exists():
        return False
    reason = _damage_of_parser_state(state)
    if reason is None:
        return True
    warn(f"{state} is damaged ({reason}); dbt parses the project again.")
    with suppress(OSError):
        state.unlink()
    return False


def _damage_of_parser_state(state: Path) -> str | None:
    try:
        content = msgpack.unpackb(state.read_bytes(), strict_map_key=False)
    except ValueError as error:
        return str(error) or type(error).__name__
    return None if isinstance(content, dict) and "nodes" in content else "it is no parser state"


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
    with _scratch_folder(target) as scratch:
        command = [*dbt_command(), "--quiet", "parse", "--no-partial-parse"]
        command += ["--project-dir", str(project.project_dir), "--profiles-dir", str(project.profiles_dir)]
        command += ["--target", "duckdb", "--target-path", scratch, "--log-path", scratch]
        parsed = subprocess.run(
            command,
            cwd=project.project_dir,
            env=dbt_environment(variables or {}),
            capture_output=True,
            text=True,
            check=False,
        )
        if parsed.returncode != 0:
            said = (parsed.stdout + parsed.stderr).strip()
            raise DbtProjectError(f"dbt cannot parse {project.project_dir}:\n{said}")
        for name in (_PARSER_STATE, "manifest.json"):
            fsync_path(Path(scratch) / name)
            os.replace(Path(scratch) / name, target / name)
        fsync_path(target)


@contextmanager
def _scratch_folder(target: Path) -> Iterator[str]:
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
        yield folder
