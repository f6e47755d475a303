"""Checks that every chart in Superset answers, shows rows, and reads the file that was published last.

The tests compare the answers with a query of our own for each chart.
"""

from typing import NamedTuple

import duckdb

from acl_assets.settings import Settings
from acl_assets.superset.bundle import Bundle, Document
from acl_assets.superset.client import SupersetClient, SupersetError
from acl_assets.util.sql import qualified_name
from acl_assets.warehouse.published_file import open_published

_PUBLICATION = "select run_id from publication.publications"


class CheckedChart(NamedTuple):
    """A chart of the bundle as Superset answers for it; `id` is None if Superset lacks it, `problem` if it is right."""

    name: str
    id: int | None
    rows: int
    problem: str | None


def check_charts(client: SupersetClient, settings: Settings, bundle: Bundle) -> list[CheckedChart]:
    """Ask Superset for the data of every chart of the bundle, past all caches.

    Raises:
        SupersetError: Superset does not answer at all, or reads another file than the published one.
        PublishedFileError: the published file is missing or damaged.
    """
    [warehouse] = bundle.of_kind("databases")
    database = client.numbers("/api/v1/database/")[warehouse.uuid]
    question = {"database_id": database, "sql": _PUBLICATION, "schema": "publication"}
    answer = client.post("/api/v1/sqllab/execute/", json=question)["data"]
    with open_published(settings) as file:
        published = file.execute(_PUBLICATION).fetchall()
        datasets = {dataset.uuid: dataset for dataset in bundle.of_kind("datasets")}
        charts = [
            (chart, not _has_rows(file, datasets[chart.content["dataset_uuid"]], chart))
            for chart in bundle.of_kind("charts")
        ]
    if [tuple(row.values()) for row in answer] != published:
        raise SupersetError(
            f"The database {warehouse.name!r} in {client.url} does not read {settings.published_file}: it answers with "
            f"the publication {answer}, the file has {published}. Let both use the same file, and run again."
        )
    numbers = client.numbers("/api/v1/chart/")
    return [_check(client, chart, numbers.get(chart.uuid), may_be_empty) for chart, may_be_empty in charts]


def _check(client: SupersetClient, chart: Document, number: int | None, may_be_empty: bool) -> CheckedChart:
    if number is None:
        return CheckedChart(chart.name, None, 0, "is not in Superset")
    try:
        answers = client.get(f"/api/v1/chart/{number}/data/", force=True)["result"]
    except SupersetError as error:
        return CheckedChart(chart.name, number, 0, f"cannot be shown: {error}")
    rows = sum(len(answer["data"] or []) for answer in answers)
    errors = [str(answer["error"]) for answer in answers if answer.get("error")]
    return CheckedChart(chart.name, number, rows, "; ".join(errors) or (None if rows or may_be_empty else "is empty"))


def _has_rows(file: duckdb.DuckDBPyConnection, dataset: Document, chart: Document) -> bool:
    """Return whether a published table has rows for a chart, of completed festivals where it has others too.

    A chart of the venue of a rank has none where fewer venues were played at.
    """
    table = qualified_name(dataset.content["schema"], dataset.content["table_name"])
    filters = chart.content["params"].get("adhoc_filters", [])
    conditions = [f"venue_rank >= {int(each['comparator'])}" for each in filters if each.get("subject") == "venue_rank"]
    conditions += ["is_completed"] if "is_completed" in file.sql(f"from {table}").columns else []
    where = f"where {' and '.join(conditions)}" if conditions else ""
    return file.execute(f"select 1 from {table} {where} limit 1").fetchone() is not None
