"""Write the data dictionary: every published table, its columns and its checks, as Markdown."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from dagster import Definitions

LAYERS = {
    "festival": "Source tables (`festival`)",
    "star_schema": "Star schema (`star_schema`)",
    "evidence": "Evidence (`evidence`)",
    "data_products": "Data products (`data_products`)",
}


class Check(NamedTuple):
    """An asset check; `asset` is the key of its asset, such as `festival/bands`."""

    asset: str
    name: str
    description: str
    is_blocking: bool


def checks_of(definitions: Definitions) -> list[Check]:
    """Return every asset check, sorted."""
    graph = definitions.resolve_asset_graph()
    checks = (graph.get(key) for key in graph.asset_check_keys)
    return sorted(
        Check(check.key.asset_key.to_user_string(), check.key.name, check.description or "", check.blocking)
        for check in checks
    )


def data_dictionary(manifest: Mapping[str, Any], checks: Iterable[Check]) -> str:
    """Return one section per table as Markdown, with its columns and checks."""
    checks_by_asset: defaultdict[str, list[Check]] = defaultdict(list)
    for check in checks:
        checks_by_asset[check.asset].append(check)
    blocks: list[str] = []
    for schema, title in LAYERS.items():
        blocks.append(f"## {title}")
        for table in _tables(manifest, schema):
            blocks += _table_blocks(table, checks_by_asset[f"{schema}/{table['name']}"])
    blocks += ["## Published file", _checks_table(checks_by_asset["published_warehouse"])]
    return "\n\n".join(blocks)


def _tables(manifest: Mapping[str, Any], schema: str) -> list[Mapping[str, Any]]:
    nodes = [*manifest["sources"].values(), *manifest["nodes"].values()]
    tables = [node for node in nodes if node["resource_type"] in ("source", "model") and node["schema"] == schema]
    return sorted(tables, key=lambda node: str(node["name"]))


def _table_blocks(table: Mapping[str, Any], checks: Iterable[Check]) -> Iterator[str]:
    kind = ""
    if table["resource_type"] == "model":
        kind = f" ({table['config']['materialized']})"
    yield f"### {table['name']}{kind}"
    yield _cell(table["description"])
    yield markdown_table(
        ("column", "type", "meaning"),
        ((f"`{name}`", column["data_type"], column["description"]) for name, column in table["columns"].items()),
    )
    yield _checks_table(checks)


def _checks_table(checks: Iterable[Check]) -> str:
    return markdown_table(
        ("check", "on failure", "rule"),
        (
            (f"`{check.name}`", "stops the refresh" if check.is_blocking else "warns", check.description)
            for check in checks
        ),
    )


def markdown_table(header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """Return a table as Markdown; a pipe in a cell is escaped."""
    lines = [header, tuple("---" for _ in header), *rows]
    return "\n".join(f"| {' | '.join(_cell(text) for text in line)} |" for line in lines)


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())
