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
)


def of_another_version(file: Path) -> None:
    with file.open("r+b") as stream:
        stream.seek(12)
        stream.write((9999).to_bytes(8, "little"))


def without_publication(file: Path) -> None:
    with duckdb.connect(str(file)) as connection:
        connection.execute("drop schema publication cascade")


DAMAGES: dict[str, Callable[[Path], object]] = {
    "cut by some bytes": lambda file: os.truncate(file, file.stat().st_size - 100),
    "cut in half": lambda file: os.truncate(file, file.stat().st_size // 2),
    "emptied": lambda file: os.truncate(file, 0),
    "overwritten": lambda file: file.write_bytes(os.urandom(100_000)),
    "of another version": of_another_version,
    "without publication": without_publication,
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_named(settings: Settings, damage: str) -> None:
    file = settings.published_file
    file.parent.mkdir(parents=True)
    with duckdb.connect(str(file)) as connection:
        connection.execute("create table sales as select range as id, random() as price from range(300_000)")
        connection.execute("create schema publication")
        connection.execute("create table publication.publications as select 'digest' as state_digest")
    assert (published_damage(settings), published_digest(settings)) == (None, "digest")
    DAMAGES[damage](file)
    message = str(published_damage(settings))
    assert message.startswith(f"The published file {file} cannot be read: ")
    assert message.endswith("Run the job refresh, which replaces it.")
    assert "\n" not in message
    assert published_digest(settings) is None


def test_missing_file_is_no_damage(settings: Settings) -> None:
    assert published_damage(settings) is None
    with pytest.raises(PublishedFileError, match="There is no published file"), open_published(settings):
        pass
