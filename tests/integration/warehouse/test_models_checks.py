"""Checks of the dbt project find defects of the source tables and of models, and nothing in a sound festival."""

import json
import re
from pathlib import Path

import duckdb
import pytest
from warehouse.dbt_festivals import (
    Festival,
    built_in_memory,
    compiled_manifest,
    failing_rows,
    instant,
    nodes,
    run_dbt,
    source_tables_in_memory,
)

from acl_assets.warehouse.project import DbtProjectError

pytestmark = pytest.mark.slow

BUYER = "Ada Buyer"
SHOW = instant("2021-10-05 20:00")
LATER = instant("2022-08-01 06:00")


def sound_festival() -> Festival:
    """One show with two tickets; nothing is wrong with it."""
    festival = Festival(
        bands=[(1, "NULL", 500)],
        venues=[(1, "Meadow", 10)],
        performances=[(1, SHOW, 1, 1)],
        people=[(1, BUYER)],
    )
    festival.sell(1, [instant("2021-05-01 12:00"), instant("2021-06-01 12:00")])
    festival.export(LATER)
    return festival


def odd_festival() -> Festival:
    """Two bands of one name, an unsold show, an oversold one and a sale after the start are odd, not wrong."""
    festival = sound_festival()
    festival.bands.append((2, "NULL", 0))
    festival.venues.append((2, "Cupboard", 1))
    festival.performances += [(2, SHOW, 1, 1), (3, SHOW, 1, 2), (4, instant("2022-10-05 20:00"), 1, 1)]
    festival.sell(3, [instant("2021-05-01 12:00"), instant("2021-10-05 20:01")])
    return festival


def test_defects_of_the_source_are_found_without_naming_a_person() -> None:
    """Ids repeat next to each other, across a block of 32, and below zero; readers of the published file see the rows.

    The defect catalogue has the other checks of the source tables.
    """
    festival = sound_festival()
    festival.people.append((2, BUYER * 30))
    festival.purchases += [(64, SHOW, 1), (-64, SHOW, 1), (-64, SHOW, 1)]
    festival.tickets += [(2, 10, 1, 1, "TT00000000000009"), (33, 10, 1, 1, "TT00000000000001")]
    festival.export_batches.append(festival.export_batches[0])
    festival.performances.append((2, SHOW, 98, 1))
    festival.tickets.append((11, 10, 2, 1, "TT00000000000011"))
    with source_tables_in_memory(festival) as connection:
        assert failing_rows(connection, of_sources=True) == {
            "purchases_id_is_unique": [(-64, 2)],
            "tickets_id_is_unique": [(2, 2)],
            "ticketnum_is_unique": [(1, "TT00000000000001"), (33, "TT00000000000001")],
            "export_batches_batch_id_is_unique": [("batch-1", 2)],
            "person_name_is_readable": [(2, 270)],
            "performances_band_is_known": [(2, 98)],
            "tickets_have_known_venue_and_band": [(11, 2, 98, 1)],
        }


@pytest.mark.parametrize("festival", [sound_festival(), Festival()], ids=["sound", "empty"])
def test_sound_or_empty_festival_passes_every_check(festival: Festival) -> None:
    """Before the first sale no sum that is null stops the build."""
    with built_in_memory(festival) as connection:
        assert failing_rows(connection) == {}


def test_rows_that_repeat_in_a_model_are_found() -> None:
    """Every model has a key."""
    with built_in_memory(sound_festival()) as connection:
        for model in nodes("model"):
            if model["config"]["materialized"] == "table":
                table = f"{model['schema']}.{model['name']}"
                connection.execute(f"insert into {table} from {table} limit 1")
        found = failing_rows(connection, of_sources=False)
    assert len([name for name in found if name.endswith("_is_unique")]) == len(nodes("model"))


def test_sums_and_rows_that_went_missing_are_found() -> None:
    """One dollar too many in one place at a time; only the check of that place fails."""
    dollars = {
        "star_schema.fct_ticket_sales": "ticket_price",
        "data_products.ticket_sales_over_time": "revenue",
        "data_products.venue_sales": "revenue",
        "data_products.ticket_sales_by_venue": "revenue",
        "data_products.band_sales_by_venue": "revenue",
        "data_products.performance_attendance": "revenue",
        "data_products.festival_sales": "revenue",
        "data_products.band_sales": "revenue",
        "data_products.band_sales_by_festival": "revenue",
    }
    adding_up = {f"{table.split('.')[1]}_adds_up" for table in dollars}
    adding_up.add("fct_performances_adds_up")
    with built_in_memory(sound_festival()) as connection:
        for number, (table, column) in enumerate(dollars.items(), 1):
            connection.execute(f"update {table} set {column} = {column} + {number}")
        assert {name for name in failing_rows(connection, of_sources=False) if "add" in name} == adding_up
    with built_in_memory(sound_festival()) as connection:
        for table in ("dim_bands", "dim_dates", "fct_performances"):
            connection.execute(f"delete from star_schema.{table}")
        assert failing_rows(connection, of_sources=False).keys() == {
            "dim_performances_date_is_known", "fct_ticket_sales_date_is_known",
            "fct_performances_has_every_performance", "ticket_sales_adds_up",
            *(adding_up - {"fct_ticket_sales_adds_up"}),
        }  # fmt: skip


def test_odd_figures_are_warnings_and_the_file_works_under_any_name(tmp_path: Path) -> None:
    """Built by dbt itself: contracts, stored failing rows, comments, a view in a renamed copy, and the unit tests."""
    odd_festival().write(tmp_path)
    found = run_dbt(tmp_path, "build")
    stored = {
        "band_name_is_unique": "n_records = 2",
        "performances_have_tickets": "performance_id = 2",
        "tickets_sold_within_capacity": "performance_id = 3",
        "tickets_bought_before_the_show": "ticket_id = 4",
    }
    assert {name for name, status in found.items() if status == "warn"} == stored.keys()
    unit_tests = {test["name"] for test in compiled_manifest()["unit_tests"].values()}
    assert {found.get(name) for name in unit_tests} == {"pass"}
    copy = (tmp_path / "build" / "acl.duckdb").rename(tmp_path / "acl-2022.duckdb")
    with duckdb.connect(str(copy), read_only=True) as connection:
        for name, condition in stored.items():
            assert connection.sql(f"select {condition} from audit.{name}").fetchall() == [(True,)]
        assert connection.sql("select distinct band_name from data_products.ticket_sales").fetchall() == [("NULL",)]
        layers = "('star_schema', 'evidence', 'data_products')"
        undescribed = f"from duckdb_columns() where schema_name in {layers} and comment is null"
        assert connection.sql(undescribed).fetchall() == []


def test_vars_that_cannot_be_meant_stop_the_build_before_its_first_model(tmp_path: Path) -> None:
    """Many such values break no SQL: every verdict would be published wrongly."""
    sound_festival().write(tmp_path)
    unusable = {
        "top_venues": 0,
        "first_festival_year": "first",
        "max_name_length": None,
        "max_days_purchased_after_export": -5,
        "must_invite_p_best": 80,
        "possible_p_top_group": False,
        "evidence_from_other_venues": "no",
    }
    with pytest.raises(DbtProjectError) as stopped:
        run_dbt(tmp_path, "run", "--vars", json.dumps(unusable))
    named = re.findall(r"The var (\w+) is (.+)\. Set it", str(stopped.value))
    assert {name: json.loads(value) for name, value in named} == unusable
    with duckdb.connect(str(tmp_path / "build" / "acl.duckdb"), read_only=True) as connection:
        assert connection.sql("from duckdb_tables()").fetchall() == []
