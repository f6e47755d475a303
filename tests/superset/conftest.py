"""Supersets for tests: one that all tests share, and ones that a test has to itself.

All tests of this folder run in one process (see `tests/conftest.py`), because setting Superset up takes half a minute.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from refreshes import Festival, copy_installation, festival_settings
from superset.axis_charts import make_axis_charts
from superset.bar_charts import make_bar_charts

from acl_assets.settings import Settings
from acl_assets.superset.bundle import import_bundle
from acl_assets.superset.client import SupersetClient
from acl_assets.superset.server import running_superset, set_up_superset


@dataclass(frozen=True)
class SupersetUnderTest:
    """A running Superset with the dashboards in it.

    Attributes:
        settings: of the installation whose published file it reads.
        url: where, without a slash at the end.
        user: name of the administrator.
        password: the administrator's.
    """

    settings: Settings
    url: str
    user: str
    password: str

    @contextmanager
    def client(self) -> Iterator[SupersetClient]:
        """A session of the administrator."""
        with SupersetClient(self.url, self.user, self.password) as client:
            yield client


@pytest.fixture(scope="session")
def superset_template(festival: Festival, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data folder of an installation that has published the batch `first` and set Superset up, to be copied."""
    settings = festival_settings(tmp_path_factory.mktemp("superset_template") / "data")
    copy_installation(festival.template, settings.data_dir)
    set_up_superset(settings)
    return settings.data_dir


@pytest.fixture(scope="session")
def superset(superset_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SupersetUnderTest]:
    """The Superset all tests share, with the repository's dashboards and those of `bar_charts` and `axis_charts`.

    Tests read it only, or make things under names of their own.
    """
    settings = festival_settings(tmp_path_factory.mktemp("superset") / "data")
    copy_installation(superset_template, settings.data_dir)
    with running_superset(settings) as server:
        with SupersetClient(server.url, server.user, server.password) as client:
            import_bundle(client, settings)
            make_bar_charts(client)
            make_axis_charts(client)
        yield SupersetUnderTest(settings, server.url, server.user, server.password)


@pytest.fixture
def superset_settings(superset_template: Path, tmp_path: Path) -> Settings:
    """An installation of the test's own, with published data and a Superset that is set up and does not run."""
    settings = festival_settings(tmp_path / "data")
    copy_installation(superset_template, settings.data_dir)
    return settings


@pytest.fixture
def own_superset(superset_settings: Settings) -> Iterator[SupersetUnderTest]:
    """A Superset of the test's own, without any dashboards: to be changed at will."""
    with running_superset(superset_settings) as server:
        yield SupersetUnderTest(superset_settings, server.url, server.user, server.password)
