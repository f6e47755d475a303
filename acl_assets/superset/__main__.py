"""Command line of the dashboards: `python -m acl_assets.superset --help`."""

import argparse
import logging
import signal
import sys
from collections.abc import Sequence
from functools import partial

from acl_assets.settings import Settings, SettingsError
from acl_assets.superset.bundle import (
    BUNDLE_DIR,
    find_orphans,
    import_bundle,
    is_imported,
    read_bundle,
    remove_orphans,
)
from acl_assets.superset.client import SupersetError, password_file, superset_client
from acl_assets.superset.export import edits_in_words, export_bundle, find_edited
from acl_assets.superset.server import running_superset, stop_superset
from acl_assets.util.text import end_of_log

_say = partial(print, flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return the exit code."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    options = _parser().parse_args(arguments)
    try:
        options.run(options, Settings.from_environment())
    except (SettingsError, SupersetError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m acl_assets.superset",
        description="Run Apache Superset on the published data, and import and export its dashboards.",
    )
    commands = parser.add_subparsers(title="commands", required=True)
    for name, run, description in (
        ("start", _start, "run Superset with the dashboards, until Ctrl-C"),
        ("stop", _stop, "end the Superset that another process runs"),
        ("import", _import, "bring superset/bundle into a running Superset"),
        ("export", _export, "write the dashboards as edited in Superset back to superset/bundle"),
        ("orphans", _orphans, "list what left superset/bundle and is still in Superset"),
    ):
        command = commands.add_parser(name, help=description)
        command.set_defaults(run=run)
        if name == "start":
            command.add_argument("--port", type=int, default=8088, help="0 for any free one (%(default)s)")
            command.add_argument("--host", default="127.0.0.1", help="0.0.0.0 in a container (%(default)s)")
        if name == "orphans":
            command.add_argument("--remove", action="store_true", help="delete them, and keep a copy of each")
    return parser


def _start(options: argparse.Namespace, settings: Settings) -> None:
    if not settings.published_file.exists():
        raise SupersetError(f"There is no {settings.published_file} yet; run: make run")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with running_superset(settings, options.port or None, options.host) as server:
            # Edits made in Superset stay until the repository's bundle changes.
            with superset_client(settings.with_changes(superset_url=server.url)) as client:
                bundle = read_bundle().for_installation(settings)
                if not is_imported(client, bundle):
                    if edited := find_edited(client, bundle):
                        _say(f"The dashboards were not imported. {edits_in_words(edited)}")
                    else:
                        _say("Importing the dashboards ...")
                        import_bundle(client, settings)
            where = "that of ACL_SUPERSET_PASSWORD" if settings.superset_password else f"in {password_file(settings)}"
            _say(f"The dashboard: {server.url}/superset/dashboard/acl-all-stars/")
            _say(f"Sign in as {settings.superset_user}; the password is {where}.")
            _say("Ctrl-C or make superset-stop ends it.")
            code = server.process.wait()
            raise SupersetError(f"Superset has ended by itself, with exit code {code}. {end_of_log(server.log_file)}")
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
            folder = remove_orphans(client, orphans, settings)
            _say(f"Removed {len(orphans)}. Superset can import them again from the files in {folder}.")


if __name__ == "__main__":
    sys.exit(main())
