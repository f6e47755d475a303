"""A headless Chromium for tests that look at a page the way a reader does.

Only `tests/conftest.py` loads the fixtures: a process can have one Playwright browser open at a time.
"""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest
from playwright.sync_api import Browser, Page
from processes import kill

from acl_assets.superset.client import SupersetError
from docs.generate.superset_screenshots import chromium

_CLOSE_SECONDS = 30.0


@dataclass
class OpenedPage:
    """A page as opened, with the addresses it requested, its errors and warnings, and the dialogs it raised."""

    page: Page
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    dialogs: list[str] = field(default_factory=list)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """One headless Chromium for the whole test session; without one, tests are skipped, or fail in CI."""
    before = psutil.Process().children(recursive=True)
    opening = chromium()
    try:
        opened = opening.__enter__()
    except SupersetError as error:
        is_required = (
            os.environ.get("CI", "").lower() in {"true", "1"} or os.environ.get("FESTIVAL_REQUIRE_BROWSER") == "1"
        )
        (pytest.fail if is_required else pytest.skip)(str(error))
    started = [process for process in psutil.Process().children(recursive=True) if process not in before]
    yield opened
    # Closing waits for the browser without a limit.
    ending = threading.Timer(_CLOSE_SECONDS, kill, [started])
    ending.start()
    with suppress(SupersetError):
        opening.__exit__(None, None, None)
    ending.cancel()


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Callable[..., OpenedPage]]:
    """Open a local file: `open_page(path, width=1280, color_scheme="light", media="screen")`."""
    contexts = []

    def open_file(
        path: Path, *, width: int = 1280, height: int = 900, media: str = "screen", **context_options: Any
    ) -> OpenedPage:
        context = browser.new_context(viewport={"width": width, "height": height}, **context_options)
        contexts.append(context)
        page = context.new_page()
        opened = OpenedPage(page)
        page.on("request", lambda request: opened.requests.append(request.url))
        page.on("pageerror", lambda error: opened.complaints.append(str(error)))

        def note_console(message: Any) -> None:
            if message.type in {"error", "warning"}:
                opened.complaints.append(message.text)

        def note_dialog(dialog: Any) -> None:
            opened.dialogs.append(dialog.message)
            dialog.dismiss()

        page.on("console", note_console)
        page.on("dialog", note_dialog)
        page.emulate_media(media=media)
        page.goto(path.as_uri())
        return opened

    yield open_file
    for context in contexts:
        context.close()
