"""A published file that is missing or damaged is named, with what to do about it."""

import os
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest

from acl_assets.settings import Settings
from acl_assets.warehouse.published_file import PublishedFileError, read_published_digest


@pytest.mark.parametrize(
    "damage",
    [
        lambda file: os.truncate(file, file.stat().st_size - 100),
        lambda file: file.write_bytes(os.urandom(100_000)),
    ],
    ids=["cut by some bytes", "overwritten"],
)
def test_damaged_or_missing_file_is_named(settings: Settings, damage: Callable[[Path], object]) -> None:
    file = settings.published_file
    with pytest.raises(PublishedFileError, match=f"There is no published file {file}"):
        read_published_digest(settings)
    file.parent.mkdir(parents=True)
    with duckdb.connect(str(file)) as connection:
        connection.execute("create table sales as select range as id, random() as price from range(300_000)")
        connection.execute("create schema publication")
        connection.execute("create table publication.publications as select 'digest' as state_digest")
    assert read_published_digest(settings) == "digest"
    damage(file)
    with pytest.raises(PublishedFileError, match=f"^The published file {file} cannot be read: .*Run the job refresh,"):
        read_published_digest(settings)


def test_file_without_its_free_blocks_is_whole(settings: Settings) -> None:
    """Selections that are published one after another rewrite tables of the file."""
    file = settings.published_file
    file.parent.mkdir(parents=True)
    missing = []
    for _ in range(4):
        with duckdb.connect(str(file)) as connection:
            connection.execute("create or replace table sales as select random() as price from range(300_000)")
            connection.execute("create schema if not exists publication")
            connection.execute("create or replace table publication.publications as select 'digest' as state_digest")
        assert read_published_digest(settings) == "digest"
        with duckdb.connect(str(file), read_only=True) as connection:
            size = "select total_blocks * block_size from pragma_database_size()"
            missing.append(connection.execute(size).fetchall()[0][0] > file.stat().st_size)
    assert any(missing)
