"""The source tables on disk: one folder per batch chain, switched at once, made again when damaged, removed in time."""

from __future__ import annotations

import os
import shutil
import stat
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from refreshes import LATER, copy_installation, festival_settings, land_batch, land_increment
from source_tables.landing import convert, newest_chain

from acl_assets.settings import Settings
from acl_assets.source_schema import SOURCE_TABLES
from acl_assets.source_tables.current_state import (
    CHAIN_FILE,
    EXPORT_BATCHES,
    DamagedStateError,
    read_current,
    switch_current,
)

pytestmark = pytest.mark.slow

TABLES = (*SOURCE_TABLES, EXPORT_BATCHES)


def current_folder(settings: Settings) -> Path:
    return (settings.source_tables_dir / "current").resolve()


def rows_of(settings: Settings) -> dict[str, list[str]]:
    """Return the rows of all current tables, in any order."""
    return {
        table: sorted(map(repr, pq.read_table(current_folder(settings) / f"{table}.parquet").to_pylist()))
        for table in TABLES
    }


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


def test_current_describes_its_batches_and_its_one_file_per_table(converted: Settings) -> None:
    chain, batch, folder = (
        read_current(converted.source_tables_dir),
        newest_chain(converted).newest,
        current_folder(converted),
    )
    assert folder == converted.source_tables_dir / newest_chain(converted).digest
    assert {path.name for path in folder.iterdir()} == {CHAIN_FILE, *(f"{table}.parquet" for table in TABLES)}
    assert [(one.batch_id, one.digest) for one in chain.batches] == [("first", batch.digest)]
    for table in TABLES:
        file = folder / f"{table}.parquet"
        assert (chain.tables[table].rows, chain.tables[table].bytes) == (
            pq.read_metadata(file).num_rows,
            file.stat().st_size,
        )
    prices = pq.read_table(folder / "tickets.parquet")["price"].to_pylist()
    assert chain.tables["tickets"].sums["price"] == sum(prices)
    assert chain.newest.rows_by_file["tickets"] == {"tickets.parquet": len(prices)}
    assert chain.newest.tables == batch.tables


def test_a_switch_shows_one_chain_or_the_other(converted: Settings) -> None:
    """A reader during the switch sees all tables of one chain."""
    names, link = ("1" * 64, "2" * 64), converted.source_tables_dir / "current"
    switch_current(converted.source_tables_dir, converted.source_tables_dir / names[0])
    seen: set[str] = set()
    done = threading.Event()

    def look() -> None:
        while not done.is_set():
            seen.add(os.readlink(link))

    watcher = threading.Thread(target=look)
    watcher.start()
    for name in names * 100:
        switch_current(converted.source_tables_dir, converted.source_tables_dir / name)
    done.set()
    watcher.join()
    assert link.readlink() == Path(names[1])
    assert seen <= set(names)


def test_the_previous_tables_are_kept_and_older_ones_removed(converted: Settings) -> None:
    """Nightly exports do not pile up, and a bad batch that is taken out needs no new conversion of the one before."""
    folders = [current_folder(converted)]
    for number, batch in enumerate(("second", "third"), 1):
        land_batch(converted, batch, exported_at=LATER + timedelta(days=number), seed=20 + number)
        convert(converted)
        folders.append(current_folder(converted))
    convert(converted)
    assert set(converted.source_tables_dir.iterdir()) == {converted.source_tables_dir / "current", *folders[1:]}
    shutil.rmtree(converted.exports_dir / "third")
    inode = (folders[1] / "tickets.parquet").stat().st_ino
    convert(converted)
    assert current_folder(converted) == folders[1]
    assert (folders[1] / "tickets.parquet").stat().st_ino == inode


def test_an_increment_links_the_tables_that_did_not_change(converted: Settings) -> None:
    """Only the owner may read the new files: they hold names of people."""
    first = current_folder(converted)
    land_increment(converted)
    previous = os.umask(0)
    try:
        convert(converted)
    finally:
        os.umask(previous)
    second = current_folder(converted)
    linked = {table for table in SOURCE_TABLES if (second / f"{table}.parquet").samefile(first / f"{table}.parquet")}
    changed = {table for table in SOURCE_TABLES if newest_chain(converted).newest.tables[table].rows}
    assert linked == set(SOURCE_TABLES) - changed
    assert "tickets" in changed
    assert "venues" in linked
    for path in (converted.source_tables_dir, *second.parent.rglob("*")):
        assert path.is_symlink() or stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


# Damage ---------------------------------------------------------------------------------------------------------


def cut(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "the description is cut short": (cut, CHAIN_FILE),
    "a table is cut short": (cut, "tickets.parquet"),
    "a table is another one": (lambda file: shutil.copy(file.with_name("bands.parquet"), file), "venues.parquet"),
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


def test_lost_tables_are_made_again(converted: Settings) -> None:
    rows, before = rows_of(converted), read_current(converted.source_tables_dir)
    for lose in LOSSES.values():
        lose(converted.source_tables_dir)
        with pytest.raises(DamagedStateError, match="There are no source tables"):
            read_current(converted.source_tables_dir)
        assert convert(converted)[0] == before
    assert rows_of(converted) == rows


def test_damaged_tables_of_an_increment_are_made_again_from_the_full_batch(
    converted: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tables that do not change are copied where the file system has no links."""

    def refuse(*_arguments: object) -> None:
        raise PermissionError("Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    first = current_folder(converted)
    land_increment(converted)
    before, _ = convert(converted)
    rows = rows_of(converted)
    assert not (first / "venues.parquet").samefile(current_folder(converted) / "venues.parquet")
    for folder in (current_folder(converted), first):
        cut(folder / "tickets.parquet")
    after, messages = convert(converted)
    assert sum("made again" in message for message in messages) == 2
    assert after.batches == before.batches
    assert rows_of(converted) == rows


def test_what_a_killed_refresh_or_an_earlier_version_left_is_removed(converted: Settings) -> None:
    """Half a folder of tables, parts of a table, a link that is not in use yet, an open folder."""
    folder = converted.source_tables_dir
    land_batch(converted, "second", exported_at=LATER, seed=21)
    digest = newest_chain(converted).digest
    for name in (digest, "0" * 64):
        (folder / f"{name}.unfinished" / "tickets.parts").mkdir(parents=True)
        (folder / f"{name}.unfinished" / "tickets.parts" / "0.parquet").write_bytes(b"half a file")
        (folder / f"{name}.unfinished" / "bands.parquet").write_bytes(b"half a file")
    (folder / "current.unfinished").symlink_to("nowhere")
    (folder / "states" / digest).mkdir(parents=True)
    folder.chmod(0o755)
    first = current_folder(converted)
    convert(converted)
    assert set(folder.iterdir()) == {folder / "current", first, folder / digest}
    assert len(list(current_folder(converted).iterdir())) == len(TABLES) + 1
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
