"""CSV files are read exactly or refused, and every flaw is reported with its line.

Each case occurs in real exports, or is one that lenient parsers repair in silence.
"""

import gzip
import itertools
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from acl_assets.landing_zone.manifest import BatchError
from acl_assets.source_schema import SourceColumn, SourceTable
from acl_assets.source_tables import csv_files
from acl_assets.source_tables.csv_files import MOST_RECORD_BYTES, READ_BYTES, read_csv_file
from acl_assets.source_tables.rejects import MOST_REJECTS, OpenFile, Reject, RejectLog

VISITS = SourceTable(
    "visits",
    "A table with one column of each type.",
    (SourceColumn("id", "int", ""), SourceColumn("name", "text", ""), SourceColumn("at", "timestamptz", "")),
)
HEADER = b"id,name,at\n"
Row = tuple[int | None, str | None, datetime | None]


def read(path: Path, content: bytes, read_bytes: int = READ_BYTES) -> tuple[list[Row], list[Reject]]:
    path.write_bytes(content)
    rejects = RejectLog(VISITS, path.with_suffix(".jsonl"))
    with pytest.MonkeyPatch.context() as patch, path.open("rb") as stream:
        patch.setattr(csv_files, "READ_BYTES", read_bytes)
        pieces = list(read_csv_file(OpenFile(stream, path.name, str(path), rejects)))
    return [(row["id"], row["name"], row["at"]) for piece in pieces for row in piece.to_pylist()], rejects.rejects


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "visits.csv"


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)


# Values ---------------------------------------------------------------------------------------------------------

TEXTS = ["", "NULL", 'a "b", c', "a\r\nb\nc\rd", " a ", "Sigur Rós 音楽", None]
ACCEPTED: dict[str, tuple[bytes, list[Row]]] = {
    "a byte order mark, CRLF, quoted columns in any order, an open last line": (
        b'\xef\xbb\xbf"at","id","name"\r\n,1,a\r\n,2,b',
        [(1, "a", None), (2, "b", None)],
    ),
    "a header and nothing else": (b"id,name,at", []),
    "texts": (
        'id,name,at\n,"",\n,NULL,\n,"a ""b"", c",\n,"a\r\nb\nc\rd",\n, a ,\n,Sigur Rós 音楽,\n,,\n'.encode(),
        [(None, text, None) for text in TEXTS],
    ),
    "numbers of 32 bits": (
        b"id,name,at\n0,,\n2147483647,,\n-2147483648,,\n",
        [(0, None, None), (2**31 - 1, None, None), (-(2**31), None, None)],
    ),
}


@pytest.mark.parametrize(("content", "rows"), ACCEPTED.values(), ids=ACCEPTED)
def test_reads_what_the_contract_allows(content: bytes, rows: list[Row], path: Path) -> None:
    assert read(path, content) == (rows, [])


def test_rejects_numbers_that_are_not_in_plain_digits(path: Path) -> None:
    """Lenient parsers round 24.99 to 25 and read 0x1F as 31, 1e2 as 100 and 1_000 as 1000."""
    numbers = ["24.99", "1e2", "0x1F", "1_000", '"1,000"', "+5", " 5", "5 ", "007", "-0", '""', "NULL", "٣"]
    numbers += ["2147483648", "-2147483649", "99999999999999999999"]
    _, rejects = read(path, HEADER + b"1,fine,\n" + "".join(f"{number},b,\n" for number in numbers).encode())
    assert [(reject.line, reject.text) for reject in rejects] == list(
        enumerate((number.strip('"') for number in numbers), start=3)
    )
    assert {(reject.file, reject.column) for reject in rejects} == {("visits.csv", "id")}
    assert {reject.reason for reject in rejects} == {
        "is not a whole number of 32 bits in plain digits, such as 25 or -3"
    }


ACCEPTED_INSTANTS = {
    "2021-10-01 19:30:00+00": utc(2021, 10, 1, 19, 30),
    "2021-10-01T19:30:00Z": utc(2021, 10, 1, 19, 30),
    "2021-10-01 19:30:00+05:30": utc(2021, 10, 1, 14),
    "2021-10-01 19:30:00.123456-05": utc(2021, 10, 2, 0, 30, 0, 123_456),
    "2021-10-01 19:30:00 +0000": utc(2021, 10, 1, 19, 30),
    "2021-10-01 19:30:00.5 -05:30": utc(2021, 10, 2, 1, 0, 0, 500_000),
    "2021-10-01 19:30:00 UTC": utc(2021, 10, 1, 19, 30),
    "0001-01-01 00:00:00+00": utc(1, 1, 1),
    "9999-12-31 23:59:59.999999+00": utc(9999, 12, 31, 23, 59, 59, 999_999),
}


def test_reads_timestamps_with_any_offset(path: Path) -> None:
    """One value with a space before its offset does not change how the others of the column are read."""
    for text, instant in ACCEPTED_INSTANTS.items():
        assert read(path, HEADER + f"1,,{text}\n".encode())[0] == [(1, None, instant)]
    body = "".join(f"1,,{text}\n" for text in ACCEPTED_INSTANTS)
    assert read(path, HEADER + body.encode())[0] == [(1, None, instant) for instant in ACCEPTED_INSTANTS.values()]


def test_rejects_timestamps_without_a_date_a_time_and_an_offset(path: Path) -> None:
    instants = ["2021-10-01 19:30:00", "2021-10-01", "10/01/2021 19:30:00+00", "2021-10-01 19:30:00 GMT"]
    instants += ["2021-10-01 19:30:00 +00 UTC", "2021-10-01 19:30:00 America/Chicago", "1633116600"]
    instants += ["20211001T193000Z", "2021-10-01 19:30:00.1234567+00", "2021-02-30 19:30:00+00"]
    instants += ["2021-10-01 24:00:00+00", "2021-10-01 19:30:00+24", "0001-01-01 00:00:00+05"]
    instants += ["9999-12-31 23:59:59-05", "12021-10-01 19:30:00+00", "0000-01-01 00:00:00+00", "infinity"]
    body = "".join(f"2,b,{text}\n" for text in instants)
    _, rejects = read(path, HEADER + b"1,fine,2021-10-01 19:30:00+00\n" + body.encode())
    assert [(reject.line, reject.text) for reject in rejects] == list(enumerate(instants, start=3))
    assert all(reject.column == "at" and "with an offset from UTC" in reject.reason for reject in rejects)


def test_rejects_texts_that_are_not_utf_8(path: Path) -> None:
    """Latin-1, an overlong encoding and a surrogate."""
    names = [b"Ros\xe9", b"Ros\xc0\xaf", b"Ros\xed\xa0\x80"]
    _, rejects = read(path, HEADER + b"1,a,\n" + b"".join(b"2," + name + b",\n" for name in names))
    assert [reject.text for reject in rejects] == [name.decode(errors="backslashreplace") for name in names]
    assert {(reject.column, reject.reason) for reject in rejects} == {("name", "is not UTF-8, or is longer than 1 MiB")}


# Lines ----------------------------------------------------------------------------------------------------------

REJECTED_LINES: dict[str, tuple[bytes, int, str]] = {
    "too few fields": (b"1,a,\n2,b\n3,c,\n", 3, "has 2 fields where the header names 3"),
    "too many fields, of which one holds commas": (b'1,a,\n2,"b,b",,\n3,c,\n', 3, "has 4 fields"),
    "an empty line at the end": (b"1,a,\n3,c,\n\n", 4, "has 1 field where"),
    "a quote inside an unquoted field": (b'1,a,\n2,b"b,\n3,c,\n', 3, "is not a record of CSV"),
    "text after a closing quote": (b'1,a,\n2,"b"b,\n3,c,\n', 3, "is not a record of CSV"),
    "a quote that is never closed": (b'1,a,\n2,"b,\n3,c,\n', 3, "is not a record of CSV"),
    "a lone carriage return": (b"1,a,\n2,b\rb,\n3,c,\n", 3, "is not a record of CSV"),
    "a NUL byte in quotes": (b'1,a,\n2,"b\0b",\n3,c,\n', 3, "is not a record of CSV"),
}


@pytest.mark.parametrize(("body", "line", "reason"), REJECTED_LINES.values(), ids=REJECTED_LINES)
def test_rejects_malformed_lines_and_reads_on(body: bytes, line: int, reason: str, path: Path) -> None:
    """One flaw costs one line, whatever it does to the quotes, so that the rejects name the lines to correct."""
    rows, [reject] = read(path, HEADER + body)
    assert (reject.line, reject.column) == (line, None)
    assert reason in reject.reason
    assert reject.text == (HEADER + body).split(b"\n")[line - 1].decode(errors="backslashreplace").rstrip("\r")
    assert rows == [(1, "a", None), (3, "c", None)]


@pytest.mark.parametrize(("line_end", "read_bytes", "bad"), [("\n", 1, "x"), ("\r\n", 64, "x,y"), ("\r\n", 1, "x,y")])
def test_reports_the_line_on_which_a_record_starts(line_end: str, read_bytes: int, bad: str, path: Path) -> None:
    """Lines are counted as an editor counts them: a record can span several, and its first one is reported."""
    lines = ["id,name,at", '1,"a', "b", '",', "2,c,", f"{bad},d,", '3,"""', '",', f"{bad},e,", "4,,", "5,,now", "x,,y"]
    _, rejects = read(path, line_end.join(lines).encode(), read_bytes)
    assert [reject.line for reject in rejects] == [6, 9, 11, 12, 12]


@pytest.mark.parametrize("line", [b"x,,\n", b"1\n"])
def test_stops_at_the_limit_of_rejects(line: bytes, path: Path) -> None:
    _, rejects = read(path, HEADER + line * (MOST_REJECTS + 100))
    assert [reject.line for reject in rejects] == list(range(2, MOST_REJECTS + 2))


def test_accepts_a_record_of_one_mebibyte_and_rejects_a_longer_one(path: Path) -> None:
    """Memory stays bounded where a quote is never closed."""
    name = "x" * (MOST_RECORD_BYTES - len('1,"",\n') - 2) + "\n,"
    assert read(path, HEADER + f'1,"{name}",\n2,b,\n'.encode())[0] == [(1, name, None), (2, "b", None)]
    for longer in (name + "x", "x" * 3 * MOST_RECORD_BYTES, "\n" * MOST_RECORD_BYTES):
        _, rejects = read(path, HEADER + f'1,a,\n2,"{longer}",\n'.encode(), 100_000)
        assert rejects[0].line == 3
        assert "1 MiB" in rejects[0].reason


REFUSED_HEADERS: dict[str, tuple[bytes, str]] = {
    "an empty file": (b"", "found: an empty file"),
    "an empty first line": (b"\n1,a,\n", r"found: b'\n'"),
    "a misspelt column": (b"id,nmae,at\n", "unknown 'nmae' (did you mean 'name'?)"),
    "an absent column, one twice": (b"id,name,name\n", "found: missing 'at'; 'name' twice"),
    "the index of pandas": (b",id,name,at\n0,1,a,\n", "(an index that pandas wrote: export with index=False)"),
    "a carriage return too many": (b"id,name,at\r\r\n", "must begin with a header"),
    "carriage returns alone": (b"id,name,at\r1,a,\r", "must begin with a header"),
    "Latin-1": (b"id,name,at,gr\xf6\xdfe\n", "must begin with a header"),
    "an endless line": (b"id," * MOST_RECORD_BYTES, "'id' twice"),
    "UTF-16": ("id,name,at\n".encode("utf-16"), "found: UTF-16 text"),
    "gzip called CSV": (gzip.compress(HEADER), "found: gzip data"),
    "a zip archive called CSV": (b"PK\x03\x04\x14", "found: a zip archive or an Excel workbook"),
}


@pytest.mark.parametrize(("content", "message"), REFUSED_HEADERS.values(), ids=REFUSED_HEADERS)
def test_refuses_a_header_that_is_not_the_tables(content: bytes, message: str, path: Path) -> None:
    """No row below a wrong header can be trusted, so the file is refused as a whole."""
    with pytest.raises(BatchError, match=re.escape(message)) as raised:
        read(path, content)
    assert str(path) in str(raised.value)


# Compression ----------------------------------------------------------------------------------------------------


def zstd(content: bytes) -> bytes:
    return bytes(pa.compress(content, codec="zstd", asbytes=True))


PLAIN = HEADER + b"".join(b"%d,%d,\n" % (number, number * 7919 % 104_729) for number in range(30_000))
COMPRESSIONS = {".gz": gzip.compress, ".zst": zstd}
# pzstd begins a file with one per frame: RFC 8878, section 3.1.2.
SKIPPABLE = {".gz": b"", ".zst": b"\x5a\x2a\x4d\x18" + (4).to_bytes(4, "little") + b"\x12\x00\x00\x00"}


@pytest.mark.parametrize("suffix", COMPRESSIONS)
def test_reads_compressed_files_of_several_parts(suffix: str, path: Path) -> None:
    parts = (PLAIN[:50_000], PLAIN[50_000:])
    content = b"".join(SKIPPABLE[suffix] + COMPRESSIONS[suffix](part) for part in parts)
    rows, _ = read(path.with_name(f"visits.csv{suffix}"), content)
    assert len(rows) == 30_000
    assert rows == read(path, PLAIN)[0]


@pytest.mark.parametrize(
    ("suffix", "damage"),
    [
        *itertools.product(COMPRESSIONS, ["cut in the middle", "cut at the end", "followed by text", "not compressed"]),
        # A Zstandard frame need not carry a checksum; there the manifest's SHA-256 stands alone.
        (".gz", "overwritten"),
    ],
)
def test_refuses_damaged_compressed_data(suffix: str, damage: str, tmp_path: Path) -> None:
    """A copy that broke off can end at a line end: only the compressed stream shows it."""
    whole = COMPRESSIONS[suffix](PLAIN)
    middle = len(whole) // 2
    content = {
        "cut in the middle": whole[:middle],
        "cut at the end": whole[:-1],
        "followed by text": whole + b"and more",
        "not compressed": PLAIN,
        "overwritten": whole[:middle] + bytes(64) + whole[middle + 64 :],
    }[damage]
    with pytest.raises(BatchError, match="cut short, damaged or not what its name says"):
        read(tmp_path / f"visits.csv{suffix}", content)


# Any table and any damage ---------------------------------------------------------------------------------------

FIELD = re.compile(r'"((?:[^"]|"")*+)"|([^",\r\n]*+)')
INSTANT_TEXT = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[ T](\d\d)(?::(\d\d)(?::(\d\d)(?:\.(\d{1,6}))?)?)?(?: UTC|Z| ?([+-])(\d\d):?(\d\d)?)",
    re.ASCII,
)


def by_the_letter(content: bytes) -> list[Row] | None:
    """Return what a file holds according to the contract, field by field, or None if it must be refused."""
    try:
        text = content.removeprefix(b"\xef\xbb\xbf").decode()
        records = list(records_of(text))
        header = dict(zip(records[0], itertools.count()))
        if "\0" in text or sorted(name or "" for name in records[0]) != ["at", "id", "name"]:
            return None
        if any(len(record) != 3 for record in records):
            return None
        return [
            (whole_number(record[header["id"]]), record[header["name"]], instant(record[header["at"]]))
            for record in records[1:]
        ]
    except (ValueError, OverflowError, IndexError):
        return None


def records_of(text: str) -> Iterator[list[str | None]]:
    position = 0
    while position < len(text):
        record: list[str | None] = []
        while True:
            field = FIELD.match(text, position)
            assert field is not None
            position = field.end()
            record.append((field[2] or None) if field[1] is None else field[1].replace('""', '"'))
            if text[position : position + 1] != ",":
                break
            position += 1
        line_end = re.compile(r"\r?\n|\r?\Z").match(text, position)
        if line_end is None:
            raise ValueError("text where the record ought to end")
        position = line_end.end()
        yield record


def whole_number(text: str | None) -> int | None:
    if text is None:
        return None
    if re.fullmatch("0|-?[1-9][0-9]*", text) is None or not -(2**31) <= int(text) < 2**31:
        raise ValueError(text)
    return int(text)


def instant(text: str | None) -> datetime | None:
    if text is None:
        return None
    found = INSTANT_TEXT.fullmatch(text)
    if found is None:
        raise ValueError(text)
    day_and_time = [int(part or 0) for part in found.groups()[:6]]
    local = datetime(*day_and_time, int((found[7] or "").ljust(6, "0")), tzinfo=UTC)
    hours, minutes = int(found[9] or 0), int(found[10] or 0)
    if hours > 23 or minutes > 59:
        raise ValueError(text)
    offset = timedelta(hours=hours, minutes=minutes)
    return local + offset if found[8] == "-" else local - offset


texts = st.text(st.sampled_from("ab,\"'\n\r\0 é音") | st.characters(codec="utf-8"), max_size=8)
rows_of_any_kind = st.lists(
    st.tuples(
        st.none() | st.integers(-(2**31), 2**31 - 1),
        st.none() | texts.map(lambda text: text.replace("\0", "")),
        st.none() | st.datetimes(datetime(2, 1, 1), datetime(9998, 1, 1), timezones=st.just(UTC)),
    ),
    max_size=6,
)


def written(rows: list[Row], line_end: str, byte_order_mark: bool, offset: str) -> bytes:
    """Return the rows as CSV with quoted texts and with timestamps in UTC that end in `offset`."""

    def field(value: object) -> str:
        if isinstance(value, str):
            return '"' + value.replace('"', '""') + '"'
        return "" if value is None else str(value).replace("+00:00", offset)

    lines = ["id,name,at", *(",".join(map(field, row)) for row in rows)]
    return "".join(line + line_end for line in lines).encode("utf-8-sig" if byte_order_mark else "utf-8")


offsets = st.sampled_from(["+00:00", "Z", " +0000", " +00", " UTC"])


@settings(deadline=None, max_examples=200)
@given(rows_of_any_kind, st.sampled_from(["\n", "\r\n"]), st.booleans(), offsets, st.data())
def test_reads_any_file_as_the_contract_says_or_refuses_it(
    rows: list[Row], line_end: str, byte_order_mark: bool, offset: str, data: st.DataObject
) -> None:
    """After any changed, lost or added byte, no value differs in silence from what the contract says."""
    content = written(rows, line_end, byte_order_mark, offset)
    assert by_the_letter(content) == rows
    if data.draw(st.booleans()):
        position = data.draw(st.integers(0, len(content)))
        lost = data.draw(st.integers(0, 1))
        added = data.draw(st.sampled_from([b"", *(bytes([byte]) for byte in b'",;\n\r\0 019-+:.xe\xe9\xc3')]))
        content = content[:position] + added + content[position + lost :]
    expected = by_the_letter(content)
    read_bytes = data.draw(st.integers(1, 100))
    with TemporaryDirectory() as folder:
        try:
            found, rejects = read(Path(folder) / "visits.csv", content, read_bytes)
        except BatchError:
            assert expected is None
        else:
            assert (None if rejects else found) == expected
