"""Superset's server: how it starts and ends, what it keeps, and whom it lets do what."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import ProxyHandler, build_opener

import psutil
import pytest
import requests
from playwright.sync_api import Browser
from postgres import database, execute
from superset.conftest import SupersetUnderTest

from acl_assets.settings import PROJECT_DIR, Settings
from acl_assets.simulator.postgres_server import PostgresServer
from acl_assets.superset import server as server_module
from acl_assets.superset.browsing import open_dashboard, signed_in_page
from acl_assets.superset.bundle import import_bundle
from acl_assets.superset.client import SupersetClient, SupersetError
from acl_assets.superset.server import (
    SupersetServerError,
    password_file,
    running_superset,
    set_up_superset,
    stop_superset,
    superset_home,
)

pytestmark = pytest.mark.server

DASHBOARD = "/superset/dashboard/acl-all-stars/"
VIEWER_PASSWORD = "looks but does not touch"  # noqa: S105


# From the command line ----------------------------------------------------------------------------------------------


class Started:
    """`python -m acl_assets.superset start` on a free port, as far as it has come."""

    def __init__(self, settings: Settings) -> None:
        self.process = subprocess.Popen(
            command("start", "--port", "0"),
            env=environment(settings),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.said: list[str] = []

    def wait_until_ready(self) -> str:
        """Read what it says until it says how it ends; returns its address."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.said.append(line)
            if "superset-stop" in line:
                (address,) = [word for line in self.said for word in line.split() if word.endswith(DASHBOARD)]
                return address.removesuffix(DASHBOARD)
        raise AssertionError("".join(self.said))

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
        self.said.append(self.process.communicate(timeout=60)[0])


@pytest.fixture
def started(superset_settings: Settings) -> Iterator[Any]:
    everything = []

    def start() -> Started:
        everything.append(Started(superset_settings))
        return everything[-1]

    yield start
    for one in everything:
        one.end()


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "acl_assets.superset", *arguments]


def environment(settings: Settings) -> dict[str, str]:
    return {**os.environ, "ACL_DATA_DIR": str(settings.data_dir)}


def run(settings: Settings, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments), env=environment(settings), capture_output=True, text=True, check=False, timeout=120
    )


def answers(url: str) -> bool:
    try:
        with build_opener(ProxyHandler({})).open(f"{url}/health", timeout=10) as answer:
            return bool(answer.status == 200)
    except (URLError, OSError):
        return False


def until(condition: Any, seconds: float = 30.0) -> bool:
    """Whether something comes true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def test_from_start_to_stop_and_start_again(superset_settings: Settings, started: Any) -> None:
    """What `make superset` and `make superset-stop` run: the dashboards are there, and people's own charts stay."""
    first = started()
    url = first.wait_until_ready()
    said = "".join(first.said)
    assert str(password_file(superset_settings)) in said
    password = password_file(superset_settings).read_text().strip()
    assert password not in said

    with SupersetClient(url, "admin", password) as client:
        own_chart = client.post(
            "/api/v1/chart/",
            json={
                "slice_name": "My own",
                "datasource_id": next(iter(client.everything("/api/v1/dataset/")))["id"],
                "datasource_type": "table",
                "viz_type": "table",
                "params": "{}",
            },
        )["id"]
        dashboard = client.get("/api/v1/dashboard/acl-all-stars")["result"]["id"]
        client.put(f"/api/v1/dashboard/{dashboard}", json={"dashboard_title": "Renamed by hand"})

    second = run(superset_settings, "start", "--port", "0")
    assert second.returncode == 1
    assert f"runs already, in process {first.process.pid}" in second.stderr

    stopped = run(superset_settings, "stop")
    assert (stopped.returncode, stopped.stdout) == (0, "Superset has stopped.\n")
    assert first.process.wait(10) == 0
    assert not answers(url)
    assert run(superset_settings, "stop").stdout == "No Superset of this installation is running.\n"

    again = started()
    with SupersetClient(again.wait_until_ready(), "admin", password) as client:
        assert client.get(f"/api/v1/chart/{own_chart}")["result"]["slice_name"] == "My own"
        assert client.get("/api/v1/dashboard/acl-all-stars")["result"]["dashboard_title"] == "Renamed by hand"
    assert "Setting up" not in "".join(again.said)
    assert "Importing" not in "".join(again.said)


def test_the_server_does_not_outlive_who_started_it(superset_settings: Settings, started: Any) -> None:
    """Killed, its starter cannot end it in order; nothing may keep the port and the state."""
    start = started()
    url = start.wait_until_ready()
    family = psutil.Process(start.process.pid).children(recursive=True)
    assert family
    start.process.kill()
    assert until(lambda: not answers(url))
    assert not psutil.wait_procs(family, 30)[1]
    assert not stop_superset(superset_settings)


def test_nothing_is_started_before_something_is_published(superset_settings: Settings) -> None:
    superset_settings.published_file.unlink()
    ended = run(superset_settings, "start", "--port", "0")
    assert ended.returncode == 1
    assert str(superset_settings.published_file) in ended.stderr
    assert "make run" in ended.stderr


# Takes a lock and writes a process id into it; half a second later it ends, or writes its own and waits to be ended.
HOLDER = """
import fcntl, os, sys, time
path, written, then = sys.argv[1:]
with open(path, "w+") as lock:
    fcntl.flock(lock, fcntl.LOCK_EX)
    lock.write(written)
    lock.flush()
    print("holds it", flush=True)
    time.sleep(0.5)
    if then == "wait":
        lock.write(str(os.getpid()))
        lock.flush()
        time.sleep(60)
"""


@pytest.fixture
def holder(settings: Settings) -> Iterator[Callable[[str, str], subprocess.Popen[str]]]:
    """Start a process that holds the lock of an installation as `start` does: `holder(written, then)`."""
    processes: list[subprocess.Popen[str]] = []

    def hold(written: str, then: str) -> subprocess.Popen[str]:
        lock = superset_home(settings) / "server.lock"
        lock.parent.mkdir(parents=True)
        arguments = [sys.executable, "-c", HOLDER, str(lock), written, then]
        processes.append(subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True))
        stdout = processes[-1].stdout
        assert stdout is not None
        assert stdout.readline() == "holds it\n"
        return processes[-1]

    yield hold
    for process in processes:
        process.kill()
        process.communicate()


def test_one_that_only_just_starts_is_ended_too(settings: Settings, holder: Any) -> None:
    """It has the lock before its process id is in it."""
    process = holder("", "wait")
    assert stop_superset(settings)
    assert process.wait(10) == -signal.SIGTERM


def test_one_that_ends_meanwhile_is_ended(settings: Settings, holder: Any) -> None:
    """The lock may still name a process that there is no more."""
    process = holder(str(2**31 - 1), "end")
    assert stop_superset(settings)
    assert process.wait(10) == 0


# Set-up and secrets -------------------------------------------------------------------------------------------------


def test_the_password_of_the_environment_is_the_administrators(superset_settings: Settings) -> None:
    """Also when there was another one; and only it."""
    kept = password_file(superset_settings).read_text().strip()
    given = replace(superset_settings, superset_password="another, given by hand")  # noqa: S106
    with running_superset(given) as server:
        with SupersetClient(server.url, "admin", "another, given by hand") as client:
            assert client.get("/api/v1/me/")["result"]["username"] == "admin"
        with pytest.raises(SupersetError), SupersetClient(server.url, "admin", kept):
            pass


def test_the_metadata_can_be_in_postgresql(
    published: Settings, postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Superset means to give up SQLite."""
    with database(postgres_server) as dsn:
        monkeypatch.setenv("SUPERSET__SQLALCHEMY_DATABASE_URI", dsn.replace("postgresql:", "postgresql+psycopg2:"))
        with running_superset(published) as server, SupersetClient(server.url, server.user, server.password) as client:
            import_bundle(client, published)
        assert execute(dsn, "select slug from dashboards") == [("acl-all-stars",)]
    assert not (superset_home(published) / "metadata.db").exists()


def test_secrets_are_the_owners_alone_and_in_no_log(superset: SupersetUnderTest) -> None:
    home = superset_home(superset.settings)
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    secret = (home / "secret_key").read_text().strip()
    assert len(secret) >= 32
    assert secret != superset.password
    for name in ("secret_key", "admin_password", "metadata.db"):
        assert stat.S_IMODE((home / name).stat().st_mode) == 0o600, name
    logged = "".join(file.read_text(errors="replace") for file in home.glob("*.log"))
    assert "gunicorn" in logged
    assert secret not in logged
    assert superset.password not in logged
    in_the_open = [part for process in psutil.process_iter(["cmdline"]) for part in process.info["cmdline"] or []]
    assert not [part for part in in_the_open if secret in part or superset.password in part]


def test_a_failed_set_up_says_why_and_changes_nothing(superset_settings: Settings) -> None:
    """SQLite cannot take back half a migration."""
    metadata = superset_home(superset_settings) / "metadata.db"
    (superset_home(superset_settings) / "set_up.digest").unlink()
    metadata.write_bytes(b"not a database at all" * 100)
    before = metadata.read_bytes()
    with pytest.raises(SupersetServerError, match="file is not a database"):
        set_up_superset(superset_settings)
    assert metadata.read_bytes() == before


def test_what_lost_metadata_left_behind_does_not_get_into_new_ones(tmp_path: Path) -> None:
    """SQLite takes any log of that name for the end of the file beside it."""
    metadata = tmp_path / "metadata.db"
    log = tmp_path / "metadata.db-wal"
    with closing(sqlite3.connect(metadata)) as lost:
        lost.execute("pragma journal_mode = wal")
        lost.execute("create table lost as select 1 as number")
        left = log.read_bytes()
    metadata.unlink()
    log.write_bytes(left)

    with server_module._replaced_when_done(metadata) as new, closing(sqlite3.connect(new)) as made:
        made.execute("pragma journal_mode = wal")
        made.execute("create table made as select 1 as number")
    with closing(sqlite3.connect(metadata)) as there:
        assert there.execute("select name from sqlite_master").fetchall() == [("made",)]


def test_variables_of_the_machine_do_not_replace_the_configuration(
    superset_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Superset and gunicorn would read another one, or none, because of them."""
    for name in ("SUPERSET_CONFIG_PATH", "SUPERSET_CONFIG"):
        monkeypatch.setenv(name, "/nowhere/other_config.py")
    monkeypatch.setenv("GUNICORN_CMD_ARGS", "--worker-class=nothing")
    with running_superset(superset_settings) as server:
        assert answers(server.url)


@pytest.mark.parametrize("port", [99_999, -1])
def test_a_port_that_cannot_be_is_named(settings: Settings, port: int) -> None:
    with (
        pytest.raises(SupersetServerError, match=rf"Port {port} of 127\.0\.0\.1 .* 0-65535"),
        running_superset(settings, port),
    ):
        pass


def test_a_port_is_taken_before_the_server_runs(settings: Settings) -> None:
    """Setting up takes its time, and another one may start meanwhile."""
    with (
        server_module._listen(None) as first,
        pytest.raises(SupersetServerError, match="Address already in use"),
        running_superset(settings, first.getsockname()[1]),
    ):
        pass


def test_a_taken_port_is_named(settings: Settings) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with (
            pytest.raises(SupersetServerError, match=rf"Port {port} of 127\.0\.0\.1"),
            running_superset(settings, port),
        ):
            pass


def test_without_superset_the_way_to_get_it_is_named(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "_PYTHON", tmp_path / ".venv" / "bin" / "python")
    with pytest.raises(SupersetServerError, match="make superset-install"):
        set_up_superset(settings)
    assert not superset_home(settings).exists()


# What it lets in and out --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sign_in_page(superset: SupersetUnderTest) -> Any:
    with build_opener(ProxyHandler({})).open(f"{superset.url}/login/") as answer:
        return answer.headers


def test_pages_may_load_nothing_from_elsewhere(sign_in_page: Any) -> None:
    policy = dict(directive.strip().split(" ", 1) for directive in sign_in_page["Content-Security-Policy"].split(";"))
    assert policy["default-src"] == "'self'"
    allowed = {source for sources in policy.values() for source in sources.split() if not source.startswith("'nonce-")}
    assert allowed == {"'self'", "'none'", "'unsafe-inline'", "'strict-dynamic'", "data:", "blob:"}
    assert "'unsafe-inline'" not in policy["script-src"]
    assert "Access-Control-Allow-Origin" not in sign_in_page


def test_the_session_is_kept_from_scripts_and_other_sites(sign_in_page: Any) -> None:
    cookie = sign_in_page["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie
    assert "Secure" not in cookie


def test_behind_https_the_session_is_never_sent_in_the_open(tmp_path: Path) -> None:
    configured = configuration(tmp_path, SUPERSET_HTTPS="1")
    assert configured["SESSION_COOKIE_SECURE"]
    assert configured["TALISMAN_CONFIG"]["force_https"]
    assert configured["ENABLE_PROXY_FIX"]


def configuration(home: Path, **variables: str) -> dict[str, Any]:
    """Superset's configuration as it is read in an environment, what is no JSON as text."""
    program = "import json, superset_config as c; print(json.dumps(vars(c), default=str))"
    read = subprocess.run(
        [PROJECT_DIR / "superset/.venv/bin/python", "-c", program],
        env={"PYTHONPATH": str(PROJECT_DIR / "superset"), "SUPERSET_HOME": str(home), "SUPERSET_SECRET_KEY": "s"}
        | variables,
        cwd=home,
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(read.stdout)


def test_redis_takes_over_what_processes_share(tmp_path: Path) -> None:
    """Results of queries are in no cache: they would outlive a refresh."""
    assert "CACHE_CONFIG" not in configuration(tmp_path)
    configured = configuration(tmp_path, SUPERSET_REDIS_URL="redis://127.0.0.1:6379/0")
    assert configured["CACHE_CONFIG"]["CACHE_REDIS_URL"] == "redis://127.0.0.1:6379/0"
    assert configured["RATELIMIT_STORAGE_URI"] == "redis://127.0.0.1:6379/0"
    assert "DATA_CACHE_CONFIG" not in configured


def test_passwords_cannot_be_tried_in_the_form_one_after_the_other(
    superset_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As they can be in Superset 6.1 whatever it is configured to bear."""
    monkeypatch.setenv("WEB_CONCURRENCY", "1")
    with running_superset(superset_settings) as server, requests.Session() as session:
        session.trust_env = False
        page = session.get(f"{server.url}/login/").text
        (token,) = re.findall(r'name="csrf_token"[^>]*value="([^"]+)"', page)
        form = {"username": "admin", "password": "a guess", "csrf_token": token}
        tried = []
        while len(tried) < 40 and requests.codes.too_many_requests not in tried:
            tried.append(session.post(f"{server.url}/login/", data=form).status_code)
            time.sleep(0.1)
    assert 10 <= tried.index(requests.codes.too_many_requests) <= 20


def test_a_request_another_site_makes_in_somebodys_name_is_refused(
    superset: SupersetUnderTest, browser: Browser
) -> None:
    """Their browser sends the session along, but not the token that only this site's pages hold."""
    send = """async body => (await fetch("/api/v1/dashboard/",
        body && {method: "POST", headers: {"Content-Type": "application/json"}, body: JSON.stringify(body)})).status"""
    with signed_in_page(browser, superset.url, superset.user, superset.password) as page:
        assert page.evaluate(send) == 200
        assert page.evaluate(send, {"dashboard_title": "forged"}) == 400
    with superset.client() as client:
        assert "forged" not in {found["dashboard_title"] for found in client.everything("/api/v1/dashboard/")}


def test_a_page_loads_nothing_from_elsewhere(superset: SupersetUnderTest, browser: Browser) -> None:
    """Superset's pages ask for a picture that counts visits; the browser is told not to fetch it."""
    loaded, refused = [], []
    with signed_in_page(browser, superset.url, superset.user, superset.password) as page:
        page.on("requestfinished", lambda request: loaded.append(request.url))
        page.on("requestfailed", lambda request: refused.append((request.url, request.failure)))
        open_dashboard(page, superset.url, "acl-all-stars")
    assert [url for url in loaded if url.startswith(superset.url)]
    assert not [url for url in loaded if not url.startswith((superset.url, "data:", "blob:"))]
    assert {failure for url, failure in refused if not url.startswith(superset.url)} == {"csp"}


@pytest.mark.parametrize("path", ["/api/v1/dashboard/", "/api/v1/database/", "/api/v1/sqllab/"])
def test_without_signing_in_nobody_sees_anything(superset: SupersetUnderTest, path: str) -> None:
    anonymous = build_opener(ProxyHandler({}))
    with pytest.raises(HTTPError, match="401"), anonymous.open(f"{superset.url}{path}"):
        pass


def test_without_signing_in_the_dashboard_asks_to_sign_in(superset: SupersetUnderTest) -> None:
    with build_opener(ProxyHandler({})).open(f"{superset.url}{DASHBOARD}") as answer:
        assert answer.url.startswith(f"{superset.url}/login/")


# Who only looks -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def viewer(superset: SupersetUnderTest) -> Iterator[str]:
    """Name of somebody who has the role for looking and no other."""
    name = f"viewer-{os.getpid()}"
    with superset.client() as client:
        roles = {role["name"]: role["id"] for role in client.everything("/api/v1/security/roles/")}
        client.post(
            "/api/v1/security/users/",
            json={
                "username": name,
                "first_name": "Only",
                "last_name": "Looks",
                "email": f"{name}@localhost",
                "active": True,
                "password": VIEWER_PASSWORD,
                "roles": [roles["ACL viewer"]],
            },
        )
    return name


@pytest.fixture(scope="module")
def viewing(superset: SupersetUnderTest, viewer: str) -> Iterator[SupersetClient]:
    with SupersetClient(superset.url, viewer, VIEWER_PASSWORD) as client:
        yield client


def test_a_viewer_sees_the_dashboard_and_its_numbers(viewing: SupersetClient) -> None:
    charts = viewing.get("/api/v1/dashboard/acl-all-stars/charts")["result"]
    assert charts
    for chart in charts:
        (answer, *_) = viewing.get(f"/api/v1/chart/{chart['id']}/data/")["result"]
        assert answer["status"] == "success", chart["slice_name"]


def test_a_viewer_changes_nothing(superset: SupersetUnderTest, viewing: SupersetClient) -> None:
    with superset.client() as client:
        dashboard = client.get("/api/v1/dashboard/acl-all-stars")["result"]["id"]
        chart = next(iter(client.everything("/api/v1/chart/")))
        database = next(iter(client.everything("/api/v1/database/")))
    own_chart = {
        "slice_name": "Mine",
        "datasource_id": chart["datasource_id"],
        "datasource_type": "table",
        "viz_type": "table",
    }
    tries: list[Callable[[], object]] = [
        lambda: viewing.put(f"/api/v1/dashboard/{dashboard}", json={"dashboard_title": "Mine now"}),
        lambda: viewing.put(f"/api/v1/chart/{chart['id']}", json={"slice_name": "Mine now"}),
        lambda: viewing.delete(f"/api/v1/chart/{chart['id']}"),
        lambda: viewing.post("/api/v1/chart/", json=own_chart),
        lambda: viewing.post("/api/v1/dashboard/", json={"dashboard_title": "Mine"}),
        lambda: viewing.get(f"/api/v1/database/{database['id']}"),
        lambda: viewing.post("/api/v1/sqllab/execute/", json={"database_id": database["id"], "sql": "select 1"}),
        lambda: viewing.post("/api/v1/assets/import/", files={"bundle": ("bundle.zip", b"", "application/zip")}),
        lambda: viewing.get("/api/v1/security/users/"),
    ]
    for attempt in tries:
        with pytest.raises(SupersetError, match=r"status 40[34]"):
            attempt()


def test_a_viewer_asks_for_no_more_than_the_charts_do(superset: SupersetUnderTest, viewing: SupersetClient) -> None:
    """What a chart asks can be rewritten by hand and sent: another schema of the file is not theirs to read."""
    with superset.client() as client:
        database = next(iter(client.everything("/api/v1/database/")))["id"]
        table = {"database": database, "schema": "star_schema", "table_name": "dim_people"}
        dataset = client.post("/api/v1/dataset/", json=table)["id"]
    try:
        asked = {
            "datasource": {"id": dataset, "type": "table"},
            "queries": [{"columns": ["person_id"], "metrics": [], "row_limit": 10}],
        }
        with pytest.raises(SupersetError, match="status 403"):
            viewing.post("/api/v1/chart/data", json=asked)
    finally:
        with superset.client() as client:
            client.delete(f"/api/v1/dataset/{dataset}")


def test_a_viewers_dashboard_paints(superset: SupersetUnderTest, viewer: str, browser: Browser) -> None:
    with signed_in_page(browser, superset.url, viewer, VIEWER_PASSWORD) as page:
        open_dashboard(page, superset.url, "acl-all-stars")
        assert page.locator("[data-test-chart-id]").count()
        assert page.get_by_role("alert").count() == 0
        assert page.get_by_text("Edit dashboard").count() == 0
        assert page.get_by_text("SQL Lab").count() == 0
