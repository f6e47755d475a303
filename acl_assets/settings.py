"""Every path and environment variable of the project, in one place: `python -m acl_assets.settings` checks them.

A folder is a `Path` of this machine or, where it may be on object storage, the text of a URL such as
`s3://bucket/acl/exports`. Errors never repeat the text of a variable, which may hold a secret.
"""

import os
import re
import sys
from collections.abc import Sequence
from contextlib import suppress
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from dotenv import load_dotenv
from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, SettingsConfigDict

PROJECT_DIR = Path(__file__).resolve().parent.parent
DBT_PROJECT_DIR = PROJECT_DIR / "dbt"
_PREFIX = "ACL_"
_DATA_DIR = PROJECT_DIR / "data"


class SettingsError(ValueError):
    """Environment variables cannot be used; the message has a line for each that says what it may be."""


def folder_or_url(text: str | Path) -> Path | str:
    """Return a folder of this machine, made absolute, or the URL of one on object storage.

    Raises:
        ValueError: it is a file, in the home of an unknown user, or a URL that is more than a bucket and a folder.
    """
    if "://" not in str(text):
        try:
            folder = Path(text).expanduser().absolute()
        except RuntimeError:
            raise ValueError("it begins with ~, but that home folder is not known. Set it to a folder") from None
        if os.path.exists(folder) and not os.path.isdir(folder):
            raise ValueError("it is a file. Set it to a folder")
        # DuckDB and the project's text files are UTF-8; Python reads other bytes of a path as surrogates.
        if re.search("[\ud800-\udfff]", str(folder)):
            raise ValueError("its path is not UTF-8. Set it to a folder with another name")
        return folder
    # A colon before the folder and an @ after it are credentials, also where a slash is in the password.
    if not re.fullmatch(r"s3://(?![^/]*:.*@)[\w.:-]+(/[^?#]*)?", str(text), re.DOTALL):
        raise ValueError(
            "it is a URL that names more or something else than a bucket and a folder on S3. Set it to a folder, or to "
            "a URL such as s3://bucket/acl; credentials belong into AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, the "
            "address of another store than Amazon's into AWS_ENDPOINT_URL"
        )
    return str(text).rstrip("/")


def secret_text(secret: SecretStr | None) -> str | None:
    """Return the text of a secret setting, to be handed on and never shown."""
    return secret.get_secret_value() if secret else None


def _local_folder(text: str | Path) -> Path:
    folder = folder_or_url(text)
    # DuckDB puts the name of its write-ahead log before a question mark, and takes a backslash for a slash.
    if isinstance(folder, str) or {"?", "\\"} & {*str(folder)}:
        raise ValueError(
            "it is a URL, or its path contains ? or \\, where DuckDB cannot write. Set it to another folder: DuckDB "
            "files, locks and the report need one of this machine"
        )
    return folder


def _connection_string(secret: SecretStr) -> SecretStr:
    """Refuse a DSN that cannot be read, or may hold a piece of the password in another part.

    libpq ends a password at the first @ and takes the rest for the host: of `user:pass@word@db` it would name the
    host `word@db` in its errors.
    """
    from psycopg2 import ProgrammingError
    from psycopg2.extensions import parse_dsn

    given: dict[str, str] = {}
    with suppress(ProgrammingError):
        given = parse_dsn(secret.get_secret_value())
    user, port = given.get("user", ""), given.get("port", "")
    others = [value for name, value in given.items() if name not in ("user", "password", "sslpassword")]
    if not given or ":" in user or not re.fullmatch("[0-9,]*", port) or any("@" in value for value in others):
        raise ValueError(
            "it cannot be read, or a piece of the password may be in another part of it. Set it to a URI such as "
            "postgresql://acl_export:password@db.example.org:5432/ticketing, with special characters of the password "
            "percent-encoded (%40 for @, %2F for /, %3A for :), or to name=value pairs"
        )
    return secret


def _alert_addresses(addresses: SecretStr) -> SecretStr:
    from acl_assets.util.notifications import services_at

    services_at(addresses.get_secret_value())
    return addresses


_HOST = r"([\w.-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]+)?"
_Folder = Annotated[Path, BeforeValidator(_local_folder)]
_ConnectionString = Annotated[SecretStr, AfterValidator(_connection_string)]
_WebAddress = Annotated[
    str, Field(pattern=rf"^https?://{_HOST}(/[^@?#]*)?$"), AfterValidator(lambda text: text.rstrip("/"))
]
_NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Settings(BaseSettings):
    """Folders and limits of this installation. Every field is read from `ACL_<FIELD>`.

    Use `Settings.from_environment()`, whose errors name the variable.
    """

    model_config = SettingsConfigDict(
        env_prefix=_PREFIX,
        env_ignore_empty=True,
        frozen=True,
        hide_input_in_errors=True,
        extra="forbid",
        use_attribute_docstrings=True,
    )

    data_dir: _Folder = Field(default=_DATA_DIR, validate_default=True)
    """Folder of exports, source tables, builds and published data, or the URL of one, such as `s3://bucket/acl`."""
    work_dir: _Folder = _DATA_DIR
    """Folder of this machine for DuckDB files, locks and the report, when `ACL_DATA_DIR` is a URL."""
    exports_dir: Annotated[Path | str, BeforeValidator(folder_or_url)] = _DATA_DIR / "exports"
    """Landing zone of export batches, a folder or a URL. Default: `exports` in `ACL_DATA_DIR`."""
    settle_seconds: _NotNegative = 60.0
    """Seconds that a folder without a manifest must lie unchanged before it is a batch."""
    accept_smaller_batch: str | None = Field(default=None, pattern=r"^[^/]+$")
    """Id of one full batch that may hold less than half of the rows published before."""
    memory_limit: str = Field(default="1GB", pattern=r"^(?i:(0\.\d*[1-9]\d*|[1-9]\d*(\.\d+)?) ?([KMGT]i?B|%))$")
    """Memory limit of DuckDB while it builds, such as `2GB`."""
    ticketing_dsn: _ConnectionString | None = None
    """The ticketing database as libpq takes it, a URI or `name=value` pairs. Unset: no extraction."""
    ticketing_standby_dsn: _ConnectionString | None = None
    """A standby of the ticketing database, which is read when it can be reached."""
    ticketing_schema: str = Field(default="public", max_length=63)
    """Schema of the source tables."""
    extract_mb_per_s: _NotNegative = 10.0
    """Megabytes (10^6 bytes) a second that an extract reads at most, if 2.5 % of a processor is enough. 0: no limit."""
    full_extract_days: _NotNegative = 7.0
    """Days from one full batch to the next. The batches between them are incremental."""
    dbt_target: Literal["duckdb", "spark"] = "duckdb"
    """Engine that builds the warehouse, `duckdb` or `spark`."""
    spark_remote: SecretStr | None = Field(default=None, validate_default=True)
    """Address of the Spark Connect server, such as `sc://127.0.0.1:15002`."""
    spark_published_rows: int = Field(default=100_000_000, ge=0)
    """Tables that Spark built of more rows than this are left out of the published file."""
    superset_url: _WebAddress | None = Field(default=None, repr=False)
    """Address of Superset, such as `http://127.0.0.1:8088`, without user and password. Unset: no dashboards."""
    superset_user: str = "admin"
    """Name of an administrator of Superset."""
    superset_password: SecretStr | None = None
    """The administrator's password. Default: the one that `make superset` generated."""
    alert_urls: Annotated[SecretStr, AfterValidator(_alert_addresses)] | None = None
    """Addresses that alerts are sent to, in the syntax of apprise, separated by spaces. Unset: no alerts."""
    dagster_url: _WebAddress = "http://127.0.0.1:3000"
    """Address of Dagster's UI, for links in alerts and failures."""
    data_url: str | None = Field(default=None, exclude=True)
    """`ACL_DATA_DIR` where that is a URL."""

    @classmethod
    def from_environment(cls) -> Self:
        """Read the settings from the variables `ACL_*`; an empty variable means its default.

        Variables that the environment lacks are first added to it from a file `.env` in the working folder, which
        Dagster's commands read too.

        Raises:
            SettingsError: variables are unknown, or their text cannot be read as what they stand for.
        """
        try:
            load_dotenv(".env")
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(f"{Path('.env').absolute()} cannot be read: {error}. Correct or remove it.") from None
        problems = _unknown_variables()
        try:
            settings = cls()
        except ValidationError as error:
            problems += _explain(error)
        if problems:
            raise SettingsError("\n".join(problems))
        return settings

    def with_changes(self, **changes: Any) -> Self:
        """Return a copy with other values of some fields, which are validated; the environment is not read."""
        return self.model_validate({**dict(self), **changes})

    @model_validator(mode="before")
    @classmethod
    def _derive_folders(cls, values: dict[str, Any]) -> dict[str, Any]:
        """Let folders that are not set follow from the data folder, which may be on object storage.

        Folders that cannot be used stay as they are: their fields name the reason.
        """
        try:
            data = folder_or_url(values.get("data_dir", _DATA_DIR))
            values = {"exports_dir": f"{data}/exports", **values}
            if isinstance(data, str):
                values |= {"data_url": data, "data_dir": _DATA_DIR}
                values["data_dir"] = _local_folder(values.get("work_dir", _DATA_DIR))
        except ValueError:
            load_dotenv(".env")
        return values

    @field_validator("spark_remote")
    @classmethod
    def _require_spark_address(cls, remote: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        address = secret_text(remote) or ""
        is_used = address or info.data.get("dbt_target") == "spark"
        # Spark's client refuses others with messages that can quote the token.
        if is_used and not re.fullmatch(rf"sc://([^/;@]*@)?{_HOST}(/?|/;|/(;[^;=]+=[^;=]*)+)", address):
            raise ValueError(
                "it is not the address of a Spark Connect server, which ACL_DBT_TARGET=spark needs. Set it to one such "
                "as sc://127.0.0.1:15002, which make spark-cluster runs, or sc://host:443/;use_ssl=true;token=…, in "
                "which an = that is part of a value is %3D"
            )
        return remote

    @property
    def source_tables_dir(self) -> Path:
        """Typed Parquet files of the converted batch chains; `current` points to the newest."""
        return self.data_dir / "source_tables"

    @property
    def source_tables_url(self) -> str | None:
        """URL of the source tables that other machines read, None if they are on this machine alone."""
        return f"{self.data_url}/source_tables" if self.data_url else None

    @property
    def exports_url(self) -> str | None:
        """The landing zone's URL, None where it is a folder of this machine."""
        return self.exports_dir if isinstance(self.exports_dir, str) else None

    @property
    def extracts_dir(self) -> Path:
        """Folder in which an extract writes its batch: the landing zone, or if that is a URL, the folder to upload."""
        return self.data_dir / "extracts" if isinstance(self.exports_dir, str) else self.exports_dir

    @property
    def build_dir(self) -> Path:
        """Folder in which a refresh builds before it publishes; it also holds the refresh lock."""
        return self.data_dir / "build"

    @property
    def build_file(self) -> Path:
        """The DuckDB file that a refresh builds and audits."""
        return self.build_dir / "acl.duckdb"

    @property
    def dbt_variables(self) -> dict[str, str]:
        """Environment variables that the dbt project reads: data folder, memory limit and address of Spark."""
        address = secret_text(self.spark_remote)
        remote = {"ACL_SPARK_REMOTE": address} if address else {}
        return {"ACL_DATA_DIR": str(self.data_dir), "ACL_MEMORY_LIMIT": self.memory_limit, **remote}

    @property
    def refresh_lock_file(self) -> Path:
        """Locked by the run that refreshes."""
        return self.build_dir / "refresh.lock"

    @property
    def dbt_lock_file(self) -> Path:
        """Locked by the dbt process that builds."""
        return self.build_dir / "dbt.lock"

    @property
    def published_file(self) -> Path:
        """The DuckDB file people read; only ever replaced as a whole."""
        return self.data_dir / "published" / "acl.duckdb"

    @property
    def data_products_link(self) -> Path:
        """Link to the folder with the data products of the published file as Parquet and CSV files."""
        return self.data_dir / "published" / "data_products"

    @property
    def report_file(self) -> Path:
        """The self-contained HTML report."""
        return self.data_dir / "report" / "index.html"


def variables() -> dict[str, FieldInfo]:
    """Return the settings by the variables they are read from."""
    return {f"{_PREFIX}{name.upper()}": field for name, field in Settings.model_fields.items() if not field.exclude}


def _unknown_variables() -> list[str]:
    """Return what is wrong with each variable of ours that is no setting, such as a misspelt one."""
    known = variables()
    problems = []
    for name in sorted(os.environ):
        if name.startswith(_PREFIX) and name not in known:
            nearest = get_close_matches(name, known, n=1)
            advice = f"Did you mean {nearest[0]}?" if nearest else f"The settings are {', '.join(known)}."
            problems.append(f"{name} is not a setting. {advice} Correct its name, or unset it.")
    return problems


def _explain(error: ValidationError) -> list[str]:
    """Return each problem as a sentence that names the variable, without the text it holds."""
    sentences = []
    for problem in error.errors(include_url=False, include_context=False, include_input=False):
        reason = problem["msg"].removeprefix("Value error, ").rstrip(".")
        variable = f"{_PREFIX}{str(problem['loc'][0]).upper()}"
        if problem["type"] != "value_error":
            meaning = variables()[variable].description
            wrong = "it has another form" if problem["type"] == "string_pattern_mismatch" else reason.lower()
            reason = f"{wrong}. It means: {meaning} Set it to such a value, or unset it"
        sentences.append(f"{variable} cannot be used: {reason}.")
    return sentences


def main(names: Sequence[str]) -> int:
    """Check the variables, print the values of the settings that are named, and return the exit code."""
    try:
        settings = Settings.from_environment()
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 1
    for name in names:
        print(getattr(settings, name))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
