"""The report as an asset: what it writes, what its metadata holds, and what happens when drawing fails."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from dagster import (
    DagsterInstance,
    MarkdownMetadataValue,
    MetadataValue,
    TextMetadataValue,
    build_asset_context,
    materialize,
)
from report.sample_warehouse import SampleWarehouse, sample_warehouse

from acl_assets.report import asset as assets
from acl_assets.settings import Settings

pytestmark = pytest.mark.slow

PICTURES = ["ticket_sales_over_time", "ticket_sales_by_venue", "band_sales_by_venue"]
TEXT_CHART = {"data": {"values": [{}]}, "mark": {"type": "text", "text": "a name"}}


@pytest.fixture
def reporting(settings: Settings, report_folder: Path) -> Settings:
    """An installation in which the drawing library of the report is there already."""
    settings.report_file.parent.mkdir(parents=True)
    for library in report_folder.glob(".vega-*.js"):
        shutil.copy(library, settings.report_file.parent)
    return settings


def report_on(settings: Settings, warehouse: SampleWarehouse) -> tuple[dict[str, MetadataValue[object]], str]:
    """Materialize the report of a warehouse, and return its metadata and what was logged."""
    warehouse.write(settings.published_file)
    with DagsterInstance.ephemeral() as instance:
        result = materialize(
            [assets.build_all_stars_report("America/Chicago")], instance=instance, resources={"settings": settings}
        )
        (event,) = result.get_asset_materialization_events()
        log = "\n".join(f"{entry.level} {entry.user_message}" for entry in instance.all_logs(result.run_id))
    return dict(event.step_materialization_data.materialization.metadata), log


def test_the_report_is_written_and_its_pictures_are_previewed(reporting: Settings) -> None:
    metadata, _ = report_on(reporting, sample_warehouse())
    assert reporting.report_file.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert metadata["bytes"].value == reporting.report_file.stat().st_size
    for picture in PICTURES:
        preview = metadata[picture]
        assert isinstance(preview, MarkdownMetadataValue)
        assert preview.value.startswith(f"![{picture}](data:image/png;base64,")


def test_names_with_characters_that_no_chart_can_draw_are_drawn_without_them(reporting: Settings) -> None:
    """vl-convert aborts its process on them."""
    names = {"The Velvet Cicadas": "A\x01B\x0bC\x7f", "Okra Moonshine": "\ufffe\uffff", "Neon Armadillo": "\x1b[31mred"}
    metadata, _ = report_on(reporting, sample_warehouse(rename_bands=names))
    assert all(isinstance(metadata[picture], MarkdownMetadataValue) for picture in PICTURES)
    page = reporting.report_file.read_text(encoding="utf-8")
    assert "A\ufffdB\ufffdC\x7f" in page
    assert not set(page) & set("\x01\x0b\x1b\ufffe\uffff")


@pytest.mark.parametrize(
    ("function", "reason"), [("raise_error", "cannot draw"), ("abort", "ended before it had answered")], ids=str
)
def test_a_picture_that_cannot_be_drawn_is_a_warning(
    reporting: Settings, monkeypatch: pytest.MonkeyPatch, function: str, reason: str
) -> None:
    monkeypatch.setattr(assets, "_DRAW_PREVIEW", f"tests.report.broken_drawing:{function}")
    metadata, log = report_on(reporting, sample_warehouse())
    assert reporting.report_file.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    for picture in PICTURES:
        preview = metadata[picture]
        assert isinstance(preview, TextMetadataValue)
        assert reason in str(preview.value)
        assert f"30 The preview of {picture} could not be drawn" in log


def test_other_pictures_are_drawn_when_one_ends_the_process() -> None:
    undrawable = {"data": {"values": [{}]}, "mark": {"type": "text", "text": "\x01"}}
    previews = assets._previews(build_asset_context(), {"one": TEXT_CHART, "two": undrawable, "three": TEXT_CHART})
    assert [type(preview) for preview in previews.values()] == [
        MarkdownMetadataValue,
        TextMetadataValue,
        MarkdownMetadataValue,
    ]
