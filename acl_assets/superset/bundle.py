"""The dashboards as code: what `superset/bundle` holds, and bringing it into a running Superset.

The folder holds YAML as Superset's own export writes it: `databases/`, `datasets/`, `charts/`, `dashboards/` and
`queries/`. Importing marks everything as kept in the repository; Superset shows the mark as a certification. By that
mark what has left the bundle is told from what people made for themselves, and the dashboards carry the digest of the
bundle they came from.

What belongs here: reading the bundle, importing it, and what it left behind. What does not: HTTP (`client`), whether
the charts show the truth (`verification`), and writing the bundle (`export`).
"""

from __future__ import annotations

import argparse
import copy
import hashlib
import io
import json
import re
import zipfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from acl_assets.settings import PROJECT_DIR, Settings
from acl_assets.superset.client import SupersetClient, SupersetError, superset_client

BUNDLE_DIR = PROJECT_DIR / "superset" / "bundle"
# Stands in the repository where an installation has the path of its published file.
PLACEHOLDER_URI = "duckdb:////published/acl.duckdb?access_mode=read_only"
KINDS = ("databases", "datasets", "charts", "dashboards", "queries")

_CERTIFIED_BY = "acl_assets"
_PROVENANCE = "Kept in the repository, in superset/bundle."
_QUERY_MARK = re.compile(rf"{re.escape(_PROVENANCE)} As: .*\Z")
_STATE = " State "
_NAMES = {
    "databases": "database_name",
    "datasets": "table_name",
    "charts": "slice_name",
    "dashboards": "dashboard_title",
    "queries": "label",
}
# In the order in which they can be removed: each kind before those it is made from.
_RESOURCES = {"dashboards": "dashboard", "charts": "chart", "datasets": "dataset", "queries": "saved_query"}


class BundleError(ValueError):
    """The bundle cannot be used; the message names the file and what is wrong with it."""


@dataclass(frozen=True)
class Document:
    """One YAML file of the bundle.

    Attributes:
        path: relative to the bundle, such as `charts/venues.yaml`.
        content: what the file says.
    """

    path: str
    content: dict[str, Any]

    @property
    def kind(self) -> str:
        """The folder it lies in, one of KINDS."""
        return self.path.split("/", 1)[0]

    @property
    def uuid(self) -> str:
        """What it is known by in every Superset."""
        return str(self.content["uuid"])

    @property
    def name(self) -> str:
        """What people call it."""
        return str(self.content[_NAMES[self.kind]])


@dataclass(frozen=True)
class Bundle:
    """Everything the repository keeps for Superset, in the order of the paths."""

    documents: tuple[Document, ...]

    def of_kind(self, kind: str) -> list[Document]:
        """The documents of one kind."""
        return [document for document in self.documents if document.kind == kind]

    def for_installation(self, settings: Settings) -> Bundle:
        """The bundle as it is imported: reading this installation's published file, and marked as the repository's.

        Raises:
            BundleError: the path of the published file cannot be written as a database URI.
        """
        uri = database_uri(settings)
        pointed = [_with(document, sqlalchemy_uri=uri) for document in self.of_kind("databases")]
        rest = [document for document in self.documents if document.kind != "databases"]
        installed = Bundle((*pointed, *rest))
        return Bundle(tuple(_marked(document, installed.digest) for document in installed.documents))

    @cached_property
    def digest(self) -> str:
        """SHA-256 of everything in it, in hexadecimal."""
        return hashlib.sha256(self.archive).hexdigest()

    @cached_property
    def archive(self) -> bytes:
        """It as the ZIP file that Superset imports; equal bundles give equal bytes."""
        import yaml

        metadata = {"version": "1.0.0", "type": "assets", "timestamp": "2022-08-01T00:00:00+00:00"}
        contents = {"metadata.yaml": metadata, **{document.path: document.content for document in self.documents}}
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
            for path in sorted(contents):
                text = yaml.safe_dump(contents[path], sort_keys=True, allow_unicode=True)
                # Without a time of its own: ZipInfo's default is fixed.
                archive.writestr(zipfile.ZipInfo(f"bundle/{path}"), text)
        return buffer.getvalue()


def read_bundle(folder: Path = BUNDLE_DIR) -> Bundle:
    """Read every YAML file of a bundle.

    Raises:
        BundleError: the folder is missing or holds a file that is not what Superset could import.
    """
    import yaml

    if not folder.is_dir():
        raise BundleError(f"There is no {folder} to import dashboards from.")
    documents = []
    for file in sorted(folder.rglob("*.yaml")):
        path = file.relative_to(folder).as_posix()
        if path == "metadata.yaml":
            continue
        try:
            content = yaml.safe_load(file.read_text())
        except yaml.YAMLError as error:
            raise BundleError(f"{file} is not YAML: {error}") from error
        document = Document(path, content)
        _require_importable(file, document)
        documents.append(document)
    return Bundle(tuple(documents))


def _require_importable(file: Path, document: Document) -> None:
    if document.kind not in KINDS:
        raise BundleError(f"{file} lies in none of the folders {', '.join(KINDS)}; Superset would pass it over.")
    content = document.content
    missing = [key for key in ("uuid", _NAMES[document.kind]) if not isinstance(content, dict) or not content.get(key)]
    if missing:
        raise BundleError(f"{file} does not say its {' and '.join(missing)}.")


def database_uri(settings: Settings) -> str:
    """How Superset opens the published file: to read it, and no other file.

    Raises:
        BundleError: the path holds a character that would end it.
    """
    path = str(settings.published_file)
    if "?" in path:
        raise BundleError(
            f"A database URI cannot name {path}: the question mark would end the path. Move ACL_DATA_DIR."
        )
    return f"duckdb:///{path}?access_mode=read_only&enable_external_access=false&lock_configuration=true"


def _with(document: Document, **changes: Any) -> Document:
    return Document(document.path, {**document.content, **changes})


def _marked(document: Document, digest: str) -> Document:
    if document.kind in ("charts", "dashboards"):
        state = f"{_STATE}{digest}" if document.kind == "dashboards" else ""
        return _with(document, certified_by=_CERTIFIED_BY, certification_details=_PROVENANCE + state)
    if document.kind == "datasets":
        certification = {"certified_by": _CERTIFIED_BY, "details": _PROVENANCE}
        return _with(document, extra={**(document.content.get("extra") or {}), "certification": certification})
    if document.kind == "queries":
        description = f"{document.content.get('description') or ''}\n{_query_mark(document.name)}".strip()
        return _with(document, description=description)
    return document


def _query_mark(label: str) -> str:
    """The end of a saved query's description; SQL Lab copies descriptions into what people save as their own."""
    return f"{_PROVENANCE} As: {label}"


def without_mark(document: Document) -> Document:
    """A document as the repository keeps it: what the import adds taken away again."""
    content = copy.deepcopy(document.content)
    if document.kind == "databases":
        content["sqlalchemy_uri"] = PLACEHOLDER_URI
    if content.get("certified_by") == _CERTIFIED_BY:
        content["certified_by"] = content["certification_details"] = None
    extra = content.get("extra")
    if document.kind == "datasets" and extra and _is_our_certification(extra.get("certification")):
        content["extra"] = {name: value for name, value in extra.items() if name != "certification"} or None
    if document.kind == "queries":
        content["description"] = _QUERY_MARK.sub("", content.get("description") or "").rstrip()
    return Document(document.path, content)


@dataclass(frozen=True)
class Orphan:
    """What an earlier bundle brought into Superset and this one does not hold.

    Attributes:
        kind: one of KINDS.
        id: its number in Superset.
        name: what people call it.
    """

    kind: str
    id: int
    name: str

    def __str__(self) -> str:
        return f"{_RESOURCES[self.kind].replace('_', ' ')} {self.name!r} (id {self.id})"


def import_bundle(client: SupersetClient, settings: Settings, folder: Path = BUNDLE_DIR) -> Bundle:
    """Bring the bundle into Superset, over what it holds of it; nothing else is touched.

    Importing twice changes nothing: ids stay, because Superset knows everything by its uuid. What has left the bundle
    stays too, see `find_orphans`.

    Returns:
        The bundle as imported.

    Raises:
        BundleError: the bundle cannot be used.
        SupersetError: Superset did not take it, or took only part of it.
    """
    bundle = read_bundle(folder).for_installation(settings)
    client.post("/api/v1/assets/import/", files={"bundle": ("bundle.zip", bundle.archive, "application/zip")})
    missing = _missing(client, bundle)
    if missing:
        raise SupersetError(
            f"{client.url} answered that it has imported the bundle, but it does not have {', '.join(missing)}."
        )
    return bundle


def is_imported(client: SupersetClient, bundle: Bundle) -> bool:
    """Whether Superset has all of a bundle `for_installation`, from the very state it is in."""
    imported = {entry["uuid"]: entry.get("certification_details") for entry in client.everything("/api/v1/dashboard/")}
    wanted = {document.uuid: document.content["certification_details"] for document in bundle.of_kind("dashboards")}
    return wanted.items() <= imported.items() and not _missing(client, bundle)


def _missing(client: SupersetClient, bundle: Bundle) -> list[str]:
    """Names of the documents that Superset does not hold."""
    missing = []
    for kind, resource in _RESOURCES.items():
        # Superset lists saved queries to whoever made them alone; it imports all of a bundle or nothing.
        if kind == "queries":
            continue
        held = {_identity(kind, entry) for entry in client.everything(f"/api/v1/{resource}/")}
        missing += [f"{kind}/{item.name}" for item in bundle.of_kind(kind) if _identity(kind, item.content) not in held]
    return missing


def refresh_caches(client: SupersetClient, bundle: Bundle) -> None:
    """Make Superset forget what it remembers of the published file: results of charts, and which tables there are.

    As configured here it remembers nothing; an installation with a Redis does.

    Raises:
        SupersetError: it does not hold the bundle's database.
    """
    database = bundle.of_kind("databases")[0]
    schemas = {dataset.content["schema"] for dataset in bundle.of_kind("datasets")}
    tables = [
        {
            "database_name": database.name,
            "schema": dataset.content["schema"],
            "datasource_name": dataset.name,
            "datasource_type": "table",
        }
        for dataset in bundle.of_kind("datasets")
    ]
    client.post("/api/v1/cachekey/invalidate", json={"datasources": tables})
    numbers = {entry["uuid"]: entry["id"] for entry in client.everything("/api/v1/database/")}
    if database.uuid not in numbers:
        raise SupersetError(f"{client.url} does not hold the database {database.name}; import the bundle.")
    number = numbers[database.uuid]
    client.get(f"/api/v1/database/{number}/schemas/", q={"force": True})
    for schema in sorted(schemas):
        client.get(f"/api/v1/database/{number}/tables/", q={"force": True, "schema_name": schema})


def find_orphans(client: SupersetClient, bundle: Bundle) -> list[Orphan]:
    """What bears the repository's mark in Superset and is not in the bundle, dashboards first.

    What people made for themselves bears no mark, and is none. Of saved queries only those of the client's user are
    looked at: Superset lists no others.
    """
    orphans = []
    for kind, resource in _RESOURCES.items():
        kept = {_identity(kind, document.content) for document in bundle.of_kind(kind)}
        orphans += [
            Orphan(kind, entry["id"], entry[_NAMES[kind]])
            for entry in client.everything(f"/api/v1/{resource}/")
            if _is_marked(kind, entry) and _identity(kind, entry) not in kept
        ]
    return orphans


def remove_orphans(client: SupersetClient, orphans: list[Orphan]) -> None:
    """Delete orphans from Superset.

    Raises:
        SupersetError: one of them is still needed; those before it are gone.
    """
    for orphan in orphans:
        client.delete(f"/api/v1/{_RESOURCES[orphan.kind]}/{orphan.id}")


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `import` and `orphans` to the command line."""
    importing = commands.add_parser("import", help="bring superset/bundle into a running Superset")
    importing.set_defaults(run=_import)
    orphans = commands.add_parser("orphans", help="list what left superset/bundle and is still in Superset")
    orphans.add_argument("--remove", action="store_true", help="delete them from Superset")
    orphans.set_defaults(run=_orphans)


def _import(_options: argparse.Namespace, settings: Settings) -> int:
    with superset_client(settings) as client:
        bundle = import_bundle(client, settings, BUNDLE_DIR)
        print(f"Imported {len(bundle.documents)} files of {BUNDLE_DIR} into {client.url}.")
        _print_orphans(find_orphans(client, bundle))
    return 0


def _orphans(options: argparse.Namespace, settings: Settings) -> int:
    with superset_client(settings) as client:
        orphans = find_orphans(client, read_bundle(BUNDLE_DIR))
        _print_orphans(orphans)
        if options.remove:
            remove_orphans(client, orphans)
            print(f"Removed {len(orphans)}.")
    return 0


def _print_orphans(orphans: list[Orphan]) -> None:
    for orphan in orphans:
        print(f"No longer in the repository: {orphan}")


def _identity(kind: str, entry: dict[str, Any]) -> str:
    """What an entry is known by: Superset's list of saved queries does not tell their uuids."""
    return str(entry["label"] if kind == "queries" else entry["uuid"])


def _is_marked(kind: str, entry: dict[str, Any]) -> bool:
    if kind == "queries":
        return str(entry.get("description") or "").endswith(_query_mark(entry["label"]))
    if kind == "datasets":
        return _is_our_certification(json.loads(entry.get("extra") or "{}").get("certification"))
    return bool(entry.get("certified_by") == _CERTIFIED_BY)


def _is_our_certification(certification: Any) -> bool:
    return isinstance(certification, dict) and certification.get("certified_by") == _CERTIFIED_BY
