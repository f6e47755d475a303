"""Fixtures of the report's tests: a sample warehouse and the report made of it."""

from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest
from report.sample_warehouse import TIME_ZONE, sample_warehouse
from sharing import made_once

from acl_assets.report.page import ReportData, read_report_data, report_on


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
