"""What the checks of the dbt project find, each on a festival that is wrong in the way the check is there for."""

from __future__ import annotations

from pathlib import Path

import pytest
from warehouse.dbt_festivals import Festival, instant, outcomes, run_dbt, warehouse

BUYER = "Ada Buyer"
SHOW = instant("2021-10-05 20:00")


def sound_festival() -> Festival:
    """One show with two tickets; nothing is wrong with it."""
    festival = Festival(
        bands=[(1, "NULL", 500)],
        venues=[(1, "Meadow", 10)],
        performances=[(1, SHOW, 1, 1)],
        people=[(1, BUYER)],
    )
    festival.sell(1, [instant("2021-05-01 12:00"), instant("2021-06-01 12:00")])
    festival.export(instant("2022-08-01 06:00"))
    return festival


def failing(found: dict[str, str]) -> dict[str, str]:
    return {name: outcome for name, outcome in found.items() if outcome != "pass"}


def source_checks(festival: Festival, data_dir: Path) -> dict[str, str]:
    festival.write(data_dir)
    of_sources_alone = ("--select", "source:festival", "--indirect-selection", "cautious")
    return failing(outcomes(run_dbt(data_dir, "test", *of_sources_alone)))


@pytest.fixture
def built(tmp_path: Path) -> Path:
    sound_festival().write(tmp_path)
    assert run_dbt(tmp_path, "run").success
    return tmp_path


def model_checks(data_dir: Path) -> dict[str, str]:
    selected = (
        "test",
        "--select",
        "star_schema",
        "data_products",
        "source_keys",
        "--exclude-resource-type",
        "unit_test",
    )
    return failing(outcomes(run_dbt(data_dir, *selected)))


def test_a_sound_festival_passes_every_check(tmp_path: Path) -> None:
    sound_festival().write(tmp_path)
    found = outcomes(run_dbt(tmp_path, "build", "--exclude-resource-type", "unit_test"))
    assert len(found) > 70
    assert failing(found) == {}


def test_an_empty_festival_passes_every_check(tmp_path: Path) -> None:
    """Before the first sale there is nothing to compare, and no sum that is null stops the build."""
    Festival().write(tmp_path)
    assert failing(outcomes(run_dbt(tmp_path, "build", "--exclude-resource-type", "unit_test"))) == {}


def test_keys_that_repeat_are_found(tmp_path: Path) -> None:
    """Ids repeat next to each other, across a block of 32, and below zero."""
    festival = sound_festival()
    for table in ("bands", "venues", "performances", "people", "export_batches"):
        rows = getattr(festival, table)
        rows.append(rows[0])
    festival.purchases += [(64, SHOW, 1), (-64, SHOW, 1), (-64, SHOW, 1)]
    festival.tickets += [(2, 10, 1, 1, "TT00000000000009"), (33, 10, 1, 1, "TT00000000000001")]
    assert source_checks(festival, tmp_path) == {
        "bands_id_is_unique": "fail",
        "venues_id_is_unique": "fail",
        "performances_id_is_unique": "fail",
        "people_id_is_unique": "fail",
        "purchases_id_is_unique": "fail",
        "tickets_id_is_unique": "fail",
        "ticketnum_is_unique": "fail",
        "export_batches_batch_id_is_unique": "fail",
    }
    with warehouse(tmp_path) as connection:
        assert connection.sql("from audit.purchases_id_is_unique").fetchall() == [(-64, 2)]
        assert connection.sql("from audit.tickets_id_is_unique").fetchall() == [(2, 2)]
        assert sorted(connection.sql("select ticket_id from audit.ticketnum_is_unique").fetchall()) == [(1,), (33,)]


def test_missing_values_are_found_and_named(tmp_path: Path) -> None:
    festival = sound_festival()
    festival.bands.append((2, None, None))
    festival.venues.append((None, "Cellar", 10))
    festival.performances.append((2, None, 1, 1))
    festival.people.append((None, "Grace Buyer"))
    festival.purchases.append((3, None, 1))
    festival.tickets.append((3, None, 1, 3, None))
    festival.export_batches.append(("later", "full", instant("2022-08-01 06:00"), None, None))
    assert source_checks(festival, tmp_path) == {
        "bands_are_complete": "fail",
        "venues_are_complete": "fail",
        "performances_are_complete": "fail",
        "people_are_complete": "fail",
        "purchases_are_complete": "fail",
        "tickets_are_complete": "fail",
        "export_batches_are_complete": "fail",
    }
    with warehouse(tmp_path) as connection:
        assert connection.sql("from audit.tickets_are_complete").fetchall() == [(3, 1, 3, "price, ticketnum")]


def test_references_to_nothing_are_found(tmp_path: Path) -> None:
    """Also the question of the organisers: tickets for performances of which the venue or the band is unknown."""
    festival = sound_festival()
    festival.performances += [(2, SHOW, 98, 1), (3, SHOW, 1, 99)]
    festival.tickets += [
        (11, 10, 2, 1, "TT00000000000011"),
        (12, 10, 3, 1, "TT00000000000012"),
        (13, 10, 77, 1, "TT00000000000013"),
        (14, 10, 77, 1, "TT00000000000014"),
        (15, 10, 1, 66, "TT00000000000015"),
    ]
    festival.purchases.append((3, SHOW, 55))
    assert source_checks(festival, tmp_path) == {
        "performances_band_is_known": "fail",
        "performances_venue_is_known": "fail",
        "purchases_person_is_known": "fail",
        "tickets_performance_is_known": "fail",
        "tickets_purchase_is_known": "fail",
        "tickets_have_a_performance": "fail",
        "tickets_have_known_venue_and_band": "fail",
    }
    with warehouse(tmp_path) as connection:
        assert connection.sql("from audit.tickets_purchase_is_known").fetchall() == [(15, 66)]
        assert connection.sql("from audit.tickets_have_a_performance").fetchall() == [(77, 2, 13)]
        assert sorted(connection.sql("from audit.tickets_have_known_venue_and_band").fetchall()) == [
            (11, 2, 98, 1),
            (12, 3, 1, 99),
        ]


def test_values_beyond_belief_are_found(tmp_path: Path) -> None:
    festival = sound_festival()
    festival.bands.append((2, "!!!", -1))
    festival.venues.append((2, "Nowhere", 0))
    festival.performances += [(2, instant("1999-12-31 20:00"), 1, 1), (3, instant("2035-01-01 20:00"), 1, 1)]
    festival.purchases += [(3, instant("1970-01-01 00:00"), 1), (4, instant("2022-08-03 06:00"), 1)]
    festival.tickets += [
        (11, -5, 1, 1, "TT00000000000011"),
        (12, 999_999, 1, 1, "TT00000000000012"),
        (13, 10, 1, 1, "TT0000000000013"),
        (14, 10, 1, 1, "tt00000000000014"),
        (15, 10, 1, 1, "TT0000000000001X"),
    ]
    festival.export_batches.append(("later", "partial", instant("2022-08-01 06:00"), "0", True))
    assert source_checks(festival, tmp_path) == {
        "band_fee_is_not_negative": "fail",
        "venue_capacity_is_positive": "fail",
        "performance_start_is_within_festival_life": "fail",
        "purchase_date_is_within_festival_life": "fail",
        "ticket_price_is_not_negative": "fail",
        "ticket_price_is_believable": "fail",
        "ticketnum_is_well_formed": "fail",
        "export_batches_kind_is_known": "fail",
    }
    with warehouse(tmp_path) as connection:
        assert sorted(connection.sql("select id from audit.performance_start_is_within_festival_life").fetchall()) == [
            (2,),
            (3,),
        ]
        assert sorted(connection.sql("select ticket_id from audit.ticketnum_is_well_formed").fetchall()) == [
            (13,),
            (14,),
            (15,),
        ]


def test_a_wrong_source_stops_the_build_before_the_first_figure(tmp_path: Path) -> None:
    """A ticket without a performance could only be left out or break a sum; nothing is built on it."""
    festival = sound_festival()
    festival.tickets.append((3, 10, 77, 1, "TT00000000000003"))
    festival.write(tmp_path)
    run_dbt(tmp_path, "build", "--exclude-resource-type", "unit_test")
    with warehouse(tmp_path) as connection:
        built = {name for (name,) in connection.sql("select table_name from duckdb_tables()").fetchall()}
    assert not built & {"fct_ticket_sales", "fct_performances", "ticket_sales_over_time", "all_star_candidates"}


def test_what_may_be_true_is_a_warning_with_a_list(tmp_path: Path) -> None:
    """An unsold show, an oversold one and a sale after the start are odd, not wrong; nothing is stopped."""
    festival = sound_festival()
    festival.venues.append((2, "Cupboard", 1))
    festival.performances += [
        (2, SHOW, 1, 1),
        (3, SHOW, 1, 2),
        (4, instant("2022-10-05 20:00"), 1, 1),
    ]
    festival.sell(3, [instant("2021-05-01 12:00"), instant("2021-10-05 20:01")])
    festival.write(tmp_path)
    result = run_dbt(tmp_path, "build", "--exclude-resource-type", "unit_test")
    assert result.success
    assert failing(outcomes(result)) == {
        "performances_have_tickets": "warn",
        "tickets_sold_within_capacity": "warn",
        "tickets_bought_before_the_show": "warn",
    }
    with warehouse(tmp_path) as connection:
        assert connection.sql("select performance_id from audit.performances_have_tickets").fetchall() == [(2,)]
        assert connection.sql("select performance_id from audit.tickets_sold_within_capacity").fetchall() == [(3,)]
        assert connection.sql("select ticket_id from audit.tickets_bought_before_the_show").fetchall() == [(4,)]


def test_rows_that_repeat_in_a_model_are_found(built: Path) -> None:
    """Every model has a key."""
    with warehouse(built, read_only=False) as connection:
        for schema, table in connection.sql("select schema_name, table_name from duckdb_tables()").fetchall():
            connection.execute(f"insert into {schema}.{table} select * from {schema}.{table} limit 1")
    keys = {
        "dim_bands_band_id", "dim_venues_venue_id", "dim_people_person_id", "dim_performances_performance_id",
        "dim_dates_date_day", "fct_ticket_sales_ticket_id", "fct_performances_performance_id",
        "ticket_sales_over_time_key", "ticket_sales_by_venue_key", "band_sales_by_venue_key", "all_star_candidates_key",
        "performance_attendance_performance_id", "ticket_sales_ticket_id", "source_bands_band_id",
        "source_venues_venue_id", "source_performances_performance_id", "source_tickets_by_performance_performance_id",
    }  # fmt: skip
    found = model_checks(built)
    assert {name for name in found if name.endswith("_is_unique")} == {f"{key}_is_unique" for key in keys}


def test_sums_that_went_missing_are_found(built: Path) -> None:
    """A dollar too many in one place at a time, and each place is told from the others."""
    dollars = {
        "star_schema.fct_ticket_sales": "ticket_price",
        "data_products.ticket_sales_over_time": "revenue",
        "data_products.ticket_sales_by_venue": "revenue, total_revenue",
        "data_products.band_sales_by_venue": "revenue",
        "data_products.performance_attendance": "revenue",
        "source_keys.source_tickets_by_performance": "dollars",
    }
    with warehouse(built, read_only=False) as connection:
        for number, (table, columns) in enumerate(dollars.items(), 1):
            added = ", ".join(f"{column} = {column} + {number}" for column in columns.split(", "))
            connection.execute(f"update {table} set {added}")
    assert failing({name: found for name, found in model_checks(built).items() if "add" in name}) == {
        "fct_ticket_sales_adds_up": "fail",
        "fct_performances_adds_up": "fail",
        "ticket_sales_over_time_adds_up": "fail",
        "ticket_sales_by_venue_adds_up": "fail",
        "venue_totals_add_up": "fail",
        "band_sales_by_venue_adds_up": "fail",
        "performance_attendance_adds_up": "fail",
        "source_tickets_by_performance_adds_up": "fail",
    }


def test_rows_that_went_missing_are_found(built: Path) -> None:
    """Without its dimensions a fact points to nothing; without the fact every sum is off."""
    with warehouse(built, read_only=False) as connection:
        for table in ("dim_bands", "dim_venues", "dim_people", "dim_dates", "fct_performances"):
            connection.execute(f"delete from star_schema.{table}")
    assert model_checks(built) == {
        "dim_performances_band_is_known": "fail",
        "dim_performances_venue_is_known": "fail",
        "dim_performances_date_is_known": "fail",
        "fct_ticket_sales_person_is_known": "fail",
        "fct_ticket_sales_date_is_known": "fail",
        "fct_performances_has_every_performance": "fail",
        "fct_performances_adds_up": "fail",
        "ticket_sales_over_time_adds_up": "fail",
        "ticket_sales_by_venue_adds_up": "fail",
        "venue_totals_add_up": "fail",
        "band_sales_by_venue_adds_up": "fail",
        "performance_attendance_adds_up": "fail",
        "source_tickets_by_performance_adds_up": "fail",
        "ticket_sales_adds_up": "fail",
    }


def test_no_stored_failing_row_names_a_person(tmp_path: Path) -> None:
    """Failing rows are kept in the warehouse people read; they say which row it is, not who."""
    festival = sound_festival()
    festival.people += [(1, BUYER), (None, BUYER), (3, None)]
    festival.purchases.append((3, SHOW, 55))
    found = source_checks(festival, tmp_path)
    assert {"people_id_is_unique", "people_are_complete", "purchases_person_is_known"} <= found.keys()
    with warehouse(tmp_path) as connection:
        stored = connection.sql("select table_name from duckdb_tables() where schema_name = 'audit'").fetchall()
        rows = [row for (table,) in stored for row in connection.sql(f"from audit.{table}").fetchall()]
    assert rows
    assert not [row for row in rows if BUYER in row]


def test_stored_failing_rows_are_bounded(tmp_path: Path) -> None:
    """A table that is wrong throughout fails the check without filling the warehouse."""
    festival = sound_festival()
    festival.tickets = [(number, -1, 1, 1, f"TT{number:014d}") for number in range(1, 1501)]
    assert source_checks(festival, tmp_path) == {"ticket_price_is_not_negative": "fail"}
    with warehouse(tmp_path) as connection:
        assert connection.sql("select count(*) from audit.ticket_price_is_not_negative").fetchall() == [(1000,)]
