"""Find the batches of a landing zone, and the batch chain that makes up the source tables.

A batch with a manifest is whatever the manifest describes. Without a manifest a folder is a full batch once it holds
files of all tables and none of them has changed for a while. The source tables are made of the batch chain: the newest
full batch and the incremental batches after it.
"""

import hashlib
import re
import time
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
    UNFINISHED_MANIFEST_NAME,
    BatchError,
    BatchKind,
    ExportBatch,
    FileUnreadableError,
    Manifest,
    ManifestFile,
    ManifestTable,
    MissingPredecessorError,
    NoBatchError,
    Predecessor,
    contract_breach,
    parse_file_name,
    parse_header,
    parse_manifest,
)
from acl_assets.landing_zone.store import LandedEntry, LandingZone
from acl_assets.source_schema import SOURCE_TABLES
from acl_assets.util.text import visible_text

_CLOCK_TOLERANCE = timedelta(minutes=15)
_ARCHIVES = {".zip", ".tar", ".tgz", ".gz", ".bz2", ".xz", ".7z", ".zst", ".csv", ".parquet"}


class LandedFolder(NamedTuple):
    """A complete batch as the store lists it, before any file is opened.

    `stamp` has name, size and modification time (ns) of the manifest or, without one, of every file of a table.
    """

    batch_id: str
    folder: str
    stamp: tuple[tuple[str, int, int], ...]

    @property
    def has_manifest(self) -> bool:
        """True if a manifest describes the batch."""
        return self.stamp[0][0] == MANIFEST_NAME

    @property
    def landed_at_ns(self) -> int:
        """When its newest file was written, in nanoseconds since the epoch."""
        return max(modified_ns for _, _, modified_ns in self.stamp)


class BatchHeader(NamedTuple):
    """Kind, export time and digest of a batch, and the bytes of its manifest, which is parsed when a chain needs it."""

    found: LandedFolder
    kind: BatchKind
    exported_at: datetime
    digest: str
    manifest: bytes | None


@dataclass(frozen=True)
class Listing:
    """The content of a landing zone at one moment.

    `headers` has the complete batches, oldest export first, `broken` those whose manifest breaks the contract.
    `skipped` says by printable names why other entries are not used.
    """

    location: str
    headers: tuple[BatchHeader, ...]
    broken: tuple[tuple[LandedFolder, BatchError], ...]
    skipped: Mapping[str, str]

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
        return self.prefix_digests()[-1]

    def prefix_digests(self) -> list[str]:
        """Return the digests of the chains of the first batch, of the first two, and so on up to the whole chain."""
        named = [(batch.batch_id, batch.digest) for batch in self.batches]
        return [chain_digest(named[:length]) for length in range(1, len(named) + 1)]


def chain_digest(batches: Iterable[tuple[str, str]]) -> str:
    """Return the SHA-256 over ids and digests of a chain's batches, in order."""
    return hashlib.sha256(b"".join(f"{batch_id}\0{digest}\n".encode() for batch_id, digest in batches)).hexdigest()


# Listing --------------------------------------------------------------------------------------------------------


class _SkippedError(Exception):
    """An entry of the landing zone is no batch, or none yet; the message is the reason."""


def list_batches(zone: LandingZone, settle_seconds: float, now: float | None = None) -> Listing:
    """List a landing zone at `now`, in seconds since the epoch: a folder is a batch, broken, or skipped with a reason.

    Only manifests are opened, each once per process as long as it does not change. The files of a batch without a
    manifest must have been unchanged for `settle_seconds`.

    Raises:
        LandingZoneError: the folder cannot be listed.
        ObjectStorageError: the URL cannot be listed.
    """
    now = time.time() if now is None else now
    headers: list[BatchHeader] = []
    broken: list[tuple[LandedFolder, BatchError]] = []
    skipped: dict[str, str] = {}
    for entry in zone.entries():
        is_export = PurePosixPath(entry.name).suffix.lower() in _ARCHIVES or entry.name == MANIFEST_NAME
        if not entry.is_folder and not is_export:
            continue
        try:
            found = _find_batch(entry)
            header = _read_header(zone, found)
            _require_due(header, now)
            waited = now - entry.last_change
            if not found.has_manifest and waited < settle_seconds:
                raise _SkippedError(
                    f"its files changed {max(waited, 0):.0f} s ago and must be unchanged for {settle_seconds:.0f} s"
                )
        except _SkippedError as reason:
            skipped[visible_text(entry.name)] = str(reason)
        except FileUnreadableError as error:
            skipped[visible_text(entry.name)] = str(error).rstrip(".")
        except BatchError as error:
            broken.append((found, error))
        else:
            headers.append(header)
    headers.sort(key=lambda header: (header.exported_at, header.found.batch_id))
    return Listing(zone.location, tuple(headers), tuple(broken), skipped)


def _find_batch(entry: LandedEntry) -> LandedFolder:
    """Return the complete batch that an entry of the landing zone is."""
    has_manifest = MANIFEST_NAME in entry.files
    if not entry.is_folder:
        raise _SkippedError("it is a file, and a batch is a folder with the files of all tables")
    if entry.problem is not None:
        raise _SkippedError(entry.problem)
    if MANIFEST_NAME in entry.others:
        raise _SkippedError(f"its {MANIFEST_NAME} is not a regular file")
    if UNFINISHED_MANIFEST_NAME in entry.files and not has_manifest:
        raise _SkippedError("its export has not finished: the manifest is still to come")
    if not entry.name.isprintable():
        raise _SkippedError("its name holds control characters or is not UTF-8; rename the folder")
    if (length := len(entry.name)) > MOST_NAME_CHARACTERS:
        raise _SkippedError(f"its name has {length} characters, and a batch's name at most {MOST_NAME_CHARACTERS}")
    names = [MANIFEST_NAME] if has_manifest else _files_of_tables(entry)
    return LandedFolder(entry.name, entry.location, tuple((name, *entry.files[name]) for name in names))


def _files_of_tables(entry: LandedEntry) -> list[str]:
    """Return the names of the files of all tables, each of which must be there once.

    Nothing but the names shows that a part is missing, so numbered parts must be consecutive, beginning with 0 or 1.
    """
    parts: dict[str, list[tuple[int | None, str]]] = {table: [] for table in SOURCE_TABLES}
    for name in sorted(entry.files):
        if parsed := parse_file_name(name):
            table, part = parsed
            parts[table].append((part, name))
    if missing := [name for name, table in SOURCE_TABLES.items() if not (parts[name] or table.is_optional)]:
        raise _SkippedError(f"it has neither {MANIFEST_NAME} nor files of {', '.join(missing)}{_found_instead(entry)}")
    # Where an export is split, other tools call the parts tickets_2.csv or tickets (2).csv.
    table_or_part = rf"({'|'.join(SOURCE_TABLES)})[^a-z]*\.(csv(\.gz|\.zst)?|parquet)"
    if any(re.fullmatch(table_or_part, name, re.IGNORECASE) and not parse_file_name(name) for name in entry.files):
        raise _SkippedError(f"a file that may hold rows of a table is not named as expected{_found_instead(entry)}")
    files: list[str] = []
    for table, found in parts.items():
        names = visible_text(", ".join(name for _, name in found))
        numbers = sorted(part for part, _ in found if part is not None)
        is_whole_too = len(numbers) < len(found)
        if len(set(numbers)) < len(numbers) or (is_whole_too and len(found) > 1):
            raise _SkippedError(f"{table} is there more than once: {names}; without {MANIFEST_NAME} keep one")
        if numbers and (numbers[0] > 1 or numbers[-1] - numbers[0] + 1 != len(numbers)):
            raise _SkippedError(f"the parts of {table} are not numbered without a gap from 0 or 1: {names}")
        files += [name for _, name in sorted(found)]
    return files


def _found_instead(entry: LandedEntry) -> str:
    """Return what a folder holds that is no file of a table, and what is expected."""
    found = [name for name in entry.files if not parse_file_name(name)]
    found += [f"{name} (not a regular file)" for name in entry.others]
    if not found:
        return "" if entry.files else "; it is empty"
    expected = "regular files directly in the folder, in lower case: tickets.csv, tickets.csv.gz or tickets-1.parquet"
    return f"; found instead: {visible_text(', '.join(found))}; expected are {expected}"


@lru_cache(maxsize=32_768)
def _read_header(zone: LandingZone, found: LandedFolder) -> BatchHeader:
    """Read what orders a batch; the cache makes it cost one reading per batch and process."""
    if not found.has_manifest:
        exported_at = datetime.fromtimestamp(found.landed_at_ns / 1e9, UTC)
        return BatchHeader(found, "full", exported_at, hashlib.sha256(repr(found.stamp).encode()).hexdigest(), None)
    where = f"{found.folder}/{MANIFEST_NAME}"
    content = zone.read_manifest(found.folder)
    if len(content) > MOST_MANIFEST_BYTES:
        raise contract_breach(where, "it is larger than 16 MiB")
    header = parse_header(content, where)
    return BatchHeader(found, header.kind, header.exported_at, hashlib.sha256(content).hexdigest(), content)


def _require_due(header: BatchHeader, now: float) -> None:
    """Skip a batch of the future until its time has come.

    It would win over every real batch and turn performances that are still on sale into completed ones.
    """
    if header.exported_at > datetime.fromtimestamp(now, UTC) + _CLOCK_TOLERANCE:
        what = "exported_at" if header.found.has_manifest else "the time of its newest file"
        raise _SkippedError(
            f"{what} is {header.exported_at:%Y-%m-%d %H:%M:%S} UTC, which is in the future; correct the clock or the "
            "time zone of the exporter and land the batch again"
        )


# The chain ------------------------------------------------------------------------------------------------------


def resolve_chain(listing: Listing) -> BatchChain:
    """Return the batches that make up the source tables: the newest full batch and the incremental ones after it.

    Raises:
        NoBatchError: there is no complete full batch; the message says what is there and what to do.
        MissingPredecessorError: the batch an incremental batch continues from has not landed.
        BatchError: a batch of the chain, or one whose place in it is unknown, breaks the contract.
    """
    full = [header for header in listing.headers if header.kind == "full"]
    newest_full_landed_at = max((header.found.landed_at_ns for header in full), default=0)
    for found, error in listing.broken:
        # Its export time cannot be read, so the landing time decides whether a newer full batch supersedes it.
        if found.landed_at_ns >= newest_full_landed_at:
            raise error
    if not full:
        raise NoBatchError(
            f"No complete full export batch in {listing.location}.{listing.skipped_text} Put the files of all tables "
            f"({', '.join(f'{table}.csv' for table in SOURCE_TABLES)}) there, in a folder of their own, set "
            "ACL_EXPORTS_DIR to where they are, or practise on simulated ones: make run, or with object storage "
            "python -m acl_assets.simulator write-batch."
        )
    batches = tuple(_read_batch(header) for header in listing.headers[listing.headers.index(full[-1]) :])
    for before, batch in pairwise(batches):
        _require_continuation(before, batch, listing)
    return BatchChain(batches)


def _require_continuation(before: ExportBatch, batch: ExportBatch, listing: Listing) -> None:
    """Refuse a chain with a link missing, changed or added in between: rows would be lost unseen."""
    if batch.continues_from == Predecessor(before.batch_id, before.digest):
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


def _read_batch(header: BatchHeader) -> ExportBatch:
    """Parse the whole manifest of a batch, or describe one without a manifest by its files."""
    found = header.found
    if header.manifest is not None:
        manifest = parse_manifest(header.manifest, found.batch_id, f"{found.folder}/{MANIFEST_NAME}")
    else:
        files: dict[str, list[ManifestFile]] = {table: [] for table in SOURCE_TABLES}
        for name, size, modified_ns in found.stamp:
            files[re.split(r"[-.]", name, maxsplit=1)[0]].append(ManifestFile(name, size, None, None, modified_ns))
        tables = {table: ManifestTable(None, tuple(described)) for table, described in files.items()}
        manifest = Manifest(found.batch_id, header.kind, header.exported_at, tables)
    return ExportBatch(**vars(manifest), folder=found.folder, digest=header.digest, has_manifest=found.has_manifest)
