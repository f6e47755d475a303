"""Spark's address and the record of published relations; a socket that never answers stands in for Spark."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import duckdb
import pytest
from processes import free_port

from acl_assets.definitions import build_definitions
from acl_assets.settings import Settings, SettingsError
from acl_assets.warehouse import spark_engine
from acl_assets.warehouse.build_file import BuildError
from acl_assets.warehouse.spark_engine import SparkEngine, require_spark


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("grpc_proxy", "https_proxy", "http_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@contextmanager
def listening() -> Iterator[str]:
    """Yield the remote of a server that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"sc://127.0.0.1:{server.getsockname()[1]}/;token=geheim"


@pytest.fixture
def engine(settings: Settings) -> Iterator[SparkEngine]:
    """The engine of an installation that has published what Spark built."""
    settings.published_file.parent.mkdir(parents=True)
    duckdb.connect(str(settings.published_file)).close()
    settings.build_dir.mkdir()
    with listening() as remote:
        engine = at(settings, remote)
        engine.note_publication()
        yield engine


def at(settings: Settings, remote: str) -> SparkEngine:
    return SparkEngine(settings.with_changes(dbt_target="spark", spark_remote=remote))


def require_refusal(engine: SparkEngine) -> None:
    """Require that single models are not built."""
    with pytest.raises(BuildError, match=r"warehouse does not hold the others as they are .*\(job refresh"):
        engine.begin_build(complete=False)


def test_single_models_are_not_mixed_with_a_build_that_was_not_published(engine: SparkEngine) -> None:
    """Spark's warehouse is not replaced as a whole: it keeps a build that failed its audit."""
    engine.begin_build(complete=False)
    require_refusal(engine)
    engine.begin_build(complete=True)


def test_single_models_are_not_mixed_with_what_another_engine_or_cluster_built(engine: SparkEngine) -> None:
    """Another token does not make it another cluster."""
    with listening() as remote:
        elsewhere = at(engine.settings, remote)
        require_refusal(elsewhere)
        elsewhere.note_publication()
        require_refusal(engine)
        at(engine.settings, remote.replace("geheim", "newer")).begin_build(complete=False)
        elsewhere.note_publication()
        engine.settings.published_file.write_bytes(b"published by DuckDB")
        require_refusal(elsewhere)


def test_missing_server_fails_at_once_and_changes_nothing(engine: SparkEngine) -> None:
    """Spark's client would retry for ten minutes without a message. The note stays valid for when Spark is back."""
    address = f"sc://127.0.0.1:{free_port()}"
    gone = at(engine.settings, f"{address}/;token=geheim")
    for call in (lambda: gone.begin_build(complete=True), lambda: gone.copy_results({}, Path(), [], [])):
        with pytest.raises(BuildError) as raised:
            call()
        assert f"Nobody answers at {address}, where ACL_SPARK_REMOTE" in str(raised.value)
        assert "Connection refused. Start it there (make spark-cluster" in str(raised.value)
        assert "geheim" not in str(raised.value)
    engine.begin_build(complete=False)


def test_missing_package_of_spark_s_client_is_named(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> None:
    def version(package: str) -> str:
        raise PackageNotFoundError(package)

    monkeypatch.setattr(spark_engine, "version", version)
    with pytest.raises(SettingsError, match="needs the package dbt-spark, which is not installed; run: make spark-in"):
        build_definitions(settings.with_changes(dbt_target="spark", spark_remote="sc://127.0.0.1:1"))


def test_port_that_does_not_exist_is_named() -> None:
    with pytest.raises(
        BuildError, match=r"Nobody answers at sc://\[::1\]:99999, .*: Port out of range 0-65535\. Start"
    ):
        require_spark("sc://me:geheim@[::1]:99999/;token=geheim")


def test_server_behind_a_proxy_is_left_to_spark_s_client(monkeypatch: pytest.MonkeyPatch) -> None:
    """This machine may reach nothing but the proxy, except hosts in no_proxy."""
    remote = f"sc://127.0.0.1:{free_port()}"
    monkeypatch.setenv("http_proxy", "http://proxy.example.org:3128")
    require_spark(remote)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with pytest.raises(BuildError, match="Nobody answers"):
        require_spark(remote)
