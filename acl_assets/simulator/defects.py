"""Named defects to plant in a finished export batch, each with what must come of it.

What belongs here: the catalogue. What does not: the tools that edit a batch (`damage`), the good batch (`batch`).
A defect is planted so that nothing else is wrong: unless it is about the manifest, the manifest agrees with the
damaged file, and the check meant to find it has to.
"""

from __future__ import annotations

import gzip
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from acl_assets.ingestion.export_batch import MANIFEST_NAME, BatchError
from acl_assets.simulator.batch import BatchFormat, write_batch, write_plain_batch
from acl_assets.simulator.damage import (
    Plant,
    append_copy,
    edit_bytes,
    edit_bytes_only,
    edit_field,
    edit_file_entry,
    edit_header,
    edit_manifest,
    edit_rows,
    file_of,
    put,
)
from acl_assets.simulator.sales import MUST_INVITE_STAGE, TicketingHistory

BatchForm = BatchFormat | Literal["plain"]
"""How the good batch is written: a format with a manifest, or six plain CSV files without one."""

Outcome = Literal["batch error", "check", "warning", "loads", "not a batch yet"]
"""What must come of a defective batch.

batch error: verifying or reading it fails, and nothing is published.
check: it is read, a blocking check fails, and nothing is published.
warning: a check warns, and the state is published.
loads: it is accepted, and holds what the good batch holds.
not a batch yet: it is left alone, as an export still being written.
"""

_ALL_FORMS: tuple[BatchForm, ...] = ("parquet", "csv", "csv.gz", "csv.zst", "plain")
_CSV: tuple[BatchForm, ...] = ("csv", "plain")
_WITH_MANIFEST: tuple[BatchForm, ...] = ("parquet", "csv", "csv.gz", "csv.zst")
_UNKNOWN_ID = 2_000_000_000


@dataclass(frozen=True)
class Defect:
    """One way in which a batch can be unlike a good one.

    Attributes:
        name: what it is called on the command line.
        summary: what is done to the batch, in a sentence.
        forms: the forms of batch it can be planted in, the usual one first.
        plant: acts on the folder of a finished good batch.
        outcome: what must come of it.
        caught_by: names of the checks that must fail or warn, among others; for a batch error, what its message
            must hold; for a folder that is no batch yet, what the reason must hold.
        loads_as: the values that differ from the good batch once loaded, by table, position of the row (negative
            from the end) and column; all others are as in the good batch.
        needs_published: whether it shows only when a good state has been published before.
    """

    name: str
    summary: str
    forms: tuple[BatchForm, ...]
    plant: Plant = field(repr=False)
    outcome: Outcome
    caught_by: tuple[str, ...] = ()
    loads_as: Mapping[tuple[str, int, str], object] = field(default_factory=dict)
    needs_published: bool = False


def write_defective_batch(
    exports_dir: Path, batch_id: str, history: TicketingHistory, defect: Defect, form: BatchForm
) -> Path:
    """Write a batch, plant a defect in it, and only then let it appear in the landing zone; returns its folder.

    Raises:
        BatchError: a folder of that name is there already.
        ValueError: the defect cannot be planted in a batch of that form.
    """
    if form not in defect.forms:
        raise ValueError(f"{defect.name} can be planted in {', '.join(defect.forms)}, not in {form}")
    target = exports_dir / batch_id
    if target.exists():
        raise BatchError(f"{target} is there already; choose another batch id.")
    hidden = exports_dir / f".{batch_id}.unfinished"
    try:
        if form == "plain":
            folder = write_plain_batch(hidden, batch_id, history)
        else:
            folder = write_batch(hidden, batch_id, history, form)
        defect.plant(folder)
        for beside in sorted(hidden.iterdir(), key=lambda path: path == folder):
            beside.rename(exports_dir / beside.name)
    finally:
        shutil.rmtree(hidden)
    return target


# Rows ---------------------------------------------------------------------------------------------------------


def _row_defects() -> list[Defect]:
    orphans = [
        ("orphan_ticket", "tickets", "performance_id", "tickets_performance_is_known"),
        ("orphan_ticket_purchase", "tickets", "purchase_id", "tickets_purchase_is_known"),
        ("orphan_purchase", "purchases", "person_id", "purchases_person_is_known"),
        ("performance_of_unknown_band", "performances", "band_id", "performances_band_is_known"),
        ("performance_at_unknown_venue", "performances", "venue_id", "performances_venue_is_known"),
    ]
    duplicates = [
        ("duplicate_band_id", "bands", {"name": "A Namesake"}),
        ("duplicate_venue_id", "venues", {"name": "A Namesake"}),
        ("duplicate_performance_id", "performances", {"performance_start": _instant(2019, 10, 5, 23)}),
        ("duplicate_person_id", "people", {"name": "A Namesake"}),
        ("duplicate_purchase_id", "purchases", {"purchase_date": _instant(2019, 6, 1, 12)}),
        ("duplicate_ticket_id", "tickets", {"ticketnum": "TT00000000000000"}),
        ("repeated_ticket_row", "tickets", {}),
    ]
    bad_values = [
        ("null_ticket_id", "A ticket has no id.", "tickets", "id", None, "tickets_are_complete"),
        ("null_band_id", "A band has no id.", "bands", "id", None, "bands_are_complete"),
        (
            "null_foreign_key",
            "A ticket has no performance.",
            "tickets",
            "performance_id",
            None,
            "tickets_are_complete",
        ),
        ("null_buyer", "A purchase has no person.", "purchases", "person_id", None, "purchases_are_complete"),
        ("null_price", "A ticket has no price.", "tickets", "price", None, "tickets_are_complete"),
        (
            "null_start",
            "A performance has no start.",
            "performances",
            "performance_start",
            None,
            "performances_are_complete",
        ),
        ("null_band_name", "A band has no name.", "bands", "name", None, "bands_are_complete"),
        (
            "negative_price",
            "A ticket costs -25 dollars.",
            "tickets",
            "price",
            -25,
            "ticket_price_is_not_negative",
        ),
        (
            "absurd_price",
            "A ticket costs two million dollars.",
            "tickets",
            "price",
            2_000_000,
            "ticket_price_is_believable",
        ),
        ("negative_fee", "A band has a negative fee.", "bands", "fee", -1, "band_fee_is_not_negative"),
        ("zero_capacity", "A venue holds nobody.", "venues", "capacity", 0, "venue_capacity_is_positive"),
        (
            "malformed_ticket_number",
            "A ticket number has letters among its digits.",
            "tickets",
            "ticketnum",
            "TT1234567890ABCD",
            "ticketnum_is_well_formed",
        ),
        (
            "performance_before_the_festival",
            "A performance lies in 1902.",
            "performances",
            "performance_start",
            _instant(1902, 10, 4, 20),
            "performance_start_is_within_festival_life",
        ),
        (
            "performance_in_the_far_future",
            "A performance lies in 2099.",
            "performances",
            "performance_start",
            _instant(2099, 10, 4, 20),
            "performance_start_is_within_festival_life",
        ),
        (
            "purchase_at_the_epoch",
            "A purchase was made at midnight of 1 January 1970.",
            "purchases",
            "purchase_date",
            _instant(1970, 1, 1, 0),
            "purchase_date_is_within_festival_life",
        ),
        (
            "purchase_in_the_far_future",
            "A purchase lies in 2099.",
            "purchases",
            "purchase_date",
            _instant(2099, 1, 1, 0),
            "purchase_date_is_within_festival_life",
        ),
    ]
    return [
        *(
            Defect(name, f"{column} of a row of {table} refers to no row.", _ALL_FORMS, edit, "check", (check,))
            for name, table, column, check in orphans
            for edit in [edit_rows(table, put(column, _UNKNOWN_ID))]
        ),
        *(
            Defect(
                name,
                f"A second row of {table} has the same id" + (", and all else the same." if not values else "."),
                _ALL_FORMS,
                edit_rows(table, append_copy(**values)),
                "check",
                (f"{table}_id_is_unique",),
            )
            for name, table, values in duplicates
        ),
        *(
            Defect(name, summary, _ALL_FORMS, edit_rows(table, put(column, value)), "check", (check,))
            for name, summary, table, column, value, check in bad_values
        ),
        Defect(
            "duplicate_ticket_number",
            "Two tickets have the same number.",
            _ALL_FORMS,
            edit_rows("tickets", _repeat_ticket_number),
            "check",
            ("tickets_ticketnum_is_unique",),
        ),
        Defect(
            "lost_tickets",
            "The newer three fifths of the tickets are missing, at the source too.",
            _ALL_FORMS,
            edit_rows("tickets", lambda rows: rows.slice(0, rows.num_rows * 2 // 5)),
            "check",
            ("volume_against_published",),
            needs_published=True,
        ),
        Defect(
            "header_only",
            "tickets has its columns and no row, at the source too.",
            _ALL_FORMS,
            edit_rows("tickets", lambda rows: rows.slice(0, 0)),
            "check",
            ("volume_against_published",),
            needs_published=True,
        ),
        Defect(
            "purchase_after_the_show",
            "The first purchase was made a year after its performance.",
            _ALL_FORMS,
            edit_rows("purchases", put("purchase_date", _instant(2003, 12, 1, 12), at=0)),
            "warning",
            ("tickets_bought_before_the_show",),
        ),
        Defect(
            "sold_above_capacity",
            "A venue that sold thousands of tickets holds one person.",
            _ALL_FORMS,
            edit_rows("venues", put("capacity", 1, at=MUST_INVITE_STAGE)),
            "warning",
            ("tickets_sold_within_capacity",),
        ),
        Defect(
            "performance_without_a_ticket",
            "One more performance of 2019 sold nothing.",
            _ALL_FORMS,
            edit_rows(
                "performances", append_copy(id=_UNKNOWN_ID, performance_start=_instant(2019, 10, 5, 3))
            ),
            "warning",
            ("performances_have_tickets",),
        ),
        *(
            Defect(name, summary, _ALL_FORMS, edit_rows("bands", put("name", text, at=0)), "loads", (), loaded)
            for name, summary, text in [
                ("embedded_newline", "A band's name has line ends in it.", "First Line\nSecond Line\r\nThird"),
                ("empty_name", "A band's name is the empty text, which is not NULL.", ""),
                ("name_null", "A band's name is NULL, in letters.", "NULL"),
                ("name_of_quotes", "A band's name is quotes and commas.", '",""",,"'),
                ("long_name", "A band's name has 100,000 letters.", "La" * 50_000),
            ]
            for loaded in [{("bands", 0, "name"): text}]
        ),
    ]


def _instant(year: int, month: int, day: int, hour: int) -> datetime:
    return datetime(year, month, day, hour, tzinfo=UTC)


def _repeat_ticket_number(rows: pa.Table) -> pa.Table:
    return put("ticketnum", rows["ticketnum"][0].as_py())(rows)


# Text of CSV files --------------------------------------------------------------------------------------------


def _csv_value_defects() -> list[Defect]:
    prices = [
        ("decimal_price", "24.99"),
        ("whole_price_with_decimals", "25.0"),
        ("hexadecimal_number", "0x1F"),
        ("exponent_number", "1e2"),
        ("underscore_number", "1_000"),
        ("number_overflow", "3000000000"),
        ("plus_sign", "+25"),
        ("spaces_around_a_number", " 25 "),
        ("leading_zeros", "0025"),
        ("currency_sign", "$25"),
        ("word_for_a_number", "free"),
        ("null_in_letters", "NULL"),
    ]
    instants = [
        ("impossible_day", "2021-02-30 10:00:00+00"),
        ("impossible_hour", "2021-03-01 25:00:00+00"),
        ("instant_without_offset", "2021-03-01 10:00:00"),
        ("day_for_an_instant", "2021-03-01"),
        ("american_date", "03/01/2021 10:00:00+00"),
        ("seconds_since_the_epoch", "1614592800"),
        ("infinite_instant", "infinity"),
        ("nanoseconds", "2021-03-01 10:00:00.123456789+00"),
    ]
    return [
        *(_rejected_value(name, "tickets", "price", text) for name, text in prices),
        *(_rejected_value(name, "purchases", "purchase_date", text) for name, text in instants),
        Defect(
            "thousands_separator",
            "A price is written as 1,000 in quotes.",
            _CSV,
            edit_field("tickets", "price", '"1,000"'),
            "batch error",
            ("tickets.csv line", "column price", "'1,000'"),
        ),
        Defect(
            "empty_text_for_a_number",
            "A price is the empty text in quotes, which is not NULL.",
            _CSV,
            edit_field("tickets", "price", '""'),
            "batch error",
            ("tickets.csv line", "column price"),
        ),
        Defect(
            "quoted_number",
            "A performance's venue is a number in quotes.",
            _CSV,
            edit_bytes("venues", lambda content: content.replace(b",500\n", b',"500"\n')),
            "loads",
        ),
        Defect(
            "other_offsets",
            "Instants are written with offsets of -05:00, +05:30, +00:00 and Z in turn.",
            _CSV,
            edit_bytes("performances", _write_other_offsets),
            "loads",
        ),
        Defect(
            "ambiguous_local_times",
            "Two purchases an hour apart show the same local time, of the night daylight saving ended.",
            _CSV,
            edit_bytes("purchases", _end_with_ambiguous_times),
            "loads",
            loads_as={
                ("purchases", -2, "purchase_date"): datetime(2021, 11, 7, 6, 30, tzinfo=UTC),
                ("purchases", -1, "purchase_date"): datetime(2021, 11, 7, 7, 30, tzinfo=UTC),
            },
        ),
        Defect(
            "fractional_seconds",
            "An instant is written to the microsecond.",
            _CSV,
            edit_bytes("purchases", _add_microseconds),
            "loads",
            loads_as={("purchases", -1, "purchase_date"): datetime(2022, 6, 1, 12, 0, 0, 123_456, tzinfo=UTC)},
        ),
    ]


def _rejected_value(name: str, table: str, column: str, text: str) -> Defect:
    return Defect(
        name,
        f"A value of {column} in {table} is written as {text.strip()}"
        + (" between spaces." if text != text.strip() else "."),
        _CSV,
        edit_field(table, column, text),
        "batch error",
        (f"{table}.csv line", f"column {column}", repr(text)),
    )


def _write_other_offsets(content: bytes) -> bytes:
    header, *lines = content.decode().splitlines()
    written = []
    for number, line in enumerate(lines):
        performance, start, others = line.split(",", 2)
        instant = datetime.fromisoformat(start)
        match number % 4:
            case 0:
                start = instant.astimezone(_offset(-300)).isoformat(" ")
            case 1:
                start = instant.astimezone(_offset(330)).isoformat(" ")
            case 2:
                start = instant.isoformat("T")
            case _:
                start = instant.strftime("%Y-%m-%dT%H:%M:%SZ")
        written.append(f"{performance},{start},{others}")
    return "\n".join([header, *written, ""]).encode()


def _offset(minutes: int) -> timezone:
    return timezone(timedelta(minutes=minutes))


def _end_with_ambiguous_times(content: bytes) -> bytes:
    content = _put_in_line_from_end(content, 2, b"2021-11-07 01:30:00-05")
    return _put_in_line_from_end(content, 1, b"2021-11-07 01:30:00-06")


def _add_microseconds(content: bytes) -> bytes:
    return _put_in_line_from_end(content, 1, b"2022-06-01 12:00:00.123456+00")


def _put_in_line_from_end(content: bytes, number: int, instant: bytes) -> bytes:
    before, *lines = content.rsplit(b"\n", number + 1)
    purchase, _, person = lines[0].split(b",")
    return b"\n".join([before, b",".join([purchase, instant, person]), *lines[1:]])
