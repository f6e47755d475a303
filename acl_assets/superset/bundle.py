"""The dashboards as code: read `superset/bundle`, import it into a running Superset, and find what left it.

The folder holds YAML as Superset's own export writes it. The import certifies datasets, charts and dashboards as kept
in the repository. This mark distinguishes objects that left the bundle from those that people made. It holds a digest
of the object, so that edits in Superset are found. The mark of a dashboard also holds the digest of the bundle, so an
import is only repeated when the bundle changed.
"""

import hashlib
import io
import json
import re
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, Self

import yaml
from yaml import CSafeDumper, CSafeLoader

from acl_assets.settings import PROJECT_DIR, Settings
from acl_assets.superset.canonical import canonical_content
from acl_assets.superset.client import SupersetClient, SupersetError, superset_home

BUNDLE_DIR = PROJECT_DIR / "superset" / "bundle"
# Stands in the repository where an installation has the path of its published file.
PLACEHOLDER_URI = "duckdb:////published/acl.duckdb?access_mode=read_only"

_CERTIFIED_BY = "acl_assets"
_NAMES = {
    "databases": "database_name",
    "datasets": "table_name",
    "charts": "slice_name",
    "dashboards": "dashboard_title",
    "queries": "label",
}
KINDS = tuple(_NAMES)
# Dashboards before charts before datasets: the order in which Superset lets them be deleted.
RESOURCES = {"dashboards": "dashboard", "charts": "chart", "datasets": "dataset"}
"""Kinds of objects that an import marks, with their names in the API."""
# What people can set in Superset and the bundle leaves out where it is empty. An import keeps what it does not name.
_CLEARED = {
    "datasets": (
        "cache_timeout", "currency_code_column", "default_endpoint", "description", "fetch_values_predicate", "sql",
        "main_dttm_col", "template_params",
    ),
    "columns": ("datetime_format", "description", "expression", "extra", "python_date_format", "verbose_name"),
    "metrics": ("currency", "d3format", "description", "extra", "verbose_name", "warning_text"),
    "charts": ("cache_timeout", "description"),
    "dashboards": ("css", "description"),
}  # fmt: skip


@dataclass(frozen=True)
class Document:
    """One YAML file of the bundle, by its path relative to the bundle, such as `charts/venues.yaml`."""

    path: str
    content: dict[str, Any]

    @property
    def kind(self) -> str:
        """The folder it is in, one of KINDS."""
        return self.path.split("/", 1)[0]

    @property
    def uuid(self) -> str:
        """The identity of the object in every Superset."""
        return str(self.content["uuid"])

    @property
    def name(self) -> str:
        """The name that Superset shows."""
        return str(self.content[_NAMES[self.kind]])

    @property
    def digest(self) -> str:
        """SHA-256 of the canonical content without the mark of an import, in hexadecimal."""
        content = canonical_content(self.kind, without_mark(self).content)
        return _digest_of(content)

    def with_content(self, **changes: Any) -> Self:
        """Return the document with other values of some keys."""
        return replace(self, content=self.content | changes)


@dataclass(frozen=True)
class Bundle:
    """Everything the repository keeps for Superset, in the order of the paths."""

    documents: tuple[Document, ...]

    def of_kind(self, kind: str) -> list[Document]:
        """Return the documents of one kind."""
        return [document for document in self.documents if document.kind == kind]

    def for_installation(self, settings: Settings) -> Self:
        """Return the bundle to import: it reads this installation's published file only, and carries the mark."""
        options = "access_mode=read_only&enable_external_access=false&lock_configuration=true"
        uri = f"duckdb:///{settings.published_file}?{options}"
        documents = [
            document.with_content(sqlalchemy_uri=uri)
            if document.kind == "databases"
            else document.with_content(**_with_cleared(document.kind, document.content))
            for document in self.documents
        ]
        digest = replace(self, documents=tuple(documents)).digest
        return replace(self, documents=tuple(_marked(document, digest) for document in documents))

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the content, in hexadecimal."""
        return _digest_of({document.path: document.content for document in self.documents})

    @cached_property
    def archive(self) -> bytes:
        """The ZIP file that Superset imports; equal bundles give equal bytes."""
        metadata = {"version": "1.0.0", "type": "assets", "timestamp": "2022-08-01T00:00:00+00:00"}
        contents = {"metadata.yaml": metadata, **{document.path: document.content for document in self.documents}}
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
            for path in sorted(contents):
                text = yaml.dump(contents[path], Dumper=CSafeDumper, sort_keys=True, allow_unicode=True)
                # ZipInfo has a fixed default time.
                archive.writestr(zipfile.ZipInfo(f"bundle/{path}"), text)
        return buffer.getvalue()


def _digest_of(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()


def parse_yaml(text: str | bytes) -> Any:
    """Return the content of a YAML text. The parser in C takes a fifth of the time of the one in Python."""
    return yaml.load(text, CSafeLoader)


def read_bundle(folder: Path = BUNDLE_DIR) -> Bundle:
    """Read every YAML file of a bundle; raise SupersetError for one that Superset could not import, or would ignore."""
    documents = []
    for file in sorted({*folder.rglob("*.yaml")} - {folder / "metadata.yaml"}):
        try:
            document = Document(file.relative_to(folder).as_posix(), parse_yaml(file.read_text()))
            if not (document.uuid and document.name):
                raise KeyError("empty uuid or name")
        except (yaml.YAMLError, KeyError, TypeError) as error:
            raise SupersetError(
                f"{file} cannot be imported: {error!r}. It must be YAML with a uuid and a name, and in one of "
                f"the folders {', '.join(KINDS)} of {folder}."
            ) from error
        documents.append(document)
    return Bundle(tuple(documents))


def _with_cleared(kind: str, content: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content of a document, or of a column or metric, with null for what it leaves out."""
    children = {
        key: [_with_cleared(key, child) for child in content[key]] for key in ("columns", "metrics") if key in content
    }
    return {**dict.fromkeys(_CLEARED.get(kind, ())), **content, **children}


def _marked(document: Document, digest: str) -> Document:
    bundle = f" Bundle {digest}." if document.kind == "dashboards" else ""
    details = f"Kept in the repository, in superset/bundle. State {document.digest}.{bundle}"
    return _with_mark(document, _CERTIFIED_BY, details)


def _with_mark(document: Document, by: str | None, details: str | None) -> Document:
    if document.kind == "datasets":
        certification = {"certified_by": by, "details": details} if by else None
        return document.with_content(extra={**(document.content.get("extra") or {}), "certification": certification})
    if document.kind in RESOURCES:
        return document.with_content(certified_by=by, certification_details=details)
    return document


def _mark(kind: str, content: Mapping[str, Any]) -> str | None:
    """Return the details of the mark of a document, or of an entry of a list of Superset's; None without a mark."""
    if kind == "datasets":
        extra = content.get("extra") or {}
        # Lists hold it as text.
        certification = (json.loads(extra) if isinstance(extra, str) else extra).get("certification") or {}
        by, details = certification.get("certified_by"), certification.get("details")
    else:
        by, details = content.get("certified_by"), content.get("certification_details")
    return str(details) if by == _CERTIFIED_BY else None


def state_in_mark(document: Document) -> str | None:
    """Return the digest of the content as it was imported, or None without a mark.

    For a mark of an earlier version, which has no digest, it is that of the present content.
    """
    mark = _mark(document.kind, document.content)
    if mark is None:
        return None
    found = re.search(r"State ([0-9a-f]{64})\b", mark)
    return found[1] if found else document.digest


def without_mark(document: Document) -> Document:
    """Return a document as the repository keeps it, without what `for_installation` adds."""
    if document.kind == "databases":
        return document.with_content(sqlalchemy_uri=PLACEHOLDER_URI)
    is_marked = _mark(document.kind, document.content) is not None
    return _with_mark(document, None, None) if is_marked else document


def import_bundle(client: SupersetClient, settings: Settings, folder: Path = BUNDLE_DIR) -> Bundle:
    """Import the bundle into Superset, over what it holds of it, and return it as imported.

    Superset identifies objects by uuid: importing twice changes nothing, and other objects are not touched.
    """
    bundle = read_bundle(folder).for_installation(settings)
    client.post("/api/v1/assets/import/", files={"bundle": ("bundle.zip", bundle.archive, "application/zip")})
    return bundle


def is_imported(client: SupersetClient, bundle: Bundle) -> bool:
    """Return whether Superset has all of a bundle `for_installation`, in the same state.

    Saved queries do not count: Superset lists them only to their owner.
    """
    for kind, resource in RESOURCES.items():
        marks = {entry["uuid"]: _mark(kind, entry) for entry in client.everything(f"/api/v1/{resource}/")}
        for document in bundle.of_kind(kind):
            is_stale = kind == "dashboards" and marks.get(document.uuid) != _mark(kind, document.content)
            if document.uuid not in marks or is_stale:
                return False
    return True


class Orphan(NamedTuple):
    """An object that an earlier bundle brought into Superset and this one does not hold."""

    resource: str
    id: int
    name: str

    def __str__(self) -> str:
        return f"{self.resource} {self.name!r} (id {self.id})"


def find_orphans(client: SupersetClient, bundle: Bundle) -> list[Orphan]:
    """Return what carries the repository's mark in Superset and is not in the bundle, dashboards first."""
    kept = {document.uuid for document in bundle.documents}
    return [
        Orphan(resource, entry["id"], entry[_NAMES[kind]])
        for kind, resource in RESOURCES.items()
        for entry in client.everything(f"/api/v1/{resource}/")
        if entry["uuid"] not in kept and _mark(kind, entry) is not None
    ]


def remove_orphans(client: SupersetClient, orphans: Sequence[Orphan], settings: Settings) -> Path:
    """Delete objects from Superset, and return the folder of archives from which it can import them again."""
    folder = superset_home(settings) / "removed" / datetime.now(UTC).strftime("%Y-%m-%dT%H-%M-%S-%f")
    folder.mkdir(mode=0o700, parents=True)
    for resource in RESOURCES.values():
        if numbers := [orphan.id for orphan in orphans if orphan.resource == resource]:
            (folder / f"{resource}.zip").write_bytes(client.download(f"/api/v1/{resource}/export/", q=numbers))
    for orphan in orphans:
        client.delete(f"/api/v1/{orphan.resource}/{orphan.id}")
    return folder
