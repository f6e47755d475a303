"""Export the dashboards from Superset into the YAML of `superset/bundle`, and find what was edited there."""

import io
import json
import re
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from acl_assets.superset.bundle import (
    BUNDLE_DIR,
    KINDS,
    RESOURCES,
    Bundle,
    Document,
    parse_yaml,
    read_bundle,
    state_in_mark,
    without_mark,
)
from acl_assets.superset.canonical import canonical_content
from acl_assets.superset.client import SupersetClient, SupersetError
from acl_assets.superset.layout import completed_layout

_EXPORTED = {"dashboards": "dashboard", "datasets": "dataset", "queries": "saved_query"}


def export_bundle(client: SupersetClient, folder: Path = BUNDLE_DIR) -> list[str]:
    """Write Superset's state of the bundle over its files, and return the files that were added, changed or removed.

    Charts that were put on a dashboard of the bundle are added, those taken off all dashboards are removed. Saved
    queries are exported if they belong to the client's user. Raise SupersetError, and change no file, if Superset lacks
    a dashboard or dataset of the bundle, or a dashboard uses what a bundle cannot hold.
    """
    bundle = read_bundle(folder)
    fetched = Bundle(tuple(map(without_mark, _fetch(client, bundle))))
    _require_same_sources(fetched, bundle)
    exported = canonical_bundle(fetched)
    # Saved queries of others are not fetched.
    fetched_uuids = {document.uuid for document in fetched.documents}
    kept = {each.path for each in bundle.documents if each.kind == "queries" and each.uuid not in fetched_uuids}
    new = {document.path: as_yaml(document) for document in exported.documents}
    old = {document.path: (folder / document.path).read_text() for document in bundle.documents}
    for path in old.keys() - new.keys() - kept:
        (folder / path).unlink()
    for path, text in new.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    return sorted(path for path in (old.keys() | new.keys()) - kept if old.get(path) != new.get(path))


def find_edited(client: SupersetClient, bundle: Bundle) -> list[str]:
    """Return the dashboards, charts and datasets that were edited in Superset since they were imported.

    The import marks each with a digest of its content. Objects that equal the bundle count as not edited, and so do
    objects with a mark of an earlier version, which has no digest.
    """
    kept = {document.uuid: document.digest for document in bundle.documents}
    return sorted(
        f"{RESOURCES[document.kind]} {document.name!r}"
        for document in _fetch(client, bundle)
        if document.kind in RESOURCES
        and document.uuid in kept
        and document.digest not in (kept[document.uuid], state_in_mark(document))
    )


def edits_in_words(edited: Sequence[str]) -> str:
    """Return what was edited, and what to do about it."""
    return (
        f"Edited in Superset since the import: {', '.join(edited)}. Keep the edits with make superset-export (after an "
        "upgrade as copies, by Save as: the export would undo the upgrade), or drop them with python -m "
        "acl_assets.superset import."
    )


def _fetch(client: SupersetClient, bundle: Bundle) -> list[Document]:
    """Return what Superset holds of a bundle and what that uses, with the repository's mark and complete layouts."""
    found: dict[tuple[str, str], Document] = {}
    for kind, resource in _EXPORTED.items():
        # Saved queries are listed without uuids, and only to their owner.
        key = "label" if kind == "queries" else "uuid"
        wanted = {document.content[key] for document in bundle.of_kind(kind)}
        held = {entry["id"]: entry for entry in client.everything(f"/api/v1/{resource}/") if entry[key] in wanted}
        if not held:
            continue
        for document in _documents(client.download(f"/api/v1/{resource}/export/", q=[*held])):
            found.setdefault((document.kind, document.uuid), document)
        if kind == "dashboards":
            for number, entry in held.items():
                place = kind, entry["uuid"]
                found[place] = found[place].with_content(position=_layout(client, number))
    return [*found.values()]


def _documents(archive: bytes) -> Iterator[Document]:
    """Yield the documents of an archive that Superset exported; raise SupersetError if an import cannot hold one."""
    with zipfile.ZipFile(io.BytesIO(archive)) as files:
        for name in files.namelist():
            document = Document(name.split("/", 1)[-1], parse_yaml(files.read(name)))
            if document.kind in KINDS:
                yield document
            elif document.path != "metadata.yaml":
                raise SupersetError(
                    f"A dashboard uses {document.path}, and Superset does not import {document.kind} with a bundle. "
                    "Remove it from the dashboard in Superset and export again."
                )


def _layout(client: SupersetClient, dashboard: int) -> dict[str, Any]:
    """Return the stored layout of a dashboard: the exported one names charts differently in each export."""
    stored = client.get(f"/api/v1/dashboard/{dashboard}")["result"]["position_json"]
    charts = {
        chart["id"]: chart
        for chart in client.everything("/api/v1/chart/")
        if dashboard in [entry["id"] for entry in chart["dashboards"]]
    }
    return completed_layout(json.loads(stored), charts)


def _require_same_sources(fetched: Bundle, bundle: Bundle) -> None:
    """Raise SupersetError if the dashboards use a dataset or database that the bundle lacks, or Superset lacks one."""
    known, held = ({document.uuid for document in each.documents} for each in (bundle, fetched))
    required = [document for kind in ("dashboards", "datasets") for document in bundle.of_kind(kind)]
    different = [f"{each.kind}/{each.name} of the bundle" for each in required if each.uuid not in held]
    for document in fetched.documents:
        # A chart whose dataset was deleted has no uuid of one.
        source = document.content.get("dataset_uuid") if document.kind == "charts" else document.uuid
        if document.kind in ("charts", "datasets", "databases") and source not in known:
            different.append(f"{document.kind}/{document.name} of Superset")
    if different:
        raise SupersetError(
            f"Superset and the bundle do not hold the same datasets for the same dashboards: {', '.join(different)}. "
            "Use datasets of the bundle only, and export again. For what Superset lacks, import the bundle first: "
            "python -m acl_assets.superset import."
        )


def canonical_bundle(bundle: Bundle) -> Bundle:
    """Return a bundle in the form the repository keeps, or raise SupersetError if two documents would share a file."""
    [database] = bundle.of_kind("databases")
    documents: dict[str, Document] = {}
    for document in bundle.documents:
        is_in_folder = document.kind in ("datasets", "queries")
        folder = f"{document.kind}/{_slug(database.name)}" if is_in_folder else document.kind
        # Links depend on the slug of a dashboard; its title may change. A name may have no Latin letter.
        path = f"{folder}/{_slug(document.content.get('slug') or document.name) or document.uuid}.yaml"
        if path in documents:
            raise SupersetError(f"Two of {document.kind} are named {document.name!r}; rename one of them in Superset.")
        documents[path] = Document(path, canonical_content(document.kind, document.content))
    return Bundle(tuple(documents[path] for path in sorted(documents)))


class _Dumper(yaml.SafeDumper):
    def represent_text(self, text: str) -> yaml.ScalarNode:
        return self.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _Dumper.represent_text)


def as_yaml(document: Document) -> str:
    """Return the text of a document's file, with long texts as blocks that a diff can compare line by line."""
    return yaml.dump(document.content, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
