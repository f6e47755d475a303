"""Load the manifest of the dbt project, and parse the project when the manifest is older than its files."""

import json
import logging
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from acl_assets.settings import DBT_PROJECT_DIR
from acl_assets.util.atomic_write import fsync_path, replace_durably
from acl_assets.warehouse.dbt_process import DATA_DIR_OF_BUILDS, dbt_environment
from acl_assets.warehouse.lean_dagster_dbt import DbtProject

_LOG = logging.getLogger(__name__)
# What dbt keeps of an earlier parse.
_PARSER_STATE = "partial_parse.msgpack"
_GENERATED_FOLDERS = {"target", "logs", "dbt_packages"}


class DbtProjectError(RuntimeError):
    """A command of dbt failed; the message ends with dbt's output."""


def dbt_project(project_dir: Path = DBT_PROJECT_DIR) -> DbtProject:
    """Return the dbt project, whose profiles are in its own folder."""
    return DbtProject(project_dir=project_dir, profiles_dir=project_dir)


def dbt_command() -> list[str]:
    """Return the command that runs dbt with this interpreter.

    It needs neither a PATH nor the script `dbt`, which breaks when the environment is moved. -P keeps the project's
    folder `dbt` out of the places where Python looks for modules.
    """
    return [sys.executable, "-P", "-m", "dbt.cli.main"]


def run_dbt(project: DbtProject, variables: Mapping[str, str], folder: Path | str, *arguments: str) -> None:
    """Run a command of dbt with its artifacts and logs in a folder, or raise DbtProjectError if it fails.

    `variables` are the environment variables of a refresh, without which dbt would parse differently.
    """
    places = ["--project-dir", str(project.project_dir), "--profiles-dir", str(project.profiles_dir)]
    places += ["--target-path", str(folder), "--log-path", str(folder)]
    ended = subprocess.run(
        [*dbt_command(), "--quiet", *arguments, *places],
        cwd=project.project_dir,
        env=dbt_environment(variables),
        capture_output=True,
        text=True,
        check=False,
    )
    if ended.returncode != 0:
        output = (ended.stdout + ended.stderr).strip()
        raise DbtProjectError(f"The command dbt {arguments[0]} failed in {project.project_dir}:\n{output}")


def compiled_file(target_path: Path, node: Mapping[str, Any]) -> Path:
    """Return where dbt writes the compiled SQL of a node."""
    return target_path / "compiled" / str(node["package_name"]) / str(node["original_file_path"])


def relation_name(node: Mapping[str, Any]) -> str:
    """Return the relation that dbt makes of a node, as `schema.name`."""
    return f"{node['schema']}.{node['alias']}"


def festival_timezone(manifest: Mapping[str, Any]) -> str:
    """Return the time zone of the festival, which `dbt_project.yml` copies from its var into the meta of the models.

    Raise DbtProjectError if there is no such time zone.
    """
    models = (node for node in manifest["nodes"].values() if node["resource_type"] == "model")
    name = str(next(models)["meta"]["festival_timezone"])
    try:
        ZoneInfo(name)
    except (KeyError, OSError, ValueError):
        raise DbtProjectError(
            f"{name} is no time zone. Set the var festival_timezone in dbt_project.yml to one such as America/Chicago."
        ) from None
    return name


def load_manifest(project: DbtProject, variables: Mapping[str, str] | None = None) -> Mapping[str, Any]:
    """Read the manifest; parse the project first, or raise DbtProjectError, if it is missing, outdated or damaged."""
    manifest: dict[str, Any]
    if not is_stale(project):
        with suppress(ValueError, TypeError, KeyError):
            manifest = json.loads(project.manifest_path.read_bytes())
            if manifest["metadata"]["dbt_version"] == version("dbt-core"):
                return manifest
        _LOG.warning(
            "%s is damaged or of another version of dbt; the dbt project is parsed again.", project.manifest_path
        )
    parse(project, variables)
    manifest = json.loads(project.manifest_path.read_bytes())
    return manifest


def provide_parser_state(project: DbtProject, target_path: Path) -> None:
    """Copy the parser state of the manifest to the target folder of builds, unless a build has left a newer one there.

    That one is of the same variables, with others dbt would parse everything again. dagster-dbt would copy the mode
    too, and dbt cannot write into a copy of a file that is read-only.
    """
    of_project, state = project.manifest_path.with_name(_PARSER_STATE), target_path / _PARSER_STATE
    is_newer = state.exists() and state.stat().st_mtime_ns >= project.manifest_path.stat().st_mtime_ns
    if of_project.exists() and not is_newer:
        target_path.mkdir(parents=True, exist_ok=True)
        state.unlink(missing_ok=True)
        shutil.copyfile(of_project, state)


def is_stale(project: DbtProject) -> bool:
    """Return whether the manifest is missing or older than a file it was made from, or its folder.

    The time of a folder changes when a file in it is added or removed.
    """
    try:
        made_at = project.manifest_path.stat().st_mtime_ns
    except FileNotFoundError:
        return True
    tops = [path for path in project.project_dir.iterdir() if path.name not in _GENERATED_FOLDERS]
    return any(path.stat().st_mtime_ns > made_at for top in tops for path in (top, *top.rglob("*")))


def parse(project: DbtProject, variables: Mapping[str, str] | None = None) -> None:
    """Parse the whole project and put manifest and parser state into its target folder, each replaced at once.

    An earlier parse is not used: after a change of a macro dbt lost what the YAML says of tests that use it. Several
    processes may parse at the same time. The target is DuckDB whichever engine builds: it is always installed, and
    Dagster uses nothing of the manifest that differs. Raise DbtProjectError if a file of the project, or its target
    folder, stands in the way.
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
        of_builds = {**(variables or {}), **DATA_DIR_OF_BUILDS}
        run_dbt(project, of_builds, folder, "parse", "--no-partial-parse", "--target", "duckdb")
        for name in (_PARSER_STATE, "manifest.json"):
            fsync_path(Path(folder) / name)
            replace_durably(Path(folder) / name, target / name)
