"""The files of a deployment agree with each other and with the rest of the repository."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from systemd import DEPLOYMENT, INSTALLED_IN, environment_file, unit

from acl_assets.settings import PROJECT_DIR, Settings

EXAMPLE = environment_file(DEPLOYMENT / "environment.example")
SERVICES = sorted((DEPLOYMENT / "systemd").glob("*.service"))
RUNNING = [service for service in SERVICES if service.stem != "acl-assets-migrate"]

each_service = pytest.mark.parametrize("service", SERVICES, ids=lambda path: path.stem)


def _yaml(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def test_queue_monitoring_and_retention_are_those_of_make_dev() -> None:
    """What holds on a laptop holds in the deployment: the files differ in what one of them has to itself."""
    local, deployed = _yaml(PROJECT_DIR / "dagster.yaml"), _yaml(DEPLOYMENT / "dagster.yaml")
    assert {name: deployed.get(name) for name in local} == local


def test_the_example_names_every_variable_that_is_asked_for() -> None:
    """A variable that is missing stops a process at its start; one too many is a setting without effect."""
    texts = [path.read_text(encoding="utf-8") for path in (*DEPLOYMENT.glob("*.yaml"), *SERVICES)]
    asked_for = {
        name for text in texts for name in re.findall(r"env: (\w+)|\$\{(\w+)\}", text) for name in name if name
    }
    read_by_dagster = {"DAGSTER_HOME", "DAGSTER_WEBSERVER_HOST", "DAGSTER_WEBSERVER_PORT"}
    settings = {f"ACL_{name.upper()}" for name in Settings.model_fields}
    assert {name for name in EXAMPLE if not name.startswith("ACL_")} == asked_for | read_by_dagster
    assert {name for name in EXAMPLE if name.startswith("ACL_")} <= settings


def test_the_example_holds_no_secret() -> None:
    assert {name: value for name, value in EXAMPLE.items() if re.search("PASSWORD|DSN", name)} == {
        "DAGSTER_POSTGRES_PASSWORD": "",
        "ACL_TICKETING_DSN": "",
        "ACL_TICKETING_STANDBY_DSN": "",
    }


def test_the_webserver_is_for_this_machine_only() -> None:
    """It has no authentication: whoever reaches it can launch runs."""
    assert EXAMPLE["DAGSTER_WEBSERVER_HOST"] == "127.0.0.1"


@each_service
def test_a_service_runs_what_the_repository_has(service: Path) -> None:
    settings = unit(service)["Service"]
    paths = re.findall(rf"{INSTALLED_IN}\S*", f"{settings['ExecStart']} {settings['WorkingDirectory']}")
    assert paths
    for path in paths:
        assert Path(path.replace(INSTALLED_IN, str(PROJECT_DIR))).exists(), path


@each_service
def test_a_service_has_the_user_and_the_environment_of_all(service: Path) -> None:
    settings = unit(service)["Service"]
    assert (settings["User"], settings["UMask"]) == ("acl_assets", "0077")
    assert settings["EnvironmentFile"] == "/etc/acl_assets/environment"


@pytest.mark.parametrize("service", RUNNING, ids=lambda path: path.stem)
def test_the_target_starts_and_stops_a_service_and_a_migration_stops_it_first(service: Path) -> None:
    assert unit(service)["Install"]["WantedBy"] == "acl-assets.target"
    assert unit(service)["Unit"]["PartOf"] == "acl-assets.target"
    migration = unit(DEPLOYMENT / "systemd" / "acl-assets-migrate.service")["Unit"]
    assert service.name in migration["Conflicts"].split()
    assert service.name in migration["After"].split()


def test_the_code_server_may_finish_its_runs_and_gets_no_new_ones_meanwhile() -> None:
    """The daemon, ordered after it, is stopped before it; only its main process is told to stop."""
    code_server = unit(DEPLOYMENT / "systemd" / "acl-assets-code-server.service")
    assert code_server["Service"]["KillMode"] == "mixed"
    daemon = unit(DEPLOYMENT / "systemd" / "acl-assets-daemon.service")
    assert "acl-assets-code-server.service" in daemon["Unit"]["After"].split()


def test_the_page_names_every_file_of_the_deployment() -> None:
    page = (PROJECT_DIR / "docs" / "deployment.md").read_text(encoding="utf-8")
    for path in DEPLOYMENT.rglob("*"):
        assert path.name in page
