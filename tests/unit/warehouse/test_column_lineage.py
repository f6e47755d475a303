"""Column lineage, compared with the lineage that reading the SQL of the models shows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from acl_assets.warehouse.column_lineage import lineage_of_model

BANDS = "source.shop.festival.bands"
TICKETS = "source.shop.festival.tickets"
STAGING = "model.shop.stg_bands"
MODEL = "model.shop.sales"
SOURCE = {"schema": "festival", "config": {}}
EXPRESSION = """
    with sales as (
        select bands.name, tickets.price
        from festival.tickets as tickets
        inner join festival.bands as bands on bands.id = tickets.band_id
    )
    select concat(name, cast(max(price) as varchar)) as label from sales group by name
"""
THROUGH_STAGING = """
    with __dbt__cte__stg_bands as (select id as band_id, name as band_name from "acl"."festival"."bands")
    select upper(band_name) as label from __dbt__cte__stg_bands
"""


def columns(**types: str) -> dict[str, dict[str, str]]:
    return {name: {"data_type": data_type} for name, data_type in types.items()}


def manifest_of(parents: list[str]) -> dict[str, Any]:
    """A manifest of a model over two source tables and an ephemeral model, in the shape dbt writes it."""
    model = {"package_name": "shop", "original_file_path": "models/sales.sql", "schema": "main"}
    return {
        "nodes": {
            MODEL: {**model, "alias": "sales", "columns": columns(label="int"), "depends_on": {"nodes": parents}},
            STAGING: {**model, "alias": "stg_bands", "columns": {}, "config": {"materialized": "ephemeral"},
                      "depends_on": {"nodes": [BANDS]}},
        },
        "sources": {
            BANDS: {**SOURCE, "identifier": "bands", "columns": columns(id="int", name="string")},
            TICKETS: {**SOURCE, "identifier": "tickets", "columns": columns(id="int", price="int", band_id="int")},
        },
    }  # fmt: skip


@pytest.mark.parametrize(
    ("sql", "parents", "sources"),
    [
        (EXPRESSION, [BANDS, TICKETS], [(BANDS, "name"), (TICKETS, "price")]),
        (THROUGH_STAGING, [STAGING], [(BANDS, "name")]),
        ("select 1 as label from festival.bands", [BANDS], []),
    ],
    ids=["expression", "through an ephemeral model", "literal"],
)
def test_column_comes_from_the_columns_it_is_made_of(
    tmp_path: Path, sql: str, parents: list[str], sources: list[tuple[str, str]]
) -> None:
    """Of a model that was not compiled nothing is known."""
    compiled = tmp_path / "compiled" / "shop" / "models" / "sales.sql"
    assert lineage_of_model(manifest_of(parents), tmp_path, MODEL) == {}
    compiled.parent.mkdir(parents=True)
    compiled.write_text(sql)
    assert lineage_of_model(manifest_of(parents), tmp_path, MODEL) == {"label": sources}
