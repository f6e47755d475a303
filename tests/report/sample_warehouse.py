"""A published warehouse of an invented festival: the data products and publication tables that the report reads."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
from warehouse.dbt_festivals import nodes, set_choices

TICKETS_PER_FESTIVAL = {
    2002: 72635, 2003: 139874, 2004: 130275, 2005: 76656, 2006: 109206, 2007: 113309, 2008: 141224,
    2009: 141126, 2010: 139352, 2011: 139715, 2012: 115402, 2013: 222901, 2014: 272240, 2015: 320278,
    2016: 312752, 2017: 276075, 2018: 269340, 2019: 315593, 2021: 282455,
}  # fmt: skip
FESTIVAL_ON_SALE = 2022
TICKETS_ON_SALE = 96_412
EXPORTED_AT = pd.Timestamp("2022-08-01 06:00:00")
_OF_TICKETS = {"ticket_sales", "ticket_sales_over_time"}

# Name, capacity, share of the performances, how full it usually is. The last two never hosted.
VENUES = [
    ("Live Oak Meadow", 3000, 15, 0.93),
    ("Zilker Bend Stage", 3000, 13, 0.90),
    ("Barton Creek Amphitheatre", 2800, 13, 0.92),
    ("Pecan Street Yard", 2200, 11, 0.72),
    ("La Peña, Eastside", 2000, 11, 0.70),
    ("The Moonlight Tower", 1800, 11, 0.71),
    ("Saxon's Ballroom", 1500, 11, 0.74),
    ("Café Ñandú", 1000, 9, 0.70),
    ("Shoal Creek Chapel", 700, 6, 0.75),
    ("Red River Cellar", 500, 0, 0.0),
    ("South First Parlor", 600, 0, 0.0),
]

# Per top venue: the averages its leading bands sell, and their names.
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


@dataclass(frozen=True)
class Publication:
    """What the publish step records next to the data products (schema `publication`)."""

    export_batches: pd.DataFrame
    audit_results: pd.DataFrame
    publications: pd.DataFrame


@dataclass
class SampleWarehouse:
    """The frames of a published file, by table name; change them before `write`."""

    products: dict[str, pd.DataFrame]
    publication: Publication = field(default_factory=lambda: sample_publication())  # noqa: PLW0108, defined below

    def write(self, path: Path) -> Path:
        """Write the DuckDB file and return its path."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        with duckdb.connect(path) as connection:
            for schema, frames in (("data_products", self.products), ("publication", vars(self.publication))):
                connection.execute(f"create schema {schema}")
                for name, frame in frames.items():
                    connection.register("frame", frame)
                    connection.execute(f"create table {schema}.{name} as select * from frame")
                    connection.unregister("frame")
        return path


def sample_warehouse(
    performances: pd.DataFrame | None = None, rename_bands: dict[str, str] | None = None
) -> SampleWarehouse:
    """The warehouse of those performances, by default an invented festival of full size with 2022 on sale.

    `rename_bands` maps band names to others, for names that try to break out.
    """
    performances = invented_performances() if performances is None else performances
    band_names = performances["band_name"].replace(rename_bands or {})
    return SampleWarehouse(data_products(performances.assign(band_name=band_names)))


def invented_performances(seed: int = 2022) -> pd.DataFrame:
    """Performances with tickets sold, grain performance; tickets per festival are exact.

    Columns: performance_id, band_id, band_name, venue_id, venue_name, capacity, festival_year, performance_start,
    is_completed, tickets_sold.
    """
    random = np.random.default_rng(seed)
    years = TICKETS_PER_FESTIVAL | {FESTIVAL_ON_SALE: TICKETS_ON_SALE}
    venue_weights = np.array([venue[2] for venue in VENUES], dtype=float)
    venue_weights /= venue_weights.sum()
    rows: list[dict[str, object]] = []
    leading = {
        (venue, place): sorted(random.choice(list(TICKETS_PER_FESTIVAL), size=shows, replace=False).tolist())
        for venue, bands in enumerate(LEADING_BANDS)
        for place, (_, _, shows) in enumerate(bands)
    }
    next_band = 1000
    for year, tickets in years.items():
        completed = year != FESTIVAL_ON_SALE
        start_day = pd.Timestamp(year=year, month=10, day=4, hour=17)
        festival: list[dict[str, object]] = []
        for (venue, place), played in leading.items():
            if year in played:
                name, average, _ = LEADING_BANDS[venue][place]
                band = {"band_id": venue * 10 + place + 1, "band_name": name}
                festival.append({"venue": venue, **band, "weight": average, "fixed": True})
        budget = tickets if completed else tickets * 2.2
        while sum(float(str(row["weight"])) for row in festival) < budget:
            venue = int(random.choice(len(VENUES), p=venue_weights))
            next_band += 1
            weight = VENUES[venue][1] * VENUES[venue][3] * random.uniform(0.45, 0.72)
            band = {"band_id": next_band, "band_name": f"Garage Act {next_band}"}
            festival.append({"venue": venue, **band, "weight": weight, "fixed": False})
        fixed = sum(int(str(row["weight"])) for row in festival if row["fixed"])
        loose = [row for row in festival if not row["fixed"]]
        shares = np.array([float(str(row["weight"])) for row in loose])
        sold = np.floor(shares / shares.sum() * (tickets - fixed)).astype(int)
        sold[: tickets - fixed - int(sold.sum())] += 1
        for row, amount in zip(loose, sold, strict=True):
            row["tickets_sold"] = int(amount)
        for place_in_year, row in enumerate(festival):
            venue = int(str(row["venue"]))
            rows.append(
                {
                    "performance_id": len(rows) + 1,
                    "band_id": row["band_id"],
                    "band_name": row["band_name"],
                    "venue_id": venue + 1,
                    "venue_name": VENUES[venue][0],
                    "capacity": VENUES[venue][1],
                    "festival_year": year,
                    "performance_start": start_day + pd.Timedelta(hours=place_in_year % 48),
                    "is_completed": completed,
                    "tickets_sold": row.get("tickets_sold", row["weight"]),
                }
            )
    unsold = rows[-1] | {"performance_id": len(rows) + 1, "band_id": 999, "band_name": "Nobody Came", "tickets_sold": 0}
    unsold |= {"festival_year": 2019, "is_completed": True, "performance_start": pd.Timestamp("2019-10-06 17:00")}
    return pd.DataFrame([*rows, unsold])


def data_products(performances: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The data products of those performances, from the SQL of the models; sale months are invented."""
    facts = performances.assign(  # noqa: F841 # DuckDB reads it by its name
        revenue=performances["tickets_sold"] * 25, fill_rate=performances["tickets_sold"] / performances["capacity"]
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
    weights = np.array([1, 2, 4, 7, 9, 11, 16, 22, 28], dtype=float)
    rows = []
    for (year, completed), tickets in (
        performances.groupby(["festival_year", "is_completed"])["tickets_sold"].sum().items()
    ):
        months = weights if completed else weights[:6]
        sold = np.floor(months / months.sum() * tickets).astype(int)
        sold[-1] += tickets - sold.sum()
        for month, amount in enumerate(sold, start=2):
            rows.append((year, pd.Timestamp(year=year, month=month, day=1).date(), amount, amount * 25, completed))
    return pd.DataFrame(rows, columns=["festival_year", "sale_month", "tickets_sold", "revenue", "is_completed"])


def sample_publication() -> Publication:
    """One full batch, six passed checks and two warnings, published a minute after the export."""
    checked_at = EXPORTED_AT + pd.Timedelta(seconds=30)
    audit = [
        ("festival/tickets", "rows_match_manifest", True, "ERROR", True, None),
        ("festival/tickets", "ticket_id_is_unique", True, "ERROR", True, "No ticket id occurs twice."),
        ("festival/venues", "venues_are_complete", True, "ERROR", True, None),
        ("star_schema/fct_ticket_sales", "venue_and_band_are_known", True, "ERROR", True, "Each has both."),
        ("data_products/ticket_sales_by_venue", "tickets_reconcile", True, "ERROR", True, None),
        ("data_products/band_sales_by_venue", "revenue_reconciles", True, "ERROR", True, None),
        ("star_schema/fct_performances", "performances_have_tickets", False, "WARN", False, "1 sold no ticket."),
        ("festival/purchases", "bought_before_the_show", False, "WARN", False, "3 are dated <after> their show."),
    ]
    columns = ["asset_key", "check_name", "passed", "severity", "blocking", "description"]
    return Publication(
        export_batches=pd.DataFrame(
            [("full-2022-08-01", "full", EXPORTED_AT, "9f" * 32, True)],
            columns=["batch_id", "kind", "exported_at", "manifest_digest", "has_manifest"],
        ),
        audit_results=pd.DataFrame(audit, columns=columns).assign(checked_at=checked_at),
        publications=pd.DataFrame(
            [(EXPORTED_AT + pd.Timedelta(minutes=1), "run-4711", "ab" * 32)],
            columns=["published_at", "run_id", "state_digest"],
        ),
    )
