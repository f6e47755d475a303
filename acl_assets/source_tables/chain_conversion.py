"""The conversion of a batch chain: which batches are new, one table after the other, and the finished folder."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path

from acl_assets.landing_zone.batches import BatchChain
from acl_assets.landing_zone.store import landing_zone_at
from acl_assets.settings import Settings
from acl_assets.source_schema import SOURCE_TABLES, SourceTable
from acl_assets.source_tables import remote
from acl_assets.source_tables.conversion import TableOrder
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
from acl_assets.util.processes import ChildProcess, ChildProcesses

_MAKE_TABLE = "acl_assets.source_tables.conversion:make_table"
_TOTALS = "acl_assets.source_tables.conversion:totals_of"
_BYTES_FOR_TWO = 20_000_000

Log = Callable[[str], None]


def convert_chain(settings: Settings, chain: BatchChain, log: Log = lambda message: None) -> ConvertedChain:
    """Convert a batch chain, make its tables the current ones, and return what they hold.

    Raises:
        BatchError: a batch breaks the contract.
        ObjectStorageError: a file cannot be fetched or sent.
    """
    conversion = ChainConversion(settings, chain, log=log, warn=log)
    with ChildProcesses(conversion.processes) as processes:
        made = [processes.submit(conversion.make, table) for table in conversion.largest_first()]
        for table in made:
            table.result()
    return conversion.finish()[1]


class ChainConversion:
    """Makes the tables of a batch chain in a new folder, beginning with what earlier refreshes have made."""

    def __init__(self, settings: Settings, chain: BatchChain, *, log: Log, warn: Log) -> None:
        self._settings, self._chain, self._log, self._warn = settings, chain, log, warn
        self._seconds: dict[str, float] = {}
        self._rows_by_file: dict[str, list[dict[str, int]]] = {}
        self._totals: dict[str, tuple[int, Mapping[str, int]]] = {}
        self._base, self._held = self._find_base()
        self.new_batches = chain.batches[len(self._held) :]
        self._unfinished = begin_folder(settings.source_tables_dir, chain.digest) if self.is_needed else None

    @property
    def is_needed(self) -> bool:
        """Whether there is anything to convert."""
        return bool(self.new_batches)

    @property
    def processes(self) -> int:
        """How many conversions run at a time: two tables hold nearly all rows, and a process takes time to start."""
        return 2 if sum(map(self._exported_bytes, SOURCE_TABLES.values())) >= _BYTES_FOR_TWO else 1

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

    def largest_first(self) -> list[SourceTable]:
        """Return the source tables, those first that take longest to convert."""
        return sorted(SOURCE_TABLES.values(), key=self._exported_bytes, reverse=True)

    def _exported_bytes(self, table: SourceTable) -> int:
        return sum(file.bytes for batch in self.new_batches for file in batch.tables[table.name].files)

    def make(self, process: ChildProcess, table: SourceTable) -> None:
        """Make one table in a process of its own, which gives its memory back; do nothing when it has been made.

        Raises:
            BatchError: a batch breaks the contract.
        """
        if self._unfinished is None:
            return
        started = time.perf_counter()
        target = table_file(self._unfinished, table.name)
        order = TableOrder(
            zone=landing_zone_at(self._settings.exports_dir),
            batches=self.new_batches,
            table=table,
            base=table_file(self._base, table.name) if self._base else None,
            target=target,
            rejects_file=self._settings.source_tables_dir / REJECTS / f"{table.name}.jsonl",
        )
        self._rows_by_file[table.name] = process.call(_MAKE_TABLE, order, log=self._log)
        self._totals[table.name] = process.call(_TOTALS, target, table)
        self._seconds[table.name] = time.perf_counter() - started
        self._log(
            f"{table.name}: {self.new_rows(table):,} rows of {len(self.new_batches)} batches converted in "
            f"{self._seconds[table.name]:.2f} s ({target.stat().st_size:,} bytes)."
        )

    def new_rows(self, table: SourceTable) -> int:
        """Return how many rows of a table were read in this run."""
        return sum(sum(rows.values()) for rows in self._rows_by_file.get(table.name, ()))

    def rows_per_second(self, table: SourceTable) -> int | None:
        """Return how fast a table was read, None when it was not."""
        seconds = self._seconds.get(table.name)
        return round(self.new_rows(table) / seconds) if seconds else None

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
            describe_batch(batch, {table: rows[number] for table, rows in self._rows_by_file.items()})
            for number, batch in enumerate(self.new_batches)
        ]
        return finish_folder(self._unfinished, [*self._held, *new], self._totals)
