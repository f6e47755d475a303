"""The client of a real Superset returns its answers; errors name the request, the reason and what to do."""

from pathlib import Path

import pytest
from pydantic import SecretStr
from superset.conftest import SupersetUnderTest

from acl_assets.settings import Settings
from acl_assets.superset.bundle import read_bundle
from acl_assets.superset.client import LOCAL_URL, SupersetClient, SupersetError, superset_client

pytestmark = pytest.mark.server


def test_lists_are_read_to_their_end(superset: SupersetUnderTest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("acl_assets.superset.client._PAGE_SIZE", 10)
    with superset.client() as client:
        charts = client.everything("/api/v1/chart/")
    assert {chart.uuid for chart in read_bundle().of_kind("charts")} <= {chart["uuid"] for chart in charts}
    ids = [chart["id"] for chart in charts]
    assert ids == sorted(set(ids))


def test_this_machine_is_not_asked_through_a_proxy(
    superset: SupersetUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy would take 127.0.0.1 for its own machine."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    with superset.client() as client:
        assert client.get("/api/v1/me/")["result"]["username"] == "admin"


def test_a_refused_sign_in_is_an_error_with_what_to_do(superset: SupersetUnderTest) -> None:
    advice = r"login was refused with status 401.*Check ACL_SUPERSET_USER"
    with pytest.raises(SupersetError, match=advice), SupersetClient(superset.url, "admin", "wrong"):
        pass


def test_a_page_or_a_refusal_is_no_success(superset: SupersetUnderTest) -> None:
    """Superset answers 200 with a page where a path or a session is wrong, and has done nothing."""
    with superset.client() as client:
        with pytest.raises(SupersetError, match=r"POST .*status 400.*dashboard_title"):
            client.post("/api/v1/dashboard/", json={"dashboard_title": 5})
        del client._session.headers["X-CSRFToken"]
        with pytest.raises(SupersetError, match=r"assets/import/ answered with text/html.* instead of .*: nothing was"):
            client.post("/api/v1/assets/import/", files={"bundle": ("bundle.zip", read_bundle().archive)})


def test_the_settings_name_superset_and_who_signs_in(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, superset_url="https://bi.example.org/", superset_user="robot")
    with pytest.raises(SupersetError, match=f"set ACL_SUPERSET_PASSWORD, or let make superset make {tmp_path}"):
        superset_client(settings)
    (tmp_path / "superset").mkdir()
    (tmp_path / "superset" / "admin_password").write_text("made\n")
    client = superset_client(settings)
    assert (client.url, client.user, client.password) == ("https://bi.example.org", "robot", "made")
    given = Settings(data_dir=tmp_path, superset_password=SecretStr("given"))
    assert (superset_client(given).url, superset_client(given).password) == (LOCAL_URL, "given")
