"""Export batches: the contract of their manifests, as data classes, a parser and a writer."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, ValidationError

from acl_assets.source_schema import SOURCE_TABLES
from acl_assets.util.atomic_write import write_atomically
from acl_assets.util.text import visible_text

MANIFEST_NAME = "manifest.json"
MANIFEST_VERSION = 1
UNFINISHED_MANIFEST_NAME = ".manifest.json.unfinished"
MOST_MANIFEST_BYTES = 16 << 20
_FILE_NAME = re.compile(r"(?P<table>[a-z][a-z0-9_]*)(-(?P<part>\d+))?\.(csv|csv\.gz|csv\.zst|parquet)", re.ASCII)
MOST_NAME_CHARACTERS = 128

BatchKind = Literal["full", "incremental"]


class FileName(NamedTuple):
    """The parts of a data file's name: `tickets-2.csv.gz` is part 2 of tickets."""

    table: str
    part: int | None


def parse_file_name(name: str) -> FileName | None:
    """Return the parts of the name of a source table's file, None for any other name."""
    match = _FILE_NAME.fullmatch(name)
    if match is None or match["table"] not in SOURCE_TABLES:
        return None
    return FileName(match["table"], int(match["part"]) if match["part"] else None)


class BatchError(Exception):
    """A batch or one of its files breaks the contract; the message says what, where and what to do."""


class NoBatchError(BatchError):
    """The landing zone holds no complete full batch."""


class MissingPredecessorError(BatchError):
    """An incremental batch landed before the batch it continues from; once that lands too, both count."""


class FileUnreadableError(BatchError):
    """A file of a batch cannot be opened: it is missing, no regular file, or this user may not read it.

    `what` is the reason alone, without place and remedy.
    """

    def __init__(self, where: str, what: str) -> None:
        super().__init__(str(contract_breach(where, what)))
        self.where = where
        self.what = what

    def __reduce__(self) -> tuple[object, ...]:
        # Exceptions are otherwise pickled with their message as the only argument.
        return type(self), (self.where, self.what)


def contract_breach(where: str, what: str) -> BatchError:
    """Return the error for a batch that breaks the contract: where, what was found, and how to recover."""
    return BatchError(
        f"{where}: {what}. Batches are immutable: land a newer full batch, or take this folder out of the landing "
        "zone, then refresh again."
    )


# Data -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ManifestFile:
    """One file of a batch: its name in the folder and what must be found there.

    `sha256` (lower case) and `rows` are None for a batch without a manifest, `modified_ns` (nanoseconds since the
    epoch) for a batch with one.
    """

    path: str
    bytes: int
    sha256: str | None
    rows: int | None
    modified_ns: int | None = None


@dataclass(frozen=True)
class ManifestTable:
    """One source table of a batch, and the totals of the whole table at the source in the same snapshot.

    `rows_at_source` counts the table's rows; `sums_at_source` adds up whole-number columns, by name, where the
    export asked for it.
    """

    rows_at_source: int | None
    files: tuple[ManifestFile, ...]
    sums_at_source: Mapping[str, int] = field(default_factory=dict)

    @property
    def rows(self) -> int | None:
        """Rows of all files together, None where no manifest states them."""
        counts = [file.rows for file in self.files if file.rows is not None]
        return sum(counts) if len(counts) == len(self.files) else None


class Predecessor(NamedTuple):
    """The batch an incremental batch continues from, and that batch's digest at the time."""

    batch_id: str
    digest: str


@dataclass(frozen=True)
class Manifest:
    """The content of `manifest.json`; `exported_at` is the time of the source snapshot, with an offset.

    An incremental batch names the batch it continues from. Per table it holds the rows that are new or changed since;
    a row replaces the row with the same id.
    """

    batch_id: str
    kind: BatchKind
    exported_at: datetime
    tables: Mapping[str, ManifestTable] = field(repr=False)
    source_snapshot: Mapping[str, Any] | None = field(default=None, repr=False)
    continues_from: Predecessor | None = None


@dataclass(frozen=True, kw_only=True)
class ExportBatch(Manifest):
    """One complete batch of the landing zone.

    `folder` is the path or URL of its folder. `digest` names its content: the SHA-256 of the manifest or, without
    one, of the files' names, sizes and modification times. Without a manifest `exported_at` is the newest file's
    modification time.
    """

    folder: str
    digest: str
    has_manifest: bool


# Parsing --------------------------------------------------------------------------------------------------------


def _instant(text: object) -> datetime:
    """Return an ISO 8601 time with an offset in UTC; pydantic itself would also accept seconds since the epoch."""
    try:
        instant = datetime.fromisoformat(text) if isinstance(text, str) else None
        if instant is not None and instant.tzinfo is not None:
            return instant.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise ValueError("it must be an ISO 8601 time with an offset, such as 2022-08-01T06:00:00+00:00")


_Instant = Annotated[datetime, BeforeValidator(_instant)]
_Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9A-Fa-f]{64}$", to_lower=True)]
_Name = Annotated[str, StringConstraints(max_length=MOST_NAME_CHARACTERS)]
_Count = Annotated[int, Field(ge=0, strict=True)]


class _Entry(BaseModel):
    """Base of the manifest's parts: unknown keys are ignored, so that later versions may add some."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class _FileEntry(_Entry):
    path: str
    bytes: _Count
    sha256: _Sha256
    rows: _Count


class _TableEntry(_Entry):
    rows_at_source: _Count
    sums_at_source: dict[str, Annotated[int, Field(strict=True)]] | None = None
    files: list[_FileEntry]


class _PredecessorEntry(_Entry):
    batch_id: _Name
    manifest_digest: _Sha256


class ManifestHeader(_Entry):
    """The part of a manifest that orders its batch among the others."""

    manifest_version: Literal[1]
    kind: BatchKind
    exported_at: _Instant


class _Document(ManifestHeader):
    batch_id: _Name
    source_snapshot: dict[str, Any] | None = None
    continues_from: _PredecessorEntry | None = None
    tables: dict[str, _TableEntry]


_Model = TypeVar("_Model", bound=BaseModel)


def parse_header(content: bytes, where: str) -> ManifestHeader:
    """Return kind and export time of a manifest, without looking at its tables.

    Raises:
        BatchError: the content is not a JSON object, or this part of it breaks the contract.
    """
    return _validated(ManifestHeader, content, where)


def parse_manifest(content: bytes, batch_id: str, where: str) -> Manifest:
    """Return a manifest as data.

    Args:
        content: the bytes of `manifest.json`.
        batch_id: name of the folder it lies in.
        where: path or URL of the file, for error messages.

    Raises:
        BatchError: the manifest breaks the contract.
    """
    document = _validated(_Document, content, where)
    if document.batch_id != batch_id:
        raise contract_breach(where, f"batch_id is {document.batch_id!r}, but the folder is {batch_id!r}")
    require_batch_id(batch_id, where)
    _require_source_tables(document.tables, where)
    absent = ManifestTable(None, ())
    tables = {
        name: _table(name, document.tables[name], document.kind, where) if name in document.tables else absent
        for name in SOURCE_TABLES
    }
    paths = Counter(file.path for table in tables.values() for file in table.files)
    if twice := [path for path, count in paths.items() if count > 1]:
        raise contract_breach(where, f"it lists {twice[0]} twice")
    predecessor = None
    if document.kind == "incremental":
        if document.continues_from is None:
            raise contract_breach(where, "continues_from is missing, and an incremental batch names its predecessor")
        predecessor = Predecessor(document.continues_from.batch_id, document.continues_from.manifest_digest)
    return Manifest(batch_id, document.kind, document.exported_at, tables, document.source_snapshot, predecessor)


def _validated(model: type[_Model], content: bytes, where: str) -> _Model:
    """Validate JSON against a model; the first violation becomes the error."""
    try:
        return model.model_validate_json(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        raise contract_breach(where, _violation(first)) from None


def _violation(error: Mapping[str, Any]) -> str:
    if error["type"] == "json_invalid":
        return f"it is not JSON ({error['msg']})"
    parts = (f"[{part}]" if isinstance(part, int) else f".{visible_text(part)}" for part in error["loc"])
    place = "".join(parts).lstrip(".")
    if error["type"] == "missing":
        return f"{place} is missing"
    expected = error["msg"].removeprefix("Value error, ")
    expected = expected[:1].lower() + expected[1:]
    return f"{place or 'the document'} is {visible_text(repr(error['input']))}: {expected}"


def _require_source_tables(listed: Mapping[str, _TableEntry], where: str) -> None:
    required = {table.name for table in SOURCE_TABLES.values() if not table.is_optional}
    if missing := required - listed.keys():
        raise contract_breach(where, f"it lists no {', '.join(sorted(missing))}")
    if unknown := listed.keys() - SOURCE_TABLES.keys():
        raise contract_breach(where, f"it lists unknown tables: {visible_text(', '.join(sorted(unknown)))}")


def _table(name: str, entry: _TableEntry, kind: BatchKind, where: str) -> ManifestTable:
    if kind == "full" and not entry.files and not SOURCE_TABLES[name].is_optional:
        raise contract_breach(where, f"it lists no file of {name}, and a full batch holds every table")
    for file in entry.files:
        _require_file_name(name, file.path, where)
    sums = entry.sums_at_source or {}
    whole_numbers = {column.name for column in SOURCE_TABLES[name].columns if column.type == "int"}
    if not sums.keys() <= whole_numbers:
        raise contract_breach(
            where, f"sums_at_source of {name} is {visible_text(repr(sums))}, not sums of its whole-number columns"
        )
    files = tuple(ManifestFile(file.path, file.bytes, file.sha256, file.rows) for file in entry.files)
    return ManifestTable(entry.rows_at_source, files, sums)


def _require_file_name(table: str, path: str, where: str) -> None:
    """Refuse every path but a file name of the table; a bare name cannot point outside the folder."""
    name = parse_file_name(path)
    if name is None or name.table != table:
        raise contract_breach(
            where,
            f"path {visible_text(repr(path))} is not accepted for {table}: a file lies directly in the batch's folder "
            f"and is called {table} or {table}-<number>, then .csv, .csv.gz, .csv.zst or .parquet",
        )


def require_batch_id(batch_id: str, where: str) -> None:
    """Refuse a name that cannot name a batch with a manifest.

    Raises:
        BatchError: it is too long, or has other characters than the contract allows.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._+:@=-]{0,127}", batch_id):
        raise contract_breach(
            where,
            f"{batch_id!r} cannot name a batch: up to 128 letters, digits and . _ + : @ = -, a letter or digit first",
        )


# Writing --------------------------------------------------------------------------------------------------------


def begin_batch(exports_dir: Path, batch_id: str) -> Path:
    """Create the folder of a new batch, marked as unfinished until `write_manifest`, and return it.

    The mark keeps a slow export from being taken for a batch without a manifest.

    Raises:
        BatchError: the name cannot name a batch, or a folder of that name exists; batches are immutable.
    """
    require_batch_id(batch_id, where=str(exports_dir))
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
    """Return whether the folder is a batch whose manifest is still to come, False when it cannot be looked into."""
    try:
        return (folder / UNFINISHED_MANIFEST_NAME).exists() and not (folder / MANIFEST_NAME).exists()
    except PermissionError:
        return False


def describe_file(folder: Path, path: str, rows: int | None) -> ManifestFile:
    """Describe a finished file of a batch for its manifest: size and SHA-256 as they are on disk."""
    with (folder / path).open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256")
        return ManifestFile(path, stream.tell(), digest.hexdigest(), rows)


def write_manifest(folder: Path, manifest: Manifest) -> Path:
    """Write the manifest atomically and remove the mark of the unfinished batch: from now on the batch exists."""
    before = manifest.continues_from
    document = {
        "manifest_version": MANIFEST_VERSION,
        "batch_id": manifest.batch_id,
        "kind": manifest.kind,
        "exported_at": manifest.exported_at.isoformat(),
        "continues_from": before and {"batch_id": before.batch_id, "manifest_digest": before.digest},
        "source_snapshot": manifest.source_snapshot,
        "tables": {name: _table_entry(table) for name, table in manifest.tables.items()},
    }
    write_atomically(folder / MANIFEST_NAME, json.dumps(document, indent=2))
    (folder / UNFINISHED_MANIFEST_NAME).unlink(missing_ok=True)
    return folder / MANIFEST_NAME


def _table_entry(table: ManifestTable) -> dict[str, Any]:
    files = [{"path": file.path, "bytes": file.bytes, "sha256": file.sha256, "rows": file.rows} for file in table.files]
    return {"rows_at_source": table.rows_at_source, "sums_at_source": dict(table.sums_at_source), "files": files}
