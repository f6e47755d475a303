"""Every defect of the catalogue: the conversion refuses the export, or a check stops or names it."""

import base64
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dagster import DagsterInstance, MarkdownMetadataValue, TableMetadataValue
from defects.catalogue import DEFECTS, Defect
from defects.damage import edit_rows, put
from refreshes import LATER, Refreshed, festival_settings, land_batch, published_batches, refresh, sha256

from acl_assets.settings import Settings

pytestmark = pytest.mark.slow

WIPE = '/graphql?query=mutation{wipeAssets(assetPartitionRanges:[{assetKey:{path:["festival","bands"]}}]){__typename}}'
HOSTILE_NAMES = [
    f"![image]({WIPE})",
    '<img src=x onerror="document.title=1">',
    "[link](javascript:alert(1))",
    "| cell | cell |",
    "# heading\n\r\n![second](/graphql?query=mutation)\u202e\ufffe",
]
"""Names that are Markdown, HTML or a request, and one with line ends in it."""


@pytest.fixture(scope="module")
def good_batch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a good batch `second`."""
    return land_batch(festival_settings(tmp_path_factory.mktemp("good")), "second", exported_at=LATER)


def land_defective(settings: Settings, good: Path, *defects: Defect) -> None:
    """Plant defects in a copy of a good batch, and then land it."""
    folder = shutil.copytree(good, settings.data_dir / "staging" / good.name)
    for defect in defects:
        defect.plant(folder)
    folder.rename(settings.exports_dir / good.name)


@pytest.mark.parametrize("name", [name for name, defect in DEFECTS.items() if defect.outcome == "batch error"])
def test_batch_error_fails_refresh_and_publishes_nothing(published: Settings, good_batch: Path, name: str) -> None:
    before = sha256(published.published_file)
    land_defective(published, good_batch, DEFECTS[name])
    refreshed = refresh(published, with_report=True)
    assert [text for text in DEFECTS[name].caught_by if text not in refreshed.errors] == []
    assert refreshed.failed_steps == {"source_tables"}
    assert {"dbt_models", "published_warehouse", "all_stars_report"} <= refreshed.skipped_steps
    assert sha256(published.published_file) == before


def test_every_check_finds_its_bad_rows_and_nothing_is_published(published: Settings, good_batch: Path) -> None:
    """All bad rows in one batch: defects that keep only the first tickets are planted first, before the others."""
    together = [defect for name, defect in DEFECTS.items() if defect.outcome == "check" and name != "header_only"]
    require_stopped(published, good_batch, *sorted(together, key=lambda defect: defect.name != "lost_tickets"))


def test_doubtful_rows_are_published_with_warnings_and_text_from_data_is_in_nothing_that_the_ui_renders(
    published: Settings, first_refresh: Refreshed, good_batch: Path, instance: DagsterInstance
) -> None:
    """The UI renders Markdown metadata and the descriptions of materializations, observations and check results."""
    doubtful = [defect for defect in DEFECTS.values() if defect.outcome == "warning"]
    doubtful += [
        Defect("hostile_name", "warning", edit_rows(table, put("name", name, at=at)), ())
        for table in ("bands", "venues")
        for at, name in enumerate(HOSTILE_NAMES)
    ]
    require_warned(published, first_refresh, good_batch, *doubtful, instance=instance, with_report=True)
    rendered, tables = [], {}
    for described in described_objects(instance):
        rendered.append(described.description or "")
        for name, value in described.metadata.items():
            if isinstance(value, MarkdownMetadataValue):
                rendered.append(value.value)
            if isinstance(value, TableMetadataValue):
                tables[described.asset_key.to_user_string(), name] = value
    pictures = [text.partition(";base64,")[2].removesuffix(")") for text in rendered if "](data:image/svg+xml" in text]
    assert len(pictures) == 3
    drawings = [base64.b64decode(picture).decode() for picture in pictures]
    elements = {name for drawing in drawings for name in re.findall(r"</?([^\s/>]*)", drawing)}
    assert elements <= {"svg", "defs", "clipPath", "g", "path", "rect", "line", "text", "tspan"}
    assert not [text for text in rendered if any(name[:9] in text for name in HOSTILE_NAMES)]
    escaped = r"# heading\n\r\n![second](/graphql?query=mutation)\u202e\ufffe"
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


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", [name for name, defect in DEFECTS.items() if defect.outcome != "batch error"])
def test_each_defect_alone_is_found(published: Settings, first_refresh: Refreshed, good_batch: Path, name: str) -> None:
    defect = DEFECTS[name]
    if defect.outcome == "check":
        require_stopped(published, good_batch, defect)
    else:
        require_warned(published, first_refresh, good_batch, defect)


def require_stopped(settings: Settings, good_batch: Path, *defects: Defect) -> None:
    before = sha256(settings.published_file)
    land_defective(settings, good_batch, *defects)
    refreshed = refresh(settings, with_report=True)
    assert {check for defect in defects for check in defect.caught_by} - {
        name for _, name in refreshed.failed_checks
    } == set()
    assert {"published_warehouse", "all_stars_report"} <= refreshed.skipped_steps
    assert sha256(settings.published_file) == before


def require_warned(settings: Settings, good: Refreshed, good_batch: Path, *defects: Defect, **options: Any) -> None:
    land_defective(settings, good_batch, *defects)
    refreshed = refresh(settings, **options)
    assert refreshed.success, refreshed.errors
    assert published_batches(settings) == ["second"]
    expected = {check for defect in defects for check in defect.caught_by}
    warned = {key for key in refreshed.warnings if refreshed.check_results[key] != good.check_results[key]}
    assert expected - {name for _, name in warned} == set()
