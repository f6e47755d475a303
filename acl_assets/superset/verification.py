"""Do the charts show the truth? What Superset answers for each, held against the published file asked directly.

A chart is asked for its data the way a dashboard asks, and the same question is put to the published file in plain
SQL, without Superset (`question`). Rows and values must agree, and a chart may not be empty where its table is not;
but rows of festivals on sale do not count as long as none is completed. A question that cannot be put is a failure
too: nothing counts as verified that was not compared.

What belongs here: asking both sides, and comparing. What does not: HTTP (`client`), what charts there are (`bundle`).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from decimal import Decimal
from functools import cache
from typing import Any

import duckdb

from acl_assets.settings import Settings
from acl_assets.superset.bundle import Bundle, Document
from acl_assets.superset.client import SupersetClient, SupersetError
from acl_assets.superset.question import Question, QuestionError
from acl_assets.warehouse.build_file import file_identity

_ATTEMPTS = 5
Row = tuple[Any, ...]


@dataclass(frozen=True)
class VerifiedChart:
    """A chart of the bundle, as found in Superset.

    Attributes:
        name: what people call it.
        id: its number in Superset, None where it is missing.
        rows: rows it shows.
        problem: what is wrong with it, None when it shows the truth.
    """

    name: str
    id: int | None
    rows: int
    problem: str | None


def verify_charts(client: SupersetClient, settings: Settings, bundle: Bundle) -> list[VerifiedChart]:
    """Hold every chart of a bundle against the published file, in the order of the bundle.

    When the file is replaced meanwhile, both sides are asked again: they may have read different files.

    Raises:
        SupersetError: Superset does not answer at all, or the published file was replaced all the time.
    """
    for _ in range(_ATTEMPTS):
        identity = file_identity(settings.published_file)
        ids = {entry["uuid"]: int(entry["id"]) for entry in client.everything("/api/v1/chart/")}
        dataset = cache(lambda number: client.get(f"/api/v1/dataset/{number}")["result"])
        with duckdb.connect(str(settings.published_file), read_only=True) as connection:
            verified = [
                _verify(client, connection, chart, ids.get(chart.uuid), dataset) for chart in bundle.of_kind("charts")
            ]
        if file_identity(settings.published_file) == identity:
            return verified
    raise SupersetError(f"{settings.published_file} was replaced while the charts were verified, {_ATTEMPTS} times.")


def _verify(
    client: SupersetClient,
    connection: duckdb.DuckDBPyConnection,
    chart: Document,
    chart_id: int | None,
    dataset: Callable[[int], Mapping[str, Any]],
) -> VerifiedChart:
    if chart_id is None:
        return VerifiedChart(chart.name, None, 0, "is not in Superset")
    rows = 0
    problems: list[str] = []
    try:
        described = client.get(f"/api/v1/chart/{chart_id}")["result"]
        queries = json.loads(described["query_context"] or "{}").get("queries") or []
        if not queries:
            return VerifiedChart(chart.name, chart_id, 0, "says nowhere what it asks for: it has no query context")
        # Past every cache, and into it.
        answers = client.get(f"/api/v1/chart/{chart_id}/data/", force="true")["result"]
        for query, answer in zip(queries, answers, strict=True):
            rows += len(answer["data"])
            problem = answer.get("error") or _difference(
                connection, dataset(described["datasource_id"]), query, answer["data"]
            )
            problems += [problem] if problem else []
    except (SupersetError, QuestionError, duckdb.Error) as error:
        problems.append(str(error))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        problems.append(f"asks in a way that is not understood here: {type(error).__name__}: {error}")
    return VerifiedChart(chart.name, chart_id, rows, "; ".join(problems) or None)


def _difference(
    connection: duckdb.DuckDBPyConnection,
    dataset: Mapping[str, Any],
    query: Mapping[str, Any],
    shown: Sequence[Mapping[str, Any]],
) -> str | None:
    """What a chart shows differently from the published file, in words; None when both agree."""
    question = Question(dataset, query)
    if not shown and _has_history(connection, question.table):
        return f"is empty, and {question.table} is not"
    names = [*question.columns, *question.metrics]
    expected = connection.execute(question.sql, question.parameters).fetchall()
    in_file = Counter(_expected_rows([dict(zip(names, row, strict=True)) for row in expected], question))
    on_chart = Counter(_shown_rows(shown, question))
    if in_file == on_chart:
        return None
    missing, wrong = in_file - on_chart, on_chart - in_file
    return (
        f"differs from {question.table}: {missing.total()} rows of {in_file.total()} are not on it, such as "
        f"{next(iter(missing), None)}, and it shows {wrong.total()} others, such as {next(iter(wrong), None)}"
    )


def _has_history(connection: duckdb.DuckDBPyConnection, table: str) -> bool:
    """Whether a table has rows, of completed festivals where it tells them from those on sale."""
    columns = {name for name, *_ in connection.execute(f"describe {table}").fetchall()}
    completed = "where is_completed" if "is_completed" in columns else ""
    return connection.execute(f"select 1 from {table} {completed} limit 1").fetchone() is not None


def _comparable(values: Iterable[Any]) -> Row:
    return tuple(_value(value) for value in values)


def _value(value: Any) -> Any:
    """A value as both sides write it: JSON knows one kind of number, and times as milliseconds since 1970 (UTC)."""
    if isinstance(value, datetime):
        return value.replace(tzinfo=UTC).timestamp() * 1000
    if isinstance(value, date):
        return datetime.combine(value, time(), UTC).timestamp() * 1000
    if isinstance(value, int | float | Decimal) and not isinstance(value, bool):
        # Averages of the same rows differ in their last digits, as the rows were added in another order.
        return float(f"{float(value):.9g}")
    return value


def _expected_rows(rows: Iterable[Mapping[str, Any]], question: Question) -> Iterable[Row]:
    """Rows as the chart has them; after a pivot those are, per index, the values of all metrics and other columns."""
    if not question.index:
        return (_comparable(row.values()) for row in rows)
    cells: dict[Row, list[Any]] = {}
    for row in rows:
        key = _comparable(row[name] for name in question.index)
        cells.setdefault(key, []).extend(row[name] for name in question.metrics if row[name] is not None)
    return ((*key, *sorted(_comparable(values))) for key, values in cells.items())


def _shown_rows(rows: Iterable[Mapping[str, Any]], question: Question) -> Iterable[Row]:
    names = question.index or [*question.columns, *question.metrics]
    for row in rows:
        missing = [name for name in names if name not in row]
        if missing:
            raise QuestionError(f"it does not show {', '.join(missing)}")
        rest = [value for name, value in row.items() if name not in names and value is not None]
        yield (*_comparable(row[name] for name in names), *(sorted(_comparable(rest)) if question.index else ()))
