"""Named defects to plant in a finished export batch, each with what must come of it.

Unless a defect is about the manifest, the manifest agrees with the damaged file, so that only the check meant for the
defect can find it.
"""

from __future__ import annotations

import os
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
    edit_field,
    edit_file_entry,
    edit_manifest,
    edit_rows,
    file_of,
    put,
)

from acl_assets.landing_zone.manifest import MANIFEST_NAME
from acl_assets.simulator.batch import BatchFormat
from acl_assets.simulator.lineup import MUST_INVITE_STAGE

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

_UNKNOWN_ID = 2_000_000_000


@dataclass(frozen=True)
class Defect:
    """One way in which a batch can be unlike a good one.

    Attributes:
        outcome: what must come of it.
        plant: acts on the folder of a finished good batch.
        caught_by: names of the checks that must fail or warn, among others; for a batch error, what its message
            must hold; for a folder that is no batch yet, what the reason must hold.
        form: the form of batch it is planted in.
        loads_as: the values that differ from the good batch once loaded, by table, position of the row (negative
            from the end) and column; all others are as in the good batch.
        needs_published: whether it shows only when a good state has been published before.
    """

    name: str
    outcome: Outcome
    plant: Plant = field(repr=False)
    caught_by: tuple[str, ...] = ()
    form: BatchForm = "parquet"
    loads_as: Mapping[tuple[str, int, str], object] = field(default_factory=dict)
    needs_published: bool = False


def _instant(year: int, month: int, day: int, hour: int, minute: int = 0) -> datetime:
    return datetime(year, month, day, hour, minute, tzinfo=UTC)


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
_UNUSUAL_NAMES = [
    ("embedded_newline", "First Line\nSecond Line\r\nThird"),
    ("empty_name", ""),
    ("name_null", "NULL"),
    ("name_of_quotes", '",""",,"'),
    ("long_name", "La" * 50_000),
]


def _row_defects() -> list[Defect]:
    def check(name: str, plant: Plant, caught_by: str, *, needs_published: bool = False) -> Defect:
        return Defect(name, "check", plant, (caught_by,), needs_published=needs_published)

    def warning(name: str, plant: Plant, caught_by: str) -> Defect:
        return Defect(name, "warning", plant, (caught_by,))

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
        check("duplicate_ticket_number", edit_rows("tickets", _repeat_ticket_number), "ticketnum_is_unique"),
        check("lost_tickets", keep(0.4), "volume_against_published", needs_published=True),
        check("header_only", keep(0), "volume_against_published", needs_published=True),
        warning("purchase_after_the_show", edit_rows("purchases", late), "tickets_bought_before_the_show"),
        warning(
            "sold_above_capacity",
            edit_rows("venues", put("capacity", 1, at=MUST_INVITE_STAGE)),
            "tickets_sold_within_capacity",
        ),
        warning("performance_without_a_ticket", edit_rows("performances", silent), "performances_have_tickets"),
        *(
            Defect(name, "loads", edit_rows("bands", put("name", text, at=0)), loads_as={("bands", 0, "name"): text})
            for name, text in _UNUSUAL_NAMES
        ),
    ]


def _repeat_ticket_number(rows: pa.Table) -> pa.Table:
    return put("ticketnum", rows["ticketnum"][0].as_py())(rows)


# Text of CSV files --------------------------------------------------------------------------------------------

_BAD_PRICES = {
    "decimal_price": "24.99",
    "whole_price_with_decimals": "25.0",
    "hexadecimal_number": "0x1F",
    "exponent_number": "1e2",
    "underscore_number": "1_000",
    "number_overflow": "3000000000",
    "plus_sign": "+25",
    "spaces_around_a_number": " 25 ",
    "leading_zeros": "0025",
    "currency_sign": "$25",
    "word_for_a_number": "free",
    "null_in_letters": "NULL",
}
_BAD_DATES = {
    "impossible_day": "2021-02-30 10:00:00+00",
    "impossible_hour": "2021-03-01 25:00:00+00",
    "instant_without_offset": "2021-03-01 10:00:00",
    "day_for_an_instant": "2021-03-01",
    "american_date": "03/01/2021 10:00:00+00",
    "seconds_since_the_epoch": "1614592800",
    "infinite_instant": "infinity",
    "nanoseconds": "2021-03-01 10:00:00.123456789+00",
}


def _csv_value_defects() -> list[Defect]:
    def refused(name: str, table: str, column: str, text: str, *caught_by: str) -> Defect:
        texts = (f"{table}.csv line", f"column {column}", *caught_by)
        return Defect(name, "batch error", edit_field(table, column, text), texts, "csv")

    def loads(name: str, table: str, edit: Callable[[bytes], bytes], **instants: datetime) -> Defect:
        """Take the instants of the last purchases, the last one as `last`, from the keywords."""
        rows = {"last": -1, "last_but_one": -2}
        loads_as = {("purchases", rows[row], "purchase_date"): instant for row, instant in instants.items()}
        return Defect(name, "loads", edit_bytes(table, edit), form="csv", loads_as=loads_as)

    microseconds = _instant(2022, 6, 1, 12).replace(microsecond=123_456)
    return [
        *(refused(name, "tickets", "price", text, repr(text)) for name, text in _BAD_PRICES.items()),
        *(refused(name, "purchases", "purchase_date", text, repr(text)) for name, text in _BAD_DATES.items()),
        refused("thousands_separator", "tickets", "price", '"1,000"', "'1,000'"),
        refused("empty_text_for_a_number", "tickets", "price", '""'),
        loads("quoted_number", "venues", lambda content: content.replace(b",500\n", b',"500"\n')),
        loads("other_offsets", "performances", _write_other_offsets),
        loads(
            "ambiguous_local_times",
            "purchases",
            _end_with(b"2021-11-07 01:30:00-05", b"2021-11-07 01:30:00-06"),
            last_but_one=_instant(2021, 11, 7, 6, 30),
            last=_instant(2021, 11, 7, 7, 30),
        ),
        loads("fractional_seconds", "purchases", _end_with(b"2022-06-01 12:00:00.123456+00"), last=microseconds),
    ]


def _write_other_offsets(content: bytes) -> bytes:
    """Write instants with offsets of -05:00, +05:30, +00:00 and Z in turn."""
    header, *lines = content.decode().splitlines()
    for number, line in enumerate(lines):
        performance, start, others = line.split(",", 2)
        instant = datetime.fromisoformat(start)
        forms = (
            instant.astimezone(timezone(timedelta(hours=-5))).isoformat(" "),
            instant.astimezone(timezone(timedelta(hours=5, minutes=30))).isoformat(" "),
            instant.isoformat("T"),
            instant.strftime("%Y-%m-%dT%H:%M:%SZ"),
        )
        lines[number] = f"{performance},{forms[number % 4]},{others}"
    return "\n".join([header, *lines, ""]).encode()


def _end_with(*instants: bytes) -> Callable[[bytes], bytes]:
    """Make an edit that gives the last purchases other instants."""

    def edit(content: bytes) -> bytes:
        lines = content.splitlines()
        for place, instant in enumerate(instants, start=len(lines) - len(instants)):
            purchase, _, person = lines[place].split(b",")
            lines[place] = b",".join([purchase, instant, person])
        return b"\n".join([*lines, b""])

    return edit


def _csv_structure_defects() -> list[Defect]:
    def edited(name: str, table: str, plant: Plant, *caught_by: str) -> Defect:
        """With texts the batch is refused by, or else it loads."""
        if caught_by:
            return Defect(name, "batch error", plant, (f"{table}.csv", *caught_by), "csv")
        return Defect(name, "loads", plant, form="csv")

    def tickets(name: str, edit: Callable[[bytes], bytes], *caught_by: str) -> Defect:
        return edited(name, "tickets", edit_bytes("tickets", edit), *caught_by)

    def columns(name: str, edit: Callable[[pa.Table], pa.Table], *caught_by: str) -> Defect:
        return edited(name, "tickets", edit_rows("tickets", edit), *caught_by)

    def bands(name: str, edit: Callable[[bytes], bytes], *caught_by: str) -> Defect:
        return edited(name, "bands", edit_bytes("bands", edit), *caught_by)

    return [
        bands("byte_order_mark", lambda content: b"\xef\xbb\xbf" + content),
        tickets("crlf", _replace(b"\n", b"\r\n")),
        columns("reordered_columns", _reverse_columns),
        tickets("no_final_line_end", lambda content: content.removesuffix(b"\n")),
        tickets("all_quoted", _quote_all_fields),
        tickets("semicolons", _replace(b",", b";"), "';'"),
        tickets("tabs", _replace(b",", b"\t"), r"'\t'"),
        tickets("carriage_returns", _replace(b"\n", b"\r"), "carriage return"),
        columns("missing_column", lambda rows: rows.drop_columns(["price"]), "missing 'price'"),
        columns("extra_column", lambda rows: rows.append_column("seat", rows["price"]), "unknown 'seat'"),
        tickets("renamed_column", _replace(b"price", b"Price", 1), "'Price'"),
        columns("repeated_column", lambda rows: rows.append_column("price", rows["price"]), "'price' twice"),
        tickets("no_header", lambda content: content.partition(b"\n")[2], "line 1"),
        tickets("empty_file", lambda content: b"", "empty"),
        bands("latin_1", _put_in_second_line("Café Añejo".encode("latin-1")), "line 2", "UTF-8"),
        bands("utf_16", lambda content: content.decode().encode("utf-16"), "UTF-16"),
        bands("nul_byte", _put_in_second_line(b"Nu\0ll"), "line 2", "NUL byte"),
        bands("unbalanced_quote", _put_in_second_line(b'"Never Ending'), "line 2", "quote"),
        bands("stray_quote", _put_in_second_line(b'The 12" Records'), "line 2", "quote"),
        bands("text_after_a_quote", _put_in_second_line(b'"The" Records'), "line 2", "quote"),
        bands("backslash_escapes", _put_in_second_line(rb'"The \"Old\" Records"'), "line 2", "quote"),
        bands("short_line", _replace(b"\n1,", b"\n", 1), "line 2", "field"),
        bands("long_line", _put_in_second_line(b"Comma, Unquoted"), "line 2", "field"),
        bands("blank_line", _replace(b"\n", b"\n\n", 1), "line 2"),
        bands("psql_footer", lambda content: content + b"(1421 rows)\n", "field"),
        tickets("cut_line", lambda content: content[:-22], "field"),
    ]


def _replace(old: bytes, new: bytes, times: int = -1) -> Callable[[bytes], bytes]:
    return lambda content: content.replace(old, new, times)


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
    def refused(name: str, plant: Plant, *caught_by: str, form: BatchForm = "parquet") -> Defect:
        return Defect(name, "batch error", plant, caught_by, form)

    def unfinished(name: str, plant: Plant, reason: str, form: BatchForm) -> Defect:
        return Defect(name, "not a batch yet", plant, (reason,), form)

    def rename(suffix: str) -> Plant:
        def plant(folder: Path) -> None:
            renamed = file_of(folder, "venues").rename(folder / f"venues.{suffix}")
            edit_file_entry("venues", path=renamed.name)(folder)

        return plant

    return [
        refused("truncated_file", edit_bytes("tickets", _halve, tell_manifest=False), "tickets", "bytes"),
        refused("changed_file", edit_bytes("tickets", _change_a_byte, tell_manifest=False), "tickets", "SHA-256"),
        refused("missing_file", lambda folder: file_of(folder, "venues").unlink(), "venues", "not there"),
        refused("symbolic_link_out", _link_out_of_the_folder, "venues", "symbolic link"),
        refused("folder_for_a_file", _put_a_folder_for_a_file, "venues", "not a regular file"),
        refused("misnamed_parquet", rename("csv"), "venues.csv", "Parquet"),
        refused("misnamed_gzip", rename("csv"), "venues.csv", "gzip", form="csv.gz"),
        refused("misnamed_csv", rename("parquet"), "venues.parquet", form="csv"),
        refused("truncated_compression", edit_bytes("tickets", _halve), "tickets.csv", form="csv.gz"),
        refused("corrupted_compression", edit_bytes("tickets", _change_a_byte), "tickets.csv", form="csv.gz"),
        Defect("unlisted_file", "loads", _add_other_files),
        unfinished("no_manifest", lambda folder: (folder / MANIFEST_NAME).unlink(), "must be unchanged", "parquet"),
        unfinished("half_written", _remove_half_of_the_files, "people, purchases, tickets", "plain"),
        unfinished("being_written", lambda folder: os.utime(folder / "tickets.csv"), "must be unchanged", "plain"),
    ]


def _halve(content: bytes) -> bytes:
    return content[: len(content) // 2]


def _change_a_byte(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 0x01]) + content[middle + 1 :]


def _remove_half_of_the_files(folder: Path) -> None:
    for table in ("people", "purchases", "tickets"):
        file_of(folder, table).unlink()


def _link_out_of_the_folder(folder: Path) -> None:
    path = file_of(folder, "venues")
    outside = folder.parent / f".{folder.name}-{path.name}"
    path.rename(outside)
    path.symlink_to(Path("..", outside.name))


def _put_a_folder_for_a_file(folder: Path) -> None:
    path = file_of(folder, "venues")
    path.unlink()
    path.mkdir()


def _add_other_files(folder: Path) -> None:
    (folder / "notes.txt").write_text("Called the box office about Friday.\n", encoding="utf-8")
    (folder / "tickets.csv.bak").write_text("id\n1\n", encoding="utf-8")


# The manifest -------------------------------------------------------------------------------------------------

_BAD_HEADERS = {
    "unknown_manifest_version": ("manifest_version", 2),
    "unknown_kind": ("kind", "differential"),
    "export_time_in_words": ("exported_at", "yesterday"),
    "export_time_without_offset": ("exported_at", "2022-08-01T06:00:00"),
    "other_batch_id": ("batch_id", "another-batch"),
}
_BAD_PATHS = {
    "path_traversal": "../tickets.parquet",
    "hidden_path_traversal": "inside/../../tickets.parquet",
    "absolute_path": "/etc/tickets.parquet",
    "path_with_backslashes": r"..\tickets.parquet",
    "file_of_another_table": "venues.parquet",
    "file_of_another_format": "tickets.xlsx",
}


def _manifest_defects() -> list[Defect]:
    def refused(name: str, plant: Plant, *caught_by: str) -> Defect:
        return Defect(name, "batch error", plant, (MANIFEST_NAME, *caught_by))

    def set_header(key: str, value: object) -> Plant:
        return edit_manifest(lambda document: document.update({key: value}))

    def set_tickets(**changes: object) -> Plant:
        return edit_manifest(lambda document: document["tables"]["tickets"].update(changes))

    def one_more(key: str) -> Plant:
        """Add one to an entry of the tickets' file, or of the whole table."""

        def edit(document: dict[str, Any]) -> None:
            table = document["tables"]["tickets"]
            entry = table if key in table else table["files"][0]
            entry[key] += 1

        return edit_manifest(edit)

    def overwrite(edit: Callable[[bytes], bytes]) -> Plant:
        return lambda folder: (folder / MANIFEST_NAME).write_bytes(edit((folder / MANIFEST_NAME).read_bytes()))

    return [
        *(refused(name, set_header(key, value), key, repr(value)) for name, (key, value) in _BAD_HEADERS.items()),
        *(refused(name, edit_file_entry("tickets", path=path), repr(path)) for name, path in _BAD_PATHS.items()),
        refused("half_written_manifest", overwrite(_halve), "not JSON"),
        refused("manifest_of_a_list", overwrite(lambda content: b"[]"), "should be an object"),
        refused("manifest_not_utf_8", overwrite(lambda content: b"{\xff"), "not JSON"),
        refused(
            "unlisted_table", edit_manifest(lambda document: document["tables"].pop("venues")), "lists no", "venues"
        ),
        refused(
            "unknown_table",
            edit_manifest(lambda document: document["tables"].update(stages=document["tables"]["venues"])),
            "stages",
        ),
        refused("table_without_files", set_tickets(files=[]), "no file of tickets"),
        refused("file_listed_twice", edit_manifest(_list_tickets_twice), "twice"),
        refused("checksum_of_another_kind", edit_file_entry("tickets", sha256="0" * 32), "sha256"),
        refused("size_in_words", edit_file_entry("tickets", bytes="many"), "'many'"),
        refused("negative_row_count", edit_file_entry("tickets", rows=-1), "-1"),
        Defect("wrong_checksum", "batch error", edit_file_entry("tickets", sha256="0" * 64), ("tickets", "SHA-256")),
        Defect("wrong_size", "batch error", one_more("bytes"), ("tickets", "bytes")),
        Defect("wrong_row_count", "check", one_more("rows"), ("rows_as_manifest_and_source",)),
        Defect("wrong_count_at_source", "check", one_more("rows_at_source"), ("rows_as_manifest_and_source",)),
    ]


def _list_tickets_twice(document: dict[str, Any]) -> None:
    files = document["tables"]["tickets"]["files"]
    files.append(files[0])


# Parquet ------------------------------------------------------------------------------------------------------


def _parquet_defects() -> list[Defect]:
    def refused(name: str, plant: Plant, *caught_by: str) -> Defect:
        return Defect(name, "batch error", plant, caught_by)

    def cast(table: str, column: str, to: pa.DataType) -> Plant:
        return edit_rows(table, lambda rows: _cast(rows, column, to))

    def loads(name: str, table: str, column: str, to: pa.DataType) -> Defect:
        return Defect(name, "loads", cast(table, column, to))

    too_big = edit_rows("tickets", lambda rows: put("price", 3_000_000_000)(_cast(rows, "price", pa.int64())))
    missing = edit_rows("tickets", lambda rows: rows.drop_columns(["price"]))
    extra = edit_rows("tickets", lambda rows: rows.append_column("seat", rows["price"]))
    local = cast("purchases", "purchase_date", pa.timestamp("us"))
    return [
        refused("text_price", cast("tickets", "price", pa.string()), "tickets.parquet", "'price' is string"),
        refused("double_price", cast("tickets", "price", pa.float64()), "tickets.parquet", "'price' is double"),
        refused("decimal_price_type", cast("tickets", "price", pa.decimal128(12, 2)), "'price' is decimal"),
        refused("wide_number", too_big, "tickets.parquet", "column price", "3000000000"),
        refused("instant_without_zone", local, "purchases.parquet", "'purchase_date' is timestamp"),
        refused("parquet_missing_column", missing, "tickets.parquet", "missing 'price'"),
        refused("parquet_extra_column", extra, "tickets.parquet", "unknown 'seat'"),
        refused("truncated_parquet", edit_bytes("tickets", lambda content: content[:-1_000]), "tickets.parquet"),
        refused("corrupted_parquet", edit_bytes("tickets", _change_a_byte), "tickets.parquet", "Parquet"),
        Defect("parquet_reordered_columns", "loads", edit_rows("tickets", _reverse_columns)),
        loads("parquet_wide_type", "tickets", "price", pa.int64()),
        loads("parquet_nanoseconds", "purchases", "purchase_date", pa.timestamp("ns", tz="UTC")),
        loads("parquet_local_zone", "purchases", "purchase_date", pa.timestamp("us", tz="America/Chicago")),
        loads("parquet_large_text", "bands", "name", pa.large_string()),
    ]


def _cast(rows: pa.Table, column: str, to: pa.DataType) -> pa.Table:
    return rows.set_column(rows.schema.get_field_index(column), column, pc.cast(rows[column], to))


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
