"""One running Superset that all tests of this folder share.

The tests run in one process (see `tests/conftest.py`), because setting Superset up takes half a minute. A test that
changes Superset or the published file uses `edited_superset` or `swapped`, which restore them.
"""

import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pytest
from refreshes import Festival, copy_installation, festival_settings

from acl_assets.settings import Settings
from acl_assets.superset.bundle import import_bundle
from acl_assets.superset.client import SupersetClient, superset_client, superset_home
from acl_assets.superset.server import running_superset

Ask = Callable[..., dict[str, Any]]


@dataclass(frozen=True)
class SupersetUnderTest:
    """A running Superset with the dashboards in it; `url` has no slash at the end."""

    settings: Settings
    url: str

    def client(self, user: str | None = None) -> SupersetClient:
        """A client of the administrator, or of a user that `add_user` made."""
        administrator = superset_client(self.settings.with_changes(superset_url=self.url))
        return SupersetClient(self.url, user, user) if user else administrator

    def add_user(self, name: str, *roles: str) -> SupersetClient:
        """Create a user with these roles and a password that is the name."""
        with self.client() as client:
            known = {found["name"]: found["id"] for found in client.everything("/api/v1/security/roles/")}
            user = {"username": name, "first_name": name, "last_name": roles[0], "email": f"{name}@localhost"}
            rights = {"active": True, "password": name, "roles": [known[role] for role in roles]}
            client.post("/api/v1/security/users/", json=user | rights)
        return self.client(name)


@pytest.fixture(scope="session")
def superset(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SupersetUnderTest]:
    """The Superset that all tests share, with the repository's dashboards."""
    settings = festival_settings(tmp_path_factory.mktemp("superset") / "data")
    with running_superset(settings) as server:
        # Requested only now, so that another process can make it while Superset is set up.
        festival: Festival = request.getfixturevalue("festival")
        copy_installation(festival.data_dir, settings.data_dir)
        running = SupersetUnderTest(settings, server.url)
        with running.client() as client:
            import_bundle(client, settings)
        yield running


@pytest.fixture(scope="session")
def viewer(superset: SupersetUnderTest) -> Iterator[SupersetClient]:
    """A session of somebody who has the role for looking and no other."""
    with superset.add_user("viewer", "ACL viewer") as client:
        yield client


@pytest.fixture
def superset_settings(superset: SupersetUnderTest, published: Settings) -> Settings:
    """An installation with published data and a Superset that is set up and does not run."""
    home, copy = superset_home(superset.settings), superset_home(published)
    shutil.copytree(home, copy, ignore=shutil.ignore_patterns("metadata.db*", "server.*"))
    with sqlite3.connect(home / "metadata.db") as metadata, sqlite3.connect(copy / "metadata.db") as copied:
        metadata.backup(copied)
    return published


@pytest.fixture
def edited_superset(superset: SupersetUnderTest) -> Iterator[SupersetUnderTest]:
    """The shared Superset, to be edited: afterwards its metadata is as it was before."""
    file = superset_home(superset.settings) / "metadata.db"
    with closing(sqlite3.connect(file, timeout=30.0)) as metadata, closing(sqlite3.connect(":memory:")) as before:
        metadata.backup(before)
        yield superset
        before.backup(metadata)


@pytest.fixture
def swapped(superset: SupersetUnderTest) -> Iterator[Callable[..., None]]:
    """Replace the published file of the shared Superset: `swapped(*statements)` publishes the original, changed."""
    published = superset.settings.published_file
    original = Path(shutil.copy(published, published.with_suffix(".original")))

    def swap(*statements: str) -> None:
        new = Path(shutil.copy(original, published.with_suffix(".new")))
        with duckdb.connect(str(new)) as connection:
            for statement in statements:
                connection.execute(statement)
        os.replace(new, published)

    yield swap
    os.replace(original, published)


def sql_lab(client: SupersetClient) -> Ask:
    """Return a function that runs SQL on the warehouse as SQL Lab does, and returns the answer."""
    [warehouse] = client.numbers("/api/v1/database/").values()

    def run(sql: str, limit: int | None = None) -> dict[str, Any]:
        query = {"database_id": warehouse, "sql": sql, "runAsync": False, "schema": "data_products"}
        return client.post("/api/v1/sqllab/execute/", json=query | ({"queryLimit": limit} if limit else {}))

    return run


def new_chart(name: str, dataset: int, **more: Any) -> dict[str, Any]:
    """The body of a request that creates a chart which counts the rows of a dataset."""
    content = {"slice_name": name, "viz_type": "big_number_total", "datasource_id": dataset, "datasource_type": "table"}
    return content | {"params": '{"viz_type": "big_number_total", "metric": "count"}'} | more
