"""Fixtures of the report's tests: a sample warehouse and the report made of it."""

from pathlib import Path

import pytest
from report.sample_warehouse import SampleWarehouse, sample_warehouse
from sharing import made_once

from acl_assets.report.page import ReportData, read_report_data, report_on


@pytest.fixture(scope="session")
def warehouse() -> SampleWarehouse:
    """The full-size sample, 2022 on sale."""
    return made_once("sample_warehouse", sample_warehouse)


@pytest.fixture(scope="session")
def published_file(warehouse: SampleWarehouse, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample as a published DuckDB file."""
    return warehouse.write(tmp_path_factory.mktemp("published") / "acl.duckdb")


@pytest.fixture(scope="session")
def report_data(published_file: Path) -> ReportData:
    """The data that the report reads from it."""
    return read_report_data(published_file)


@pytest.fixture(scope="session")
def report_file(published_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of the full-size sample."""

    def made() -> Path:
        target = tmp_path_factory.mktemp("report") / "index.html"
        report_on(published_file, target, "America/Chicago")
        return target

    return made_once("report_file", made)
