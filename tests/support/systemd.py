"""Read the systemd units of the deployment as systemd does."""

import shlex
from collections.abc import Mapping
from configparser import ConfigParser
from pathlib import Path
from string import Template

from acl_assets.settings import PROJECT_DIR

DEPLOYMENT = PROJECT_DIR / "deploy" / "postgres"
INSTALLED_IN = "/opt/acl_assets"
"""Where the units expect the repository."""


def unit(path: Path) -> dict[str, dict[str, str]]:
    """The settings of a unit by section; none of ours is given twice."""
    parser = ConfigParser(interpolation=None, delimiters=("=",))
    parser.optionxform = str
    parser.read_string(path.read_text(encoding="utf-8"))
    return {name: dict(parser[name]) for name in parser.sections()}


def environment_file(path: Path) -> dict[str, str]:
    """The variables of an environment file without quotes in it."""
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]
    return dict(line.split("=", maxsplit=1) for line in lines)


def start_command(service: str, environment: Mapping[str, str]) -> list[str]:
    """The command line of a service of the deployment, run from this repository."""
    command = unit(DEPLOYMENT / "systemd" / f"{service}.service")["Service"]["ExecStart"]
    words = shlex.split(command.replace(INSTALLED_IN, str(PROJECT_DIR)))
    return [Template(word).substitute(environment) for word in words]
