"""Do the charts show the truth? What Superset answers for each, held against the published file asked directly.

A chart is asked for its data the way a dashboard asks, and the same question is put to the published file in plain
SQL, without Superset (`question`). Rows and values must agree. Nor may an edit have emptied a chart: it shows something
where what the repository has it ask finds something. A question that cannot be put is a failure too: nothing counts as
verified that was not compared.

What belongs here: asking both sides, and comparing. What does not: HTTP (`client`), what charts there are (`bundle`).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from decimal import Decimal
from functools import cache, partial
from typing import Any

import duckdb

from acl_assets.settings import Settings
from acl_assets.transformation.build import file_identity
from acl_assets.visualization.superset.bundle import Bundle, Document
from acl_assets.visualization.superset.client import SupersetClient, SupersetError
from acl_assets.visualization.superset.question import Question, QuestionError

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
                VerifiedChart(
                    chart.name,
                    ids.get(chart.uuid),
                    *_verify(client, connection, dataset, ids.get(chart.uuid), partial(_kept_questions, bundle, chart)),
                )
                for chart in bundle.of_kind("charts")
            ]
        if file_identity(settings.published_file) == identity:
            return verified
    raise SupersetError(f"{settings.published_file} was replaced while the charts were verified, {_ATTEMPTS} times.")


def _verify(
    client: SupersetClient,
    connection: duckdb.DuckDBPyConnection,
    dataset: Callable[[int], Mapping[str, Any]],
    chart_id: int | None,
    kept_questions: Callable[[], list[Question]],
) -> tuple[int, str | None]:
    """How many rows a chart shows, and what is wrong with it."""
    if chart_id is None:
        return 0, "is not in Superset"
    rows = 0
    problems: list[str] = []
    try:
        described = client.get(f"/api/v1/chart/{chart_id}")["result"]
        queries = _queries(described["query_context"])
        if not queries:
            return 0, "says nowhere what it asks for: it has no query context"
        # Past every cache, and into it.
        answers = client.get(f"/api/v1/chart/{chart_id}/data/", force="true")["result"]
        for query, answer in zip(queries, answers, strict=True):
            rows += len(answer["data"])
            problem = answer.get("error") or _difference(
                connection, dataset(described["datasource_id"]), query, answer["data"]
            )
            problems += [problem] if problem else []
        if not rows and not problems and any(_in_file(connection, question) for question in kept_questions()):
            problems.append("is empty; with the query that the repository keeps it would not be")
    except (SupersetError, QuestionError, duckdb.Error) as error:
        problems.append(str(error))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        problems.append(f"asks in a way that is not understood here: {type(error).__name__}: {error}")
    return rows, "; ".join(problems) or None


def _queries(query_context: str | None) -> list[dict[str, Any]]:
    return json.loads(query_context or "{}").get("queries") or []


def _kept_questions(bundle: Bundle, chart: Document) -> list[Question]:
    """What the repository has a chart ask, whatever it was made to ask in Superset."""
    datasets = {dataset.uuid: dataset.content for dataset in bundle.of_kind("datasets")}
    dataset = datasets[chart.content["dataset_uuid"]]
    return [Question(dataset, query) for query in _queries(chart.content["query_context"])]


def _in_file(connection: duckdb.DuckDBPyConnection, question: Question) -> Counter[Row]:
    """The rows with which the published file answers a question, and how often each comes."""
    names = [*question.columns, *question.metrics]
    rows = connection.execute(question.sql, question.parameters).fetchall()
    return Counter(_expected_rows([dict(zip(names, row, strict=True)) for row in rows], question))


def _difference(
    connection: duckdb.DuckDBPyConnection,
    dataset: Mapping[str, Any],
    query: Mapping[str, Any],
    shown: Sequence[Mapping[str, Any]],
) -> str | None:
    """What a chart shows differently from the published file, in words; None when both agree."""
    question = Question(dataset, query)
    in_file = _in_file(connection, question)
    on_chart = Counter(_shown_rows(shown, question))
    if in_file == on_chart:
        return None
    if not shown:
        return f"is empty, and {question.table} has {in_file.total()} rows for it"
    missing, wrong = in_file - on_chart, on_chart - in_file
    return (
        f"differs from {question.table}: {missing.total()} rows of {in_file.total()} are not on it, such as "
        f"{next(iter(missing), None)}, and it shows {wrong.total()} others, such as {next(iter(wrong), None)}"
    )


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
