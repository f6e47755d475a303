"""The canonical form of what the bundle holds: equal for equal dashboards, whatever Superset they were exported from.

Superset's export holds much that differs between installations or between two exports of the same dashboard: numbers of
charts and datasets, which charts a filter reaches, derived colours. The canonical form leaves that out and fixes the
order of everything else. A diff then shows what somebody changed, and without changes there is none.
"""

import copy
import json
from collections.abc import Mapping
from typing import Any

_FIRST_KEYS = (
    "dashboard_title", "slice_name", "table_name", "database_name", "label", "column_name", "metric_name",
    "verbose_name", "slug", "viz_type", "type", "description",
)  # fmt: skip
_LAST_KEYS = ("params", "query_context", "position", "metadata", "css", "columns", "metrics", "sql", "uuid", "version")
_PLACES = {
    **{key: place - len(_FIRST_KEYS) for place, key in enumerate(_FIRST_KEYS)},
    **{key: place + 1 for place, key in enumerate(_LAST_KEYS)},
}
# Numbers and derived values that differ between installations, and settings of cross-filters, which are off, of
# descriptions and of automatic refreshes, which name charts by such numbers.
_VOLATILE_KEYS = frozenset((
    "chart_configuration", "chartsInScope", "color_namespace", "color_scheme_domain", "dashboardId", "dashboards",
    "datasource", "datasource_id", "datasource_name", "default_filters", "expanded_slices", "force",
    "map_label_colors", "own_color_scheme", "dashboard_color_scheme", "shared_label_colors", "slice_id",
    "tabsInScope", "timed_refresh_immune_slices", "url_params",
))  # fmt: skip
_EMPTY: tuple[Any, ...] = (None, "", [], {})
# Superset fails on a layout without them.
_KEPT_WHEN_EMPTY = frozenset({"children", "excluded", "meta", "rootPath"})


def canonical_content(kind: str, document: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content of a document of a kind, such as `charts`, in canonical form."""
    content = copy.deepcopy(dict(document))
    # Superset exports this setting under two names, depending on what else is exported.
    if "allow_file_upload" in content:
        content["allow_csv_upload"] = content.pop("allow_file_upload")
    if kind == "charts" and content.get("query_context"):
        query_context = json.loads(content["query_context"])
        # A copy of `params`.
        query_context.pop("form_data", None)
        content["query_context"] = json.dumps(_ordered(query_context), indent=2, ensure_ascii=False)
    if kind == "dashboards":
        _use_stable_numbers(content)
    if kind == "datasets":
        for children, name in (("columns", "column_name"), ("metrics", "metric_name")):
            content[children] = sorted(content.get(children) or [], key=lambda child: str(child[name]))
    if content.get("sql"):
        content["sql"] = "\n".join(line.rstrip() for line in content["sql"].strip().splitlines()) + "\n"
    canonical: dict[str, Any] = _ordered(content, drop_empty=True)
    return canonical


def stable_number(uuid: str) -> int:
    """Return the number of a chart in the YAML, because Superset's own differ between installations."""
    return int(uuid.replace("-", "")[:7], 16)


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
    metadata = dashboard.get("metadata") or {}
    filters = metadata.get("native_filter_configuration", [])
    for filtering in [*filters, metadata.get("global_chart_configuration", {})]:
        if scope := filtering.get("scope"):
            scope["excluded"] = sorted(numbers[chart] for chart in scope.get("excluded", []) if chart in numbers)
