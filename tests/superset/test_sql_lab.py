"""SQL Lab: what an analyst may do with SQL is look at the published data, and nothing else.

Everything here is said over Superset's own API, as SQL Lab's page does, by the administrator: nobody may do more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest
from refreshes import sha256
from superset.conftest import SupersetUnderTest

from acl_assets.superset.client import SupersetClient, SupersetError

pytestmark = pytest.mark.server

Ask = Callable[..., dict[str, Any]]

SAVED = "saved by somebody else"


@pytest.fixture(scope="module")
def client(superset: SupersetUnderTest) -> Iterator[SupersetClient]:
    with superset.client() as client:
        yield client


@pytest.fixture(scope="module")
def ask(client: SupersetClient) -> Ask:
    """Run SQL on the warehouse as SQL Lab does."""
    (warehouse,) = [
        found for found in client.everything("/api/v1/database/") if found["database_name"] == "ACL warehouse"
    ]

    def run(sql: str, limit: int | None = None) -> dict[str, Any]:
        query = {"database_id": warehouse["id"], "sql": sql, "runAsync": False, "schema": "data_products"}
        return client.post("/api/v1/sqllab/execute/", json=query | ({"queryLimit": limit} if limit else {}))

    return run


@pytest.fixture
def folder(superset: SupersetUnderTest, tmp_path: Path) -> Iterator[Path]:
    """A folder with files of somebody else, which has the same files in it afterwards; so has the published file's."""
    (tmp_path / "other.csv").write_text(f"text\n{SAVED}\n")
    duckdb.sql(f"select '{SAVED}' as text").write_parquet(str(tmp_path / "other.parquet"))
    with duckdb.connect(str(tmp_path / "other.duckdb")) as other:
        other.execute(f"create table other as select '{SAVED}' as text")
    before = _contents(tmp_path), _contents(superset.settings.published_file.parent)
    yield tmp_path
    assert (_contents(tmp_path), _contents(superset.settings.published_file.parent)) == before


def _contents(folder: Path) -> dict[str, str]:
    return {str(file.relative_to(folder)): sha256(file) for file in folder.rglob("*") if file.is_file()}


def test_the_published_data_can_be_asked(superset: SupersetUnderTest, ask: Ask) -> None:
    """Otherwise refusals would prove nothing."""
    with duckdb.connect(str(superset.settings.published_file), read_only=True) as published:
        (expected,) = published.execute("select sum(tickets_sold) from data_products.ticket_sales_by_venue").fetchall()
    answer = ask("select sum(tickets_sold) as tickets_sold from data_products.ticket_sales_by_venue")
    assert answer["data"] == [{"tickets_sold": expected[0]}]


@pytest.mark.parametrize(
    "sql",
    [
        "select * from read_csv('{folder}/other.csv')",
        "select * from '{folder}/other.csv'",
        "select * from read_parquet('{folder}/other.parquet')",
        "select * from read_text('{folder}/other.csv')",
        "select * from read_blob('{folder}/other.csv')",
        "select * from glob('{folder}/*')",
        "attach '{folder}/other.duckdb' as other (read_only)",
        "attach '{folder}/other.duckdb' as other (read_only); select * from other.other",
    ],
)
def test_no_other_file_can_be_read(ask: Ask, folder: Path, sql: str) -> None:
    with pytest.raises(SupersetError, match="file system operations are disabled") as refusal:
        ask(sql.format(folder=folder))
    assert SAVED not in str(refusal.value)


@pytest.mark.parametrize(
    "sql",
    [
        "copy data_products.all_star_candidates to '{folder}/stolen.csv'",
        "copy (select * from data_products.all_star_candidates) to '{folder}/other.parquet' (format parquet)",
        "export database '{folder}/stolen'",
        "attach '{folder}/new.duckdb' as new",
        "create table data_products.new as select 1 as one",
        "create temp table new as select 1 as one",
        "insert into data_products.all_star_candidates select * from data_products.all_star_candidates",
        "update data_products.all_star_candidates set band_name = 'Nobody'",
        "delete from data_products.all_star_candidates",
        "drop table data_products.all_star_candidates",
        "alter table data_products.all_star_candidates add column new int",
    ],
)
def test_nothing_can_be_written(ask: Ask, folder: Path, sql: str) -> None:
    """Neither the warehouse nor a file: the folders are the same afterwards."""
    with pytest.raises(SupersetError):
        ask(sql.format(folder=folder))


@pytest.mark.parametrize(
    "sql",
    [
        "set enable_external_access = true",
        "set lock_configuration = false",
        "reset lock_configuration",
        "pragma memory_limit = '100GB'",
        "set allowed_directories = ['/']",
        "set allow_unsigned_extensions = true",
    ],
)
def test_what_confines_sql_cannot_be_switched_off(ask: Ask, sql: str) -> None:
    with pytest.raises(SupersetError, match=r"locked|Cannot change"):
        ask(sql)


@pytest.mark.parametrize("sql", ["install httpfs", "load httpfs", "load '/tmp/own.duckdb_extension'"])
def test_no_code_can_be_loaded(ask: Ask, sql: str) -> None:
    with pytest.raises(SupersetError, match="disabled"):
        ask(sql)


@pytest.mark.parametrize(("limit_in_sql", "limit_beside_it"), [("", None), ("", 50_000), ("limit 50000", 50_000)])
def test_nobody_gets_more_rows_than_the_limit(ask: Ask, limit_in_sql: str, limit_beside_it: int | None) -> None:
    """However many are asked for, in the query or beside it."""
    answer = ask(f"select * from range(100000) as numbers (number) {limit_in_sql}", limit=limit_beside_it)
    assert len(answer["data"]) == 10_000


@pytest.mark.parametrize(
    "uri",
    [
        "duckdb:///{file}",
        "duckdb:///{file}?access_mode=read_only",
        "duckdb:///{file}?access_mode=read_only&enable_external_access=true&lock_configuration=true",
        "duckdb:///:memory:?access_mode=read_only&enable_external_access=false&lock_configuration=true",
    ],
)
def test_no_database_is_connected_that_does_not_confine_sql(
    superset: SupersetUnderTest, client: SupersetClient, uri: str
) -> None:
    """Superset's administrators can connect databases; by mistake, or by somebody with their session."""
    with pytest.raises(SupersetError, match="SQLAlchemy URI"):
        client.post(
            "/api/v1/database/",
            json={"database_name": "unconfined", "sqlalchemy_uri": uri.format(file=superset.settings.published_file)},
        )
    assert "unconfined" not in {found["database_name"] for found in client.everything("/api/v1/database/")}
