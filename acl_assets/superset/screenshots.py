"""Take the pictures of the dashboard for the documentation: every tab, in a wide and in a narrow window."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from acl_assets.settings import PROJECT_DIR
from acl_assets.superset.browsing import height_of, open_dashboard, open_tab, signed_in_page

if TYPE_CHECKING:
    from playwright.sync_api import Browser

IMAGES_DIR = PROJECT_DIR / "docs" / "images"
DASHBOARD = "acl-all-stars"
WIDTHS = {"wide": 1400, "narrow": 420}


def take_screenshots(url: str, user: str, password: str, images_dir: Path, browser: Browser) -> list[Path]:
    """Write a picture of every tab in each of WIDTHS as `superset_<tab>_<width>.png`, and return the files.

    Raises:
        SupersetError: the dashboard is not painted in time.
    """
    images_dir.mkdir(parents=True, exist_ok=True)
    pictures = []
    for name, width in WIDTHS.items():
        with signed_in_page(browser, url, user, password, width) as page:
            for tab in open_dashboard(page, url, DASHBOARD):
                open_tab(page, tab)
                picture = images_dir / f"superset_{tab.lower().replace(' ', '_')}_{name}.png"
                page.screenshot(path=picture, clip={"x": 0, "y": 0, "width": width, "height": height_of(page)})
                pictures.append(picture)
    return pictures
