"""The proxy's configuration in a real nginx, in front of a real Dagster webserver."""

import getpass
import grp
import json
import os
import shutil
import socket
import ssl
import subprocess
import urllib.parse
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPSConnection
from pathlib import Path

import pytest
from dagster import DagsterInstance
from playwright.sync_api import Browser
from processes import dagster_webserver, free_port, kill_family
from refreshes import dagster_home, open_instance, wait_until
from websockets import Origin, Subprotocol
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from acl_assets.settings import PROJECT_DIR

pytestmark = pytest.mark.server

CONFIGURATION = PROJECT_DIR / "deploy" / "proxy"
EXAMPLE_NAME = "dagster.example.com"
# Chromium connects every name below localhost to this machine.
NAME = "dagster.localhost"
USER, PASSWORD = "alice", "correct horse"
JSON = "application/json"
FOREIGN = "https://elsewhere.example.org"


def basic(password: str) -> str:
    """Return the header of a login by the user's name and a password."""
    return "Basic " + b64encode(f"{USER}:{password}".encode()).decode()


LOGIN = basic(PASSWORD)


def mutation(pool: str) -> str:
    """Return a mutation that leaves a trace: a limit of a pool of that name."""
    return f'mutation {{ setConcurrencyLimit(concurrencyKey: "{pool}", limit: 1) }}'


def in_address(query: str) -> str:
    return f"/graphql?{urllib.parse.urlencode({'query': query})}"


@dataclass
class Proxied:
    """The proxy in front of a webserver, and the instance of the webserver."""

    instance: DagsterInstance
    port: int

    @property
    def origin(self) -> str:
        return f"https://{NAME}:{self.port}"

    def ask(self, method: str, target: str, body: str = "", **headers: str) -> tuple[int, str]:
        """Send a request to the proxy, as its own page does unless headers are given; an empty one is left out."""
        sent = {"Host": f"{NAME}:{self.port}", "Authorization": LOGIN, "Origin": self.origin}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        connection = HTTPSConnection("127.0.0.1", self.port, timeout=30, context=unverified())
        try:
            connection.request(method, target, body or None, {name: value for name, value in sent.items() if value})
            answer = connection.getresponse()
            return answer.status, answer.read().decode(errors="replace")
        finally:
            connection.close()

    @contextmanager
    def subscribe(self, origin: str, login: str = LOGIN) -> Iterator[str]:
        """Open the WebSocket of the subscriptions through the proxy, and give the first answer."""
        with (
            socket.create_connection(("127.0.0.1", self.port), 30) as connection,
            connect(
                f"wss://{NAME}:{self.port}/graphql",
                sock=connection,
                ssl=unverified(),
                origin=Origin(origin),
                subprotocols=[Subprotocol("graphql-ws")],
                additional_headers={"Authorization": login} if login else {},
            ) as opened,
        ):
            opened.send(json.dumps({"type": "connection_init", "payload": {}}))
            yield json.loads(opened.recv(timeout=30))["type"]


def unverified() -> ssl.SSLContext:
    """The certificate of the test is its own."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def tool(name: str) -> str:
    """The path of a program of Debian's, which keeps nginx outside of other users' PATH."""
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin")
    if found is None:
        pytest.skip(f"there is no {name} on PATH or in /usr/sbin; as root, make test installs it")
    return found


def write_configuration(folder: Path, port: int, webserver: str) -> Path:
    """Write the configuration of the deployment for another name, port, folder and webserver."""
    openssl = tool("openssl")
    certificate = ["-x509", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={NAME}"]
    files = ["-keyout", folder / "tls.key", "-out", folder / "tls.crt"]
    subprocess.run([openssl, "req", *certificate, *files], check=True, capture_output=True)
    hashed = subprocess.run([openssl, "passwd", "-6", PASSWORD], check=True, capture_output=True, text=True).stdout
    (folder / "users").write_text(f"{USER}:{hashed}")
    replaced = {
        "dagster.conf": {
            f"https://{EXAMPLE_NAME}": f"https://{NAME}:{port}",
            EXAMPLE_NAME: NAME,
            "listen 443 ": f"listen 127.0.0.1:{port} ",
            "/etc/acl_assets/proxy": str(folder),
            "http://127.0.0.1:3000": webserver,
        },
        "nginx.conf": {" /tmp/": f" {folder}/", "/etc/acl_assets/nginx": str(folder)},
    }
    for name, replacements in replaced.items():
        text = (CONFIGURATION / name).read_text(encoding="utf-8")
        for shipped, used in replacements.items():
            assert shipped in text, shipped
            text = text.replace(shipped, used)
        (folder / name).write_text(text)
    return folder / "nginx.conf"


@pytest.fixture(scope="module")
def proxied(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxied]:
    nginx, folder, port = tool("nginx"), tmp_path_factory.mktemp("proxy"), free_port()
    home = dagster_home(folder / "home")
    with (
        open_instance(home) as instance,
        dagster_webserver({**os.environ, "DAGSTER_HOME": str(home)}, "--empty-workspace") as webserver,
    ):
        instance.event_log_storage.set_concurrency_slots("shown_pool", 1)
        configuration = write_configuration(folder, port, webserver)
        # Workers of another user could not read the folder, when the tests run as root.
        workers = f"user {getpass.getuser()} {grp.getgrgid(os.getgid()).gr_name};"
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                [nginx, "-e", "stderr", "-c", configuration, "-g", workers], stdout=log, stderr=log
            )
        found = Proxied(instance, port)

        def answers() -> bool:
            assert process.poll() is None, (folder / "log").read_text()
            with suppress(ConnectionError):
                return found.ask("GET", "/server_info")[0] == 200
            return False

        try:
            wait_until(answers, "nginx answers", 30, 0.1)
            yield found
        finally:
            kill_family(process)


# A link, a script and a form on another page, and what comes near to what the UI sends: method, headers, status.
REFUSED = {
    "GET": ("GET", {}, 403),
    "GET of a link": ("GET", {"Origin": ""}, 403),
    "GET as a foreign websocket": ("GET", {"Upgrade": "websocket", "Connection": "Upgrade", "Origin": FOREIGN}, 403),
    "text": ("POST", {"Content-Type": "text/plain"}, 403),
    "form": ("POST", {"Content-Type": "application/x-www-form-urlencoded"}, 403),
    "foreign Origin": ("POST", {"Content-Type": JSON, "Origin": FOREIGN}, 403),
    "Origin null": ("POST", {"Content-Type": JSON, "Origin": "null"}, 403),
    "no Origin": ("POST", {"Content-Type": JSON, "Origin": ""}, 403),
    "foreign Host": ("POST", {"Content-Type": JSON, "Host": "elsewhere.example.org"}, 421),
    "no login": ("POST", {"Content-Type": JSON, "Authorization": ""}, 401),
    "wrong password": ("POST", {"Content-Type": JSON, "Authorization": basic("wrong")}, 401),
}


@pytest.mark.parametrize("kind", REFUSED)
@pytest.mark.parametrize("path", ["/graphql", "/%67raphql", "/x/../graphql"])
def test_the_proxy_refuses_a_mutation(proxied: Proxied, path: str, kind: str) -> None:
    method, headers, status = REFUSED[kind]
    before = proxied.instance.event_log_storage.get_concurrency_keys()
    target = in_address(mutation("forged")).replace("/graphql", path)
    body = json.dumps({"query": mutation("forged")}) if method == "POST" else ""
    assert proxied.ask(method, target, body, **headers)[0] == status
    assert proxied.instance.event_log_storage.get_concurrency_keys() == before


@pytest.mark.parametrize("method", ["POST", "DELETE"])
def test_paths_beside_graphql_are_only_read(proxied: Proxied, method: str) -> None:
    """The webserver takes reports of materialisations by POST, which would make figures look fresh."""
    assert proxied.ask(method, "/report_asset_materialization/published_warehouse", "{}", Content_Type=JSON)[0] == 403


@pytest.mark.parametrize("headers", [{"Host": "elsewhere.example.org"}, {"Authorization": ""}])
@pytest.mark.parametrize("path", ["/", "/logs/some/run"])
def test_pages_are_for_people_who_are_logged_in_under_the_public_name(
    proxied: Proxied, path: str, headers: dict[str, str]
) -> None:
    assert proxied.ask("GET", path, **headers)[0] == (401 if "Authorization" in headers else 421)


def test_a_request_of_more_than_a_megabyte_is_refused(proxied: Proxied) -> None:
    small, large = (json.dumps({"query": "{ version }", "padding": "x" * size}) for size in (900_000, 1_100_000))
    assert proxied.ask("POST", "/graphql", small, Content_Type=JSON)[0] == 200
    assert proxied.ask("POST", "/graphql", large, Content_Type=JSON)[0] == 413


@pytest.mark.parametrize(("origin", "login", "status"), [(FOREIGN, LOGIN, 403), ("", "", 401)])
def test_the_websocket_of_another_page_is_refused(proxied: Proxied, origin: str, login: str, status: int) -> None:
    with pytest.raises(InvalidStatus) as refused, proxied.subscribe(origin or proxied.origin, login):
        pass
    assert refused.value.response.status_code == status


def test_queries_and_mutations_of_the_ui_pass(proxied: Proxied) -> None:
    for query in ("{ version }", mutation("wanted")):
        status, answer = proxied.ask(
            "POST", "/graphql?op=Some", json.dumps({"query": query}), Content_Type=f"{JSON}; charset=utf-8"
        )
        assert (status, "errors" in answer) == (200, False), answer
    assert "wanted" in proxied.instance.event_log_storage.get_concurrency_keys()


def test_the_websocket_of_the_ui_passes(proxied: Proxied) -> None:
    with proxied.subscribe(proxied.origin) as answer:
        assert answer == "connection_ack"


def test_the_ui_works_in_a_browser(proxied: Proxied, browser: Browser) -> None:
    """It loads, queries by POST and opens its WebSocket, and nothing that it asks for is refused."""
    context = browser.new_context(ignore_https_errors=True, http_credentials={"username": USER, "password": PASSWORD})
    try:
        page = context.new_page()
        refused: list[str] = []
        queries: list[str] = []
        sockets: list[str] = []
        page.on("response", lambda answer: refused.append(answer.url) if answer.status >= 400 else None)
        page.on("request", lambda request: queries.append(request.method) if "/graphql" in request.url else None)
        page.on(
            "websocket",
            lambda opened: opened.on("framereceived", lambda frame: sockets.append(json.loads(frame)["type"])),
        )
        page.goto(f"{proxied.origin}/deployment/concurrency", timeout=60_000)
        page.get_by_text("shown_pool", exact=True).wait_for(timeout=60_000)
        wait_until(lambda: page.wait_for_timeout(100) or "connection_ack" in sockets, "the WebSocket answers", 60)
        assert refused == []
        assert set(queries) == {"POST"}
    finally:
        context.close()
