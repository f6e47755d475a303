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


# Files --------------------------------------------------------------------------------------------------------
# One defect for each way of reading a file; the tests of the readers have the rest.


def _csv_defects() -> list[Defect]:
    def refused(name: str, table: str, plant: Plant, *caught_by: str) -> Defect:
        return Defect(name, "batch error", plant, (f"{table}.csv", *caught_by), "csv")

    def field(name: str, table: str, column: str, text: str) -> Defect:
        shown = repr(text.strip('"'))
        return refused(name, table, edit_field(table, column, text), "line", f"column {column}", shown)

    def loads(name: str, plant: Plant) -> Defect:
        return Defect(name, "loads", plant, form="csv")

    extra = edit_rows("tickets", lambda rows: rows.append_column("seat", rows["price"]))
    quote = _put_in_second_line(b'The 12" Records')
    latin_1 = _put_in_second_line("Café Añejo".encode("latin-1"))
    local_times = edit_bytes("purchases", _end_with(b"2021-11-07 01:30:00-05", b"2021-11-07 01:30:00.123456-06"))
    loaded = {
        ("purchases", -2, "purchase_date"): _instant(2021, 11, 7, 6, 30),
        ("purchases", -1, "purchase_date"): _instant(2021, 11, 7, 7, 30).replace(microsecond=123_456),
    }
    return [
        field("decimal_price", "tickets", "price", "24.99"),
        field("thousands_separator", "tickets", "price", '"1,000"'),
        field("null_in_letters", "tickets", "price", "NULL"),
        field("impossible_day", "purchases", "purchase_date", "2021-02-30 10:00:00+00"),
        field("instant_without_offset", "purchases", "purchase_date", "2021-03-01 10:00:00"),
        refused("extra_column", "tickets", extra, "unknown 'seat'"),
        refused("semicolons", "tickets", edit_bytes("tickets", lambda content: content.replace(b",", b";")), "commas"),
        refused("empty_file", "tickets", edit_bytes("tickets", lambda content: b""), "empty"),
        refused("latin_1", "bands", edit_bytes("bands", latin_1), "line 2", "UTF-8"),
        refused("stray_quote", "bands", edit_bytes("bands", quote), "line 2", "quote"),
        refused("psql_footer", "bands", edit_bytes("bands", lambda content: content + b"(1421 rows)\n"), "field"),
        refused("cut_line", "tickets", edit_bytes("tickets", lambda content: content[:-22]), "field"),
        loads("byte_order_mark", edit_bytes("bands", lambda content: b"\xef\xbb\xbf" + content)),
        loads("crlf", edit_bytes("tickets", lambda content: content.replace(b"\n", b"\r\n"))),
        loads("reordered_columns", edit_rows("tickets", _reverse_columns)),
        loads("no_final_line_end", edit_bytes("tickets", lambda content: content.removesuffix(b"\n"))),
        loads("all_quoted", edit_bytes("tickets", _quote_all_fields)),
        loads("other_offsets", edit_bytes("performances", _write_other_offsets)),
        Defect("ambiguous_local_times", "loads", local_times, form="csv", loads_as=loaded),
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


def _file_defects() -> list[Defect]:
    def refused(name: str, plant: Plant, *caught_by: str, form: BatchForm = "parquet") -> Defect:
        return Defect(name, "batch error", plant, caught_by, form)

    def unfinished(name: str, plant: Plant, reason: str, form: BatchForm) -> Defect:
        return Defect(name, "not a batch yet", plant, (reason,), form)

    def cast(table: str, column: str, to: pa.DataType) -> Plant:
        return edit_rows(table, lambda rows: _cast(rows, column, to))

    too_big = edit_rows("tickets", lambda rows: put("price", 3_000_000_000)(_cast(rows, "price", pa.int64())))
    return [
        refused("changed_file", edit_bytes("tickets", _change_a_byte, tell_manifest=False), "tickets", "SHA-256"),
        refused("missing_file", lambda folder: file_of(folder, "venues").unlink(), "venues", "not there"),
        refused("symbolic_link_out", _link_out_of_the_folder, "venues", "symbolic link"),
        refused("misnamed_parquet", _name_csv, "venues.csv", "Parquet"),
        refused("truncated_compression", edit_bytes("tickets", _halve), "tickets.csv", form="csv.gz"),
        refused("double_price", cast("tickets", "price", pa.float64()), "tickets.parquet", "'price' is double"),
        refused("wide_number", too_big, "tickets.parquet", "column price", "3000000000"),
        refused("corrupted_parquet", edit_bytes("tickets", _change_a_byte), "tickets.parquet", "Parquet"),
        Defect("parquet_wide_type", "loads", cast("tickets", "price", pa.int64())),
        Defect(
            "parquet_local_zone", "loads", cast("purchases", "purchase_date", pa.timestamp("us", "America/Chicago"))
        ),
        Defect("unlisted_file", "loads", lambda folder: (folder / "tickets.csv.bak").write_text("id\n1\n")),
        unfinished("no_manifest", lambda folder: (folder / MANIFEST_NAME).unlink(), "must be unchanged", "parquet"),
        unfinished("half_written", lambda folder: file_of(folder, "tickets").unlink(), "tickets", "plain"),
        unfinished("being_written", lambda folder: os.utime(folder / "tickets.csv"), "must be unchanged", "plain"),
    ]


def _cast(rows: pa.Table, column: str, to: pa.DataType) -> pa.Table:
    return rows.set_column(rows.schema.get_field_index(column), column, pc.cast(rows[column], to))


def _halve(content: bytes) -> bytes:
    return content[: len(content) // 2]


def _change_a_byte(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 0x01]) + content[middle + 1 :]


def _link_out_of_the_folder(folder: Path) -> None:
    path = file_of(folder, "venues")
    outside = folder.parent / f".{folder.name}-{path.name}"
    path.rename(outside)
    path.symlink_to(Path("..", outside.name))


def _name_csv(folder: Path) -> None:
    renamed = file_of(folder, "venues").rename(folder / "venues.csv")
    edit_file_entry("venues", path=renamed.name)(folder)


def _manifest_defects() -> list[Defect]:
    def refused(name: str, plant: Plant, *caught_by: str) -> Defect:
        return Defect(name, "batch error", plant, caught_by)

    def one_more(key: str) -> Plant:
        """Add one to an entry of the tickets' file, or of the whole table."""

        def edit(document: dict[str, Any]) -> None:
            table = document["tables"]["tickets"]
            entry = table if key in table else table["files"][0]
            entry[key] += 1

        return edit_manifest(edit)

    def cut(folder: Path) -> None:
        path = folder / MANIFEST_NAME
        path.write_bytes(_halve(path.read_bytes()))

    kind = edit_manifest(lambda document: document.update(kind="differential"))
    path = "../tickets.parquet"
    return [
        refused("unknown_kind", kind, MANIFEST_NAME, "kind", "'differential'"),
        refused("path_traversal", edit_file_entry("tickets", path=path), MANIFEST_NAME, repr(path)),
        refused("half_written_manifest", cut, MANIFEST_NAME, "not JSON"),
        refused("wrong_checksum", edit_file_entry("tickets", sha256="0" * 64), "tickets", "SHA-256"),
        refused("wrong_size", one_more("bytes"), "tickets", "bytes"),
        Defect("wrong_row_count", "check", one_more("rows"), ("rows_as_manifest_and_source",)),
        Defect("wrong_count_at_source", "check", one_more("rows_at_source"), ("rows_as_manifest_and_source",)),
    ]


DEFECTS: dict[str, Defect] = {
    defect.name: defect for defect in (*_row_defects(), *_csv_defects(), *_file_defects(), *_manifest_defects())
}
"""Every defect by its name."""
