"""Text that charts and page can hold."""

from __future__ import annotations

import sys

import pandas as pd
import pytest
import vl_convert

from acl_assets.report.drawable_text import drawable_frame, drawable_text


@pytest.mark.parametrize("text", ["", "NULL", "Björk 🎸 東京", "tab\tline\nreturn\r", "\x7f\x85\ue000\ufffd\U0010ffff"])
def test_characters_of_xml_are_kept(text: str) -> None:
    assert drawable_text(text) == text


@pytest.mark.parametrize("character", [*map(chr, range(9)), "\x0b", "\x0c", "\x0e", "\x1f", "\ud800", "\ufffe"])
def test_other_characters_are_replaced(character: str) -> None:
    assert drawable_text(f"a{character}b") == "a\ufffdb"


@pytest.mark.exhaustive
def test_every_character_can_be_drawn() -> None:
    """One that cannot be drawn ends this process. Higher planes are tried at their ends."""
    code_points = [*range(0x10000), *(plane << 16 | last for plane in range(1, 17) for last in (0, 0xFFFE, 0xFFFF))]
    for start in range(0, len(code_points), 2048):
        text = drawable_text("".join(map(chr, code_points[start : start + 2048])))
        chart = {"data": {"values": [{"name": text}]}, "mark": "text", "encoding": {"text": {"field": "name"}}}
        assert vl_convert.vegalite_to_png(chart)
    assert code_points[-1] == sys.maxunicode


def test_every_text_of_a_frame_is_made_drawable() -> None:
    frame = pd.DataFrame({"id": [1, 2], "name": ["a\x00", None], "mixed": ["\x01", 7], "share": [0.5, float("nan")]})
    cleaned = drawable_frame(frame)
    assert list(cleaned.dtypes) == list(frame.dtypes)
    assert cleaned.name.tolist()[0] == "a\ufffd"
    assert cleaned.name.isna().tolist() == [False, True]
    assert cleaned.mixed.tolist() == ["\ufffd", 7]
    assert cleaned.id.tolist() == [1, 2]
