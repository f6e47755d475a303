"""The dashboards as an asset: skipped where there is no Superset, in step and verified where there is one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from dagster import MetadataValue
from refreshes import refresh
from superset.conftest import SupersetUnderTest
from superset.test_verification import replace_published

from acl_assets.settings import Settings
from acl_assets.superset.asset import _described
from acl_assets.superset.browsing import chromium_executable
from acl_assets.superset.bundle import read_bundle
from acl_assets.superset.client import SupersetClient
from acl_assets.superset.verification import VerifiedChart

DASHBOARD = 'key:"superset_dashboard"'
KILL_PHOTOGRAPHER = "read -r _ _ _ photographer _ < /proc/$PPID/stat; kill -9 $photographer"


def test_without_an_address_it_is_skipped_with_a_word(published: Settings) -> None:
    """No dashboards are no failure, and no success that never was."""
    refreshed = refresh(published, select=DASHBOARD)
    assert refreshed.success
    assert refreshed.metadata == {}
    assert "Skipped: ACL_SUPERSET_URL is not set" in refreshed.log


def test_nobody_at_the_address_fails_the_run(published: Settings) -> None:
    settings = replace(published, superset_url="http://127.0.0.1:9", superset_password="secret")  # noqa: S106 # nobody's
    refreshed = refresh(settings, select=DASHBOARD)
    assert refreshed.failed_steps == {"superset_dashboard"}
    assert "http://127.0.0.1:9/api/v1/security/login got no answer" in refreshed.errors


def test_rows_that_a_wrong_chart_shows_are_not_rendered_as_markdown() -> None:
    """Dagster's UI would send the request of an image."""
    image = "![i](/graphql?query=mutation)"
    charts = [
        VerifiedChart("True", 1, 3, None),
        VerifiedChart("Wrong", 2, 3, f"shows 1 others, such as ('{image}',)"),
        VerifiedChart("Gone", None, 0, "is not in Superset"),
    ]
    client = SupersetClient("http://127.0.0.1:9", "admin", "secret")
    described = _described(client, charts, {})
    assert described == {
        "chart: True": MetadataValue.md(
            "[as in the published warehouse, 3 rows](http://127.0.0.1:9/explore/?slice_id=1)"
        ),
        "chart: Wrong": MetadataValue.text(
            f"shows 1 others, such as ('{image}',) (http://127.0.0.1:9/explore/?slice_id=2)"
        ),
        "chart: Gone": MetadataValue.text("is not in Superset"),
    }


@pytest.mark.server
@pytest.mark.slow
def test_it_brings_the_dashboards_verifies_every_chart_and_fails_when_one_is_wrong(
    own_superset: SupersetUnderTest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = replace(own_superset.settings, superset_url=own_superset.url, superset_password=own_superset.password)
    bundle = read_bundle().for_installation(settings)

    first = refresh(settings, select=DASHBOARD)
    assert first.success, first.errors
    said = first.metadata["superset_dashboard"]
    assert said["dashboard"] == f"{own_superset.url}/superset/dashboard/acl-all-stars/"
    assert said["bundle"] == f"imported: {bundle.digest}"
    assert said["orphans"] == "none"
    charts = {name.removeprefix("chart: "): text for name, text in said.items() if name.startswith("chart: ")}
    assert charts.keys() == {chart.name for chart in bundle.of_kind("charts")}
    for text in charts.values():
        assert text.startswith("[as in the published warehouse, ")
        assert f"]({own_superset.url}/explore/?slice_id=" in text
    if chromium_executable():
        assert [name for name, text in charts.items() if "data:image/png;base64," not in text] == []

    # Nothing has changed but the data: nothing is imported, and edits made in Superset stay.
    with own_superset.client() as client:
        chart = next(chart for chart in client.everything("/api/v1/chart/") if chart["slice_name"] == "Revenue")
        client.put(f"/api/v1/chart/{chart['id']}", json={"description": "edited"})
        own = {"slice_name": "My chart", "viz_type": "table", "datasource_id": 1, "datasource_type": "table"}
        client.post("/api/v1/chart/", json=own)
    replace_published(settings, "update data_products.ticket_sales_over_time set tickets_sold = tickets_sold + 1")
    monkeypatch.setenv("PATH", "")
    second = refresh(settings, select=DASHBOARD)
    assert second.success, second.errors
    assert second.metadata["superset_dashboard"]["bundle"] == f"unchanged since it was imported: {bundle.digest}"
    assert "No pictures of the charts: There is no browser" in second.log
    with own_superset.client() as client:
        assert client.get(f"/api/v1/chart/{chart['id']}")["result"]["description"] == "edited"

    # A browser that does not start, or that takes those who started it with it, makes no true chart wrong.
    monkeypatch.setenv("PATH", str(tmp_path))
    browser = tmp_path / "chromium"
    for script, reason in {
        "exit 1": f"The browser {browser} failed",
        KILL_PHOTOGRAPHER: "ended with exit code -9",
    }.items():
        browser.write_text(f"#!/bin/sh\n{script}\n")
        browser.chmod(0o755)
        without_pictures = refresh(settings, select=DASHBOARD)
        assert without_pictures.success, without_pictures.errors
        assert "No pictures of the charts: " in without_pictures.log
        assert reason in without_pictures.log

    # The venue of rank 3 is lost from the data.
    replace_published(settings, "delete from data_products.ticket_sales_by_venue where venue_rank = 3")
    third = refresh(settings, select=DASHBOARD)
    assert third.failed_steps == {"superset_dashboard"}
    assert "1 of " in third.errors
    assert "Top venue 3 is empty" in third.errors
    assert third.metadata == {}
