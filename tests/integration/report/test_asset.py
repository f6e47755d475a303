"""The report as an asset: what it writes, what its metadata holds, and what happens when drawing fails."""

from __future__ import annotations

import base64
import struct

import pytest
from dagster import DagsterInstance, MarkdownMetadataValue, build_asset_context, materialize
from report.sample_warehouse import invented_performances, sample_warehouse

from acl_assets.report import asset as assets
from acl_assets.settings import Settings

pytestmark = pytest.mark.slow

PICTURES = ["ticket_sales_over_time", "ticket_sales_by_venue", "band_sales_by_venue"]
TEXT_CHART = {"data": {"values": [{}]}, "mark": {"type": "text", "text": "a name"}}


@pytest.mark.parametrize("performances", [None, invented_performances().head(0)], ids=["full", "empty"])
def test_the_report_is_written_and_its_pictures_are_previewed(settings: Settings, performances: object) -> None:
    """vl-convert aborts its process on characters that no chart can draw, so they are replaced."""
    sample_warehouse(performances, {"The Velvet Cicadas": "A\x01B\ufffeC"}).write(settings.published_file)
    with DagsterInstance.ephemeral() as instance:
        report = assets.build_all_stars_report("America/Chicago")
        result = materialize([report], instance=instance, resources={"settings": settings})
    (event,) = result.get_asset_materialization_events()
    metadata = event.step_materialization_data.materialization.metadata
    assert metadata["bytes"].value == settings.report_file.stat().st_size
    page = settings.report_file.read_text(encoding="utf-8")
    assert page.startswith("<!DOCTYPE html>")
    assert ("A\ufffdB\ufffdC" in page) == (performances is None)
    for picture in PICTURES:
        preview = metadata[picture]
        assert isinstance(preview, MarkdownMetadataValue)
        png = base64.b64decode(preview.value.removeprefix(f"![{picture}](data:image/png;base64,").removesuffix(")"))
        width, height = struct.unpack(">II", png[16:24])
        if performances is None:
            assert 850 <= width <= 950
            assert 250 <= height <= 600
            assert len(png) < 400_000


def test_other_pictures_are_drawn_when_one_fails_or_ends_the_process() -> None:
    charts = {
        "one": TEXT_CHART,
        "ends the process": TEXT_CHART | {"mark": {"type": "text", "text": "\x01"}},
        "raises": {"mark": 5},
        "two": TEXT_CHART,
    }
    previews = assets._previews(build_asset_context(), charts)
    drawn = {name for name, preview in previews.items() if isinstance(preview, MarkdownMetadataValue)}
    assert drawn == {"one", "two"}
    for name in charts.keys() - drawn:
        assert f"The preview of {name} could not be drawn" in str(previews[name].value)
