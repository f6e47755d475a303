"""Take the screenshots of the documentation: `python -m docs.generate.screenshots`.

The module runs a refresh on a simulated batch in a temporary folder, opens Dagster's UI and the report in headless
Chromium, and writes `docs/images/*.png`.
"""

import argparse
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Page

from acl_assets.settings import PROJECT_DIR, Settings
from acl_assets.superset.client import SupersetError
from docs.generate.superset_screenshots import chromium

IMAGES_DIR = PROJECT_DIR / "docs" / "images"
_DEFINITIONS = "acl_assets.definitions"
_EXPANDED_GROUPS = ("data_products", "publication", "visualization")
_REPORT_PICTURES = ("ticket_sales_over_time", "ticket_sales_by_venue", "band_sales_by_venue")
_NAVIGATION_WIDTH = 80
_SECONDS_TO_START = 120
_MILLISECONDS_TO_PAINT = 60_000
# Charts and the layout of the graph move for a moment after the last element has appeared.
_MILLISECONDS_TO_SETTLE = 1_500


class ScreenshotError(RuntimeError):
    """A screenshot cannot be taken; the message says why and what to do."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Take every screenshot and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m docs.generate.screenshots", description="Screenshots of docs/.")
    parser.add_argument("--images-dir", type=Path, default=IMAGES_DIR, help="output folder (%(default)s)")
    parser.add_argument("--scale", type=float, default=1.0, help="scale of the simulated batch (%(default)s)")
    options = parser.parse_args(arguments)
    try:
        with tempfile.TemporaryDirectory(prefix="acl-screenshots-") as scratch:
            take_pictures(Path(scratch), options.images_dir, options.scale)
    except (ScreenshotError, SupersetError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def take_pictures(scratch: Path, images_dir: Path, scale: float) -> None:
    """Run a refresh in an empty folder and take screenshots of its results.

    Raises:
        ScreenshotError: a command fails.
        SupersetError: there is no browser, or it fails.
    """
    environment = _environment(scratch)
    settings = Settings.model_validate({"data_dir": scratch / "data"})
    images_dir.mkdir(parents=True, exist_ok=True)
    _run([sys.executable, "-m", "acl_assets.simulator", "write-batch", "--scale", str(scale)], environment)
    _run([sys.executable, "-m", "dagster", "job", "execute", "-j", "refresh", "-m", _DEFINITIONS], environment)
    with chromium() as browser:
        with _page(browser, width=1200, height=1000) as page:
            photograph_report(page, settings.report_file, images_dir)
        with _webserver(environment) as address, _page(browser, width=1500, height=1400) as page:
            photograph_asset_graph(page, address, images_dir / "asset_graph.png")
            page.set_viewport_size({"width": 1500, "height": 710})
            photograph_checks(page, address, images_dir / "asset_checks.png")


def _environment(scratch: Path) -> dict[str, str]:
    """Return the environment of a new installation, without the settings of the caller."""
    home = scratch / "dagster_home"
    home.mkdir()
    shutil.copy(PROJECT_DIR / "dagster.yaml", home)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ACL_", "DAGSTER_", "DBT_"))}
    return {**kept, "ACL_DATA_DIR": str(scratch / "data"), "DAGSTER_HOME": str(home)}


def _run(command: Sequence[str], environment: Mapping[str, str]) -> None:
    finished = subprocess.run(command, cwd=PROJECT_DIR, env=environment, capture_output=True, text=True, check=False)
    if finished.returncode != 0:
        output = (finished.stdout + finished.stderr).strip()[-3000:]
        raise ScreenshotError(f"{' '.join(command)} failed:\n{output}")


# Servers and pages ------------------------------------------------------------------------------------------


@contextmanager
def _webserver(environment: Mapping[str, str]) -> Iterator[str]:
    """Run Dagster's UI on a free port and yield its address.

    Raises:
        ScreenshotError: the server does not answer.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "dagster_webserver", "-h", "127.0.0.1", "-p", str(port), "-m", _DEFINITIONS]
    server = subprocess.Popen(
        command, cwd=PROJECT_DIR, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        _wait_for(f"{address}/server_info", server)
        yield address
    finally:
        server.terminate()
        server.wait(timeout=60)


def _wait_for(address: str, server: subprocess.Popen[bytes]) -> None:
    give_up_at = time.monotonic() + _SECONDS_TO_START
    while time.monotonic() < give_up_at and server.poll() is None:
        try:
            urllib.request.urlopen(address, timeout=5).close()  # noqa: S310, a server started here
            return
        except (urllib.error.URLError, TimeoutError):
            time.sleep(0.5)
    raise ScreenshotError(f"dagster-webserver did not answer at {address} within {_SECONDS_TO_START} s.")


@contextmanager
def _page(browser: Browser, width: int, height: int) -> Iterator[Page]:
    context = browser.new_context(
        viewport={"width": width, "height": height}, color_scheme="light", reduced_motion="reduce"
    )
    context.set_default_timeout(_MILLISECONDS_TO_PAINT)
    yield context.new_page()
    context.close()


def _settle(page: Page) -> None:
    """Close dialogs and wait until nothing moves."""
    page.wait_for_load_state("networkidle")
    for name in ("Skip", "Dismiss", "Close"):
        button = page.locator("[role=dialog]").get_by_role("button", name=name)
        if button.count():
            button.first.click()
    page.wait_for_timeout(_MILLISECONDS_TO_SETTLE)


# Screenshots ------------------------------------------------------------------------------------------------


def photograph_report(page: Page, report: Path, images_dir: Path) -> None:
    """Take the whole report, its top, then each of its three pictures.

    Raises:
        ScreenshotError: the report has fewer than three pictures.
    """
    page.goto(report.as_uri())
    pictures = page.locator("section.picture:has(svg, canvas)")
    pictures.first.wait_for()
    _settle(page)
    if pictures.count() < len(_REPORT_PICTURES):
        raise ScreenshotError(f"{report} shows {pictures.count()} pictures, not {len(_REPORT_PICTURES)}.")
    page.screenshot(path=images_dir / "report_page.png", full_page=True)
    answer_ends_at = pictures.first.evaluate("element => element.getBoundingClientRect().top")
    page.set_viewport_size({"width": 1200, "height": int(answer_ends_at)})
    page.screenshot(path=images_dir / "report.png")
    for number, name in enumerate(_REPORT_PICTURES):
        pictures.nth(number).screenshot(path=images_dir / f"{name}.png")


def photograph_asset_graph(page: Page, address: str, image: Path) -> None:
    """Take the graph of all assets, from left to right; with more groups expanded, nobody could read the names."""
    page.add_init_script("localStorage.setItem('asset-graph-direction', JSON.stringify('horizontal'))")
    groups = ",".join(f"global@global:{group}" for group in _EXPANDED_GROUPS)
    page.goto(f"{address}/asset-groups?expanded={groups}")
    page.get_by_text("all_stars_report").first.wait_for()
    _settle(page)
    page.get_by_text("Hide navigation").click()
    page.locator("button").filter(has=page.get_by_label("panel_show_right")).click()
    _settle(page)
    # A double click outside the graph fits all of it into the view. The lower left corner is outside the graph.
    page.mouse.dblclick(_NAVIGATION_WIDTH, page.evaluate("innerHeight") - _NAVIGATION_WIDTH / 8)
    _settle(page)
    page.screenshot(path=image)


def photograph_checks(page: Page, address: str, image: Path) -> None:
    """Take the checks of fct_performances, one of which is a warning with failing rows."""
    page.goto(f"{address}/assets/star_schema/fct_performances?view=checks&checkDetail=performances_have_tickets")
    page.get_by_text("Latest execution").wait_for()
    _settle(page)
    page.screenshot(path=image)


if __name__ == "__main__":
    sys.exit(main())
