"""The one declaration of the source tables: their columns, types and descriptions."""

from dataclasses import dataclass
from typing import Literal

import pyarrow as pa

ColumnType = Literal["int", "text", "timestamptz", "bool"]


@dataclass(frozen=True)
class SourceColumn:
    """One column at the source: `int` is 32 bits, `timestamptz` is an instant to the microsecond.

    Personal data stays in the source tables: previews, logs and errors do not show it. A file may lack an optional
    column, which is null then.
    """

    name: str
    type: ColumnType
    description: str
    is_personal: bool = False
    is_optional: bool = False


@dataclass(frozen=True)
class SourceTable:
    """One table at the source; `id` is its primary key. A batch may lack an optional table, which is empty then."""

    name: str
    description: str
    columns: tuple[SourceColumn, ...]
    is_optional: bool = False

    @property
    def column_names(self) -> tuple[str, ...]:
        """Names of the columns in the declared order."""
        return tuple(column.name for column in self.columns)

    @property
    def personal_columns(self) -> tuple[str, ...]:
        """Names of the columns that hold personal data."""
        return tuple(column.name for column in self.columns if column.is_personal)


_TABLES = (
    SourceTable(
        "bands",
        "Bands that were ever booked, including those that never played.",
        (
            SourceColumn("id", "int", "Primary key."),
            SourceColumn("name", "text", "Name as the band writes it."),
            SourceColumn("fee", "int", "Fee for one performance, in whole dollars."),
        ),
    ),
    SourceTable(
        "venues",
        "Stages of the festival, including those that never hosted.",
        (
            SourceColumn("id", "int", "Primary key."),
            SourceColumn("name", "text", "Name of the venue."),
            SourceColumn("capacity", "int", "Most people the venue holds."),
        ),
    ),
    SourceTable(
        "performances",
        "One band on one venue at one time.",
        (
            SourceColumn("id", "int", "Primary key."),
            SourceColumn("performance_start", "timestamptz", "Instant the performance starts."),
            SourceColumn("band_id", "int", "The band that plays; references bands."),
            SourceColumn("venue_id", "int", "The venue it plays at; references venues."),
        ),
    ),
    SourceTable(
        "people",
        "People who bought tickets. Holds personal data.",
        (
            SourceColumn("id", "int", "Primary key."),
            SourceColumn("name", "text", "Full name. Personal data: stays in the source tables.", is_personal=True),
        ),
    ),
    SourceTable(
        "purchases",
        "One checkout of one person, of one or more tickets.",
        (
            SourceColumn("id", "int", "Primary key."),
            SourceColumn("purchase_date", "timestamptz", "Instant of the purchase."),
            SourceColumn("person_id", "int", "The buyer; references people."),
        ),
    ),
    SourceTable(
        "tickets",
        "One ticket sold to one performance.",
        (
            SourceColumn("id", "int", "Primary key."),
            SourceColumn("price", "int", "Price paid, in whole dollars."),
            SourceColumn("performance_id", "int", "The performance it admits to; references performances."),
            SourceColumn("purchase_id", "int", "The purchase it was bought in; references purchases."),
            SourceColumn("ticketnum", "text", "Number printed on the ticket: TT and 14 digits."),
        ),
    ),
)

SOURCE_TABLES: dict[str, SourceTable] = {table.name: table for table in _TABLES}

EXPORT_BATCHES_TABLE = SourceTable(
    "export_batches",
    "The export batches the source tables were read from, one row each: the provenance people read.",
    (
        SourceColumn("batch_id", "text", "Folder of the batch in the landing zone."),
        SourceColumn("kind", "text", "full or incremental."),
        SourceColumn("exported_at", "timestamptz", "Instant of the source snapshot."),
        SourceColumn("manifest_digest", "text", "SHA-256 that names the batch's content."),
        SourceColumn("has_manifest", "bool", "Whether the batch stated sizes, checksums and row counts."),
    ),
)
"""The table that conversion adds to the source tables."""

SUMMED_COLUMNS: dict[str, tuple[str, ...]] = {"tickets": ("price",)}
"""Amounts that every hop has to keep, by table."""

ARROW_TYPES: dict[ColumnType, pa.DataType] = {
    "int": pa.int32(),
    "text": pa.string(),
    "timestamptz": pa.timestamp("us", tz="UTC"),
    "bool": pa.bool_(),
}
"""The Arrow type of each column type."""


def arrow_schema(table: SourceTable) -> pa.Schema:
    """Return the declared columns of a source table as Arrow types, every column nullable."""
    return pa.schema([pa.field(column.name, ARROW_TYPES[column.type]) for column in table.columns])
