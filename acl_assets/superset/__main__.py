"""Command line of the dashboards: `python -m acl_assets.superset --help`."""

from __future__ import annotations

import argparse
import logging
import signal
import sys
from collections.abc import Sequence

from acl_assets.settings import Settings, SettingsError
from acl_assets.superset.browsing import chromium, take_screenshots
from acl_assets.superset.bundle import (
    BUNDLE_DIR,
    BundleError,
    find_orphans,
    import_bundle,
    is_imported,
    keep_copies,
    read_bundle,
)
from acl_assets.superset.client import SupersetClient, SupersetError, superset_client
from acl_assets.superset.export import edits_in_words, export_bundle, find_edited
from acl_assets.superset.server import (
    SupersetServerError,
    password_file,
    running_superset,
    stop_superset,
    superset_home,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return the exit code."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    options = _parser().parse_args(arguments)
    try:
        options.run(options, Settings.from_environment())
    except (BundleError, SettingsError, SupersetError, SupersetServerError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m acl_assets.superset",
        description="Run Apache Superset on the published data, and import and export its dashboards.",
    )
    commands = parser.add_subparsers(title="commands", required=True)

    start = commands.add_parser("start", help="run Superset with the dashboards, until Ctrl-C")
    start.set_defaults(run=_start)
    start.add_argument("--port", type=int, default=8088, help="0 for any free one (%(default)s)")
    start.add_argument("--host", default="127.0.0.1", help="0.0.0.0 in a container (%(default)s)")

    stop = commands.add_parser("stop", help="end the Superset that another process runs")
    stop.set_defaults(run=_stop)

    importing = commands.add_parser("import", help="bring superset/bundle into a running Superset")
    importing.set_defaults(run=_import)

    export = commands.add_parser("export", help="write the dashboards as edited in Superset back to superset/bundle")
    export.set_defaults(run=_export)

    orphans = commands.add_parser("orphans", help="list what left superset/bundle and is still in Superset")
    orphans.set_defaults(run=_orphans)
    orphans.add_argument("--remove", action="store_true", help="delete them from Superset, and keep a copy of each")

    screenshots = commands.add_parser("screenshots", help="make the pictures of the dashboards for docs/")
    screenshots.set_defaults(run=_screenshots)
    return parser


def _start(options: argparse.Namespace, settings: Settings) -> None:
    if not settings.published_file.exists():
        raise SupersetServerError(f"There is no {settings.published_file} yet; run: make run")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with running_superset(settings, options.port or None, options.host) as server:
            # Edits made in Superset stay until the repository's bundle changes.
            with SupersetClient(server.url, server.user, server.password) as client:
                bundle = read_bundle().for_installation(settings)
                if not is_imported(client, bundle):
                    if edited := find_edited(client, bundle):
                        _say(f"The dashboards were not imported. {edits_in_words(edited)}")
                    else:
                        _say("Importing the dashboards ...")
                        import_bundle(client, settings)
            where = "that of ACL_SUPERSET_PASSWORD" if settings.superset_password else f"in {password_file(settings)}"
            _say(f"The dashboard: {server.url}/superset/dashboard/acl-all-stars/")
            _say(f"Sign in as {server.user}; the password is {where}.")
            _say("Ctrl-C or make superset-stop ends it.")
            server.wait()
    except KeyboardInterrupt:
        _say("Superset has stopped; everything in it is kept.")


def _stop(_options: argparse.Namespace, settings: Settings) -> None:
    _say("Superset has stopped." if stop_superset(settings) else "No Superset of this installation is running.")


def _import(_options: argparse.Namespace, settings: Settings) -> None:
    with superset_client(settings) as client:
        for name in find_edited(client, read_bundle()):
            _say(f"Drops the edit of {name}.")
        bundle = import_bundle(client, settings)
        _say(f"Imported {len(bundle.documents)} files of {BUNDLE_DIR} into {client.url}.")
        for orphan in find_orphans(client, bundle):
            _say(f"No longer in the repository: {orphan}")


def _export(_options: argparse.Namespace, settings: Settings) -> None:
    with superset_client(settings) as client:
        _say("\n".join(export_bundle(client)) or "Nothing changed.")


def _orphans(options: argparse.Namespace, settings: Settings) -> None:
    with superset_client(settings) as client:
        orphans = find_orphans(client, read_bundle())
        for orphan in orphans:
            _say(f"No longer in the repository: {orphan}")
        if options.remove and orphans:
            copies = keep_copies(client, orphans, superset_home(settings) / "removed")
            for orphan in orphans:
                orphan.remove(client)
            _say(f"Removed {len(orphans)}. Superset can import them again from {', '.join(map(str, copies))}.")


def _screenshots(_options: argparse.Namespace, settings: Settings) -> None:
    with superset_client(settings) as client, chromium() as browser:
        pictures = take_screenshots(client.url, client.user, client.password, browser)
    _say("\n".join(map(str, pictures)))


def _say(message: str) -> None:
    print(message, flush=True)


if __name__ == "__main__":
    sys.exit(main())
