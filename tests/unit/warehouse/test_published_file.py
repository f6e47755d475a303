"""A published file that is missing, damaged or no warehouse is named, with what to do about it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest

from acl_assets.settings import Settings
from acl_assets.warehouse.published_file import PublishedFileError, read_published_digest


def without_publication(file: Path) -> None:
    with duckdb.connect(str(file)) as connection:
        connection.execute("drop schema publication cascade")


DAMAGES: dict[str, Callable[[Path], object]] = {
    "cut by some bytes": lambda file: os.truncate(file, file.stat().st_size - 100),
    "overwritten": lambda file: file.write_bytes(os.urandom(100_000)),
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
    assert read_published_digest(settings) == "digest"
    DAMAGES[damage](file)
    with pytest.raises(PublishedFileError) as raised:
        read_published_digest(settings)
    message = str(raised.value)
    assert message.startswith(f"The published file {file} cannot be read: ")
    assert message.endswith("Run the job refresh, which replaces it.")
    assert "\n" not in message


def test_missing_file_is_named(settings: Settings) -> None:
    with pytest.raises(PublishedFileError, match=f"There is no published file {settings.published_file}"):
        read_published_digest(settings)
