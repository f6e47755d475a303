"""The simulator's command line: `python -m acl_assets.simulator --help`."""

import argparse
import signal
import sys
import tempfile
from collections.abc import Sequence
from datetime import datetime
from functools import partial
from pathlib import Path

import psycopg2

from acl_assets.landing_zone.manifest import BatchError
from acl_assets.landing_zone.s3_store import land_remotely
from acl_assets.settings import Settings, folder_or_url
from acl_assets.simulator.batch import BATCH_FORMATS, write_batch, write_plain_batch
from acl_assets.simulator.lineup import SCENARIOS
from acl_assets.simulator.live_system import EXPORT_ROLE, Demand, LiveSystemError, open_ticketing_database, sell
from acl_assets.simulator.postgres_server import PostgresError, running_postgres
from acl_assets.simulator.sales import DEFAULT_EXPORTED_AT, TicketingHistory
from acl_assets.util.object_storage import ObjectStorageError

_OWN_ERRORS = (BatchError, LiveSystemError, ObjectStorageError, PostgresError)
_say = partial(print, flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return the exit code."""
    options = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        options.run(options)
        return 0
    except (*_OWN_ERRORS, psycopg2.Error, OSError, OverflowError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("The simulation was cancelled; no batch was landed.", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m acl_assets.simulator",
        description="Simulates the ticketing system: 20 years of sales, as export batches or as a live database.",
    )
    commands = parser.add_subparsers(title="commands", required=True)

    write = commands.add_parser("write-batch", help="write a full export batch into the landing zone")
    write.set_defaults(run=_write_batch)
    write.add_argument("--exports-dir", help="folder or URL (default: $ACL_EXPORTS_DIR or data/exports)")
    write.add_argument("--batch-id", help="name of the batch's folder (default: made from --exported-at)")
    _add_history_arguments(write)
    write.add_argument("--format", choices=BATCH_FORMATS, default="parquet", help="of the files (%(default)s)")
    write.add_argument(
        "--plain", action="store_true", help="six CSV files without a manifest, as an export by hand leaves them"
    )

    live = commands.add_parser("live", help="run a PostgreSQL database that sells tickets, until Ctrl-C")
    live.set_defaults(run=_live)
    live.add_argument("--data-dir", type=Path, help="default: demo_source in $ACL_DATA_DIR or data")
    live.add_argument("--port", type=int, default=54321, help="on 127.0.0.1; 0 for any free one (%(default)s)")
    _add_history_arguments(live)
    live.add_argument("--rate", type=float, default=20.0, help="what buyers do in a second, all in all (%(default)s)")
    live.add_argument("--buyers", type=int, default=8, help="how many buy at the same time (%(default)s)")
    live.add_argument(
        "--refunds", choices=("price", "delete"), default="price", help="price 0, or delete (%(default)s)"
    )
    return parser


def _add_history_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument("--scale", type=float, default=1.0, help="1 is 3.6 million tickets (%(default)s)")
    command.add_argument("--seed", type=int, default=20, help="the same seed gives the same rows (%(default)s)")
    command.add_argument("--scenario", choices=SCENARIOS, default="story", help="what the records show (%(default)s)")
    command.add_argument(
        "--exported-at",
        type=datetime.fromisoformat,
        default=DEFAULT_EXPORTED_AT,
        help="instant the history ends, with an offset; later sales are left out (%(default)s)",
    )


def _write_batch(options: argparse.Namespace) -> None:
    try:
        exports_dir = folder_or_url(options.exports_dir) if options.exports_dir else None
    except ValueError as error:
        raise ValueError(f"--exports-dir cannot be used: {error}.") from None
    exports_dir = exports_dir or Settings.from_environment().exports_dir
    history = _history(options)
    batch_id = options.batch_id or f"simulated-{history.exported_at:%Y%m%dT%H%M%SZ}"
    with tempfile.TemporaryDirectory() as spare:
        here = Path(spare) if isinstance(exports_dir, str) else exports_dir
        if options.plain:
            folder = write_plain_batch(here, batch_id, history)
        else:
            folder = write_batch(here, batch_id, history, options.format)
        print(land_remotely(folder, exports_dir) if isinstance(exports_dir, str) else folder)


def _history(options: argparse.Namespace) -> TicketingHistory:
    return TicketingHistory(options.scale, options.seed, options.exported_at, options.scenario)


def _live(options: argparse.Namespace) -> None:
    data_dir = options.data_dir or Settings.from_environment().data_dir / "demo_source"
    try:
        with running_postgres(data_dir, port=options.port or None) as server:
            dsn = open_ticketing_database(server, _history(options), _say)
            _say(f"export ACL_TICKETING_DSN={server.dsn('ticketing', EXPORT_ROLE)}")
            sell(server, dsn, Demand(options.rate, options.buyers, options.refunds == "delete"))
    except KeyboardInterrupt:
        _say(f"The sale has ended. The data is kept in {data_dir}.")


if __name__ == "__main__":
    sys.exit(main())
