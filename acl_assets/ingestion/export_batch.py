"""What an export batch is: its manifest, how it is found in the landing zone, how its files are verified.

A batch is a folder of the landing zone, which is a folder of this machine or, given as text, a URL of object storage.
With a `manifest.json`, written last, a batch is whatever the manifest says; without one it is a full batch once all six
plain CSV files are there and none has changed for a while. The state of the source tables is a function of the landing
zone: the newest full batch, then the incremental ones after it.

What belongs here: the contract both sides of the landing zone share. What does not: how a landing zone on object
storage is listed and filled (`remote_landing_zone`), reading the rows of a file (`conversion`), anything of Dagster
(`source_tables`, `sensors`).
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import Any, Literal, NamedTuple

from acl_assets.ingestion import object_storage
from acl_assets.ingestion.source_schema import SOURCE_TABLES

MANIFEST_NAME = "manifest.json"
MANIFEST_VERSION = 1
UNFINISHED_MANIFEST_NAME = ".manifest.json.unfinished"
_FILE_NAME = re.compile(r"(?P<table>[a-z]+)(-\d+)?\.(csv|csv\.gz|csv\.zst|parquet)")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_CHUNK_BYTES = 1 << 20

BatchKind = Literal["full", "incremental"]


class BatchError(Exception):
    """A batch, or one of its files, is not what the contract says; the message says what, where and what to do."""


class NoBatchError(BatchError):
    """The landing zone holds no complete batch."""


class MissingPredecessorError(BatchError):
    """An incremental batch landed before the batch it continues from; once that lands too, both count."""


@dataclass(frozen=True)
class ManifestFile:
    """One file of a batch: its path inside the folder, and what must be found there.

    `sha256` and `rows` are None where no manifest states them.
    """

    path: str
    bytes: int
    sha256: str | None
    rows: int | None


@dataclass(frozen=True)
class ManifestTable:
    """One source table of a batch, and what the source said of the whole table in the same snapshot.

    `rows_at_source` counts the table's rows; `sums_at_source` adds up whole-number columns, by name, where the
    export asked for it.
    """

    rows_at_source: int | None
    files: tuple[ManifestFile, ...]
    sums_at_source: Mapping[str, int] = field(default_factory=dict)

    @property
    def rows(self) -> int | None:
        """Rows the files hold together, None where no manifest states it."""
        counts = [file.rows for file in self.files if file.rows is not None]
        return sum(counts) if len(counts) == len(self.files) else None


class Predecessor(NamedTuple):
    """The batch an incremental one continues from, and its content when it did."""

    batch_id: str
    digest: str


@dataclass(frozen=True)
class Manifest:
    """The content of `manifest.json`; `exported_at` is the instant of the source snapshot, with an offset.

    An incremental batch names the batch it continues from and holds, per table, the rows that are new or changed
    since; a row replaces the one with the same id.
    """

    batch_id: str
    kind: BatchKind
    exported_at: datetime
    tables: Mapping[str, ManifestTable]
    source_snapshot: Mapping[str, Any] | None = None
    continues_from: Predecessor | None = None


@dataclass(frozen=True)
class ExportBatch:
    """One complete batch of the landing zone.

    `digest` names its content: the SHA-256 of the manifest or, without one, of the files' names, sizes and
    modification times. Without a manifest `exported_at` is the newest file's modification time.
    """

    batch_id: str
    folder: Path | str
    kind: BatchKind
    exported_at: datetime
    digest: str
    has_manifest: bool
    tables: Mapping[str, ManifestTable] = field(repr=False)
    source_snapshot: Mapping[str, Any] | None = field(default=None, repr=False)
    continues_from: Predecessor | None = None


class LandedFolder(NamedTuple):
    """A complete batch as the listing of the landing zone shows it, before any file is opened.

    `stamp` changes whenever the manifest, or a file of a batch without one, changes.
    """

    batch_id: str
    folder: str
    has_manifest: bool
    stamp: tuple[tuple[str, int, int], ...]

    @property
    def landed_at_ns(self) -> int:
        """When its newest file was written, in nanoseconds since the epoch."""
        return max(modified_ns for _, _, modified_ns in self.stamp)


@dataclass(frozen=True)
class LandingZoneListing:
    """What lies in the landing zone: complete batches, and why the other folders are not batches yet."""

    complete: tuple[LandedFolder, ...]
    incomplete: Mapping[str, str]

    @property
    def fingerprint(self) -> str:
        """SHA-256 over the complete batches: equal as long as nothing landed, changed or was taken away."""
        lines = (f"{found.batch_id}\0{found.has_manifest}\0{found.stamp}\n" for found in self.complete)
        return hashlib.sha256("".join(lines).encode()).hexdigest()


@dataclass(frozen=True)
class LandingZoneState:
    """The batches that make up the source tables: one full batch, then the incremental ones after it, in order."""

    batches: tuple[ExportBatch, ...]

    @property
    def newest(self) -> ExportBatch:
        """The batch that brought the state up to date."""
        return self.batches[-1]

    @property
    def digest(self) -> str:
        """Names the state, see `state_digest`."""
        return state_digest((batch.batch_id, batch.digest) for batch in self.batches)


def state_digest(batches: Iterable[tuple[str, str]]) -> str:
    """SHA-256 over the ids and digests of a state's batches, in order."""
    return hashlib.sha256(b"".join(state_line(batch_id, digest) for batch_id, digest in batches)).hexdigest()


def state_line(batch_id: str, digest: str) -> bytes:
    """What one batch adds to the digest of a state."""
    return f"{batch_id}\0{digest}\n".encode()


# Writing ------------------------------------------------------------------------------------------------------


def begin_batch(exports_dir: Path, batch_id: str) -> Path:
    """Create the folder of a new batch, marked as unfinished until `write_manifest`, and return it.

    The mark keeps a slow export of CSV files from being taken for a batch without a manifest.

    Raises:
        BatchError: the name cannot name a batch, or a folder of that name is there; batches are immutable.
    """
    _require_batch_id(batch_id, where=str(exports_dir))
    folder = exports_dir / batch_id
    try:
        folder.mkdir(parents=True)
    except FileExistsError:
        raise BatchError(
            f"{folder} is there already and batches are immutable; choose another batch id or remove the folder."
        ) from None
    (folder / UNFINISHED_MANIFEST_NAME).touch()
    return folder


def is_unfinished(folder: Path) -> bool:
    """Whether a folder is that of a batch which was begun and whose manifest is still to come."""
    return (folder / UNFINISHED_MANIFEST_NAME).exists()


def describe_file(folder: Path, path: str, rows: int | None) -> ManifestFile:
    """Describe a finished file of a batch for its manifest: size and SHA-256 as they are on disk."""
    sha256, size = _sha256(folder / path)
    return ManifestFile(path=path, bytes=size, sha256=sha256, rows=rows)


def write_manifest(folder: Path, manifest: Manifest) -> Path:
    """Write the manifest under a temporary name, flush it to disk and rename it: from now on the batch exists."""
    document = {
        "manifest_version": MANIFEST_VERSION,
        "batch_id": manifest.batch_id,
        "kind": manifest.kind,
        "exported_at": manifest.exported_at.isoformat(),
        "continues_from": _predecessor_entry(manifest.continues_from),
        "source_snapshot": manifest.source_snapshot,
        "tables": {
            name: {
                "rows_at_source": table.rows_at_source,
                "sums_at_source": dict(table.sums_at_source),
                "files": [vars(file) for file in table.files],
            }
            for name, table in manifest.tables.items()
        },
    }
    unfinished = folder / UNFINISHED_MANIFEST_NAME
    with unfinished.open("w", encoding="utf-8") as stream:
        json.dump(document, stream, indent=2)
        stream.flush()
        os.fsync(stream.fileno())
    return unfinished.rename(folder / MANIFEST_NAME)


def _predecessor_entry(predecessor: Predecessor | None) -> dict[str, str] | None:
    return predecessor and {"batch_id": predecessor.batch_id, "manifest_digest": predecessor.digest}


# Discovery ----------------------------------------------------------------------------------------------------


def list_landing_zone(exports_dir: Path | str, settle_seconds: float, now: float | None = None) -> LandingZoneListing:
    """List the landing zone by names and file times alone; no file is opened.

    Args:
        exports_dir: the landing zone; a missing folder is an empty landing zone.
        settle_seconds: how long the files of a batch without a manifest must have lain unchanged.
        now: seconds since the epoch, the present when None.

    Raises:
        ObjectStorageError: it is on object storage, and cannot be listed.
    """
    if isinstance(exports_dir, str):
        from acl_assets.ingestion.remote_landing_zone import list_remote_landing_zone

        return list_remote_landing_zone(exports_dir, settle_seconds, time.time() if now is None else now)
    complete: list[LandedFolder] = []
    incomplete: dict[str, str] = {}
    try:
        entries = sorted(os.scandir(exports_dir), key=lambda entry: entry.name)
    except FileNotFoundError:
        entries = []
    for entry in entries:
        if entry.name.startswith((".", "_")) or not entry.is_dir():
            continue
        try:
            manifest = os.stat(f"{entry.path}/{MANIFEST_NAME}")
        except FileNotFoundError:
            found = _list_plain_folder(entry.name, entry.path, settle_seconds, time.time() if now is None else now)
            if isinstance(found, str):
                incomplete[entry.name] = found
            else:
                complete.append(found)
        else:
            complete.append(_landed_folder(entry.name, entry.path, manifest.st_size, manifest.st_mtime_ns))
    return LandingZoneListing(tuple(complete), incomplete)


@lru_cache(maxsize=32_768)
def _landed_folder(name: str, folder: str, manifest_bytes: int, modified_ns: int) -> LandedFolder:
    """A batch with a manifest; the cache spares the garbage collector as many new objects with every look."""
    return LandedFolder(name, folder, has_manifest=True, stamp=((MANIFEST_NAME, manifest_bytes, modified_ns),))


def _list_plain_folder(name: str, folder: str, settle_seconds: float, now: float) -> LandedFolder | str:
    """List a folder without a manifest: a batch, or the reason why it is not one yet."""
    if os.path.exists(f"{folder}/{UNFINISHED_MANIFEST_NAME}"):
        return "its export has not finished: the manifest is still to come"
    stamp: list[tuple[str, int, int]] = []
    last_change = 0.0
    for table in SOURCE_TABLES:
        try:
            found = os.stat(f"{folder}/{table}.csv")
        except FileNotFoundError:
            continue
        stamp.append((f"{table}.csv", found.st_size, found.st_mtime_ns))
        # A copy can keep old modification times; the change time it cannot.
        last_change = max(last_change, found.st_mtime, found.st_ctime)
    return plain_batch(name, folder, stamp, now - last_change, settle_seconds)


def plain_batch(
    name: str, folder: str, stamp: Iterable[tuple[str, int, int]], waited: float, settle_seconds: float
) -> LandedFolder | str:
    """What a folder without a manifest is, of which `stamp` gives the CSV files: a batch, or why it is not one yet.

    Args:
        stamp: name, size and modification time of those of the six files that are there, in the tables' order.
        waited: seconds since one of them last changed.
    """
    stamp = tuple(stamp)
    if missing := [f"{table}.csv" for table in SOURCE_TABLES if f"{table}.csv" not in {file for file, _, _ in stamp}]:
        return f"it has neither {MANIFEST_NAME} nor {', '.join(missing)}"
    if waited < settle_seconds:
        return f"its files changed {max(waited, 0):.0f} s ago and must lie unchanged for {settle_seconds:.0f} s"
    return LandedFolder(name, folder, has_manifest=False, stamp=stamp)


def resolve_state(exports_dir: Path | str, listing: LandingZoneListing) -> LandingZoneState:
    """Find the batches that make up the source tables: the newest full one, then the incremental ones after it.

    Raises:
        NoBatchError: there is no complete full batch; the message says what is there and what to do.
        MissingPredecessorError: the batch an incremental one continues from has not landed.
        BatchError: a batch of that chain, or one whose place in it cannot be told, breaks the contract.
    """
    headers: list[_Header] = []
    unreadable: list[tuple[LandedFolder, BatchError]] = []
    for found in listing.complete:
        try:
            headers.append(_read_header(found))
        except BatchError as error:
            unreadable.append((found, error))
    headers.sort(key=lambda header: (header.exported_at, header.found.batch_id))
    full = [position for position, header in enumerate(headers) if header.kind == "full"]
    newest_full_landed_at = max((headers[position].found.landed_at_ns for position in full), default=0)
    for found, unreadable_because in unreadable:
        # Its export time cannot be read, so the landing time decides whether a newer full batch supersedes it.
        if found.landed_at_ns >= newest_full_landed_at:
            raise unreadable_because
    if not full:
        raise NoBatchError(_no_batch_message(exports_dir, listing))
    batches = tuple(_read_batch(header) for header in headers[full[-1] :])
    landed = {header.found.batch_id for header in headers}
    for before, batch in pairwise(batches):
        _require_continuation(before, batch, landed, exports_dir)
    return LandingZoneState(batches)


def _require_continuation(
    before: ExportBatch, batch: ExportBatch, landed: AbstractSet[str], exports_dir: Path | str
) -> None:
    """Refuse a chain of batches with a link missing, changed or added in between: rows would be lost unseen."""
    if batch.continues_from == (before.batch_id, before.digest):
        return
    expected = batch.continues_from.batch_id if batch.continues_from else "none"
    if expected not in landed:
        raise MissingPredecessorError(
            f"Batch {batch.batch_id} continues from batch {expected}, which is not in {exports_dir}. Nothing "
            "is refreshed before it lands there, because the rows it holds would be missing; if it is lost, land a "
            "newer full batch."
        )
    what = f"it continues from batch {expected}, but the batch before it is {before.batch_id}"
    if expected == before.batch_id:
        what = f"it continues from batch {expected}, which has changed since"
    raise contract_breach(f"{batch.folder}/{MANIFEST_NAME}", what)


def find_batches(listing: LandingZoneListing, batches: Iterable[tuple[str, str]]) -> list[ExportBatch]:
    """The batches of those ids, as they were when their digests were taken.

    Raises:
        BatchError: one is not in the landing zone any more, or has changed.
    """
    landed = {found.batch_id: found for found in listing.complete}
    return [_find_batch(landed, batch_id, digest) for batch_id, digest in batches]


def _find_batch(landed: Mapping[str, LandedFolder], batch_id: str, digest: str) -> ExportBatch:
    if batch_id not in landed:
        raise BatchError(
            f"Batch {batch_id}, which the source tables were converted from, is no longer in the landing zone. "
            "Put it back, or refresh from a newer full batch."
        )
    batch = _read_batch(_read_header(landed[batch_id]))
    if batch.digest != digest:
        raise contract_breach(landed[batch_id].folder, "it has changed since the source tables were converted from it")
    return batch


def _no_batch_message(exports_dir: Path | str, listing: LandingZoneListing) -> str:
    waiting = "".join(f" Folder {name} is not a batch yet: {reason}." for name, reason in listing.incomplete.items())
    practise = "make run" if isinstance(exports_dir, Path) else "python -m acl_assets.simulator write-batch"
    return (
        f"No complete full export batch in {exports_dir}.{waiting} Drop the six tables there, in a folder of their "
        f"own ({', '.join(f'{table}.csv' for table in SOURCE_TABLES)}), set ACL_EXPORTS_DIR to where they are, or "
        f"practise on simulated ones: {practise}."
    )


class _Header(NamedTuple):
    """What orders a batch among the others, and its manifest as it is written (None without one).

    The text, because parsed manifests of ten thousand batches are a million objects for the garbage collector.
    """

    found: LandedFolder
    kind: BatchKind
    exported_at: datetime
    digest: str
    content: bytes | None

    @property
    def document(self) -> Mapping[str, Any]:
        """The manifest, empty without one."""
        return json.loads(self.content) if self.content is not None else {}


@lru_cache(maxsize=32_768)
def _read_header(found: LandedFolder) -> _Header:
    """Read what orders a batch; the cache makes it cost one reading per batch and process."""
    if not found.has_manifest:
        digest = hashlib.sha256(repr(found.stamp).encode()).hexdigest()
        exported_at = datetime.fromtimestamp(found.landed_at_ns / 1e9, UTC)
        return _Header(found, "full", exported_at, digest, None)
    where = f"{found.folder}/{MANIFEST_NAME}"
    try:
        content = object_storage.read_file(where) if _is_url(where) else Path(where).read_bytes()
    except OSError as error:
        raise contract_breach(where, f"it cannot be read ({error.strerror})") from None
    try:
        document = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise contract_breach(where, f"it is not JSON ({error})") from None
    if not isinstance(document, dict):
        raise contract_breach(where, f"it holds {type(document).__name__}, not an object")
    if document.get("manifest_version") != MANIFEST_VERSION:
        raise contract_breach(
            where, f"manifest_version is {document.get('manifest_version')!r}, not {MANIFEST_VERSION}"
        )
    if document.get("kind") not in ("full", "incremental"):
        raise contract_breach(where, f"kind is {document.get('kind')!r}, neither 'full' nor 'incremental'")
    exported_at = _exported_at(document.get("exported_at"), where)
    return _Header(found, document["kind"], exported_at, hashlib.sha256(content).hexdigest(), content)


def _is_url(path: str) -> bool:
    return "://" in path


def _exported_at(text: object, where: str) -> datetime:
    try:
        exported_at = datetime.fromisoformat(text) if isinstance(text, str) else None
        if exported_at is not None and exported_at.tzinfo is not None:
            return exported_at.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise contract_breach(where, f"exported_at is {text!r}, not an ISO 8601 instant with an offset")


def _read_batch(header: _Header) -> ExportBatch:
    found = header.found
    document = header.document
    if header.content is None:
        tables = {
            name.removesuffix(".csv"): ManifestTable(None, (ManifestFile(name, size, sha256=None, rows=None),))
            for name, size, _ in found.stamp
        }
    else:
        tables = _manifest_tables(found, header.kind, document)
    return ExportBatch(
        batch_id=found.batch_id,
        folder=found.folder if _is_url(found.folder) else Path(found.folder),
        kind=header.kind,
        exported_at=header.exported_at,
        digest=header.digest,
        has_manifest=found.has_manifest,
        tables=tables,
        source_snapshot=_source_snapshot(found, document),
        continues_from=_predecessor(found, document) if header.kind == "incremental" else None,
    )


def _source_snapshot(found: LandedFolder, document: Mapping[str, Any]) -> Mapping[str, Any] | None:
    snapshot = document.get("source_snapshot")
    if snapshot is None or isinstance(snapshot, dict):
        return snapshot
    raise contract_breach(f"{found.folder}/{MANIFEST_NAME}", f"source_snapshot is {snapshot!r}, not an object or null")


def _predecessor(found: LandedFolder, document: Mapping[str, Any]) -> Predecessor:
    entry = document.get("continues_from")
    where = f"{found.folder}/{MANIFEST_NAME}"
    if not isinstance(entry, dict):
        raise contract_breach(where, f"continues_from is {entry!r}, and an incremental batch names its predecessor")
    batch_id, digest = entry.get("batch_id"), entry.get("manifest_digest")
    if not isinstance(batch_id, str) or not isinstance(digest, str) or not _SHA256.fullmatch(digest):
        raise contract_breach(where, f"continues_from is {entry!r}, without batch_id and SHA-256 manifest_digest")
    return Predecessor(batch_id, digest)


def _manifest_tables(found: LandedFolder, kind: BatchKind, document: Mapping[str, Any]) -> dict[str, ManifestTable]:
    where = f"{found.folder}/{MANIFEST_NAME}"
    if document.get("batch_id") != found.batch_id:
        raise contract_breach(where, f"batch_id is {document.get('batch_id')!r}, but the folder is {found.batch_id!r}")
    _require_batch_id(found.batch_id, where)
    listed = document.get("tables")
    if not isinstance(listed, dict):
        raise contract_breach(where, "tables is not an object")
    if missing := SOURCE_TABLES.keys() - listed.keys():
        raise contract_breach(where, f"it lists no {', '.join(sorted(missing))}")
    if unknown := listed.keys() - SOURCE_TABLES.keys():
        raise contract_breach(where, f"it lists unknown tables: {', '.join(sorted(unknown))}")
    tables = {name: _manifest_table(name, listed[name], where) for name in SOURCE_TABLES}
    for name, table in tables.items():
        if kind == "full" and not table.files:
            raise contract_breach(where, f"it lists no file of {name}, and a full batch holds every table")
    _require_no_duplicates((file.path for table in tables.values() for file in table.files), where)
    return tables


def _manifest_table(name: str, listed: object, where: str) -> ManifestTable:
    if not isinstance(listed, dict) or not isinstance(listed.get("files"), list):
        raise contract_breach(where, f"the entry of {name} has no list of files")
    rows_at_source = _count(listed.get("rows_at_source"), f"rows_at_source of {name}", where)
    files = tuple(_manifest_file(name, entry, where) for entry in listed["files"])
    return ManifestTable(rows_at_source, files, _sums_at_source(name, listed.get("sums_at_source"), where))


def _sums_at_source(table: str, listed: object, where: str) -> dict[str, int]:
    sums = {} if listed is None else listed
    whole_numbers = {column.name for column in SOURCE_TABLES[table].columns if column.type == "int"}
    if not isinstance(sums, dict) or not sums.keys() <= whole_numbers:
        raise contract_breach(where, f"sums_at_source of {table} is {sums!r}, not sums of its whole-number columns")
    for column, total in sums.items():
        if not isinstance(total, int) or isinstance(total, bool):
            raise contract_breach(where, f"sums_at_source of {table}.{column} is {total!r}, not a whole number")
    return sums


def _manifest_file(table: str, entry: object, where: str) -> ManifestFile:
    path = entry.get("path") if isinstance(entry, dict) else None
    if not isinstance(entry, dict) or not isinstance(path, str):
        raise contract_breach(where, f"a file of {table} has no path")
    name = _FILE_NAME.fullmatch(path)
    # A bare file name cannot point outside the folder; symbolic links are looked at when the file is opened.
    if PurePosixPath(path).name != path or name is None or name["table"] != table:
        raise contract_breach(
            where,
            f"path {path!r} is not accepted for {table}: a file lies directly in the batch's folder and is called "
            f"{table} or {table}-<number>, then .csv, .csv.gz, .csv.zst or .parquet",
        )
    sha256 = entry.get("sha256")
    if not isinstance(sha256, str) or not _SHA256.fullmatch(sha256):
        raise contract_breach(where, f"sha256 of {path} is {sha256!r}, not 64 hexadecimal digits")
    return ManifestFile(
        path=path,
        bytes=_count(entry.get("bytes"), f"bytes of {path}", where),
        sha256=sha256,
        rows=_count(entry.get("rows"), f"rows of {path}", where),
    )


def _count(value: object, what: str, where: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise contract_breach(where, f"{what} is {value!r}, not a whole number")
    return value


def _require_no_duplicates(paths: Iterable[str], where: str) -> None:
    seen: set[str] = set()
    for path in paths:
        if path in seen:
            raise contract_breach(where, f"it lists {path} twice")
        seen.add(path)


def _require_batch_id(batch_id: str, where: str) -> None:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._+:@=-]{0,127}", batch_id):
        raise contract_breach(
            where,
            f"{batch_id!r} cannot name a batch: up to 128 letters, digits and . _ + : @ = -, a letter or digit first",
        )


def contract_breach(where: str, what: str) -> BatchError:
    """Say where a batch breaks the contract and what was found there, and how to get past it."""
    return BatchError(
        f"{where}: {what}. Batches are immutable: land a newer full batch, or take this folder out of the landing "
        "zone, then refresh again."
    )


# Verification -------------------------------------------------------------------------------------------------


def verify_file(batch: ExportBatch, file: ManifestFile) -> Path:
    """Hold a file of a batch on this machine against its manifest, size first and then SHA-256, and return its path.

    Raises:
        BatchError: the file is missing, is or leads outside the batch's folder, or differs from the manifest.
    """
    folder = Path(batch.folder)
    path = folder / file.path
    where = str(path)
    try:
        resolved = path.resolve(strict=True)
    except (FileNotFoundError, RuntimeError, OSError):
        raise contract_breach(where, "the manifest lists this file, but it is not there") from None
    if not resolved.is_relative_to(folder.resolve()):
        raise contract_breach(where, "it is a link that leads out of the batch's folder")
    if not resolved.is_file():
        raise contract_breach(where, "it is not a regular file")
    size = path.stat().st_size
    if size != file.bytes:
        raise contract_breach(where, f"it has {size:,} bytes where {file.bytes:,} were exported; it was cut or changed")
    if file.sha256 is not None:
        sha256, _ = _sha256(path)
        if sha256 != file.sha256:
            raise contract_breach(
                where, f"its SHA-256 is {sha256}, the manifest says {file.sha256}; its content changed"
            )
    return path


def _sha256(path: Path) -> tuple[str, int]:
    digest = hashlib.sha256()
    size = 0
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            digest.update(chunk)
            size += len(chunk)
    return digest.hexdigest(), size
