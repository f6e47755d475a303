"""A published warehouse of an invented festival: the data products and publication tables that the report reads."""

from dataclasses import dataclass
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
from warehouse.dbt_festivals import nodes, set_choices

FESTIVALS = [*range(2002, 2020), 2021]
FESTIVAL_ON_SALE = 2022
EXPORTED_AT = pd.Timestamp("2022-08-01 06:00:00")
STATEMENT = "Data as of 1 Aug 2022 01:00, published 1 Aug 2022 01:01 (America/Chicago), 2 checks passed, 2 warnings"
_OF_TICKETS = {"ticket_sales", "ticket_sales_over_time"}

# Name, capacity, performances per festival, how full it usually is.
VENUES = [
    ("Live Oak Meadow", 3000, 15, 0.93),
    ("Zilker Bend Stage", 3000, 13, 0.90),
    ("Barton Creek Amphitheatre", 2800, 13, 0.92),
    ("Pecan Street  Yard", 2200, 11, 0.72),
    ("La Peña, Eastside", 2000, 11, 0.70),
    ("The Moonlight Tower", 1800, 11, 0.71),
    ("Saxon's Ballroom", 1500, 11, 0.74),
    ("Café Ñandú", 1000, 9, 0.70),
    ("Shoal Creek Chapel", 700, 6, 0.75),
]
# Per top venue: its leading bands, the tickets of each performance, and their performances.
LEADING_BANDS: list[list[tuple[str, int, int]]] = [
    [
        ("The Velvet Cicadas", 2790, 4), ("NULL", 2440, 3), ("Mañana Ghost", 2390, 2), ("'68", 2350, 2),
        ("!!!", 2080, 5), ("Paper Lantern Parade", 2040, 1), ("Hollis & the Hail", 2010, 2), ("Cedar Static", 1990, 1),
    ],
    [
        ("Okra Moonshine", 2610, 3), ("Björk's Understudy", 2590, 2), ("Earth, Wind & Tire", 2570, 4),
        ("Tin Roof Sonata", 2230, 1), ("Dust Bowl Disco", 2190, 2), ("The \"Quotables\"", 1930, 1),
        ("Sixth Street Saints", 1910, 3), ("Night Heron", 1700, 1),
    ],
    [
        ("Longhorn Lullaby", 2480, 2), ("Neon Armadillo", 2440, 1), ("Agave Choir", 2400, 3),
        ("The Very Long-Winded Orchestra of Greater Travis County and Friends", 2370, 1), ("Salt Lick Séance", 2330, 2),
        ("Grackle", 2310, 4), ("Bluebonnet Riot", 2290, 1), ("Mesquite Motel", 2260, 1),
    ],
]  # fmt: skip


@dataclass
class SampleWarehouse:
    """The data products of a published file, by name; change them before `write`."""

    products: dict[str, pd.DataFrame]

    def write(self, path: Path) -> Path:
        """Write the DuckDB file and return its path."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with duckdb.connect(path) as connection:
            for schema, frames in (("data_products", self.products), ("publication", sample_publication())):
                connection.execute(f"create schema {schema}")
                for name, frame in frames.items():
                    connection.from_df(frame).create(f"{schema}.{name}")
        return path


def sample_warehouse(
    performances: pd.DataFrame | None = None, rename_bands: dict[str, str] | None = None
) -> SampleWarehouse:
    """The warehouse of those performances, by default an invented festival of 20 years with 2022 on sale.

    `rename_bands` maps band names to others, for names that try to break out.
    """
    performances = invented_performances() if performances is None else performances
    band_names = performances["band_name"].replace(rename_bands or {})
    return SampleWarehouse(data_products(performances.assign(band_name=band_names)))


def invented_performances() -> pd.DataFrame:
    """Performances with tickets sold, grain performance; one of them sold nothing."""
    random = np.random.default_rng(2022)
    shows = [
        (band, venue, int(year), tickets)
        for venue, bands in enumerate(LEADING_BANDS)
        for band, tickets, played in bands
        for year in random.choice(FESTIVALS, size=played, replace=False)
    ]
    shows += [
        (f"Garage Act {year}-{venue}-{number}", venue, year, int(capacity * fullness * random.uniform(0.3, 0.6)))
        for year in [*FESTIVALS, FESTIVAL_ON_SALE]
        for venue, (_, capacity, performances, fullness) in enumerate(VENUES)
        for number in range(performances)
    ]
    shows.append(("Nobody Came", 0, 2019, 0))
    performances = pd.DataFrame(shows, columns=["band_name", "venue", "festival_year", "tickets_sold"])
    starts = pd.to_datetime(performances["festival_year"].astype(str) + "-10-04 17:00")
    return performances.assign(
        performance_id=performances.index + 1,
        band_id=performances["band_name"].factorize()[0] + 1,
        venue_id=performances["venue"] + 1,
        venue_name=[VENUES[venue][0] for venue in performances["venue"]],
        capacity=[VENUES[venue][1] for venue in performances["venue"]],
        performance_start=starts + pd.to_timedelta(performances.index % 48, unit="h"),
        is_completed=performances["festival_year"] < FESTIVAL_ON_SALE,
    )


def data_products(performances: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The data products of those performances, from the SQL of the models; sale months are invented."""
    facts = performances.assign(  # noqa: F841 # DuckDB reads it by its name
        revenue=performances["tickets_sold"] * 25,
        lowest_ticket_price=25,
        highest_ticket_price=25,
        fill_rate=performances["tickets_sold"] / performances["capacity"],
    )
    with duckdb.connect(config={"threads": 1}) as connection:
        connection.execute("attach ':memory:' as acl; use acl")
        for schema in ("star_schema", "evidence", "data_products"):
            connection.execute(f"create schema {schema}")
        for name in ("fct_performances", "dim_performances"):
            connection.execute(
                f"create table star_schema.{name} as "
                "select *, cast(performance_start as date) as performance_date from facts"
            )
        for kind in ("venue", "band"):
            connection.execute(
                f"create table star_schema.dim_{kind}s as select distinct {kind}_id, {kind}_name, "
                f"{'capacity' if kind == 'venue' else '0 as fee'} from facts"
            )
        set_choices(connection)
        for model in nodes("model"):
            if model["schema"] in ("evidence", "data_products") and model["name"] not in _OF_TICKETS:
                connection.execute(f"create table {model['schema']}.{model['name']} as {model['compiled_code']}")
        tables = "select table_name from duckdb_tables() where schema_name = 'data_products'"
        made = [name for (name,) in connection.execute(tables).fetchall()]
        products = {name: connection.table(f"data_products.{name}").df() for name in made}
    products["ticket_sales_over_time"] = _ticket_sales_over_time(performances)
    for name, order in {
        "band_sales_by_venue": ["venue_id", "rank_in_venue"],
        "all_star_candidates": ["venue_rank", "rank_in_venue"],
        "ticket_sales_by_venue": ["venue_rank", "festival_year"],
    }.items():
        products[name] = products[name].sort_values(order).reset_index(drop=True)
    return products


def _ticket_sales_over_time(performances: pd.DataFrame) -> pd.DataFrame:
    """Sell the tickets of each festival evenly from February to October, or to July before the export."""
    festivals = performances.groupby(["festival_year", "is_completed"])["tickets_sold"].sum()
    rows = []
    for (year, is_completed), tickets in festivals.items():
        months = range(2, 11) if is_completed else range(2, 8)
        for sold, month in zip(np.diff(np.linspace(0, tickets, len(months) + 1).astype(int)), months, strict=True):
            rows.append((year, pd.Timestamp(year=year, month=month, day=1).date(), sold, sold * 25, is_completed))
    return pd.DataFrame(rows, columns=["festival_year", "sale_month", "tickets_sold", "revenue", "is_completed"])


def sample_publication() -> dict[str, pd.DataFrame]:
    """One full batch, two passed checks and two warnings, published a minute after the export."""
    audit = [
        ("festival/tickets", "rows_match_manifest", True, "ERROR", True, None),
        ("festival/tickets", "ticket_id_is_unique", True, "ERROR", True, "No ticket id occurs twice."),
        ("star_schema/fct_performances", "performances_have_tickets", False, "WARN", False, "1 sold no ticket."),
        ("festival/purchases", "bought_before_the_show", False, "WARN", False, "3 are dated <after> their show."),
    ]
    columns = ["asset_key", "check_name", "passed", "severity", "blocking", "description"]
    return {
        "export_batches": pd.DataFrame(
            [("full-2022-08-01", "full", EXPORTED_AT, "9f" * 32, True)],
            columns=["batch_id", "kind", "exported_at", "manifest_digest", "has_manifest"],
        ),
        "audit_results": pd.DataFrame(audit, columns=columns).assign(checked_at=EXPORTED_AT),
        "publications": pd.DataFrame(
            [(EXPORTED_AT + pd.Timedelta(minutes=1), "run-4711", "ab" * 32)],
            columns=["published_at", "run_id", "state_digest"],
        ),
        "summary": pd.DataFrame({"statement": [STATEMENT], "changes_since": [None]}),
        "changes": pd.DataFrame(columns=["change", "venue_name", "band_name", "before", "after"], dtype=str),
    }
