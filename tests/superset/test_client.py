"""Talking to a real Superset: what it answers arrives, and what goes wrong is said with its cause and its cure."""

from __future__ import annotations

import io
import socket
import zipfile
from pathlib import Path

import pytest
from superset.conftest import SupersetUnderTest

from acl_assets.settings import Settings
from acl_assets.superset.bundle import read_bundle
from acl_assets.superset.client import LOCAL_URL, SupersetClient, SupersetError, superset_client


@pytest.mark.server
def test_lists_and_files_are_read_to_their_end(superset: SupersetUnderTest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("acl_assets.superset.client._PAGE_SIZE", 10)
    with superset.client() as client:
        charts = list(client.everything("/api/v1/chart/"))
        exported = client.download("/api/v1/chart/export/", q=[charts[0]["id"]])
    assert {chart.uuid for chart in read_bundle().of_kind("charts")} <= {chart["uuid"] for chart in charts}
    ids = [chart["id"] for chart in charts]
    assert ids == sorted(set(ids))
    assert len(ids) > 10
    with zipfile.ZipFile(io.BytesIO(exported)) as archive:
        assert any("/charts/" in name for name in archive.namelist())


@pytest.fixture
def proxied(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment says that everything goes through a proxy, which nobody is."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.server
def test_neither_a_proxy_nor_a_netrc_entry_is_used_for_this_machine(
    superset: SupersetUnderTest, proxied: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The proxy would ask itself; the HTTP library would replace the token by the password of the entry."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password else\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    with superset.client() as client:
        assert client.get("/api/v1/me/")["result"]["username"] == superset.user


def test_other_machines_are_asked_through_the_proxy_of_the_environment(proxied: None) -> None:
    with (
        pytest.raises(SupersetError, match=r"got no answer \(ProxyError\)"),
        SupersetClient("http://bi.example.org", "admin", "secret"),
    ):
        pass


@pytest.mark.server
def test_a_wrong_password_is_said_to_be_one(superset: SupersetUnderTest) -> None:
    with (
        pytest.raises(SupersetError, match=r"login was refused with status 401.*Check ACL_SUPERSET_USER"),
        SupersetClient(superset.url, superset.user, "wrong"),
    ):
        pass


@pytest.mark.server
def test_a_page_instead_of_an_answer_is_no_success(superset: SupersetUnderTest) -> None:
    """Superset answers 200 with a page where a path or a session is wrong, and has done nothing."""
    with superset.client() as client:
        with pytest.raises(SupersetError, match=r"answered with text/html.* instead of JSON: nothing was done"):
            client.get("/login/")
        with pytest.raises(SupersetError, match=r"answered with text/html.* instead of a file"):
            client.download("/login/")


@pytest.mark.server
def test_without_its_csrf_token_a_session_changes_nothing(superset: SupersetUnderTest) -> None:
    with superset.client() as client:
        del client._session.headers["X-CSRFToken"]
        with pytest.raises(SupersetError, match=r"POST .*/api/v1/assets/import/ answered with text/html"):
            client.post("/api/v1/assets/import/", files={"bundle": ("bundle.zip", read_bundle().archive)})


@pytest.mark.server
def test_a_refusal_says_why(superset: SupersetUnderTest) -> None:
    with superset.client() as client:
        with pytest.raises(SupersetError, match=r"DELETE .*/api/v1/chart/987654 was refused with status 404"):
            client.delete("/api/v1/chart/987654")
        with pytest.raises(SupersetError, match="dashboard_title"):
            client.post("/api/v1/dashboard/", json={"dashboard_title": 5})


def test_nobody_answering_is_said_with_what_to_do() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        unused_port = listener.getsockname()[1]
    with (
        pytest.raises(SupersetError, match=r"got no answer \(ConnectionError\)\. Start Superset \(make superset\)"),
        SupersetClient(f"http://127.0.0.1:{unused_port}", "admin", "secret"),
    ):
        pass


def test_the_settings_name_superset_and_who_signs_in(tmp_path: Path) -> None:
    settings = Settings(
        data_dir=tmp_path, exports_dir=tmp_path, superset_url="https://bi.example.org/", superset_user="robot"
    )
    with pytest.raises(SupersetError, match=f"set ACL_SUPERSET_PASSWORD, or let make superset make {tmp_path}"):
        superset_client(settings)
    (tmp_path / "superset").mkdir()
    (tmp_path / "superset" / "admin_password").write_text("made\n")
    client = superset_client(settings)
    assert (client.url, client.user, client.password) == ("https://bi.example.org", "robot", "made")
    given = Settings(data_dir=tmp_path, exports_dir=tmp_path, superset_password="given")  # noqa: S106 # nobody's
    assert (superset_client(given).url, superset_client(given).password) == (LOCAL_URL, "given")
