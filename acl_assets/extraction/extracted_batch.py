"""What comes of an extract: a batch, described for people, or an error and nothing left behind.

What belongs here: what one process tells another about an extract, and the lock and the left-overs of extracts in the
landing zone. What does not: the extract itself (`extraction`), and anything that takes memory to import.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from acl_assets.landing_zone.manifest import BatchKind, is_unfinished
from acl_assets.landing_zone.s3_store import remove_unfinished
from acl_assets.util.locks import LockHeldError, acquire_lock

BATCH_PREFIX = "ticketing-"
_LOCK_NAME = ".extract.lock"

_log = logging.getLogger(__name__)


class ExtractionError(Exception):
    """An extract cannot be made or broke off; the message says what, where and what to do, and holds no password."""


class SourceUnreachableError(ExtractionError):
    """No connection to the server could be made."""


class RoleError(ExtractionError):
    """The role of the connection may do too much, or too little."""


class SourceBehindError(ExtractionError):
    """The source is at an earlier instant than what has landed from it already, as a standby that lags is."""


@dataclass(frozen=True)
class ExtractedTable:
    """What was read of one table.

    Attributes:
        rows: rows in the batch.
        bytes: of its Parquet file, 0 when an incremental batch has none.
        rows_at_source: rows of the whole table in the snapshot.
        sums_at_source: sums of its whole-number columns in the snapshot, by name.
    """

    rows: int
    bytes: int
    rows_at_source: int
    sums_at_source: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Extraction:
    """A batch that an extract has landed.

    Attributes:
        full_because: why it is a full batch, None when it is incremental.
        exported_at: the instant of the snapshot.
        seconds: from the first connection to the last byte on disk.
        source_snapshot: as the manifest records it.
    """

    batch_id: str
    folder: str
    kind: BatchKind
    full_because: str | None
    exported_at: str
    seconds: float
    source_snapshot: Mapping[str, Any]
    tables: Mapping[str, ExtractedTable]


@contextmanager
def only_extract(exports_dir: Path, exports_url: str | None = None) -> Iterator[None]:
    """Hold the landing zone's lock for extracts, which the system releases when this process ends, however it does.

    Its holder is the only extract, so unfinished folders that are there are those of killed ones, and are removed.

    Args:
        exports_dir: where extracts write their batches.
        exports_url: the landing zone on object storage they send them to. Every batch that is still in `exports_dir`
            then is one that was not sent, or not as a whole, and is removed from both. Other machines have locks of
            their own.

    Raises:
        ExtractionError: another extract holds it, or the landing zone cannot be written.
        ObjectStorageError: what a killed one left behind cannot be removed.
    """
    lock_file = exports_dir / _LOCK_NAME
    try:
        with landing(exports_dir):
            lock = acquire_lock(lock_file, str(os.getpid()))
    except LockHeldError as error:
        raise ExtractionError(
            f"Another extract into {exports_dir} is running (process {error.holder} holds {lock_file}); let it end, or "
            "end it."
        ) from None
    try:
        for folder in exports_dir.glob(f"{BATCH_PREFIX}*"):
            # An extract makes no links.
            if not folder.is_symlink() and (exports_url or is_unfinished(folder)):
                if exports_url:
                    remove_unfinished(exports_url, folder.name)
                with landing(folder):
                    shutil.rmtree(folder)
                _log.info(f"Removed {folder.name}, which an extract that was killed left behind.")
        yield
    finally:
        lock.release()


def remove_left_overs(exports_dir: Path, exports_url: str | None = None) -> None:
    """Remove what an extract that was killed left behind, as the next extract would.

    Raises:
        ExtractionError: an extract is running.
        ObjectStorageError: object storage cannot be used.
    """
    with only_extract(exports_dir, exports_url):
        return


@contextmanager
def landing(path: Path) -> Iterator[None]:
    """Turn what the file system refuses at `path` into an error people can act on.

    Raises:
        ExtractionError: with what was refused, and the room that is left there.
    """
    try:
        yield
    except OSError as error:
        folder = path if path.is_dir() else path.parent
        free = f" ({shutil.disk_usage(folder).free / 1e6:,.0f} MB are free there)" if folder.is_dir() else ""
        raise ExtractionError(
            f"{path} cannot be written: {error.strerror or error}{free}. Nothing was landed; make room or set "
            "ACL_EXPORTS_DIR to where there is some, and extract again."
        ) from None
