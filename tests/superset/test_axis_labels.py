"""X axes of festivals and months are labelled at whole festivals and months, each once, however few there are."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime

import pytest
from playwright.sync_api import Browser
from superset.axis_charts import (
    CHART_OF_MONTHS,
    CHARTS_OF_FESTIVALS,
    FESTIVALS,
    FEW,
    MANY,
    MONTHS,
    SLUG,
    chart_name,
)
from superset.conftest import SupersetUnderTest
from superset.invented_charts import record_texts, texts

from acl_assets.superset.browsing import open_dashboard, open_tab, painted_charts, signed_in_page
from acl_assets.superset.screenshots import WIDTHS

pytestmark = pytest.mark.server

# Labels by the name of their chart: what they read, and the middle of each in pixels, from left to right.
Labels = list[tuple[str, float]]


@pytest.mark.parametrize("window", WIDTHS)
def test_axes_label_whole_festivals_and_months_once(superset: SupersetUnderTest, browser: Browser, window: str) -> None:
    labels = labels_of_axes(superset, browser, WIDTHS[window])
    assert_festivals_are_labelled_once(labels)
    assert_months_are_labelled_once(labels)
    assert_labels_of_months_stand_at_first_days(labels)


def labels_of_axes(superset: SupersetUnderTest, browser: Browser, width: int) -> dict[str, Labels]:
    """Return the labels of the x axes of all charts, by the name of their chart."""
    found: dict[str, Labels] = {}
    with signed_in_page(browser, superset.url, superset.user, superset.password, width) as page:
        record_texts(page)
        for tab in open_dashboard(page, superset.url, SLUG):
            open_tab(page, tab)
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
            assert years == [festival for festival in festivals if festival in years], name
            if data in FEW:
                assert years == list(festivals), name


def assert_months_are_labelled_once(labels: dict[str, Labels]) -> None:
    """Assert that no month is labelled twice, and that all with data are labelled when they are few."""
    for data, months in MONTHS.items():
        name = chart_name(CHART_OF_MONTHS, data)
        labelled = [month_of(text) for text, _ in labels[name]]
        assert labelled, name
        assert labelled == sorted(set(labelled)), name
        if data in FEW:
            assert set(months) <= set(labelled), name


def assert_labels_of_months_stand_at_first_days(labels: dict[str, Labels]) -> None:
    """Assert that no tick is in the middle of a month, where its label reads like one at the start."""
    for data in MONTHS.keys() - {MANY}:
        name = chart_name(CHART_OF_MONTHS, data)
        places = {month_of(text): x for text, x in labels[name]}
        first, last = min(places), max(places)
        for month, x in places.items():
            share = (month - first) / (last - first) if month > first else 0
            assert x == pytest.approx(places[first] + share * (places[last] - places[first]), abs=3), (name, month)


def month_of(text: str) -> date:
    """Return the first day of a month that is written like "May 2021"."""
    return datetime.strptime(text, "%b %Y").replace(tzinfo=UTC).date()
