"""The result of an extract, its errors, and the lock and left-overs of extracts in the landing zone."""

import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from acl_assets.landing_zone.manifest import Manifest, is_unfinished
from acl_assets.landing_zone.s3_store import remove_unfinished
from acl_assets.settings import Settings
from acl_assets.util.locks import LockHeldError, held_lock

BATCH_PREFIX = "ticketing-"

_log = logging.getLogger(__name__)


class ExtractionError(Exception):
    """An extract cannot be made or broke off; the message holds no password, `sqlstate` is the server's error code."""

    def __init__(self, message: str, sqlstate: str | None = None) -> None:
        super().__init__(message)
        self.sqlstate = sqlstate


class SourceUnusableError(ExtractionError):
    """The server cannot be reached, or is behind the newest batch as a standby that lags is; another one may do."""


@dataclass(frozen=True, kw_only=True)
class Extraction(Manifest):
    """A batch that an extract has landed in `folder`, a path or URL; `full_because` is None for an incremental one."""

    folder: str
    full_because: str | None


@contextmanager
def only_extract(settings: Settings) -> Iterator[None]:
    """Hold the lock of extracts into a landing zone, and remove what killed extracts left there.

    Raises:
        ExtractionError: another extract holds the lock, or the folder cannot be written, also in the block.
        ObjectStorageError: left-overs cannot be removed.
    """
    folder = settings.extracts_dir
    lock_file = folder / ".extract.lock"
    try:
        with held_lock(lock_file):
            _remove_left_overs(folder, settings.exports_url)
            yield
    except LockHeldError as error:
        raise ExtractionError(
            f"Another extract into {folder} is running (process {error} holds {lock_file}). Let it end, or end it."
        ) from None
    except OSError as error:
        free = f" ({shutil.disk_usage(folder).free / 1e6:,.0f} MB are free there)" if folder.is_dir() else ""
        raise ExtractionError(
            f"{error.filename or folder} cannot be written: {error.strerror or error}{free}. Nothing was landed; make "
            "room or set ACL_EXPORTS_DIR to where there is some, and extract again."
        ) from None


def _remove_left_overs(extracts_dir: Path, exports_url: str | None) -> None:
    """Remove unfinished batches; with a landing zone on object storage every batch here was not sent completely."""
    for folder in extracts_dir.glob(f"{BATCH_PREFIX}*"):
        # An extract makes no links.
        if not folder.is_symlink() and (exports_url or is_unfinished(folder)):
            if exports_url:
                remove_unfinished(exports_url, folder.name)
            shutil.rmtree(folder)
            _log.info(f"Removed {folder.name}, which a killed extract left behind.")
