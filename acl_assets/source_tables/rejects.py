"""Rejects: the values and lines of a batch that break the contract, collected, stored and reported.

Rejected text can be personal data. It is in the rejects file, which only its owner may read, and nowhere else.
"""

import json
from io import BufferedReader
from pathlib import Path
from typing import NamedTuple

from acl_assets.landing_zone.manifest import contract_breach
from acl_assets.source_schema import SourceTable
from acl_assets.util.atomic_write import write_atomically

MOST_REJECTS = 1_000
_REPORTED_REJECTS = 5
_STORED_TEXT = 2_000
_REPORTED_TEXT = 120


class Reject(NamedTuple):
    """One value, or one whole line, that breaks the contract.

    `line` counts from 1: the line of a CSV file on which the record starts, the header being line 1, or the row of a
    Parquet file. `column` is None where the line as a whole is at fault. `text` is what was found there.
    """

    file: str
    line: int
    column: str | None
    text: str
    reason: str


class RejectLog:
    """Collects the rejects of one table, up to 1,000; `file` is where they are stored, as one JSON object per line."""

    def __init__(self, table: SourceTable, file: Path) -> None:
        self.table = table
        self.file = file
        self.rejects: list[Reject] = []

    @property
    def is_full(self) -> bool:
        """True once there are 1,000 rejects, the limit."""
        return len(self.rejects) >= MOST_REJECTS

    def add(self, file: str, line: int, column: str | None, text: str, reason: str) -> None:
        """Keep one reject, with the first 2,000 characters of its text, unless the limit is reached."""
        if not self.is_full:
            self.rejects.append(Reject(file, line, column, text[:_STORED_TEXT], reason))

    def raise_for_rejects(self, folder: str) -> None:
        """Store the rejects of a batch's folder and raise BatchError with the first of them; without any do nothing."""
        if not self.rejects:
            return
        self.file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        stored = (json.dumps(reject._asdict(), ensure_ascii=False) + "\n" for reject in self.rejects)
        write_atomically(self.file, "".join(stored), mode=0o600)
        count = f"{'at least ' if self.is_full else ''}{len(self.rejects):,} lines or values are"
        if len(self.rejects) == 1:
            count = "1 line or value is"
        shown = "\n  ".join(_describe(reject, self.table) for reject in self.rejects[:_REPORTED_REJECTS])
        raise contract_breach(self.table.name, f"{count} rejected in {folder}:\n  {shown}\nSee {self.file}")


def _describe(reject: Reject, table: SourceTable) -> str:
    place = "row" if reject.file.endswith(".parquet") else "line"
    column = f", column {reject.column}" if reject.column else ""
    # Where columns are shifted, a name can stand in any of them.
    found = "(personal data)" if table.personal_columns else repr(reject.text[:_REPORTED_TEXT])
    return f"{reject.file} {place} {reject.line}{column}: {found} {reject.reason}."


class OpenFile(NamedTuple):
    """A verified file of a batch, open so that no name is looked up again, and what its reader needs.

    Errors name it `where`, by its path or URL. What does not fit its table goes to `rejects`.
    """

    stream: BufferedReader
    name: str
    where: str
    rejects: RejectLog

    @property
    def table(self) -> SourceTable:
        """The source table that it is of."""
        return self.rejects.table
