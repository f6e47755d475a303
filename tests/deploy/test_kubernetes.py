"""The files of the deployment on Kubernetes agree with each other, with the launcher, and with the repository.

There is no cluster to apply them to: what only a cluster can show is not tested.
"""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml
from dagster import DagsterRun
from dagster._config import process_config
from systemd import INSTALLED_IN, environment_file

from acl_assets.settings import PROJECT_DIR, Settings

DEPLOYMENT = PROJECT_DIR / "deploy" / "kubernetes"
SETTINGS = environment_file(DEPLOYMENT / "settings.env")
SECRETS = environment_file(DEPLOYMENT / "secrets.env.example")
MANIFESTS = list(yaml.safe_load_all((DEPLOYMENT / "acl_assets.yaml").read_text(encoding="utf-8")))
DEPLOYMENTS = [manifest for manifest in MANIFESTS if manifest["kind"] == "Deployment"]
DOCKERFILE = re.sub(r"\\\n", " ", (DEPLOYMENT / "Dockerfile").read_text(encoding="utf-8"))

each_deployment = pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=lambda found: found["metadata"]["name"])


def _yaml(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def _instructions(name: str) -> list[str]:
    return re.findall(rf"^{name} (.+)$", DOCKERFILE, flags=re.MULTILINE)


def _pod(deployment: Any) -> Any:
    return deployment["spec"]["template"]["spec"]


def _containers(deployment: Any) -> list[Any]:
    return [*_pod(deployment).get("initContainers", []), *_pod(deployment)["containers"]]


def _names(kind: str) -> set[str]:
    return {manifest["metadata"]["name"] for manifest in MANIFESTS if manifest["kind"] == kind}


def _generated(kind: str) -> set[str]:
    return {entry["name"] for entry in _yaml(DEPLOYMENT / "kustomization.yaml")[f"{kind}Generator"]}


# The image ------------------------------------------------------------------------------------------------------


def test_the_image_is_made_of_what_the_repository_has_and_the_build_is_let_see() -> None:
    seen = [line[1:] for line in (DEPLOYMENT / "Dockerfile.dockerignore").read_text().splitlines() if line[:1] == "!"]
    copied = [source for instruction in _instructions("COPY") for source in shlex.split(instruction)[:-1]]
    assert copied
    for source in copied:
        assert (PROJECT_DIR / source).exists(), source
        assert source.split("/")[0] in seen


def test_the_image_is_installed_as_everything_else_is() -> None:
    """From the lock, by the Makefile; and the definitions are loaded by a command the project checks itself with."""
    makefile = (PROJECT_DIR / "Makefile").read_text(encoding="utf-8")
    commands = _instructions("RUN")
    targets = [command.removeprefix("make ") for command in commands if command.startswith("make ")]
    assert targets == ["install"]
    assert re.search(r"^install:", makefile, flags=re.MULTILINE)
    (validation,) = [command for command in commands if "dagster definitions" in command]
    assert validation.removeprefix(".venv/bin/") in makefile


def test_the_image_runs_the_code_server_that_systemd_runs() -> None:
    """But for where it listens: a socket there, a port here."""
    (text,) = _instructions("CMD")
    command = json.loads(text)
    unit = (PROJECT_DIR / "deploy" / "postgres" / "systemd" / "acl-assets-code-server.service").read_text()
    (started,) = re.findall(r"^ExecStart=(.+)$", unit, flags=re.MULTILINE)
    assert started.replace("--socket ${DAGSTER_CODE_SERVER_SOCKET}", "--host 0.0.0.0 --port 4000") == " ".join(command)


# The instance ---------------------------------------------------------------------------------------------------


def test_queue_monitoring_and_retention_are_those_of_make_dev() -> None:
    local, deployed = _yaml(PROJECT_DIR / "dagster.yaml"), _yaml(DEPLOYMENT / "dagster.yaml")
    assert {name: deployed.get(name) for name in local} == local


def test_storage_and_queue_are_those_of_the_other_deployment() -> None:
    """That one is tested against a real PostgreSQL."""
    other, deployed = _yaml(PROJECT_DIR / "deploy" / "postgres" / "dagster.yaml"), _yaml(DEPLOYMENT / "dagster.yaml")
    assert {name for name in other if other[name] != deployed.get(name)} == {"run_launcher"}


def test_a_run_gets_what_the_code_server_has(tmp_path: Path) -> None:
    """The launcher itself makes the job; only sending it to a cluster is left out."""
    from dagster_k8s import K8sRunLauncher
    from dagster_k8s.container_context import K8sContainerContext
    from dagster_k8s.job import construct_dagster_k8s_job

    configured = _yaml(DEPLOYMENT / "dagster.yaml")["run_launcher"]
    assert (configured["module"], configured["class"]) == ("dagster_k8s", "K8sRunLauncher")
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
    image = _pod(DEPLOYMENTS[0])["containers"][0]["image"]
    job = construct_dagster_k8s_job(
        context.get_k8s_job_config(image, launcher), ["dagster"], "run", context.run_k8s_config
    )
    pod = job.spec.template.spec
    (run,) = pod.containers
    code_server = _containers(DEPLOYMENTS[0])[0]
    assert run.image == code_server["image"]
    assert {source.config_map_ref.name for source in run.env_from if source.config_map_ref} == {"acl-assets-settings"}
    assert {source.secret_ref.name for source in run.env_from if source.secret_ref} == {"acl-assets-secrets"}
    data = {mount["name"]: mount["mountPath"] for mount in code_server["volumeMounts"]}["data"]
    assert data in {mount.mount_path for mount in run.volume_mounts}
    assert "acl-assets-data" in {
        volume.persistent_volume_claim.claim_name for volume in pod.volumes if volume.persistent_volume_claim
    }
    assert pod.service_account_name in _names("ServiceAccount")
    assert pod.security_context.run_as_user == _pod(DEPLOYMENTS[0])["securityContext"]["runAsUser"]
    assert context.namespace == _yaml(DEPLOYMENT / "kustomization.yaml")["namespace"]


# The manifests --------------------------------------------------------------------------------------------------


def test_every_variable_that_is_asked_for_is_set() -> None:
    asked_for = set(re.findall(r"env: (\w+)", (DEPLOYMENT / "dagster.yaml").read_text(encoding="utf-8")))
    assert asked_for <= SETTINGS.keys() | SECRETS.keys()
    settings = {f"ACL_{name.upper()}" for name in Settings.model_fields}
    assert {name for name in SETTINGS.keys() | SECRETS.keys() if name.startswith("ACL_")} <= settings


def test_what_is_on_no_shared_storage_is_below_the_shared_volume(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run's pod is gone with its own disk."""
    for name, value in SETTINGS.items():
        monkeypatch.setenv(name, value)
    settings = Settings.from_environment()
    (volume,) = {
        mount["mountPath"]
        for deployment in DEPLOYMENTS
        for container in _pod(deployment)["containers"]
        for mount in container["volumeMounts"]
        if mount["name"] == "data"
    }
    assert settings.data_dir.is_relative_to(volume)
    assert Path(SETTINGS["DAGSTER_COMPUTE_LOGS_DIR"]).is_relative_to(volume)
    assert settings.source_tables_url is not None
    assert isinstance(settings.exports_dir, str)


def test_no_secret_is_in_the_repository() -> None:
    assert set(SECRETS.values()) == {""}
    assert "/deploy/kubernetes/secrets.env" in (PROJECT_DIR / ".gitignore").read_text().splitlines()
    assert not [name for name in SETTINGS if re.search("PASSWORD|DSN|SECRET|KEY", name)]


@each_deployment
def test_a_deployment_refers_to_what_there_is(deployment: Any) -> None:
    pod = _pod(deployment)
    assert pod["serviceAccountName"] in _names("ServiceAccount")
    for volume in pod["volumes"]:
        if "configMap" in volume:
            assert volume["configMap"]["name"] in _generated("configMap")
        else:
            assert volume["persistentVolumeClaim"]["claimName"] in _names("PersistentVolumeClaim")
    for container in _containers(deployment):
        references = [source for entry in container["envFrom"] for source in entry.items()]
        assert {kind: reference["name"] for kind, reference in references} == {
            "configMapRef": "acl-assets-settings",
            "secretRef": "acl-assets-secrets",
        }
        assert {mount["name"] for mount in container["volumeMounts"]} <= {volume["name"] for volume in pod["volumes"]}


@each_deployment
def test_a_deployment_runs_what_the_image_has(deployment: Any) -> None:
    for container in _containers(deployment):
        probes = [
            container[name]["exec"] for name in ("readinessProbe", "livenessProbe") if "exec" in container.get(name, {})
        ]
        for command in [container.get("command"), *(probe["command"] for probe in probes)]:
            if command:
                assert Path(command[0].replace(INSTALLED_IN, str(PROJECT_DIR))).exists()
                for option in command[1:]:
                    if option.startswith("/opt/dagster/"):
                        assert (DEPLOYMENT / Path(option).name).exists()


@each_deployment
def test_there_is_one_image_and_one_user_for_all(deployment: Any) -> None:
    """That of the runs, which the code server names, among them."""
    (image,) = {container["image"] for found in DEPLOYMENTS for container in _containers(found)}
    (named,) = [variable["value"] for found in DEPLOYMENTS for c in _containers(found) for variable in c.get("env", [])]
    assert image == named
    assert f"-t {image} ." in DOCKERFILE
    assert f"--uid {_pod(deployment)['securityContext']['runAsUser']} " in DOCKERFILE


def test_the_code_server_is_found_by_those_who_may_talk_to_it() -> None:
    server = _yaml(DEPLOYMENT / "workspace.yaml")["load_from"][0]["grpc_server"]
    (service,) = [
        found for found in MANIFESTS if found["kind"] == "Service" and found["metadata"]["name"] == server["host"]
    ]
    assert service["spec"]["ports"] == [{"port": server["port"]}]
    (policy,) = [found["spec"] for found in MANIFESTS if found["kind"] == "NetworkPolicy"]
    assert policy["podSelector"]["matchLabels"] == service["spec"]["selector"]
    labels = {found["spec"]["template"]["metadata"]["labels"]["app"] for found in DEPLOYMENTS}
    allowed = set(policy["ingress"][0]["from"][0]["podSelector"]["matchExpressions"][0]["values"])
    assert allowed | {service["spec"]["selector"]["app"]} == labels


def test_the_page_names_every_file_of_the_deployment() -> None:
    page = (PROJECT_DIR / "docs" / "deployment_beyond_one_machine.md").read_text(encoding="utf-8")
    for path in DEPLOYMENT.iterdir():
        if path.name != "secrets.env":
            assert f"`{path.name}`" in page, path.name
