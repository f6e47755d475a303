"""Set up, start and stop Superset, which runs in an environment of its own, `superset/.venv`."""

from __future__ import annotations

import hmac
import logging
import os
import secrets
import signal
import socket
import sqlite3
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO

from acl_assets.settings import PROJECT_DIR, Settings, secret_text
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
_POLL_SECONDS = 0.1
_logger = logging.getLogger(__name__)


class SupersetServerError(Exception):
    """Superset is not installed, or cannot be set up, started or stopped; the message quotes the log."""


@dataclass(frozen=True)
class SupersetServer:
    """A Superset that answers at `url`, which has no slash at the end, and its administrator."""

    url: str
    user: str
    password: str = field(repr=False)
    _process: subprocess.Popen[bytes] = field(repr=False)
    _log: Path

    def wait(self) -> None:
        """Wait for the server, and raise SupersetServerError when it ends by itself."""
        code = self._process.wait()
        raise SupersetServerError(f"Superset has ended by itself, with exit code {code}. {end_of_log(self._log)}")


@contextmanager
def running_superset(settings: Settings, port: int | None = None, host: str = "127.0.0.1") -> Iterator[SupersetServer]:
    """Set Superset up and run it on a port, by default a free one, until the block or this process ends.

    The metadata is migrated to the installed version if necessary. The administrator's password is that of the
    settings, or else the one in `password_file`.

    Raises:
        SupersetServerError: Superset is not installed, runs already, cannot be set up, or does not start.
    """
    with _locked_home(settings) as home, _listen(host, port) as listener:
        user, password, environment = settings.superset_user, _password(settings), _environment(home)
        _set_up(home, environment, user, password)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        _logger.info("Starting Superset on %s ...", url)
        log_file = home / "server.log"
        process = _start(home, environment, listener, log_file)
        try:
            _wait_until_ready(process, url, log_file)
            yield SupersetServer(url, user, password, process, log_file)
        finally:
            _end(process)


def stop_superset(settings: Settings) -> bool:
    """Stop the Superset that another process runs, and return whether there was one.

    Raises:
        SupersetServerError: it has not stopped in time.
    """
    home = superset_home(settings)
    try:
        return end_holder(home / "server.lock", 2 * _STOP_SECONDS)
    except TimeoutError:
        raise SupersetServerError(
            f"The Superset of {home} has not stopped within {2 * _STOP_SECONDS:.0f} s; see {home / 'server.log'}."
        ) from None


def superset_home(settings: Settings) -> Path:
    """Return the folder of Superset's state."""
    return settings.data_dir / "superset"


def password_file(settings: Settings) -> Path:
    """Return the file of the administrator's generated password."""
    return superset_home(settings) / "admin_password"


@contextmanager
def _locked_home(settings: Settings) -> Iterator[Path]:
    if not _PYTHON.exists():
        raise SupersetServerError(f"Superset is not installed in {_PYTHON.parents[1]}; run: make superset-install")
    home = superset_home(settings)
    home.mkdir(parents=True, exist_ok=True)
    home.chmod(0o700)
    try:
        with held_lock(home / "server.lock"):
            yield home
    except LockHeldError as error:
        raise SupersetServerError(
            f"The Superset of {home} runs already, in process {error.holder}. Use it, or run: make superset-stop"
        ) from None


def _password(settings: Settings) -> str:
    return secret_text(settings.superset_password) or _kept_secret(password_file(settings))


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


def _set_up(home: Path, environment: Mapping[str, str], user: str, password: str) -> None:
    """Run `superset/set_up.py`, on a copy of a SQLite file: SQLite cannot roll back half a migration."""
    done, metadata = home / "set_up.digest", home / "metadata.db"
    is_elsewhere = bool(environment.get(_METADATA_VARIABLE))
    digest = _set_up_digest(environment, user, password)
    if (is_elsewhere or metadata.exists()) and done.exists() and hmac.compare_digest(done.read_text(), digest):
        return
    _logger.info("Setting up Superset's metadata ...")
    variables = {**environment, "ACL_SUPERSET_USER": user, "ACL_SUPERSET_PASSWORD": password}
    if is_elsewhere:
        _run_set_up(home, variables)
    else:
        with TemporaryDirectory(dir=home, prefix="set_up_") as folder:
            new = Path(folder) / "metadata.db"
            _copy_metadata(metadata, new)
            _run_set_up(home, {**variables, _METADATA_VARIABLE: f"sqlite:///{new}"})
            _replace_metadata(new, metadata)
    done.write_text(digest)


def _set_up_digest(environment: Mapping[str, str], user: str, password: str) -> str:
    """Return a digest of everything the metadata depends on, keyed because it covers the password."""
    parts = [
        (SUPERSET_DIR / "requirements.lock").read_bytes(),
        (SUPERSET_DIR / "set_up.py").read_bytes(),
        environment.get(_METADATA_VARIABLE, "").encode(),
        user.encode(),
        password.encode(),
    ]
    return hmac.new(environment["SUPERSET_SECRET_KEY"].encode(), b"\0".join(parts), "sha256").hexdigest()


def _copy_metadata(database: Path, new: Path) -> None:
    if not database.exists():
        return
    try:
        with closing(sqlite3.connect(database)) as source, closing(sqlite3.connect(new)) as copy:
            source.backup(copy)
    except sqlite3.DatabaseError as error:
        raise SupersetServerError(
            f"Superset's metadata in {database} cannot be read: {error}. Restore it and {database.name}-wal from a "
            "backup, or remove both: then only the dashboards of the repository come back."
        ) from error


def _replace_metadata(new: Path, database: Path) -> None:
    with closing(sqlite3.connect(new)) as connection:
        connection.execute("pragma wal_checkpoint(truncate)")
    new.chmod(0o600)
    # SQLite would read a write-ahead log that a lost file left behind as part of the new file.
    if not database.exists():
        for suffix in ("-wal", "-shm"):
            database.with_name(database.name + suffix).unlink(missing_ok=True)
    replace_durably(new, database)


def _run_set_up(home: Path, variables: Mapping[str, str]) -> None:
    log_file = home / "set_up.log"
    with _private_log(log_file) as stream:
        command = [_PYTHON, SUPERSET_DIR / "set_up.py"]
        ended = subprocess.run(
            command, cwd=home, env=variables, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream, check=False
        )
    if ended.returncode:
        raise SupersetServerError(f"Superset's metadata could not be set up. {end_of_log(log_file)}")


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
        raise SupersetServerError(
            f"Port {port} of {host} cannot be used: {error}. Choose another one: make superset PORT=8089"
        ) from error
    return listener


def _start(
    home: Path, environment: Mapping[str, str], listener: socket.socket, log_file: Path
) -> subprocess.Popen[bytes]:
    command = [str(_PYTHON), "-m", "gunicorn", "--config", str(SUPERSET_DIR / "gunicorn.conf.py")]
    # This process closes its copy, so that connections are refused once the server has ended.
    with listener, _private_log(log_file) as stream:
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


def _wait_until_ready(process: subprocess.Popen[bytes], url: str, log_file: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while not _answers(url):
        if process.poll() is not None or time.monotonic() > deadline:
            raise SupersetServerError(
                f"Superset did not start, or not within {_START_SECONDS:.0f} s. {end_of_log(log_file)}"
            )
        time.sleep(_POLL_SECONDS)


def _answers(url: str) -> bool:
    """Return whether the sign-in page is served: it needs the metadata, which /health does not."""
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with direct.open(f"{url}/login/", timeout=_START_SECONDS) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _private_log(file: Path) -> IO[bytes]:
    """Open an empty log, and keep the previous one."""
    if file.exists():
        file.replace(file.with_suffix(".before.log"))
    return os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb")
