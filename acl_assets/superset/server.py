"""Superset as a process of this installation: its secrets, its metadata, its start and its end.

What belongs here: what runs in Superset's own environment, `superset/.venv`, and the folder of its state. What does
not: what is said to a running Superset (`client`), and how it is configured (`superset/superset_config.py`).
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import signal
import socket
import sqlite3
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from acl_assets.settings import PROJECT_DIR, Settings, secret_text
from acl_assets.util.locks import LockHeldError, end_holder, held_lock

SUPERSET_DIR = PROJECT_DIR / "superset"
_PYTHON = SUPERSET_DIR / ".venv" / "bin" / "python"
_METADATA_VARIABLE = "SUPERSET__SQLALCHEMY_DATABASE_URI"
_OPERATORS_VARIABLES = {_METADATA_VARIABLE, "SUPERSET_SECRET_KEY", "SUPERSET_REDIS_URL", "SUPERSET_HTTPS"}
# What the pipeline is told, and what would put another configuration in the place of the repository's.
_NOT_HANDED_ON = ("ACL_", "DAGSTER_", "FLASK_", "GUNICORN_", "PYTHON", "SUPERSET")

_START_SECONDS = 180.0
_STOP_SECONDS = 30.0
_POLL_SECONDS = 0.1
_LOG_LINES_SHOWN = 15


class SupersetServerError(Exception):
    """Superset is not installed, cannot be set up, started or stopped; says where, and what its log has on it."""


@dataclass(frozen=True)
class SupersetServer:
    """A Superset that answers.

    Attributes:
        url: where, without a slash at the end.
        user: name of the administrator.
        password: the administrator's.
        home: the folder of its state.
    """

    url: str
    user: str
    password: str = field(repr=False)
    home: Path
    _process: subprocess.Popen[bytes] = field(repr=False)

    @property
    def pid(self) -> int:
        """Process id of the server, the parent of the processes that answer."""
        return self._process.pid

    def wait(self) -> None:
        """Wait until the server has ended by itself.

        Raises:
            SupersetServerError: it has.
        """
        code = self._process.wait()
        raise SupersetServerError(
            f"Superset has ended by itself, with exit code {code}. {_end_of(_log_file(self.home))}"
        )


def set_up_superset(settings: Settings, log: Callable[[str], None] = lambda message: None) -> None:
    """Bring Superset's metadata to the version installed, and see to the administrator; takes a moment when they are.

    The administrator is made, or given the password of the settings, or else the one in the `password_file`.

    Args:
        settings: of the installation; the state is in the folder `superset` of its data.
        log: is told what takes its time.

    Raises:
        SupersetServerError: Superset is not installed, runs already, or cannot be set up.
    """
    with _opened_home(settings) as home:
        _set_up(home, _environment(home), settings.superset_user, _password(settings), log)


@contextmanager
def running_superset(
    settings: Settings, port: int | None = None, log: Callable[[str], None] = lambda message: None
) -> Iterator[SupersetServer]:
    """Run Superset on 127.0.0.1 until the block, or this process, ends; set up before, as `set_up_superset` does.

    Args:
        settings: of the installation; the state is in the folder `superset` of its data, and stays.
        port: a free one when None.
        log: is told what takes its time.

    Raises:
        SupersetServerError: Superset is not installed, runs already, cannot be set up, or does not start.
    """
    with _opened_home(settings) as home, _listen(port) as listener:
        user, password, environment = settings.superset_user, _password(settings), _environment(home)
        _set_up(home, environment, user, password, log)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        log(f"Starting Superset on {url} ...")
        process = _start(home, environment, listener)
        try:
            _wait_until_ready(process, url, home)
            yield SupersetServer(url, user, password, home, process)
        finally:
            _end(process)


def stop_superset(settings: Settings) -> bool:
    """End the Superset of an installation, which another process runs, in order.

    Returns:
        Whether there was one.

    Raises:
        SupersetServerError: it has not ended in time.
    """
    home = superset_home(settings)
    try:
        return end_holder(home / "server.lock", 2 * _STOP_SECONDS)
    except TimeoutError:
        raise SupersetServerError(
            f"The Superset of {home} has not ended {2 * _STOP_SECONDS:.0f} s "
            f"after it was told to; see {_log_file(home)}."
        ) from None


def superset_home(settings: Settings) -> Path:
    """The folder of everything Superset keeps, unless its metadata are in a database elsewhere."""
    return settings.data_dir / "superset"


def password_file(settings: Settings) -> Path:
    """Where the administrator's password is kept that was made because none was given."""
    return superset_home(settings) / "admin_password"


def _log_file(home: Path) -> Path:
    return home / "server.log"


@contextmanager
def _opened_home(settings: Settings) -> Iterator[Path]:
    """The folder of the state, locked."""
    if not _PYTHON.exists():
        raise SupersetServerError(f"Superset is not installed in {_PYTHON.parents[1]}; run: make superset-install")
    home = superset_home(settings)
    home.mkdir(parents=True, exist_ok=True)
    home.chmod(0o700)
    with ExitStack() as stack:
        try:
            stack.enter_context(held_lock(home / "server.lock"))
        except LockHeldError as error:
            raise SupersetServerError(
                f"The Superset of {home} runs already, in process {error.holder}. "
                "Use it, or end it with: make superset-stop"
            ) from None
        yield home


def _password(settings: Settings) -> str:
    return secret_text(settings.superset_password) or _kept_secret(password_file(settings))


def _kept_secret(file: Path) -> str:
    """The secret in a file only its owner can read; made when there is none."""
    if not file.exists():
        new = file.with_suffix(".new")
        new.unlink(missing_ok=True)
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
            stream.write(secrets.token_urlsafe(32) + "\n")
        new.replace(file)
    file.chmod(0o600)
    return file.read_text().strip()


def _environment(home: Path) -> dict[str, str]:
    """What Superset's processes get to know: none of the pipeline's settings, so nothing of the ticketing database.

    The set-up gets to know the administrator's password as well, the server does not.
    """
    kept = {
        name: value
        for name, value in os.environ.items()
        if name in _OPERATORS_VARIABLES or not name.startswith(_NOT_HANDED_ON)
    }
    secret = os.environ.get("SUPERSET_SECRET_KEY") or _kept_secret(home / "secret_key")
    return {**kept, "PYTHONPATH": str(SUPERSET_DIR), "SUPERSET_HOME": str(home), "SUPERSET_SECRET_KEY": secret}


# Setting up -------------------------------------------------------------------------------------------------------


def _set_up(home: Path, environment: Mapping[str, str], user: str, password: str, log: Callable[[str], None]) -> None:
    """Bring the metadata to what is installed, unless they are."""
    done = home / "set_up.digest"
    digest = _set_up_digest(environment, user, password)
    own_metadata = None if environment.get(_METADATA_VARIABLE) else home / "metadata.db"
    is_there = own_metadata is None or own_metadata.exists()
    if is_there and done.exists() and hmac.compare_digest(done.read_text(), digest):
        return
    log("Setting up Superset's metadata ...")
    variables = {**environment, "ACL_SUPERSET_USER": user, "ACL_SUPERSET_PASSWORD": password}
    if own_metadata is None:
        _run_set_up(home, variables)
    else:
        with _replaced_when_done(own_metadata) as new:
            _run_set_up(home, {**variables, _METADATA_VARIABLE: f"sqlite:///{new}"})
    done.write_text(digest)


def _set_up_digest(environment: Mapping[str, str], user: str, password: str) -> str:
    """What the metadata depend on, in a form that gives no secret away."""
    parts = [
        (SUPERSET_DIR / "requirements.lock").read_bytes(),
        (SUPERSET_DIR / "set_up.py").read_bytes(),
        environment.get(_METADATA_VARIABLE, "").encode(),
        user.encode(),
        password.encode(),
    ]
    digests = b"".join(hashlib.sha256(part).digest() for part in parts)
    return hmac.new(environment["SUPERSET_SECRET_KEY"].encode(), digests, "sha256").hexdigest()


@contextmanager
def _replaced_when_done(database: Path) -> Iterator[Path]:
    """A copy of a SQLite file to work on: SQLite cannot take back half a migration, the file before can stay."""
    new = database.with_suffix(".new.db")
    _remove_database(new)
    if not database.exists():
        # What is left of one that is gone would be taken for a part of the new one.
        _remove_database(database)
    else:
        try:
            with closing(sqlite3.connect(database)) as source, closing(sqlite3.connect(new)) as copy:
                source.backup(copy)
        except sqlite3.DatabaseError as error:
            raise SupersetServerError(
                f"Superset's metadata in {database} cannot be read: {error}. Move that file away, with "
                f"{database.name}-wal, and bring back a copy. Without one the dashboards of the repository come back, "
                "what people made in Superset does not."
            ) from error
    yield new
    with closing(sqlite3.connect(new)) as copy:
        # What was written ahead goes into the file, and the file to the disk.
        copy.execute("pragma wal_checkpoint(truncate)")
    new.chmod(0o600)
    new.replace(database)


def _remove_database(database: Path) -> None:
    """Remove a SQLite file and those that belong to it, as far as there are any."""
    for name in (database.name, f"{database.name}-wal", f"{database.name}-shm"):
        database.with_name(name).unlink(missing_ok=True)


def _run_set_up(home: Path, variables: Mapping[str, str]) -> None:
    log_file = home / "set_up.log"
    with _private_log(log_file) as stream:
        ended = subprocess.run(
            [_PYTHON, SUPERSET_DIR / "set_up.py"],
            cwd=home,
            env=variables,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            check=False,
        )
    if ended.returncode:
        raise SupersetServerError(f"Superset's metadata could not be set up. {_end_of(log_file)}")


# Starting and ending ----------------------------------------------------------------------------------------------


def _listen(port: int | None) -> socket.socket:
    """A socket for the server, made here: nobody takes its port before the server answers."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("127.0.0.1", port or 0))
        # Until somebody listens, others can bind to the same port.
        listener.listen()
    except (OSError, OverflowError) as error:
        listener.close()
        raise SupersetServerError(
            f"Port {port} of 127.0.0.1 cannot be used: {error}. Choose another one: make superset PORT=8089"
        ) from error
    return listener


def _start(home: Path, environment: Mapping[str, str], listener: socket.socket) -> subprocess.Popen[bytes]:
    # Only the server keeps listening: once it has ended, nobody waits for an answer.
    with listener, _private_log(_log_file(home)) as stream:
        return subprocess.Popen(
            [
                *(_PYTHON, "-m", "gunicorn", "--config", SUPERSET_DIR / "gunicorn.conf.py"),
                *("--bind", f"fd://{listener.fileno()}"),
            ],
            cwd=home,
            env={**environment, "SUPERSET_OWNER": str(os.getpid())},
            pass_fds=[listener.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            # Ctrl-C is for this process, which ends the server in order.
            start_new_session=True,
        )


def _wait_until_ready(process: subprocess.Popen[bytes], url: str, home: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while not _answers(url):
        if process.poll() is not None:
            raise SupersetServerError(f"Superset did not start. {_end_of(_log_file(home))}")
        if time.monotonic() > deadline:
            raise SupersetServerError(f"Superset is not ready after {_START_SECONDS:.0f} s. {_end_of(_log_file(home))}")
        time.sleep(_POLL_SECONDS)


def _answers(url: str) -> bool:
    """Whether people can sign in: the page they do it on needs the metadata, which /health does not."""
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with direct.open(f"{url}/login/", timeout=_START_SECONDS) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _private_log(file: Path) -> IO[bytes]:
    """A log begun anew; the one before is kept."""
    if file.exists():
        file.replace(file.with_suffix(".before.log"))
    return os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb")


def _end_of(log_file: Path) -> str:
    lines = log_file.read_text(errors="replace").splitlines()[-_LOG_LINES_SHOWN:]
    return "\n".join([f"The end of {log_file}:", *lines])
