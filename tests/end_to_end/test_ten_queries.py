"""The queries of docs/ten_queries.md run on a published file and agree with the batch it was made from."""

import re

import duckdb
import pandas as pd
import pytest
import sqlfluff

from acl_assets.settings import PROJECT_DIR, Settings

pytestmark = pytest.mark.slow

PAGE = (PROJECT_DIR / "docs" / "ten_queries.md").read_text(encoding="utf-8")
QUERIES = re.findall(r"^```sql\n(.+?)^```$", PAGE, re.MULTILINE | re.DOTALL)


@pytest.fixture
def answers(published: Settings) -> list[pd.DataFrame]:
    with duckdb.connect(str(published.published_file), read_only=True) as connection:
        return [connection.sql(query).df() for query in QUERIES]


@pytest.fixture
def tickets(published: Settings) -> pd.DataFrame:
    """Every ticket of the batch with its purchase and performance, and the year of its festival."""
    batch = published.exports_dir / "first"
    frames = {name: pd.read_parquet(batch / f"{name}.parquet") for name in ("tickets", "purchases", "performances")}
    sold = frames["tickets"].merge(frames["purchases"].rename(columns={"id": "purchase_id"}), on="purchase_id")
    sold = sold.merge(frames["performances"].rename(columns={"id": "performance_id"}), on="performance_id")
    sold["festival"] = sold["performance_start"].dt.tz_convert("America/Chicago").dt.year
    return sold


def test_the_queries_keep_to_the_style_of_the_project() -> None:
    assert len(QUERIES) == 10
    for query in QUERIES:
        assert sqlfluff.lint(query, config_path=str(PROJECT_DIR / ".sqlfluff")) == []


def test_every_query_answers_as_the_batch_does(answers: list[pd.DataFrame], tickets: pd.DataFrame) -> None:
    assert all(len(answer) for answer in answers)
    festivals, venues, best_bands, most_venues, prices, fill, weeks, buyers, checks, batches = answers
    completed = tickets[tickets["festival"] <= festivals["festival_year"].max()]
    by_festival = completed.groupby("festival")["price"].agg(["size", "sum"])

    assert list(festivals["tickets"]) == list(by_festival["size"])
    assert festivals["change_in_percent"].iloc[1] == round(100 * by_festival["size"].pct_change().iloc[1], 1)
    assert venues.groupby("festival_year")["revenue"].sum().to_dict() == by_festival["sum"].to_dict()
    assert list(best_bands["rank_in_venue"]) == [*range(1, 9)]
    assert most_venues["venues"].max() == completed.groupby("band_id")["venue_id"].nunique().max()
    assert (
        dict(zip(prices["ticket_price"], prices["tickets"], strict=True)) == tickets["price"].value_counts().to_dict()
    )
    assert fill["performances"].sum() == festivals["performances"].sum()
    assert weeks["tickets"].sum() == len(completed)
    assert weeks["percent_sold_so_far"].iloc[-1] == 100
    festivals_of_buyers = tickets.groupby("person_id")["festival"].nunique()
    assert list(buyers["buyers"]) == list(festivals_of_buyers.value_counts().sort_index())
    warned = checks.set_index("asset_key")["failed_checks"]
    assert warned["star_schema/fct_performances"] == "performances_have_tickets"
    assert list(batches["batch_id"]) == ["first"]
