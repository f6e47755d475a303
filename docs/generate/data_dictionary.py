"""Write the data dictionary: every published table, its columns and its checks, as Markdown."""

from __future__ import annotations

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
    """An asset check: the asset's key such as `festival/bands`, the check's name, what it says, whether it blocks."""

    asset: str
    name: str
    description: str
    is_blocking: bool


def checks_of(definitions: Definitions, manifest: Mapping[str, Any]) -> list[Check]:
    """Every asset check, sorted; one that carries no description is described by its dbt test's arguments."""
    tests = {node["name"]: node for node in manifest["nodes"].values() if node["resource_type"] == "test"}
    graph = definitions.resolve_asset_graph()
    checks = (graph.get(key) for key in graph.asset_check_keys)
    return sorted(
        Check(
            check.key.asset_key.to_user_string(),
            check.key.name,
            check.description or _describe(tests[check.key.name]),
            check.blocking,
        )
        for check in checks
    )


def _describe(test: Mapping[str, Any]) -> str:
    if "test_metadata" not in test:
        raise ValueError(f"The dbt test {test['name']} needs a description in dbt/tests/_tests.yml.")
    arguments = test["test_metadata"]["kwargs"]
    column = f"`{test['column_name']}`"
    match test["test_metadata"]["name"]:
        case "unique" | "unique_whole_number":
            return f"{column} is unique."
        case "unique_combination":
            return f"{_listed(arguments['columns'])} are unique together."
        case "not_null_columns":
            return f"Not null: {_listed(arguments['columns'])}."
        case "references_known_row":
            parent = arguments["to"].removeprefix("ref('").removesuffix("')")
            return f"{column} names a `{arguments['field']}` of `{parent}`."
        case "accepted_values":
            return f"{column} is one of {_listed(arguments['values'])}."
        case "accepted_range":
            bounds = [f"{word} {arguments[word]}" for word in ("minimum", "maximum") if word in arguments]
            return f"{column} has {' and '.join(bounds)}."
        case name:
            raise ValueError(f"No words are known for the dbt test {name} of {test['name']}; give it a description.")


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def data_dictionary(manifest: Mapping[str, Any], checks: Iterable[Check]) -> str:
    """One heading per table, with its columns and its checks as Markdown tables."""
    checks_by_asset: dict[str, list[Check]] = {}
    for check in checks:
        checks_by_asset.setdefault(check.asset, []).append(check)
    blocks: list[str] = []
    for schema, title in LAYERS.items():
        blocks.append(f"## {title}")
        for table in _tables(manifest, schema):
            blocks += _table_blocks(table, checks_by_asset[f"{schema}/{table['name']}"])
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
    yield _markdown_table(
        ("column", "type", "meaning"),
        ((f"`{name}`", column["data_type"], column["description"]) for name, column in table["columns"].items()),
    )
    yield _markdown_table(
        ("check", "when it fails", "what it says"),
        (
            (f"`{check.name}`", "stops the refresh" if check.is_blocking else "warns", check.description)
            for check in checks
        ),
    )


def _markdown_table(header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [header, tuple("---" for _ in header), *rows]
    return "\n".join(f"| {' | '.join(_cell(text) for text in line)} |" for line in lines)


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())
