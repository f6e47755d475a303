"""The database that is read: what its server does is seen from outside, and it changes as much as is said."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.extraction import buyers, cost
from benchmarks.extraction.contenders import CONTENDERS, PLAIN_COPY
from benchmarks.extraction.cost import RowsMissingError
from benchmarks.extraction.source import TABLES, Source, SourceError, is_at_work, open_source


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Source]:
    with open_source(tmp_path_factory.mktemp("source") / "server", 0.001, {"fsync": "off"}) as source:
        yield source


@pytest.mark.parametrize(
    ("title", "at_work"),
    [
        ("postgres: acl_export ticketing 127.0.0.1(40000) COPY", True),
        ("postgres: reporting ticketing 127.0.0.1(40000) SELECT", True),
        ("postgres: acl_export ticketing 127.0.0.1(40000) idle", False),
        ("postgres: acl_export ticketing 127.0.0.1(40000) idle in transaction", False),
        ("postgres: acl_export ticketing 127.0.0.1(40000) idle in transaction (aborted)", False),
        ("postgres: reporting ticketing 127.0.0.1(40000) authentication", False),
    ],
)
def test_server_works_for_a_session_or_waits_for_it(title: str, at_work: bool) -> None:
    assert is_at_work(title) == at_work


@pytest.mark.server
def test_source_changes_by_one_percent(source: Source) -> None:
    purchases, tickets = source.count("purchases"), source.count("tickets")
    horizon = source.ask("select pg_snapshot_xmin(pg_current_snapshot())")[0][0]

    source.change()

    assert source.count("purchases") == purchases + purchases * 8 // 1000
    assert source.count("tickets") == tickets + tickets * 8 // 1000
    changed = source.ask("select count(*) from tickets where xmin::text::bigint >= :horizon", horizon=horizon)
    assert int(changed[0][0]) == pytest.approx(tickets / 100, rel=0.05)


@pytest.mark.server
def test_more_than_is_left_cannot_be_sold(source: Source) -> None:
    source.ask("insert into purchases (id, purchase_date, person_id) values (2000000000, '2100-01-01', 1)")
    try:
        with pytest.raises(SourceError, match=r"Only 0 of .* seats are left"):
            source.change()
    finally:
        source.ask("delete from purchases where id = 2000000000")


@pytest.mark.server
def test_statements_that_fail_say_why(source: Source) -> None:
    with pytest.raises(SourceError, match='relation "parking_lots" does not exist'):
        source.count("parking_lots")


@pytest.mark.server
def test_buyers_buy_two_tickets_each(source: Source, tmp_path: Path) -> None:
    tickets = source.count("tickets")

    purchases = buyers.buy(source, rate=50, seconds=1, seed=1, log_dir=tmp_path)

    assert source.count("tickets") - tickets >= 2 * len(purchases) > 0


@pytest.mark.server
@pytest.mark.slow
def test_readers_read_every_row(source: Source, tmp_path: Path) -> None:
    found = cost.measure(source, list(CONTENDERS.values()), rounds=1, work_dir=tmp_path)

    assert found.rows == source.count(*TABLES)
    assert {run.contender for run in found.runs} == set(CONTENDERS)
    assert all(run.output_bytes for run in found.runs)


@pytest.mark.server
def test_rows_that_were_not_read_are_an_error(source: Source, tmp_path: Path) -> None:
    """A reader that is fast because it leaves rows out must not get a figure."""
    leaves_none = replace(CONTENDERS[PLAIN_COPY], leaves_parquet=True)

    with pytest.raises(RowsMissingError, match="plain COPY has read 0 of"):
        cost.measure(source, [leaves_none], rounds=1, work_dir=tmp_path)
