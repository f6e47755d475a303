"""Find the batches of a landing zone, and the batch chain that makes up the source tables.

A batch with a manifest is whatever the manifest describes. Without a manifest a folder is a full batch once it holds
files of all tables and none of them has changed for a while. The source tables are made of the batch chain: the newest
full batch and the incremental batches after it.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import pairwise
from pathlib import PurePosixPath
from typing import NamedTuple

from acl_assets.landing_zone.manifest import (
    MANIFEST_NAME,
    MOST_MANIFEST_BYTES,
    MOST_NAME_CHARACTERS,
    BatchError,
    BatchKind,
    ExportBatch,
    FileUnreadableError,
    Manifest,
    ManifestFile,
    ManifestTable,
    MissingPredecessorError,
    NoBatchError,
    contract_breach,
    parse_file_name,
    parse_header,
    parse_manifest,
)
from acl_assets.landing_zone.store import LandedEntry, LandingZone
from acl_assets.source_schema import SOURCE_TABLES
from acl_assets.util.text import visible_text

CLOCK_TOLERANCE = timedelta(minutes=15)
"""How far in the future a batch may lie: clocks of exporter and pipeline differ."""
_SHOWN_NAMES = 8
_ARCHIVES = {".zip", ".tar", ".tgz", ".gz", ".bz2", ".xz", ".7z", ".zst", ".csv", ".parquet"}


class LandedFolder(NamedTuple):
    """A complete batch as the store lists it, before any file is opened.

    `stamp` has name, size and modification time (ns) of the manifest or, without one, of every file of a table.
    """

    batch_id: str
    folder: str
    has_manifest: bool
    stamp: tuple[tuple[str, int, int], ...]

    @property
    def landed_at_ns(self) -> int:
        """When its newest file was written, in nanoseconds since the epoch."""
        return max(modified_ns for _, _, modified_ns in self.stamp)


class BatchHeader(NamedTuple):
    """Kind, export time and digest of a batch, and its manifest as bytes (None without one).

    Bytes, because parsed manifests of ten thousand batches are a million objects.
    """

    found: LandedFolder
    kind: BatchKind
    exported_at: datetime
    digest: str
    manifest: bytes | None


@dataclass(frozen=True)
class Listing:
    """The content of a landing zone at one moment.

    Attributes:
        location: path or URL of the landing zone.
        is_local: whether it is a folder of this machine.
        headers: complete batches, oldest export first.
        broken: complete batches whose manifest breaks the contract, and how.
        skipped: why other folders are not used, by their names as they can be printed.
    """

    location: str
    is_local: bool
    headers: tuple[BatchHeader, ...]
    broken: tuple[tuple[LandedFolder, BatchError], ...]
    skipped: Mapping[str, str]

    @property
    def fingerprint(self) -> str:
        """SHA-256 over the usable batches: equal as long as none lands, changes, goes, or becomes due."""
        found = sorted([header.found for header in self.headers] + [folder for folder, _ in self.broken])
        return hashlib.sha256("".join(f"{folder!r}\n" for folder in found).encode()).hexdigest()

    @property
    def skipped_text(self) -> str:
        """One sentence per skipped folder, each with a space before it."""
        return "".join(f" Folder {name} is not used: {reason}." for name, reason in self.skipped.items())


@dataclass(frozen=True)
class BatchChain:
    """The batches that make up the source tables: one full batch, then the incremental batches after it, in order."""

    batches: tuple[ExportBatch, ...]

    @property
    def newest(self) -> ExportBatch:
        """The last batch of the chain."""
        return self.batches[-1]

    @property
    def digest(self) -> str:
        """The SHA-256 that names the chain, see `chain_digest`."""
        return chain_digest((batch.batch_id, batch.digest) for batch in self.batches)


def chain_digest(batches: Iterable[tuple[str, str]]) -> str:
    """Return the SHA-256 over ids and digests of a chain's batches, in order."""
    return hashlib.sha256(b"".join(f"{batch_id}\0{digest}\n".encode() for batch_id, digest in batches)).hexdigest()


# Listing --------------------------------------------------------------------------------------------------------


def list_batches(zone: LandingZone, settle_seconds: float, now: float | None = None) -> Listing:
    """List a landing zone: every folder is a batch, a batch that breaks the contract, or skipped with a reason.

    Only manifests are opened, each once per process as long as it does not change.

    Args:
        zone: the landing zone.
        settle_seconds: how long the files of a batch without a manifest must have been unchanged.
        now: seconds since the epoch, the present when None.

    Raises:
        LandingZoneError: the folder cannot be listed.
        ObjectStorageError: the URL cannot be listed.
    """
    now = time.time() if now is None else now
    headers: list[BatchHeader] = []
    broken: list[tuple[LandedFolder, BatchError]] = []
    skipped: dict[str, str] = {}
    for entry in zone.entries():
        if not entry.is_folder and not _looks_like_an_export(entry.name):
            continue
        found = _classify(entry, settle_seconds, now)
        if isinstance(found, str):
            skipped[visible_text(entry.name)] = found
            continue
        try:
            header = _read_header(zone, found)
        except FileUnreadableError as error:
            skipped[visible_text(entry.name)] = f"its {MANIFEST_NAME} cannot be used, because {error.what}"
        except BatchError as error:
            broken.append((found, error))
        else:
            if reason := _why_not_due(header, now):
                skipped[visible_text(entry.name)] = reason
            else:
                headers.append(header)
    headers.sort(key=lambda header: (header.exported_at, header.found.batch_id))
    return Listing(zone.location, zone.is_local, tuple(headers), tuple(broken), skipped)


def _looks_like_an_export(name: str) -> bool:
    """Return whether a file that lies directly in the landing zone seems to have been meant as a batch."""
    return PurePosixPath(name).suffix.lower() in _ARCHIVES or name == MANIFEST_NAME


def _classify(entry: LandedEntry, settle_seconds: float, now: float) -> LandedFolder | str:
    """Return the complete batch that an entry of the landing zone is, or the reason why it is none."""
    if reason := _why_unusable(entry):
        return reason
    if entry.manifest is not None:
        return LandedFolder(entry.name, entry.location, True, ((MANIFEST_NAME, *entry.manifest),))
    files = _files_of_tables(entry)
    if isinstance(files, str):
        return files
    found = LandedFolder(entry.name, entry.location, False, tuple((name, *entry.files[name]) for name in files))
    waited = now - entry.last_change
    # Files of the future are never settled; their date is the reason then.
    if waited < settle_seconds and found.landed_at_ns / 1e9 <= now + CLOCK_TOLERANCE.total_seconds():
        return f"its files changed {max(waited, 0):.0f} s ago and must be unchanged for {settle_seconds:.0f} s"
    return found


def _why_unusable(entry: LandedEntry) -> str | None:
    """Return why an entry cannot be a batch, whatever files it holds."""
    if not entry.is_folder:
        return "it is a file, and a batch is a folder with the files of all tables"
    if entry.problem is not None:
        return entry.problem
    if entry.manifest is None and entry.is_unfinished:
        return "its export has not finished: the manifest is still to come"
    return _why_unusable_name(entry.name)


def _why_unusable_name(name: str) -> str | None:
    if not name.isprintable():
        return "its name holds control characters or is not UTF-8; rename the folder"
    if len(name) > MOST_NAME_CHARACTERS:
        return f"its name has {len(name)} characters, and a batch's name at most {MOST_NAME_CHARACTERS}"
    return None


def _why_not_due(header: BatchHeader, now: float) -> str | None:
    """Return why a batch of the future is not used yet, None for every other batch.

    It would win over every real batch and turn performances that are still on sale into completed ones.
    """
    if header.exported_at <= datetime.fromtimestamp(now, UTC) + CLOCK_TOLERANCE:
        return None
    what = "exported_at" if header.found.has_manifest else "the time of its newest file"
    return (
        f"{what} is {header.exported_at:%Y-%m-%d %H:%M:%S} UTC, which is in the future; correct the clock or the time "
        "zone of the exporter and land the batch again"
    )


# Folders without a manifest -------------------------------------------------------------------------------------


def _files_of_tables(entry: LandedEntry) -> list[str] | str:
    """Return the names of the files of all tables, or why the folder does not hold each table once.

    Nothing but the names shows that a part is missing, so numbered parts must be consecutive, beginning with 0 or 1.
    """
    by_table: dict[str, dict[int | None, list[str]]] = defaultdict(lambda: defaultdict(list))
    for name in sorted(entry.files):
        if parsed := parse_file_name(name):
            by_table[parsed.table][parsed.part].append(name)
    required = [table.name for table in SOURCE_TABLES.values() if not table.is_optional]
    if missing := [table for table in required if table not in by_table]:
        return f"it has neither {MANIFEST_NAME} nor files of {', '.join(missing)}{_found_instead(entry)}"
    files: list[str] = []
    for table in SOURCE_TABLES:
        if table not in by_table:
            continue
        parts = by_table[table]
        names = [name for part in parts.values() for name in part]
        if any(len(part) > 1 for part in parts.values()) or (None in parts and len(parts) > 1):
            return f"{table} is there more than once: {_listed(names)}; without {MANIFEST_NAME} keep one"
        numbers = sorted(part for part in parts if part is not None)
        if numbers and (numbers[0] > 1 or numbers[-1] - numbers[0] + 1 != len(numbers)):
            return f"the parts of {table} are not numbered without a gap from 0 or 1: {_listed(names)}"
        files += [parts[number][0] for number in numbers] or [parts[None][0]]
    return files


def _found_instead(entry: LandedEntry) -> str:
    """Return what lies in a folder instead of the expected files, with a guess what was meant."""
    found: list[str] = []
    for name in entry.files:
        lowered = name.lower()
        if parse_file_name(name):
            continue
        if parse_file_name(lowered):
            found.append(f"{name} (rename it to {lowered})")
        elif PurePosixPath(lowered).suffix in _ARCHIVES:
            found.append(f"{name} (expected are names such as tickets.csv, tickets.csv.gz or tickets-1.parquet)")
        else:
            found.append(name)
    for name in entry.others:
        what = "no regular file; put the file itself there" if "." in name else "no file; move its files one level up"
        found.append(f"{name} ({what})")
    if found:
        return f"; found instead: {_listed(found)}"
    return "" if entry.files else "; it is empty"


def _listed(names: Iterable[str]) -> str:
    shown = [visible_text(name) for name in names]
    more = f" and {len(shown) - _SHOWN_NAMES} more" if len(shown) > _SHOWN_NAMES else ""
    return f"{', '.join(shown[:_SHOWN_NAMES])}{more}"


# Headers --------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=32_768)
def _read_header(zone: LandingZone, found: LandedFolder) -> BatchHeader:
    """Read what orders a batch; the cache makes it cost one reading per batch and process."""
    if not found.has_manifest:
        digest = hashlib.sha256(repr(found.stamp).encode()).hexdigest()
        return BatchHeader(found, "full", _time_of(found.landed_at_ns), digest, None)
    where = f"{found.folder}/{MANIFEST_NAME}"
    ((_, size, _),) = found.stamp
    if size > MOST_MANIFEST_BYTES:
        raise contract_breach(where, "it is larger than 16 MiB")
    content = zone.read_manifest(found.folder)
    header = parse_header(content, where)
    return BatchHeader(found, header.kind, header.exported_at, hashlib.sha256(content).hexdigest(), content)


def _time_of(nanoseconds: int) -> datetime:
    """Return a file time in UTC; one that no calendar holds counts as the end of time, and so as not due."""
    try:
        return datetime.fromtimestamp(nanoseconds / 1e9, UTC)
    except (OverflowError, ValueError, OSError):
        return datetime.max.replace(tzinfo=UTC)


# The chain ------------------------------------------------------------------------------------------------------


def resolve_chain(listing: Listing) -> BatchChain:
    """Return the batches that make up the source tables: the newest full batch and the incremental ones after it.

    Raises:
        NoBatchError: there is no complete full batch; the message says what is there and what to do.
        MissingPredecessorError: the batch an incremental batch continues from has not landed.
        BatchError: a batch of the chain, or one whose place in it is unknown, breaks the contract.
    """
    full = [position for position, header in enumerate(listing.headers) if header.kind == "full"]
    newest_full_landed_at = max((listing.headers[position].found.landed_at_ns for position in full), default=0)
    for found, error in listing.broken:
        # Its export time cannot be read, so the landing time decides whether a newer full batch supersedes it.
        if found.landed_at_ns >= newest_full_landed_at:
            raise error
    if not full:
        raise NoBatchError(_no_batch_message(listing))
    batches = tuple(_read_batch(header) for header in listing.headers[full[-1] :])
    for before, batch in pairwise(batches):
        _require_continuation(before, batch, listing)
    return BatchChain(batches)


def _require_continuation(before: ExportBatch, batch: ExportBatch, listing: Listing) -> None:
    """Refuse a chain with a link missing, changed or added in between: rows would be lost unseen."""
    if batch.continues_from == (before.batch_id, before.digest):
        return
    expected = batch.continues_from.batch_id if batch.continues_from else "none"
    if expected not in {header.found.batch_id for header in listing.headers}:
        reason = f" ({listing.skipped[expected]})" if expected in listing.skipped else ""
        raise MissingPredecessorError(
            f"Batch {batch.batch_id} continues from batch {visible_text(expected)}, which is not in {listing.location}"
            f"{reason}. Nothing is refreshed before it lands there, because the rows it holds would be missing; if it "
            "is lost, land a newer full batch."
        )
    what = f"it continues from batch {expected}, but the batch before it is {before.batch_id}"
    if expected == before.batch_id:
        what = f"it continues from batch {expected}, which has changed since"
    raise contract_breach(f"{batch.folder}/{MANIFEST_NAME}", what)


def _no_batch_message(listing: Listing) -> str:
    practise = "make run" if listing.is_local else "python -m acl_assets.simulator write-batch"
    return (
        f"No complete full export batch in {listing.location}.{listing.skipped_text} Put the files of all tables "
        f"({', '.join(f'{table}.csv' for table in SOURCE_TABLES)}) there, in a folder of their own, set "
        f"ACL_EXPORTS_DIR to where they are, or practise on simulated ones: {practise}."
    )


def _read_batch(header: BatchHeader) -> ExportBatch:
    """Parse the whole manifest of a batch, or describe one without a manifest by its files."""
    found = header.found
    if header.manifest is None:
        manifest = Manifest(found.batch_id, header.kind, header.exported_at, _plain_tables(found))
    else:
        manifest = parse_manifest(header.manifest, found.batch_id, f"{found.folder}/{MANIFEST_NAME}")
    return ExportBatch(**vars(manifest), folder=found.folder, digest=header.digest, has_manifest=found.has_manifest)


def _plain_tables(found: LandedFolder) -> dict[str, ManifestTable]:
    files: dict[str, list[ManifestFile]] = {table: [] for table in SOURCE_TABLES}
    for name, size, modified_ns in found.stamp:
        files[re.split(r"[-.]", name, maxsplit=1)[0]].append(
            ManifestFile(name, size, sha256=None, rows=None, modified_ns=modified_ns)
        )
    return {table: ManifestTable(None, tuple(described)) for table, described in files.items()}
