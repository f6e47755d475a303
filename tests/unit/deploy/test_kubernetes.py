"""The manifests, the image and the Dagster configuration for Kubernetes agree with each other and the repository."""

import re
import shlex
import shutil
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import yaml
from dagster._config import process_config
from systemd import environment_file

from acl_assets.settings import PROJECT_DIR, Settings

DEPLOYMENT = PROJECT_DIR / "deploy" / "kubernetes"
SETTINGS = environment_file(DEPLOYMENT / "settings.env")
INSTANCE_SECRETS = environment_file(DEPLOYMENT / "instance_secrets.env.example")
PIPELINE_SECRETS = environment_file(DEPLOYMENT / "pipeline_secrets.env.example")
SECRETS = INSTANCE_SECRETS | PIPELINE_SECRETS
MANIFESTS = list(yaml.safe_load_all((DEPLOYMENT / "acl_assets.yaml").read_text(encoding="utf-8")))
DEPLOYMENTS = [manifest for manifest in MANIFESTS if manifest["kind"] == "Deployment"]
TOKEN_FOLDER = "/var/run/secrets/kubernetes.io/serviceaccount"  # noqa: S105 # a folder
DOCKERFILE = re.sub(r"\\\n", " ", (DEPLOYMENT / "Dockerfile").read_text(encoding="utf-8"))


def _yaml(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def _pod(deployment: Any) -> Any:
    return deployment["spec"]["template"]["spec"]


def _containers(deployment: Any) -> list[Any]:
    return [*_pod(deployment).get("initContainers", []), *_pod(deployment)["containers"]]


def _secrets(container: Any) -> set[str]:
    return {source["secretRef"]["name"] for source in container.get("envFrom", []) if "secretRef" in source}


def _mounts(container: Any) -> dict[str, str]:
    return {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}


def _named(kind: str) -> dict[str, Any]:
    """Return the manifests of a kind by name."""
    return {manifest["metadata"]["name"]: manifest for manifest in MANIFESTS if manifest["kind"] == kind}


def _policy(name: str) -> Any:
    policy = _named("NetworkPolicy")[name]["spec"]
    assert policy["policyTypes"] == ["Ingress"]
    return policy


def _copied(dockerfile: str) -> list[str]:
    return [path for line in re.findall(r"^COPY (.+)$", dockerfile, re.MULTILINE) for path in shlex.split(line)[:-1]]


def test_image_copies_only_files_that_exist_and_the_build_may_read() -> None:
    readable = [
        line[1:] for line in (DEPLOYMENT / "Dockerfile.dockerignore").read_text().splitlines() if line[:1] == "!"
    ]
    copied = _copied(DOCKERFILE)
    assert copied
    for path in copied:
        assert (PROJECT_DIR / path).exists(), path
        assert path.split("/")[0] in readable


def test_make_finds_what_it_needs_among_the_files_copied_before_it_installs(tmp_path: Path) -> None:
    for path in _copied(DOCKERFILE.split("RUN make install")[0]):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        shutil.copy(PROJECT_DIR / path, tmp_path / path)
    make = [shutil.which("make") or "make", "--dry-run", "install"]
    assert subprocess.run(make, cwd=tmp_path, capture_output=True, check=False).returncode == 0


def test_storage_queue_and_monitoring_are_those_of_the_tested_deployment() -> None:
    """The one in deploy/postgres is tested against a real PostgreSQL."""
    other, deployed = _yaml(PROJECT_DIR / "deploy" / "postgres" / "dagster.yaml"), _yaml(DEPLOYMENT / "dagster.yaml")
    assert {name for name in other if other[name] != deployed.get(name)} == {"run_launcher"}


def test_a_run_gets_image_settings_volumes_and_confinement_of_the_code_server() -> None:
    """The launcher takes the image of the run from the code server."""
    from dagster_k8s import K8sRunLauncher

    run = _yaml(DEPLOYMENT / "dagster.yaml")["run_launcher"]["config"]
    checked = process_config(K8sRunLauncher.config_type(), run)
    assert checked.success, checked.errors
    pod, code_server = _pod(DEPLOYMENTS[0]), _containers(DEPLOYMENTS[0])[0]
    assert {"name": "DAGSTER_CURRENT_IMAGE", "value": code_server["image"]} in code_server["env"]
    sources = [{"configMapRef": {"name": name}} for name in run["env_config_maps"]]
    assert [*sources, *({"secretRef": {"name": name}} for name in run["env_secrets"])] == code_server["envFrom"]
    assert _in_manifests(run["security_context"]) == code_server["securityContext"]
    assert _in_manifests(run["run_k8s_config"]["pod_spec_config"]) == {
        name: pod[name] for name in ("automountServiceAccountToken", "securityContext")
    }
    assert run["service_account_name"] == pod["serviceAccountName"]
    for of_run, of_server in (
        (run["volumes"], pod["volumes"]), (run["volume_mounts"], code_server["volumeMounts"]),
    ):  # fmt: skip
        assert [entry for entry in of_server if entry["name"] != "instance" and entry not in of_run] == []
    assert run["resources"]["limits"]["memory"]


def _in_manifests(config: Any) -> Any:
    """Return settings of the launcher with the names that they have in manifests."""
    if not isinstance(config, dict):
        return config
    return {re.sub(r"_(.)", lambda found: found[1].upper(), name): _in_manifests(config[name]) for name in config}


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=lambda found: found["metadata"]["name"])
def test_a_pod_is_confined(deployment: Any) -> None:
    """As Kubernetes' Pod Security Standard `restricted` demands, with limits and a root that cannot be written."""
    security = _pod(deployment)["securityContext"]
    assert security["runAsNonRoot"] is True
    assert security["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in _containers(deployment):
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert container["resources"]["limits"]["memory"]
        assert container["resources"]["requests"].keys() == {"cpu", "memory"}
        assert "/tmp" in _mounts(container).values()  # noqa: S108 # of a pod


def test_secrets_data_and_tokens_are_where_they_are_needed() -> None:
    """The pipeline's own are for processes that run its code. The proxy, which people reach, has its users alone."""
    instance, pipeline = "acl-assets-instance-secrets", "acl-assets-pipeline-secrets"
    found = {
        container["name"]: (
            _secrets(container),
            "data" in _mounts(container),
            _pod(deployment).get("automountServiceAccountToken", True) or TOKEN_FOLDER in _mounts(container).values(),
        )
        for deployment in DEPLOYMENTS
        for container in _containers(deployment)
    }
    assert found == {
        "code-server": ({instance, pipeline}, True, False),
        "migrate": ({instance}, False, True),
        "daemon": ({instance}, False, True),
        "webserver": ({instance}, False, True),
        "proxy": (set(), False, False),
    }
    assert set(INSTANCE_SECRETS) == {"DAGSTER_POSTGRES_PASSWORD"}


def test_every_variable_that_dagster_reads_is_set() -> None:
    read = set(re.findall(r"env: (\w+)", (DEPLOYMENT / "dagster.yaml").read_text(encoding="utf-8")))
    assert read <= SETTINGS.keys() | SECRETS.keys()


def test_everything_that_a_run_leaves_is_on_shared_storage(monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk of a run's pod ends with the run."""
    for name, value in SETTINGS.items():
        monkeypatch.setenv(name, value)
    settings = Settings.from_environment()
    mounts = [mount for found in DEPLOYMENTS for c in _pod(found)["containers"] for mount in c["volumeMounts"]]
    (data,) = {mount["mountPath"] for mount in mounts if mount["name"] == "data"}
    (compute_logs,) = {mount["mountPath"] for mount in mounts if mount["name"] == "compute-logs"}
    assert settings.data_dir.is_relative_to(data)
    assert SETTINGS["DAGSTER_COMPUTE_LOGS_DIR"] == compute_logs
    assert settings.source_tables_url is not None


def test_no_secret_is_in_the_repository() -> None:
    assert set(SECRETS.values()) == {""}
    ignored = (DEPLOYMENT / ".gitignore").read_text().splitlines()
    for generator in _yaml(DEPLOYMENT / "kustomization.yaml")["secretGenerator"]:
        for file in [*generator.get("envs", []), *generator.get("files", [])]:
            assert {f"/{file.split('/')[0]}/", "/*_secrets.env"} & {*ignored}, file
            assert file.endswith("_secrets.env") or file.startswith("proxy/")
    assert not [name for name in SETTINGS if re.search("PASSWORD|DSN|SECRET|KEY|ALERT_URLS", name)]


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=lambda found: found["metadata"]["name"])
def test_a_deployment_refers_to_what_the_manifests_define(deployment: Any) -> None:
    pod = _pod(deployment)
    generated = _yaml(DEPLOYMENT / "kustomization.yaml")
    proxy = _yaml(DEPLOYMENT / "../proxy/kustomization.yaml")
    maps = {entry["name"] for entry in [*generated["configMapGenerator"], *proxy["configMapGenerator"]]}
    maps |= {"kube-root-ca.crt"}  # of every namespace
    secrets = {entry["name"] for entry in generated["secretGenerator"]}
    assert pod["serviceAccountName"] in _named("ServiceAccount")
    assert f"--uid {pod['securityContext']['runAsUser']} " in DOCKERFILE
    for kind, key, names in (
        ("configMap", "name", maps),
        ("secret", "secretName", secrets),
        ("persistentVolumeClaim", "claimName", set(_named("PersistentVolumeClaim"))),
    ):
        assert {volume[kind][key] for volume in pod["volumes"] if kind in volume} <= names
    for container in _containers(deployment):
        assert f"-t {container['image']} ." in DOCKERFILE
        assert container["image"].endswith(f"/acl_assets:{version('acl_assets')}")
        assert _secrets(container) <= secrets
        assert {mount["name"] for mount in container["volumeMounts"]} <= {volume["name"] for volume in pod["volumes"]}


def test_daemon_and_webserver_may_reach_the_code_server() -> None:
    server = _yaml(DEPLOYMENT / "workspace.yaml")["load_from"][0]["grpc_server"]
    service = _named("Service")[server["host"]]["spec"]
    assert service["ports"] == [{"port": server["port"]}]
    policy = _policy("acl-assets-code-server")
    assert policy["podSelector"]["matchLabels"] == service["selector"]
    labels = {found["spec"]["template"]["metadata"]["labels"]["app"] for found in DEPLOYMENTS}
    allowed = set(policy["ingress"][0]["from"][0]["podSelector"]["matchExpressions"][0]["values"])
    assert allowed | {service["selector"]["app"]} == labels


def test_people_reach_the_webserver_through_the_proxy_alone() -> None:
    """The webserver has no authentication and listens inside of its pod."""
    deployment = _named("Deployment")["acl-assets-webserver"]
    webserver, proxy = _containers(deployment)
    assert "--host=127.0.0.1" in webserver["command"]
    assert "ports" not in webserver
    ports = [{"port": port["containerPort"]} for port in proxy["ports"]]
    policy = _policy("acl-assets-webserver")
    assert policy["podSelector"]["matchLabels"] == deployment["spec"]["selector"]["matchLabels"]
    assert policy["ingress"] == [{"ports": ports}]
    service = _named("Service")["acl-assets-webserver"]["spec"]
    assert (service["selector"], service["ports"]) == (policy["podSelector"]["matchLabels"], ports)


def test_nobody_connects_to_the_daemon_or_a_run() -> None:
    closed = _policy("acl-assets-closed")
    assert "ingress" not in closed
    (expression,) = closed["podSelector"]["matchExpressions"]
    assert (expression["operator"], set(expression["values"])) == (
        "NotIn",
        {"acl-assets-code-server", "acl-assets-webserver"},
    )


def test_the_proxy_finds_its_files_in_the_pod() -> None:
    proxy = _containers(DEPLOYMENTS[2])[1]
    folder = DEPLOYMENT / ".." / "proxy"
    rules, main = ((folder / name).read_text(encoding="utf-8") for name in ("dagster.conf", "nginx.conf"))
    (generator,) = _yaml(folder / "kustomization.yaml")["configMapGenerator"]
    assert generator["files"] == ["dagster.conf", "nginx.conf"]
    assert f"include {_mounts(proxy)['proxy']}/dagster.conf;" in main
    assert proxy["command"][-1] == f"{_mounts(proxy)['proxy']}/nginx.conf"
    (secret,) = [found for found in _yaml(DEPLOYMENT / "kustomization.yaml")["secretGenerator"] if "files" in found]
    read = set(re.findall(rf"{_mounts(proxy)['proxy-secrets']}/([\w.]+)", rules))
    assert read == {Path(file).name for file in secret["files"]}
    assert "nginx-light" in DOCKERFILE
