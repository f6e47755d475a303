"""Errors of the browser that looks at Superset do not show with which password it signs in."""

from __future__ import annotations

import traceback
from types import SimpleNamespace
from typing import Any, cast

import pytest

from acl_assets.superset.browsing import _sign_in
from acl_assets.superset.client import SupersetError

playwright = pytest.importorskip("playwright.sync_api")
PASSWORD = "geheim"  # noqa: S105 # nobody's


def fill(field: str, value: str) -> None:
    """Fail at the password as Playwright does: its error quotes what it was about to fill in."""
    if "password" in field:
        raise playwright.TimeoutError(f'Page.fill: Timeout 1500ms exceeded.\nCall log:\n    - fill("{value}")')


def test_a_form_that_takes_no_password_is_reported_without_the_password() -> None:
    page = cast("Any", SimpleNamespace(goto=lambda url: None, url="http://127.0.0.1:9/login/", fill=fill))
    with pytest.raises(SupersetError, match="has no field that takes a password") as raised:
        _sign_in(page, "http://127.0.0.1:9", "admin", PASSWORD)
    assert PASSWORD not in "".join(traceback.format_exception(raised.value))
