"""Superset's server: start, stop, kept state, secrets and sign-in."""

import json
import os
import re
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest
import requests
from postgres import database, execute
from superset.conftest import SupersetUnderTest, new_chart

from acl_assets.settings import PROJECT_DIR, Settings
from acl_assets.simulator.postgres_server import PostgresServer
from acl_assets.superset import server as server_module
from acl_assets.superset.bundle import import_bundle
from acl_assets.superset.client import SupersetClient, SupersetError, password_file, superset_client, superset_home
from acl_assets.superset.server import running_superset

pytestmark = pytest.mark.server

DASHBOARD = "/superset/dashboard/acl-all-stars/"
COMMAND = (sys.executable, "-m", "acl_assets.superset")


# From the command line ----------------------------------------------------------------------------------------------


@pytest.fixture
def environment(superset_settings: Settings) -> dict[str, str]:
    """The environment of commands, with variables that would replace the repository's configuration of Superset."""
    others = {"SUPERSET_CONFIG_PATH": "/nowhere/other_config.py", "GUNICORN_CMD_ARGS": "--worker-class=nothing"}
    return {**os.environ, **others, "ACL_DATA_DIR": str(superset_settings.data_dir)}


def run(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [*COMMAND, *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)


@contextmanager
def started(environment: dict[str, str]) -> Iterator[tuple[subprocess.Popen[str], str, str]]:
    """Start the server on a free port; yields the process, the address and the output until it is ready."""
    command = [*COMMAND, "start", "--port", "0"]
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        output = ""
        try:
            while "superset-stop" not in output:
                assert process.poll() is None, output
                output += process.stdout.readline()
            [address] = [word for word in output.split() if word.endswith(DASHBOARD)]
            yield process, address.removesuffix(DASHBOARD), output
        finally:
            process.terminate()


def answers(url: str) -> bool:
    with suppress(requests.ConnectionError):
        return requests.get(f"{url}/health", timeout=10, proxies={"no_proxy": "*"}).ok
    return False


def test_from_start_to_stop_and_start_again(superset_settings: Settings, environment: dict[str, str]) -> None:
    """The commands of `make superset` and `make superset-stop` import the dashboards and keep people's own charts."""
    password = password_file(superset_settings).read_text().strip()
    with started(environment) as (process, url, output):
        assert str(password_file(superset_settings)) in output
        assert password not in output
        with SupersetClient(url, "admin", password) as client:
            dataset = client.everything("/api/v1/dataset/")[0]["id"]
            own_chart = client.post("/api/v1/chart/", json=new_chart("My own", dataset))["id"]
            dashboard = client.get("/api/v1/dashboard/acl-all-stars")["result"]["id"]
            client.put(f"/api/v1/dashboard/{dashboard}", json={"dashboard_title": "Renamed by hand"})
        second = run(environment, "start", "--port", "0")
        assert second.returncode == 1
        assert f"runs already, in process {process.pid}" in second.stderr
        stopped = run(environment, "stop")
        assert (stopped.returncode, stopped.stdout) == (0, "Superset has stopped.\n")
        assert process.wait(10) == 0
        assert not answers(url)

    # Only browsers come through the proxy that terminates TLS. Nothing listens at the address of Redis.
    away = "redis://127.0.0.1:1/0"
    with started(environment | {"SUPERSET_HTTPS": "1", "SUPERSET_REDIS_URL": away}) as (process, url, output):
        with SupersetClient(url, "admin", password) as client:
            assert client.get(f"/api/v1/chart/{own_chart}")["result"]["slice_name"] == "My own"
            client.delete(f"/api/v1/chart/{own_chart}")
            assert client.get("/api/v1/dashboard/acl-all-stars")["result"]["dashboard_title"] == "Renamed by hand"
        assert "Setting up" not in output
        assert "Importing" not in output
        # A server whose starter is killed ends by itself.
        family = psutil.Process(process.pid).children(recursive=True)
        assert family
        process.kill()
        assert not psutil.wait_procs(family, 30)[1]
        assert not answers(url)
        assert run(environment, "stop").stdout == "No Superset of this installation is running.\n"

    superset_settings.published_file.unlink()
    refused = run(environment, "start", "--port", "0")
    assert f"There is no {superset_settings.published_file} yet; run: make run" in refused.stderr


# Set-up and secrets -------------------------------------------------------------------------------------------------


@pytest.mark.exhaustive
def test_the_metadata_can_be_in_postgresql(
    published: Settings, postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with database(postgres_server) as dsn:
        monkeypatch.setenv("SUPERSET__SQLALCHEMY_DATABASE_URI", dsn.replace("postgresql:", "postgresql+psycopg2:"))
        with (
            running_superset(published) as server,
            superset_client(published.with_changes(superset_url=server.url)) as client,
        ):
            import_bundle(client, published)
        assert execute(dsn, "select slug from dashboards") == [("acl-all-stars",)]
    assert not (superset_home(published) / "metadata.db").exists()


@pytest.mark.exhaustive
def test_the_password_of_the_environment_replaces_the_other_and_cannot_be_guessed_in_a_row(
    superset_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Superset 6.1 limits only the page that shows the form, to which nobody posts."""
    monkeypatch.setenv("WEB_CONCURRENCY", "1")
    kept = password_file(superset_settings).read_text().strip()
    given = superset_settings.with_changes(superset_password="given by hand")  # noqa: S106, of a server that ends with the test
    with running_superset(given) as server, requests.Session() as session:
        with SupersetClient(server.url, "admin", "given by hand") as client:
            assert client.get("/api/v1/me/")["result"]["username"] == "admin"
        with pytest.raises(SupersetError), SupersetClient(server.url, "admin", kept):
            pass
        session.trust_env = False
        page = session.get(f"{server.url}/login/").text
        (token,) = re.findall(r'name="csrf_token"[^>]*value="([^"]+)"', page)
        form = {"username": "admin", "password": "a guess", "csrf_token": token}
        tried = []
        while len(tried) < 40 and requests.codes.too_many_requests not in tried:
            tried.append(session.post(f"{server.url}/login/", data=form).status_code)
            time.sleep(0.1)
    assert 10 <= tried.index(requests.codes.too_many_requests) <= 20


def test_secrets_are_the_owners_alone_and_in_no_log(superset: SupersetUnderTest) -> None:
    home = superset_home(superset.settings)
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    secret = (home / "secret_key").read_text().strip()
    assert len(secret) >= 32
    password = password_file(superset.settings).read_text().strip()
    assert secret != password
    for name in ("secret_key", "admin_password", "metadata.db"):
        assert stat.S_IMODE((home / name).stat().st_mode) == 0o600, name
    logged = "".join(file.read_text(errors="replace") for file in home.glob("*.log"))
    assert "gunicorn" in logged
    in_the_open = [part for process in psutil.process_iter(["cmdline"]) for part in process.info["cmdline"] or []]
    for text in (logged, *in_the_open):
        assert secret not in text
        assert password not in text


def test_a_failed_set_up_says_why_and_changes_nothing(superset_settings: Settings) -> None:
    """SQLite cannot take back half a migration. The copy that a killed set-up left is removed."""
    home = superset_home(superset_settings)
    (home / "set_up_killed").mkdir()
    (home / "set_up.digest").unlink()
    (home / "metadata.db").write_bytes(b"not a database at all" * 100)
    before = (home / "metadata.db").read_bytes()
    with pytest.raises(SupersetError, match="file is not a database"), running_superset(superset_settings):
        pass
    assert (home / "metadata.db").read_bytes() == before
    assert not list(home.glob("set_up_*"))


def test_a_port_of_the_given_host_is_taken_before_the_server_is_set_up(settings: Settings) -> None:
    with server_module._listen("127.0.0.2", None) as first:
        for port, reason in ((first.getsockname()[1], "Address already in use"), (99_999, "0-65535")):
            with (
                pytest.raises(SupersetError, match=rf"Port {port} of 127\.0\.0\.2 .*{reason}"),
                running_superset(settings, port, "127.0.0.2"),
            ):
                pass


def test_without_superset_the_way_to_get_it_is_named(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "_PYTHON", tmp_path / ".venv" / "bin" / "python")
    with pytest.raises(SupersetError, match="make superset-install"), running_superset(settings):
        pass
    assert not superset_home(settings).exists()


# Requests and responses ---------------------------------------------------------------------------------------------


def test_pages_load_nothing_from_elsewhere_and_keep_the_session_to_themselves(superset: SupersetUnderTest) -> None:
    headers = requests.get(f"{superset.url}/login/", timeout=60, proxies={"no_proxy": "*"}).headers
    policy = headers["Content-Security-Policy"]
    assert "default-src 'self'" in policy
    assert not {"http", "*"} & set(re.findall(r"http|\*", policy))
    assert "'unsafe-inline'" not in re.findall("script-src[^;]*", policy)[0]
    assert "Access-Control-Allow-Origin" not in headers
    assert {"HttpOnly", "SameSite=Lax"} <= set(headers["Set-Cookie"].split("; "))


def test_https_and_redis_are_configured_by_variables(tmp_path: Path) -> None:
    """Results of queries are in no cache: they would outlive a refresh."""
    redis = "redis://127.0.0.1:6379/0"
    variables = {"SUPERSET_HOME": str(tmp_path), "SUPERSET_SECRET_KEY": "s", "SUPERSET_HTTPS": "1"}
    program = "import json, superset_config as c; print(json.dumps(vars(c), default=str))"
    read = subprocess.check_output(
        [PROJECT_DIR / "superset/.venv/bin/python", "-c", program],
        env={"PYTHONPATH": str(PROJECT_DIR / "superset"), "SUPERSET_REDIS_URL": redis, **variables},
    )
    configured = json.loads(read)
    assert configured["SESSION_COOKIE_SECURE"]
    assert configured["TALISMAN_CONFIG"]["force_https"]
    assert configured["ENABLE_PROXY_FIX"]
    assert configured["CACHE_CONFIG"]["CACHE_REDIS_URL"] == configured["RATELIMIT_STORAGE_URI"] == redis
    assert "DATA_CACHE_CONFIG" not in configured


@pytest.mark.parametrize(("role", "start"), [("ACL viewer", DASHBOARD), ("Public", "/superset/welcome/")])
def test_sign_in_ends_on_the_dashboard_or_where_the_user_may_be(
    edited_superset: SupersetUnderTest, role: str, start: str
) -> None:
    """Superset sends people from a page that they may not open back to the start page."""
    edited_superset.add_user("newcomer", role)
    with requests.Session() as session:
        session.trust_env = False
        page = session.get(f"{edited_superset.url}/login/").text
        (token,) = re.findall(r'name="csrf_token"[^>]*value="([^"]+)"', page)
        form = {"username": "newcomer", "password": "newcomer", "csrf_token": token}
        assert session.post(f"{edited_superset.url}/login/", data=form).url == f"{edited_superset.url}{start}"


def test_without_signing_in_nobody_sees_anything(superset: SupersetUnderTest) -> None:
    def anonymous(path: str) -> requests.Response:
        return requests.get(f"{superset.url}{path}", timeout=60, proxies={"no_proxy": "*"})

    for path in ("/api/v1/dashboard/", "/api/v1/database/", "/api/v1/sqllab/"):
        assert anonymous(path).status_code == requests.codes.unauthorized
    assert anonymous(DASHBOARD).url.startswith(f"{superset.url}/login/")
