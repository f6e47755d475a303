"""A Spark that is not there is told at once, and no message tells the token that may be beside its address."""

from __future__ import annotations

import socket
import traceback

import pytest
from processes import free_port

from acl_assets.warehouse.build_file import BuildError
from acl_assets.warehouse.spark_remote import require_spark, spark_address


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("grpc_proxy", "https_proxy", "http_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.mark.parametrize(
    ("remote", "address"),
    [
        ("sc://spark.example.org", "sc://spark.example.org:15002"),
        ("sc://10.0.0.7:443/", "sc://10.0.0.7:443"),
        ("sc://spark.example.org:443/;use_ssl=true;token=geheim", "sc://spark.example.org:443"),
        ("sc://me:geheim@spark.example.org/;token=geheim%3D", "sc://spark.example.org:15002"),
        ("sc://[::1]:15002", "sc://[::1]:15002"),
    ],
)
def test_the_address_is_what_spark_s_client_takes_it_for(remote: str, address: str) -> None:
    """Whoever reads a message or the note of what Spark holds learns nothing else of the remote."""
    assert str(spark_address(remote)) == address


@pytest.mark.parametrize(
    "remote",
    [
        "",
        "sc://",
        "https://spark.example.org/;token=geheim",
        "sc://spark.example.org;token=geheim",
        "sc://spark.example.org:15002;token=geheim",
        "sc://spark.example.org:99999/;token=geheim",
        "sc://spark.example.org/catalog;token=geheim",
        "sc://spark.example.org/;token=geheim==",
        "sc://[geheim/;token=geheim",
        "sc://token=geheim",
        "sc://use_ssl=true,token=geheim/",
        "sc://127.0.0.1:geheim/",
        "sc://me:1/geheim@127.0.0.1",
    ],
)
def test_what_spark_s_client_would_not_read_is_refused_without_quoting_it(remote: str) -> None:
    """The client's own message has the token in it."""
    with pytest.raises(BuildError, match="ACL_SPARK_REMOTE cannot be read: it must be sc://host:port") as raised:
        spark_address(remote)
    assert "geheim" not in "".join(traceback.format_exception(raised.value))


def test_a_spark_that_is_not_there_is_told_at_once() -> None:
    """Spark's client would try again for ten minutes, and say nothing meanwhile."""
    port = free_port()
    with pytest.raises(BuildError) as raised:
        require_spark(f"sc://127.0.0.1:{port}/;token=geheim")
    assert f"Nobody answers at sc://127.0.0.1:{port}, where ACL_SPARK_REMOTE" in str(raised.value)
    assert "Connection refused. Start it there (make spark-cluster" in str(raised.value)
    assert "geheim" not in str(raised.value)


@pytest.mark.parametrize("host", ["spark.invalid", "spark..example.org"])
def test_a_name_of_no_machine_is_told_the_same_way(host: str) -> None:
    """The second is no name at all, and Python has another kind of error for it."""
    with pytest.raises(BuildError, match=f"Nobody answers at sc://{host}:15002"):
        require_spark(f"sc://{host}")


def test_whoever_listens_is_left_to_spark_s_client() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        require_spark(f"sc://127.0.0.1:{server.getsockname()[1]}/;token=geheim")


def test_a_spark_behind_a_proxy_is_left_to_spark_s_client(monkeypatch: pytest.MonkeyPatch) -> None:
    """It asks the proxy, where this machine may reach nothing by itself; not for hosts it is told to reach directly."""
    remote = f"sc://127.0.0.1:{free_port()}"
    monkeypatch.setenv("http_proxy", "http://proxy.example.org:3128")
    require_spark(remote)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with pytest.raises(BuildError, match="Nobody answers"):
        require_spark(remote)
