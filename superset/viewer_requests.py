"""Decide whether a request for chart data is one of a saved chart, filtered by plain values.

A chart request may hold SQL in metrics, columns, order and filters. People who cannot
save charts need no SQL of their own: their requests are compared with the saved chart or a filter of the dashboard.
"""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

RESULT_TYPES = {"full", "results", "post_processed"}
"""Types for the dashboard, *View as table* and *Download*. The others return SQL or rows of other columns."""

OPERATORS = {
    *("==", "!=", ">", "<", ">=", "<="),
    *("IN", "NOT IN", "LIKE", "NOT LIKE", "ILIKE", "NOT ILIKE"),
    *("IS NULL", "IS NOT NULL", "IS TRUE", "IS FALSE", "TEMPORAL_RANGE"),
}
_EXPRESSIONS = ("columns", "groupby", "metrics", "series_columns")
_EXTRAS = {"where", "having", "time_grain_sqla", "relative_start", "relative_end", "instant_time_comparison_range"}

Query = Mapping[str, Any]


def refusal_of_chart(query: Query, saved: Sequence[Query], columns: Collection[str]) -> str | None:
    """Return which part of a query is not of the saved chart, or None if the query may run.

    Args:
        query: attributes of the requested query, named as in a query context.
        saved: queries of the saved query context, and the saved form data.
        columns: names of the columns of the chart's dataset.
    """
    allowed = {_frozen(item, columns) for entry in saved for item in _expressions(entry)}
    for item in _expressions(query):
        if _frozen(item, columns) not in allowed:
            return f"{_short(item)} is not in the saved chart"
    for name in ("granularity", "time_shift"):
        if query.get(name) and query[name] not in {*columns, *(entry.get(name) for entry in saved)}:
            return f"{name} {_short(query[name])} is not in the saved chart"
    for name, part in (
        ("time_offsets", _frozen_plain),
        ("annotation_layers", _frozen_plain),
        ("post_processing", _operation),
    ):
        known = {part(item) for entry in saved for item in entry.get(name) or []}
        for item in query.get(name) or []:
            if part(item) not in known:
                return f"{name} {_short(item)} is not in the saved chart"
    return _refusal_of_extras(query, saved) or _refusal_of_filters(query, saved, columns)


def refusal_of_filter_values(query: Query, column: str, columns: Collection[str]) -> str | None:
    """Return which part of a query is not needed to list the values of a dashboard's filter on `column`, or None."""
    for item in _expressions(query):
        if _frozen(item, columns) != _frozen(column, columns):
            return f"{_short(item)} is not the column of the filter"
    for name in ("granularity", "time_shift", "time_offsets", "annotation_layers", "post_processing"):
        if query.get(name):
            return f"{name} {_short(query[name])} does not belong to a filter"
    return _refusal_of_extras(query, []) or _refusal_of_filters(query, [], columns)


def _expressions(query: Query) -> Iterable[Any]:
    """Yield what becomes a column, an aggregate or an order in SQL."""
    for name in _EXPRESSIONS:
        yield from query.get(name) or []
    for item, _ in query.get("orderby") or []:
        yield item
    for name in ("x_axis", "series_limit_metric", "metric"):
        if query.get(name):
            yield query[name]


def _refusal_of_extras(query: Query, saved: Sequence[Query]) -> str | None:
    extras = query.get("extras") or {}
    for name in ("where", "having"):
        known = {(entry.get("extras") or {}).get(name) for entry in saved}
        if extras.get(name) and extras[name] not in known:
            return f"SQL in {name} is not in the saved chart"
    unknown = sorted(name for name, value in extras.items() if value and name not in _EXTRAS)
    return f"{unknown[0]} cannot be set" if unknown else None


def _refusal_of_filters(query: Query, saved: Sequence[Query], columns: Collection[str]) -> str | None:
    known = {_frozen_plain(item) for entry in saved for item in entry.get("filters") or []}
    for item in query.get("filters") or []:
        if _frozen_plain(item) in known:
            continue
        if not isinstance(item.get("col"), str) or item["col"] not in columns:
            return f"a filter on {_short(item.get('col'))} is not one on a column of the dataset"
        if item.get("op") not in OPERATORS:
            return f"the operator {_short(item.get('op'))} is not one of a filter"
        values = item.get("val")
        if not all(_is_plain(value) for value in (values if isinstance(values, list) else [values])):
            return f"a filter on {item['col']} compares with something that is no plain value"
    return None


def _frozen(item: Any, columns: Collection[str]) -> str:
    """Return a comparable form of an expression; the x-axis of a chart is its column."""
    if isinstance(item, Mapping) and item.get("columnType") == "BASE_AXIS" and item.get("sqlExpression") in columns:
        return _frozen_plain(item["sqlExpression"])
    return _frozen_plain(item)


def _frozen_plain(item: Any) -> str:
    return json.dumps(item, sort_keys=True, default=str)


def _operation(item: Mapping[str, Any]) -> str:
    """Return a comparable form of an operation; the rule of a resampling decides how many rows it makes."""
    return _frozen_plain(item) if item.get("operation") == "resample" else str(item.get("operation"))


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, str | int | float | bool)


def _short(item: Any) -> str:
    text = item if isinstance(item, str) else _frozen_plain(item)
    return text if len(text) <= 100 else f"{text[:100]}…"
