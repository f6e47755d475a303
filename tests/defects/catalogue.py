"""Named defects to plant in a finished export batch, each with what must come of it.

Unless a defect is about the manifest, the manifest agrees with the damaged file, so that only the check meant for the
defect can find it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc
from defects.damage import (
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

from acl_assets.landing_zone.manifest import MANIFEST_NAME, BatchError
from acl_assets.simulator.batch import BatchFormat, write_batch, write_plain_batch
from acl_assets.simulator.lineup import MUST_INVITE_STAGE
from acl_assets.simulator.sales import TicketingHistory

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
    duplicates: list[tuple[str, str, dict[str, object]]] = [
        ("duplicate_band_id", "bands", {"name": "A Namesake"}),
        ("duplicate_venue_id", "venues", {"name": "A Namesake"}),
        ("duplicate_performance_id", "performances", {"performance_start": _instant(2019, 10, 5, 23)}),
        ("duplicate_person_id", "people", {"name": "A Namesake"}),
        ("duplicate_purchase_id", "purchases", {"purchase_date": _instant(2019, 6, 1, 12)}),
        ("duplicate_ticket_id", "tickets", {"ticketnum": "TT00000000000000"}),
        ("repeated_ticket_row", "tickets", {}),
    ]
    bad_values = [
        ("zero_capacity", "A venue holds nobody.", "venues", "capacity", 0, "venue_capacity_is_positive"),
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
        (
            "endless_name",
            "A band's name has 900,000 characters.",
            "bands",
            "name",
            "x" * 900_000,
            "band_name_is_readable",
        ),
        ("negative_fee", "A band has a negative fee.", "bands", "fee", -1, "band_fee_is_not_negative"),
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
            # Each in a row of its own, so that all of them can be planted in one batch.
            Defect(name, summary, _ALL_FORMS, edit_rows(table, put(column, value, at=row)), "check", (check,))
            for row, (name, summary, table, column, value, check) in enumerate(bad_values)
        ),
        Defect(
            "duplicate_ticket_number",
            "Two tickets have the same number.",
            _ALL_FORMS,
            edit_rows("tickets", _repeat_ticket_number),
            "check",
            ("ticketnum_is_unique",),
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
            edit_rows("performances", append_copy(id=_UNKNOWN_ID, performance_start=_instant(2019, 10, 5, 3))),
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


def _csv_structure_defects() -> list[Defect]:
    def refused(name: str, summary: str, plant: Plant, *caught_by: str) -> Defect:
        return Defect(name, summary, _CSV, plant, "batch error", caught_by)

    def loads(name: str, summary: str, plant: Plant) -> Defect:
        return Defect(name, summary, _CSV, plant, "loads")

    return [
        loads(
            "byte_order_mark",
            "A byte order mark precedes the header.",
            edit_bytes("bands", lambda content: b"\xef\xbb\xbf" + content),
        ),
        loads("crlf", "Lines end in CR LF.", edit_bytes("tickets", lambda content: content.replace(b"\n", b"\r\n"))),
        loads("reordered_columns", "The columns stand in another order.", edit_rows("tickets", _reverse_columns)),
        loads(
            "no_final_line_end",
            "The last line has no line end.",
            edit_bytes("tickets", lambda content: content.removesuffix(b"\n")),
        ),
        loads("all_quoted", "Every field is in quotes, numbers too.", edit_bytes("tickets", _quote_all_fields)),
        refused(
            "semicolons",
            "Fields are separated by semicolons.",
            edit_bytes("tickets", lambda content: content.replace(b",", b";")),
            "tickets.csv",
            "';'",
        ),
        refused(
            "tabs",
            "Fields are separated by tabs.",
            edit_bytes("tickets", lambda content: content.replace(b",", b"\t")),
            "tickets.csv",
            r"'\t'",
        ),
        refused(
            "carriage_returns",
            "Lines end in lone carriage returns.",
            edit_bytes("tickets", lambda content: content.replace(b"\n", b"\r")),
            "tickets.csv",
            "carriage return",
        ),
        refused(
            "missing_column",
            "A column is missing.",
            edit_rows("tickets", lambda rows: rows.drop_columns(["price"])),
            "tickets.csv",
            "missing 'price'",
        ),
        refused(
            "extra_column",
            "There is a column the source does not have.",
            edit_rows("tickets", lambda rows: rows.append_column("seat", rows["price"])),
            "tickets.csv",
            "unknown 'seat'",
        ),
        refused(
            "renamed_column",
            "A column is called Price.",
            edit_header("tickets", lambda header: header.replace(b"price", b"Price")),
            "tickets.csv",
            "'Price'",
        ),
        refused(
            "repeated_column",
            "The header names price twice.",
            edit_rows("tickets", lambda rows: rows.append_column("price", rows["price"])),
            "tickets.csv",
            "'price' twice",
        ),
        refused(
            "no_header",
            "The first line is a ticket.",
            edit_bytes("tickets", lambda content: content.partition(b"\n")[2]),
            "tickets.csv",
            "line 1",
        ),
        refused(
            "empty_file", "A file has no bytes.", edit_bytes("tickets", lambda content: b""), "tickets.csv", "empty"
        ),
        refused(
            "latin_1",
            "A band's name is encoded in Latin-1.",
            edit_bytes("bands", _put_in_second_line("Café Añejo".encode("latin-1"))),
            "bands.csv",
            "line 2",
            "UTF-8",
        ),
        refused(
            "utf_16",
            "The file is encoded in UTF-16.",
            edit_bytes("bands", lambda content: content.decode().encode("utf-16")),
            "bands.csv",
            "UTF-16",
        ),
        refused(
            "nul_byte",
            "A band's name has a NUL byte in it.",
            edit_bytes("bands", _put_in_second_line(b"Nu\0ll")),
            "bands.csv",
            "line 2",
            "NUL byte",
        ),
        refused(
            "unbalanced_quote",
            "A band's name opens a quote that is never closed.",
            edit_bytes("bands", _put_in_second_line(b'"Never Ending')),
            "bands.csv",
            "line 2",
            "quote",
        ),
        refused(
            "stray_quote",
            "A quote stands inside a field without quotes around it.",
            edit_bytes("bands", _put_in_second_line(b'The 12" Records')),
            "bands.csv",
            "line 2",
            "quote",
        ),
        refused(
            "text_after_a_quote",
            "Text follows a closing quote.",
            edit_bytes("bands", _put_in_second_line(b'"The" Records')),
            "bands.csv",
            "line 2",
            "quote",
        ),
        refused(
            "backslash_escapes",
            "A quote inside quotes is escaped by a backslash instead of doubled.",
            edit_bytes("bands", _put_in_second_line(rb'"The \"Old\" Records"')),
            "bands.csv",
            "line 2",
            "quote",
        ),
        refused(
            "short_line",
            "A line has a field too few.",
            edit_bytes("bands", lambda content: content.replace(b"\n1,", b"\n", 1)),
            "bands.csv",
            "line 2",
            "field",
        ),
        refused(
            "long_line",
            "A line has a field too many.",
            edit_bytes("bands", _put_in_second_line(b"Comma, Unquoted")),
            "bands.csv",
            "line 2",
            "field",
        ),
        refused(
            "blank_line",
            "A line is empty.",
            edit_bytes("bands", lambda content: content.replace(b"\n", b"\n\n", 1)),
            "bands.csv",
            "line 2",
        ),
        refused(
            "psql_footer",
            "The row count psql prints follows the rows.",
            edit_bytes("bands", lambda content: content + b"(1421 rows)\n"),
            "bands.csv",
            "field",
        ),
        refused(
            "cut_line",
            "The last line is cut in the middle.",
            edit_bytes("tickets", lambda content: content[:-22]),
            "tickets.csv",
            "field",
        ),
    ]


def _put_in_second_line(name: bytes) -> Callable[[bytes], bytes]:
    """Make an edit that gives the first band of bands.csv another name, as it is."""

    def edit(content: bytes) -> bytes:
        header, line, rest = content.split(b"\n", 2)
        number, fee = line.split(b",")[0], line.rsplit(b",", 1)[1]
        return b"\n".join([header, b",".join([number, name, fee]), rest])

    return edit


def _reverse_columns(rows: pa.Table) -> pa.Table:
    return rows.select(rows.column_names[::-1])


def _quote_all_fields(content: bytes) -> bytes:
    return b'"' + content.removesuffix(b"\n").replace(b",", b'","').replace(b"\n", b'"\n"') + b'"\n'


# Files --------------------------------------------------------------------------------------------------------


def _file_defects() -> list[Defect]:
    return [
        Defect(
            "truncated_file",
            "A file lost its second half after the manifest was written.",
            _WITH_MANIFEST,
            edit_bytes_only("tickets", lambda content: content[: len(content) // 2]),
            "batch error",
            ("tickets", "bytes"),
        ),
        Defect(
            "changed_file",
            "One byte of a file changed after the manifest was written.",
            _WITH_MANIFEST,
            edit_bytes_only("tickets", _change_a_byte),
            "batch error",
            ("tickets", "SHA-256"),
        ),
        Defect(
            "missing_file",
            "A file of the manifest is not there.",
            _WITH_MANIFEST,
            lambda folder: file_of(folder, "venues").unlink(),
            "batch error",
            ("venues", "not there"),
        ),
        Defect(
            "symbolic_link_out",
            "A file is a link to one with the same content outside the folder.",
            _WITH_MANIFEST,
            _link_out_of_the_folder,
            "batch error",
            ("venues", "symbolic link"),
        ),
        Defect(
            "folder_for_a_file",
            "A folder stands where a file should.",
            _WITH_MANIFEST,
            _put_a_folder_for_a_file,
            "batch error",
            ("venues", "not a regular file"),
        ),
        Defect(
            "misnamed_parquet",
            "A Parquet file is named as CSV.",
            ("parquet",),
            lambda folder: _rename(folder, "venues", "csv"),
            "batch error",
            ("venues.csv", "Parquet"),
        ),
        Defect(
            "misnamed_gzip",
            "A compressed file is named as plain CSV.",
            ("csv.gz",),
            lambda folder: _rename(folder, "venues", "csv"),
            "batch error",
            ("venues.csv", "gzip"),
        ),
        Defect(
            "misnamed_csv",
            "A plain CSV file is named as Parquet.",
            ("csv",),
            lambda folder: _rename(folder, "venues", "parquet"),
            "batch error",
            ("venues.parquet",),
        ),
        Defect(
            "truncated_compression",
            "A compressed file is cut, and the manifest says so.",
            ("csv.gz", "csv.zst"),
            edit_bytes("tickets", lambda content: content[: len(content) // 2]),
            "batch error",
            ("tickets.csv",),
        ),
        Defect(
            "corrupted_compression",
            "A compressed file has changed inside, and the manifest agrees with it.",
            ("csv.gz",),
            edit_bytes("tickets", _change_a_byte),
            "batch error",
            ("tickets.csv",),
        ),
        Defect(
            "unlisted_file",
            "Files that are no tables lie in the folder.",
            _ALL_FORMS,
            _add_other_files,
            "loads",
        ),
        Defect(
            "no_manifest",
            "The export ended before the manifest was written.",
            ("parquet", "csv.gz", "csv.zst"),
            lambda folder: (folder / MANIFEST_NAME).unlink(),
            "not a batch yet",
            ("must be unchanged",),
        ),
        Defect(
            "half_written",
            "The export has written half of its files.",
            ("plain",),
            _remove_half_of_the_files,
            "not a batch yet",
            ("people, purchases, tickets",),
        ),
        Defect(
            "being_written",
            "All six files are there, one of them written this moment.",
            ("plain",),
            lambda folder: os.utime(folder / "tickets.csv"),
            "not a batch yet",
            ("must be unchanged",),
        ),
    ]


def _remove_half_of_the_files(folder: Path) -> None:
    for table in ("people", "purchases", "tickets"):
        file_of(folder, table).unlink()


def _change_a_byte(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 0x01]) + content[middle + 1 :]


def _link_out_of_the_folder(folder: Path) -> None:
    path = file_of(folder, "venues")
    outside = folder.parent / f".{folder.name}-{path.name}"
    path.rename(outside)
    path.symlink_to(Path("..", outside.name))


def _put_a_folder_for_a_file(folder: Path) -> None:
    path = file_of(folder, "venues")
    path.unlink()
    path.mkdir()


def _rename(folder: Path, table: str, suffix: str) -> None:
    path = file_of(folder, table)
    renamed = path.rename(folder / f"{table}.{suffix}")
    edit_file_entry(table, lambda entry: entry.update(path=renamed.name))(folder)


def _add_other_files(folder: Path) -> None:
    (folder / "notes.txt").write_text("Called the box office about Friday.\n", encoding="utf-8")
    (folder / "tickets.csv.bak").write_text("id\n1\n", encoding="utf-8")


# The manifest -------------------------------------------------------------------------------------------------


def _manifest_defects() -> list[Defect]:
    def refused(name: str, summary: str, plant: Plant, *caught_by: str) -> Defect:
        return Defect(name, summary, _WITH_MANIFEST, plant, "batch error", (MANIFEST_NAME, *caught_by))

    def set_entry(key: str, value: object) -> Plant:
        return edit_file_entry("tickets", lambda entry: entry.update({key: value}))

    def set_header(key: str, value: object) -> Plant:
        return edit_manifest(lambda document: document.update({key: value}))

    headers = [
        ("unknown_manifest_version", "manifest_version", 2),
        ("unknown_kind", "kind", "differential"),
        ("export_time_in_words", "exported_at", "yesterday"),
        ("export_time_without_offset", "exported_at", "2022-08-01T06:00:00"),
        ("other_batch_id", "batch_id", "another-batch"),
    ]
    paths = [
        ("path_traversal", "../tickets.parquet"),
        ("hidden_path_traversal", "inside/../../tickets.parquet"),
        ("absolute_path", "/etc/tickets.parquet"),
        ("path_with_backslashes", r"..\tickets.parquet"),
        ("file_of_another_table", "venues.parquet"),
        ("file_of_another_format", "tickets.xlsx"),
    ]
    return [
        *(
            refused(name, f"{key} is {value!r}.", set_header(key, value), key, repr(value))
            for name, key, value in headers
        ),
        *(
            refused(name, f"The path of tickets is {path}.", set_entry("path", path), repr(path))
            for name, path in paths
        ),
        refused(
            "half_written_manifest",
            "The manifest is cut in the middle.",
            lambda folder: _cut(folder / MANIFEST_NAME),
            "not JSON",
        ),
        refused(
            "manifest_of_a_list",
            "The manifest is a JSON list.",
            lambda folder: _overwrite(folder / MANIFEST_NAME, "[]"),
            "should be an object",
        ),
        refused(
            "manifest_not_utf_8",
            "The manifest is not text.",
            lambda folder: _overwrite(folder / MANIFEST_NAME, "{\udcff"),
            "not JSON",
        ),
        refused("unlisted_table", "The manifest lists no venues.", edit_manifest(_unlist_venues), "lists no", "venues"),
        refused(
            "unknown_table",
            "The manifest lists a table the source does not have.",
            edit_manifest(lambda document: document["tables"].update(stages=document["tables"]["venues"])),
            "stages",
        ),
        refused(
            "table_without_files",
            "The manifest lists no file of tickets.",
            edit_manifest(lambda document: document["tables"]["tickets"].update(files=[])),
            "no file of tickets",
        ),
        refused("file_listed_twice", "The manifest lists a file twice.", edit_manifest(_list_tickets_twice), "twice"),
        refused("checksum_of_another_kind", "The checksum is an MD5.", set_entry("sha256", "0" * 32), "sha256"),
        refused("size_in_words", "The size of a file is a text.", set_entry("bytes", "many"), "'many'"),
        refused("negative_row_count", "The row count of a file is negative.", set_entry("rows", -1), "-1"),
        Defect(
            "wrong_checksum",
            "The manifest states another file's SHA-256.",
            _WITH_MANIFEST,
            set_entry("sha256", "0" * 64),
            "batch error",
            ("tickets", "SHA-256"),
        ),
        Defect(
            "wrong_size",
            "The manifest states a byte more than the file has.",
            _WITH_MANIFEST,
            edit_file_entry("tickets", lambda entry: entry.update(bytes=entry["bytes"] + 1)),
            "batch error",
            ("tickets", "bytes"),
        ),
        Defect(
            "wrong_row_count",
            "The manifest states a row more than the file has.",
            _WITH_MANIFEST,
            edit_file_entry("tickets", lambda entry: entry.update(rows=entry["rows"] + 1)),
            "check",
            ("rows_as_manifest_and_source",),
        ),
        Defect(
            "wrong_count_at_source",
            "The source counted a ticket more than was exported.",
            _WITH_MANIFEST,
            edit_manifest(_count_one_more),
            "check",
            ("rows_as_manifest_and_source",),
        ),
    ]


def _cut(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def _overwrite(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", errors="surrogateescape")


def _unlist_venues(document: dict[str, Any]) -> None:
    del document["tables"]["venues"]


def _list_tickets_twice(document: dict[str, Any]) -> None:
    files = document["tables"]["tickets"]["files"]
    files.append(files[0])


def _count_one_more(document: dict[str, Any]) -> None:
    document["tables"]["tickets"]["rows_at_source"] += 1


# Parquet ------------------------------------------------------------------------------------------------------


def _parquet_defects() -> list[Defect]:
    def refused(name: str, summary: str, plant: Plant, *caught_by: str) -> Defect:
        return Defect(name, summary, ("parquet",), plant, "batch error", ("tickets.parquet", *caught_by))

    def loads(name: str, summary: str, plant: Plant) -> Defect:
        return Defect(name, summary, ("parquet",), plant, "loads")

    return [
        refused("text_price", "price is text.", _cast_column("tickets", "price", pa.string()), "'price' is string"),
        refused(
            "double_price", "price is a double.", _cast_column("tickets", "price", pa.float64()), "'price' is double"
        ),
        refused(
            "decimal_price_type",
            "price is a decimal.",
            _cast_column("tickets", "price", pa.decimal128(12, 2)),
            "'price' is decimal",
        ),
        refused(
            "wide_number",
            "price is a 64-bit number, one of them too big for 32 bits.",
            edit_rows("tickets", _put_too_big_a_price),
            "column price",
            "3000000000",
        ),
        Defect(
            "instant_without_zone",
            "purchase_date is a local time.",
            ("parquet",),
            _cast_column("purchases", "purchase_date", pa.timestamp("us")),
            "batch error",
            ("purchases.parquet", "'purchase_date' is timestamp"),
        ),
        refused(
            "parquet_missing_column",
            "A column is missing.",
            edit_rows("tickets", lambda rows: rows.drop_columns(["price"])),
            "missing 'price'",
        ),
        refused(
            "parquet_extra_column",
            "There is a column the source does not have.",
            edit_rows("tickets", lambda rows: rows.append_column("seat", rows["price"])),
            "unknown 'seat'",
        ),
        refused(
            "truncated_parquet",
            "A Parquet file lost its end, and the manifest agrees with it.",
            edit_bytes("tickets", lambda content: content[:-1_000]),
            "Parquet",
        ),
        refused(
            "corrupted_parquet",
            "A Parquet file has changed inside, and the manifest agrees with it.",
            edit_bytes("tickets", _change_a_byte),
            "Parquet",
        ),
        loads(
            "parquet_reordered_columns", "The columns stand in another order.", edit_rows("tickets", _reverse_columns)
        ),
        loads("parquet_wide_type", "price is a 64-bit number.", _cast_column("tickets", "price", pa.int64())),
        loads(
            "parquet_nanoseconds",
            "purchase_date is in nanoseconds.",
            _cast_column("purchases", "purchase_date", pa.timestamp("ns", tz="UTC")),
        ),
        loads(
            "parquet_local_zone",
            "purchase_date carries the festival's time zone.",
            _cast_column("purchases", "purchase_date", pa.timestamp("us", tz="America/Chicago")),
        ),
        loads("parquet_large_text", "name is of Arrow's large type.", _cast_column("bands", "name", pa.large_string())),
    ]


def _cast_column(table: str, column: str, to: pa.DataType) -> Plant:
    def edit(rows: pa.Table) -> pa.Table:
        number = rows.schema.get_field_index(column)
        return rows.set_column(number, column, pc.cast(rows[column], to))

    return edit_rows(table, edit)


def _put_too_big_a_price(rows: pa.Table) -> pa.Table:
    number = rows.schema.get_field_index("price")
    return put("price", 3_000_000_000)(rows.set_column(number, "price", pc.cast(rows["price"], pa.int64())))


DEFECTS: dict[str, Defect] = {
    defect.name: defect
    for defect in (
        *_row_defects(),
        *_csv_value_defects(),
        *_csv_structure_defects(),
        *_file_defects(),
        *_manifest_defects(),
        *_parquet_defects(),
    )
}
"""Every defect by its name."""
