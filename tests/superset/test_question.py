"""A chart's query becomes the plain SQL that asks for the same, or is refused."""

from __future__ import annotations

from typing import Any

import duckdb
import pytest

from acl_assets.superset.question import Question, QuestionError

DATASET = {
    "schema": "data_products",
    "table_name": "sales",
    "sql": None,
    "metrics": [{"metric_name": "dollars", "expression": "SUM(revenue)"}],
}
ROWS = """
create schema data_products;
create table data_products.sales as
select * from (values
    ('Meadow', date '2021-05-03', 2021, 10, 100, true),
    ('Meadow', date '2021-05-30', 2021, 20, 300, true),
    ('Meadow', date '2022-06-01', 2022, 5, 50, false),
    ('Cellar', date '2021-05-03', 2021, 1, null, null)
) as sales (venue_name, sold_on, festival_year, tickets, revenue, is_completed)
"""


def metric(aggregate: str, column: str) -> dict[str, Any]:
    return {"expressionType": "SIMPLE", "aggregate": aggregate, "column": {"column_name": column}, "label": "value"}


def filtered(column: str, operator: str, value: Any = None) -> dict[str, Any]:
    return {"columns": ["tickets"], "filters": [{"col": column, "op": operator, "val": value}]}


def by_month() -> dict[str, Any]:
    return {"columnType": "BASE_AXIS", "sqlExpression": "sold_on", "label": "sold_on", "timeGrain": "P1M"}


def answer(**query: Any) -> list[tuple[Any, ...]]:
    question = Question(DATASET, query)
    with duckdb.connect() as connection:
        connection.execute(ROWS)
        return connection.execute(question.sql, question.parameters).fetchall()


@pytest.mark.parametrize(
    ("aggregate", "expected"), [("SUM", 36), ("MIN", 1), ("MAX", 20), ("AVG", 9), ("COUNT", 4), ("COUNT_DISTINCT", 4)]
)
def test_a_metric_is_an_aggregate_of_a_column(aggregate: str, expected: int) -> None:
    assert answer(metrics=[metric(aggregate, "tickets")]) == [(expected,)]


def test_a_saved_metric_is_the_datasets() -> None:
    assert answer(metrics=["dollars"]) == [(450,)]


def test_with_metrics_rows_are_grouped_and_without_they_are_themselves() -> None:
    grouped = answer(columns=["venue_name"], metrics=[metric("SUM", "tickets")])
    assert sorted(grouped) == [("Cellar", 1), ("Meadow", 35)]
    assert sorted(answer(columns=["venue_name"], metrics=[])) == [("Cellar",), ("Meadow",)]
    assert len(answer(columns=["venue_name"])) == 4


def test_times_are_shown_by_their_grain() -> None:
    months = answer(columns=[by_month()], metrics=[metric("SUM", "tickets")])
    assert sorted((month.month, tickets) for month, tickets in months) == [(5, 31), (6, 5)]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (filtered("venue_name", "==", "Cellar"), [1]),
        (filtered("venue_name", "!=", "Meadow"), [1]),
        (filtered("tickets", "<", 5), [1]),
        (filtered("tickets", "<=", 5), [1, 5]),
        (filtered("tickets", ">", 10), [20]),
        (filtered("tickets", ">=", 10), [10, 20]),
        (filtered("tickets", "IN", [1, 20]), [1, 20]),
        (filtered("tickets", "NOT IN", [1, 20]), [5, 10]),
        (filtered("revenue", "IS NULL"), [1]),
        (filtered("revenue", "IS NOT NULL"), [5, 10, 20]),
        (filtered("is_completed", "IS TRUE"), [10, 20]),
        (filtered("is_completed", "IS FALSE"), [5]),
        (filtered("is_completed", "==", True), [10, 20]),
        (filtered("sold_on", "TEMPORAL_RANGE", "No filter"), [1, 5, 10, 20]),
    ],
)
def test_filters_keep_the_rows_they_say(query: dict[str, Any], expected: list[int]) -> None:
    assert sorted(tickets for (tickets,) in answer(**query)) == expected


def test_the_first_rows_are_those_of_the_order() -> None:
    first = answer(columns=["tickets"], orderby=[["tickets", False]], row_limit=2)
    assert first == [(20,), (10,)]
    by_metric = answer(
        columns=["venue_name"],
        metrics=[metric("SUM", "tickets")],
        orderby=[[metric("SUM", "tickets"), True]],
        row_limit=1,
    )
    assert by_metric == [("Cellar", 1)]


def test_a_pivot_leaves_its_index_in_the_rows() -> None:
    pivot = {"operation": "pivot", "options": {"index": ["festival_year"], "columns": ["venue_name"]}}
    question = Question(
        DATASET,
        {"columns": ["festival_year", "venue_name"], "metrics": ["dollars"], "post_processing": [pivot, None]},
    )
    assert question.index == ["festival_year"]
    assert (question.columns, question.metrics) == (["festival_year", "venue_name"], ["dollars"])


@pytest.mark.parametrize(
    ("query", "complaint"),
    [
        ({"metrics": ["tickets_per_day"]}, "no metric tickets_per_day"),
        (
            {"metrics": [{"expressionType": "SQL", "sqlExpression": "median(tickets)", "label": "m"}]},
            r"median\(tickets\)",
        ),
        ({"metrics": [metric("MEDIAN", "tickets")]}, "it computes an SQL expression"),
        ({"columns": [{"sqlExpression": "upper(venue_name)", "label": "name"}]}, r"upper\(venue_name\)"),
        ({"columns": [{"sqlExpression": "venue_name"}]}, "without a label"),
        (
            {"columns": [{"columnType": "BASE_AXIS", "sqlExpression": "sold_on", "label": "d", "timeGrain": "PT1H"}]},
            "times by PT1H",
        ),
        (filtered("venue_name", "LIKE", "M%"), "filters by LIKE"),
        (filtered("sold_on", "TEMPORAL_RANGE", "Last week"), "filters by TEMPORAL_RANGE"),
        ({"columns": ["tickets"], "extras": {"where": "tickets > 1"}}, "SQL expression"),
        ({"columns": ["tickets"], "extras": {"having": "sum(tickets) > 1"}}, "SQL expression"),
        ({"columns": ["tickets"], "series_limit": 5}, "part of the series"),
        ({"columns": ["tickets"], "row_offset": 5}, "part of the series or rows"),
        ({"columns": ["tickets"], "post_processing": [{"operation": "cum"}]}, "computes cum after the query"),
        ({"columns": ["tickets"], "time_range": "Last week"}, "asks with time_range"),
        ({"columns": ["tickets"], "granularity": "sold_on"}, "asks with granularity"),
        ({"columns": ["tickets"], "time_offsets": ["1 year ago"]}, "asks with time_offsets"),
        ({"columns": ["tickets"], "annotation_layers": [{"name": "Rain"}]}, "asks with annotation_layers"),
        ({"columns": ["tickets"], "is_rowcount": True}, "asks with is_rowcount"),
        ({"columns": ["tickets"], "extras": {"time_grain_sqla": "P1M"}}, "asks with time_grain_sqla"),
        ({"columns": [by_month()], "extras": {"time_grain_sqla": "P1Y"}}, "asks with time_grain_sqla"),
    ],
)
def test_what_is_not_known_is_refused(query: dict[str, Any], complaint: str) -> None:
    """Left out, it would make another question, and the answers would differ for no reason or agree for none."""
    with pytest.raises(QuestionError, match=complaint):
        Question(DATASET, query)


def test_what_is_empty_or_said_twice_asks_for_nothing() -> None:
    """Superset writes every part into every chart, and the grain of an axis into two places."""
    empty = {"time_range": "No filter", "granularity": None, "time_offsets": [], "annotation_layers": []}
    months = answer(columns=[by_month()], metrics=["dollars"], extras={"time_grain_sqla": "P1M", "where": ""}, **empty)
    assert sorted(dollars for _, dollars in months) == [50, 400]


def test_a_dataset_that_is_a_query_is_refused() -> None:
    with pytest.raises(QuestionError, match="sales is a query"):
        Question({**DATASET, "sql": "select 1"}, {"columns": ["tickets"]})
