"""A published file for the report: a simulated festival of 20 years, 2022 on sale, and the results of four checks."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import duckdb
import pytest
from refreshes import festival_settings
from sharing import made_once
from warehouse.chains import batch, chain
from warehouse.dbt_festivals import Festival, build_models

from acl_assets.report.page import ReportData, read_report_data, report_on
from acl_assets.simulator.sales import DEFAULT_EXPORTED_AT, TicketingHistory
from acl_assets.source_schema import SOURCE_TABLES
from acl_assets.warehouse.build_file import BuildRecord
from acl_assets.warehouse.publication import AuditResult, publish_build

FESTIVAL_ON_SALE = 2022
TIME_ZONE = "America/Chicago"
STATEMENT = "Data as of 1 Aug 2022 01:00, published 1 Aug 2022 01:01 (America/Chicago), 2 checks passed, 2 warnings"
_LONG_NAME = "The Very Long-Winded Orchestra of Greater Travis County and Friends"
_CHECKS = [
    AuditResult(asset, name, passed, "ERROR" if passed else "WARN", passed, description, DEFAULT_EXPORTED_AT)
    for asset, name, passed, description in (
        ("festival/tickets", "rows_match_manifest", True, None),
        ("festival/tickets", "ticket_id_is_unique", True, "No ticket id occurs twice."),
        ("star_schema/fct_performances", "performances_have_tickets", False, "2 sold no ticket."),
        ("festival/purchases", "bought_before_the_show", False, "3 are dated <after> their show."),
    )
]


def sample_warehouse(data_dir: Path, *changes: str) -> Path:
    """Publish the festival below a folder after changes of its source tables, and return the published file."""
    settings, made_of, exported = festival_settings(data_dir), chain([batch(at_source=3)]), Festival()
    settings.build_dir.mkdir(parents=True)
    exported.export(DEFAULT_EXPORTED_AT)
    with duckdb.connect(settings.build_file, config={"threads": 1}) as connection:
        connection.execute("set timezone = 'UTC'; create schema festival")
        empty = ((table, exported.arrow(table)) for table in (*SOURCE_TABLES, "export_batches"))
        for table, rows in (*empty, *TicketingHistory(0.02, seed=22).stream()):
            connection.register("rows", rows)
            connection.execute(f"create table if not exists festival.{table} as from rows limit 0")
            connection.execute(f"insert into festival.{table} by name from rows")
        for change in (
            # Performances are as full as at scale 1.
            "insert into festival.tickets select tickets.* from festival.tickets, range(9)",
            f"update festival.bands set name = '{_LONG_NAME}' where name = 'Nimble Badger'",
            "update festival.venues set name = 'Pecan  Row' where name = 'Pecan Row'",
            *changes,
        ):
            connection.execute(change)
        build_models(connection)
    published_at = DEFAULT_EXPORTED_AT.astimezone(ZoneInfo(TIME_ZONE)) + timedelta(minutes=1)
    record = BuildRecord(run_id="run-4711", published_state=None, complete=True, state=made_of.digest)
    publish_build(settings, record, made_of, _CHECKS, published_at)
    return settings.published_file


@pytest.fixture(scope="session")
def sample_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The published file of the sample."""
    return made_once("sample_warehouse", lambda: sample_warehouse(tmp_path_factory.mktemp("sample")))


@pytest.fixture(scope="session")
def sample(sample_file: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection to it, for figures to compare with those that the report reads."""
    with duckdb.connect(sample_file, read_only=True) as connection:
        yield connection


@pytest.fixture(scope="session")
def report_data(sample_file: Path) -> ReportData:
    """The data that the report reads from it."""
    return read_report_data(sample_file)


@pytest.fixture(scope="session")
def report_file(sample_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of the sample."""

    def made() -> Path:
        target = tmp_path_factory.mktemp("report") / "index.html"
        report_on(sample_file, target, TIME_ZONE)
        return target

    return made_once("report_file", made)
