"""Small pictures of the charts as a browser paints them, for where people look at them outside of Superset.

What belongs here: which charts are photographed, and how small. What does not: opening a dashboard (`browsing`), and
the pictures of the documentation (`screenshots`), which are of whole tabs. Run it in a process of its own: what drives
the browser stays in the memory of the one that did.
"""

from __future__ import annotations

import base64
from collections.abc import Collection
from typing import TYPE_CHECKING

from acl_assets.superset.browsing import (
    chromium,
    open_dashboard,
    open_tab,
    painted_charts,
    signed_in_page,
)

if TYPE_CHECKING:
    from playwright.sync_api import Page

# Some charts are for narrow windows alone.
_WIDTHS = (1400, 420)
_SCALE = 0.5


def take_thumbnails(
    url: str, user: str, password: str, dashboards: Collection[str], charts: Collection[str]
) -> dict[str, bytes]:
    """PNG pictures of charts by their names; one that none of the dashboards shows is left out.

    Args:
        url: of Superset, without a slash at the end.
        user: who may see the dashboards.
        password: theirs.
        dashboards: slugs of those to look on.
        charts: names of those to look for.

    Raises:
        SupersetError: there is no browser, or a dashboard is not painted in it.
    """
    pictures: dict[str, bytes] = {}
    with chromium() as browser:
        for width in _WIDTHS:
            if pictures.keys() >= set(charts):
                break
            with signed_in_page(browser, url, user, password, width) as page:
                for dashboard in dashboards:
                    _photograph(page, open_dashboard(page, url, dashboard), charts, pictures)
    return pictures


def _photograph(page: Page, tabs: list[str], charts: Collection[str], pictures: dict[str, bytes]) -> None:
    """Add to the pictures what is wanted, is not among them, and is seen on a tab of the open dashboard."""
    browser = page.context.new_cdp_session(page)
    for tab in tabs:
        if pictures.keys() >= set(charts):
            return
        open_tab(page, tab)
        for name, chart in painted_charts(page).items():
            if name in charts and name not in pictures:
                # Playwright's own screenshots are as large as the chart.
                area = {**(chart.bounding_box() or {}), "scale": _SCALE}
                picture = browser.send("Page.captureScreenshot", {"format": "png", "clip": area})
                pictures[name] = base64.b64decode(picture["data"])
