"""The source tables on disk: one folder per batch chain, switched at once, made again when damaged, removed in time."""

from __future__ import annotations

import os
import shutil
import stat
import threading
from collections.abc import Callable, Iterable
from datetime import timedelta
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from refreshes import LATER, copy_installation, festival_settings, land_batch, land_increment

from acl_assets.landing_zone.batches import BatchChain, list_batches, resolve_chain
from acl_assets.landing_zone.store import landing_zone_at
from acl_assets.settings import Settings
from acl_assets.source_schema import SOURCE_TABLES
from acl_assets.source_tables.chain_conversion import convert_chain
from acl_assets.source_tables.current_state import (
    CHAIN_FILE,
    EXPORT_BATCHES,
    ConvertedChain,
    DamagedStateError,
    read_current,
    switch_current,
)

pytestmark = pytest.mark.slow

TABLES = (*SOURCE_TABLES, EXPORT_BATCHES)


def newest_chain(settings: Settings) -> BatchChain:
    return resolve_chain(list_batches(landing_zone_at(settings.exports_dir), settings.settle_seconds))


def convert(settings: Settings) -> tuple[ConvertedChain, list[str]]:
    """Convert the newest chain of the landing zone; return what is current now, and what was logged."""
    messages: list[str] = []
    return convert_chain(settings, newest_chain(settings), log=messages.append), messages


def current_folder(settings: Settings) -> Path:
    return (settings.source_tables_dir / "current").resolve()


def rows_of(settings: Settings) -> dict[str, list[dict[str, object]]]:
    """Return the rows of all current tables."""
    return {table: pq.read_table(current_folder(settings) / f"{table}.parquet").to_pylist() for table in TABLES}


@pytest.fixture(scope="module")
def converted_template(first_batch: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data of an installation whose batch `first` is converted, to be copied."""
    settings = festival_settings(tmp_path_factory.mktemp("converted") / "data")
    shutil.copytree(first_batch, settings.exports_dir / "first")
    convert(settings)
    return settings.data_dir


@pytest.fixture
def converted(settings: Settings, converted_template: Path) -> Settings:
    """An installation whose batch `first` is converted and current."""
    copy_installation(converted_template, settings.data_dir)
    return settings


# Folders --------------------------------------------------------------------------------------------------------


def test_current_has_one_file_per_table(converted: Settings) -> None:
    """Both engines read `current/<table>.parquet`."""
    assert current_folder(converted) == converted.source_tables_dir / newest_chain(converted).digest
    assert {path.name for path in current_folder(converted).iterdir()} == {
        CHAIN_FILE,
        *(f"{table}.parquet" for table in TABLES),
    }


def test_current_describes_its_batches_and_tables(converted: Settings) -> None:
    chain, batch = read_current(converted.source_tables_dir), newest_chain(converted).newest
    assert chain.digest == newest_chain(converted).digest
    assert chain.batch_digests == (("first", batch.digest),)
    for table in TABLES:
        file = current_folder(converted) / f"{table}.parquet"
        assert (chain.tables[table].rows, chain.tables[table].bytes) == (
            pq.read_metadata(file).num_rows,
            file.stat().st_size,
        )
    prices = pq.read_table(current_folder(converted) / "tickets.parquet")["price"].to_pylist()
    assert chain.tables["tickets"].sums["price"] == sum(prices)
    assert chain.newest.tables["tickets"].rows_by_file() == {"tickets.parquet": len(prices)}
    assert chain.newest.tables["tickets"].rows_at_source == len(prices)


def test_a_switch_shows_one_chain_or_the_other(converted: Settings) -> None:
    """A reader during the switch sees all tables of one chain."""
    first = current_folder(converted)
    land_batch(converted, "second", exported_at=LATER, seed=21)
    convert(converted)
    second = current_folder(converted)
    seen: set[Path | None] = set()
    done = threading.Event()

    def look() -> None:
        while not done.is_set():
            try:
                seen.add(converted.source_tables_dir / os.readlink(converted.source_tables_dir / "current"))
            except FileNotFoundError:
                seen.add(None)

    watcher = threading.Thread(target=look)
    watcher.start()
    for _ in range(100):
        switch_current(converted.source_tables_dir, first)
        switch_current(converted.source_tables_dir, second)
    done.set()
    watcher.join()
    assert seen <= {first, second}


def test_the_previous_tables_are_kept_and_older_ones_removed(converted: Settings) -> None:
    """Nightly exports must not pile up; the landing zone still holds the batches."""
    folders = [current_folder(converted).name]
    for number, batch in enumerate(("second", "third"), 1):
        land_batch(converted, batch, exported_at=LATER + timedelta(days=number), seed=20 + number)
        convert(converted)
        folders.append(current_folder(converted).name)
    assert {path.name for path in converted.source_tables_dir.iterdir()} == {"current", *folders[1:]}
    assert (converted.exports_dir / "first" / "manifest.json").exists()


def test_a_refresh_without_a_new_batch_keeps_the_previous_tables(converted: Settings) -> None:
    """A bad batch that is taken out of the landing zone needs no new conversion of the one before."""
    first = current_folder(converted)
    land_batch(converted, "second", exported_at=LATER, seed=21)
    convert(converted)
    convert(converted)
    shutil.rmtree(converted.exports_dir / "second")
    inode = (first / "tickets.parquet").stat().st_ino
    convert(converted)
    assert current_folder(converted) == first
    assert (first / "tickets.parquet").stat().st_ino == inode


def test_an_increment_links_the_tables_that_did_not_change(converted: Settings) -> None:
    first = current_folder(converted)
    land_increment(converted)
    convert(converted)
    second = current_folder(converted)
    assert first != second
    linked = {table for table in SOURCE_TABLES if (second / f"{table}.parquet").samefile(first / f"{table}.parquet")}
    changed = {table for table in SOURCE_TABLES if newest_chain(converted).newest.tables[table].rows}
    assert linked == set(SOURCE_TABLES) - changed
    assert "tickets" in changed
    assert "venues" in linked


def test_a_batch_that_landed_again_under_its_name_is_converted_again(converted: Settings) -> None:
    manifest = converted.exports_dir / "first" / "manifest.json"
    manifest.write_text(manifest.read_text() + "\n")
    before = current_folder(converted)
    _, messages = convert(converted)
    assert current_folder(converted) != before
    assert any(message.startswith("tickets: ") for message in messages)


# Damage ---------------------------------------------------------------------------------------------------------


def cut(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


def other_format(file: Path) -> None:
    text = file.read_text()
    assert '"format": 1' in text
    file.write_text(text.replace('"format": 1', '"format": 2'))


def other_table(file: Path) -> None:
    """Replace a table file by one of as many bytes that lacks a row."""
    rows, size = pq.read_table(file).slice(1), file.stat().st_size
    for padding in range(1, size):
        with pq.ParquetWriter(file, rows.schema, compression="zstd", store_schema=False) as writer:
            writer.write_table(rows)
            writer.add_key_value_metadata({"padding": "x" * padding})
        if file.stat().st_size == size:
            return
    raise AssertionError("no padding makes the file as large as it was")


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "the description is empty": (lambda file: file.write_bytes(b""), CHAIN_FILE),
    "the description is cut short": (cut, CHAIN_FILE),
    "the description has another format": (other_format, CHAIN_FILE),
    "a table is cut short": (cut, "tickets.parquet"),
    "a table has other rows": (other_table, "venues.parquet"),
    "a table is missing": (lambda file: file.unlink(), "people.parquet"),
}


@pytest.mark.parametrize(("damage", "name"), DAMAGES.values(), ids=DAMAGES)
def test_damaged_tables_are_made_again_and_logged(
    damage: Callable[[Path], object], name: str, converted: Settings
) -> None:
    rows, before = rows_of(converted), read_current(converted.source_tables_dir)
    file = current_folder(converted) / name
    damage(file)
    with pytest.raises(DamagedStateError, match=name):
        read_current(converted.source_tables_dir)
    after, messages = convert(converted)
    assert [message for message in messages if str(file) in message and "made again" in message]
    assert after == before == read_current(converted.source_tables_dir)
    assert rows_of(converted) == rows
    assert not [message for message in convert(converted)[1] if "made again" in message]


LOSSES: dict[str, Callable[[Path], object]] = {
    "everything": shutil.rmtree,
    "the link": lambda folder: (folder / "current").unlink(),
    "the folder the link points to": lambda folder: shutil.rmtree((folder / "current").resolve()),
}


@pytest.mark.parametrize("lose", LOSSES.values(), ids=LOSSES)
def test_lost_tables_are_made_again(lose: Callable[[Path], object], converted: Settings) -> None:
    rows, before = rows_of(converted), read_current(converted.source_tables_dir)
    lose(converted.source_tables_dir)
    with pytest.raises(DamagedStateError, match="There are no source tables"):
        read_current(converted.source_tables_dir)
    assert convert(converted)[0] == before
    assert rows_of(converted) == rows


def test_damaged_tables_of_an_increment_are_made_again_from_the_full_batch(converted: Settings) -> None:
    first = current_folder(converted)
    land_increment(converted)
    before, _ = convert(converted)
    rows = {table: sorted(map(repr, found)) for table, found in rows_of(converted).items()}
    cut(current_folder(converted) / "tickets.parquet")
    cut(first / "tickets.parquet")
    after, messages = convert(converted)
    assert sum("made again" in message for message in messages) == 2
    assert after.batch_digests == before.batch_digests
    assert {name: (table.rows, table.sums) for name, table in after.tables.items()} == {
        name: (table.rows, table.sums) for name, table in before.tables.items()
    }
    assert {table: sorted(map(repr, found)) for table, found in rows_of(converted).items()} == rows


def test_what_a_killed_refresh_left_is_removed(converted: Settings) -> None:
    """It leaves half a folder of tables, parts of a table, and a link that is not in use yet."""
    land_batch(converted, "second", exported_at=LATER, seed=21)
    digest = newest_chain(converted).digest
    for name in (digest, "0" * 64):
        unfinished = converted.source_tables_dir / f"{name}.unfinished"
        (unfinished / "tickets.parts").mkdir(parents=True)
        (unfinished / "tickets.parts" / "0.parquet").write_bytes(b"half a file")
        (unfinished / "bands.parquet").write_bytes(b"half a file")
    (converted.source_tables_dir / "current.unfinished").symlink_to("nowhere")
    convert(converted)
    assert current_folder(converted).name == digest
    assert len(list(converted.source_tables_dir.iterdir())) == 3
    assert len(list(current_folder(converted).iterdir())) == len(TABLES) + 1


def test_tables_of_an_earlier_version_are_replaced(landed: Settings) -> None:
    """It had a folder per table with one file per batch, and a folder of links per state."""
    folder = landed.source_tables_dir
    state = folder / "states" / newest_chain(landed).digest
    for table in TABLES:
        (folder / table / "compacted").mkdir(parents=True)
        (folder / table / "first.parquet").write_bytes(b"PAR1")
        (state / table).mkdir(parents=True)
        (state / table / "00000-first.parquet").symlink_to(f"../../../{table}/first.parquet")
    (folder / "current").symlink_to(f"states/{state.name}")
    (folder / "fetched").mkdir()
    with pytest.raises(DamagedStateError):
        read_current(folder)
    chain, _ = convert(landed)
    assert {path.name for path in folder.iterdir()} == {"current", chain.digest}
    assert chain.tables["tickets"].rows == pq.read_metadata(landed.exports_dir / "first" / "tickets.parquet").num_rows


# Permissions ----------------------------------------------------------------------------------------------------


def test_only_the_owner_may_read_source_tables(landed: Settings) -> None:
    """They hold names of people."""
    land_increment(landed)
    previous = os.umask(0)
    try:
        convert(landed)
    finally:
        os.umask(previous)
    folder = landed.source_tables_dir
    assert modes([folder, current_folder(landed)]) == {0o700}
    assert modes(current_folder(landed).iterdir()) == {0o600}


def test_the_folder_of_an_earlier_version_is_closed_to_others(landed: Settings) -> None:
    landed.source_tables_dir.mkdir(parents=True)
    landed.source_tables_dir.chmod(0o755)
    convert(landed)
    assert modes([landed.source_tables_dir]) == {0o700}


def modes(paths: Iterable[Path]) -> set[int]:
    return {stat.S_IMODE(path.lstat().st_mode) for path in paths}
