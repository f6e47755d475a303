"""Serve dbt's documentation of the published file: `python -m acl_assets.warehouse.dbt_docs --help`."""

import argparse
import shutil
import signal
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from acl_assets.settings import Settings, SettingsError
from acl_assets.warehouse.project import DbtProjectError, dbt_project, load_manifest, run_dbt
from acl_assets.warehouse.published_file import PublishedFileError, read_published_digest


def generate_docs(settings: Settings, folder: Path) -> None:
    """Write the documentation as `index.html` into an empty folder, with the tables and types of the published file.

    The file is only read, and nothing is written to the target folders of the project and of builds. Raise
    PublishedFileError if it cannot be read, DbtProjectError if dbt fails.
    """
    read_published_digest(settings)
    project = dbt_project()
    load_manifest(project, settings.dbt_variables)
    with tempfile.TemporaryDirectory() as target:
        # dbt would compile the models first, for which it runs the hooks that write into the file.
        shutil.copyfile(project.manifest_path, Path(target) / "manifest.json")
        arguments = ["docs", "generate", "--static", "--no-compile", "--target", "published"]
        run_dbt(project, settings.dbt_variables, target, *arguments)
        shutil.copyfile(Path(target) / "static_index.html", folder / "index.html")


def main(arguments: Sequence[str] | None = None) -> int:
    """Generate and serve the documentation until Ctrl-C, and return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m acl_assets.warehouse.dbt_docs", description="Serve dbt's documentation of the published file."
    )
    parser.add_argument("--port", type=int, default=8080, help="on 127.0.0.1; 0 for any free one (%(default)s)")
    port = parser.parse_args(arguments).port
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with tempfile.TemporaryDirectory() as folder:
        try:
            server = ThreadingHTTPServer(("127.0.0.1", port), partial(SimpleHTTPRequestHandler, directory=folder))
        except (OSError, OverflowError) as error:
            advice = "Name another, such as PORT=8081."
            print(f"Port {port} of 127.0.0.1 cannot be used: {str(error).rstrip('.')}. {advice}", file=sys.stderr)
            return 1
        with server, suppress(KeyboardInterrupt):
            try:
                generate_docs(Settings.from_environment(), Path(folder))
            except (DbtProjectError, PublishedFileError, SettingsError) as error:
                print(error, file=sys.stderr)
                return 1
            print(f"dbt's documentation: http://127.0.0.1:{server.server_port}/ (Ctrl-C ends it)", flush=True)
            server.serve_forever()
    return 0


if __name__ == "__main__":
    sys.exit(main())
