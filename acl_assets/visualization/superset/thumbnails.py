"""Small pictures of the charts as a browser paints them, for where people look at them outside of Superset.

They are an extra: without Playwright and a Chromium there are none. What belongs here: opening a dashboard and
photographing its charts. What does not: the pictures of the documentation (`screenshots`), which are large and kept.
This module runs in a process of its own, so that a browser's client leaves nothing behind in a refresh.
"""

from __future__ import annotations

import importlib.util
import shutil
from typing import TYPE_CHECKING

from acl_assets.visualization.superset.client import SupersetError

if TYPE_CHECKING:
    from playwright.sync_api import Page

_CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome")
_CHROMIUM_ARGUMENTS = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run")
# Charts below the edge of the window are not painted: it is as high as the longest tab, and pictures are half the size.
_WINDOWS = ((1400, 5000), (420, 9000))
_SCALE = 0.5
_MILLISECONDS_TO_PAINT = 60_000
# Charts move for a moment after they are there.
_MILLISECONDS_TO_SETTLE = 1_000
_ALL_LOADED = """() => {
    const charts = [...document.querySelectorAll("[data-test-chart-id]")];
    return charts.length > 0 && !charts.some(chart => chart.querySelector("[data-test='loading-indicator'], .loading"));
}"""


def missing_browser() -> str | None:
    """What there is not, in words, to take pictures with; None when everything is there."""
    if importlib.util.find_spec("playwright") is None:
        return "the Python package playwright is not installed"
    if _chromium() is None:
        return f"there is no {' or '.join(_CHROMIUM_NAMES)} on the PATH"
    return None


def take_thumbnails(url: str, user: str, password: str, dashboards: list[str]) -> dict[int, bytes]:
    """PNG pictures of the charts on every tab of dashboards, by the charts' numbers.

    Args:
        url: of Superset.
        user: who may see the dashboards.
        password: theirs.
        dashboards: slugs or numbers.

    Raises:
        SupersetError: a page does not come.
    """
    from playwright.sync_api import Error, sync_playwright

    pictures: dict[int, bytes] = {}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=_chromium(), args=list(_CHROMIUM_ARGUMENTS))
        try:
            page = browser.new_page(device_scale_factor=_SCALE)
            page.set_default_timeout(_MILLISECONDS_TO_PAINT)
            _sign_in(page, url, user, password)
            for dashboard in dashboards:
                page.goto(f"{url}/superset/dashboard/{dashboard}/?standalone=2")
                pictures |= _photographed(page)
        except Error as error:
            raise SupersetError(f"The charts of {url} could not be photographed: {error.message}") from error
        finally:
            browser.close()
    return pictures


def _sign_in(page: Page, url: str, user: str, password: str) -> None:
    page.goto(f"{url}/login/")
    page.fill("[data-test='username-input']", user)
    page.fill("[data-test='password-input']", password)
    page.click("[data-test='login-button']")
    page.wait_for_url(lambda address: "/login" not in address)


def _photographed(page: Page) -> dict[int, bytes]:
    """The charts of the dashboard that is open, by number."""
    pictures: dict[int, bytes] = {}
    numbers: set[int] = set()
    # Some charts are for narrow windows alone.
    for width, height in _WINDOWS:
        page.set_viewport_size({"width": width, "height": height})
        page.wait_for_function(_ALL_LOADED)
        # A dashboard without tabs is photographed as it opens.
        for tab in page.locator("[role='tab']").all() or [page.locator("body")]:
            # In a narrow window tabs may lie outside of it, where no mouse reaches them.
            tab.dispatch_event("click")
            page.wait_for_timeout(_MILLISECONDS_TO_SETTLE)
            page.wait_for_function(_ALL_LOADED)
            page.wait_for_timeout(_MILLISECONDS_TO_SETTLE)
            for chart in page.locator("[data-test-chart-id]").all():
                number = int(chart.get_attribute("data-test-chart-id") or 0)
                numbers.add(number)
                if number not in pictures and chart.is_visible():
                    pictures[number] = chart.screenshot()
        if numbers == pictures.keys():
            break
    return pictures


def _chromium() -> str | None:
    return next((found for name in _CHROMIUM_NAMES if (found := shutil.which(name))), None)
