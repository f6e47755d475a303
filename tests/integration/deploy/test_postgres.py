"""The systemd units, the example environment and the Dagster configuration agree with each other and the repository."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from systemd import DEPLOYMENT, INSTALLED_IN, environment_file, unit

from acl_assets.settings import PROJECT_DIR, Settings

EXAMPLE = environment_file(DEPLOYMENT / "environment.example")
SUPERSET = DEPLOYMENT / "systemd" / "acl-assets-superset.service"
SERVICES = sorted({*(DEPLOYMENT / "systemd").glob("*.service")} - {SUPERSET})
"""Dagster's services."""
MIGRATION = DEPLOYMENT / "systemd" / "acl-assets-migrate.service"
CODE_SERVER = DEPLOYMENT / "systemd" / "acl-assets-code-server.service"
HARDENING = dict(
    re.findall(
        r"^(\w+)=(.*)$",
        (DEPLOYMENT / "systemd" / "acl-assets-.service.d" / "hardening.conf").read_text(encoding="utf-8"),
        re.MULTILINE,
    )
)
# systemd counts from 0 (locked in) to 10; without hardening the units had 8.5. This leaves room for newer versions of
# systemd, which look at more settings.
HIGHEST_EXPOSURE = 2.0


def _yaml(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def test_queue_monitoring_and_retention_are_those_of_make_dev() -> None:
    local, deployed = _yaml(PROJECT_DIR / "dagster.yaml"), _yaml(DEPLOYMENT / "dagster.yaml")
    assert {name for name in local if local[name] != deployed.get(name)} == {"run_launcher"}


def test_example_names_every_variable_that_is_read() -> None:
    """A missing variable stops a process at its start; one too many is a setting without effect."""
    text = "".join(path.read_text(encoding="utf-8") for path in (*DEPLOYMENT.glob("*.yaml"), *SERVICES))
    read = set(re.findall(r"env: (\w+)", text)) | set(re.findall(r"\$\{(\w+)\}", text))
    read_in_code = {"DAGSTER_HOME", "DAGSTER_WEBSERVER_HOST", "DAGSTER_WEBSERVER_PORT"}
    assert {name for name in EXAMPLE if not name.startswith("ACL_")} == read | read_in_code


def test_example_holds_no_secret_and_opens_the_webserver_to_this_machine_only() -> None:
    """The webserver has no authentication: anybody who reaches it can launch runs."""
    assert {value for name, value in EXAMPLE.items() if re.search("PASSWORD|DSN|ALERT_URLS", name)} == {""}
    assert EXAMPLE["DAGSTER_WEBSERVER_HOST"] == "127.0.0.1"


@pytest.mark.parametrize("service", SERVICES, ids=lambda path: path.stem)
def test_a_service_runs_files_of_the_repository_as_the_user_of_all(service: Path) -> None:
    settings = unit(service)["Service"]
    paths = re.findall(rf"{INSTALLED_IN}\S*", f"{settings['ExecStart']} {settings['WorkingDirectory']}")
    assert paths
    for path in paths:
        assert Path(path.replace(INSTALLED_IN, str(PROJECT_DIR))).exists(), path
    assert (settings["User"], HARDENING["UMask"]) == ("acl_assets", "0077")
    assert settings["EnvironmentFile"] == "/etc/acl_assets/environment"


@pytest.mark.parametrize("service", [path for path in SERVICES if path != MIGRATION], ids=lambda path: path.stem)
def test_the_target_controls_a_service_and_a_migration_stops_it_first(service: Path) -> None:
    assert unit(service)["Install"]["WantedBy"] == "acl-assets.target"
    assert unit(service)["Unit"]["PartOf"] == "acl-assets.target"
    migration = unit(MIGRATION)["Unit"]
    assert service.name in migration["Conflicts"].split()
    assert service.name in migration["After"].split()


@pytest.mark.parametrize("service", [*SERVICES, SUPERSET], ids=lambda path: path.stem)
def test_systemd_rates_a_service_as_confined(service: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("there is no systemd-analyze on PATH")
    limit = f"--threshold={HIGHEST_EXPOSURE * 10:.0f}"
    command = [analyze, "security", "--offline=true", "--no-pager", limit, service]
    rated = subprocess.run(command, capture_output=True, text=True, check=False)
    if "unrecognized option '--offline" in rated.stderr:
        pytest.skip("systemd-analyze rates files from systemd 250 on; this one is older")
    assert rated.returncode == 0, rated.stdout + rated.stderr
    assert f"Overall exposure level for {service.name}" in rated.stdout


@pytest.mark.parametrize("service", [*SERVICES, SUPERSET], ids=lambda path: path.stem)
def test_a_service_writes_only_where_it_has_to_and_has_a_memory_limit(service: Path) -> None:
    settings = unit(service)["Service"]
    assert HARDENING["ProtectSystem"] == "strict"
    assert settings["MemoryMax"]
    writable = {
        "acl-assets-code-server": "/var/lib/acl_assets /opt/acl_assets/dbt/target",
        "acl-assets-daemon": "-/var/lib/acl_assets/compute_logs",
        "acl-assets-superset": "/var/lib/acl_assets/data/superset",
    }
    assert settings.get("ReadWritePaths") == writable.get(service.stem)


def test_superset_reads_no_names_of_buyers() -> None:
    hidden = unit(SUPERSET)["Service"]["InaccessiblePaths"].split()
    assert hidden == [f"-{EXAMPLE['ACL_DATA_DIR']}/{name}" for name in ("exports", "source_tables")]


def test_the_code_server_may_write_every_folder_of_the_example_environment() -> None:
    """It outlives a run that was killed because memory ran out."""
    settings = unit(CODE_SERVER)["Service"]
    writable = [*settings["ReadWritePaths"].split(), f"/run/{settings['RuntimeDirectory']}"]
    for name in ("DAGSTER_HOME", "DAGSTER_COMPUTE_LOGS_DIR", "DAGSTER_CODE_SERVER_SOCKET", "ACL_DATA_DIR"):
        assert any(Path(EXAMPLE[name]).is_relative_to(folder) for folder in writable), name
    assert settings["OOMPolicy"] == "continue"


@pytest.mark.parametrize("service", [path for path in SERVICES if path != CODE_SERVER], ids=lambda path: path.stem)
def test_only_the_code_server_gets_data_and_secrets_of_the_pipeline(service: Path) -> None:
    settings = unit(service)["Service"]
    assert settings["InaccessiblePaths"] == f"-{EXAMPLE['ACL_DATA_DIR']}"
    secrets = {
        f"ACL_{name.upper()}" for name, field in Settings.model_fields.items() if "SecretStr" in str(field.annotation)
    }
    keys = {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"}
    missing = (secrets | keys) - set(settings["UnsetEnvironment"].split())
    assert not missing, f"{service.name}: add {', '.join(sorted(missing))} to UnsetEnvironment"


def test_the_daemon_stops_before_the_code_server_which_finishes_its_runs() -> None:
    assert unit(CODE_SERVER)["Service"]["KillMode"] == "mixed"
    assert CODE_SERVER.name in unit(CODE_SERVER.with_name("acl-assets-daemon.service"))["Unit"]["After"].split()
