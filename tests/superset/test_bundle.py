"""The bundle: reading it, importing it, and finding what has left it."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from refreshes import festival_settings
from superset.conftest import SupersetUnderTest

from acl_assets.superset import __main__ as command_line
from acl_assets.superset.bundle import (
    KINDS,
    Bundle,
    BundleError,
    database_uri,
    find_orphans,
    import_bundle,
    is_imported,
    read_bundle,
    without_mark,
)
from acl_assets.superset.client import SupersetClient, SupersetError


def edit(file: Path, change: Callable[[dict[str, Any]], object]) -> None:
    content = yaml.safe_load(file.read_text())
    change(content)
    file.write_text(yaml.safe_dump(content))


def test_an_archive_depends_on_the_content_alone(bundle_folder: Path) -> None:
    """Its digest decides whether the bundle is imported; neither time nor the order of files is in it."""
    assert {document.kind for document in read_bundle().documents} == set(KINDS)
    for file in sorted(bundle_folder.rglob("*.yaml"), reverse=True):
        file.touch()
    assert read_bundle(bundle_folder).archive == read_bundle().archive
    with zipfile.ZipFile(io.BytesIO(read_bundle().archive)) as archive:
        assert yaml.safe_load(archive.read("bundle/metadata.yaml"))["type"] == "assets"
    edit(next((bundle_folder / "charts").glob("*.yaml")), lambda chart: chart.update(description="changed"))
    assert read_bundle(bundle_folder).digest != read_bundle().digest


@pytest.mark.parametrize(
    ("path", "text", "complaint"),
    [
        ("charts/broken.yaml", "uuid: [", "broken.yaml is not YAML"),
        ("charts/list.yaml", "- 1", "list.yaml has no uuid and no slice_name"),
        ("charts/nameless.yaml", "uuid: 1", "nameless.yaml has no slice_name"),
        ("pictures/bands.yaml", "uuid: 1", "is in none of the folders databases, datasets"),
    ],
)
def test_files_that_superset_could_not_import_are_refused(
    bundle_folder: Path, path: str, text: str, complaint: str
) -> None:
    """Superset ignores a file of an unknown kind."""
    (bundle_folder / path).parent.mkdir(exist_ok=True)
    (bundle_folder / path).write_text(text)
    with pytest.raises(BundleError, match=complaint):
        read_bundle(bundle_folder)


def test_a_missing_bundle_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="There is no"):
        read_bundle(tmp_path / "nowhere")


def test_the_database_is_this_installations_published_file_read_only(tmp_path: Path) -> None:
    """Without the options SQL Lab could open any file."""
    settings = festival_settings(tmp_path / "data of the festival")
    (database,) = read_bundle().for_installation(settings).of_kind("databases")
    assert database.content["sqlalchemy_uri"] == database_uri(settings)
    path, _, options = database_uri(settings).removeprefix("duckdb:///").partition("?")
    assert Path(path) == settings.published_file
    assert set(options.split("&")) == {
        "access_mode=read_only", "enable_external_access=false", "lock_configuration=true",
    }  # fmt: skip


def test_another_place_is_another_bundle(tmp_path: Path) -> None:
    one, other = (read_bundle().for_installation(festival_settings(tmp_path / name)) for name in ("one", "other"))
    assert one.digest != other.digest


def test_the_mark_can_be_taken_away_again(tmp_path: Path) -> None:
    """An export of the imported bundle equals the files in the repository."""
    marked = read_bundle().for_installation(festival_settings(tmp_path))
    assert any("certified_by" in document.content for document in marked.documents)
    for before, marked_document in zip(read_bundle().documents, marked.documents, strict=True):
        after = without_mark(marked_document)
        assert {name: value for name, value in after.content.items() if value is not None} == before.content


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
    name = password = "another-administrator"  # noqa: S105, a user of this test
    with superset.client() as client:
        [role] = [role["id"] for role in client.everything("/api/v1/security/roles/") if role["name"] == "Admin"]
        user = {"username": name, "first_name": "Second", "last_name": "Administrator", "email": f"{name}@localhost"}
        rights = {"active": True, "password": password, "roles": [role]}
        if name not in {user["username"] for user in client.everything("/api/v1/security/users/")}:
            client.post("/api/v1/security/users/", json=user | rights)
    with SupersetClient(superset.url, name, password) as client:
        yield client


@pytest.mark.server
def test_importing_twice_changes_nothing_and_what_left_the_bundle_is_found(
    edited_superset: SupersetUnderTest,
    bundle_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    settings = edited_superset.settings
    with edited_superset.client() as client:
        bundle = read_bundle(bundle_folder).for_installation(settings)
        assert is_imported(client, bundle)
        dataset = next(iter(contents(client)["dataset"].values()))
        chart = {"slice_name": "My chart", "viz_type": "table", "datasource_id": dataset, "datasource_type": "table"}
        client.post("/api/v1/chart/", json=chart)
        client.post("/api/v1/dashboard/", json={"dashboard_title": "My dashboard"})
        before = contents(client)
        import_bundle(client, settings, bundle_folder)
        assert contents(client) == before
        assert find_orphans(client, bundle) == []
        # Superset does not list the saved queries to another administrator.
        with another_administrator(edited_superset) as other:
            assert contents(other)["saved_query"] == {}
            assert is_imported(other, bundle)

        removed = sorted((bundle_folder / "charts").glob("*.yaml"))[0]
        gone = yaml.safe_load(removed.read_text())["slice_name"]
        removed.unlink()
        smaller = read_bundle(bundle_folder)
        orphans = [str(orphan) for orphan in find_orphans(client, smaller)]
        assert orphans == [f"chart {gone!r} (id {before['chart'][gone]})"]
        assert {orphan.name for orphan in find_orphans(client, Bundle(()))} == {
            document.name for kind in ("dashboards", "charts", "datasets") for document in bundle.of_kind(kind)
        }

        monkeypatch.setattr("acl_assets.superset.bundle.BUNDLE_DIR", bundle_folder)
        monkeypatch.setenv("ACL_DATA_DIR", str(settings.data_dir))
        monkeypatch.setenv("ACL_SUPERSET_URL", edited_superset.url)
        monkeypatch.setenv("ACL_SUPERSET_PASSWORD", edited_superset.password)
        assert command_line.main(["orphans"]) == 0
        assert gone in capsys.readouterr().out
        assert contents(client) == before
        assert command_line.main(["orphans", "--remove"]) == 0
        left = contents(client)
        assert gone not in left["chart"]
        assert "My chart" in left["chart"]
        assert "My dashboard" in left["dashboard"]
        # A bundle of which Superset lacks something is not imported.
        assert not is_imported(client, bundle)


@pytest.mark.server
def test_a_bundle_superset_refuses_is_an_error_and_changes_nothing(
    superset: SupersetUnderTest, bundle_folder: Path
) -> None:
    chart = sorted((bundle_folder / "charts").glob("*.yaml"))[0]
    edit(chart, lambda content: content.update(slice_name="Never seen", viz_type=None))
    with superset.client() as client:
        with pytest.raises(SupersetError, match=r"assets/import/ was refused with status 500: .*Superset's log"):
            import_bundle(client, superset.settings, bundle_folder)
        assert "Never seen" not in contents(client)["chart"]
