"""A published file that is missing, damaged or no warehouse is named, with what to do about it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest

from acl_assets.settings import Settings
from acl_assets.warehouse.published_file import (
    PublishedFileError,
    open_published,
    published_damage,
    read_published_digest,
)


@pytest.fixture
def published_file(settings: Settings) -> Path:
    """A published file of some megabytes."""
    file = settings.published_file
    file.parent.mkdir(parents=True)
    with duckdb.connect(str(file)) as connection:
        connection.execute("create table sales as select range as id, random() as price from range(300_000)")
        connection.execute("create schema publication")
        connection.execute("create table publication.publications as select 'digest' as state_digest")
    return file


def cut_in_half(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


def cut_by_a_block(file: Path) -> None:
    os.truncate(file, file.stat().st_size - (1 << 18))


def cut_by_some_bytes(file: Path) -> None:
    os.truncate(file, file.stat().st_size - 100)


def emptied(file: Path) -> None:
    os.truncate(file, 0)


def overwritten(file: Path) -> None:
    file.write_bytes(os.urandom(100_000))


def of_another_version(file: Path) -> None:
    with file.open("r+b") as stream:
        stream.seek(12)
        stream.write((9999).to_bytes(8, "little"))


def without_publication(file: Path) -> None:
    with duckdb.connect(str(file)) as connection:
        connection.execute("drop schema publication cascade")


def replaced_by_a_folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


DAMAGES = [
    cut_in_half, cut_by_a_block, cut_by_some_bytes, emptied, overwritten, of_another_version, without_publication,
]  # fmt: skip


@pytest.mark.parametrize("damage", [*DAMAGES, replaced_by_a_folder], ids=lambda damage: damage.__name__)
def test_damage_is_named(settings: Settings, published_file: Path, damage: Callable[[Path], None]) -> None:
    assert published_damage(settings) is None
    assert read_published_digest(settings) == "digest"
    damage(published_file)
    said = published_damage(settings)
    assert said is not None
    assert said.startswith(f"The published file {published_file} cannot be read: ")
    assert said.endswith("Run the job refresh, which replaces it.")
    assert "\n" not in said


def test_missing_file_is_no_damage(settings: Settings) -> None:
    assert published_damage(settings) is None
    with pytest.raises(PublishedFileError, match="There is no published file"), open_published(settings):
        pass
