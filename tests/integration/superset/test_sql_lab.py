"""SQL Lab reads the published data and can do nothing else.

The tests use the API of SQL Lab as the administrator, who has every permission.
"""

from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest
from refreshes import published_rows, sha256
from superset.conftest import Ask, SupersetUnderTest, sql_lab

from acl_assets.superset.client import SupersetClient, SupersetError, superset_home

pytestmark = pytest.mark.server

SAVED = "saved by somebody else"
READING = "file system operations are disabled"
CONFINED = "locked|Cannot change"
SPILLED = "(current_setting('temp_directory') || '/copied.csv')"
REFUSED = {
    "select * from read_csv('{folder}/other.csv')": READING,
    "select * from glob('{folder}/*')": READING,
    "attach '{folder}/other.duckdb' as other (read_only); select * from other.other": READING,
    "copy data_products.all_star_candidates to '{folder}/stolen.csv'": "",
    f"copy (select 1) to {SPILLED}": "",
    f"explain analyze copy (select 1) to {SPILLED}": "",
    f"prepare kept as /* é */ Copy (select 1) to {SPILLED}; execute kept": "",
    "create table data_products.new as select 1 as one": "",
    "delete from data_products.all_star_candidates": "",
    "set enable_external_access = true": CONFINED,
    "set lock_configuration = false": CONFINED,
    "load '/tmp/own.duckdb_extension'": "disabled",
}


@pytest.fixture(scope="module")
def client(superset: SupersetUnderTest) -> Iterator[SupersetClient]:
    with superset.client() as client:
        yield client


@pytest.fixture(scope="module")
def ask(client: SupersetClient) -> Ask:
    return sql_lab(client)


def contents(folder: Path) -> dict[str, str]:
    return {str(file.relative_to(folder)): sha256(file) for file in folder.rglob("*") if file.is_file()}


def test_no_other_file_can_be_read_nothing_written_and_no_limit_lifted(
    superset: SupersetUnderTest, ask: Ask, tmp_path: Path
) -> None:
    # Otherwise refusals would prove nothing.
    sql = "select sum(tickets_sold) as tickets_sold from data_products.ticket_sales_by_venue"
    assert [tuple(row.values()) for row in ask(sql)["data"]] == published_rows(superset.settings, sql)
    (tmp_path / "other.csv").write_text(f"text\n{SAVED}\n")
    with duckdb.connect(str(tmp_path / "other.duckdb")) as other:
        other.execute(f"create table other as select '{SAVED}' as text")
    folders = (tmp_path, superset.settings.published_file.parent, superset_home(superset.settings) / "spilled_queries")
    before = [contents(folder) for folder in folders]
    for sql, reason in REFUSED.items():
        with pytest.raises(SupersetError, match=reason or None) as refusal:
            ask(sql.format(folder=tmp_path))
        assert SAVED not in str(refusal.value), sql
    assert [contents(folder) for folder in folders] == before


def test_nobody_gets_more_rows_than_the_limit(ask: Ask) -> None:
    """Neither the limit of the query nor that of the request raises it."""
    answer = ask("select * from range(100000) as numbers (number) limit 50000", limit=50_000)
    assert len(answer["data"]) == 10_000


@pytest.mark.parametrize(
    "uri",
    [
        "duckdb:///{file}?access_mode=read_only",
        "duckdb:///{file}?access_mode=read_only&enable_external_access=true&lock_configuration=true",
        "duckdb:///:memory:?access_mode=read_only&enable_external_access=false&lock_configuration=true",
    ],
)
def test_no_database_is_connected_that_does_not_confine_sql(
    superset: SupersetUnderTest, client: SupersetClient, uri: str
) -> None:
    """Superset's administrators can connect databases; by mistake, or by somebody with their session."""
    unconfined = {"database_name": "unconfined", "sqlalchemy_uri": uri.format(file=superset.settings.published_file)}
    with pytest.raises(SupersetError, match="SQLAlchemy URI"):
        client.post("/api/v1/database/", json=unconfined)
    assert len(client.everything("/api/v1/database/")) == 1
