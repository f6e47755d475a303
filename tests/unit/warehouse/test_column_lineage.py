"""Column lineage, compared with the lineage that reading the SQL of the models shows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from acl_assets.warehouse.column_lineage import lineage_of_model

BANDS = "source.shop.festival.bands"
TICKETS = "source.shop.festival.tickets"
STAGING = "model.shop.stg_bands"
MODEL = "model.shop.sales"
SOURCE = {"schema": "festival", "config": {}}
SQL = """
    with __dbt__cte__stg_bands as (select id as band_id, name as band_name from "acl"."festival"."bands"),
    sales as (
        select bands.band_name, tickets.price
        from festival.tickets as tickets
        inner join __dbt__cte__stg_bands as bands on bands.band_id = tickets.band_id
    )
    select concat(upper(band_name), cast(max(price) as varchar)) as label, 1 as number from sales group by band_name
"""


def columns(**types: str) -> dict[str, dict[str, str]]:
    return {name: {"data_type": data_type} for name, data_type in types.items()}


def test_column_comes_from_the_columns_it_is_made_of(tmp_path: Path) -> None:
    """Also through an ephemeral model, whose SQL dbt writes into that of its readers.

    Of a model that was not compiled nothing is known.
    """
    model = {"package_name": "shop", "original_file_path": "models/sales.sql", "schema": "main"}
    manifest: dict[str, Any] = {
        "nodes": {
            MODEL: {**model, "alias": "sales", "columns": columns(label="string", number="int"),
                    "depends_on": {"nodes": [STAGING, TICKETS]}},
            STAGING: {**model, "alias": "stg_bands", "columns": {}, "config": {"materialized": "ephemeral"},
                      "depends_on": {"nodes": [BANDS]}},
        },
        "sources": {
            BANDS: {**SOURCE, "identifier": "bands", "columns": columns(id="int", name="string")},
            TICKETS: {**SOURCE, "identifier": "tickets", "columns": columns(id="int", price="int", band_id="int")},
        },
    }  # fmt: skip
    compiled = tmp_path / "compiled" / "shop" / "models" / "sales.sql"
    assert lineage_of_model(manifest, tmp_path, MODEL) == {}
    compiled.parent.mkdir(parents=True)
    compiled.write_text(SQL)
    assert lineage_of_model(manifest, tmp_path, MODEL) == {
        "label": [(BANDS, "name"), (TICKETS, "price")],
        "number": [],
    }
