"""Every path and environment variable of the project, in one place.

A folder is a `Path` of this machine or, where it may be on object storage, the text of a URL such as
`s3://bucket/acl/exports`. Errors never repeat the text of a variable that can hold a secret, such as a URL.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

PROJECT_DIR = Path(__file__).resolve().parent.parent
DBT_PROJECT_DIR = PROJECT_DIR / "dbt"
FESTIVAL_TIMEZONE = "America/Chicago"


class SettingsError(ValueError):
    """An environment variable has a value that cannot be used; the message names it and says what it may be."""


@dataclass(frozen=True)
class Settings:
    """Where this installation keeps its data and how it is tuned.

    Attributes:
        data_dir: absolute folder of this machine below which everything is kept that the pipeline writes here.
        exports_dir: landing zone of export batches, an absolute folder or a URL.
        settle_seconds: seconds a folder without a manifest must lie unchanged before it counts as a batch.
        dbt_target: the dbt target that builds the warehouse: `duckdb` or `spark`.
        spark_remote: where Spark Connect answers, such as `sc://127.0.0.1:15002`; needed by the target `spark`.
        spark_published_rows: tables that Spark built of more rows than this are not copied into the published file.
        memory_limit: DuckDB's memory limit, such as `2GB`; None: in proportion to the source tables.
        ticketing_dsn: the ticketing database as libpq takes it, a URI or `name=value` pairs; None: no extraction.
        ticketing_standby_dsn: a standby of it, which is preferred when it can be reached.
        ticketing_schema: the schema of the six tables.
        extract_mb_per_s: megabytes (10^6 bytes) a second an extract reads at most; 0 reads as fast as it can.
        full_extract_days: days after a full batch before the next full one; until then batches are incremental.
        superset_url: where people open Superset, such as `http://127.0.0.1:8088`; None: no dashboards are kept in step.
        superset_user: name of an administrator of Superset.
        superset_password: theirs; None: the one that `make superset` made and keeps.
        data_url: URL below which source tables are kept for other machines; None: on this machine alone.
    """

    data_dir: Path
    exports_dir: Path | str
    settle_seconds: float = 60.0
    dbt_target: str = "duckdb"
    # Settings that can hold a secret are not part of the representation, which gets into logs.
    spark_remote: str | None = field(default=None, repr=False)
    spark_published_rows: int = 100_000_000
    memory_limit: str | None = None
    ticketing_dsn: str | None = field(default=None, repr=False)
    ticketing_standby_dsn: str | None = field(default=None, repr=False)
    ticketing_schema: str = "public"
    extract_mb_per_s: float = 10.0
    full_extract_days: float = 7.0
    superset_url: str | None = field(default=None, repr=False)
    superset_user: str = "admin"
    superset_password: str | None = field(default=None, repr=False)
    data_url: str | None = None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Settings:
        """Read the settings from `ACL_*` variables; an unset or empty variable means its default.

        Raises:
            SettingsError: a variable's text cannot be read as what it stands for.
        """
        variables = os.environ if environment is None else environment
        data = folder_or_url(variables.get("ACL_DATA_DIR") or PROJECT_DIR / "data", "ACL_DATA_DIR")
        exports = f"{data}/exports" if isinstance(data, str) else data / "exports"
        data_dir = _work_dir(variables) if isinstance(data, str) else data
        # DuckDB puts the name of its write-ahead log before a question mark, and takes a backslash for a slash.
        if unusable := [character for character in "?\\" if character in str(data_dir)]:
            raise SettingsError(
                f"DuckDB cannot write below the data folder {data_dir}: its path contains {' and '.join(unusable)}. "
                f"Set {'ACL_WORK_DIR' if isinstance(data, str) else 'ACL_DATA_DIR'} to another folder."
            )
        return cls(
            data_dir=data_dir,
            exports_dir=folder_or_url(variables.get("ACL_EXPORTS_DIR") or exports, "ACL_EXPORTS_DIR"),
            data_url=data if isinstance(data, str) else None,
            settle_seconds=_number(variables, "ACL_SETTLE_SECONDS", 60.0, "seconds"),
            dbt_target=_dbt_target(variables),
            spark_remote=variables.get("ACL_SPARK_REMOTE") or None,
            spark_published_rows=int(_number(variables, "ACL_SPARK_PUBLISHED_ROWS", 100_000_000.0, "rows")),
            memory_limit=variables.get("ACL_MEMORY_LIMIT") or None,
            ticketing_dsn=variables.get("ACL_TICKETING_DSN") or None,
            ticketing_standby_dsn=variables.get("ACL_TICKETING_STANDBY_DSN") or None,
            ticketing_schema=variables.get("ACL_TICKETING_SCHEMA") or "public",
            extract_mb_per_s=_number(variables, "ACL_EXTRACT_MB_PER_S", 10.0, "megabytes a second"),
            full_extract_days=_number(variables, "ACL_FULL_EXTRACT_DAYS", 7.0, "days"),
            superset_url=_web_address(variables, "ACL_SUPERSET_URL"),
            superset_user=variables.get("ACL_SUPERSET_USER") or "admin",
            superset_password=variables.get("ACL_SUPERSET_PASSWORD") or None,
        )

    @property
    def source_tables_dir(self) -> Path:
        """Typed Parquet files of every converted batch, and the current state under `current/`."""
        return self.data_dir / "source_tables"

    @property
    def source_tables_url(self) -> str | None:
        """Where the current state's files are kept for other machines, under `current/`; None: nowhere."""
        return f"{self.data_url}/source_tables" if self.data_url else None

    @property
    def exports_url(self) -> str | None:
        """The landing zone's URL, None where it is a folder of this machine."""
        return self.exports_dir if isinstance(self.exports_dir, str) else None

    @property
    def extracts_dir(self) -> Path:
        """Where an extract writes its batch: the landing zone or, where that is a URL, the folder it is sent from."""
        return self.data_dir / "extracts" if isinstance(self.exports_dir, str) else self.exports_dir

    @property
    def build_dir(self) -> Path:
        """Where a refresh builds before anything is published; also holds the refresh lock."""
        return self.data_dir / "build"

    @property
    def build_file(self) -> Path:
        """The DuckDB file a refresh builds and audits."""
        return self.build_dir / "acl.duckdb"

    @property
    def dbt_variables(self) -> dict[str, str]:
        """The environment variables by which the dbt project is told where the data is and how it is tuned.

        DuckDB reads files of this machine; a Spark cluster, which may not, reads those on object storage.
        """
        limit = {"ACL_MEMORY_LIMIT": self.memory_limit} if self.memory_limit else {}
        remote = {"ACL_SPARK_REMOTE": self.spark_remote} if self.spark_remote else {}
        return {"ACL_DATA_DIR": str(self.data_dir), **limit, **remote}

    @property
    def refresh_lock_file(self) -> Path:
        """Locked by the run that refreshes, see `warehouse.refresh_lock`."""
        return self.build_dir / "refresh.lock"

    @property
    def dbt_lock_file(self) -> Path:
        """Locked by the dbt process that builds, see `warehouse.dbt_process`."""
        return self.build_dir / "dbt.lock"

    @property
    def published_file(self) -> Path:
        """The DuckDB file people read; only ever replaced as a whole."""
        return self.data_dir / "published" / "acl.duckdb"

    @property
    def report_file(self) -> Path:
        """The self-contained HTML report."""
        return self.data_dir / "report" / "index.html"


def folder_or_url(text: str | Path, name: str) -> Path | str:
    """Return a folder of this machine, made absolute, or the URL of one on object storage; `name` is the setting's.

    Raises:
        SettingsError: it is the URL of something else, or has more in it than a bucket and a folder.
    """
    scheme, separator, rest = str(text).partition("://")
    if not separator:
        return Path(text).expanduser().absolute()
    if scheme != "s3" or not rest.strip("/"):
        raise SettingsError(
            f"{name} is neither a folder nor a URL of object storage such as s3://bucket/acl. Set it to one of them. "
            "Stores other than Amazon's are reached by the S3 address they have, set as AWS_ENDPOINT_URL."
        )
    if not re.fullmatch(r"[\w.:-]+(/[^?#]*)?", rest) or (":" in rest.partition("/")[0] and "@" in rest):
        raise SettingsError(
            f"{name} has more in it than a bucket and a folder, such as a user, a key or a signature. Set it to a URL "
            "such as s3://bucket/acl; credentials belong into AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."
        )
    return str(text).rstrip("/")


def _work_dir(variables: Mapping[str, str]) -> Path:
    """Return the folder of this machine for what cannot be on object storage."""
    text = variables.get("ACL_WORK_DIR") or str(PROJECT_DIR / "data")
    if "://" in text:
        raise SettingsError("ACL_WORK_DIR is a URL. Set it to a folder: DuckDB files, locks and the report need one.")
    return Path(text).expanduser().absolute()


def _dbt_target(variables: Mapping[str, str]) -> str:
    target = variables.get("ACL_DBT_TARGET") or "duckdb"
    if target not in ("duckdb", "spark"):
        raise SettingsError(f"ACL_DBT_TARGET={target!r} is no engine; set it to duckdb or spark.")
    if target == "spark" and not (variables.get("ACL_SPARK_REMOTE") or "").startswith("sc://"):
        raise SettingsError(
            "ACL_DBT_TARGET=spark needs ACL_SPARK_REMOTE, the address of a Spark Connect server such as "
            "sc://127.0.0.1:15002; make spark-cluster runs one."
        )
    return target


def _web_address(variables: Mapping[str, str], name: str) -> str | None:
    text = variables.get(name)
    if not text:
        return None
    example = "Set it to the address alone, such as http://127.0.0.1:8088"
    if not re.match(r"https?://[^/]", text):
        raise SettingsError(f"{name} is not a web address. {example}.")
    if re.search(r"[@?#]", text):
        raise SettingsError(
            f"{name} has a user, a password or parameters in it. {example}; sign in with ACL_SUPERSET_USER and "
            "ACL_SUPERSET_PASSWORD."
        )
    if not re.fullmatch(r"https?://([\w.-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]+)?(/.*)?", text):
        raise SettingsError(f"{name} has a host or port that cannot be read. {example}.")
    return text


def _number(variables: Mapping[str, str], name: str, default: float, unit: str) -> float:
    text = variables.get(name) or str(default)
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number < float("inf"):
        raise SettingsError(f"{name}={text!r} is not a number of {unit}; set it to 0 or more, such as {default:.0f}.")
    return number
