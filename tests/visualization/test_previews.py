"""The pictures as images: one each, small, and with every pixel that was drawn."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import pytest
from visualization.sample_warehouse import invented_performances, sample_warehouse

from acl_assets.visualization import previews
from acl_assets.visualization.previews import draw_previews
from acl_assets.visualization.report import ReportData, preview_specifications, read_report_data


def test_there_is_one_of_each_picture_small_enough_for_metadata(report_data: ReportData) -> None:
    drawn = draw_previews(preview_specifications(report_data))
    assert list(drawn) == ["ticket_sales_over_time", "ticket_sales_by_venue", "band_sales_by_venue"]
    for png in drawn.values():
        width, height = struct.unpack(">II", png[16:24])
        assert 850 <= width <= 950
        assert 250 <= height <= 600
        assert len(png) < 80_000


def test_a_festival_without_performances_has_pictures_too(tmp_path: Path) -> None:
    """A refresh of an empty ticketing system must not fail at its last step."""
    published = sample_warehouse(invented_performances().head(0)).write(tmp_path / "acl.duckdb")
    drawn = draw_previews(preview_specifications(read_report_data(published)))
    assert all(png.startswith(previews.PNG_SIGNATURE) for png in drawn.values())


def test_packing_changes_no_pixel(report_data: ReportData, monkeypatch: pytest.MonkeyPatch) -> None:
    packed = draw_previews(preview_specifications(report_data))["ticket_sales_by_venue"]
    monkeypatch.setattr(previews, "_repacked", lambda png: png)
    plain = draw_previews(preview_specifications(report_data))["ticket_sales_by_venue"]
    assert len(packed) < len(plain)
    assert pixels(packed) == pixels(plain)


def pixels(png: bytes) -> bytes:
    """The filtered pixel rows of a PNG; every chunk's checksum is verified."""
    data, position = b"", 8
    while position < len(png):
        (length,) = struct.unpack(">I", png[position : position + 4])
        chunk = png[position + 4 : position + 8 + length]
        assert struct.unpack(">I", png[position + 8 + length : position + 12 + length]) == (zlib.crc32(chunk),)
        data += chunk[4:] if chunk[:4] == b"IDAT" else b""
        position += 12 + length
    return zlib.decompress(data)
