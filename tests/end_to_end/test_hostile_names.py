"""Names that are Markdown, HTML or a request, from the export to what Dagster's UI makes of them."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from dagster import AssetKey, DagsterInstance, MarkdownMetadataValue, TableMetadataValue
from playwright.sync_api import Browser, Page, Request
from processes import dagster_webserver
from refreshes import dagster_home, environment, festival_settings, land_plain_batch, open_instance, refresh

from acl_assets.settings import Settings

pytestmark = [pytest.mark.slow, pytest.mark.server]

WIPE = '/graphql?query=mutation{wipeAssets(assetPartitionRanges:[{assetKey:{path:["festival","bands"]}}]){__typename}}'
HOSTILE_NAMES = [
    f"![image]({WIPE})",
    '<img src=x onerror="document.title=1">',
    "[link](javascript:alert(1))",
    "| cell | cell |",
    "# heading\n\n![second](/graphql?query=mutation)\u202e\ufffe",
]


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Settings, DagsterInstance]]:
    """An installation that refreshed once, its first bands and venues called by hostile names, and its instance."""
    folder = tmp_path_factory.mktemp("hostile")
    settings = festival_settings(folder / "data")
    exported = land_plain_batch(settings)
    for table in ("bands", "venues"):
        rename_first_rows(exported / f"{table}.csv")
    with open_instance(dagster_home(folder / "dagster")) as instance:
        refreshed = refresh(settings, instance=instance)
        assert refreshed.success, refreshed.errors
        yield settings, instance


def rename_first_rows(file: Path) -> None:
    with file.open(encoding="utf-8", newline="") as stream:
        header, *rows = csv.reader(stream)
    for row, name in zip(rows, HOSTILE_NAMES, strict=False):
        row[header.index("name")] = name
    with file.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream, lineterminator="\n").writerows([header, *rows])


def test_text_from_data_is_in_no_metadata_or_description_that_the_ui_renders(
    hostile: tuple[Settings, DagsterInstance],
) -> None:
    """The UI renders Markdown metadata and the descriptions of materializations, observations and check results."""
    _, instance = hostile
    rendered, tables = [], {}
    for described in described_objects(instance):
        rendered.append(described.description or "")
        for name, value in described.metadata.items():
            if isinstance(value, MarkdownMetadataValue):
                rendered.append(value.value)
            if isinstance(value, TableMetadataValue):
                tables[described.asset_key.to_user_string(), name] = value
    assert len([text for text in rendered if text.startswith("![") and "](data:image/png;base64," in text]) == 3
    assert not [text for text in rendered if any(name[:9] in text for name in HOSTILE_NAMES)]
    escaped = HOSTILE_NAMES[-1].replace("\n", r"\n").replace("\u202e", r"\u202e").replace("\ufffe", r"\ufffe")
    for table in ("bands", "venues"):
        records = tables[f"festival/{table}", "preview"].records
        assert [record.data["name"] for record in records] == [*HOSTILE_NAMES[:-1], escaped]
    assert ("data_products/band_sales_by_venue", "preview") in tables
    assert ("star_schema/fct_performances", "failing_rows") in tables


def described_objects(instance: DagsterInstance) -> Iterator[Any]:
    """Yield what the events of the run say of assets and checks."""
    for entry in instance.all_logs(instance.get_runs()[0].run_id):
        event = entry.dagster_event
        if event and event.is_step_materialization:
            yield event.step_materialization_data.materialization
        elif event and event.is_asset_observation:
            yield event.asset_observation_data.asset_observation
        elif event and event.event_type_value == "ASSET_CHECK_EVALUATION":
            yield event.asset_check_evaluation_data


def test_opening_the_page_of_an_asset_sends_no_request_of_a_name(
    browser: Browser, hostile: tuple[Settings, DagsterInstance]
) -> None:
    """The webserver runs mutations that arrive as GET, so an image called by a mutation would change the instance."""
    settings, instance = hostile
    sent: list[Request] = []
    with (
        dagster_webserver(
            environment(settings, Path(instance.root_directory)), "-m", "acl_assets.definitions"
        ) as server,
        browser.new_context(viewport={"width": 1600, "height": 1400}) as context,
    ):
        page = context.new_page()
        page.on("request", lambda request: sent.append(request))  # noqa: PLW0108, Playwright sets an attribute on it
        page.goto(f"{server}/assets/festival/bands")
        page.get_by_text("Show schema", exact=True).first.wait_for(timeout=60_000)
        page.wait_for_load_state("networkidle")
        page.wait_for_timeout(1_000)
        require_nothing_is_rendered(page)
        assert page.get_by_role("cell", name=HOSTILE_NAMES[0], exact=True).count() == 1
        require_json_post([request for request in sent if urlsplit(request.url).path == "/graphql"], server)
    assert instance.get_latest_materialization_event(AssetKey(["festival", "bands"])) is not None


def require_json_post(queries: list[Request], webserver: str) -> None:
    """All that docs/deployment.md has a proxy let pass; the browser adds `Origin`."""
    assert queries
    assert {(request.method, request.all_headers()["content-type"]) for request in queries} == {
        ("POST", "application/json")
    }
    assert {request.all_headers()["origin"] for request in queries} == {webserver}


def require_nothing_is_rendered(page: Page) -> None:
    sources = page.locator("img").evaluate_all("images => images.map(image => image.getAttribute('src'))")
    assert not [source for source in sources if "graphql" in source or source == "x"]
    links = page.locator("a").evaluate_all("links => links.map(link => link.getAttribute('href') || '')")
    assert not [link for link in links if link.startswith("javascript:")]
    assert page.title() != "1"
