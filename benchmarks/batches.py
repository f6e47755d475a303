"""Write the export batches of a scale: `python -m benchmarks.batches FOLDER SCALE KIND...`.

`full/` and `csv/` hold one full batch of the same rows. `incremental/` holds an earlier full batch and an incremental
batch, which together give the same rows. `earlier/` holds only that earlier batch.
"""

import os
import shutil
import sys
from collections.abc import Callable, Collection, Iterator
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from acl_assets.simulator.batch import write_batch, write_incremental_batch
from acl_assets.simulator.sales import TicketingHistory
from benchmarks.contenders import CSV, EARLIER, FULL, INCREMENTAL

_NEW_SHARE = 0.008
_CORRECTED_EVERY = 500
_PRICE_STEP = pa.scalar(5, pa.int32())


class EarlierHistory(TicketingHistory):
    """A history that differs from a later one in 1 % of the tickets: 0.8 % are missing, 0.2 % have another price."""

    def __init__(self, later: TicketingHistory) -> None:
        wanted = (1 - _NEW_SHARE) * later.expected_tickets
        least, most = timedelta(0), timedelta(days=365)
        while most - least > timedelta(minutes=1):
            middle = (least + most) / 2
            sold = TicketingHistory(later.scale, later.seed, later.exported_at - middle).expected_tickets
            least, most = (middle, most) if sold > wanted else (least, middle)
        super().__init__(later.scale, later.seed, later.exported_at - most)

    def stream(self) -> Iterator[tuple[str, pa.Table]]:
        """Yield the rows of all tables."""
        for name, rows in super().stream():
            yield name, _with_other_prices(rows) if name == "tickets" else rows


def _with_other_prices(tickets: pa.Table) -> pa.Table:
    place = tickets.schema.get_field_index("price")
    is_corrected = pc.equal(pc.modulo(tickets["id"], _CORRECTED_EVERY), 0)
    prices = pc.if_else(is_corrected, pc.add(tickets["price"], _PRICE_STEP), tickets["price"])
    return tickets.set_column(place, tickets.schema.field(place), prices)


def write_batches(folder: Path, scale: float, kinds: Collection[str]) -> None:
    """Write batches of the given kinds, unless the folder has them from an earlier benchmark."""
    later = TicketingHistory(scale)
    if FULL in kinds:
        _write_once(folder / FULL, lambda exports: write_batch(exports, "later", later))
    if CSV in kinds:
        _write_once(folder / CSV, lambda exports: write_batch(exports, "later", later, "csv"))
    if INCREMENTAL in kinds:
        _write_once(folder / INCREMENTAL, lambda exports: _write_increment(exports, later))
        _write_once(folder / EARLIER, lambda exports: _link(folder / INCREMENTAL / "earlier", exports / "earlier"))


def _write_once(exports: Path, write: Callable[[Path], object]) -> None:
    """Fill a landing zone under a temporary name, so that the next benchmark rewrites an incomplete one."""
    partial = exports.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    if not exports.exists():
        partial.mkdir(parents=True)
        write(partial)
        partial.rename(exports)


def _write_increment(exports: Path, later: TicketingHistory) -> None:
    earlier = EarlierHistory(later)
    predecessor = write_batch(exports, "earlier", earlier)
    write_incremental_batch(predecessor, "increment", earlier.stream(), later.stream(), later.exported_at)


def _link(source: Path, target: Path) -> None:
    shutil.copytree(source, target, copy_function=os.link)


if __name__ == "__main__":
    write_batches(Path(sys.argv[1]), float(sys.argv[2]), sys.argv[3:])
