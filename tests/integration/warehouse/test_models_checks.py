"""Defects that the checks of the dbt project find, and the rows they name."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest
from warehouse.dbt_festivals import (
    Festival,
    built_in_memory,
    dbt_manifest,
    failing_rows,
    instant,
    nodes,
    outcomes,
    run_dbt,
    source_tables_in_memory,
    warehouse,
)

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
    """An unsold show, an oversold one and a sale after the start are odd, not wrong."""
    festival = sound_festival()
    festival.venues.append((2, "Cupboard", 1))
    festival.performances += [(2, SHOW, 1, 1), (3, SHOW, 1, 2), (4, instant("2022-10-05 20:00"), 1, 1)]
    festival.sell(3, [instant("2021-05-01 12:00"), instant("2021-10-05 20:01")])
    return festival


def repeated_keys() -> Festival:
    """Ids repeat next to each other, across a block of 32, and below zero."""
    festival = sound_festival()
    for table in ("bands", "venues", "performances", "people", "export_batches"):
        rows = getattr(festival, table)
        rows.append(rows[0])
    festival.purchases += [(64, SHOW, 1), (-64, SHOW, 1), (-64, SHOW, 1)]
    festival.tickets += [(2, 10, 1, 1, "TT00000000000009"), (33, 10, 1, 1, "TT00000000000001")]
    return festival


def missing_values() -> Festival:
    festival = sound_festival()
    festival.bands.append((2, None, None))
    festival.venues.append((None, "Cellar", 10))
    festival.performances.append((2, None, 1, 1))
    festival.people.append((None, BUYER))
    festival.purchases.append((3, None, 1))
    festival.tickets.append((3, None, 1, 3, None))
    festival.export_batches.append(("later", "full", LATER, None, None))
    return festival


def unknown_references() -> Festival:
    """Among them tickets for performances of which the venue or the band is unknown."""
    festival = sound_festival()
    festival.performances += [(2, SHOW, 98, 1), (3, SHOW, 1, 99)]
    for ticket_id, performance_id, purchase_id in [(11, 2, 1), (12, 3, 1), (13, 77, 1), (15, 1, 66)]:
        festival.tickets.append((ticket_id, 10, performance_id, purchase_id, f"TT{ticket_id:014d}"))
    festival.purchases.append((3, SHOW, 55))
    return festival


def unbelievable_values() -> Festival:
    festival = sound_festival()
    festival.bands.append((2, "!" * 201, -1))
    festival.venues.append((2, "Nowhere" * 30, 0))
    festival.people.append((2, BUYER * 30))
    festival.performances += [(2, instant("1999-12-31 20:00"), 1, 1), (3, instant("2035-01-01 20:00"), 1, 1)]
    festival.purchases += [(3, instant("1970-01-01 00:00"), 1), (4, instant("2022-08-03 06:00"), 1)]
    festival.tickets += [(11, -5, 1, 1, "TT00000000000011"), (12, 999_999, 1, 1, "TT00000000000012")]
    for ticket_id, number in enumerate(("TT0000000000013", "tt00000000000014", "TT0000000000001X"), 13):
        festival.tickets.append((ticket_id, 10, 1, 1, number))
    festival.export_batches.append(("later", "partial", LATER, "0", True))
    return festival


TABLES = ("bands", "venues", "performances", "people", "purchases", "tickets", "export_batches")


@pytest.mark.parametrize(
    ("festival", "names", "rows"),
    [
        (
            repeated_keys(),
            {*(f"{table}_id_is_unique" for table in TABLES[:-1]), "ticketnum_is_unique",
             "export_batches_batch_id_is_unique"},
            {
                "purchases_id_is_unique": [(-64, 2)],
                "tickets_id_is_unique": [(2, 2)],
                "ticketnum_is_unique": [(1, "TT00000000000001"), (33, "TT00000000000001")],
            },
        ),
        (
            missing_values(),
            {f"{table}_are_complete" for table in TABLES},
            {"tickets_are_complete": [(3, 1, 3, "price, ticketnum")]},
        ),
        (
            unknown_references(),
            {"performances_band_is_known", "performances_venue_is_known", "purchases_person_is_known",
             "tickets_performance_is_known", "tickets_purchase_is_known", "tickets_have_known_venue_and_band"},
            {
                "tickets_performance_is_known": [(13, 77)],
                "tickets_purchase_is_known": [(15, 66)],
                "tickets_have_known_venue_and_band": [(11, 2, 98, 1), (12, 3, 1, 99)],
            },
        ),
        (
            unbelievable_values(),
            {"band_fee_is_not_negative", "band_name_is_readable", "venue_name_is_readable", "person_name_is_readable",
             "venue_capacity_is_positive", "performance_start_is_within_festival_life",
             "purchase_date_is_within_festival_life", "ticket_price_is_not_negative", "ticket_price_is_believable",
             "ticketnum_is_well_formed", "export_batches_kind_is_known"},
            {
                "person_name_is_readable": [(2, 270)],
                "ticketnum_is_well_formed": [(13, "TT0000000000013"), (14, "tt00000000000014"),
                                             (15, "TT0000000000001X")],
            },
        ),
    ],
    ids=["repeated keys", "missing values", "unknown references", "unbelievable values"],
)  # fmt: skip
def test_defects_of_the_source_are_found(
    festival: Festival, names: set[str], rows: dict[str, list[tuple[object, ...]]]
) -> None:
    """Also: no failing row, which readers of the published file see, names a person."""
    with source_tables_in_memory(festival) as connection:
        found = failing_rows(connection, of_sources=True)
    assert found.keys() == names
    assert {name: found[name] for name in rows} == rows
    assert not [row for failing in found.values() for row in failing if BUYER in str(row)]


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
    """A dollar too many in one place at a time, and each place is told from the others."""
    dollars = {
        "star_schema.fct_ticket_sales": "ticket_price",
        "data_products.ticket_sales_over_time": "revenue",
        "data_products.ticket_sales_by_venue": "revenue, total_revenue",
        "data_products.band_sales_by_venue": "revenue",
        "data_products.performance_attendance": "revenue",
        "data_products.festival_sales": "revenue",
        "data_products.band_sales": "revenue",
        "data_products.band_sales_by_festival": "revenue",
    }
    adding_up = {f"{table.split('.')[1]}_adds_up" for table in dollars}
    adding_up |= {"fct_performances_adds_up", "venue_totals_add_up"}
    with built_in_memory(sound_festival()) as connection:
        for number, (table, columns) in enumerate(dollars.items(), 1):
            added = ", ".join(f"{column} = {column} + {number}" for column in columns.split(", "))
            connection.execute(f"update {table} set {added}")
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
    result = run_dbt(tmp_path, "build", "--exclude-resource-type", "unit_test")
    assert result.success, result.exception
    stored = {
        "performances_have_tickets": "performance_id = 2",
        "tickets_sold_within_capacity": "performance_id = 3",
        "tickets_bought_before_the_show": "ticket_id = 4",
    }
    assert {name: found for name, found in outcomes(result).items() if found != "pass"} == dict.fromkeys(stored, "warn")
    unit_tests = outcomes(run_dbt(tmp_path, "test", "--select", "test_type:unit"))
    assert len(unit_tests) == len(dbt_manifest().unit_tests)
    assert set(unit_tests.values()) == {"pass"}
    copy = (tmp_path / "build" / "acl.duckdb").rename(tmp_path / "acl-2022.duckdb")
    with duckdb.connect(str(copy), read_only=True) as connection:
        for name, condition in stored.items():
            assert connection.sql(f"select {condition} from audit.{name}").fetchall() == [(True,)]
        assert connection.sql("select distinct band_name from data_products.ticket_sales").fetchall() == [("NULL",)]
        layers = "('star_schema', 'evidence', 'data_products')"
        undescribed = f"from duckdb_columns() where schema_name in {layers} and comment is null"
        assert connection.sql(undescribed).fetchall() == []


def test_a_wrong_source_stops_the_build_before_the_first_figure(tmp_path: Path) -> None:
    """Failing rows are stored up to a bound; no model is built on the tickets."""
    festival = sound_festival()
    festival.tickets = [(number, -1, 77, 1, f"TT{number:014d}") for number in range(1, 1501)]
    festival.write(tmp_path)
    run_dbt(tmp_path, "build", "--exclude-resource-type", "unit_test")
    with warehouse(tmp_path) as connection:
        built = {name for (name,) in connection.sql("select table_name from duckdb_tables()").fetchall()}
        assert connection.sql("select count(*) from audit.ticket_price_is_not_negative").fetchall() == [(1000,)]
    assert not built & {"fct_ticket_sales", "fct_performances", "ticket_sales_over_time", "all_star_candidates"}
