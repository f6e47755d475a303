"""Names of buyers are in the source tables and in rejects files, which only their owner may read, and nowhere else."""

import stat
from pathlib import Path

import pyarrow as pa
import pytest
from source_tables.landing import BUYERS, Landing, names_in, parquet_bytes

from acl_assets.landing_zone.manifest import BatchError

ROWS = "".join(f"{number},{name}\n" for number, name in enumerate(BUYERS, 1))


def parquet(**columns: pa.Array) -> bytes:
    return parquet_bytes(pa.table(columns))


def not_utf_8() -> pa.Array:
    content = b"Ada \xff Lovelace"
    offsets = pa.array([0, len(content)], pa.int32()).buffers()[1]
    return pa.Array.from_buffers(pa.string(), 1, [None, offsets, pa.py_buffer(content)])


IDS = pa.array([1, 2, 3, 4], pa.int32())
BAD_FILES: dict[str, tuple[str, bytes]] = {
    "no header, an empty field first": ("people.csv", b",Ada Lovelace,1\n,Grace Hopper,2\n"),
    "UTF-16 without a mark and without a header": ("people.csv", ROWS.encode("utf-16-be")),
    "Latin-1": ("people.csv", f"id,name\n{ROWS}".encode("latin-1")),
    "columns shifted by one": ("people.csv", b"id,name\n" + ROWS.replace(",", ",,").encode()),
    "a quote fault in the first line": ("people.csv", b'1,"Ada" Lovelace\n2,"Grace Hopper\n'),
    "beginning and ending as Parquet does": ("people.parquet", b"PAR1" + ROWS.encode() * 9 + b"\x99\0\0\0PAR1"),
    "Parquet whose columns are names": ("people.parquet", parquet(**dict.fromkeys(BUYERS, IDS))),
    "Parquet with a structure of names": ("people.parquet", parquet(id=IDS, name=pa.array([{"Ada": 1}] * 4))),
    "Parquet with texts that are not UTF-8": ("people.parquet", parquet(id=IDS[:1], name=not_utf_8())),
}


@pytest.mark.parametrize(("name", "content"), BAD_FILES.values(), ids=BAD_FILES)
def test_errors_about_people_show_no_name(name: str, content: bytes, tmp_path: Path) -> None:
    """The error says what is wrong and where; the names are in the rejects file, if anywhere."""
    people = Landing(tmp_path, "people")
    people.land({name: content})
    logged: list[str] = []
    with pytest.raises(BatchError) as raised:
        people.make(log=logged.append)
    message = str(raised.value)
    assert name in message
    assert names_in(message, *logged, *getattr(raised.value, "__notes__", [])) == set()
    if people.rejects_file.exists():
        assert stat.S_IMODE(people.rejects_file.stat().st_mode) == 0o600
        assert stat.S_IMODE(people.rejects_file.parent.stat().st_mode) == 0o700
