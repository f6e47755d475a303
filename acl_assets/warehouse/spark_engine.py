"""Spark, which builds the models in its own warehouse; they are copied into the build file for audit and publication.

A note in the build folder states which published file Spark's warehouse holds, and at which address.
"""

import socket
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies_environment, proxy_bypass

from acl_assets.settings import SettingsError, secret_text
from acl_assets.util.atomic_write import write_atomically
from acl_assets.util.processes import ChildProcesses
from acl_assets.util.sql import quoted_name
from acl_assets.warehouse import spark_copy
from acl_assets.warehouse.build_file import BuildError
from acl_assets.warehouse.engine import Engine
from acl_assets.warehouse.project import compiled_file, relation_name
from acl_assets.warehouse.spark_copy import Relation

_CLIENT_PACKAGES = ("dbt-spark", "pyspark-client")
_CONNECT_SECONDS = 5.0


class SparkEngine(Engine):
    """Builds on a Spark cluster, which is reached by Spark Connect."""

    name = "spark"

    def require_installed(self) -> None:
        """Raise SettingsError if Spark's client or dbt's adapter is not installed."""
        for package in _CLIENT_PACKAGES:
            try:
                version(package)
            except PackageNotFoundError:
                raise SettingsError(
                    f"ACL_DBT_TARGET=spark needs the package {package}, which is not installed; run: make spark-install"
                ) from None

    def source_tables_location(self, digest: str) -> str:
        """Return the URL of the batch chain if the source tables are on object storage, else its folder."""
        return f"{self.settings.source_tables_url or self.settings.source_tables_dir}/{digest}"

    def dbt_environment(self) -> Mapping[str, str]:
        """Return a filter for two warnings of every query.

        dbt-spark sets a catalog, which only the configuration of a cluster can choose, and Spark does not know the
        installed version of pandas, which no query uses.
        """
        return {
            "PYTHONWARNINGS": "ignore:Failed to set spark.sql.catalogImplementation:UserWarning,"
            "ignore:PySpark does not yet fully support pandas:FutureWarning"
        }

    def begin_build(self, *, complete: bool) -> None:
        """Require a server, and that its warehouse holds the published state if only some models are built.

        The note of what Spark holds is removed, and stays if the build is refused.
        """
        require_spark(self._remote)
        is_partial = not complete and self.settings.published_file.exists()
        if is_partial and (not self._note.exists() or self._note.read_bytes() != self._note_of_now):
            raise BuildError(
                "Only some models are selected, and Spark's warehouse does not hold the others as they are published: "
                "the published file is of another engine or another cluster, or a later build was not published. "
                "Materialize everything (job refresh, or --select '*')."
            )
        self._note.unlink(missing_ok=True)

    def copy_results(
        self, manifest: Mapping[str, Any], target_path: Path, models: Sequence[str], stores: Sequence[str]
    ) -> Mapping[str, int]:
        """Copy models and failing rows; return the rows of tables over `spark_published_rows` and of views on them.

        Relations of the same name are replaced. The table `publication.left_in_spark` lists those that stay in Spark.
        """
        require_spark(self._remote)
        relations = [_relation(manifest, model, target_path) for model in models]
        with ChildProcesses() as process:
            left_out: dict[str, int] = process.call(
                f"{spark_copy.__name__}:copy_relations", self.settings, relations, stores
            )
        return left_out

    def note_publication(self) -> None:
        """Note that the warehouse of this Spark holds what has just been published."""
        write_atomically(self._note, self._note_of_now)

    @property
    def _remote(self) -> str:
        return secret_text(self.settings.spark_remote) or ""

    @property
    def _note(self) -> Path:
        return self.settings.build_dir / "spark_holds_published"

    @property
    def _note_of_now(self) -> bytes:
        file = self.settings.published_file.stat()
        return f"{file.st_ino}-{file.st_size}-{file.st_mtime_ns}\n{_host(self._remote)}".encode()


def _relation(manifest: Mapping[str, Any], model: str, target_path: Path) -> Relation:
    node = manifest["nodes"][model]
    parents = [manifest["nodes"][parent] for parent in node["depends_on"]["nodes"] if parent in manifest["nodes"]]
    return Relation(
        name=relation_name(node),
        columns=tuple(
            " ".join([quoted_name(name), column["data_type"], *("not null" for _ in column["constraints"])])
            for name, column in node["columns"].items()
        ),
        # It is the same on both engines, because the SQL of a view uses no macro that dispatches.
        view=compiled_file(target_path, node).read_text() if node["config"]["materialized"] == "view" else None,
        made_from=tuple(map(relation_name, parents)),
    )


def _host(remote: str) -> str:
    """Return host and port of `ACL_SPARK_REMOTE`, without the user and the parameters, which may hold secrets."""
    return urlsplit(remote).netloc.rpartition("@")[2]


def require_spark(remote: str) -> None:
    """Raise BuildError if no server listens at `ACL_SPARK_REMOTE`: Spark's client retries silently for ten minutes."""
    host = urlsplit(remote).hostname or ""
    # Spark's client connects through a proxy, and this machine may not reach the server by itself.
    if getproxies_environment().keys() & {"grpc", "https", "http"} and not proxy_bypass(host):
        return
    try:
        socket.create_connection((host, urlsplit(remote).port or 15002), timeout=_CONNECT_SECONDS).close()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise BuildError(
            f"Nobody answers at sc://{_host(remote)}, where ACL_SPARK_REMOTE says that Spark Connect is: {reason}. "
            "Start it there (make spark-cluster starts one to test on, on this machine) or correct the address, then "
            "refresh again."
        ) from None
