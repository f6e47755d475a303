"""The conversion of a batch chain: which batches are new, one table after the other, and the finished folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from acl_assets.landing_zone.batches import BatchChain
from acl_assets.landing_zone.manifest import BatchError
from acl_assets.landing_zone.store import landing_zone_at
from acl_assets.settings import Settings
from acl_assets.source_schema import SOURCE_TABLES
from acl_assets.source_tables import remote
from acl_assets.source_tables.conversion import MadeTable, TableOrder
from acl_assets.source_tables.current_state import (
    REJECTS,
    ConvertedBatch,
    ConvertedChain,
    DamagedStateError,
    begin_folder,
    describe_batch,
    finish_folder,
    longest_prefix,
    read_chain,
    switch_current,
    table_file,
)
from acl_assets.util.processes import ChildProcesses

_MAKE_TABLE = "acl_assets.source_tables.conversion:make_table"
_BYTES_FOR_TWO = 20_000_000

Log = Callable[[str], None]


def convert_chain(settings: Settings, chain: BatchChain, log: Log = lambda message: None) -> ConvertedChain:
    """Convert a batch chain, make its tables the current ones, and return what they hold.

    Raises:
        BatchError: a batch breaks the contract; the first error when there are several.
        ObjectStorageError: a file cannot be fetched or sent.
    """
    conversion = ChainConversion(settings, chain, log=log, warn=log)
    for error in conversion.make_tables().values():
        raise error
    return conversion.finish()[1]


class ChainConversion:
    """Makes the tables of a batch chain in a new folder, beginning with what earlier refreshes have made.

    `made` holds the tables that were made in this run, by name.
    """

    def __init__(self, settings: Settings, chain: BatchChain, *, log: Log, warn: Log) -> None:
        self._settings, self._chain, self._log, self._warn = settings, chain, log, warn
        self.made: dict[str, MadeTable] = {}
        self._base, self._held = self._find_base()
        self._new_batches = chain.batches[len(self._held) :]
        self._unfinished = begin_folder(settings.source_tables_dir, chain.digest) if self.is_needed else None

    @property
    def is_needed(self) -> bool:
        """Whether there is anything to convert."""
        return bool(self._new_batches)

    def _find_base(self) -> tuple[Path | None, tuple[ConvertedBatch, ...]]:
        source_tables_dir, url = self._settings.source_tables_dir, self._settings.source_tables_url
        base, held, damage = longest_prefix(source_tables_dir, self._chain)
        for found in damage:
            self._warn(f"{found}. The source tables are made again.")
        if url and len(held) < len(self._chain.batches):
            remote.fetch_prefix(url, source_tables_dir, self._chain, len(held))
            base, held, _ = longest_prefix(source_tables_dir, self._chain)
        if held:
            self._log(f"Tables of {len(held)} of {len(self._chain.batches)} batches are converted already.")
        return base, held

    def make_tables(self) -> dict[str, BatchError]:
        """Make every table that has not been made, in worker processes, and return what is wrong with others."""
        errors: dict[str, BatchError] = {}
        if self._unfinished is None:
            return errors
        exported = {
            table: sum(file.bytes for batch in self._new_batches for file in batch.tables[table].files)
            for table in SOURCE_TABLES
        }
        # Two tables hold nearly all rows, and a process takes time to start.
        with ChildProcesses(2 if sum(exported.values()) >= _BYTES_FOR_TWO else 1) as processes:
            calls = {
                table: processes.submit(_MAKE_TABLE, self._order(table, self._unfinished), log=self._log)
                for table in sorted(exported, key=exported.__getitem__, reverse=True)
            }
            for table in SOURCE_TABLES:
                try:
                    self.made[table] = calls[table].result()
                except BatchError as error:
                    errors[table] = error
        return errors

    def _order(self, table: str, folder: Path) -> TableOrder:
        return TableOrder(
            zone=landing_zone_at(self._settings.exports_dir),
            batches=self._new_batches,
            table=SOURCE_TABLES[table],
            base=table_file(self._base, table) if self._base else None,
            target=table_file(folder, table),
            rejects_file=self._settings.source_tables_dir / REJECTS / f"{table}.jsonl",
        )

    def finish(self) -> tuple[Path, ConvertedChain]:
        """Make the tables the current ones, once every table has been made; return their folder and what it holds.

        Raises:
            DamagedStateError: the folder of tables made earlier is gone.
            ObjectStorageError: the tables cannot be sent.
        """
        folder, converted = self._folder()
        switch_current(self._settings.source_tables_dir, folder)
        if self._settings.source_tables_url:
            remote.send_current(self._settings.source_tables_url, folder)
        return folder, converted

    def _folder(self) -> tuple[Path, ConvertedChain]:
        if self._unfinished is None:
            folder = self._settings.source_tables_dir / self._chain.digest
            converted = read_chain(folder)
            if converted is None:
                raise DamagedStateError(f"{folder} was removed while this run read it. Refresh again.")
            return folder, converted
        new = [
            describe_batch(batch, {table: made.rows_by_file[number] for table, made in self.made.items()})
            for number, batch in enumerate(self._new_batches)
        ]
        totals = {table: (made.rows, made.sums) for table, made in self.made.items()}
        return finish_folder(self._unfinished, [*self._held, *new], totals)
