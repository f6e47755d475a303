"""Named defects to plant in a finished export batch, each with the expected result of a refresh.

Unless a defect is about the manifest, the manifest agrees with the damaged file, so that only the check meant for the
defect can find it. The tests of landing zone and readers cover bad manifests and files.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc
from defects.damage import Plant, append_copy, edit_file_entry, edit_manifest, edit_rows, put

from acl_assets.landing_zone.manifest import MANIFEST_NAME
from acl_assets.simulator.lineup import MUST_INVITE_STAGE

_UNKNOWN_ID = 2_000_000_000


@dataclass(frozen=True)
class Defect:
    """One way in which a batch can be unlike a good one.

    A `batch error` holds all texts of `caught_by` and publishes nothing. A `check` blocks publication, and a `warning`
    does not; `caught_by` names checks that must find it, among others.
    """

    name: str
    outcome: Literal["batch error", "check", "warning"]
    plant: Plant = field(repr=False)
    caught_by: tuple[str, ...]


def _instant(year: int, month: int, day: int, hour: int) -> datetime:
    return datetime(year, month, day, hour, tzinfo=UTC)


# Rows ---------------------------------------------------------------------------------------------------------

_BAD_VALUES: list[tuple[str, str, str, object, str]] = [
    ("zero_capacity", "venues", "capacity", 0, "venue_capacity_is_positive"),
    ("null_ticket_id", "tickets", "id", None, "tickets_are_complete"),
    ("null_band_id", "bands", "id", None, "bands_are_complete"),
    ("null_foreign_key", "tickets", "performance_id", None, "tickets_are_complete"),
    ("null_buyer", "purchases", "person_id", None, "purchases_are_complete"),
    ("null_price", "tickets", "price", None, "tickets_are_complete"),
    ("null_start", "performances", "performance_start", None, "performances_are_complete"),
    ("null_band_name", "bands", "name", None, "bands_are_complete"),
    ("negative_price", "tickets", "price", -25, "ticket_price_is_not_negative"),
    ("absurd_price", "tickets", "price", 2_000_000, "ticket_price_is_believable"),
    ("endless_name", "bands", "name", "x" * 900_000, "band_name_is_readable"),
    ("negative_fee", "bands", "fee", -1, "band_fee_is_not_negative"),
    ("malformed_ticket_number", "tickets", "ticketnum", "TT1234567890ABCD", "ticketnum_is_well_formed"),
]
_BAD_INSTANTS = [
    ("performance_before_the_festival", "performances", "performance_start", 1902),
    ("performance_in_the_far_future", "performances", "performance_start", 2099),
    ("purchase_at_the_epoch", "purchases", "purchase_date", 1970),
    ("purchase_in_the_far_future", "purchases", "purchase_date", 2099),
]
_ORPHANS = [
    ("orphan_ticket", "tickets", "performance_id", "tickets_performance_is_known"),
    ("orphan_ticket_purchase", "tickets", "purchase_id", "tickets_purchase_is_known"),
    ("orphan_purchase", "purchases", "person_id", "purchases_person_is_known"),
    ("performance_of_unknown_band", "performances", "band_id", "performances_band_is_known"),
    ("performance_at_unknown_venue", "performances", "venue_id", "performances_venue_is_known"),
]
_DUPLICATES: list[tuple[str, str, dict[str, object]]] = [
    ("duplicate_band_id", "bands", {"name": "A Namesake"}),
    ("duplicate_venue_id", "venues", {"name": "A Namesake"}),
    ("duplicate_performance_id", "performances", {"performance_start": _instant(2019, 10, 5, 23)}),
    ("duplicate_person_id", "people", {"name": "A Namesake"}),
    ("duplicate_purchase_id", "purchases", {"purchase_date": _instant(2019, 6, 1, 12)}),
    ("duplicate_ticket_id", "tickets", {"ticketnum": "TT00000000000000"}),
    ("repeated_ticket_row", "tickets", {}),
]


def _row_defects() -> list[Defect]:
    def check(name: str, plant: Plant, caught_by: str) -> Defect:
        return Defect(name, "check", plant, (caught_by,))

    def warning(name: str, plant: Plant, caught_by: str) -> Defect:
        return Defect(name, "warning", plant, (caught_by,))

    def repeat_last(column: str) -> Callable[[pa.Table], pa.Table]:
        return lambda rows: put(column, rows[column][-1].as_py())(rows)

    def keep(share: float) -> Plant:
        return edit_rows("tickets", lambda rows: rows.slice(0, int(rows.num_rows * share)))

    instants = [
        (name, table, column, _instant(year, 1, 1, 0), f"{column}_is_within_festival_life")
        for name, table, column, year in _BAD_INSTANTS
    ]
    silent = append_copy(id=_UNKNOWN_ID, performance_start=_instant(2019, 10, 5, 3))
    late = put("purchase_date", _instant(2003, 12, 1, 12), at=0)
    return [
        *(check(name, edit_rows(table, put(key, _UNKNOWN_ID)), caught_by) for name, table, key, caught_by in _ORPHANS),
        *(
            check(name, edit_rows(table, append_copy(**values)), f"{table}_id_is_unique")
            for name, table, values in _DUPLICATES
        ),
        *(
            # Each in a row of its own, so that all of them can be planted in one batch.
            check(name, edit_rows(table, put(column, value, at=row)), caught_by)
            for row, (name, table, column, value, caught_by) in enumerate(_BAD_VALUES + instants)
        ),
        check("duplicate_ticket_number", edit_rows("tickets", repeat_last("ticketnum")), "ticketnum_is_unique"),
        check("lost_tickets", keep(0.4), "volume_against_published"),
        check("header_only", keep(0), "volume_against_published"),
        warning("two_bands_of_one_name", edit_rows("bands", repeat_last("name")), "band_name_is_unique"),
        warning("purchase_after_the_show", edit_rows("purchases", late), "tickets_bought_before_the_show"),
        warning(
            "sold_above_capacity",
            edit_rows("venues", put("capacity", 1, at=MUST_INVITE_STAGE)),
            "tickets_sold_within_capacity",
        ),
        warning("performance_without_a_ticket", edit_rows("performances", silent), "performances_have_tickets"),
    ]


# Files and manifests ------------------------------------------------------------------------------------------


def _batch_defects() -> list[Defect]:
    def one_more(key: str) -> Plant:
        """Add one to an entry of the tickets' file, or of the whole table."""

        def edit(document: dict[str, Any]) -> None:
            table = document["tables"]["tickets"]
            entry = table if key in table else table["files"][0]
            entry[key] += 1

        return edit_manifest(edit)

    def with_double_price(rows: pa.Table) -> pa.Table:
        return rows.set_column(rows.schema.get_field_index("price"), "price", pc.cast(rows["price"], pa.float64()))

    kind = edit_manifest(lambda document: document.update(kind="differential"))
    checksum = edit_file_entry("tickets", sha256="0" * 64)
    double_price = edit_rows("tickets", with_double_price)
    return [
        Defect("unknown_kind", "batch error", kind, (MANIFEST_NAME, "kind", "'differential'")),
        Defect("wrong_checksum", "batch error", checksum, ("tickets", "SHA-256")),
        Defect("double_price", "batch error", double_price, ("tickets.parquet", "'price' is double")),
        Defect("wrong_row_count", "check", one_more("rows"), ("rows_as_manifest_and_source",)),
        Defect("wrong_count_at_source", "check", one_more("rows_at_source"), ("rows_as_manifest_and_source",)),
    ]


DEFECTS: dict[str, Defect] = {defect.name: defect for defect in (*_row_defects(), *_batch_defects())}
"""Every defect by its name."""
