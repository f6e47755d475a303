"""Find the upstream columns of each column of a model in its compiled SQL."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from acl_assets.warehouse.project import compiled_file

Lineage = dict[str, list[tuple[str, str]]]


def lineage_of_model(manifest: Mapping[str, Any], target_path: Path, unique_id: str) -> Lineage:
    """Return the column lineage of a built model: column -> sorted (upstream unique id, upstream column) pairs."""
    node = manifest["nodes"][unique_id]
    return _lineage(compiled_file(target_path, node).read_text(), sorted(node["columns"]), _parents(manifest, node))


def _parents(manifest: Mapping[str, Any], node: Mapping[str, Any]) -> dict[tuple[str, str], tuple[str, dict[str, str]]]:
    """Return the unique id and the declared column types of every upstream relation, by schema and name.

    dbt writes ephemeral models into the SQL of the models that read them, so their parents count instead.
    """
    parents: dict[tuple[str, str], tuple[str, dict[str, str]]] = {}
    for unique_id in node["depends_on"]["nodes"]:
        parent = manifest["sources" if unique_id.startswith("source.") else "nodes"][unique_id]
        if parent["config"].get("materialized") == "ephemeral":
            parents |= _parents(manifest, parent)
            continue
        columns = {column: entry["data_type"] for column, entry in parent["columns"].items()}
        parents[parent["schema"], parent.get("identifier") or parent["alias"]] = unique_id, columns
    return parents


def _lineage(
    sql: str, columns: Iterable[str], parents: Mapping[tuple[str, str], tuple[str, dict[str, str]]]
) -> Lineage:
    # sqlglot takes a third of a second to import, and every Dagster process loads the definitions.
    from sqlglot import exp, parse_one
    from sqlglot.lineage import lineage
    from sqlglot.optimizer.qualify import qualify
    from sqlglot.optimizer.scope import build_scope

    schema: dict[str, Any] = {}
    for (schema_name, name), (_, types) in parents.items():
        schema.setdefault(schema_name, {})[name] = types
    statement = parse_one(sql, dialect="duckdb")
    for table in statement.find_all(exp.Table):
        table.set("catalog", None)
    statement = qualify(statement, schema=schema, dialect="duckdb", validate_qualify_columns=False)
    scope = build_scope(statement)
    result: Lineage = {}
    for column in columns:
        sources = set()
        # By default sqlglot copies the statement for every column and every step, which takes nine times as long.
        graph = lineage(column, statement, schema, scope=scope, dialect="duckdb", copy=False, trim_selects=False)
        for node in graph.walk():
            read = None if node.downstream else node.expression.find(exp.Table)
            if read is not None and (read.db, read.name) in parents:
                sources.add((parents[read.db, read.name][0], exp.to_column(node.name).name.lower()))
        result[column] = sorted(sources)
    return result
