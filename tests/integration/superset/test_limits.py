"""Limits of Superset: viewers send no SQL, and no query takes the memory or the time of other users."""

import copy
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import closing
from http.client import HTTPConnection
from itertools import islice
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest
import requests
from superset.conftest import SupersetUnderTest, new_chart, sql_lab

from acl_assets.superset.client import SupersetClient, SupersetError

pytestmark = pytest.mark.server


@pytest.fixture(scope="module")
def analyst(superset: SupersetUnderTest) -> Iterator[SupersetClient]:
    with superset.add_user("analyst", "Alpha", "sql_lab") as client:
        yield client


@pytest.fixture(scope="module")
def chart_request(superset: SupersetUnderTest) -> dict[str, Any]:
    """The request that the dashboard sends for a chart."""
    with superset.client() as client:
        charts = client.everything("/api/v1/chart/")
        [chart] = [entry for entry in charts if entry["slice_name"] == "Tickets by venue and festival"]
        saved = json.loads(client.get(f"/api/v1/chart/{chart['id']}")["result"]["query_context"])
    saved["form_data"] = {"slice_id": chart["id"]}
    return saved


def changed(request: dict[str, Any], **parts: Any) -> dict[str, Any]:
    """Return the request with other parts; columns are added to those of the chart."""
    found = copy.deepcopy(request)
    parts["columns"] = [*found["queries"][0]["columns"], *parts.get("columns", [])]
    found["queries"][0] |= parts
    return found


def sql(expression: str) -> dict[str, str]:
    return {"expressionType": "SQL", "sqlExpression": expression, "label": "mine"}


def test_viewer_sees_saved_chart_filtered_by_values(viewer: SupersetClient, chart_request: dict[str, Any]) -> None:
    [every] = viewer.post("/api/v1/chart/data", json=chart_request)["result"]
    filters = [*chart_request["queries"][0]["filters"], {"col": "festival_year", "op": "IN", "val": [2019]}]
    [one] = viewer.post("/api/v1/chart/data", json=changed(chart_request, filters=filters))["result"]
    assert 0 < one["rowcount"] < every["rowcount"]


@pytest.mark.parametrize(
    "parts",
    [
        {"metrics": [sql("max(length(repeat('x', 1000)))")]},
        {"columns": [sql("repeat('x', 1000)")]},
        {"extras": {"where": "1 = 1"}},
        {"filters": [{"col": sql("repeat('x', 1000)"), "op": "IN", "val": ["x"]}]},
        {"columns": ["capacity"]},
        {"post_processing": [{"operation": "resample", "options": {"rule": "1s", "method": "ffill"}}]},
        {"result_type": "samples"},
    ],
    ids=lambda parts: next(iter(parts)),
)
def test_viewer_cannot_change_saved_chart(
    viewer: SupersetClient, chart_request: dict[str, Any], parts: dict[str, Any]
) -> None:
    with pytest.raises(SupersetError, match=r"status 403: Viewers can ask for the data of saved charts only"):
        viewer.post("/api/v1/chart/data", json=changed(chart_request, **parts))


def test_viewer_cannot_ask_without_a_chart(viewer: SupersetClient, chart_request: dict[str, Any]) -> None:
    for form_data in (None, {}, {"slice_id": 0}, {"native_filter_id": "NATIVE_FILTER-festival", "dashboardId": 0}):
        with pytest.raises(SupersetError, match="status 403"):
            viewer.post("/api/v1/chart/data", json=chart_request | {"form_data": form_data})


def test_a_viewer_changes_nothing(superset: SupersetUnderTest, viewer: SupersetClient) -> None:
    with superset.client() as client:
        dashboard = client.get("/api/v1/dashboard/acl-all-stars")["result"]["id"]
        chart = client.everything("/api/v1/chart/")[0]
        database = client.everything("/api/v1/database/")[0]["id"]
    tries: list[Callable[[], object]] = [
        lambda: viewer.put(f"/api/v1/dashboard/{dashboard}", json={"dashboard_title": "Mine now"}),
        lambda: viewer.delete(f"/api/v1/chart/{chart['id']}"),
        lambda: viewer.post("/api/v1/chart/", json=new_chart("Mine", chart["datasource_id"])),
        lambda: viewer.post("/api/v1/sqllab/execute/", json={"database_id": database, "sql": "select 1"}),
        lambda: viewer.post("/api/v1/assets/import/", files={"bundle": ("bundle.zip", b"", "application/zip")}),
        lambda: viewer.get("/api/v1/security/users/"),
    ]
    for attempt in tries:
        with pytest.raises(SupersetError, match=r"status 40[34]"):
            attempt()


def test_a_viewer_sees_charts_of_the_data_products_only(
    edited_superset: SupersetUnderTest, viewer: SupersetClient
) -> None:
    with edited_superset.client() as client:
        database = client.everything("/api/v1/database/")[0]["id"]
        shown = client.everything("/api/v1/dataset/")[0]["id"]
        table = {"database": database, "schema": "star_schema", "table_name": "dim_people"}
        hidden = client.post("/api/v1/dataset/", json=table)["id"]
        count = {"expressionType": "SQL", "sqlExpression": "count(*)", "label": "rows"}
        requests_of_charts = []
        for dataset in (shown, hidden):
            request: dict[str, Any] = {"datasource": {"id": dataset, "type": "table"}}
            request |= {"queries": [{"columns": [], "metrics": [count]}]}
            chart = new_chart(f"Rows of {dataset}", dataset, query_context=json.dumps(request))
            number = client.post("/api/v1/chart/", json=chart)["id"]
            requests_of_charts.append(request | {"form_data": {"slice_id": number}})
    assert viewer.post("/api/v1/chart/data", json=requests_of_charts[0])["result"][0]["data"]
    with pytest.raises(SupersetError, match="status 403"):
        viewer.post("/api/v1/chart/data", json=requests_of_charts[1])


def test_analyst_may_send_sql(analyst: SupersetClient, chart_request: dict[str, Any]) -> None:
    request = changed(chart_request, metrics=[sql("sum(tickets_sold)")], orderby=[], post_processing=[])
    [answer] = analyst.post("/api/v1/chart/data", json=request)["result"]
    assert answer["rowcount"]


def test_query_that_needs_too_much_memory_fails_alone(superset: SupersetUnderTest, analyst: SupersetClient) -> None:
    """DuckDB's memory limit does not cover `repeat()`."""
    ask = sql_lab(analyst)
    workers = [child for child in psutil.Process().children(recursive=True) if "gunicorn" in " ".join(child.cmdline())]
    assert {worker.rlimit(psutil.RLIMIT_AS)[0] for worker in workers if worker.parent() in workers} == {4 * 1024**3}
    for size in (3_000_000_000, 18_000_000_000):
        with pytest.raises(SupersetError):
            ask(f"select length(repeat('x', {size})), length(repeat('y', {size}))")
    assert ask("select 1 as one")["data"] == [{"one": 1}]


def test_spilled_queries_have_their_own_limited_folder(superset: SupersetUnderTest, analyst: SupersetClient) -> None:
    ask = sql_lab(analyst)
    [settings] = ask(
        "select current_setting('temp_directory') as folder, current_setting('max_temp_directory_size') as most"
    )["data"]
    assert settings["folder"].startswith(str(superset.settings.data_dir / "superset" / "spilled_queries"))
    assert settings["most"] == "3.7 GiB"
    assert ask("select count(*) as rows from (select * from range(40000000) t(i) order by hash(i))")["data"]
    published = superset.settings.published_file
    assert not published.with_name(f"{published.name}.tmp").exists()


@pytest.mark.exhaustive
def test_slow_queries_of_one_user_leave_room_for_others(
    superset: SupersetUnderTest, analyst: SupersetClient, chart_request: dict[str, Any]
) -> None:
    """Each of the two processes runs four queries of a user and lets eight wait. Sleeping takes no processor time."""
    ask, taken = sql_lab(analyst), 24
    with superset.client() as other, ThreadPoolExecutor(taken + 2) as pool:
        asked = [pool.submit(ask, "select sleep_ms(600000)") for _ in range(taken + 2)]
        early = [*islice(as_completed(asked), 2)]
        health = requests.get(f"{superset.url}/health", timeout=60)
        [answer] = other.post("/api/v1/chart/data", json=chart_request)["result"]
        early += [future for future in asked if future.done()]
        refused = [str(future.exception()) for future in early]
    assert [reason for reason in refused if "of your queries are running" not in reason] == []
    assert health.status_code == 200
    assert answer["status"] == "success"
    assert {type(future.exception()) for future in asked} == {SupersetError}


def test_refused_sign_ins_through_the_api_are_limited(superset: SupersetUnderTest) -> None:
    guess = json.dumps({"username": "analyst", "password": "wrong", "provider": "db"})
    address = urlsplit(superset.url)
    answers = []
    for _ in range(60):
        # The limit is one of an address, and the other tests sign in from 127.0.0.1.
        connection = HTTPConnection(str(address.hostname), address.port, source_address=("127.0.0.2", 0), timeout=30)
        with closing(connection):
            connection.request("POST", "/api/v1/security/login", guess, {"Content-Type": "application/json"})
            answers.append(connection.getresponse().status)
    # Each of the two processes accepts 20 tries.
    assert set(answers) == {401, 429}
    assert answers.count(401) <= 40
