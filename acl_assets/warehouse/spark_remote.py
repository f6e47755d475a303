"""Where Spark Connect answers: its address without the secrets beside it, and whether anybody listens there.

What belongs here: reading `ACL_SPARK_REMOTE`. What does not: talking to Spark (`spark_warehouse`). Spark's client goes
on trying where nobody answers for ten minutes, in which it says nothing.
"""

from __future__ import annotations

import re
import socket
from typing import NamedTuple
from urllib.parse import urlsplit
from urllib.request import getproxies_environment, proxy_bypass

from acl_assets.warehouse.build_file import BuildError

_DEFAULT_PORT = 15002
_CONNECT_SECONDS = 5.0


class SparkAddress(NamedTuple):
    """Host and port of a Spark Connect server, without the parameters, which can hold a token."""

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"sc://{host}:{self.port}"


def spark_address(remote: str) -> SparkAddress:
    """The address in `ACL_SPARK_REMOTE`, read as Spark's client reads it.

    Raises:
        BuildError: Spark's client would not understand it; it would quote what may be a token.
    """
    try:
        parts = urlsplit(remote)
        address = SparkAddress(parts.hostname or "", parts.port or _DEFAULT_PORT)
    except ValueError:
        raise _unreadable() from None
    path, _, parameters = parts.path.partition(";")
    are_pairs = not parameters or all(pair.count("=") == 1 for pair in parameters.split(";"))
    is_host = re.fullmatch(r"[\w.-]+|[0-9a-f:.]+(%\w+)?", address.host)
    if parts.scheme != "sc" or not is_host or ";" in parts.netloc or path not in ("", "/") or not are_pairs:
        raise _unreadable()
    return address


def _unreadable() -> BuildError:
    return BuildError(
        "ACL_SPARK_REMOTE cannot be read: it must be sc://host:port, with parameters, if any, as in "
        "sc://host:port/;use_ssl=true;token=…; an = that is part of a value is written as %3D."
    )


def require_spark(remote: str) -> None:
    """Refuse to go on where nobody listens at the address in `ACL_SPARK_REMOTE`.

    Raises:
        BuildError: nobody does, or there is no such address.
    """
    address = spark_address(remote)
    if _is_reached_by_proxy(address.host):
        return
    try:
        socket.create_connection(address, timeout=_CONNECT_SECONDS).close()
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise BuildError(
            f"Nobody answers at {address}, where ACL_SPARK_REMOTE says that Spark Connect is: {reason}. Start it there "
            "(make spark-cluster starts one to test on, on this machine) or correct the address, then refresh again."
        ) from None


def _is_reached_by_proxy(host: str) -> bool:
    """Whether Spark's client asks a proxy to connect, so that this machine may not get through by itself."""
    proxies = getproxies_environment()
    return bool(proxies.keys() & {"grpc", "https", "http"}) and not proxy_bypass(host)
