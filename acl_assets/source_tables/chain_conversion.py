"""The conversion of a batch chain: which batches are new, one table after the other, and the finished folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from acl_assets.landing_zone.batches import BatchChain
from acl_assets.landing_zone.manifest import BatchError, ExportBatch
from acl_assets.landing_zone.store import landing_zone_at
from acl_assets.settings import Settings
from acl_assets.source_schema import SOURCE_TABLES
from acl_assets.source_tables import remote
from acl_assets.source_tables.conversion import Log, MadeTable, TableOrder
from acl_assets.source_tables.current_state import (
    REJECTS,
    ConvertedBatch,
    KeptChain,
    begin_folder,
    finish_folder,
    longest_prefix,
    switch_current,
    table_file,
)
from acl_assets.util.processes import ChildProcesses

_MAKE_TABLE = "acl_assets.source_tables.conversion:make_table"
_BYTES_FOR_TWO = 20_000_000


class BadTablesError(BatchError):
    """Tables of a batch break the contract; `errors` has the reason by table, the message all of them."""

    def __init__(self, errors: Mapping[str, BatchError]) -> None:
        super().__init__("\n".join(map(str, errors.values())))
        self.errors = errors


@dataclass(frozen=True)
class Conversion:
    """The current source tables, and those of them that were made in this run, by name."""

    current: KeptChain
    made: Mapping[str, MadeTable]


def convert_chain(settings: Settings, chain: BatchChain, *, log: Log, warn: Log) -> Conversion:
    """Make the tables of a batch chain the current ones, beginning with what earlier refreshes have made.

    Raises:
        BadTablesError: files of a batch break the contract.
        ObjectStorageError: a file cannot be fetched or sent.
    """
    source_tables_dir, url = settings.source_tables_dir, settings.source_tables_url
    kept = longest_prefix(source_tables_dir, chain, warn)
    held = kept.chain.batches if kept else ()
    if url and len(held) < len(chain.batches):
        remote.fetch_prefix(url, source_tables_dir, chain, len(held))
        kept = longest_prefix(source_tables_dir, chain)
        held = kept.chain.batches if kept else ()
    if held:
        log(f"Tables of {len(held)} of {len(chain.batches)} batches are converted already.")
    new = chain.batches[len(held) :]
    made: dict[str, MadeTable] = {}
    if kept is None or new:
        unfinished = begin_folder(source_tables_dir, chain.digest)
        made = _make_tables(settings, new, kept and kept.folder, unfinished, log)
        added = [
            ConvertedBatch(**vars(batch), rows_by_file={table: one.rows_by_file[number] for table, one in made.items()})
            for number, batch in enumerate(new)
        ]
        kept = finish_folder(unfinished, [*held, *added], {table: one.file for table, one in made.items()})
    switch_current(source_tables_dir, kept.folder)
    if url:
        remote.send_current(url, kept.folder)
    return Conversion(kept, made)


def _make_tables(
    settings: Settings, batches: tuple[ExportBatch, ...], base: Path | None, target: Path, log: Log
) -> dict[str, MadeTable]:
    """Make every table in worker processes.

    Raises:
        BadTablesError: files of tables break the contract; the others have been read too.
    """
    exported = {
        table: sum(file.bytes for batch in batches for file in batch.tables[table].files) for table in SOURCE_TABLES
    }
    orders = {
        table: TableOrder(
            zone=landing_zone_at(settings.exports_dir),
            batches=batches,
            table=SOURCE_TABLES[table],
            base=base and table_file(base, table),
            target=table_file(target, table),
            rejects_file=settings.source_tables_dir / REJECTS / f"{table}.jsonl",
        )
        for table in sorted(exported, key=exported.__getitem__, reverse=True)
    }
    made: dict[str, MadeTable] = {}
    errors: dict[str, BatchError] = {}
    # Two tables hold nearly all rows, and a process takes time to start.
    with ChildProcesses(2 if sum(exported.values()) >= _BYTES_FOR_TWO else 1) as processes:
        calls = {table: processes.submit(_MAKE_TABLE, order, log=log) for table, order in orders.items()}
        for table in SOURCE_TABLES:
            try:
                made[table] = calls[table].result()
            except BatchError as error:
                errors[table] = error
    if errors:
        raise BadTablesError(errors)
    return made
