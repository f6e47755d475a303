"""The manifests, the image and the Dagster configuration for Kubernetes agree with each other and the repository."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest
import yaml
from dagster import DagsterRun
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


def test_image_copies_only_files_that_exist_and_the_build_may_read() -> None:
    readable = [
        line[1:] for line in (DEPLOYMENT / "Dockerfile.dockerignore").read_text().splitlines() if line[:1] == "!"
    ]
    copied = [path for line in re.findall(r"^COPY (.+)$", DOCKERFILE, re.MULTILINE) for path in shlex.split(line)[:-1]]
    assert copied
    for path in copied:
        assert (PROJECT_DIR / path).exists(), path
        assert path.split("/")[0] in readable


def test_storage_queue_and_monitoring_are_those_of_the_tested_deployment() -> None:
    """The one in deploy/postgres is tested against a real PostgreSQL."""
    other, deployed = _yaml(PROJECT_DIR / "deploy" / "postgres" / "dagster.yaml"), _yaml(DEPLOYMENT / "dagster.yaml")
    assert {name for name in other if other[name] != deployed.get(name)} == {"run_launcher"}


@pytest.fixture
def run_pod(tmp_path: Path) -> Any:
    """The pod of a run as the launcher itself makes it; the test only does not send it to a cluster."""
    from dagster_k8s import K8sRunLauncher
    from dagster_k8s.container_context import K8sContainerContext
    from dagster_k8s.job import construct_dagster_k8s_job
    from kubernetes.client import ApiClient

    configured = _yaml(DEPLOYMENT / "dagster.yaml")["run_launcher"]
    checked = process_config(K8sRunLauncher.config_type(), configured["config"])
    assert checked.success, checked.errors
    kubeconfig = {
        "clusters": [{"name": "none", "cluster": {"server": "http://127.0.0.1:9"}}],
        "contexts": [{"name": "none", "context": {"cluster": "none", "user": "nobody"}}],
        "users": [{"name": "nobody", "user": {}}],
        "current-context": "none",
    }
    (tmp_path / "kubeconfig").write_text(yaml.safe_dump(kubeconfig))
    nowhere = {"load_incluster_config": False, "kubeconfig_file": str(tmp_path / "kubeconfig")}
    launcher = K8sRunLauncher(**{**checked.value, **nowhere})
    context = K8sContainerContext.create_for_run(DagsterRun(job_name="refresh"), launcher, include_run_tags=False)
    assert context.namespace == _yaml(DEPLOYMENT / "kustomization.yaml")["namespace"]
    job_config = context.get_k8s_job_config(_containers(DEPLOYMENTS[0])[0]["image"], launcher)
    job = construct_dagster_k8s_job(job_config, ["dagster"], "run", context.run_k8s_config)
    return ApiClient().sanitize_for_serialization(job)["spec"]["template"]["spec"]


def test_a_run_gets_image_settings_volumes_and_confinement_of_the_code_server(run_pod: Any) -> None:
    pod, code_server = _pod(DEPLOYMENTS[0]), _containers(DEPLOYMENTS[0])[0]
    (run,) = run_pod["containers"]
    for name in ("image", "envFrom", "securityContext"):
        assert run[name] == code_server[name], name
    for name in ("serviceAccountName", "automountServiceAccountToken", "securityContext"):
        assert run_pod[name] == pod[name], name
    assert _mounts(code_server).items() <= {**_mounts(run), "instance": _mounts(code_server)["instance"]}.items()
    assert [
        volume for volume in pod["volumes"] if volume["name"] != "instance" and volume not in run_pod["volumes"]
    ] == []
    assert run["resources"]["limits"]["memory"]


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


@pytest.mark.parametrize(
    ("account", "calls"),
    [
        ("acl-assets-daemon", ["launch", "health", "debug_info", "cancel"]),
        ("acl-assets-webserver", ["cancel"]),
    ],
)
def test_an_account_may_do_what_the_launcher_does_in_its_name_and_nothing_else(account: str, calls: list[str]) -> None:
    (binding,) = [
        found
        for found in MANIFESTS
        if found["kind"] == "RoleBinding" and account in {subject["name"] for subject in found["subjects"]}
    ]
    (role,) = [
        found
        for found in MANIFESTS
        if found["kind"] == "Role" and found["metadata"]["name"] == binding["roleRef"]["name"]
    ]
    allowed = {
        (group, resource, verb)
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    assert allowed == set().union(*(_requests_of(call) for call in calls))


def _requests_of(call: str) -> set[tuple[str, str, str]]:
    """Return the requests of the run launcher's client to Kubernetes: API group, resource and verb."""
    from dagster_k8s.client import DagsterKubernetesClient

    batch, core = MagicMock(), MagicMock()
    pod, container = MagicMock(), MagicMock()
    pod.metadata.name = container.name = "run"
    pod.spec.containers = pod.status.container_statuses = [container]
    core.list_namespaced_pod.return_value.items = [pod]
    client = DagsterKubernetesClient(batch, core, lambda _: None, lambda _: None, lambda: 0.0)
    match call:
        case "launch":
            client.create_namespaced_job_with_retries(body=MagicMock(), namespace="none")
        case "health":
            client.get_job_status(namespace="none", job_name="run")
        case "debug_info":
            client.get_pod_names_in_job("run", namespace="none")
            client.get_pod_debug_info("run", "none")
            client.get_job_debug_info("run", namespace="none")
        case "cancel":
            client.delete_job(job_name="run", namespace="none")
    called = [name for mock in (batch, core) for name, _, _ in mock.method_calls if "." not in name]
    requests = set()
    for name in called:
        found = re.fullmatch(r"(\w+?)_namespaced_(job|pod|event)(?:_(status|log))?", name)
        assert found, name
        verb, resource, part = found.groups()
        verb = {"read": "get"}.get(verb, verb)
        requests.add(("batch" if resource == "job" else "", f"{resource}s{f'/{part}' if part else ''}", verb))
    return requests


def test_every_variable_that_dagster_reads_is_set_and_every_setting_exists() -> None:
    read = set(re.findall(r"env: (\w+)", (DEPLOYMENT / "dagster.yaml").read_text(encoding="utf-8")))
    given = SETTINGS.keys() | SECRETS.keys()
    assert read <= given
    assert {name for name in given if name.startswith("ACL_")} <= {
        f"ACL_{name.upper()}" for name in Settings.model_fields
    }


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


def test_daemon_and_webserver_may_reach_the_code_server() -> None:
    server = _yaml(DEPLOYMENT / "workspace.yaml")["load_from"][0]["grpc_server"]
    services = {found["metadata"]["name"]: found["spec"] for found in MANIFESTS if found["kind"] == "Service"}
    service = services[server["host"]]
    assert service["ports"] == [{"port": server["port"]}]
    policy = _policy("acl-assets-code-server")
    assert policy["podSelector"]["matchLabels"] == service["selector"]
    labels = {found["spec"]["template"]["metadata"]["labels"]["app"] for found in DEPLOYMENTS}
    allowed = set(policy["ingress"][0]["from"][0]["podSelector"]["matchExpressions"][0]["values"])
    assert allowed | {service["selector"]["app"]} == labels


def test_people_reach_the_webserver_through_the_proxy_alone() -> None:
    """The webserver has no authentication and listens inside of its pod."""
    (deployment,) = [found for found in DEPLOYMENTS if found["metadata"]["name"] == "acl-assets-webserver"]
    webserver, proxy = _containers(deployment)
    assert webserver["command"][webserver["command"].index("--host") + 1] == "127.0.0.1"
    assert "ports" not in webserver
    ports = [{"port": port["containerPort"]} for port in proxy["ports"]]
    policy = _policy("acl-assets-webserver")
    assert policy["podSelector"]["matchLabels"] == deployment["spec"]["selector"]["matchLabels"]
    assert policy["ingress"] == [{"ports": ports}]
    (service,) = [
        found["spec"]
        for found in MANIFESTS
        if found["kind"] == "Service" and found["metadata"]["name"] == "acl-assets-webserver"
    ]
    assert (service["selector"], service["ports"]) == (policy["podSelector"]["matchLabels"], ports)


def test_nobody_connects_to_the_daemon_or_a_run() -> None:
    closed = _policy("acl-assets-closed")
    assert "ingress" not in closed
    (expression,) = closed["podSelector"]["matchExpressions"]
    assert (expression["operator"], set(expression["values"])) == (
        "NotIn",
        {"acl-assets-code-server", "acl-assets-webserver"},
    )


def _policy(name: str) -> Any:
    (policy,) = [
        found["spec"] for found in MANIFESTS if (found["kind"], found["metadata"]["name"]) == ("NetworkPolicy", name)
    ]
    assert policy["policyTypes"] == ["Ingress"]
    return policy
