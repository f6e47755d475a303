"""Databases of a real PostgreSQL server, as tests need them."""

import secrets
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from acl_assets.simulator.live_system import execute
from acl_assets.simulator.postgres_server import PostgresServer

__all__ = ["execute"]

QUICK: Mapping[str, str] = {
    "fsync": "off",
    "full_page_writes": "off",
    "shared_buffers": "64MB",
    "track_commit_timestamp": "on",
}
"""Server settings for tests: nothing has to survive a crash of the machine; when a row was committed can be asked."""


@contextmanager
def server_folder() -> Iterator[Path]:
    """A short-lived folder that every user can enter, as the server's does when the tests run as root."""
    with tempfile.TemporaryDirectory(prefix="acl-server-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@contextmanager
def database(server: PostgresServer, template: str = "template1") -> Iterator[str]:
    """The superuser's DSN of a new copy of a database, which is dropped at the end, also with open sessions."""
    name = f"test_{secrets.token_hex(4)}"
    execute(server.dsn(), f"create database {name} template {template}")
    try:
        yield server.dsn(name)
    finally:
        execute(server.dsn(), f"drop database {name} with (force)")
