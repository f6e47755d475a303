"""Checks that every chart in Superset answers, shows rows, and reads the file that was published last.

Whether the answers are right is checked in CI, against a query of our own for each chart.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

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
    # Read before and after: a refresh may publish in between, and Superset then answers from either file.
    published = [_publication(settings)]
    question = {"database_id": database, "sql": _PUBLICATION, "schema": "publication"}
    answer = client.post("/api/v1/sqllab/execute/", json=question)["data"]
    published.append(_publication(settings))
    if [tuple(row.values()) for row in answer] not in published:
        raise SupersetError(
            f"The database {warehouse.name!r} in {client.url} does not read {settings.published_file}: it answers with "
            f"the publication {answer}, the file has {published[-1]}. Let both use the same file, and run again."
        )
    read_here = {entry["id"] for entry in client.everything("/api/v1/dataset/") if entry["database"]["id"] == database}
    entries = {entry["uuid"]: entry for entry in client.everything("/api/v1/chart/")}
    with open_published(settings) as file:
        may_be_empty = {dataset.uuid: not _has_history(file, dataset) for dataset in bundle.of_kind("datasets")}
    checked = []
    for chart in bundle.of_kind("charts"):
        entry = entries.get(chart.uuid)
        if entry is None:
            checked.append(CheckedChart(chart.name, None, 0, "is not in Superset"))
        elif entry["datasource_id"] not in read_here:
            checked.append(CheckedChart(chart.name, entry["id"], 0, f"does not read the database {warehouse.name!r}"))
        else:
            checked.append(_check(client, chart, entry, may_be_empty[chart.content["dataset_uuid"]]))
    return checked


def _check(client: SupersetClient, chart: Document, entry: Mapping[str, Any], may_be_empty: bool) -> CheckedChart:
    try:
        answers = client.get(f"/api/v1/chart/{entry['id']}/data/", force=True)["result"]
    except SupersetError as error:
        return CheckedChart(chart.name, entry["id"], 0, f"cannot be shown: {error}")
    rows = sum(len(answer["data"] or []) for answer in answers)
    errors = [str(answer["error"]) for answer in answers if answer.get("error")]
    problem = "; ".join(errors) or (None if rows or may_be_empty else "is empty")
    return CheckedChart(chart.name, entry["id"], rows, problem)


def _has_history(file: duckdb.DuckDBPyConnection, dataset: Document) -> bool:
    """Return whether a published table has rows, of completed festivals where it tells them from those on sale."""
    table = qualified_name(dataset.content["schema"], dataset.content["table_name"])
    completed = "where is_completed" if "is_completed" in file.sql(f"from {table}").columns else ""
    return file.execute(f"select 1 from {table} {completed} limit 1").fetchone() is not None


def _publication(settings: Settings) -> list[tuple[Any, ...]]:
    with open_published(settings) as file:
        return file.execute(_PUBLICATION).fetchall()
