"""CSV files are read exactly or refused, and every flaw is reported with its line.

Each case occurs in real exports, or is one that lenient parsers repair in silence.
"""

import gzip
import re
from datetime import UTC, datetime
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


ACCEPTED_INSTANTS = {
    "2021-10-01 19:30:00+00": "2021-10-01T19:30:00+00:00",
    "2021-10-01T19:30:00Z": "2021-10-01T19:30:00+00:00",
    "2021-10-01 19:30:00+05:30": "2021-10-01T14:00:00+00:00",
    "2021-10-01 19:30:00.123456-05": "2021-10-02T00:30:00.123456+00:00",
    "2021-10-01 19:30:00.5 -0530": "2021-10-02T01:00:00.500000+00:00",
    "2021-10-01 19:30:00 UTC": "2021-10-01T19:30:00+00:00",
    "0001-01-01 00:00:00+00": "0001-01-01T00:00:00+00:00",
    "9999-12-31 23:59:59.999999+00": "9999-12-31T23:59:59.999999+00:00",
}


def test_reads_timestamps_with_any_offset(path: Path) -> None:
    """One value with a space before its offset does not change how the others of the column are read."""
    instants = {text: datetime.fromisoformat(instant) for text, instant in ACCEPTED_INSTANTS.items()}
    for text, instant in instants.items():
        assert read(path, HEADER + f"1,,{text}\n".encode())[0] == [(1, None, instant)]
    body = "".join(f"1,,{text}\n" for text in instants)
    assert read(path, HEADER + body.encode())[0] == [(1, None, instant) for instant in instants.values()]


NUMBERS = ["24.99", "1e2", "0x1F", "1_000", '"1,000"', " 5", "007", '""', "NULL", "٣", "2147483648"]
INSTANTS = ["2021-10-01 19:30:00", "10/01/2021 19:30:00+00", "2021-10-01 19:30:00 GMT", "1633116600"]
INSTANTS += ["2021-10-01 19:30:00.1234567+00", "2021-02-30 19:30:00+00", "2021-10-01 19:30:00+24"]
INSTANTS += ["0001-01-01 00:00:00+05", "12021-10-01 19:30:00+00", "infinity"]


@pytest.mark.parametrize(
    ("column", "line", "texts", "reason"),
    [
        ("id", "{},b,\n", NUMBERS, "is not a whole number of 32 bits in plain digits, such as 25 or -3"),
        ("at", "2,b,{}\n", INSTANTS, "is not an instant of the years 1 to 9999 with an offset from UTC"),
    ],
)
def test_rejects_what_lenient_parsers_change(column: str, line: str, texts: list[str], reason: str, path: Path) -> None:
    """They round 24.99 to 25, read 0x1F as 31, 1e2 as 100 and 1_000 as 1000, and take any time zone."""
    _, rejects = read(path, HEADER + b"1,fine,2021-10-01 19:30:00+00\n" + "".join(map(line.format, texts)).encode())
    found = [(reject.file, reject.line, reject.column, reject.text) for reject in rejects]
    assert found == [("visits.csv", number, column, text.strip('"')) for number, text in enumerate(texts, start=3)]
    assert all(reject.reason.startswith(reason) for reject in rejects)


def test_rejects_texts_that_are_not_utf_8(path: Path) -> None:
    _, rejects = read(path, HEADER + b"1,a,\n2,Ros\xe9,\n")
    assert rejects == [Reject("visits.csv", 3, "name", "Ros\\xe9", "is not UTF-8, or is longer than 1 MiB")]


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


@pytest.mark.parametrize(("line_end", "read_bytes"), [("\n", 1), ("\r\n", 64)])
def test_reports_the_line_on_which_a_record_starts(line_end: str, read_bytes: int, path: Path) -> None:
    """Lines are counted as an editor counts them: a record can span several, and its first one is reported."""
    lines = ["id,name,at", '1,"a', "b", '",', "2,c,", "x,d,", '3,"""', '",', "x,y,e,", "4,,", "5,,now", "x,,y"]
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
    for longer in (name + "x", "x" * 3 * MOST_RECORD_BYTES):
        _, rejects = read(path, HEADER + f'1,a,\n2,"{longer}",\n'.encode(), 100_000)
        assert rejects[0].line == 3
        assert "1 MiB" in rejects[0].reason


REFUSED_HEADERS: dict[str, tuple[bytes, str]] = {
    "an empty file": (b"", "found: an empty file"),
    "a misspelt column": (b"id,nmae,at\n", "unknown 'nmae' (did you mean 'name'?)"),
    "an absent column, one twice": (b"id,name,name\n", "found: missing 'at'; 'name' twice"),
    "the index of pandas": (b",id,name,at\n0,1,a,\n", "(an index that pandas wrote: export with index=False)"),
    "carriage returns alone": (b"id,name,at\r1,a,\r", "must begin with a header"),
    "an endless line": (b"id," * MOST_RECORD_BYTES, "'id' twice"),
    "gzip called CSV": (gzip.compress(HEADER), "found: gzip data"),
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


@pytest.mark.parametrize("suffix", COMPRESSIONS)
def test_reads_compressed_files_of_several_parts(suffix: str, path: Path) -> None:
    content = COMPRESSIONS[suffix](PLAIN[:50_000]) + COMPRESSIONS[suffix](PLAIN[50_000:])
    assert read(path.with_name(f"visits.csv{suffix}"), content) == read(path, PLAIN)


@pytest.mark.parametrize("suffix", COMPRESSIONS)
def test_refuses_damaged_compressed_data(suffix: str, tmp_path: Path) -> None:
    """A copy that broke off can end at a line end: only the compressed stream shows it."""
    whole = COMPRESSIONS[suffix](PLAIN)
    for content in (whole[:-1], whole + b"and more", PLAIN):
        with pytest.raises(BatchError, match="cut short, damaged or not what its name says"):
            read(tmp_path / f"visits.csv{suffix}", content)


# Any table ------------------------------------------------------------------------------------------------------

TEXTS_OF_ANY_KIND = st.text(st.sampled_from("ab,\"'\n\r 0é音") | st.characters(codec="utf-8", exclude_characters="\0"))
ROWS_OF_ANY_KIND = st.lists(
    st.tuples(
        st.none() | st.integers(-(2**31), 2**31 - 1),
        st.none() | TEXTS_OF_ANY_KIND,
        st.none() | st.datetimes(datetime(2, 1, 1), datetime(9998, 1, 1), timezones=st.just(UTC)),
    ),
    max_size=6,
)


def field(value: object) -> str:
    """Return a value as it stands in a CSV file, texts in quotes."""
    if isinstance(value, str):
        return '"' + value.replace('"', '""') + '"'
    return "" if value is None else str(value)


@settings(deadline=None)
@given(ROWS_OF_ANY_KIND, st.sampled_from(["\n", "\r\n"]), st.integers(1, 100))
def test_reads_any_rows_as_they_were_written(rows: list[Row], line_end: str, read_bytes: int) -> None:
    """Wherever the pieces of the file end."""
    lines = ["id,name,at", *(",".join(map(field, row)) for row in rows)]
    with TemporaryDirectory() as folder:
        content = "".join(line + line_end for line in lines).encode()
        assert read(Path(folder) / "visits.csv", content, read_bytes) == (rows, [])
