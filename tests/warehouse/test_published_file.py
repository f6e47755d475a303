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
    published_digest,
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


def cut_by(size: int) -> Callable[[Path], None]:
    return lambda file: os.truncate(file, file.stat().st_size - size)


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


DAMAGES: dict[str, Callable[[Path], object]] = {
    "cut in half": lambda file: os.truncate(file, file.stat().st_size // 2),
    "cut by a block": cut_by(1 << 18),
    "cut by some bytes": cut_by(100),
    "emptied": lambda file: os.truncate(file, 0),
    "overwritten": lambda file: file.write_bytes(os.urandom(100_000)),
    "of another version": of_another_version,
    "without publication": without_publication,
    "replaced by a folder": replaced_by_a_folder,
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_named(settings: Settings, published_file: Path, damage: str) -> None:
    assert published_damage(settings) is None
    assert read_published_digest(settings) == "digest"
    DAMAGES[damage](published_file)
    message = published_damage(settings)
    assert message is not None
    assert message.startswith(f"The published file {published_file} cannot be read: ")
    assert message.endswith("Run the job refresh, which replaces it.")
    assert "\n" not in message
    assert published_digest(settings) is None


def test_missing_file_is_no_damage(settings: Settings) -> None:
    assert published_damage(settings) is None
    with pytest.raises(PublishedFileError, match="There is no published file"), open_published(settings):
        pass
