"""Fixtures of all tests: settings, an installation that has published a festival, and servers."""

import os
import shutil
import signal
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
import sharing
from dagster import DagsterInstance
from hypothesis import settings as hypothesis_settings
from object_storage import credentials, start_s3
from postgres import QUICK, database, execute, server_folder
from refreshes import (
    SMALL,
    Festival,
    Refreshed,
    copy_installation,
    festival_settings,
    land_batch,
    refresh,
)
from xdist.scheduler import LoadScopeScheduling

from acl_assets.settings import Settings
from acl_assets.simulator.live_system import create_schema, load_history
from acl_assets.simulator.postgres_server import PostgresServer, running_postgres
from acl_assets.simulator.sales import TicketingHistory

pytest_plugins = ("browser", "landing_zones", "report.sample_warehouse", "superset.bundles")

# Folders whose tests share a server or a sample, each run by one process; then those that take longest.
_ONE_PROCESS_EACH = ("tests/integration/superset/", "tests/integration/spark/", "tests/unit/report/")
_FIRST = (*_ONE_PROCESS_EACH, "tests/end_to_end/", "tests/defects/")

# The same examples in every run. `make test-all` draws others each time.
hypothesis_settings.register_profile("reproducible", derandomize=True)
hypothesis_settings.load_profile("reproducible")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests of a refreshed installation as slow, and begin with the folders that take longest."""
    for item in items:
        if isinstance(item, pytest.Function) and "festival" in item.fixturenames:
            item.add_marker("slow")
    items.sort(key=lambda item: next((n for n, path in enumerate(_FIRST) if item.nodeid.startswith(path)), len(_FIRST)))


class _FilesTogether(LoadScopeScheduling):
    """Runs the tests of a file, or of a folder that shares something, in one process.

    The groups of pytest-xdist 3.8 (`--dist loadgroup`) have no effect under pytest 9.2.
    """

    def _split_scope(self, nodeid: str) -> str:
        return next((path for path in _ONE_PROCESS_EACH if nodeid.startswith(path)), nodeid.split("::", maxsplit=1)[0])


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    return _FilesTogether(config, log)


@pytest.fixture(scope="session", autouse=True)
def _own_environment() -> None:
    """Keep settings of the machine out of the tests, which must not write to what they name."""
    for name in list(os.environ):
        if name.startswith(("ACL_", "SUPERSET")) or name == "DAGSTER_HOME":
            del os.environ[name]
    os.environ["PYTHON_DOTENV_DISABLED"] = "1"


@pytest.fixture(scope="session", autouse=True)
def _heeded_interrupts() -> None:
    """Stop ignoring Ctrl-C, as background jobs of a shell do: processes that a test interrupts would inherit it."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def s3_address() -> str:
    """The address of an S3 server that everybody may use."""
    return start_s3()


@pytest.fixture
def bucket(s3_address: str) -> Iterator[str]:
    """The URL of an empty bucket of the test's own, with credentials for it in the environment."""
    url = f"s3://bucket-{uuid.uuid4().hex[:12]}"
    with credentials(s3_address, keep_clients=True):
        fsspec.filesystem("s3").mkdir(url)
        yield url


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """An installation without any data."""
    return festival_settings(tmp_path / "data")


@pytest.fixture(scope="session", autouse=True)
def _shared_folder(tmp_path_factory: pytest.TempPathFactory) -> None:
    """The folders of the processes of a test run are in one that they share."""
    folder = tmp_path_factory.getbasetemp()
    sharing.folder = folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder


@pytest.fixture(scope="session")
def first_batch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a simulated batch named `first`, to copy into a landing zone."""
    return land_batch(festival_settings(tmp_path_factory.mktemp("landed")))


@pytest.fixture
def landed(settings: Settings, first_batch: Path) -> Settings:
    """An installation in which the batch `first` has landed and is not converted yet."""
    shutil.copytree(first_batch, settings.exports_dir / "first")
    return settings


@pytest.fixture(scope="session")
def festival(first_batch: Path, tmp_path_factory: pytest.TempPathFactory) -> Festival:
    def made() -> Festival:
        settings = festival_settings(tmp_path_factory.mktemp("festival") / "data")
        shutil.copytree(first_batch, settings.exports_dir / "first")
        refreshed = refresh(settings, with_report=True)
        assert refreshed.success, refreshed.errors
        return Festival(settings.data_dir, refreshed)

    return sharing.made_once("festival", made)


@pytest.fixture(scope="session")
def first_refresh(festival: Festival) -> Refreshed:
    """The result of the refresh from the batch `first`."""
    return festival.refreshed


@pytest.fixture
def published(festival: Festival, settings: Settings) -> Settings:
    """An installation of the test's own that has published the batch `first`."""
    copy_installation(festival.data_dir, settings.data_dir)
    return settings


@pytest.fixture
def instance() -> Iterator[DagsterInstance]:
    """A Dagster instance of the test's own that keeps runs and events in memory."""
    with DagsterInstance.ephemeral() as instance:
        yield instance


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A PostgreSQL server with nothing in it but what its users create."""
    with server_folder() as folder, running_postgres(folder / "data", configuration=QUICK) as server:
        yield server


@pytest.fixture(scope="session")
def ticketing_template(postgres_server: PostgresServer) -> str:
    """The name of a ticketing database with a small history, to be copied; nobody is connected to it."""
    execute(postgres_server.dsn(), "create database ticketing_template")
    create_schema(postgres_server.dsn("ticketing_template"))
    load_history(postgres_server.dsn("ticketing_template"), TicketingHistory(SMALL))
    return "ticketing_template"


@pytest.fixture
def ticketing_dsn(postgres_server: PostgresServer, ticketing_template: str) -> Iterator[str]:
    """The superuser's DSN of a ticketing database of the test's own, with a small history."""
    with database(postgres_server, ticketing_template) as dsn:
        yield dsn
