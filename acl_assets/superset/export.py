"""Export the dashboards from Superset into the YAML of `superset/bundle`, ready to be committed.

Superset's export holds much that differs between installations or between two exports of the same dashboard: numbers of
charts and datasets, which charts a filter reaches, derived colours. The canonical form leaves that out and fixes the
order of everything else. A diff then shows what somebody changed, and without changes there is none.
"""

from __future__ import annotations

import copy
import io
import json
import re
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from acl_assets.superset.bundle import BUNDLE_DIR, KINDS, Bundle, BundleError, Document, read_bundle, without_mark
from acl_assets.superset.client import SupersetClient
from acl_assets.superset.layout import ChartOfDashboard, completed_layout

_EXPORTED = {"dashboards": "dashboard", "datasets": "dataset", "queries": "saved_query"}
_FIRST_KEYS = (
    "dashboard_title", "slice_name", "table_name", "database_name", "label", "column_name", "metric_name",
    "verbose_name", "slug", "viz_type", "type", "description",
)  # fmt: skip
_LAST_KEYS = ("params", "query_context", "position", "metadata", "css", "columns", "metrics", "sql", "uuid", "version")
_PLACES = {
    **{key: place - len(_FIRST_KEYS) for place, key in enumerate(_FIRST_KEYS)},
    **{key: place + 1 for place, key in enumerate(_LAST_KEYS)},
}
# Numbers and derived values that differ between installations.
_VOLATILE_KEYS = frozenset((
    "chartsInScope", "color_namespace", "color_scheme_domain", "dashboardId", "dashboards", "datasource",
    "datasource_id", "datasource_name", "default_filters", "force", "map_label_colors", "own_color_scheme",
    "dashboard_color_scheme", "shared_label_colors", "slice_id", "tabsInScope", "url_params",
))  # fmt: skip
_EMPTY: tuple[Any, ...] = (None, "", [], {})
# Superset fails on a layout without them.
_KEPT_WHEN_EMPTY = frozenset({"children", "excluded", "meta", "rootPath"})


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
    fetched = _fetch(client, bundle)
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


def _fetch(client: SupersetClient, bundle: Bundle) -> Bundle:
    """Return Superset's documents of a bundle, without the repository's mark and with complete layouts."""
    found: dict[tuple[str, str], Document] = {}
    for kind, resource in _EXPORTED.items():
        numbers = _numbers(client, bundle, kind)
        if not numbers:
            continue
        for document in _documents(client.download(f"/api/v1/{resource}/export/", q=[*numbers.values()])):
            found.setdefault((document.kind, document.uuid), without_mark(document))
        if kind == "dashboards":
            for uuid, number in numbers.items():
                found[kind, uuid] = found[kind, uuid].with_content(position=_layout(client, number))
    return Bundle(tuple(found.values()))


def _numbers(client: SupersetClient, bundle: Bundle, kind: str) -> dict[str, int]:
    """Return Superset's numbers of the bundle's documents of one kind, by uuid.

    Superset lists saved queries only to their owner, and without uuids: they are returned by label, if listed.
    """
    key = "label" if kind == "queries" else "uuid"
    numbers = {str(entry[key]): int(entry["id"]) for entry in client.everything(f"/api/v1/{_EXPORTED[kind]}/")}
    wanted = [str(document.content[key]) for document in bundle.of_kind(kind)]
    missing = [name for name in wanted if name not in numbers]
    if missing and kind != "queries":
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
        canonical = Document(_path(document, databases), _canonical_content(document))
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


def stable_number(uuid: str) -> int:
    """Return the number of a chart in the YAML, because Superset's own differ between installations."""
    return int(uuid.replace("-", "")[:7], 16)


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")


def _path(document: Document, databases: Mapping[str, str]) -> str:
    folder = document.kind
    if document.kind in ("datasets", "queries"):
        folder = f"{document.kind}/{databases[str(document.content['database_uuid'])]}"
    # Links depend on the slug of a dashboard; its title may change.
    return f"{folder}/{_slug(document.content.get('slug') or document.name)}.yaml"


def _canonical_content(document: Document) -> dict[str, Any]:
    content = copy.deepcopy(document.content)
    # Superset exports this setting under two names, depending on what else is exported.
    if "allow_file_upload" in content:
        content["allow_csv_upload"] = content.pop("allow_file_upload")
    if document.kind == "charts" and content.get("query_context"):
        query_context = json.loads(content["query_context"])
        # A copy of `params`.
        query_context.pop("form_data", None)
        content["query_context"] = json.dumps(_ordered(query_context), indent=2, ensure_ascii=False)
    if document.kind == "dashboards":
        _use_stable_numbers(content)
    if document.kind == "datasets":
        for children, name in (("columns", "column_name"), ("metrics", "metric_name")):
            content[children] = sorted(content.get(children) or [], key=lambda child: str(child[name]))
    if content.get("sql"):
        content["sql"] = "\n".join(line.rstrip() for line in content["sql"].strip().splitlines()) + "\n"
    canonical: dict[str, Any] = _ordered(content, drop_empty=True)
    return canonical


def _ordered(value: Any, drop_empty: bool = False) -> Any:
    """Return a value with the keys of mappings in a fixed order, without those that differ between installations."""
    if isinstance(value, list):
        return [_ordered(child, drop_empty) for child in value]
    if not isinstance(value, Mapping):
        return value
    kept = {}
    for key in sorted(value, key=lambda key: (_PLACES.get(key, 0), key)):
        child = _ordered(value[key], drop_empty)
        # Superset writes the settings of grids of charts into every chart, even when that feature is off.
        is_noise = key in _VOLATILE_KEYS or key.startswith("matrixify_")
        if not is_noise and not (drop_empty and child in _EMPTY and key not in _KEPT_WHEN_EMPTY):
            kept[key] = child
    return kept


def _use_stable_numbers(dashboard: dict[str, Any]) -> None:
    """Make a dashboard refer to its charts by `stable_number`, and drop references to charts it does not hold."""
    numbers: dict[int, int] = {}
    for component in (dashboard.get("position") or {}).values():
        if isinstance(component, dict) and component.get("type") == "CHART":
            meta = component["meta"]
            numbers[meta["chartId"]] = meta["chartId"] = stable_number(meta["uuid"])

    def stable(charts: Iterable[int]) -> list[int]:
        return sorted(numbers[chart] for chart in charts if chart in numbers)

    metadata = dashboard.get("metadata") or {}
    scopes = [chosen.get("scope") for chosen in metadata.get("native_filter_configuration", [])]
    scopes.append(metadata.get("global_chart_configuration", {}).get("scope"))
    own_scopes = {}
    for chart, configuration in metadata.get("chart_configuration", {}).items():
        scope = configuration.get("crossFilters", {}).get("scope")
        # Every chart has an entry; those without a scope of their own are defaults.
        if isinstance(scope, dict) and int(chart) in numbers:
            number = numbers[int(chart)]
            own_scopes[str(number)] = {"id": number, "crossFilters": {"scope": scope}}
            scopes.append(scope)
    for scope in scopes:
        if isinstance(scope, dict):
            scope["excluded"] = stable(scope.get("excluded", []))
    expanded = metadata.get("expanded_slices", {})
    dashboard["metadata"] = metadata | {
        "chart_configuration": own_scopes,
        "timed_refresh_immune_slices": stable(metadata.get("timed_refresh_immune_slices", [])),
        "expanded_slices": {str(numbers[int(key)]): value for key, value in expanded.items() if int(key) in numbers},
    }
