"""What a chart asks, as plain SQL: its query as Superset keeps it, written for DuckDB without Superset.

What belongs here: the parts of a query that the charts use. What does not: asking, and comparing the answers
(`verification`). A part that is not known here is refused: without it the question would be another one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

_TIME_GRAINS = {"P1D": "day", "P1W": "week", "P1M": "month", "P3M": "quarter", "P1Y": "year"}
_COMPARISONS = {"==": "=", "!=": "<>", "<": "<", "<=": "<=", ">": ">", ">=": ">="}
_TESTS = {"IS NULL": "is null", "IS NOT NULL": "is not null", "IS TRUE": "is true", "IS FALSE": "is false"}
_AGGREGATES = {"SUM", "MIN", "MAX", "AVG", "COUNT", "COUNT_DISTINCT"}
# They change the shape of the rows or add a column, and leave every value as it is.
_RESHAPING = {"pivot", "rename", "flatten", "sort", "rank"}
_PARTS = {"columns", "extras", "filters", "metrics", "orderby", "post_processing", "row_limit"}
# They matter where series are limited or SQL is a template, and both are refused.
_PARTS_WITHOUT_EFFECT = {"order_desc", "series_columns", "series_limit_metric", "url_params"}
_EVERYTHING = "No filter"


class QuestionError(Exception):
    """A chart asks for something that has no plain SQL here; the message says what."""


class Question:
    """What a query of a chart asks of its table, in SQL of DuckDB.

    Attributes:
        table: schema and name of the table.
        sql: the statement; its `?` stand for `parameters`.
        columns: the columns it groups by or shows, by the names the chart gives them.
        metrics: the metrics after those, likewise.
        index: those of the columns that stay in their rows where the chart makes the others into columns; else nothing.

    Raises:
        QuestionError: the query holds something this class does not know.
    """

    def __init__(self, dataset: Mapping[str, Any], query: Mapping[str, Any]) -> None:
        if dataset.get("sql"):
            raise QuestionError(f"its dataset {dataset['table_name']} is a query, not a table")
        _require_known(query)
        self.table = f"{_quoted(dataset['schema'])}.{_quoted(dataset['table_name'])}"
        self.parameters: list[Any] = []
        columns = {_label(column): _column(column) for column in query.get("columns") or []}
        saved = {metric["metric_name"]: metric["expression"] for metric in dataset.get("metrics") or []}
        metrics = {_label(metric): _metric(metric, saved) for metric in query.get("metrics") or []}
        self.columns, self.metrics = list(columns), list(metrics)
        self.index = _index(query, self.columns)
        selected = ", ".join(f"{expression} as {_quoted(name)}" for name, expression in {**columns, **metrics}.items())
        # Without a list of metrics Superset shows the rows themselves.
        grouped = f" group by {', '.join(columns.values())}" if columns and query.get("metrics") is not None else ""
        where = self._where(query)
        self.sql = f"select {selected} from {self.table}{where}{grouped}{_order(query, saved)}{_limit(query)}"

    def _where(self, query: Mapping[str, Any]) -> str:
        conditions = [condition for entry in query.get("filters") or [] if (condition := self._condition(entry))]
        return f" where {' and '.join(conditions)}" if conditions else ""

    def _condition(self, entry: Mapping[str, Any]) -> str | None:
        column, operator = _quoted(_plain(entry["col"])), entry["op"]
        value: Any = entry.get("val")
        if operator == "TEMPORAL_RANGE" and value == _EVERYTHING:
            return None
        if operator in _TESTS:
            return f"{column} {_TESTS[operator]}"
        if operator in ("IN", "NOT IN"):
            self.parameters += value
            return f"{column} {operator} ({', '.join('?' for _ in value)})"
        if operator in _COMPARISONS:
            self.parameters.append(value)
            return f"{column} {_COMPARISONS[operator]} ?"
        raise QuestionError(f"it filters by {operator}")


def _require_known(query: Mapping[str, Any]) -> None:
    """Refuse what would change the answer, and is not in the SQL."""
    extras = query.get("extras") or {}
    if extras.get("where") or extras.get("having"):
        raise QuestionError("it filters by an SQL expression")
    if query.get("series_limit") or query.get("row_offset"):
        raise QuestionError("it shows part of the series or rows")
    grains = {column.get("timeGrain") for column in query.get("columns") or [] if isinstance(column, Mapping)}
    said = {name for name, value in query.items() if value and value != _EVERYTHING}
    unknown = sorted(said - _PARTS - _PARTS_WITHOUT_EFFECT)
    # Superset keeps the grain of the axis here too.
    unknown += [name for name, value in extras.items() if value and (name != "time_grain_sqla" or value not in grains)]
    if unknown:
        raise QuestionError(f"it asks with {', '.join(unknown)}, which is not known here")


def _index(query: Mapping[str, Any], columns: list[str]) -> list[str]:
    """The columns that stay in their rows; nothing where all of them do."""
    steps = [step for step in query.get("post_processing") or [] if step]
    unknown = [step["operation"] for step in steps if step["operation"] not in _RESHAPING]
    if unknown:
        raise QuestionError(f"it computes {', '.join(unknown)} after the query")
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
    return f" limit {int(query['row_limit'])}" if query.get("row_limit") else ""


def _label(entry: Any) -> str:
    if isinstance(entry, str):
        return entry
    label = entry.get("label")
    if not label:
        raise QuestionError(f"it has a column or metric without a label: {json.dumps(entry)}")
    return str(label)


def _plain(column: Any) -> str:
    """The name of a column that is nothing but a column."""
    if isinstance(column, str):
        return column
    if column.get("columnType") == "BASE_AXIS" and str(column.get("sqlExpression")).isidentifier():
        return str(column["sqlExpression"])
    raise QuestionError(f"it shows an SQL expression: {column.get('sqlExpression')}")


def _column(column: Any) -> str:
    name = _quoted(_plain(column))
    grain = None if isinstance(column, str) else column.get("timeGrain")
    if not grain:
        return name
    if grain not in _TIME_GRAINS:
        raise QuestionError(f"it shows times by {grain}")
    return f"date_trunc('{_TIME_GRAINS[grain]}', {name})"


def _metric(metric: Any, saved: Mapping[str, str]) -> str:
    if isinstance(metric, str):
        if metric not in saved:
            raise QuestionError(f"its dataset has no metric {metric}")
        return saved[metric]
    if metric.get("expressionType") != "SIMPLE" or metric.get("aggregate") not in _AGGREGATES:
        raise QuestionError(f"it computes an SQL expression: {metric.get('sqlExpression')}")
    column = _quoted(metric["column"]["column_name"])
    if metric["aggregate"] == "COUNT_DISTINCT":
        return f"count(distinct {column})"
    return f"{metric['aggregate'].lower()}({column})"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
