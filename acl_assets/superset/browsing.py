"""Open a dashboard in a headless Chromium, wait until it is painted, and take its pictures for the documentation."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from acl_assets.settings import PROJECT_DIR
from acl_assets.superset.client import SupersetError

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page

IMAGES_DIR = PROJECT_DIR / "docs" / "images"
DASHBOARD = "acl-all-stars"
WIDTHS = {"wide": 1400, "narrow": 420}
CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM_ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)
_MILLISECONDS_TO_PAINT = 180_000
# Charts are drawn a moment after their data has arrived.
_MILLISECONDS_TO_SETTLE = 1_000
# Charts below the edge of the window are not painted, so the window is higher than any tab.
_HEIGHT = 5_000
_TABS = "[data-test='dashboard-component-tabs'] [role='tab']"
_TOKEN = re.compile(r'name="csrf_token"[^>]*value="([^"]+)"')
# Charts for another width of the window are hidden and never load.
_ALL_PAINTED = """() => {
    const charts = [...document.querySelectorAll("[data-test-chart-id]")].filter(chart => chart.offsetParent);
    return charts.length > 0 && charts.every(chart =>
        !chart.querySelector("[data-test='loading-indicator'], .loading") &&
        chart.querySelector("[data-test='slice-container'], [role='alert'], .ant-empty"));
}"""
_HEIGHT_OF_TAB = """() => {
    const rows = [...document.querySelectorAll(".grid-content > .dragdroppable-row")];
    return Math.max(...rows.map(row => row.getBoundingClientRect().bottom)) + 16;
}"""


def chromium_executable() -> str | None:
    """Return the path of the first Chromium found on PATH, or None."""
    return next((found for name in CHROMIUM_NAMES if (found := shutil.which(name))), None)


@contextmanager
def chromium() -> Iterator[Browser]:
    """Run the Chromium of this machine, headless.

    Raises:
        SupersetError: there is none, or it fails.
    """
    executable = chromium_executable()
    if executable is None:
        raise SupersetError(f"There is no browser on the PATH; install one of {', '.join(CHROMIUM_NAMES)}.")
    from playwright.sync_api import Error, sync_playwright

    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=executable, args=list(CHROMIUM_ARGUMENTS))
            try:
                yield browser
            finally:
                browser.close()
    except Error as error:
        raise SupersetError(f"The browser {executable} failed: {error}") from error


@contextmanager
def signed_in_page(browser: Browser, url: str, user: str, password: str, width: int = 1400) -> Iterator[Page]:
    """Open a page in which a user has signed in to Superset.

    Raises:
        SupersetError: Superset did not accept the user or the password.
    """
    context = browser.new_context(viewport={"width": width, "height": _HEIGHT}, reduced_motion="reduce")
    context.set_default_timeout(_MILLISECONDS_TO_PAINT)
    try:
        # Sent as the form of the page would send it; the context keeps the session.
        token = _TOKEN.search(context.request.get(f"{url}/login/").text())
        if token is None:
            raise SupersetError(f"{url}/login/ has no form to sign in with. Is this a Superset?")
        form = {"username": user, "password": password, "csrf_token": token[1]}
        if "/login" in context.request.post(f"{url}/login/", form=form).url:
            raise SupersetError(f"{url} did not accept the user {user}; check ACL_SUPERSET_PASSWORD.")
        yield context.new_page()
    finally:
        context.close()


def open_dashboard(page: Page, url: str, slug: str) -> list[str]:
    """Open a dashboard, wait until its first tab is painted, and return the names of its tabs.

    Raises:
        SupersetError: it is not painted in time.
    """
    page.goto(f"{url}/superset/dashboard/{slug}/")
    _wait_until_painted(page, f"the dashboard {slug}")
    return [tab.inner_text() for tab in page.locator(_TABS).all()]


def open_tab(page: Page, name: str) -> None:
    """Go to a tab of an open dashboard and wait until all of it is painted.

    Raises:
        SupersetError: it is not painted in time.
    """
    # In a narrow window the tab may be outside the visible area, where a pointer cannot click it.
    whole_name = re.compile(rf"^\s*{re.escape(name)}\s*$")
    page.locator(_TABS).filter(has_text=whole_name).evaluate("tab => tab.click()")
    page.locator(f"{_TABS}[aria-selected='true']").filter(has_text=whole_name).wait_for(state="attached")
    _wait_until_painted(page, f"the tab {name}")


def painted_charts(page: Page) -> dict[str, Locator]:
    """Return the visible charts of the open tab by name."""
    charts = page.locator("[data-test-chart-id]").all()
    return {str(chart.get_attribute("data-test-chart-name")): chart for chart in charts if chart.is_visible()}


def _wait_until_painted(page: Page, what: str) -> None:
    from playwright.sync_api import TimeoutError as NeverPaintedError

    try:
        page.wait_for_function(_ALL_PAINTED)
    except NeverPaintedError as error:
        raise SupersetError(
            f"Not all charts of {what} were painted within {_MILLISECONDS_TO_PAINT // 1000} s."
        ) from error
    page.wait_for_timeout(_MILLISECONDS_TO_SETTLE)


def take_screenshots(url: str, user: str, password: str, browser: Browser) -> list[Path]:
    """Write a picture of every tab in each of WIDTHS as `superset_<tab>_<width>.png`, and return the files.

    Raises:
        SupersetError: the dashboard is not painted in time.
    """
    pictures = []
    for name, width in WIDTHS.items():
        with signed_in_page(browser, url, user, password, width) as page:
            for tab in open_dashboard(page, url, DASHBOARD):
                open_tab(page, tab)
                pictures.append(IMAGES_DIR / f"superset_{tab.lower().replace(' ', '_')}_{name}.png")
                area = {"x": 0, "y": 0, "width": width, "height": page.evaluate(_HEIGHT_OF_TAB)}
                page.screenshot(path=pictures[-1], clip=area)  # type: ignore[arg-type] # its keys are those
    return pictures
