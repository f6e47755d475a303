"""Read the published file, which may be missing, damaged, or written by another version of DuckDB."""

from collections.abc import Iterator
from contextlib import contextmanager

import duckdb

from acl_assets.settings import Settings


class PublishedFileError(Exception):
    """The published file is missing or cannot be read; the message names it and says how to replace it."""


@contextmanager
def open_published(settings: Settings) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open the published file for reading, or raise PublishedFileError, also for errors of queries in the block."""
    file = settings.published_file
    if not file.exists():
        raise PublishedFileError(f"There is no published file {file}. Run the job refresh, which publishes one.")
    try:
        with duckdb.connect(str(file), read_only=True) as connection:
            # Not all blocks: DuckDB cuts free ones off the end of the file after it has counted them.
            size = "select used_blocks * block_size from pragma_database_size()"
            ((expected,),) = connection.execute(size).fetchall()
            if file.stat().st_size < expected:
                raise duckdb.IOException(f"it is cut short: {file.stat().st_size:,} bytes of at least {expected:,}")
            yield connection
    except duckdb.Error as error:
        reason = str(error).splitlines()[0]
        raise PublishedFileError(
            f"The published file {file} cannot be read: {reason}. Run the job refresh, which replaces it."
        ) from None


def read_published_digest(settings: Settings) -> str:
    """Return the digest of the state that is published, or raise PublishedFileError."""
    with open_published(settings) as connection:
        ((digest,),) = connection.execute("select state_digest from publication.publications").fetchall()
    return str(digest)
