"""`make audit` fails when an advisory applies, and when a package was not looked up."""

from pathlib import Path
from typing import Any

import pytest
from processes import free_port, json_server

from acl_assets.settings import PROJECT_DIR
from deploy.audit import LOCKS, locked, main

PACKAGES = {
    "requirements.lock": """numpy==1.26.4 ; python_version < '3.12' \\
    --hash=sha256:00
numpy==2.4.0 ; python_version >= '3.12' \\
    --hash=sha256:01
""",
    "superset/requirements.lock": "# by uv\nrequests==2.32.0\n    # via x\n",
    "spark/client.lock": "pywin32==312 ; sys_platform == 'win32'\n",
    "spark/cluster.lock": "numpy==2.4.0\n",
}
ADVISORY = {
    "id": "GHSA-0000-0000-0000",
    "summary": "It leaks.",
    "affected": [
        {
            "package": {"name": "requests", "ecosystem": "PyPI"},
            "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "2.32.4"}]}],
        }
    ],
}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for lock, text in PACKAGES.items():
        (tmp_path / lock).parent.mkdir(exist_ok=True)
        (tmp_path / lock).write_text(text)
    return tmp_path


def osv(project: Path, port: int) -> list[str]:
    address = f"http://127.0.0.1:{port}"
    return ["--vulnerability-service", "osv", "--osv-url", address, "--cache-dir", str(project / "cache")]


def test_every_lock_of_the_project_is_audited() -> None:
    found = {str(path.relative_to(PROJECT_DIR)) for path in PROJECT_DIR.glob("*.lock")}
    found |= {str(path.relative_to(PROJECT_DIR)) for path in PROJECT_DIR.glob("[a-z]*/*.lock")}
    assert set(LOCKS) == found
    packages = locked(PROJECT_DIR)
    for lock in LOCKS:
        lines = [line for line in (PROJECT_DIR / lock).read_text().splitlines() if line and line[0] not in "# "]
        assert sum(lock in locks for locks in packages.values()) == len(lines), lock


def test_packages_of_all_python_versions_and_platforms_are_looked_up_and_an_advisory_fails(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[tuple[str, str]] = []
    advisories = {"requests": [ADVISORY]}

    def answer(query: dict[str, Any]) -> dict[str, Any]:
        asked.append((query["package"]["name"], query["version"]))
        return {"vulns": advisories.get(query["package"]["name"], [])}

    with json_server(answer) as port:
        assert main(project, osv(project, port)) == 1
        assert sorted(asked) == [("numpy", "1.26.4"), ("numpy", "2.4.0"), ("pywin32", "312"), ("requests", "2.32.0")]
        advisories.clear()
        assert main(project, osv(project, port)) == 0
    said = capsys.readouterr()
    assert "requests 2.32.0 (superset/requirements.lock): GHSA-0000-0000-0000, fixed in 2.32.4. It leaks." in said.err
    assert said.out == "".join(f"4 of 4 packages looked up, {found} advisories.\n" for found in (1, 0))


def test_an_advisory_service_that_cannot_be_reached_is_no_result(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(project, osv(project, free_port())) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("Nothing was audited: pip-audit got no answer from the advisory service (")
    assert "Connection refused" in said.err


@pytest.mark.parametrize(
    ("known", "said"),
    [
        (
            {"numpy"},
            "Not looked up, so nothing is known about them:\n  pywin32 312 (spark/client.lock): gone\n"
            "  requests 2.32.0 (superset/requirements.lock): pip-audit does not mention it",
        ),
        (set(), "Nothing was audited: pip-audit got no answer from the advisory service (it knows none of the 4"),
    ],
)
def test_an_audit_with_skipped_packages_fails(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], known: set[str], said: str
) -> None:
    """A mirror of the package index serves packages without their advisories: pip-audit skips them and succeeds."""

    def answer(packages: list[tuple[str, str]], options: list[str]) -> list[dict[str, object]]:
        return [
            {"name": name, "version": version, "vulns": []} if name in known else {"name": name, "skip_reason": "gone"}
            for name, version in packages
            if name != "requests"
        ]

    monkeypatch.setattr("deploy.audit.audit", answer)
    assert main(project, []) == 2
    assert said in capsys.readouterr().err
