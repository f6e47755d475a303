"""Find the upstream columns of each column of a model in its compiled SQL, cached next to dbt's artifacts."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from acl_assets.util.atomic_write import write_atomically

Lineage = dict[str, list[tuple[str, str]]]


def lineage_of_models(
    manifest: Mapping[str, Any], target_path: Path, model_ids: list[str], warn: Callable[[str], None]
) -> dict[str, Lineage]:
    """Return the column lineage of the given models: column -> sorted (upstream unique id, upstream column) pairs.

    A model without compiled SQL below `target_path` is left out. `warn` is called with a message if the cache is
    damaged.
    """
    cache_file = target_path / "column_lineage.json"
    cache = _read_cache(cache_file, warn)
    found: dict[str, Lineage] = {}
    fresh: dict[str, Lineage] = {}
    for unique_id in model_ids:
        node = manifest["nodes"][unique_id]
        compiled = target_path / "compiled" / node["package_name"] / node["original_file_path"]
        if not compiled.exists():
            continue
        sql = compiled.read_text()
        parents = _parent_columns(manifest, node)
        digest = hashlib.sha256(json.dumps([sql, parents, sorted(node["columns"])]).encode()).hexdigest()
        found[unique_id] = fresh[digest] = cache.get(digest) or _lineage(sql, sorted(node["columns"]), parents)
    if fresh.keys() - cache.keys():
        write_atomically(cache_file, json.dumps({**cache, **fresh}))
    return found


def _read_cache(cache_file: Path, warn: Callable[[str], None]) -> dict[str, Lineage]:
    try:
        return {
            digest: {column: [(upstream, name) for upstream, name in sources] for column, sources in lineage.items()}
            for digest, lineage in json.loads(cache_file.read_bytes()).items()
        }
    except FileNotFoundError:
        return {}
    except (ValueError, TypeError, AttributeError) as error:
        warn(f"{cache_file} is damaged ({error}); the column lineage is computed again.")
        return {}


def _parent_columns(manifest: Mapping[str, Any], node: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the unique id and the declared column types of every upstream relation, by `schema.name`.

    dbt writes ephemeral models into the SQL of the models that read them, so their parents count instead.
    """
    parents: dict[str, dict[str, Any]] = {}
    for unique_id in node["depends_on"]["nodes"]:
        parent = manifest["sources" if unique_id.startswith("source.") else "nodes"][unique_id]
        if parent.get("config", {}).get("materialized") == "ephemeral":
            parents |= _parent_columns(manifest, parent)
            continue
        name = parent.get("identifier") or parent["alias"]
        columns = {column: entry["data_type"] for column, entry in parent["columns"].items()}
        parents[f"{parent['schema']}.{name}"] = {"unique_id": unique_id, "columns": columns}
    return parents


def _lineage(sql: str, columns: list[str], parents: Mapping[str, Mapping[str, Any]]) -> Lineage:
    # sqlglot takes a third of a second to import, and most refreshes need none of it.
    from sqlglot import exp, parse_one
    from sqlglot.lineage import lineage

    schema: dict[str, Any] = {}
    for relation, parent in parents.items():
        schema_name, name = relation.split(".")
        schema.setdefault(schema_name, {})[name] = parent["columns"]
    statement = parse_one(sql, dialect="duckdb")
    for table in statement.find_all(exp.Table):
        table.set("catalog", None)
    result: Lineage = {}
    for column in columns:
        sources = set()
        for node in lineage(column, statement, schema=schema, dialect="duckdb").walk():
            read = None if node.downstream else node.expression.find(exp.Table)
            relation = f"{read.db}.{read.name}" if read is not None else ""
            if relation in parents:
                sources.add((parents[relation]["unique_id"], exp.to_column(node.name).name.lower()))
        result[column] = sorted(sources)
    return result
