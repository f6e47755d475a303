"""Set up, start and stop Superset, which runs in an environment of its own, `superset/.venv`."""

import hmac
import logging
import os
import secrets
import shutil
import signal
import socket
import sqlite3
import subprocess
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO

from acl_assets.settings import PROJECT_DIR, Settings, secret_text
from acl_assets.superset.client import OVER_TLS, SupersetError, password_file, superset_home
from acl_assets.util.atomic_write import replace_durably, write_atomically
from acl_assets.util.locks import LockHeldError, end_holder, held_lock
from acl_assets.util.text import end_of_log

SUPERSET_DIR = PROJECT_DIR / "superset"
_PYTHON = SUPERSET_DIR / ".venv" / "bin" / "python"
_METADATA_VARIABLE = "SUPERSET__SQLALCHEMY_DATABASE_URI"
_OPERATORS_VARIABLES = {_METADATA_VARIABLE, "SUPERSET_SECRET_KEY", "SUPERSET_REDIS_URL", "SUPERSET_HTTPS"}
# Settings of the pipeline, and variables that would replace the repository's configuration of Superset.
_NOT_HANDED_ON = ("ACL_", "DAGSTER_", "FLASK_", "GUNICORN_", "PYTHON", "SUPERSET")

_START_SECONDS = 180.0
_STOP_SECONDS = 30.0
_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SupersetServer:
    """A Superset that answers at `url`, which has no slash at the end."""

    url: str
    process: subprocess.Popen[bytes]
    log_file: Path


@contextmanager
def running_superset(settings: Settings, port: int | None = None, host: str = "127.0.0.1") -> Iterator[SupersetServer]:
    """Set Superset up and run it on a port, by default a free one, until the block or this process ends.

    The metadata is migrated to the installed version if necessary. The administrator's password is that of the
    settings, or else the one in `password_file`. Raise SupersetError if Superset is not installed, runs already, cannot
    be set up, or does not start; the message quotes the log.
    """
    with _locked_home(settings) as home, _listen(host, port) as listener:
        environment = _environment(home)
        _set_up(home, environment, settings)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        _logger.info("Starting Superset on %s ...", url)
        server = SupersetServer(url, _start(home, environment, listener), home / "server.log")
        try:
            _wait_until_ready(server)
            yield server
        finally:
            server.process.terminate()
            try:
                server.process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                os.killpg(server.process.pid, signal.SIGKILL)
                server.process.wait()


def stop_superset(settings: Settings) -> bool:
    """Stop the Superset that another process runs, and return whether there was one."""
    home = superset_home(settings)
    try:
        return end_holder(home / "server.lock", 2 * _STOP_SECONDS)
    except TimeoutError:
        raise SupersetError(
            f"The Superset of {home} has not stopped within {2 * _STOP_SECONDS:.0f} s; see {home / 'server.log'}."
        ) from None


@contextmanager
def _locked_home(settings: Settings) -> Iterator[Path]:
    if not _PYTHON.exists():
        raise SupersetError(f"Superset is not installed in {_PYTHON.parents[1]}; run: make superset-install")
    home = superset_home(settings)
    home.mkdir(parents=True, exist_ok=True)
    home.chmod(0o700)
    try:
        with held_lock(home / "server.lock"):
            yield home
    except LockHeldError as error:
        raise SupersetError(
            f"The Superset of {home} runs already, in process {error}. Use it, or run: make superset-stop"
        ) from None


def _kept_secret(file: Path) -> str:
    """Return the secret in a file that only its owner can read; generate it if there is none."""
    if not file.exists():
        write_atomically(file, secrets.token_urlsafe(32) + "\n", mode=0o600)
    file.chmod(0o600)
    return file.read_text().strip()


def _environment(home: Path) -> dict[str, str]:
    """Return the environment of Superset's processes, without settings and secrets of the pipeline."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name in _OPERATORS_VARIABLES or not name.startswith(_NOT_HANDED_ON)
    }
    secret = os.environ.get("SUPERSET_SECRET_KEY") or _kept_secret(home / "secret_key")
    return {**kept, "PYTHONPATH": str(SUPERSET_DIR), "SUPERSET_HOME": str(home), "SUPERSET_SECRET_KEY": secret}


def _set_up(home: Path, environment: Mapping[str, str], settings: Settings) -> None:
    """Run `superset/set_up.py` if the metadata was last set up by another version or with another password."""
    user = settings.superset_user
    password = secret_text(settings.superset_password) or _kept_secret(password_file(settings))
    parts = [(SUPERSET_DIR / name).read_bytes() for name in ("requirements.lock", "set_up.py")]
    parts += [text.encode() for text in (environment.get(_METADATA_VARIABLE, ""), user, password)]
    # Keyed, because it covers the password.
    digest = hmac.new(environment["SUPERSET_SECRET_KEY"].encode(), b"\0".join(parts), "sha256").hexdigest()
    done, metadata = home / "set_up.digest", home / "metadata.db"
    is_elsewhere = bool(environment.get(_METADATA_VARIABLE))
    if (is_elsewhere or metadata.exists()) and done.exists() and done.read_text() == digest:
        return
    _logger.info("Setting up Superset's metadata ...")
    variables = {**environment, "ACL_SUPERSET_USER": user, "ACL_SUPERSET_PASSWORD": password}
    if is_elsewhere:
        _run_set_up(home, variables)
    else:
        # SQLite cannot roll back half a migration.
        with _changed_copy(metadata) as copy:
            _run_set_up(home, {**variables, _METADATA_VARIABLE: f"sqlite:///{copy}"})
    done.write_text(digest)


@contextmanager
def _changed_copy(metadata: Path) -> Iterator[Path]:
    """Yield a copy of a SQLite file, which replaces the file unless the block fails."""
    for left in metadata.parent.glob("set_up_*"):
        shutil.rmtree(left)
    with TemporaryDirectory(dir=metadata.parent, prefix="set_up_") as folder:
        changed = Path(folder) / metadata.name
        if metadata.exists():
            try:
                with closing(sqlite3.connect(metadata)) as source, closing(sqlite3.connect(changed)) as copy:
                    source.backup(copy)
            except sqlite3.DatabaseError as error:
                raise SupersetError(
                    f"Superset's metadata in {metadata} cannot be read: {error}. Restore it and {metadata.name}-wal "
                    "from a backup, or remove both: then only the dashboards of the repository come back."
                ) from error
        yield changed
        with closing(sqlite3.connect(changed)) as connection:
            connection.execute("pragma wal_checkpoint(truncate)")
        changed.chmod(0o600)
        # SQLite would read a write-ahead log that a lost file left behind as part of the new file.
        for suffix in ("-wal", "-shm"):
            metadata.with_name(metadata.name + suffix).unlink(missing_ok=True)
        replace_durably(changed, metadata)


def _run_set_up(home: Path, variables: Mapping[str, str]) -> None:
    with _private_log(home / "set_up.log") as log:
        command = [_PYTHON, SUPERSET_DIR / "set_up.py"]
        ended = subprocess.run(
            command, cwd=home, env=variables, stdin=subprocess.DEVNULL, stdout=log, stderr=log, check=False
        )
    if ended.returncode:
        raise SupersetError(f"Superset's metadata could not be set up. {end_of_log(home / 'set_up.log')}")


def _listen(host: str, port: int | None) -> socket.socket:
    """Reserve the port before the set-up, so that no other process takes it in between."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port or 0))
        # Before that, SO_REUSEADDR lets others bind to the same port.
        listener.listen()
    except (OSError, OverflowError) as error:
        listener.close()
        raise SupersetError(
            f"Port {port} of {host} cannot be used: {error}. Choose another one: make superset PORT=8089"
        ) from error
    return listener


def _start(home: Path, environment: Mapping[str, str], listener: socket.socket) -> subprocess.Popen[bytes]:
    command = [str(_PYTHON), "-m", "gunicorn", "--config", str(SUPERSET_DIR / "gunicorn.conf.py")]
    # This process closes its copy, so that connections are refused once the server has ended.
    with listener, _private_log(home / "server.log") as stream:
        return subprocess.Popen(
            [*command, "--bind", f"fd://{listener.fileno()}"],
            cwd=home,
            env={**environment, "SUPERSET_OWNER": str(os.getpid())},
            pass_fds=[listener.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            # Ctrl-C reaches this process only, which then stops the server.
            start_new_session=True,
        )


def _wait_until_ready(server: SupersetServer) -> None:
    """Wait for the sign-in page, which needs the metadata, unlike /health.

    The system accepts the connection at once, and closes it if the server ends.
    """
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    direct.addheaders = [*OVER_TLS.items()]
    try:
        direct.open(f"{server.url}/login/", timeout=_START_SECONDS).close()
    except OSError as error:
        raise SupersetError(
            f"Superset did not start, or not within {_START_SECONDS:.0f} s: {error}. {end_of_log(server.log_file)}"
        ) from error


def _private_log(file: Path) -> IO[bytes]:
    """Open an empty log, and keep the previous one."""
    if file.exists():
        file.replace(file.with_suffix(".before.log"))
    return os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb")
