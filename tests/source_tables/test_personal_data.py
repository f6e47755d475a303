"""Names of buyers are in the source tables and in rejects files, which only their owner may read, and nowhere else."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from dagster import DagsterInstance, materialize
from refreshes import festival_settings, land_plain_batch
from source_tables.landing import Landing, parquet_bytes

from acl_assets.landing_zone.manifest import BatchError
from acl_assets.settings import Settings
from acl_assets.source_tables.assets import source_tables
from acl_assets.source_tables.current_state import REJECTS
from acl_assets.util.refresh_lock import RefreshLock
from acl_assets.warehouse.checks import source_row_counts

NAMES = ["Ada Lovelace", "Grace Hopper", "Björk Þorláksson", "Unnamed: Person"]
WORDS = {"Ada", "Lovelace", "Grace", "Hopper", "Björk", "Þorláksson", "Person"}
ROWS = "".join(f"{number},{name}\n" for number, name in enumerate(NAMES, 1))


def parquet(**columns: pa.Array) -> bytes:
    return parquet_bytes(pa.table(columns))


def not_utf_8() -> pa.Array:
    content = b"Ada \xff Lovelace"
    offsets = pa.array([0, len(content)], pa.int32()).buffers()[1]
    return pa.Array.from_buffers(pa.string(), 1, [None, offsets, pa.py_buffer(content)])


IDS = pa.array([1, 2, 3, 4], pa.int32())
BAD_FILES: dict[str, tuple[str, bytes]] = {
    "no header": ("people.csv", ROWS.encode()),
    "no header and quotes": ("people.csv", b'1,"Lovelace, Ada"\n2,"Hopper, Grace"\n'),
    "no header, names first": ("people.csv", b"Ada Lovelace,1\nGrace Hopper,2\n"),
    "no header, a name alone": ("people.csv", b"Unnamed: Person\nAda Lovelace\n"),
    "no header, an empty field first": ("people.csv", b",Ada Lovelace,1\n,Grace Hopper,2\n"),
    "semicolons without a header": ("people.csv", ROWS.replace(",", ";").encode()),
    "semicolons": ("people.csv", b"id;name\n" + ROWS.replace(",", ";").encode()),
    "semicolons below a header with commas": ("people.csv", b"id,name\n" + ROWS.replace(",", ";").encode()),
    "tabs without a header": ("people.csv", ROWS.replace(",", "\t").encode()),
    "UTF-16": ("people.csv", f"id,name\n{ROWS}".encode("utf-16")),
    "UTF-16 without a byte order mark": ("people.csv", f"id,name\n{ROWS}".encode("utf-16-le")),
    "UTF-16 without a mark and without a header": ("people.csv", ROWS.encode("utf-16-be")),
    "Latin-1": ("people.csv", f"id,name\n{ROWS}".encode("latin-1")),
    "Latin-1 without a header": ("people.csv", "3,Björk Þorláksson\n1,Ada Lovelace\n".encode("latin-1")),
    "Windows-1252 below a header": ("people.csv", "id,name\n3,Björk Þorláksson \u2013 Ada\n".encode("cp1252")),
    "columns shifted by one": ("people.csv", b"id,name\n" + ROWS.replace(",", ",,").encode()),
    "columns swapped": ("people.csv", b"name,id\n" + ROWS.encode()),
    "an unquoted comma": ("people.csv", b"id,name\n1,Lovelace, Ada\n2,Hopper, Grace\n"),
    "a quote fault": ("people.csv", b'id,name\n1,Ada "the" Lovelace\n2,"Grace" Hopper\n'),
    "a quote that is not closed": ("people.csv", b'id,name\n1,"Ada Lovelace\n2,Grace Hopper\n'),
    "a quote fault in the first line": ("people.csv", b'1,"Ada" Lovelace\n2,"Grace Hopper\n'),
    "carriage returns": ("people.csv", ROWS.replace("\n", "\r").encode()),
    "a NUL byte": ("people.csv", b"id,name\n1,Ada\0Lovelace\n"),
    "a NUL byte without a header": ("people.csv", b"1,Ada\0Lovelace\n"),
    "called gzip": ("people.csv.gz", ROWS.encode()),
    "called gzip, a name first": ("people.csv.gz", b"Ada Lovelace\n"),
    "called Zstandard": ("people.csv.zst", b"Ada,1\n"),
    "called Parquet": ("people.parquet", b"Ada,1\n"),
    "called Parquet, and beginning as Parquet does": (
        "people.parquet",
        b"PAR1" + ROWS.encode() * 9 + b"\x99\0\0\0PAR1",
    ),
    "Parquet whose columns are names": ("people.parquet", parquet(**dict.fromkeys(NAMES, IDS))),
    "Parquet with a column called Unnamed": ("people.parquet", parquet(id=IDS, **{"Unnamed: Person": pa.array(NAMES)})),
    "Parquet with names as ids": ("people.parquet", parquet(id=pa.array(NAMES), name=IDS)),
    "Parquet with other columns": ("people.parquet", parquet(id=IDS, full_name=pa.array(NAMES))),
    "Parquet with a structure of names": ("people.parquet", parquet(id=IDS, name=pa.array([{"Ada": 1}] * 4))),
    "Parquet with texts that are not UTF-8": ("people.parquet", parquet(id=IDS[:1], name=not_utf_8())),
    "Parquet with ids that are too large": (
        "people.parquet",
        parquet(id=pa.array([2**40] * 4), name=pa.array(NAMES)),
    ),
    "Parquet that is cut short": ("people.parquet", parquet(id=IDS, name=pa.array(NAMES))[:-40]),
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
    assert words_in(message, *logged, *getattr(raised.value, "__notes__", [])) == set()


def words_in(*texts: str) -> set[str]:
    """Return the parts of names that are in texts, also where they are escaped or in another encoding."""
    text = "\n".join(texts).replace("\\x00", "").replace("\0", "")
    return {
        word
        for word in WORDS
        if word in text or ascii(word)[1:-1] in text or repr(word.encode("latin-1"))[2:-1] in text
    }


def shifted_columns(folder: Path) -> None:
    (folder / "people.csv").write_bytes(b"id,name\n" + ROWS.replace(",", ",,").encode())


def good_rows(folder: Path) -> None:
    (folder / "people.csv").write_bytes(b"id,name\n" + ROWS.encode())


@pytest.mark.parametrize("write", [shifted_columns, good_rows])
def test_a_run_shows_no_name_of_a_buyer(write: Callable[[Path], None], tmp_path: Path) -> None:
    """Logs, errors, check results and metadata are in the event log, which is kept for years."""
    settings = festival_settings(tmp_path / "data")
    write(land_plain_batch(settings))
    with DagsterInstance.ephemeral() as instance:
        result = materialize(
            [source_tables, source_row_counts],
            instance=instance,
            resources={"settings": settings, "refresh_lock": RefreshLock(lock_file=str(settings.refresh_lock_file))},
            raise_on_error=False,
        )
        events = instance.all_logs(result.run_id)
        assert result.success is (write is good_rows)
        assert len(events) > 20
        assert words_in(*(event.to_json() for event in events), *map(str, events)) == set()
    if write is good_rows:
        names = pq.read_table(settings.source_tables_dir / "current" / "people.parquet")["name"].to_pylist()
        assert names == NAMES


def test_only_the_owner_may_read_rejects(tmp_path: Path) -> None:
    people = Landing(tmp_path, "people")
    people.land({"people.csv": b"id,name\nAda Lovelace,1\n"})
    previous = os.umask(0)
    try:
        with pytest.raises(BatchError):
            people.make()
    finally:
        os.umask(previous)
    assert json.loads(people.rejects_file.read_text())["text"] == "Ada Lovelace"
    assert stat.S_IMODE(people.rejects_file.stat().st_mode) == 0o600
    assert stat.S_IMODE(people.rejects_file.parent.stat().st_mode) == 0o700


def test_only_the_owner_may_read_what_a_failed_refresh_leaves(settings: Settings) -> None:
    """It leaves the rejects and the parts of tables that were converted already."""
    land_plain_batch(settings)
    shifted_columns(settings.exports_dir / "first")
    previous = os.umask(0)
    try:
        with DagsterInstance.ephemeral() as instance:
            resources = {"settings": settings, "refresh_lock": RefreshLock(lock_file=str(settings.refresh_lock_file))}
            assert not materialize(
                [source_tables], instance=instance, resources=resources, raise_on_error=False
            ).success
    finally:
        os.umask(previous)
    left = list(settings.source_tables_dir.rglob("*"))
    assert (settings.source_tables_dir / REJECTS / "people.jsonl") in left
    assert any(path.name == "tickets.parquet" for path in left)
    for path in [settings.source_tables_dir, *left]:
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path
