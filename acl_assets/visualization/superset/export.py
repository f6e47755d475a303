"""The way back: what people changed in Superset becomes the YAML of `superset/bundle`, ready to be committed.

Superset's export carries much that differs between installations or between two exports of the same dashboard:
numbers of charts and datasets, which charts a filter reaches, colours it derived. The canonical form leaves that out
and fixes the order of everything else, so that a diff shows what somebody changed, and nothing changed is no diff.

What belongs here: fetching what the bundle holds, its canonical form, and writing the files. What does not: reading
and importing the bundle (`bundle`).
"""

from __future__ import annotations

import argparse
import io
import json
import re
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from acl_assets.settings import Settings
from acl_assets.visualization.superset.bundle import (
    BUNDLE_DIR,
    Bundle,
    BundleError,
    Document,
    read_bundle,
    without_mark,
)
from acl_assets.visualization.superset.client import SupersetClient, superset_client

_FIRST_KEYS = (
    "dashboard_title",
    "slice_name",
    "table_name",
    "database_name",
    "label",
    "column_name",
    "metric_name",
    "verbose_name",
    "slug",
    "viz_type",
    "type",
    "description",
)
_LAST_KEYS = ("params", "query_context", "position", "metadata", "css", "columns", "metrics", "sql", "uuid", "version")
# A number or a derivation that belongs to one installation.
_VOLATILE_KEYS = frozenset(
    {
        "chartsInScope",
        "color_namespace",
        "color_scheme_domain",
        "dashboardId",
        "dashboards",
        "datasource",
        "datasource_id",
        "datasource_name",
        "default_filters",
        "force",
        "map_label_colors",
        "own_color_scheme",
        "dashboard_color_scheme",
        "shared_label_colors",
        "slice_id",
        "tabsInScope",
        "url_params",
    }
)
_EMPTY: tuple[Any, ...] = (None, "", [], {})
# The layout is read without asking whether they are there.
_KEPT_WHEN_EMPTY = frozenset({"children", "excluded", "meta", "rootPath"})


def add_command(subparsers: Any) -> None:
    """Add the command `export` to the command line."""
    parser = subparsers.add_parser("export", help="write the dashboards as edited in Superset back to superset/bundle")
    parser.add_argument("--bundle-dir", type=Path, default=BUNDLE_DIR, help="where the YAML is (%(default)s)")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace, settings: Settings) -> int:
    with superset_client(settings) as client:
        changed = export_bundle(client, arguments.bundle_dir)
    print("\n".join(changed) if changed else "Nothing changed.")
    return 0


def export_bundle(client: SupersetClient, folder: Path = BUNDLE_DIR) -> list[str]:
    """Write what Superset holds of the bundle over the files of the bundle.

    Charts that were put on one of its dashboards come with it, with their datasets; charts that were taken off all of
    them leave the folder. Datasets of the bundle are refreshed whether or not a chart uses them, saved queries where
    they belong to the client's user.

    Returns:
        The files that are new, changed or gone, by path within the folder, in order.

    Raises:
        BundleError: the folder is no bundle, or Superset does not hold something of it.
        SupersetError: Superset did not hand something out.
    """
    bundle = read_bundle(folder)
    exported = canonical_bundle(_fetch(client, bundle))
    on_dashboards = {document.uuid for document in exported.of_kind("charts")}
    kept = {document.uuid for document in exported.documents}
    gone = [
        document.path
        for document in bundle.documents
        if document.uuid in kept or (document.kind == "charts" and document.uuid not in on_dashboards)
    ]
    return _replace(folder, gone, {document.path: as_yaml(document) for document in exported.documents})


def _fetch(client: SupersetClient, bundle: Bundle) -> Bundle:
    """What Superset holds of a bundle, as Superset writes it but for the repository's mark."""
    found: dict[tuple[str, str], Document] = {}
    for kind, resource in (("dashboards", "dashboard"), ("datasets", "dataset"), ("queries", "saved_query")):
        numbers = _numbers(client, bundle, kind, resource)
        if not numbers:
            continue
        for document in _documents(client.download(f"/api/v1/{resource}/export/", q=numbers)):
            found.setdefault((document.kind, document.uuid), without_mark(document))
    return Bundle(tuple(found.values()))


def _numbers(client: SupersetClient, bundle: Bundle, kind: str, resource: str) -> list[int]:
    """The numbers that Superset knows the bundle's documents of one kind by.

    Superset lists saved queries to whoever made them alone; those of others are left out.
    """
    # Superset's list of saved queries does not tell their uuids.
    key = "label" if kind == "queries" else "uuid"
    numbers = {str(entry[key]): int(entry["id"]) for entry in client.everything(f"/api/v1/{resource}/")}
    wanted = [str(document.content[key]) for document in bundle.of_kind(kind)]
    missing = [name for name in wanted if name not in numbers]
    if missing and kind != "queries":
        raise BundleError(
            f"{client.url} does not hold {', '.join(missing)} of {kind}; import the bundle first "
            "(python -m acl_assets.visualization.superset import)."
        )
    return [numbers[name] for name in wanted if name in numbers]


def _documents(archive: bytes) -> Iterable[Document]:
    """The documents of an archive that Superset exported, whose paths start with a folder of its own."""
    import yaml

    with zipfile.ZipFile(io.BytesIO(archive)) as files:
        for name in files.namelist():
            path = name.split("/", 1)[-1]
            if path != "metadata.yaml":
                yield Document(path, yaml.safe_load(files.read(name)))


def _replace(folder: Path, old: Iterable[str], new: Mapping[str, str]) -> list[str]:
    """Write the new files and remove the old ones that are not among them; returns what is not as before."""
    changed = []
    for path in old:
        if path not in new:
            (folder / path).unlink()
            changed.append(path)
    for path, text in new.items():
        file = folder / path
        if not file.is_file() or file.read_text() != text:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
            changed.append(path)
    return sorted(changed)


# The canonical form -----------------------------------------------------------------------------------------


def canonical_bundle(bundle: Bundle) -> Bundle:
    """A bundle in the form the repository keeps: files named like what they hold, nothing of one installation in it.

    Raises:
        BundleError: two documents would share a file.
    """
    databases = {document.uuid: _slug(document.name) for document in bundle.of_kind("databases")}
    documents: dict[str, Document] = {}
    for document in bundle.documents:
        canonical = Document(_path(document, databases), _canonical_content(document))
        if canonical.path in documents:
            raise BundleError(f"Two of {document.kind} are named {document.name!r}; rename one of them in Superset.")
        documents[canonical.path] = canonical
    return Bundle(tuple(documents[path] for path in sorted(documents)))


def as_yaml(document: Document) -> str:
    """The text of a document's file: keys in a fixed order, long texts as blocks that can be read and compared."""
    import yaml

    class Dumper(yaml.SafeDumper):
        def ignore_aliases(self, data: Any) -> bool:
            return True

    def represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
        return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)

    Dumper.add_representer(str, represent_text)
    return yaml.dump(document.content, Dumper=Dumper, sort_keys=False, allow_unicode=True, width=120)


def stable_number(uuid: str) -> int:
    """The number that stands for a chart in the YAML, where Superset has one that differs between installations."""
    return int(uuid.replace("-", "")[:7], 16)


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")


def _path(document: Document, databases: Mapping[str, str]) -> str:
    folder = document.kind
    if document.kind in ("datasets", "queries"):
        folder = f"{document.kind}/{databases[str(document.content['database_uuid'])]}"
    # A dashboard has a slug of its own, which links depend on; its title may change.
    return f"{folder}/{_slug(document.content.get('slug') or document.name)}.yaml"


def _canonical_content(document: Document) -> dict[str, Any]:
    content = dict(document.content)
    # Superset's export knows this setting by two names, depending on what is exported along with it.
    if "allow_file_upload" in content:
        content["allow_csv_upload"] = content.pop("allow_file_upload")
    if document.kind == "charts" and content.get("query_context"):
        query_context = json.loads(content["query_context"])
        # What it was made from, which is in `params`.
        query_context.pop("form_data", None)
        content["query_context"] = json.dumps(_ordered(query_context), indent=2, ensure_ascii=False)
    if document.kind == "dashboards":
        content = _with_stable_numbers(content)
    if document.kind == "datasets":
        for children, name in (("columns", "column_name"), ("metrics", "metric_name")):
            content[children] = sorted(content.get(children) or [], key=lambda child: str(child[name]))
    if content.get("sql"):
        content["sql"] = "\n".join(line.rstrip() for line in content["sql"].strip().splitlines()) + "\n"
    canonical: dict[str, Any] = _canonical(content)
    return canonical


def _canonical(value: Any) -> Any:
    """Mappings in order, without what is empty or belongs to one installation."""
    return _ordered(value, drop_empty=True)


def _ordered(value: Any, drop_empty: bool = False) -> Any:
    if isinstance(value, Mapping):
        ordered = {key: _ordered(child, drop_empty) for key, child in value.items() if not _is_noise(key)}
        kept = {
            key: child
            for key, child in ordered.items()
            if not drop_empty or key in _KEPT_WHEN_EMPTY or child not in _EMPTY
        }
        return dict(sorted(kept.items(), key=lambda item: _place(item[0])))
    if isinstance(value, list):
        return [_ordered(child, drop_empty) for child in value]
    return value


def _is_noise(key: str) -> bool:
    # Superset writes the settings of grids of charts into every chart, also where that feature is off.
    return key in _VOLATILE_KEYS or key.startswith("matrixify_")


def _place(key: str) -> tuple[int, str]:
    if key in _FIRST_KEYS:
        return _FIRST_KEYS.index(key) - len(_FIRST_KEYS), ""
    if key in _LAST_KEYS:
        return 1 + _LAST_KEYS.index(key), ""
    return 0, key


def _with_stable_numbers(dashboard: Mapping[str, Any]) -> dict[str, Any]:
    """A dashboard whose charts are numbered alike in every installation, wherever it refers to them by number."""
    position = _with_every_chart_placed(json.loads(json.dumps(dashboard.get("position") or {})))
    metadata = json.loads(json.dumps(dashboard.get("metadata") or {}))
    numbers: dict[int, int] = {}
    for component in position.values():
        if isinstance(component, dict) and component.get("type") == "CHART":
            meta = component["meta"]
            numbers[meta["chartId"]] = meta["chartId"] = stable_number(meta["uuid"])

    def renumber(scope: Any) -> None:
        if isinstance(scope, dict):
            excluded = scope.get("excluded", [])
            scope["excluded"] = sorted(numbers[number] for number in excluded if number in numbers)

    for native_filter in metadata.get("native_filter_configuration", []):
        renumber(native_filter.get("scope"))
    renumber(metadata.get("global_chart_configuration", {}).get("scope"))
    own_scopes = {}
    for number, configuration in metadata.pop("chart_configuration", {}).items():
        scope = configuration.get("crossFilters", {}).get("scope")
        # Every chart has an entry; only those with a scope of their own say something.
        if isinstance(scope, dict) and int(number) in numbers:
            renumber(scope)
            stable = numbers[int(number)]
            own_scopes[str(stable)] = {"id": stable, "crossFilters": {"scope": scope}}
    return {**dashboard, "position": position, "metadata": {**metadata, "chart_configuration": own_scopes}}


def _with_every_chart_placed(position: dict[str, Any]) -> dict[str, Any]:
    """A layout in which a chart that was put on the dashboard, but in no place of it, ends the first tab.

    Superset exports such charts under names that differ each time, and would not show them after an import.
    """
    placed: dict[str, Any] = {"DASHBOARD_VERSION_KEY": position.get("DASHBOARD_VERSION_KEY")}
    waiting = ["ROOT_ID", "GRID_ID", "HEADER_ID"]
    while waiting:
        name = waiting.pop()
        if name in position and name not in placed:
            placed[name] = position[name]
            waiting += position[name].get("children", [])
    lost = [part for name, part in position.items() if name not in placed and part.get("type") == "CHART"]
    if lost:
        tabs = placed[placed["ROOT_ID"]["children"][0]]
        place = placed[tabs["children"][0]] if tabs["type"] == "TABS" else tabs
        parents = [*place.get("parents", []), place["id"]]
        row = f"ROW-{min(chart['meta']['uuid'] for chart in lost)}"
        charts = {f"CHART-{chart['meta']['uuid']}": chart for chart in lost}
        place["children"].append(row)
        meta = {"background": "BACKGROUND_TRANSPARENT"}
        placed[row] = {"id": row, "type": "ROW", "children": sorted(charts), "parents": parents, "meta": meta}
        placed |= {name: {**chart, "id": name, "parents": [*parents, row]} for name, chart in charts.items()}
    return placed
