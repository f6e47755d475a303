"""Superset's command line: `python -m acl_assets.superset --help`.

What belongs here: the commands that start and stop Superset, and what is printed. What does not: the work (`server`,
`bundle`, `export`, `screenshots`); those that are commands of their own add them here.
"""

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
    SupersetServer,
    SupersetServerError,
    password_file,
    running_superset,
    stop_superset,
)

_MODULES = (bundle, export, screenshots)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    options = _parser().parse_args(arguments)
    try:
        return int(options.run(options, Settings.from_environment()))
    except (BundleError, SettingsError, SupersetError, SupersetServerError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m acl_assets.superset",
        description="Runs Apache Superset on the published data, and keeps its dashboards in step with the repository.",
    )
    commands = parser.add_subparsers(title="commands", required=True)

    start = commands.add_parser("start", help="run Superset with the dashboards, until Ctrl-C")
    start.set_defaults(run=_start)
    start.add_argument("--port", type=int, default=8088, help="on 127.0.0.1; 0 for any free one (%(default)s)")

    stop = commands.add_parser("stop", help="end the Superset that another process runs")
    stop.set_defaults(run=_stop)

    for module in _MODULES:
        module.add_command(commands)
    return parser


def _start(options: argparse.Namespace, settings: Settings) -> int:
    if not settings.published_file.exists():
        raise SupersetServerError(f"There is no {settings.published_file} to look at yet; run: make run")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with running_superset(settings, options.port or None, _say) as server:
            _bring_dashboards(server, settings)
            _say(_how_to_sign_in(server, settings))
            server.wait()
    except KeyboardInterrupt:
        _say("Superset has stopped; everything in it is kept.")
    return 0


def _bring_dashboards(server: SupersetServer, settings: Settings) -> None:
    """Import the repository's dashboards unless that was done: edits since then stay until the repository changes."""
    with SupersetClient(server.url, server.user, server.password) as client:
        if not is_imported(client, read_bundle().for_installation(settings)):
            _say("Importing the dashboards ...")
            import_bundle(client, settings)


def _how_to_sign_in(server: SupersetServer, settings: Settings) -> str:
    where = "is the one of ACL_SUPERSET_PASSWORD" if settings.superset_password else f"in {password_file(settings)}"
    return (
        f"The dashboard: {server.url}/superset/dashboard/acl-all-stars/\n"
        f"Sign in as {server.user}; the password is {where}.\n"
        "Ctrl-C or make superset-stop ends it."
    )


def _stop(_options: argparse.Namespace, settings: Settings) -> int:
    _say("Superset has stopped." if stop_superset(settings) else "No Superset of this installation is running.")
    return 0


def _say(message: str) -> None:
    print(message, flush=True)


if __name__ == "__main__":
    sys.exit(main())
