"""Pictures as PNG images."""

from __future__ import annotations

import struct
from pathlib import Path

from acl_assets.report.previews import draw_preview
from report.sample_warehouse import invented_performances, sample_warehouse

from acl_assets.report.page import ReportData, preview_specifications, read_report_data

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def test_there_is_one_of_each_picture_small_enough_for_metadata(report_data: ReportData) -> None:
    drawn = {name: draw_preview(chart) for name, chart in preview_specifications(report_data).items()}
    assert list(drawn) == ["ticket_sales_over_time", "ticket_sales_by_venue", "band_sales_by_venue"]
    for png in drawn.values():
        width, height = struct.unpack(">II", png[16:24])
        assert 850 <= width <= 950
        assert 250 <= height <= 600
        assert len(png) < 250_000


def test_a_festival_without_performances_has_pictures_too(tmp_path: Path) -> None:
    """A refresh of an empty ticketing system must not fail at its last step."""
    published = sample_warehouse(invented_performances().head(0)).write(tmp_path / "acl.duckdb")
    specifications = preview_specifications(read_report_data(published, "America/Chicago"))
    assert len(specifications) == 3
    assert all(draw_preview(chart).startswith(PNG_SIGNATURE) for chart in specifications.values())
