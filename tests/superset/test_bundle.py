"""The bundle is read as it lies there, imported as a whole, and what has left it is found and nothing else."""

from __future__ import annotations

import io
import os
import shutil
import sqlite3
import zipfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote_plus

import pytest
import yaml
from refreshes import festival_settings
from superset.conftest import SupersetUnderTest

from acl_assets.superset import __main__ as command_line
from acl_assets.superset.bundle import (
    BUNDLE_DIR,
    KINDS,
    Bundle,
    BundleError,
    Document,
    Orphan,
    database_uri,
    find_orphans,
    import_bundle,
    is_imported,
    read_bundle,
    refresh_caches,
    remove_orphans,
    without_mark,
)
from acl_assets.superset.client import SupersetClient, SupersetError
from acl_assets.superset.server import superset_home


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the bundle, to be changed."""
    return Path(shutil.copytree(BUNDLE_DIR, tmp_path / "bundle"))


def edit(file: Path, change: Callable[[dict[str, Any]], object]) -> None:
    content = yaml.safe_load(file.read_text())
    change(content)
    file.write_text(yaml.safe_dump(content))


# Reading --------------------------------------------------------------------------------------------------------


def test_every_file_is_read(folder: Path) -> None:
    bundle = read_bundle(folder)
    assert {document.path for document in bundle.documents} == {
        file.relative_to(folder).as_posix() for file in folder.rglob("*.yaml") if file.name != "metadata.yaml"
    }
    assert {document.kind for document in bundle.documents} == set(KINDS)


def test_equal_bundles_are_equal_bytes(folder: Path) -> None:
    """Their digest decides whether there is something to import; neither time nor the order of files is in it."""
    for file in sorted(folder.rglob("*.yaml"), reverse=True):
        file.touch()
    assert read_bundle(folder).archive == read_bundle().archive
    edit(next((folder / "charts").glob("*.yaml")), lambda chart: chart.update(description="changed"))
    assert read_bundle(folder).digest != read_bundle().digest


def test_an_archive_is_what_superset_imports() -> None:
    with zipfile.ZipFile(io.BytesIO(read_bundle().archive)) as archive:
        metadata = yaml.safe_load(archive.read("bundle/metadata.yaml"))
        databases = [name for name in archive.namelist() if name.startswith("bundle/databases/")]
    assert metadata["type"] == "assets"
    assert len(databases) == 1


@pytest.mark.parametrize(
    ("path", "text", "complaint"),
    [
        ("charts/broken.yaml", "uuid: [", "broken.yaml is not YAML"),
        ("charts/list.yaml", "- 1", "list.yaml does not say its uuid and slice_name"),
        ("charts/nameless.yaml", "uuid: 1", "nameless.yaml does not say its slice_name"),
        ("pictures/bands.yaml", "uuid: 1", "lies in none of the folders databases, datasets"),
    ],
)
def test_what_superset_could_not_import_is_refused(folder: Path, path: str, text: str, complaint: str) -> None:
    """Superset passes over a file it does not know without a word."""
    (folder / path).parent.mkdir(exist_ok=True)
    (folder / path).write_text(text)
    with pytest.raises(BundleError, match=complaint):
        read_bundle(folder)


def test_a_missing_bundle_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="There is no"):
        read_bundle(tmp_path / "nowhere")


# For one installation -------------------------------------------------------------------------------------------


def test_the_database_is_this_installations_published_file(tmp_path: Path) -> None:
    """To be read, and no other file: SQL Lab could otherwise open any file there is."""
    settings = festival_settings(tmp_path / "data of the festival")
    (database,) = read_bundle().for_installation(settings).of_kind("databases")
    assert database.content["sqlalchemy_uri"] == database_uri(settings)
    path, _, options = database_uri(settings).removeprefix("duckdb:///").partition("?")
    assert Path(path) == settings.published_file
    assert set(options.split("&")) == {
        "access_mode=read_only", "enable_external_access=false", "lock_configuration=true",
    }  # fmt: skip


def test_a_path_no_uri_can_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="question mark"):
        database_uri(festival_settings(tmp_path / "what?"))


def test_another_place_is_another_bundle(tmp_path: Path) -> None:
    """Superset must be told when the published file moves."""
    one, other = (read_bundle().for_installation(festival_settings(tmp_path / name)) for name in ("one", "other"))
    assert one.digest != other.digest


def test_the_mark_can_be_taken_away_again(tmp_path: Path) -> None:
    """What is exported from Superset is what lies in the repository."""
    marked = read_bundle().for_installation(festival_settings(tmp_path))
    assert any("certified_by" in document.content for document in marked.documents)
    for before, after in zip(
        read_bundle().documents, sorted(map(without_mark, marked.documents), key=_path), strict=True
    ):
        assert _said(before.content) == _said(after.content)


def test_a_saved_query_loses_its_mark_when_it_was_renamed_too(tmp_path: Path) -> None:
    query = read_bundle().for_installation(festival_settings(tmp_path)).of_kind("queries")[0]
    renamed = without_mark(Document(query.path, {**query.content, "label": "Mine"}))
    assert renamed.content["description"] == read_bundle().of_kind("queries")[0].content["description"]


def _path(document: Document) -> str:
    return document.path


def _said(content: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in content.items() if value is not None}


# In Superset ----------------------------------------------------------------------------------------------------


def contents(client: SupersetClient) -> dict[str, dict[str, int]]:
    """Ids by name, of everything in Superset."""
    names = {"dashboard": "dashboard_title", "chart": "slice_name", "dataset": "table_name", "saved_query": "label"}
    return {
        kind: {entry[name]: entry["id"] for entry in client.everything(f"/api/v1/{kind}/")}
        for kind, name in names.items()
    }


@contextmanager
def another_administrator(superset: SupersetUnderTest) -> Iterator[SupersetClient]:
    """A session of an administrator who has imported nothing."""
    name = password = f"administrator-{os.getpid()}"
    with superset.client() as client:
        [role] = [role["id"] for role in client.everything("/api/v1/security/roles/") if role["name"] == "Admin"]
        user = {"username": name, "first_name": "Second", "last_name": "Administrator", "email": f"{name}@localhost"}
        rights = {"active": True, "password": password, "roles": [role]}
        client.post("/api/v1/security/users/", json=user | rights)
    with SupersetClient(superset.url, name, password) as client:
        yield client


@pytest.mark.server
@pytest.mark.slow
def test_importing_twice_changes_nothing_and_what_left_the_bundle_is_found(
    own_superset: SupersetUnderTest, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The life of a bundle: imported twice, with people's own charts beside it, then without some of its parts."""
    settings = replace(own_superset.settings, superset_url=own_superset.url, superset_password=own_superset.password)
    with own_superset.client() as client:
        bundle = read_bundle(folder).for_installation(settings)
        assert not is_imported(client, bundle)
        import_bundle(client, settings, folder)
        first = contents(client)
        assert is_imported(client, bundle)
        assert {kind: len(entries) for kind, entries in first.items()} == {
            "dashboard": len(bundle.of_kind("dashboards")),
            "chart": len(bundle.of_kind("charts")),
            "dataset": len(bundle.of_kind("datasets")),
            "saved_query": len(bundle.of_kind("queries")),
        }

        # Somebody makes a chart and a dashboard of their own, and saves a query of the bundle as their own in SQL Lab.
        dataset = next(iter(first["dataset"].values()))
        chart = {"slice_name": "My chart", "viz_type": "table", "datasource_id": dataset, "datasource_type": "table"}
        client.post("/api/v1/chart/", json=chart)
        client.post("/api/v1/dashboard/", json={"dashboard_title": "My dashboard"})
        query = next(client.everything("/api/v1/saved_query/"))
        copied = {name: query[name] for name in ("db_id", "description", "schema", "sql")}
        client.post("/api/v1/saved_query/", json={**copied, "label": "My query"})
        own = contents(client)

        import_bundle(client, settings, folder)
        assert contents(client) == own
        assert find_orphans(client, bundle) == []

        # Somebody else may import too, to whom Superset does not list the queries.
        with another_administrator(own_superset) as other:
            assert contents(other)["saved_query"] == {}
            assert is_imported(other, bundle)
            import_bundle(other, settings, folder)
        assert contents(client) == own

        # A chart, a query and a dashboard leave the bundle.
        removed = sorted((folder / "charts").glob("*.yaml"))[0]
        gone = {"chart": yaml.safe_load(removed.read_text())["slice_name"], "saved query": query["label"]}
        removed.unlink()
        [lost] = [document.path for document in bundle.of_kind("queries") if document.name == query["label"]]
        (folder / lost).unlink()
        smaller = read_bundle(folder)
        orphans = find_orphans(client, smaller)
        assert sorted(map(str, orphans)) == sorted(
            f"{kind} {name!r} (id {own[kind.replace(' ', '_')][name]})" for kind, name in gone.items()
        )
        assert {orphan.name for orphan in find_orphans(client, Bundle(()))} == {
            name for entries in first.values() for name in entries
        }

        # Reported by the command line, and removed on request alone.
        monkeypatch.setattr("acl_assets.superset.bundle.BUNDLE_DIR", folder)
        monkeypatch.setenv("ACL_DATA_DIR", str(settings.data_dir))
        monkeypatch.setenv("ACL_SUPERSET_URL", own_superset.url)
        monkeypatch.setenv("ACL_SUPERSET_PASSWORD", own_superset.password)
        assert command_line.main(["orphans"]) == 0
        assert gone["chart"] in capsys.readouterr().out
        assert contents(client) == own
        assert command_line.main(["orphans", "--remove"]) == 0
        left = contents(client)
        assert gone["chart"] not in left["chart"]
        assert "My chart" in left["chart"]
        assert "My dashboard" in left["dashboard"]
        assert gone["saved query"] not in left["saved_query"]
        assert "My query" in left["saved_query"]
        assert find_orphans(client, smaller) == []

        # A bundle some of which is gone from Superset counts as not imported.
        assert not is_imported(client, bundle)


@pytest.mark.server
def test_a_bundle_superset_refuses_is_an_error_and_leaves_nothing(superset: SupersetUnderTest, folder: Path) -> None:
    """Superset imports all of a bundle or nothing, and keeps the reason to itself."""
    chart = sorted((folder / "charts").glob("*.yaml"))[0]
    edit(chart, lambda content: content.update(slice_name="Never seen", viz_type=None))
    with superset.client() as client:
        with pytest.raises(SupersetError, match=r"assets/import/ was refused with status 500: .*Superset's log"):
            import_bundle(client, superset.settings, folder)
        assert "Never seen" not in contents(client)["chart"]


@pytest.mark.server
def test_an_orphan_that_is_gone_already_is_an_error_and_not_passed_over(superset: SupersetUnderTest) -> None:
    with superset.client() as client, pytest.raises(SupersetError, match="404"):
        remove_orphans(client, [Orphan("charts", 987654, "Nobody's")])


@pytest.mark.server
def test_what_superset_remembers_of_the_published_file_is_forgotten(superset: SupersetUnderTest) -> None:
    """Results of charts by the keys it keeps of them; schemas and tables by asking past what it remembers."""
    asked: list[str] = []
    bundle = read_bundle()
    metadata_file = superset_home(superset.settings) / "metadata.db"
    with superset.client() as client, closing(sqlite3.connect(metadata_file, timeout=30)) as metadata:
        kept = {dataset.uuid for dataset in bundle.of_kind("datasets")}
        entries = client.everything("/api/v1/dataset/")
        datasets = {f"{entry['id']}__table" for entry in entries if entry["uuid"] in kept}
        uids = [*datasets, "987654__table"]
        keys = [(f"test-{number}", uid) for number, uid in enumerate(uids)]
        remember = "insert into cache_keys (cache_key, datasource_uid, created_on) values (?, ?, current_timestamp)"
        metadata.executemany(remember, keys)
        metadata.commit()
        client._session.hooks["response"].append(lambda answer, **_: asked.append(unquote_plus(answer.url)))
        refresh_caches(client, bundle)
        [left] = metadata.execute("select datasource_uid from cache_keys where cache_key like 'test-%'").fetchall()
        metadata.execute("delete from cache_keys where cache_key like 'test-%'")
        metadata.commit()
    assert left == ("987654__table",)
    forced = [address for address in asked if '"force": true' in address]
    schemas = {dataset.content["schema"] for dataset in bundle.of_kind("datasets")}
    assert any("/schemas/" in address for address in forced)
    for schema in schemas:
        assert any("/tables/" in address and f'"schema_name": "{schema}"' in address for address in forced)


@pytest.mark.server
def test_caches_of_a_database_superset_does_not_hold_are_an_error(superset: SupersetUnderTest) -> None:
    bundle = read_bundle()
    [database] = bundle.of_kind("databases")
    unknown = Document(database.path, {**database.content, "uuid": "00000000-0000-4000-8000-000000000000"})
    rest = [document for document in bundle.documents if document.kind != "databases"]
    with superset.client() as client, pytest.raises(SupersetError, match="does not hold the database ACL warehouse"):
        refresh_caches(client, Bundle((unknown, *rest)))
