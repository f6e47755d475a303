"""The dashboards as an asset of a refresh."""

from collections.abc import Callable

import pytest
from refreshes import refresh
from superset.conftest import SupersetUnderTest

from acl_assets.superset.bundle import import_bundle, read_bundle

pytestmark = [pytest.mark.server, pytest.mark.slow]

DASHBOARD = 'key:"superset_dashboard"'


def test_it_is_skipped_without_an_address_and_fails_when_nobody_answers(superset: SupersetUnderTest) -> None:
    skipped = refresh(superset.settings, select=DASHBOARD)
    assert skipped.success
    assert skipped.metadata == {}
    assert "Skipped: ACL_SUPERSET_URL is not set" in skipped.log
    failed = refresh(superset.settings.with_changes(superset_url="http://127.0.0.1:9"), select=DASHBOARD)
    assert failed.failed_steps == {"superset_dashboard"}
    assert "/api/v1/security/login got no answer (ConnectionError). Start Superset (make superset)" in failed.errors


def test_it_imports_a_changed_bundle_and_fails_when_a_chart_is_wrong(
    edited_superset: SupersetUnderTest, swapped: Callable[..., None]
) -> None:
    settings = edited_superset.settings.with_changes(superset_url=edited_superset.url)
    bundle = read_bundle().for_installation(settings)
    [document] = bundle.of_kind("dashboards")
    with edited_superset.client() as client:
        dashboard = client.numbers("/api/v1/dashboard/")[document.uuid]
        client.put(f"/api/v1/dashboard/{dashboard}", json={"certification_details": "State of an earlier bundle"})

        first = refresh(settings, select=DASHBOARD)
        assert first.success, first.errors
        metadata = first.metadata["superset_dashboard"]
        assert metadata["dashboard"] == f"{edited_superset.url}/superset/dashboard/acl-all-stars/"
        assert metadata["bundle"] == f"imported: {bundle.digest}"
        assert metadata["orphans"] == "none"
        charts = {name.removeprefix("chart: "): text for name, text in metadata.items() if name.startswith("chart: ")}
        assert charts.keys() == {chart.name for chart in bundle.of_kind("charts")}
        assert all(f" rows]({edited_superset.url}/explore/?slice_id=" in text for text in charts.values())

        swapped("delete from data_products.venue_sales where venue_rank = 3")
        second = refresh(settings, select=DASHBOARD)
        assert second.failed_steps == {"superset_dashboard"}
        assert f"1 of {len(charts)} charts are wrong: Top venue 3 is empty" in second.errors


def test_it_fails_and_imports_nothing_while_a_chart_is_edited(edited_superset: SupersetUnderTest) -> None:
    settings = edited_superset.settings.with_changes(superset_url=edited_superset.url)
    with edited_superset.client() as client:
        chart = next(each for each in client.everything("/api/v1/chart/") if each["slice_name"] == "Revenue")
        saved = client.get(f"/api/v1/chart/{chart['id']}")["result"]
        # The chart then shows tickets as revenue.
        edit = {
            name: saved[name].replace("completed_revenue", "tickets_completed") for name in ("params", "query_context")
        }
        client.put(f"/api/v1/chart/{chart['id']}", json=edit)
        for earlier_bundle in (False, True):
            if earlier_bundle:
                [dashboard] = [entry["id"] for entry in client.everything("/api/v1/dashboard/")]
                client.put(f"/api/v1/dashboard/{dashboard}", json={"certification_details": "Bundle of before."})
            failed = refresh(settings, select=DASHBOARD)
            assert failed.failed_steps == {"superset_dashboard"}
            assert "Edited in Superset since the import: chart 'Revenue'. Keep the edits with" in failed.errors
            assert client.get(f"/api/v1/chart/{chart['id']}")["result"]["params"] == edit["params"]
        import_bundle(client, settings)
    assert refresh(settings, select=DASHBOARD).success
