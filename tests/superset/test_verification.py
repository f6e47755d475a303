"""Every chart is held against the published file; what differs, is empty or cannot be compared is found and named."""

from __future__ import annotations

import json
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import pytest
from refreshes import festival_settings
from superset.conftest import SupersetUnderTest

from acl_assets.settings import Settings
from acl_assets.superset.bundle import import_bundle, read_bundle
from acl_assets.superset.client import SupersetClient
from acl_assets.superset.verification import verify_charts

BUNDLE = read_bundle()
SOUND = dict.fromkeys(chart.name for chart in BUNDLE.of_kind("charts"))


def charts_of(table: str) -> set[str]:
    uuids = {dataset.uuid for dataset in BUNDLE.of_kind("datasets") if dataset.content["table_name"] == table}
    return {chart.name for chart in BUNDLE.of_kind("charts") if chart.content["dataset_uuid"] in uuids}


def replace_published(settings: Settings, *statements: str) -> None:
    """Put a copy of the published file that differs by some statements in its place, at once."""
    new = settings.published_file.with_suffix(".new")
    shutil.copy(settings.published_file, new)
    with duckdb.connect(str(new)) as connection:
        for statement in statements:
            connection.execute(statement)
    os.replace(new, settings.published_file)


def problems(client: SupersetClient, settings: Settings) -> dict[str, str | None]:
    return {chart.name: chart.problem for chart in verify_charts(client, settings, BUNDLE)}


@pytest.mark.server
def test_every_chart_of_the_bundle_shows_the_truth(superset: SupersetUnderTest) -> None:
    with superset.client() as client:
        verified = verify_charts(client, superset.settings, BUNDLE)
    assert {chart.name: chart.problem for chart in verified} == SOUND
    assert all(chart.rows > 0 for chart in verified)


@pytest.mark.server
def test_a_difference_between_superset_and_the_published_file_is_found(
    superset: SupersetUnderTest, tmp_path: Path
) -> None:
    """Superset reads its file, and the charts are held against one with another number, another word, a row less."""
    other = festival_settings(tmp_path / "other")
    other.published_file.parent.mkdir(parents=True)
    shutil.copy(superset.settings.published_file, other.published_file)
    replace_published(
        other,
        "update data_products.ticket_sales_over_time set tickets_sold = tickets_sold + 1",
        "update data_products.all_star_candidates set verdict = 'reserve' where rank_in_venue = 1",
        "delete from data_products.performance_attendance where is_completed and performance_id = ("
        "select min(performance_id) from data_products.performance_attendance where is_completed)",
    )
    with superset.client() as client:
        found = {name: problem for name, problem in problems(client, other).items() if problem}
    tables = {name: problem.split('"')[3] for name, problem in found.items() if "differs from" in problem}
    assert tables.keys() == found.keys()
    assert {"Tickets sold", "Tickets by month of sale", "Tickets by festival"} <= found.keys()
    assert {"All-star candidates", "Performances"} <= found.keys()
    assert set(tables.values()) == {"ticket_sales_over_time", "all_star_candidates", "performance_attendance"}
    assert all(name in charts_of(table) for name, table in tables.items())


def edit_query(client: SupersetClient, chart: str, change: Callable[[dict[str, Any]], object]) -> None:
    """Change what a chart asks, as somebody does who edits it in Superset."""
    [number] = [entry["id"] for entry in client.everything("/api/v1/chart/") if entry["slice_name"] == chart]
    context = json.loads(client.get(f"/api/v1/chart/{number}")["result"]["query_context"])
    change(context["queries"][0])
    client.put(f"/api/v1/chart/{number}", json={"query_context": json.dumps(context)})


def ask_for_no_venue(query: dict[str, Any]) -> None:
    query["filters"] = [{"col": "venue_rank", "op": "==", "val": 99}]


@contextmanager
def restored(file: Path) -> Iterator[None]:
    """The file is afterwards what it was before."""
    kept = shutil.copy(file, file.with_suffix(".kept"))
    yield
    os.replace(kept, file)


@pytest.mark.server
@pytest.mark.slow
def test_charts_that_are_empty_broken_or_gone_are_named(own_superset: SupersetUnderTest) -> None:
    settings = own_superset.settings
    with own_superset.client() as client:
        import_bundle(client, settings)

        # The venue of rank 3 is lost on the way.
        with restored(settings.published_file):
            replace_published(
                settings,
                "delete from data_products.ticket_sales_by_venue where venue_rank = 3",
                "delete from data_products.all_star_candidates where venue_rank = 3",
            )
            found = {name: problem for name, problem in problems(client, settings).items() if problem}
        assert found == {
            "Top venue 3": 'is empty, and "data_products"."ticket_sales_by_venue" is not',
            "Bands at top venue 3": 'is empty, and "data_products"."all_star_candidates" is not',
        }

        # A first season: no festival is completed yet, so nothing is ranked, and charts are rightly empty.
        with restored(settings.published_file):
            replace_published(
                settings,
                "delete from data_products.performance_attendance where is_completed",
                "delete from data_products.ticket_sales_over_time where is_completed",
                "delete from data_products.ticket_sales_by_venue where is_completed",
                "delete from data_products.band_sales_by_venue",
                "delete from data_products.all_star_candidates",
            )
            assert problems(client, settings) == SOUND

        # A column is called something else.
        with restored(settings.published_file):
            replace_published(settings, "alter table data_products.all_star_candidates rename verdict to advice")
            found = {name: problem for name, problem in problems(client, settings).items() if problem}
        assert "All-star candidates" in found
        assert found.keys() <= charts_of("all_star_candidates")
        assert "verdict" in str(found["All-star candidates"])

        # The file is replaced while it is looked at: both sides are asked again.
        with restored(settings.published_file):
            change = "update data_products.ticket_sales_over_time set tickets_sold = tickets_sold + 1"
            timer = threading.Timer(0.3, replace_published, [settings, change])
            timer.start()
            assert problems(client, settings) == SOUND
            timer.join()

        # Somebody changed one chart so that it says nothing of what it asks, one so that nobody can read it, one to an
        # expression, one so that it finds nothing, and deleted another.
        numbers = {chart["slice_name"]: chart["id"] for chart in client.everything("/api/v1/chart/")}
        client.put(f"/api/v1/chart/{numbers['Revenue']}", json={"query_context": "{}"})
        client.put(f"/api/v1/chart/{numbers['On sale now']}", json={"query_context": "[]"})
        expression = {"expressionType": "SQL", "sqlExpression": "sum(1)", "label": "Tickets"}
        edit_query(client, "Tickets sold", lambda query: query.update(metrics=[expression]))
        edit_query(client, "Top venue 3", ask_for_no_venue)
        client.delete(f"/api/v1/chart/{numbers['Average fill']}")
        found = {name: problem for name, problem in problems(client, settings).items() if problem}
    assert found.keys() == {"Revenue", "On sale now", "Tickets sold", "Top venue 3", "Average fill"}
    assert "no query context" in str(found["Revenue"])
    assert "asks in a way that is not understood here: AttributeError" in str(found["On sale now"])
    assert found["Top venue 3"] == 'is empty, and "data_products"."ticket_sales_by_venue" is not'
    assert "it computes an SQL expression: sum(1)" in str(found["Tickets sold"])
    assert found["Average fill"] == "is not in Superset"
