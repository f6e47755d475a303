"""Export batches: the contract of their manifests, as data classes, a parser and a writer."""

import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, cast

from pydantic import (
    BeforeValidator,
    Field,
    PlainSerializer,
    StringConstraints,
    TypeAdapter,
    ValidationError,
)

from acl_assets.source_schema import SOURCE_TABLES
from acl_assets.util.atomic_write import write_atomically
from acl_assets.util.text import visible_text

MANIFEST_NAME = "manifest.json"
UNFINISHED_MANIFEST_NAME = ".manifest.json.unfinished"
MOST_MANIFEST_BYTES = 16 << 20
MOST_NAME_CHARACTERS = 128
_FILE_NAME = re.compile(r"(?P<table>[a-z][a-z0-9_]*)(-(?P<part>\d{1,128}))?\.(csv|csv\.gz|csv\.zst|parquet)", re.ASCII)

BatchKind = Literal["full", "incremental"]


def parse_file_name(name: str) -> tuple[str, int | None] | None:
    """Return table and part number of a source table's file such as `tickets-2.csv.gz`, None for any other name."""
    match = _FILE_NAME.fullmatch(name)
    if match is None or match["table"] not in SOURCE_TABLES:
        return None
    return match["table"], int(match["part"]) if match["part"] else None


class BatchError(Exception):
    """A batch or one of its files breaks the contract; the message says what, where and what to do."""


class NoBatchError(BatchError):
    """The landing zone holds no complete full batch."""


class MissingPredecessorError(BatchError):
    """An incremental batch landed before the batch it continues from; once that lands too, both count."""


class FileUnreadableError(BatchError):
    """A file of a batch cannot be opened: it is missing, no regular file, or this user may not read it."""


def contract_breach(where: str, what: str, kind: type[BatchError] = BatchError) -> BatchError:
    """Return the error for a batch that breaks the contract: where, what was found, and how to recover."""
    return kind(
        f"{where}: {what}. Batches are immutable: land a newer full batch, or take this folder out of the landing "
        "zone, then refresh again."
    )


# Data: the annotations are the contract of a manifest ---------------------------------------------------------------


def _parse_instant(text: object) -> datetime:
    """Return an ISO 8601 time with an offset in UTC; pydantic itself would also accept seconds since the epoch."""
    with suppress(TypeError, ValueError, OverflowError):
        instant = datetime.fromisoformat(cast("str", text))
        if instant.tzinfo is not None:
            return instant.astimezone(UTC)
    raise ValueError("it must be an ISO 8601 time with an offset, such as 2022-08-01T06:00:00+00:00")


_Instant = Annotated[datetime, BeforeValidator(_parse_instant), PlainSerializer(datetime.isoformat)]
_Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9A-Fa-f]{64}$", to_lower=True)]
_Count = Annotated[int, Field(ge=0, strict=True)]
_Sums = Annotated[
    Mapping[str, Annotated[int, Field(strict=True)]], BeforeValidator(lambda sums: {} if sums is None else sums)
]
_Unstated = Annotated[int | None, BeforeValidator(lambda _: None), Field(exclude=True)]


@dataclass(frozen=True)
class ManifestFile:
    """One file of a batch: its name in the folder and what must be found there.

    `sha256` (lower case) and `rows` are None for a batch without a manifest, `modified_ns` (nanoseconds since the
    epoch) for a batch with one.
    """

    path: str
    bytes: _Count
    sha256: _Sha256 | None
    rows: _Count | None
    modified_ns: _Unstated = None


@dataclass(frozen=True)
class ManifestTable:
    """One source table of a batch, with the row count and sums of whole-number columns at the source, as far as stated.

    These are totals of the whole table in the same snapshot.
    """

    rows_at_source: _Count | None
    files: tuple[ManifestFile, ...]
    sums_at_source: _Sums = field(default_factory=dict)

    @property
    def rows(self) -> int | None:
        """Rows of all files together, None where no manifest states them."""
        counts = [file.rows for file in self.files if file.rows is not None]
        return sum(counts) if len(counts) == len(self.files) else None


@dataclass(frozen=True)
class Predecessor:
    """The batch an incremental batch continues from, and that batch's digest at the time."""

    batch_id: str
    digest: Annotated[_Sha256, Field(alias="manifest_digest")]


@dataclass(frozen=True)
class Manifest:
    """The content of `manifest.json`; `exported_at` is the time of the source snapshot.

    An incremental batch holds the rows that are new or changed since the batch it continues from.
    """

    batch_id: str
    kind: BatchKind
    exported_at: _Instant
    tables: Mapping[str, ManifestTable] = field(repr=False)
    source_snapshot: Mapping[str, Any] | None = field(default=None, repr=False)
    continues_from: Predecessor | None = None


@dataclass(frozen=True, kw_only=True)
class ExportBatch(Manifest):
    """A complete batch in the folder (path or URL) `folder`; without a manifest `exported_at` is its newest file time.

    `digest` is the SHA-256 of the manifest or, without one, of the files' names, sizes and modification times.
    """

    folder: str
    digest: str
    has_manifest: bool


@dataclass(frozen=True)
class ManifestHeader:
    """The part of a manifest that orders its batch among the others."""

    manifest_version: Literal[1]
    kind: BatchKind
    exported_at: _Instant


_HEADER = TypeAdapter(ManifestHeader)
_MANIFEST = TypeAdapter(Manifest)
_Parsed = TypeVar("_Parsed")


def parse_header(content: bytes, where: str) -> ManifestHeader:
    """Return kind and export time of a manifest without looking at its tables, or raise BatchError."""
    return _validated(_HEADER, content, where)


def parse_manifest(content: bytes, batch_id: str, where: str) -> Manifest:
    """Return the manifest of the folder `batch_id`, or raise BatchError when it breaks the contract.

    `parse_header` has checked the rest of it. Unknown keys are ignored, so that later versions may add some.
    """
    manifest = _validated(_MANIFEST, content, where)
    if manifest.batch_id != batch_id:
        raise contract_breach(
            where, f"batch_id is {visible_text(repr(manifest.batch_id))}, but the folder is {batch_id!r}"
        )
    require_batch_id(batch_id, where)
    required = {table.name for table in SOURCE_TABLES.values() if not table.is_optional}
    if missing := required - manifest.tables.keys():
        raise contract_breach(where, f"it lists no {', '.join(sorted(missing))}")
    if unknown := manifest.tables.keys() - SOURCE_TABLES.keys():
        raise contract_breach(where, f"it lists unknown tables: {visible_text(', '.join(sorted(unknown)))}")
    for name, table in manifest.tables.items():
        _require_valid_table(name, table, where)
        if manifest.kind == "full" and not table.files and name in required:
            raise contract_breach(where, f"it lists no file of {name}, and a full batch holds every table")
    paths = Counter(file.path for table in manifest.tables.values() for file in table.files)
    if twice := [path for path, count in paths.items() if count > 1]:
        raise contract_breach(where, f"it lists {twice[0]} twice")
    if manifest.kind == "incremental" and manifest.continues_from is None:
        raise contract_breach(where, "continues_from is missing, and an incremental batch names its predecessor")
    absent = ManifestTable(None, ())
    return replace(manifest, tables={name: manifest.tables.get(name, absent) for name in SOURCE_TABLES})


def _validated(contract: TypeAdapter[_Parsed], content: bytes, where: str) -> _Parsed:
    """Parse JSON as a data class; its first violation becomes the error."""
    try:
        return contract.validate_json(content)
    except ValidationError as invalid:
        error = invalid.errors(include_url=False, include_context=False)[0]
    if error["type"] == "json_invalid":
        raise contract_breach(where, f"it is not JSON ({error['msg']})")
    place = visible_text(".".join(str(part) for part in error["loc"])) or "the document"
    found = "missing" if error["type"] == "missing" else visible_text(repr(error["input"]))
    raise contract_breach(where, f"{place} is {found}: {error['msg'].removeprefix('Value error, ')}")


def _require_valid_table(name: str, table: ManifestTable, where: str) -> None:
    """Refuse every path but a file name of the table, which cannot point outside the folder, and unknown sums.

    Converted batches without a manifest are kept with null for checksums and counts, which a manifest must state.
    """
    if table.rows_at_source is None or any(file.sha256 is None or file.rows is None for file in table.files):
        raise contract_breach(where, f"rows_at_source of {name}, or sha256 or rows of one of its files, is null")
    for file in table.files:
        parsed = parse_file_name(file.path)
        if parsed is None or parsed[0] != name:
            raise contract_breach(
                where,
                f"path {visible_text(repr(file.path))} is not accepted for {name}: a file lies directly in the batch's "
                f"folder and is called {name} or {name}-<number>, then .csv, .csv.gz, .csv.zst or .parquet",
            )
    whole_numbers = {column.name for column in SOURCE_TABLES[name].columns if column.type == "int"}
    if not table.sums_at_source.keys() <= whole_numbers:
        sums = visible_text(repr(dict(table.sums_at_source)))
        raise contract_breach(where, f"sums_at_source of {name} is {sums}, not sums of its whole-number columns")


def require_batch_id(batch_id: str, where: str) -> None:
    """Raise BatchError for a name that cannot name a batch with a manifest."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._+:@=-]{0,127}", batch_id):
        raise contract_breach(
            where,
            f"{batch_id!r} cannot name a batch: up to 128 letters, digits and . _ + : @ = -, a letter or digit first",
        )


# Writing --------------------------------------------------------------------------------------------------------


def already_there(place: Path | str) -> BatchError:
    """Return the error for a new batch where a folder or URL of its name is taken."""
    return BatchError(f"{place} is there already and batches are immutable; choose another batch id or remove it.")


def begin_batch(exports_dir: Path, batch_id: str) -> Path:
    """Create the folder of a new batch and return it, or raise BatchError when it exists or cannot be named so.

    A mark, until `write_manifest`, keeps a slow export from being taken for a batch without a manifest.
    """
    require_batch_id(batch_id, where=str(exports_dir))
    folder = exports_dir / batch_id
    try:
        folder.mkdir(parents=True)
    except FileExistsError:
        raise already_there(folder) from None
    (folder / UNFINISHED_MANIFEST_NAME).touch()
    return folder


def is_unfinished(folder: Path) -> bool:
    """Return whether the folder is a batch whose manifest is still to come, False when it cannot be looked into."""
    return os.path.exists(folder / UNFINISHED_MANIFEST_NAME) and not os.path.exists(folder / MANIFEST_NAME)


def describe_file(folder: Path, path: str, rows: int | None) -> ManifestFile:
    """Describe a finished file of a batch for its manifest: size and SHA-256 as they are on disk."""
    with (folder / path).open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256")
        return ManifestFile(path, stream.tell(), digest.hexdigest(), rows)


def write_manifest(folder: Path, manifest: Manifest) -> Path:
    """Write the manifest atomically and remove the mark of the unfinished batch: from now on the batch exists."""
    content = _MANIFEST.dump_python(manifest, mode="json", by_alias=True)
    write_atomically(folder / MANIFEST_NAME, json.dumps({"manifest_version": 1, **content}, indent=2))
    (folder / UNFINISHED_MANIFEST_NAME).unlink(missing_ok=True)
    return folder / MANIFEST_NAME
