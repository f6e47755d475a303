"""The Compose file is valid and agrees with the systemd units, the Kubernetes manifests and the repository."""

import json
import re
from importlib.metadata import version
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator
from systemd import DEPLOYMENT as SYSTEMD
from systemd import environment_file, unit

from acl_assets.settings import PROJECT_DIR, Settings

DEPLOYMENT = PROJECT_DIR / "deploy" / "compose"
KUBERNETES = PROJECT_DIR / "deploy" / "kubernetes"
COMPOSE = yaml.safe_load((DEPLOYMENT / "compose.yaml").read_text(encoding="utf-8"))
SERVICES: dict[str, Any] = COMPOSE["services"]
DAGSTER = {name: service for name, service in SERVICES.items() if service["image"].startswith("acl_assets:")}
SETTINGS = environment_file(DEPLOYMENT / "settings.env")
IN_PODS = {
    container["name"]: container.get("command")
    for manifest in yaml.safe_load_all((KUBERNETES / "acl_assets.yaml").read_text(encoding="utf-8"))
    if manifest["kind"] == "Deployment"
    for containers in ("initContainers", "containers")
    for container in manifest["spec"]["template"]["spec"].get(containers, [])
}
"""The commands of the containers on Kubernetes, None where it is the image's."""


def _volumes(service: str) -> dict[str, tuple[str, bool]]:
    """Return the volumes of a service: where each one is mounted, and whether the service may write to it."""
    found = {}
    for volume in SERVICES[service].get("volumes", []):
        if isinstance(volume, dict):
            found[volume["source"]] = (volume["target"], True)
        else:
            name, target, *mode = volume.split(":")
            found[name] = (target, mode != ["ro"])
    return found


def test_it_follows_the_schema_of_compose() -> None:
    schema = json.loads((PROJECT_DIR / "tests" / "support" / "compose" / "compose-spec.json").read_text())
    assert [error.message for error in Draft7Validator(schema).iter_errors(COMPOSE)] == []


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_confined(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["user"] in {"postgres", "10001:10001"}
    assert service["mem_limit"]
    assert service["pids_limit"]
    assert {"cap_add", "privileged", "network_mode", "pid"} & service.keys() == set()
    if name != "migrate":
        assert service["restart"] == "unless-stopped"
        assert service["healthcheck"]["test"][0] == "CMD"
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))


@pytest.mark.parametrize("name", [*DAGSTER, "superset"])
def test_a_service_starts_and_ends_as_its_systemd_unit(name: str) -> None:
    """Only addresses and paths differ."""
    settings = unit(SYSTEMD / "systemd" / f"acl-assets-{name}.service")["Service"]
    dockerfile = {"code-server": KUBERNETES / "Dockerfile", "superset": DEPLOYMENT / "superset.Dockerfile"}
    command = SERVICES[name].get("command") or json.loads(dockerfile[name].read_text().split("\nCMD ")[1])
    for started in (command, IN_PODS.get(name) or command):
        assert _without_addresses(" ".join(started)) == _without_addresses(settings["ExecStart"])
    assert SERVICES[name]["image"].endswith(f":{version('acl_assets')}")
    assert SERVICES[name]["mem_limit"] == settings["MemoryMax"].lower()
    assert SERVICES[name]["stop_grace_period"] == settings.get("TimeoutStopSec", "90s").replace("min", "m")


def _without_addresses(command: str) -> str:
    return re.sub(r" --(host|port|socket|workspace)[ =]\S+", "", command).replace("=", " ")


def test_settings_are_those_of_kubernetes_without_object_storage() -> None:
    others = environment_file(KUBERNETES / "settings.env")
    local = {"DAGSTER_POSTGRES_HOST", "ACL_DATA_DIR", "ACL_EXPORTS_DIR"}
    assert SETTINGS.keys() - local == others.keys() - local - {"ACL_WORK_DIR", "AWS_DEFAULT_REGION"}
    assert {name: SETTINGS[name] for name in SETTINGS.keys() - local} == {
        name: others[name] for name in SETTINGS.keys() - local
    }
    assert SETTINGS["ACL_DATA_DIR"] == others["ACL_WORK_DIR"]
    assert SETTINGS["DAGSTER_POSTGRES_HOST"] in SERVICES


def test_secrets_and_data_are_where_they_are_needed() -> None:
    """Superset gets no volume with names of buyers, and only processes that run the pipeline's code get its secrets."""
    found = {
        name: (
            {file.removesuffix("_secrets.env") for file in service.get("env_file", []) if file != "settings.env"},
            {volume for volume, (_, writable) in _volumes(name).items() if writable},
            {volume for volume, (_, writable) in _volumes(name).items() if not writable},
        )
        for name, service in SERVICES.items()
    }
    assert found == {
        "postgres": ({"postgres", "instance"}, {"postgres"}, set()),
        "migrate": ({"instance"}, set(), set()),
        "code-server": ({"instance", "pipeline"}, {"data", "source-tables", "compute-logs", "./exports"}, set()),
        "daemon": ({"instance"}, {"compute-logs"}, set()),
        "webserver": ({"instance"}, set(), {"compute-logs"}),
        "superset": ({"superset"}, {"superset"}, {"data"}),
    }


def test_volumes_are_where_the_settings_say_and_belong_to_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    """A new volume gets the owner of the image's folder."""
    for name, value in SETTINGS.items():
        monkeypatch.setenv(name, value)
    settings = Settings.from_environment()
    mounted = {volume: target for volume, (target, _) in {**_volumes("code-server"), **_volumes("superset")}.items()}
    assert mounted == {
        "data": str(settings.data_dir),
        "source-tables": str(settings.source_tables_dir),
        "superset": str(settings.data_dir / "superset"),
        "compute-logs": SETTINGS["DAGSTER_COMPUTE_LOGS_DIR"],
        "./exports": str(settings.exports_dir),
    }
    dockerfile = (KUBERNETES / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    (owned,) = re.findall(r"install -d -m 700 -o acl_assets -g acl_assets (.+)", dockerfile)
    assert {*owned.split(), mounted["./exports"]} == {*mounted.values()}
    assert SERVICES["superset"]["environment"]["ACL_DATA_DIR"] == SETTINGS["ACL_DATA_DIR"]


def test_no_secret_is_in_the_repository() -> None:
    ignored = (DEPLOYMENT / ".gitignore").read_text().splitlines()
    assert {"/*_secrets.env", "/exports/"} <= {*ignored}
    for file in {file for service in SERVICES.values() for file in service.get("env_file", [])} - {"settings.env"}:
        example = environment_file(DEPLOYMENT / f"{file}.example")
        assert set(example.values()) == {""}
    assert not [name for name in SETTINGS if re.search("PASSWORD|DSN|SECRET|KEY", name)]


def test_only_dagster_reaches_the_instance_and_the_code_server() -> None:
    inside = {name for name, service in SERVICES.items() if "instance" in service["networks"]}
    assert inside == {"postgres", *DAGSTER}
    assert COMPOSE["networks"]["instance"]["internal"] is True
    server = yaml.safe_load((KUBERNETES / "workspace.yaml").read_text())["load_from"][0]["grpc_server"]
    assert server["host"] in SERVICES["code-server"]["networks"]["instance"]["aliases"]


def test_the_files_it_mounts_and_builds_from_exist() -> None:
    for config in COMPOSE["configs"].values():
        assert (DEPLOYMENT / config["file"]).is_file()
    for service in SERVICES.values():
        if build := service.get("build"):
            assert (DEPLOYMENT / build["context"]).resolve() == PROJECT_DIR
            assert (PROJECT_DIR / build["dockerfile"]).is_file()
            assert (PROJECT_DIR / f"{build['dockerfile']}.dockerignore").is_file()
    mounted = {config["target"] for config in DAGSTER["daemon"]["configs"]}
    assert mounted == {f"{SETTINGS['DAGSTER_HOME']}/{name}" for name in ("dagster.yaml", "workspace.yaml")}
