"""Draw the source system, the star schema and the lineage between them as Mermaid text."""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import sqlglot
from sqlglot import exp

_LAYERS = {
    "festival": "source tables",
    "star_schema": "star schema",
    "evidence": "evidence",
    "data_products": "data products",
}
_DATE_KEY = "date_day"
_DATES = ("performance_date", "sale_date")
"""Columns that refer to a day of the calendar."""


class Column(NamedTuple):
    """A column of an entity; `keys` holds `PK`, `FK` and `UK` as they apply."""

    type: str
    name: str
    keys: tuple[str, ...]


class Reference(NamedTuple):
    """A foreign key; `is_unique` if at most one row of the child refers to a row of the parent."""

    child: str
    column: str
    parent: str
    is_unique: bool


# Source system ----------------------------------------------------------------------------------------------


def source_system_diagram(ddl: str) -> str:
    """Return the entity-relationship diagram of PostgreSQL DDL."""
    tables = [
        statement
        for statement in sqlglot.parse(ddl, dialect="postgres")
        if isinstance(statement, exp.Create) and statement.kind == "TABLE"
    ]
    entities = {_table_name(table): list(_ddl_columns(table)) for table in tables}
    references = [reference for table in tables for reference in _ddl_references(table)]
    return _entity_relationship_diagram(entities, references)


def _ddl_columns(table: exp.Create) -> Iterator[Column]:
    unique = {
        constraint.this.expressions[0].name
        for constraint in table.find_all(exp.UniqueColumnConstraint)
        if constraint.this and len(constraint.this.expressions) == 1
    }
    for column in table.find_all(exp.ColumnDef):
        keys = {
            "PK": column.find(exp.PrimaryKeyColumnConstraint) is not None,
            "FK": column.find(exp.Reference) is not None,
            "UK": column.name in unique,
        }
        column_type = column.args["kind"].sql(dialect="postgres").lower()
        yield Column(column_type, column.name, tuple(key for key, applies in keys.items() if applies))


def _ddl_references(table: exp.Create) -> Iterator[Reference]:
    for column in table.find_all(exp.ColumnDef):
        reference = column.find(exp.Reference)
        if reference is not None:
            yield Reference(_table_name(table), column.name, _table_name(reference), is_unique=False)


def _table_name(expression: exp.Expression) -> str:
    """Return the first table in an expression: the created table of a statement, the target of a reference."""
    return next(expression.find_all(exp.Table)).name


# Star schema ------------------------------------------------------------------------------------------------


def star_schema_diagram(manifest: Mapping[str, Any]) -> str:
    """Return the diagram of the star schema. A column with the name of a dimension's key is its foreign key."""
    models = {
        unique_id: node
        for unique_id, node in manifest["nodes"].items()
        if node["resource_type"] == "model" and node["schema"] == "star_schema"
    }
    unique = {
        (models[test["attached_node"]]["name"], test["column_name"])
        for test in manifest["nodes"].values()
        if test["resource_type"] == "test"
        and test.get("attached_node") in models
        and test["test_metadata"]["name"].startswith("unique")
    }
    dimensions = {column: name for name, column in unique if name.startswith("dim_")}
    dimensions |= dict.fromkeys(_DATES, dimensions[_DATE_KEY])
    references = [
        Reference(node["name"], column, dimensions[column], is_unique=(node["name"], column) in unique)
        for node in models.values()
        for column in node["columns"]
        if column in dimensions and dimensions[column] != node["name"]
    ]
    foreign = {(reference.child, reference.column) for reference in references}
    entities = {
        node["name"]: [
            Column(column["data_type"], name, _keys((node["name"], name) in unique, (node["name"], name) in foreign))
            for name, column in node["columns"].items()
        ]
        for _, node in sorted(models.items())
    }
    return _entity_relationship_diagram(entities, sorted(references))


def _keys(is_unique: bool, is_foreign: bool) -> tuple[str, ...]:
    return tuple(key for key, applies in {"PK": is_unique, "FK": is_foreign}.items() if applies)


def _entity_relationship_diagram(entities: Mapping[str, Iterable[Column]], references: Iterable[Reference]) -> str:
    lines = ["erDiagram"]
    for reference in references:
        many = "o|" if reference.is_unique else "o{"
        lines.append(f"    {reference.parent} ||--{many} {reference.child} : {reference.column}")
    for name, columns in entities.items():
        lines.append(f"    {name} {{")
        lines += [f"        {_word(column.type)} {column.name} {', '.join(column.keys)}".rstrip() for column in columns]
        lines.append("    }")
    return _fenced(lines)


def _word(column_type: str) -> str:
    """Return a type as one word without spaces and commas, as Mermaid requires."""
    return re.sub(r"[^\w()\[\]]+", "_", column_type)


# Lineage ----------------------------------------------------------------------------------------------------


def lineage_diagram(manifest: Mapping[str, Any]) -> str:
    """Return the diagram of the dependencies between source tables, models and exposures.

    Staging models are left out: the models that read a staging model depend on its source tables.
    """
    models = {unique_id: node for unique_id, node in manifest["nodes"].items() if node["resource_type"] == "model"}
    staging = {unique_id: node for unique_id, node in models.items() if node["config"]["materialized"] == "ephemeral"}
    nodes = {**manifest["sources"], **{unique_id: models[unique_id] for unique_id in models.keys() - staging.keys()}}
    lines = ["flowchart LR"]
    for schema, label in _LAYERS.items():
        lines.append(f'    subgraph {schema}["{label}"]')
        lines += [f"        {_node_id(node)}[{node['name']}]" for node in _by_name(nodes) if node["schema"] == schema]
        lines.append("    end")
    exposures = list(_by_name(manifest["exposures"]))
    lines += [f"    {exposure['name']}([{exposure['label']}])" for exposure in exposures]
    for node in [*_by_name(nodes), *exposures]:
        child = node["name"] if node["resource_type"] == "exposure" else _node_id(node)
        parents = node.get("depends_on", {}).get("nodes", [])
        found = {source for parent in parents for source in _relations(parent, staging)}
        for parent in sorted(found):
            lines.append(f"    {_node_id(nodes[parent])} --> {child}")
    return _fenced(lines)


def _relations(unique_id: str, staging: Mapping[str, Mapping[str, Any]]) -> Iterable[str]:
    return staging[unique_id]["depends_on"]["nodes"] if unique_id in staging else (unique_id,)


def _by_name(nodes: Mapping[str, Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return sorted(nodes.values(), key=lambda node: str(node["name"]))


def _node_id(node: Mapping[str, Any]) -> str:
    return f"{node['schema']}.{node['name']}"


def _fenced(lines: Iterable[str]) -> str:
    return "\n".join(["```mermaid", *lines, "```"])
