"""Talking to a real Superset: what it answers arrives, and errors name the request, the reason and what to do."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest
from processes import free_port
from superset.conftest import SupersetUnderTest

from acl_assets.settings import Settings
from acl_assets.superset.bundle import read_bundle
from acl_assets.superset.client import LOCAL_URL, SupersetClient, SupersetError, superset_client

pytestmark = pytest.mark.server


def test_lists_and_files_are_read_to_their_end(superset: SupersetUnderTest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("acl_assets.superset.client._PAGE_SIZE", 10)
    with superset.client() as client:
        charts = client.everything("/api/v1/chart/")
        exported = client.download("/api/v1/chart/export/", q=[charts[0]["id"]])
    assert {chart.uuid for chart in read_bundle().of_kind("charts")} <= {chart["uuid"] for chart in charts}
    ids = [chart["id"] for chart in charts]
    assert ids == sorted(set(ids))
    with zipfile.ZipFile(io.BytesIO(exported)) as archive:
        assert any("/charts/" in name for name in archive.namelist())


def test_only_other_machines_are_asked_through_a_proxy_and_a_netrc_entry_is_never_used(
    superset: SupersetUnderTest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The proxy would ask itself; the HTTP library would replace the token by the password of the entry."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password else\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    with superset.client() as client:
        assert client.get("/api/v1/me/")["result"]["username"] == "admin"
    with (
        pytest.raises(SupersetError, match=r"got no answer \(ProxyError\)"),
        SupersetClient("http://bi.example.org", "admin", "secret"),
    ):
        pass


def test_a_session_that_cannot_begin_is_an_error_with_what_to_do(superset: SupersetUnderTest) -> None:
    for url, advice in (
        (superset.url, r"login was refused with status 401.*Check ACL_SUPERSET_USER"),
        (f"http://127.0.0.1:{free_port()}", r"got no answer \(ConnectionError\)\. Start Superset \(make superset\)"),
    ):
        with pytest.raises(SupersetError, match=advice), SupersetClient(url, "admin", "wrong"):
            pass


def test_a_page_instead_of_an_answer_is_no_success(superset: SupersetUnderTest) -> None:
    """Superset answers 200 with a page where a path or a session is wrong, and has done nothing."""
    with superset.client() as client:
        for ask in (client.get, client.download):
            with pytest.raises(SupersetError, match=r"answered with text/html.* instead of .*: nothing was done"):
                ask("/login/")
        del client._session.headers["X-CSRFToken"]
        with pytest.raises(SupersetError, match=r"POST .*/api/v1/assets/import/ answered with text/html"):
            client.post("/api/v1/assets/import/", files={"bundle": ("bundle.zip", read_bundle().archive)})


def test_a_refusal_says_why(superset: SupersetUnderTest) -> None:
    with superset.client() as client, pytest.raises(SupersetError, match=r"POST .*status 400.*dashboard_title"):
        client.post("/api/v1/dashboard/", json={"dashboard_title": 5})


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
