"""The report as an asset: its file and its metadata."""

import base64
import struct

import pytest
import vl_convert
from dagster import DagsterInstance, Failure, MarkdownMetadataValue, materialize
from report.sample_warehouse import TIME_ZONE, sample_warehouse

from acl_assets.report import asset as assets
from acl_assets.settings import Settings
from acl_assets.simulator.lineup import MUST_INVITE_BAND

pytestmark = pytest.mark.slow


def test_the_report_is_written_and_its_pictures_are_previewed(settings: Settings) -> None:
    """vl-convert aborts its process on characters that no chart can draw, so they are replaced."""
    sample_warehouse(settings.data_dir, "update festival.bands set name = chr(1) || chr(65534) || name")
    with DagsterInstance.ephemeral() as instance:
        report = assets.build_all_stars_report(TIME_ZONE)
        result = materialize([report], instance=instance, resources={"settings": settings})
    (event,) = result.get_asset_materialization_events()
    metadata = event.step_materialization_data.materialization.metadata
    assert metadata["bytes"].value == settings.report_file.stat().st_size
    assert f"\ufffd\ufffd{MUST_INVITE_BAND.split()[0]}" in settings.report_file.read_text(encoding="utf-8")
    for picture in ("ticket_sales_over_time", "ticket_sales_by_venue", "band_sales_by_venue"):
        preview = metadata[picture]
        assert isinstance(preview, MarkdownMetadataValue)
        svg = base64.b64decode(preview.value.removeprefix(f"![{picture}](data:image/svg+xml;base64,").removesuffix(")"))
        width, height = struct.unpack(">II", vl_convert.svg_to_png(svg.decode())[16:24])
        assert 560 <= width <= 1100
        assert 300 <= height <= 650
        assert len(svg) < 200_000


def test_report_folder_that_cannot_be_written_is_one_error_with_what_to_do(settings: Settings) -> None:
    sample_warehouse(settings.data_dir)
    settings.report_file.parent.touch()
    with (
        DagsterInstance.ephemeral() as instance,
        pytest.raises(Failure, match=f"{settings.report_file.parent} cannot be written: "),
    ):
        materialize([assets.build_all_stars_report(TIME_ZONE)], instance=instance, resources={"settings": settings})
