"""Command line of the dashboards: `python -m acl_assets.superset --help`."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence

from acl_assets.settings import Settings, SettingsError
from acl_assets.superset import bundle, export, screenshots
from acl_assets.superset.bundle import BundleError, import_bundle, is_imported, read_bundle
from acl_assets.superset.client import SupersetClient, SupersetError
from acl_assets.superset.server import (
    SupersetServerError,
    password_file,
    running_superset,
    stop_superset,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m acl_assets.superset",
        description="Run Apache Superset on the published data, and import and export its dashboards.",
    )
    commands = parser.add_subparsers(title="commands", required=True)

    start = commands.add_parser("start", help="run Superset with the dashboards, until Ctrl-C")
    start.set_defaults(run=_start)
    start.add_argument("--port", type=int, default=8088, help="on 127.0.0.1; 0 for any free one (%(default)s)")

    stop = commands.add_parser("stop", help="end the Superset that another process runs")
    stop.set_defaults(run=_stop)

    for module in (bundle, export, screenshots):
        module.add_command(commands)
    options = parser.parse_args(arguments)
    try:
        return int(options.run(options, Settings.from_environment()))
    except (BundleError, SettingsError, SupersetError, SupersetServerError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def _start(options: argparse.Namespace, settings: Settings) -> int:
    if not settings.published_file.exists():
        raise SupersetServerError(f"There is no {settings.published_file} yet; run: make run")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with running_superset(settings, options.port or None, _say) as server:
            # Edits made in Superset stay until the repository's bundle changes.
            with SupersetClient(server.url, server.user, server.password) as client:
                if not is_imported(client, read_bundle().for_installation(settings)):
                    _say("Importing the dashboards ...")
                    import_bundle(client, settings)
            where = "that of ACL_SUPERSET_PASSWORD" if settings.superset_password else f"in {password_file(settings)}"
            _say(f"The dashboard: {server.url}/superset/dashboard/acl-all-stars/")
            _say(f"Sign in as {server.user}; the password is {where}.")
            _say("Ctrl-C or make superset-stop ends it.")
            server.wait()
    except KeyboardInterrupt:
        _say("Superset has stopped; everything in it is kept.")
    return 0


def _stop(_options: argparse.Namespace, settings: Settings) -> int:
    _say("Superset has stopped." if stop_superset(settings) else "No Superset of this installation is running.")
    return 0


def _say(message: str) -> None:
    print(message, flush=True)


if __name__ == "__main__":
    sys.exit(main())
