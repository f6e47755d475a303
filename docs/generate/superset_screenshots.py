"""Take the pictures of the dashboards in Superset: `python -m docs.generate.superset_screenshots`.

A dashboard is opened in a headless Chromium. A picture is taken when it is painted.
"""

import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Error, Page, sync_playwright

from acl_assets.settings import PROJECT_DIR, Settings, SettingsError
from acl_assets.superset.client import SupersetClient, SupersetError, superset_client

WIDTHS = {"wide": 1400, "narrow": 420}
_CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome")
_MILLISECONDS_TO_PAINT = 180_000
# Charts are drawn a moment after their data has arrived.
_MILLISECONDS_TO_SETTLE = 1_000
# Charts below the edge of the window are not painted, so the window is higher than any tab.
_HEIGHT = 5_000
_TABS = "[data-test='dashboard-component-tabs'] [role='tab']"
# Charts of other tabs, and for another width of the window, are hidden and may never load.
_ALL_PAINTED = """() => {
    const charts = [...document.querySelectorAll("[data-test-chart-id]")].filter(
        chart => chart.checkVisibility({ visibilityProperty: true }));
    return charts.length > 0 && charts.every(chart =>
        !chart.querySelector("[data-test='loading-indicator'], .loading") &&
        chart.querySelector("[data-test='slice-container'], [role='alert'], .ant-empty"));
}"""
_HEIGHT_OF_TAB = """() => {
    const rows = [...document.querySelectorAll(".ant-tabs-tabpane-active .grid-content > .dragdroppable-row")];
    return Math.max(...rows.map(row => row.getBoundingClientRect().bottom)) + 16;
}"""


@contextmanager
def chromium() -> Iterator[Browser]:
    """Run the first Chromium found on the PATH, headless; raise SupersetError if there is none, or it fails."""
    executable = next((found for name in _CHROMIUM_NAMES if (found := shutil.which(name))), None)
    if executable is None:
        raise SupersetError(f"There is no browser on the PATH; install one of {', '.join(_CHROMIUM_NAMES)}.")
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=executable, args=["--disable-gpu"])
            yield browser
            browser.close()
    except Error as error:
        raise SupersetError(f"The browser {executable} failed: {error}") from error


@contextmanager
def signed_in_page(browser: Browser, client: SupersetClient, width: int = WIDTHS["wide"]) -> Iterator[Page]:
    """Open a page in which the user of a client has signed in to Superset."""
    context = browser.new_context(viewport={"width": width, "height": _HEIGHT}, reduced_motion="reduce")
    context.set_default_timeout(_MILLISECONDS_TO_PAINT)
    # Sent as the form of the page would send it; the context keeps the session.
    [token] = re.findall(r'name="csrf_token"[^>]*value="([^"]+)"', context.request.get(f"{client.url}/login/").text())
    form = {"username": client.user, "password": client.password, "csrf_token": token}
    context.request.post(f"{client.url}/login/", form=form)
    yield context.new_page()
    context.close()


def open_dashboard(page: Page, url: str) -> list[str]:
    """Open the dashboard, wait until its first tab is painted, and return the names of its tabs."""
    page.goto(f"{url}/superset/dashboard/acl-all-stars/")
    _wait_until_painted(page)
    return page.locator(_TABS).all_inner_texts()


def open_tab(page: Page, name: str) -> None:
    """Go to a tab of an open dashboard and wait until all of it is painted."""
    tab = page.locator(_TABS).filter(has_text=re.compile(rf"^\s*{re.escape(name)}\s*$"))
    # In a narrow window the tab may be outside the visible area, where a pointer cannot click it.
    tab.evaluate("tab => tab.click()")
    tab.and_(page.locator("[aria-selected='true']")).wait_for(state="attached")
    _wait_until_painted(page)


def _wait_until_painted(page: Page) -> None:
    page.wait_for_function(_ALL_PAINTED)
    page.wait_for_timeout(_MILLISECONDS_TO_SETTLE)


def take_screenshots(client: SupersetClient) -> list[Path]:
    """Write a picture of every tab in each of WIDTHS as `superset_<tab>_<width>.png`, and return the files.

    Raise SupersetError if there is no browser, or the dashboard is not painted in time.
    """
    pictures = []
    with chromium() as browser:
        for name, width in WIDTHS.items():
            with signed_in_page(browser, client, width) as page:
                for tab in open_dashboard(page, client.url):
                    open_tab(page, tab)
                    file = f"superset_{tab.lower().replace(' ', '_')}_{name}.png"
                    pictures.append(PROJECT_DIR / "docs" / "images" / file)
                    height = page.evaluate(_HEIGHT_OF_TAB)
                    page.screenshot(path=pictures[-1], clip={"x": 0, "y": 0, "width": width, "height": height})
    return pictures


def main() -> int:
    """Take the pictures of the Superset of the settings, and return the exit code."""
    try:
        with superset_client(Settings.from_environment()) as client:
            print(*take_screenshots(client), sep="\n")
    except (SettingsError, SupersetError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
