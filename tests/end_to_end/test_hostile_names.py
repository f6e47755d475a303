"""Names that are Markdown, HTML or a request, from the export to the metadata that Dagster's UI renders."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dagster import DagsterInstance, MarkdownMetadataValue, TableMetadataValue
from refreshes import festival_settings, land_plain_batch, refresh

pytestmark = pytest.mark.slow

WIPE = '/graphql?query=mutation{wipeAssets(assetPartitionRanges:[{assetKey:{path:["festival","bands"]}}]){__typename}}'
HOSTILE_NAMES = [
    f"![image]({WIPE})",
    '<img src=x onerror="document.title=1">',
    "[link](javascript:alert(1))",
    "| cell | cell |",
    "# heading\n\n![second](/graphql?query=mutation)\u202e\ufffe",
]


def rename_first_rows(file: Path) -> None:
    with file.open(encoding="utf-8", newline="") as stream:
        header, *rows = csv.reader(stream)
    for row, name in zip(rows, HOSTILE_NAMES, strict=False):
        row[header.index("name")] = name
    with file.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream, lineterminator="\n").writerows([header, *rows])


def test_text_from_data_is_in_no_metadata_or_description_that_the_ui_renders(
    tmp_path: Path, instance: DagsterInstance
) -> None:
    """The UI renders Markdown metadata and the descriptions of materializations, observations and check results."""
    settings = festival_settings(tmp_path / "data")
    exported = land_plain_batch(settings)
    for table in ("bands", "venues"):
        rename_first_rows(exported / f"{table}.csv")
    refreshed = refresh(settings, instance=instance, with_report=True)
    assert refreshed.success, refreshed.errors
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
