"""Look up every package of every lock in a database of advisories, with pip-audit (`make audit`).

Options are handed on to pip-audit. Exit code 1: there are advisories. 2: at least one package was not looked up, so the
result says nothing about it.
"""

import json
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

Package = tuple[str, str]
"""Name and version as locked."""

PROJECT_DIR = Path(__file__).resolve().parent.parent
LOCKS = ("requirements.lock", "superset/requirements.lock", "spark/client.lock", "spark/cluster.lock")


class NotAuditedError(Exception):
    """pip-audit gave no result."""


def locked(project: Path) -> dict[Package, list[str]]:
    """Return every package of the locks with the locks it is in, also those of other platforms and Python versions."""
    packages: dict[Package, list[str]] = {}
    for lock in LOCKS:
        for name, version in re.findall(r"^([\w.-]+)==([^\s;\\]+)", (project / lock).read_text(), re.MULTILINE):
            packages.setdefault((name, version), []).append(lock)
    return packages


def rounds(packages: Iterable[Package]) -> list[list[Package]]:
    """Split packages so that each list has one version of a package.

    pip-audit takes no more. It would obey markers and leave out, without a word, what this Python does not install.
    """
    lists: list[dict[str, str]] = []
    for name, version in sorted(packages):
        free = next((versions for versions in lists if name not in versions), None)
        if free is None:
            lists.append(free := {})
        free[name] = version
    return [list(versions.items()) for versions in lists]


def audit(packages: Sequence[Package], options: Sequence[str]) -> list[dict[str, Any]]:
    """Return what pip-audit found for packages of different names.

    Raises:
        NotAuditedError: it gave no result, such as without a connection.
    """
    with TemporaryDirectory() as folder:
        requirements = Path(folder) / "requirements.txt"
        requirements.write_text("".join(f"{name}=={version}\n" for name, version in packages))
        # The lock has every dependency, so nothing is resolved or installed.
        fixed = ["--no-deps", "--disable-pip", "--progress-spinner", "off", "--format", "json", "-r", str(requirements)]
        ended = subprocess.run(
            [sys.executable, "-m", "pip_audit", *fixed, *options], capture_output=True, text=True, check=False
        )
    try:
        return list(json.loads(ended.stdout)["dependencies"])
    except (ValueError, KeyError, TypeError):
        raise NotAuditedError((ended.stderr.strip().splitlines() or ["it ended without a message"])[-1]) from None


def findings(
    packages: Mapping[Package, list[str]], results: Sequence[Mapping[str, Any]]
) -> tuple[list[str], list[str]]:
    """Return a line for every advisory, and one for every package that was not looked up."""
    found = {(result["name"], result.get("version")): result for result in results if "skip_reason" not in result}
    skipped = {result["name"]: result["skip_reason"] for result in results if "skip_reason" in result}
    advisories, missing = [], []
    for (name, version), locks in sorted(packages.items()):
        where = f"{name} {version} ({', '.join(locks)})"
        if (result := found.get((name, version))) is None:
            missing.append(f"{where}: {skipped.get(name, 'pip-audit does not mention it')}")
            continue
        for advisory in result["vulns"]:
            fixed_in = ", ".join(advisory["fix_versions"]) or "no version yet"
            advisories.append(
                f"{where}: {advisory['id']}, fixed in {fixed_in}. {advisory.get('description', '')[:200]}"
            )
    return advisories, missing


def main(project: Path, options: Sequence[str]) -> int:
    """Audit the locks of a project, print what was found, and return the exit code."""
    packages = locked(project)
    try:
        results = [result for part in rounds(packages) for result in audit(part, options)]
        advisories, missing = findings(packages, results)
        if len(missing) == len(packages):
            raise NotAuditedError(f"it knows none of the {len(packages)} packages, such as {missing[0]}")
    except NotAuditedError as reason:
        print(
            f"Nothing was audited: pip-audit got no answer from the advisory service ({reason}). This says nothing "
            "about the packages. Run make audit where the service can be reached, or name another one: "
            'make audit AUDIT="--vulnerability-service osv"',
            file=sys.stderr,
        )
        return 2
    for title, lines in (("Advisories", advisories), ("Not looked up, so nothing is known about them", missing)):
        if lines:
            print(f"{title}:", *lines, sep="\n  ", file=sys.stderr)
    print(f"{len(packages) - len(missing)} of {len(packages)} packages looked up, {len(advisories)} advisories.")
    return 2 if missing else 1 if advisories else 0


if __name__ == "__main__":
    sys.exit(main(PROJECT_DIR, sys.argv[1:]))
