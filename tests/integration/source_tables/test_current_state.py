"""The source tables on disk: one folder per batch chain, switched at once, made again when damaged, removed in time."""

import os
import shutil
import stat
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from unittest.mock import Mock

import pyarrow.parquet as pq
import pytest
from landing_zones import chain_at
from refreshes import LATER, copy_installation, festival_settings, land_batch, land_increment, sha256
from source_tables.landing import convert

from acl_assets.settings import Settings
from acl_assets.source_schema import SOURCE_TABLES
from acl_assets.source_tables.current_state import (
    CHAIN_FILE,
    DamagedStateError,
    begin_folder,
    folder_files,
    read_current,
    switch_current,
)

pytestmark = pytest.mark.slow


def current_folder(settings: Settings) -> Path:
    return (settings.source_tables_dir / "current").resolve()


def rows_of(settings: Settings) -> dict[str, list[str]]:
    """Return the rows of all current tables, in any order."""
    return {
        table: sorted(map(repr, pq.read_table(current_folder(settings) / f"{table}.parquet").to_pylist()))
        for table in SOURCE_TABLES
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
    chain, wanted = read_current(converted.source_tables_dir), chain_at(converted.exports_dir)
    folder = current_folder(converted)
    assert folder == converted.source_tables_dir / wanted.digest
    assert {path.name for path in folder.iterdir()} == set(folder_files())
    assert chain.newest.tables == wanted.newest.tables
    prices = pq.read_table(folder / "tickets.parquet")["price"].to_pylist()
    assert (chain.tables["tickets"].rows, chain.tables["tickets"].sums["price"]) == (len(prices), sum(prices))
    assert chain.newest.rows_by_file["tickets"] == {"tickets.parquet": len(prices)}


def test_a_switch_shows_one_chain_or_the_other(converted: Settings) -> None:
    """A reader during the switch sees all tables of one chain."""
    names, link = ("1" * 64, "2" * 64), converted.source_tables_dir / "current"
    switch_current(converted.source_tables_dir, converted.source_tables_dir / names[0])

    def switch() -> None:
        for name in names * 100:
            switch_current(converted.source_tables_dir, converted.source_tables_dir / name)

    seen: set[str] = set()
    switching = threading.Thread(target=switch)
    switching.start()
    while switching.is_alive():
        seen.add(os.readlink(link))
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
    first = current_folder(converted)
    tickets = sha256(first / "tickets.parquet")
    land_increment(converted)
    convert(converted)
    second = current_folder(converted)
    assert sha256(first / "tickets.parquet") == tickets
    linked = {table for table in SOURCE_TABLES if (second / f"{table}.parquet").samefile(first / f"{table}.parquet")}
    changed = {table for table in SOURCE_TABLES if chain_at(converted.exports_dir).newest.tables[table].rows}
    assert linked == set(SOURCE_TABLES) - changed
    assert "tickets" in changed
    assert "venues" in linked


# Damage ---------------------------------------------------------------------------------------------------------


DAMAGES: dict[str, Callable[[Path], object]] = {
    CHAIN_FILE: lambda file: os.truncate(file, file.stat().st_size // 2),
    "tickets.parquet": lambda file: os.truncate(file, file.stat().st_size // 2),
    "venues.parquet": lambda file: shutil.copy(file.with_name("bands.parquet"), file),
    "people.parquet": Path.unlink,
    "no source tables": lambda file: shutil.rmtree(file.parent),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_damaged_or_lost_tables_are_made_again(name: str, converted: Settings) -> None:
    rows, before = rows_of(converted), read_current(converted.source_tables_dir)
    DAMAGES[name](current_folder(converted) / name)
    with pytest.raises(DamagedStateError, match=name):
        read_current(converted.source_tables_dir)
    after, messages = convert(converted)
    assert any("made again" in message for message in messages) is (name != "no source tables")
    assert after == before == read_current(converted.source_tables_dir)
    assert rows_of(converted) == rows


def test_damaged_tables_of_an_increment_are_made_again_from_the_full_batch(
    converted: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tables that do not change are copied where the file system has no links."""
    monkeypatch.setattr(os, "link", Mock(side_effect=PermissionError("Operation not permitted")))
    first = current_folder(converted)
    land_increment(converted)
    before, _ = convert(converted)
    rows = rows_of(converted)
    assert not (first / "venues.parquet").samefile(current_folder(converted) / "venues.parquet")
    for folder in (current_folder(converted), first):
        (folder / "tickets.parquet").unlink()
    after, messages = convert(converted)
    assert sum("made again" in message for message in messages) == 2
    assert after.batches == before.batches
    assert rows_of(converted) == rows


def test_only_the_last_of_several_failed_conversions_leaves_files(tmp_path: Path) -> None:
    """On a full disk each would leave less room to the next one."""
    for digest in ("first", "second"):
        begin_folder(tmp_path, digest)
    assert [path.name for path in tmp_path.iterdir()] == ["second.unfinished"]


def test_what_a_killed_refresh_or_a_copy_left_is_removed(converted: Settings) -> None:
    """Half a folder of tables, a link that is not in use yet, an open folder; a folder where the copy had a link."""
    folder, first = converted.source_tables_dir, current_folder(converted)
    (folder / "current").unlink()
    shutil.copytree(first, folder / "current")
    land_batch(converted, "second", exported_at=LATER, seed=21)
    digest = chain_at(converted.exports_dir).digest
    for name in (digest, "0" * 64):
        (folder / f"{name}.unfinished" / "tickets.parts").mkdir(parents=True)
        (folder / f"{name}.unfinished" / "bands.parquet").write_bytes(b"half a file")
    (folder / "current.unfinished").symlink_to("nowhere")
    folder.chmod(0o755)
    convert(converted)
    assert set(folder.iterdir()) == {folder / "current", folder / digest}
    assert {path.name for path in current_folder(converted).iterdir()} == set(folder_files())
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
