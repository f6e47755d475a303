"""Labels stand beside their own bars, whatever fonts the reader's machine has and however many bars there are.

ECharts derives the height of a line of text from the width of a Chinese character, so a machine with a CJK font lays
text out differently.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import pytest
from browser import browser_is_required
from playwright.sync_api import Browser
from superset.bar_charts import BARS, SLUG, chart_name
from superset.conftest import SupersetUnderTest
from superset.invented_charts import record_texts, texts
from superset.test_dashboard import look

from acl_assets.superset.browsing import (
    CHROMIUM_ARGUMENTS,
    chromium_executable,
    open_dashboard,
    painted_charts,
    signed_in_page,
)
from acl_assets.superset.screenshots import WIDTHS

pytestmark = pytest.mark.server

WIDTH_OF_A_CHINESE_CHARACTER = """() => {
    const context = document.createElement("canvas").getContext("2d");
    context.font = "100px sans-serif";
    return context.measureText("国").width;
}"""


@pytest.fixture(params=["with", "without"])
def browser_of_fonts(request: pytest.FixtureRequest, browser: Browser, tmp_path: Path) -> Iterator[Browser]:
    """A browser on a machine with a CJK font, and on one without."""
    cjk_fonts = fonts_of_chinese()
    if request.param == "with" and not cjk_fonts:
        reason = "no CJK font is installed; on Debian install fonts-droid-fallback"
        if browser_is_required():
            pytest.fail(reason)
        pytest.skip(reason)
    configuration = tmp_path / "fonts.conf"
    configuration.write_text(font_configuration([] if request.param == "with" else cjk_fonts))
    chromium = browser.browser_type.launch(
        executable_path=chromium_executable(),
        args=list(CHROMIUM_ARGUMENTS),
        env={"FONTCONFIG_FILE": str(configuration), "HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path)},
    )
    page = chromium.new_page()
    has_cjk_font = page.evaluate(WIDTH_OF_A_CHINESE_CHARACTER) == 100
    page.close()
    assert has_cjk_font == (request.param == "with")
    yield chromium
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


def font_configuration(hidden: list[str]) -> str:
    """The machine's fontconfig, without some of its fonts."""
    globs = "".join(f"<glob>{escape(file)}</glob>" for file in hidden)
    return f"""<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "urn:fontconfig:fonts.dtd">
<fontconfig>
  <include>/etc/fonts/fonts.conf</include>
  <selectfont><rejectfont>{globs}</rejectfont></selectfont>
</fontconfig>
"""


@pytest.mark.parametrize("window", WIDTHS)
def test_every_label_stands_beside_its_own_bar(
    superset: SupersetUnderTest, browser_of_fonts: Browser, window: str
) -> None:
    with signed_in_page(browser_of_fonts, superset.url, superset.user, superset.password, WIDTHS[window]) as page:
        record_texts(page)
        open_dashboard(page, superset.url, SLUG)
        charts = painted_charts(page)
        for bars in BARS:
            chart = charts[chart_name(bars)]
            assert_labels_stand_beside_their_bars(look(chart)["bars"], labels(texts(chart)), bars)


def labels(drawn: list[tuple[str, dict[str, float]]]) -> dict[int, dict[str, float]]:
    """Places of the venues' names, by rank; the lines of a wrapped name count as one."""
    places: dict[int, dict[str, float]] = {}
    for text, box in drawn:
        ranks = set(re.findall(r"[a-z](\d\d)", text))
        if not ranks:
            continue
        [rank] = map(int, ranks)
        others = places.get(rank, box)
        smallest = {side: min(others[side], box[side]) for side in ("left", "top")}
        places[rank] = smallest | {side: max(others[side], box[side]) for side in ("right", "bottom")}
    return places


def assert_labels_stand_beside_their_bars(
    bars: list[dict[str, Any]], places: dict[int, dict[str, float]], expected: int
) -> None:
    assert len(bars) == expected
    lengths = [bar["right"] - bar["left"] for bar in bars]
    assert lengths == sorted(set(lengths), reverse=True)
    assert sorted(places) == list(range(1, expected + 1))
    for rank, label in places.items():
        middle = (label["top"] + label["bottom"]) / 2
        distances = [max(bar["top"] - middle, middle - bar["bottom"], 0) for bar in bars]
        assert distances.index(min(distances)) == rank - 1, f"label {rank} of {expected} is nearer to another bar"
        assert label["left"] >= 0, f"label {rank} of {expected} is cut off"
    for rank in range(1, expected):
        assert places[rank]["bottom"] <= places[rank + 1]["top"], f"labels {rank} and {rank + 1} of {expected} overlap"
