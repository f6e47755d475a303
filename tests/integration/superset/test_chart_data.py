"""Data that Superset answers for every chart, compared with a query of our own on the published file."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, date, datetime, time
from typing import Any

import duckdb
import pytest
from refreshes import published_rows
from superset.conftest import SupersetUnderTest

from acl_assets.settings import Settings
from acl_assets.superset.bundle import read_bundle
from acl_assets.superset.chart_checks import check_charts
from acl_assets.superset.client import SupersetError

pytestmark = pytest.mark.server

Row = tuple[Any, ...]
BUNDLE = read_bundle()
OVER_TIME = "from data_products.ticket_sales_over_time"
VENUES = "from data_products.venue_sales"
CANDIDATES = "from data_products.all_star_candidates"
BANDS = "from data_products.band_sales"
FESTIVALS = "from data_products.festival_sales"
ATTENDANCE = "from data_products.performance_attendance where is_completed"
# A row per value that a chart draws. Charts of several series leave out pairs without data.
QUERIES = {
    "Age of the data": "select statement from publication.summary",
    "All-star candidates": "select venue_name, rank_in_venue, band_name, avg_tickets_per_performance, verdict, "
    "performances, sold_out_performances, expected_tickets, expected_low, expected_high, p_best, p_top_group "
    f"{CANDIDATES}",
    "Average fill": f"select avg(fill_rate) {ATTENDANCE}",
    "Bands at every venue": "select venue_name, rank_in_venue, band_name, avg_tickets_per_performance, performances, "
    "expected_tickets, expected_low, expected_high, p_top_group, verdict "
    "from data_products.band_sales_by_venue where is_top_band",
    **{
        f"Bands at top venue {rank}": "select band_label, verdict, avg_tickets_per_performance "
        f"{CANDIDATES} where venue_rank = {rank}"
        for rank in (1, 2, 3)
    },
    "Bands by venue and festival": "select festival_year, venue_name, band_name, performances, tickets_sold, revenue, "
    "lowest_ticket_price, avg_ticket_price, highest_ticket_price from data_products.band_sales_by_festival",
    "Bands over all venues": "select revenue_rank, band_name, avg_ticket_price, lowest_ticket_price, "
    f"highest_ticket_price, performances, tickets_sold, revenue, share_of_revenue {BANDS}",
    "Bands that gain or lose": "select band_name, trend, change_in_popularity, earlier_performances, "
    f"earlier_avg_tickets, recent_performances, recent_avg_tickets {BANDS}",
    "Candidates": f"select count(*) {CANDIDATES}",
    "Fill by festival": "select make_date(festival_year, 1, 1), 'fill', avg(fill_rate) "
    f"{ATTENDANCE} group by festival_year union all "
    f"select make_date(festival_year, 1, 1), 'fullest_performance', max(fill_rate) {ATTENDANCE} group by festival_year",
    "Fill by venue": f"select venue_name, 'fill', avg(fill_rate) {ATTENDANCE} group by venue_name",
    "Must invite": f"select count(*) {CANDIDATES} where verdict = 'must invite'",
    "Near-equals": f"select count(*) {CANDIDATES} where verdict = 'near-equals'",
    "On sale now": f"select sum(tickets_sold) {OVER_TIME} where not is_completed",
    "Performances": f"select count(*) {ATTENDANCE}",
    "Performances, fullest first": "select performance_date, venue_name, band_name, tickets_sold, capacity, fill_rate "
    f"{ATTENDANCE}",
    "Revenue": f"select sum(revenue) {OVER_TIME} where is_completed",
    "Revenue by venue": f"select venue_name, venue_standing, revenue {VENUES}",
    "Revenue shares and ticket prices by venue": "select venue_name, share_of_revenue, share_of_tickets, "
    f"lowest_ticket_price, avg_ticket_price, highest_ticket_price {VENUES}",
    "Sales by festival": "select festival_year, sales_status, change_in_tickets, change_in_revenue, avg_ticket_price, "
    f"performances, tickets_sold, revenue {FESTIVALS}",
    "Sold nothing": f"select count(*) {ATTENDANCE} and tickets_sold = 0",
    "Tickets by festival": "select make_date(festival_year, 1, 1), sales_status, sum(tickets_sold) "
    f"{OVER_TIME} group by festival_year, sales_status",
    "Ticket prices by festival": "unpivot (select make_date(festival_year, 1, 1), highest_ticket_price as "
    "'Highest price', avg_ticket_price as 'Average price', lowest_ticket_price as 'Lowest price' "
    f"{FESTIVALS} where is_completed) on columns('price')",
    "Tickets by month of sale": "select date_trunc('month', sale_month)::date, sales_status, sum(tickets_sold) "
    f"{OVER_TIME} group by all",
    "Tickets by venue": f"select venue_name, venue_standing, tickets_sold {VENUES}",
    "Tickets by venue and festival": "select make_date(festival_year, 1, 1), venue_standing, sum(tickets_sold) "
    "from data_products.ticket_sales_by_venue where is_completed group by festival_year, venue_standing",
    "Tickets sold": f"select sum(tickets_sold) {OVER_TIME} where is_completed",
    "Tickets, year over year": f"select first_day, tickets_sold {FESTIVALS} where is_completed",
    "Venue verdicts": "select venue_name, verdict, sentence from data_products.venue_verdicts",
    **{
        f"Top venue {rank}": f"select venue_name, tickets_sold, share_of_tickets {VENUES} where venue_rank = {rank}"
        for rank in (1, 2, 3)
    },
}
# The last row of tables that have one.
TOTALS = {
    "Bands over all venues": "select min(lowest_ticket_price), max(highest_ticket_price), sum(performances), "
    f"sum(tickets_sold), sum(revenue), sum(share_of_revenue) {BANDS}",
    "Sales by festival": f"select sum(performances), sum(tickets_sold), sum(revenue) {FESTIVALS}",
}

# The figures of the dashboard, of the same tables and without Superset.
SALES = (
    "sum({tickets}) filter (is_completed) as tickets_completed, sum({tickets}) filter (not is_completed) as "
    "tickets_on_sale, sum({tickets}) as tickets, sum({price}) filter (is_completed) as completed_revenue, "
    "sum({price}) filter (is_completed) / sum({tickets}) filter (is_completed) as average_price, count(*) as count"
)
SOLD = SALES.format(tickets="tickets_sold", price="revenue")
METRICS = {
    "all_star_candidates": "sum(performances) as performances_completed, count(*) as count, "
    "sum(avg_tickets_per_performance * performances) / sum(performances) as average_tickets_per_performance",
    "band_sales": "sum(tickets_sold) as tickets_completed, sum(revenue) as completed_revenue, "
    "sum(revenue) / sum(tickets_sold) as average_price, sum(performances) as performances_completed, "
    "sum(tickets_sold) / sum(performances) as average_tickets_per_performance, count(*) as count",
    "band_sales_by_festival": f"{SOLD}, sum(performances) filter (is_completed) as performances_completed, "
    "sum(tickets_sold) filter (is_completed) / sum(performances) filter (is_completed) "
    "as average_tickets_per_performance",
    "band_sales_by_venue": "sum(tickets_sold) as tickets_completed, sum(revenue) as completed_revenue, "
    "sum(revenue) / sum(tickets_sold) as average_price, sum(performances) as performances_completed, "
    "sum(tickets_sold) / sum(performances) as average_tickets_per_performance, count(*) as count",
    "festival_sales": f"{SOLD}, sum(performances) filter (is_completed) as performances_completed, "
    "sum(tickets_sold) filter (is_completed) / sum(performances) filter (is_completed) "
    "as average_tickets_per_performance",
    "performance_attendance": f"{SOLD}, avg(fill_rate) filter (is_completed) as fill, "
    "max(fill_rate) filter (is_completed) as fullest_performance, "
    "count(*) filter (is_completed) as performances_completed, "
    "count(*) filter (is_completed and tickets_sold = 0) as sold_nothing, "
    "avg(tickets_sold) filter (is_completed) as average_tickets_per_performance",
    "summary": "any_value(checks_warned) as failed_checks, count(*) as count",
    "ticket_sales": SALES.format(tickets="1", price="ticket_price"),
    "ticket_sales_by_venue": f"{SOLD}, sum(tickets_sold) filter (is_completed) / "
    "sum(performances) filter (is_completed) as average_tickets_per_performance",
    "ticket_sales_over_time": SOLD,
    "venue_sales": "sum(tickets_sold) as tickets_completed, sum(revenue) as completed_revenue, "
    "sum(revenue) / sum(tickets_sold) as average_price, sum(performances) as performances_completed, "
    "sum(tickets_sold) / sum(performances) as average_tickets_per_performance, "
    "sum(share_of_tickets) as all_time_share, count(*) as count",
    "venue_verdicts": "sum(bands) as named_bands, count(*) as count",
}


def test_every_saved_metric_answers_the_figure_of_the_dashboard(superset: SupersetUnderTest) -> None:
    with superset.client() as client:
        numbers = client.numbers("/api/v1/dataset/")
        for dataset in BUNDLE.of_kind("datasets"):
            query = {"columns": [], "metrics": [metric["metric_name"] for metric in dataset.content["metrics"]]}
            request = {"datasource": {"id": numbers[dataset.uuid], "type": "table"}, "queries": [query]}
            [shown] = client.post("/api/v1/chart/data", json=request)["result"][0]["data"]
            sql = f"select {METRICS[dataset.name]} from {dataset.content['schema']}.{dataset.name}"
            with duckdb.connect(str(superset.settings.published_file), read_only=True) as published:
                [expected] = published.execute(sql).df().to_dict("records")
            assert shown == pytest.approx(expected), dataset.name


def test_every_chart_answers_what_its_query_finds_in_the_published_file(superset: SupersetUnderTest) -> None:
    assert QUERIES.keys() == {chart.name for chart in BUNDLE.of_kind("charts")}
    with superset.client() as client:
        numbers = client.numbers("/api/v1/chart/")
        for chart in BUNDLE.of_kind("charts"):
            answer, *totals = client.get(f"/api/v1/chart/{numbers[chart.uuid]}/data/", force=True)["result"]
            expected = published_rows(superset.settings, QUERIES[chart.name])
            assert expected, chart.name
            is_plot = str(chart.content["viz_type"]).startswith("echarts")
            shown = points(answer["data"], chart.content["params"]["x_axis"]) if is_plot else rows(answer["data"])
            assert Counter(map(comparable, shown)) == Counter(map(comparable, expected)), chart.name
            shown_totals = [comparable(row) for total in totals for row in rows(total["data"])]
            expected_totals = published_rows(superset.settings, TOTALS[chart.name]) if chart.name in TOTALS else []
            assert shown_totals == [comparable(row) for row in expected_totals], chart.name


def rows(data: Iterable[Mapping[str, Any]]) -> list[Row]:
    return [tuple(row.values()) for row in data]


def points(data: Iterable[Mapping[str, Any]], x_axis: str) -> list[Row]:
    """Return the points of a plot: Superset answers a row per place on the x axis with a value for each series."""
    return [
        (row[x_axis], series, value)
        for row in data
        for series, value in row.items()
        if series != x_axis and value is not None
    ]


def comparable(row: Row) -> Row:
    """Return a row as both sides write it: Superset answers dates as milliseconds since 1970."""
    return tuple(float(f"{_number(value):.9g}") if isinstance(value, int | float | date) else value for value in row)


def _number(value: float | date) -> float:
    if isinstance(value, date):
        return datetime.combine(value, time(), UTC).timestamp() * 1000
    return float(value)


def test_charts_that_are_empty_broken_or_gone_are_named(
    edited_superset: SupersetUnderTest, swapped: Callable[..., None]
) -> None:
    with edited_superset.client() as client:
        swapped(
            "delete from data_products.venue_sales where venue_rank = 3",
            "alter table data_products.all_star_candidates rename verdict to advice",
        )
        numbers = {chart["slice_name"]: chart["id"] for chart in client.everything("/api/v1/chart/")}
        client.put(f"/api/v1/chart/{numbers['Revenue']}", json={"query_context": "{}"})
        client.delete(f"/api/v1/chart/{numbers['Average fill']}")
        checked = check_charts(client, edited_superset.settings, BUNDLE)
    assert [chart.name for chart in checked] == [chart.name for chart in BUNDLE.of_kind("charts")]
    found = {chart.name: chart.problem for chart in checked if chart.problem}
    assert found.keys() == {
        "All-star candidates", "Average fill", "Bands at top venue 1", "Bands at top venue 2", "Bands at top venue 3",
        "Must invite", "Near-equals", "Revenue", "Top venue 3",
    }  # fmt: skip
    assert "verdict" in str(found["All-star candidates"])
    assert "cannot be shown" in str(found["Revenue"])
    assert found["Average fill"] == "is not in Superset"
    assert found["Top venue 3"] == "is empty"


def test_charts_of_completed_festivals_may_be_empty_in_a_first_season(
    superset: SupersetUnderTest, swapped: Callable[..., None]
) -> None:
    completed = ("performance_attendance", "ticket_sales_over_time", "ticket_sales_by_venue", "festival_sales")
    without_others = ("band_sales_by_venue", "all_star_candidates", "venue_verdicts", "band_sales")
    swapped(
        *(f"delete from data_products.{table} where is_completed" for table in completed),
        *(f"delete from data_products.{table}" for table in without_others),
    )
    with superset.client() as client:
        assert [chart.problem for chart in check_charts(client, superset.settings, BUNDLE) if chart.problem] == []


def test_charts_of_lower_ranks_may_be_empty_where_there_are_fewer_venues(
    superset: SupersetUnderTest, swapped: Callable[..., None]
) -> None:
    ranked = ("venue_sales", "ticket_sales_by_venue", "band_sales_by_venue", "all_star_candidates", "venue_verdicts")
    swapped(*(f"delete from data_products.{table} where venue_rank > 1" for table in ranked))
    with superset.client() as client:
        assert [chart.problem for chart in check_charts(client, superset.settings, BUNDLE) if chart.problem] == []


def test_a_superset_that_reads_another_file_is_an_error(superset: SupersetUnderTest, published: Settings) -> None:
    with duckdb.connect(str(published.published_file)) as other:
        other.execute("update publication.publications set run_id = 'another'")
    with superset.client() as client, pytest.raises(SupersetError, match=r"does not read .*/acl\.duckdb"):
        check_charts(client, published, BUNDLE)


# Saved queries ------------------------------------------------------------------------------------------------------


def run_saved_queries(settings: Settings) -> dict[str, list[dict[str, Any]]]:
    """The rows of every saved query, by the number that its name begins with."""
    with duckdb.connect(str(settings.published_file), read_only=True) as published:
        return {
            query.name[:1]: published.execute(query.content["sql"]).df().to_dict("records")
            for query in BUNDLE.of_kind("queries")
        }


def test_saved_queries_find_what_went_wrong_and_nothing_else(published: Settings) -> None:
    """A query that always returns 0 would be worse than none."""
    sound = run_saved_queries(published)
    assert sum(sound["1"][0].values()) == sound["2"][0]["only_in_tickets"] == len(sound["6"]) == 0
    assert all(row["is_equal"] for row in [*sound["4"], *sound["5"]])

    loss = "delete from star_schema.dim_{0}s where {0}_id = (select max({0}_id) from star_schema.fct_ticket_sales)"
    with duckdb.connect(str(published.published_file)) as connection:
        for dimension in ("venue", "band", "performance"):
            connection.execute(loss.format(dimension))
        connection.execute("update data_products.performance_attendance set revenue = revenue + 1")
    damaged = run_saved_queries(published)
    assert all(damaged["1"][0].values())
    assert damaged["2"][0]["only_in_tickets"] == 1
    assert {next(iter(row.values())) for row in damaged["4"] if not row["is_equal"]} == {
        "data_products.performance_attendance",
        "data_products.ticket_sales",
    }
