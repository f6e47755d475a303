"""Do the charts show the truth? What Superset answers for each, held against the published file asked directly.

A chart is asked for its data the way a dashboard asks, and the same question is put to the published file in plain
SQL written here, without Superset. Rows and values must agree, and a chart may not be empty where its table is not.
A question this module cannot put is a failure too: nothing counts as verified that was not compared.

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
from acl_assets.transformation.build import file_identity
from acl_assets.visualization.superset.bundle import Bundle, Document
from acl_assets.visualization.superset.client import SupersetClient, SupersetError

_ATTEMPTS = 5
_TIME_GRAINS = {"P1D": "day", "P1W": "week", "P1M": "month", "P3M": "quarter", "P1Y": "year"}
_COMPARISONS = {"==": "=", "!=": "<>", "<": "<", "<=": "<=", ">": ">", ">=": ">="}
_TESTS = {"IS NULL": "is null", "IS NOT NULL": "is not null", "IS TRUE": "is true", "IS FALSE": "is false"}
_AGGREGATES = {"SUM", "MIN", "MAX", "AVG", "COUNT", "COUNT_DISTINCT"}
# They change the shape of the rows or add a column, and leave every value as it is.
_RESHAPING = {"pivot", "rename", "flatten", "sort", "rank"}

Row = tuple[Any, ...]


class _CannotBeAskedError(Exception):
    """A chart asks in a way that has no plain SQL here; the message says which."""


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
    except (SupersetError, _CannotBeAskedError, duckdb.Error) as error:
        problems.append(str(error))
    return VerifiedChart(chart.name, chart_id, rows, "; ".join(problems) or None)


def _difference(
    connection: duckdb.DuckDBPyConnection,
    dataset: Mapping[str, Any],
    query: Mapping[str, Any],
    shown: Sequence[Mapping[str, Any]],
) -> str | None:
    """What a chart shows differently from the published file, in words; None when both agree."""
    question = Question(dataset, query)
    if not shown and connection.execute(f"select 1 from {question.table} limit 1").fetchone():
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


# What is asked ----------------------------------------------------------------------------------------------------


class Question:
    """What a query of a chart asks of its table, in SQL of DuckDB.

    Attributes:
        table: schema and name of the table.
        sql: the statement; its `?` stand for `parameters`.
        columns: the columns it groups by or shows, by the names the chart gives them.
        metrics: the metrics after those, likewise.
        index: those of the columns that stay in their rows where the chart makes the others into columns; else nothing.

    Raises:
        _CannotBeAskedError: the query holds something this class does not know.
    """

    def __init__(self, dataset: Mapping[str, Any], query: Mapping[str, Any]) -> None:
        if dataset.get("sql"):
            raise _CannotBeAskedError(f"its dataset {dataset['table_name']} is a query, not a table")
        self.table = f"{_quoted(dataset['schema'])}.{_quoted(dataset['table_name'])}"
        self.parameters: list[Any] = []
        columns = {_label(column): _column(column) for column in query.get("columns") or []}
        saved = {metric["metric_name"]: metric["expression"] for metric in dataset["metrics"]}
        metrics = {_label(metric): _metric(metric, saved) for metric in query.get("metrics") or []}
        self.columns, self.metrics = list(columns), list(metrics)
        self.index = _index(query, self.columns)
        selected = ", ".join(f"{expression} as {_quoted(name)}" for name, expression in {**columns, **metrics}.items())
        # Without a list of metrics Superset shows the rows themselves.
        grouped = f" group by {', '.join(columns.values())}" if columns and query.get("metrics") is not None else ""
        where = self._where(query)
        self.sql = f"select {selected} from {self.table}{where}{grouped}{_order(query, saved)}{_limit(query)}"

    def _where(self, query: Mapping[str, Any]) -> str:
        extras = query.get("extras") or {}
        if extras.get("where") or extras.get("having"):
            raise _CannotBeAskedError("it filters by an SQL expression")
        conditions = [condition for entry in query.get("filters") or [] if (condition := self._condition(entry))]
        return f" where {' and '.join(conditions)}" if conditions else ""

    def _condition(self, entry: Mapping[str, Any]) -> str | None:
        column, operator = _quoted(_plain(entry["col"])), entry["op"]
        value: Any = entry.get("val")
        if operator == "TEMPORAL_RANGE" and value == "No filter":
            return None
        if operator in _TESTS:
            return f"{column} {_TESTS[operator]}"
        if operator in ("IN", "NOT IN"):
            self.parameters += value
            return f"{column} {operator} ({', '.join('?' for _ in value)})"
        if operator in _COMPARISONS:
            self.parameters.append(value)
            return f"{column} {_COMPARISONS[operator]} ?"
        raise _CannotBeAskedError(f"it filters by {operator}")


def _index(query: Mapping[str, Any], columns: list[str]) -> list[str]:
    """The columns that stay in their rows; nothing where all of them do."""
    steps = [step for step in query.get("post_processing") or [] if step]
    unknown = [step["operation"] for step in steps if step["operation"] not in _RESHAPING]
    if unknown:
        raise _CannotBeAskedError(f"it computes {', '.join(unknown)} after the query")
    pivots = [step["options"]["index"] for step in steps if step["operation"] == "pivot"]
    return [name for name in columns if name in pivots[0]] if pivots else []


def _order(query: Mapping[str, Any], saved: Mapping[str, str]) -> str:
    """Matters only where rows are left out."""
    entries = []
    for column, ascending in query.get("orderby") or []:
        is_metric = isinstance(column, Mapping) or column in saved
        expression = _metric(column, saved) if is_metric else _quoted(str(column))
        entries.append(f"{expression} {'asc' if ascending else 'desc'}")
    return f" order by {', '.join(entries)}" if entries else ""


def _limit(query: Mapping[str, Any]) -> str:
    if query.get("series_limit") or query.get("row_offset"):
        raise _CannotBeAskedError("it shows part of the series or rows")
    return f" limit {int(query['row_limit'])}" if query.get("row_limit") else ""


def _label(entry: Any) -> str:
    if isinstance(entry, str):
        return entry
    label = entry.get("label")
    if not label:
        raise _CannotBeAskedError(f"it has a column or metric without a label: {json.dumps(entry)}")
    return str(label)


def _plain(column: Any) -> str:
    """The name of a column that is nothing but a column."""
    if isinstance(column, str):
        return column
    if column.get("columnType") == "BASE_AXIS" and str(column.get("sqlExpression")).isidentifier():
        return str(column["sqlExpression"])
    raise _CannotBeAskedError(f"it shows an SQL expression: {column.get('sqlExpression')}")


def _column(column: Any) -> str:
    name = _quoted(_plain(column))
    grain = None if isinstance(column, str) else column.get("timeGrain")
    if not grain:
        return name
    if grain not in _TIME_GRAINS:
        raise _CannotBeAskedError(f"it shows times by {grain}")
    return f"date_trunc('{_TIME_GRAINS[grain]}', {name})"


def _metric(metric: Any, saved: Mapping[str, str]) -> str:
    if isinstance(metric, str):
        if metric not in saved:
            raise _CannotBeAskedError(f"its dataset has no metric {metric}")
        return saved[metric]
    if metric.get("expressionType") != "SIMPLE" or metric.get("aggregate") not in _AGGREGATES:
        raise _CannotBeAskedError(f"it computes an SQL expression: {metric.get('sqlExpression')}")
    column = _quoted(metric["column"]["column_name"])
    if metric["aggregate"] == "COUNT_DISTINCT":
        return f"count(distinct {column})"
    return f"{metric['aggregate'].lower()}({column})"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


# Comparing --------------------------------------------------------------------------------------------------------


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
            raise _CannotBeAskedError(f"it does not show {', '.join(missing)}")
        rest = [value for name, value in row.items() if name not in names and value is not None]
        yield (*_comparable(row[name] for name in names), *(sorted(_comparable(rest)) if question.index else ()))
