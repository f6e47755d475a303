"""Labels of axes and bars, read from the canvases of charts with invented data.

ECharts derives the height of a line of text from the width of a Chinese character, so a machine with a CJK font lays
text out differently.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import pytest
from browser import browser_is_required
from playwright.sync_api import Browser, Page
from superset.conftest import SupersetUnderTest
from superset.invented_charts import (
    BARS,
    CHART_OF_MONTHS,
    CHARTS_OF_FESTIVALS,
    FESTIVALS,
    MANY,
    MONTHS,
    SLUG,
    TAB_OF_FESTIVALS,
    TAB_OF_MONTHS,
    chart_name,
    record_texts,
    texts,
)
from superset.test_dashboard import look, set_width

from acl_assets.superset.browsing import (
    CHROMIUM_ARGUMENTS,
    chromium_executable,
    open_dashboard,
    open_tab,
    painted_charts,
    signed_in_page,
)
from acl_assets.superset.screenshots import WIDTHS

pytestmark = pytest.mark.server

# What labels read, and the middle of each in pixels, from left to right.
Labels = list[tuple[str, float]]
WINDOWS = ["narrow", pytest.param("wide", marks=pytest.mark.exhaustive)]
WIDTH_OF_A_CHINESE_CHARACTER = """() => {
    const context = document.createElement("canvas").getContext("2d");
    context.font = "100px sans-serif";
    return context.measureText("国").width;
}"""


@pytest.mark.parametrize("window", WINDOWS)
def test_labels_name_whole_festivals_and_months_once_and_stand_at_their_own_bars(
    superset: SupersetUnderTest, visitor: Page, window: str
) -> None:
    set_width(visitor, window)
    open_dashboard(visitor, superset.url, SLUG)
    assert_labels_stand_at_their_bars(visitor)
    open_tab(visitor, TAB_OF_FESTIVALS)
    assert_festivals_are_labelled_once(labels_of_axes(visitor))
    open_tab(visitor, TAB_OF_MONTHS)
    assert_months_are_labelled_once_at_their_first_day(labels_of_axes(visitor))


@pytest.mark.exhaustive
@pytest.mark.parametrize("window", WIDTHS)
@pytest.mark.parametrize("has_cjk_font", [True, False])
def test_labels_stand_at_their_bars_whatever_fonts_the_machine_has(
    superset: SupersetUnderTest, browser: Browser, tmp_path: Path, has_cjk_font: bool, window: str
) -> None:
    cjk_fonts = fonts_of_chinese()
    if has_cjk_font and not cjk_fonts:
        reason = "no CJK font is installed; on Debian install fonts-droid-fallback"
        if browser_is_required():
            pytest.fail(reason)
        pytest.skip(reason)
    hidden = "".join(f"<glob>{escape(file)}</glob>" for file in ([] if has_cjk_font else cjk_fonts))
    configuration = tmp_path / "fonts.conf"
    configuration.write_text(
        '<?xml version="1.0"?><!DOCTYPE fontconfig SYSTEM "urn:fontconfig:fonts.dtd"><fontconfig>'
        "<include>/etc/fonts/fonts.conf</include>"
        f"<selectfont><rejectfont>{hidden}</rejectfont></selectfont></fontconfig>"
    )
    chromium = browser.browser_type.launch(
        executable_path=chromium_executable(),
        args=list(CHROMIUM_ARGUMENTS),
        env={"FONTCONFIG_FILE": str(configuration), "HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path)},
    )
    with signed_in_page(chromium, superset.url, superset.user, superset.password, WIDTHS[window]) as page:
        assert (page.evaluate(WIDTH_OF_A_CHINESE_CHARACTER) == 100) == has_cjk_font
        record_texts(page)
        open_dashboard(page, superset.url, SLUG)
        assert_labels_stand_at_their_bars(page)
    chromium.close()


def fonts_of_chinese() -> list[str]:
    """Files of the fonts on this machine that have the character ECharts measures."""
    program = shutil.which("fc-list")
    if program is None:
        return []
    listed = subprocess.run(
        [program, "--format", "%{file}\\n", f":charset={ord('国'):x}"], capture_output=True, text=True, check=True
    )
    return listed.stdout.splitlines()


def assert_labels_stand_at_their_bars(page: Page) -> None:
    charts = painted_charts(page)
    for count in BARS:
        bars: list[dict[str, Any]] = look(charts[f"{count} bars"])["bars"]
        places = labels_of_bars(texts(charts[f"{count} bars"]))
        lengths = [bar["right"] - bar["left"] for bar in bars]
        assert len(bars) == count
        assert lengths == sorted(set(lengths), reverse=True)
        assert sorted(places) == list(range(1, count + 1))
        for rank, label in places.items():
            middle = (label["top"] + label["bottom"]) / 2
            distances = [max(bar["top"] - middle, middle - bar["bottom"], 0) for bar in bars]
            assert distances.index(min(distances)) == rank - 1, f"label {rank} of {count} is nearer to another bar"
            assert label["left"] >= 0, f"label {rank} of {count} is cut off"
        for rank in range(1, count):
            assert places[rank]["bottom"] <= places[rank + 1]["top"], f"labels {rank} and {rank + 1} of {count} overlap"


def labels_of_bars(drawn: list[tuple[str, dict[str, float]]]) -> dict[int, dict[str, float]]:
    """Places of the venues' names, by rank; the lines of a wrapped name count as one."""
    places: dict[int, dict[str, float]] = {}
    for text, box in drawn:
        if ranks := set(re.findall(r"[a-z](\d\d)", text)):
            [rank] = map(int, ranks)
            others = places.get(rank, box)
            smallest = {side: min(others[side], box[side]) for side in ("left", "top")}
            places[rank] = smallest | {side: max(others[side], box[side]) for side in ("right", "bottom")}
    return places


def labels_of_axes(page: Page) -> dict[str, Labels]:
    """Return the labels of the x axes of the open tab, by the name of their chart."""
    found: dict[str, Labels] = {}
    for name, chart in painted_charts(page).items():
        drawn = [((box["left"] + box["right"]) / 2, text) for text, box in texts(chart)]
        found[name] = [(text, x) for x, text in sorted(drawn) if re.fullmatch(r"([A-Z][a-z]{2} )?\d{4}", text)]
    return found


def assert_festivals_are_labelled_once(labels: dict[str, Labels]) -> None:
    """Assert that labels are festivals with data, and all of them when they are few."""
    for template in CHARTS_OF_FESTIVALS:
        for data, festivals in FESTIVALS.items():
            name = chart_name(template, data)
            years = [int(text) for text, _ in labels[name]]
            assert years, name
            assert years == [festival for festival in festivals if festival in years or data != MANY], name


def assert_months_are_labelled_once_at_their_first_day(labels: dict[str, Labels]) -> None:
    """Assert that a label in the middle of a month does not read like one at its start."""
    for data, months in MONTHS.items():
        name = chart_name(CHART_OF_MONTHS, data)
        places = {datetime.strptime(text, "%b %Y").replace(tzinfo=UTC).date(): x for text, x in labels[name]}
        labelled: list[date] = sorted(places)
        assert len(labels[name]) == len(labelled) > 0, name
        assert list(places) == labelled, name
        if data == MANY:
            continue
        assert set(months) <= set(labelled), name
        first, last = labelled[0], labelled[-1]
        for month, x in places.items():
            share = (month - first) / (last - first) if month > first else 0
            assert x == pytest.approx(places[first] + share * (places[last] - places[first]), abs=3), (name, month)
