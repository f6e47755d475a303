"""The result of an extract, its errors, and the lock and left-overs of extracts in the landing zone."""

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
    """An extract cannot be made or broke off; the message holds no password."""


class SourceUnreachableError(ExtractionError):
    """No connection to the server could be made."""


class RoleError(ExtractionError):
    """The role of the connection may do too much, or too little."""


class SourceBehindError(ExtractionError):
    """The source is at an earlier instant than the newest batch, as a standby that lags is."""


@dataclass(frozen=True)
class ExtractedTable:
    """Rows and bytes of one table in the batch, and row count and sums of the whole table in the snapshot."""

    rows: int
    bytes: int
    rows_at_source: int
    sums_at_source: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Extraction:
    """A batch that an extract has landed.

    `full_because` is None for an incremental batch; `seconds` counts from the snapshot.
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
    """Hold the lock of extracts into a folder, and remove what killed extracts left there.

    Args:
        exports_dir: folder extracts write their batches to.
        exports_url: landing zone on object storage that batches are sent to. Every batch left in `exports_dir` then
            was not sent completely, and is removed from both.

    Raises:
        ExtractionError: another extract holds the lock, or the folder cannot be written.
        ObjectStorageError: left-overs cannot be removed.
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
        _remove_left_overs(exports_dir, exports_url)
        yield
    finally:
        lock.release()


def _remove_left_overs(exports_dir: Path, exports_url: str | None) -> None:
    for folder in exports_dir.glob(f"{BATCH_PREFIX}*"):
        # An extract makes no links.
        if not folder.is_symlink() and (exports_url or is_unfinished(folder)):
            if exports_url:
                remove_unfinished(exports_url, folder.name)
            with landing(folder):
                shutil.rmtree(folder)
            _log.info(f"Removed {folder.name}, which a killed extract left behind.")


def remove_left_overs(exports_dir: Path, exports_url: str | None = None) -> None:
    """Remove what a killed extract left behind; errors as for `only_extract`."""
    with only_extract(exports_dir, exports_url):
        return


@contextmanager
def landing(path: Path) -> Iterator[None]:
    """Turn an `OSError` of the block into an `ExtractionError` with the path and its free space."""
    try:
        yield
    except OSError as error:
        folder = path if path.is_dir() else path.parent
        free = f" ({shutil.disk_usage(folder).free / 1e6:,.0f} MB are free there)" if folder.is_dir() else ""
        raise ExtractionError(
            f"{path} cannot be written: {error.strerror or error}{free}. Nothing was landed; make room or set "
            "ACL_EXPORTS_DIR to where there is some, and extract again."
        ) from None
