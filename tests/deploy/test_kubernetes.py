"""The manifests, the image and the Dagster configuration for Kubernetes agree with each other and the repository."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml
from dagster import DagsterRun
from dagster._config import process_config
from systemd import environment_file

from acl_assets.settings import PROJECT_DIR, Settings

DEPLOYMENT = PROJECT_DIR / "deploy" / "kubernetes"
SETTINGS = environment_file(DEPLOYMENT / "settings.env")
SECRETS = environment_file(DEPLOYMENT / "secrets.env.example")
MANIFESTS = list(yaml.safe_load_all((DEPLOYMENT / "acl_assets.yaml").read_text(encoding="utf-8")))
DEPLOYMENTS = [manifest for manifest in MANIFESTS if manifest["kind"] == "Deployment"]
DOCKERFILE = re.sub(r"\\\n", " ", (DEPLOYMENT / "Dockerfile").read_text(encoding="utf-8"))


def _yaml(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def _pod(deployment: Any) -> Any:
    return deployment["spec"]["template"]["spec"]


def _containers(deployment: Any) -> list[Any]:
    return [*_pod(deployment).get("initContainers", []), *_pod(deployment)["containers"]]


def _names(kind: str) -> set[str]:
    return {manifest["metadata"]["name"] for manifest in MANIFESTS if manifest["kind"] == kind}


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


def test_a_run_gets_image_settings_volume_and_user_of_the_code_server(tmp_path: Path) -> None:
    """The launcher itself makes the job; the test only does not send it to a cluster."""
    from dagster_k8s import K8sRunLauncher
    from dagster_k8s.container_context import K8sContainerContext
    from dagster_k8s.job import construct_dagster_k8s_job

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
    code_server = _containers(DEPLOYMENTS[0])[0]
    job_config = context.get_k8s_job_config(code_server["image"], launcher)
    pod = construct_dagster_k8s_job(job_config, ["dagster"], "run", context.run_k8s_config).spec.template.spec
    (run,) = pod.containers
    assert run.image == code_server["image"]
    assert {source.config_map_ref.name for source in run.env_from if source.config_map_ref} == {"acl-assets-settings"}
    assert {source.secret_ref.name for source in run.env_from if source.secret_ref} == {"acl-assets-secrets"}
    data = {mount["name"]: mount["mountPath"] for mount in code_server["volumeMounts"]}["data"]
    assert data in {mount.mount_path for mount in run.volume_mounts}
    claims = {volume.persistent_volume_claim.claim_name for volume in pod.volumes if volume.persistent_volume_claim}
    assert "acl-assets-data" in claims
    assert pod.service_account_name in _names("ServiceAccount")
    assert pod.security_context.run_as_user == _pod(DEPLOYMENTS[0])["securityContext"]["runAsUser"]
    assert context.namespace == _yaml(DEPLOYMENT / "kustomization.yaml")["namespace"]


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
    (volume,) = {mount["mountPath"] for mount in mounts if mount["name"] == "data"}
    assert settings.data_dir.is_relative_to(volume)
    assert Path(SETTINGS["DAGSTER_COMPUTE_LOGS_DIR"]).is_relative_to(volume)
    assert settings.source_tables_url is not None


def test_no_secret_is_in_the_repository() -> None:
    assert set(SECRETS.values()) == {""}
    assert "/deploy/kubernetes/secrets.env" in (PROJECT_DIR / ".gitignore").read_text().splitlines()
    assert not [name for name in SETTINGS if re.search("PASSWORD|DSN|SECRET|KEY", name)]


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=lambda found: found["metadata"]["name"])
def test_a_deployment_refers_to_what_the_manifests_define(deployment: Any) -> None:
    pod = _pod(deployment)
    generators = _yaml(DEPLOYMENT / "kustomization.yaml")["configMapGenerator"]
    assert pod["serviceAccountName"] in _names("ServiceAccount")
    assert f"--uid {pod['securityContext']['runAsUser']} " in DOCKERFILE
    for volume in pod["volumes"]:
        if "configMap" in volume:
            assert volume["configMap"]["name"] in {entry["name"] for entry in generators}
        else:
            assert volume["persistentVolumeClaim"]["claimName"] in _names("PersistentVolumeClaim")
    for container in _containers(deployment):
        assert f"-t {container['image']} ." in DOCKERFILE
        assert {mount["name"] for mount in container["volumeMounts"]} <= {volume["name"] for volume in pod["volumes"]}


def test_daemon_and_webserver_may_reach_the_code_server() -> None:
    server = _yaml(DEPLOYMENT / "workspace.yaml")["load_from"][0]["grpc_server"]
    services = {found["metadata"]["name"]: found["spec"] for found in MANIFESTS if found["kind"] == "Service"}
    service = services[server["host"]]
    assert service["ports"] == [{"port": server["port"]}]
    (policy,) = [found["spec"] for found in MANIFESTS if found["kind"] == "NetworkPolicy"]
    assert policy["podSelector"]["matchLabels"] == service["selector"]
    labels = {found["spec"]["template"]["metadata"]["labels"]["app"] for found in DEPLOYMENTS}
    allowed = set(policy["ingress"][0]["from"][0]["podSelector"]["matchExpressions"][0]["values"])
    assert allowed | {service["selector"]["app"]} == labels
