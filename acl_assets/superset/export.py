"""Export the dashboards from Superset into the YAML of `superset/bundle`, and find what was edited there."""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from acl_assets.superset.bundle import (
    BUNDLE_DIR,
    KINDS,
    RESOURCES,
    Bundle,
    BundleError,
    Document,
    read_bundle,
    state_in_mark,
    without_mark,
)
from acl_assets.superset.canonical import canonical_content
from acl_assets.superset.client import SupersetClient
from acl_assets.superset.layout import ChartOfDashboard, completed_layout

_EXPORTED = {"dashboards": "dashboard", "datasets": "dataset", "queries": "saved_query"}


def export_bundle(client: SupersetClient, folder: Path = BUNDLE_DIR) -> list[str]:
    """Write Superset's state of the bundle over its files, and return the files that were added, changed or removed.

    Charts that were put on a dashboard of the bundle are added, those taken off all dashboards are removed. Saved
    queries are exported if they belong to the client's user.

    Raises:
        BundleError: the folder is no bundle, Superset lacks something of it, or a dashboard uses what a bundle cannot
            hold. No file is changed.
        SupersetError: Superset refused an export.
    """
    bundle = read_bundle(folder)
    fetched = Bundle(tuple(map(without_mark, _fetch(client, bundle).documents)))
    _require_known_sources(fetched, bundle)
    exported = canonical_bundle(fetched)
    new = {document.path: as_yaml(document) for document in exported.documents}
    uuids = {document.uuid for document in exported.documents}
    changed = []
    for document in bundle.documents:
        # Charts that are on no dashboard any more, and files whose object has another name now.
        if (document.kind == "charts" or document.uuid in uuids) and document.path not in new:
            (folder / document.path).unlink()
            changed.append(document.path)
    for path, text in new.items():
        file = folder / path
        if not file.is_file() or file.read_text() != text:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
            changed.append(path)
    return sorted(changed)


def find_edited(client: SupersetClient, bundle: Bundle) -> list[str]:
    """Return the dashboards, charts and datasets that were edited in Superset since they were imported.

    The import marks each with a digest of its content. Objects that equal the bundle count as not edited, and so do
    objects with a mark of an earlier version, which has no digest.

    Raises:
        SupersetError: Superset refused an export.
    """
    kept = {document.uuid: document.digest for document in bundle.documents}
    return sorted(
        f"{RESOURCES[document.kind]} {document.name!r}"
        for document in _fetch(client, bundle, is_complete=False).documents
        if document.kind in RESOURCES
        and document.uuid in kept
        and document.digest not in (kept[document.uuid], state_in_mark(document))
    )


def edits_in_words(edited: Sequence[str]) -> str:
    """Return what was edited, and what to do about it."""
    return (
        f"Edited in Superset since the import: {', '.join(edited)}. Keep the edits with make superset-export, or drop "
        "them with python -m acl_assets.superset import."
    )


def _fetch(client: SupersetClient, bundle: Bundle, *, is_complete: bool = True) -> Bundle:
    """Return Superset's documents of a bundle, with the repository's mark and complete layouts.

    Where `is_complete`, raise BundleError if Superset lacks a document.
    """
    found: dict[tuple[str, str], Document] = {}
    for kind, resource in _EXPORTED.items():
        numbers = _numbers(client, bundle, kind, is_complete=is_complete)
        if not numbers:
            continue
        for document in _documents(client.download(f"/api/v1/{resource}/export/", q=[*numbers.values()])):
            found.setdefault((document.kind, document.uuid), document)
        if kind == "dashboards":
            for uuid, number in numbers.items():
                found[kind, uuid] = found[kind, uuid].with_content(position=_layout(client, number))
    return Bundle(tuple(found.values()))


def _numbers(client: SupersetClient, bundle: Bundle, kind: str, *, is_complete: bool) -> dict[str, int]:
    """Return Superset's numbers of the bundle's documents of one kind, by uuid.

    Superset lists saved queries only to their owner, and without uuids: they are returned by label, if listed.
    """
    key = "label" if kind == "queries" else "uuid"
    numbers = {str(entry[key]): int(entry["id"]) for entry in client.everything(f"/api/v1/{_EXPORTED[kind]}/")}
    wanted = [str(document.content[key]) for document in bundle.of_kind(kind)]
    missing = [name for name in wanted if name not in numbers]
    if missing and is_complete and kind != "queries":
        raise BundleError(
            f"{client.url} does not hold {', '.join(missing)} of {kind}. Import the bundle first "
            "(python -m acl_assets.superset import)."
        )
    return {name: numbers[name] for name in wanted if name in numbers}


def _documents(archive: bytes) -> Iterator[Document]:
    """Yield the documents of an archive that Superset exported; raise BundleError if an import cannot hold one."""
    with zipfile.ZipFile(io.BytesIO(archive)) as files:
        for name in files.namelist():
            document = Document(name.split("/", 1)[-1], yaml.safe_load(files.read(name)))
            if document.kind in KINDS:
                yield document
            elif document.path != "metadata.yaml":
                raise BundleError(
                    f"A dashboard uses {document.path}, and Superset does not import {document.kind} with a bundle. "
                    "Remove it from the dashboard in Superset and export again."
                )


def _layout(client: SupersetClient, dashboard: int) -> dict[str, Any]:
    """Return the stored layout of a dashboard: the exported one names charts differently in each export."""
    stored = client.get(f"/api/v1/dashboard/{dashboard}")["result"]["position_json"]
    charts = {
        int(chart["id"]): ChartOfDashboard(str(chart["uuid"]), str(chart["slice_name"]))
        for chart in client.everything("/api/v1/chart/")
        if dashboard in [entry["id"] for entry in chart["dashboards"]]
    }
    return completed_layout(json.loads(stored or "{}"), charts)


def _require_known_sources(fetched: Bundle, bundle: Bundle) -> None:
    """Raise BundleError if a chart, filter or dataset reads a dataset or a database that the bundle does not hold."""
    sources = [(f"the chart {chart.name!r}", chart.content.get("dataset_uuid")) for chart in fetched.of_kind("charts")]
    sources += [
        (f"the filter {chosen.get('name')!r}", target["datasetUuid"])
        for dashboard in fetched.of_kind("dashboards")
        for chosen in (dashboard.content.get("metadata") or {}).get("native_filter_configuration", [])
        for target in chosen.get("targets", [])
        # The target of a time filter has no dataset.
        if "datasetUuid" in target
    ]
    sources += [(f"the dataset {each.name!r}", each.content["database_uuid"]) for each in fetched.of_kind("datasets")]
    known = {document.uuid for kind in ("databases", "datasets") for document in bundle.of_kind(kind)}
    names = {document.uuid: repr(document.name) for document in fetched.documents}
    strange = [
        f"{reader} reads {names.get(str(source), 'a dataset that was deleted')}"
        for reader, source in sources
        if str(source) not in known
    ]
    if strange:
        raise BundleError(
            f"The bundle does not hold every dataset that its dashboards use: {'; '.join(sorted(strange))}. Use a "
            "dataset of the bundle instead, or remove them from the dashboard, and export again."
        )


def canonical_bundle(bundle: Bundle) -> Bundle:
    """Return a bundle in the form the repository keeps, or raise BundleError if two documents would share a file."""
    databases = {document.uuid: _slug(document.name) for document in bundle.of_kind("databases")}
    documents: dict[str, Document] = {}
    for document in bundle.documents:
        canonical = Document(_path(document, databases), canonical_content(document.kind, document.content))
        if canonical.path in documents:
            raise BundleError(f"Two of {document.kind} are named {document.name!r}; rename one of them in Superset.")
        documents[canonical.path] = canonical
    return Bundle(tuple(documents[path] for path in sorted(documents)))


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True

    def represent_text(self, text: str) -> yaml.ScalarNode:
        return self.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _Dumper.represent_text)


def as_yaml(document: Document) -> str:
    """Return the text of a document's file, with long texts as blocks that a diff can compare line by line."""
    return yaml.dump(document.content, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")


def _path(document: Document, databases: Mapping[str, str]) -> str:
    folder = document.kind
    if document.kind in ("datasets", "queries"):
        folder = f"{document.kind}/{databases[str(document.content['database_uuid'])]}"
    # Links depend on the slug of a dashboard; its title may change.
    return f"{folder}/{_slug(document.content.get('slug') or document.name)}.yaml"
