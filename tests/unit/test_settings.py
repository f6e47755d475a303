"""Settings come from `ACL_*` variables and have defaults; errors name the variables that cannot be used."""

import os
import traceback
from pathlib import Path
from typing import Protocol
from unittest.mock import patch

import duckdb
import pytest

from acl_assets.settings import PROJECT_DIR, Settings, SettingsError


class Read(Protocol):
    def __call__(self, **variables: str) -> Settings: ...


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> Read:
    """Read the settings from an environment that holds just these variables of ours."""

    def from_variables(**variables: str) -> Settings:
        for name, text in variables.items():
            monkeypatch.setenv(name, text)
        return Settings.from_environment()

    return from_variables


def test_defaults_need_no_environment_and_empty_variables_mean_them(read: Read) -> None:
    settings = read()
    assert settings.data_dir == PROJECT_DIR / "data"
    assert settings.exports_dir == PROJECT_DIR / "data" / "exports"
    assert (settings.settle_seconds, settings.dbt_target, settings.memory_limit) == (60, "duckdb", "1GB")
    assert (settings.ticketing_dsn, settings.superset_url) == (None, None)
    names = ["ACL_DATA_DIR", "ACL_EXPORTS_DIR", "ACL_SETTLE_SECONDS", "ACL_DBT_TARGET", "ACL_TICKETING_DSN"]
    assert read(**dict.fromkeys(names, "")) == settings


def test_every_setting_is_read_from_its_variable(read: Read, tmp_path: Path) -> None:
    values = {
        "data_dir": tmp_path / "data",
        "work_dir": tmp_path / "work",
        "exports_dir": tmp_path / "landing",
        "settle_seconds": 0.5,
        "accept_smaller_batch": "monday",
        "memory_limit": "2GB",
        "ticketing_dsn": "postgresql://primary/ticketing",
        "ticketing_standby_dsn": "postgresql://standby/ticketing",
        "ticketing_schema": "box_office",
        "extract_mb_per_s": 0.0,
        "full_extract_days": 1.5,
        "dbt_target": "spark",
        "spark_remote": "sc://127.0.0.1:15002",
        "spark_published_rows": 1000,
        "superset_url": "https://superset.example.org/",
        "superset_user": "robot",
        "superset_password": "invented",
        "alert_urls": "json://127.0.0.1:8000, mailto://user:invented@example.org",
        "dagster_url": "https://dagster.example.org",
    }
    settings = read(**{f"ACL_{name.upper()}": str(value) for name, value in values.items()})
    assert settings == Settings.model_validate(values)
    assert values.keys() == Settings.model_fields.keys() - {"data_url"}


def test_representation_shows_no_secret(read: Read) -> None:
    settings = read(
        ACL_TICKETING_DSN="postgresql://me:geheim@db/ticketing",
        ACL_TICKETING_STANDBY_DSN="postgresql://me:ge%40heim@db/ticketing",
        ACL_SPARK_REMOTE="sc://me:geheim@[::1]:15002/;use_ssl=true;token=geheim%3D",
        ACL_ALERT_URLS="json://127.0.0.1/geheim",
        ACL_SUPERSET_PASSWORD="geheim",  # noqa: S106 # nobody's
    )
    assert "heim" not in f"{settings!r} {settings}"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("ACL_SUPERSET_URL", "http://me:geheim@127.0.0.1:8088"),
        ("ACL_ALERT_URLS", "json://127.0.0.1, geheim"),
        ("ACL_SUPERSET_URL", "https://superset.example.org/?token=geheim"),
        ("ACL_SUPERSET_URL", "https://superset.example.org:geheim/"),
        ("ACL_SUPERSET_URL", "me:geheim@127.0.0.1:8088"),
        ("ACL_DATA_DIR", "s3://key:geheim@bucket/acl"),
        ("ACL_DATA_DIR", "s3://key:ge/heim@bucket/acl"),
        ("ACL_DATA_DIR", "s3://bucket/acl?X-Amz-Signature=geheim"),
        ("ACL_EXPORTS_DIR", "https://key:geheim@bucket.example.org/acl"),
        ("ACL_EXPORTS_DIR", "s3:///"),
        ("ACL_WORK_DIR", "s3://me:geheim@bucket/work"),
        ("ACL_DBT_TARGET", "geheim"),
        ("ACL_MEMORY_LIMIT", "geheim"),
        ("ACL_MEMORY_LIMIT", "0GB"),
        ("ACL_ACCEPT_SMALLER_BATCH", "data/exports/geheim"),
        ("ACL_TICKETING_STANDBY_DSN", "geheim"),
        ("ACL_TICKETING_SCHEMA", "geheim" * 11),
        ("ACL_SPARK_REMOTE", "spark://127.0.0.1:7077/;token=geheim"),
        ("ACL_SPARK_REMOTE", "sc://spark.example.org/;token=geheim=="),
        ("ACL_SPARK_REMOTE", "sc://me:1/geheim@127.0.0.1"),
        ("ACL_ALERT_URLS", "json://127.0.0.1:8000 nowhere://me:geheim@example.org"),
        ("ACL_ALERT_URLS", "slack://geheim"),
        ("ACL_DAGSTER_URL", "https://me:geheim@dagster.example.org"),
        ("ACL_EXPORTS_DIR", __file__),
        ("ACL_DATA_DIR", "~geheim/data"),
        ("ACL_EXPORTS_DIR", "geheim/\udcff"),
        ("ACL_SPARK_PUBLISHED_ROWS", "geheim"),
        ("ACL_SETTLE_SECONDS", "-1"),
        ("ACL_EXTRACT_MB_PER_S", "inf"),
    ],
)
def test_refusal_names_the_variable_and_does_not_repeat_its_text(
    read: Read, name: str, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The text may hold a password, also in the wrong place."""
    with pytest.raises(SettingsError, match=rf"^{name} cannot be used: .* Set it to ") as raised:
        read(**{name: text})
    assert "heim" not in "".join([*traceback.format_exception(raised.value), caplog.text])


def test_all_bad_variables_are_named_at_once_and_unknown_ones_with_the_nearest_setting(read: Read) -> None:
    bad = {"ACL_DATA_DIR": "a?b", "ACL_MEMORY_LIMIT": "lots", "ACL_DBT_TARGET": "spark", "ACL_SETLE_SECONDS": "5"}
    with pytest.raises(SettingsError) as raised:
        read(**bad)
    unknown, *bad_values = str(raised.value).splitlines()
    assert unknown.startswith("ACL_SETLE_SECONDS is not a setting. Did you mean ACL_SETTLE_SECONDS?")
    assert [line.split()[0] for line in bad_values] == ["ACL_DATA_DIR", "ACL_MEMORY_LIMIT", "ACL_SPARK_REMOTE"]
    assert "which ACL_DBT_TARGET=spark needs. Set it to one such as sc://127.0.0.1:15002" in bad_values[-1]


@pytest.mark.parametrize("limit", ["2GB", "0.5 gib", "80%"])
def test_memory_limit_is_what_duckdb_takes(read: Read, limit: str) -> None:
    duckdb.connect(config={"memory_limit": read(ACL_MEMORY_LIMIT=limit).memory_limit}).close()


@pytest.mark.parametrize(
    ("name", "url"),
    [
        ("superset_url", "http://[::1]:8088"),
        ("superset_url", "https://bi.example.org/acl"),
        ("exports_dir", "s3://my.bucket-2/acl/it's @ [work]"),
        ("exports_dir", "s3://arn:aws:s3:eu-west-1:1234:accesspoint/acl/data"),
    ],
)
def test_accepts_addresses_of_supersets_and_buckets(read: Read, name: str, url: str) -> None:
    assert getattr(read(**{f"ACL_{name.upper()}": url}), name) == url


def test_data_on_object_storage_keeps_what_needs_a_folder_in_the_work_folder(read: Read, tmp_path: Path) -> None:
    settings = read(ACL_DATA_DIR="s3://bucket/acl/", ACL_WORK_DIR=str(tmp_path))
    assert settings.exports_dir == "s3://bucket/acl/exports"
    assert settings.source_tables_url == "s3://bucket/acl/source_tables"
    assert settings.data_dir == tmp_path
    assert settings.published_file == tmp_path / "published" / "acl.duckdb"
    assert settings.dbt_variables["ACL_DATA_DIR"] == str(tmp_path)
    landing_zone_alone = read(ACL_DATA_DIR=str(tmp_path), ACL_EXPORTS_DIR="s3://bucket/landing")
    assert landing_zone_alone.exports_dir == "s3://bucket/landing"
    assert (landing_zone_alone.source_tables_url, landing_zone_alone.extracts_dir) == (None, tmp_path / "extracts")


@pytest.mark.parametrize("folder_name", ["acl?", "acl\\1"])
def test_folder_in_which_duckdb_cannot_write_is_refused(read: Read, tmp_path: Path, folder_name: str) -> None:
    folder = str(tmp_path / folder_name)
    with pytest.raises(SettingsError, match=r"^ACL_DATA_DIR .* its path contains .*Set it to another folder"):
        read(ACL_DATA_DIR=folder)
    with pytest.raises(SettingsError, match=r"^ACL_WORK_DIR .* its path contains .*Set it to another folder"):
        read(ACL_DATA_DIR="s3://bucket/acl", ACL_WORK_DIR=folder)


def test_paths_are_absolute(read: Read, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Dagster runs its steps in other processes, which may have other working directories."""
    monkeypatch.chdir(tmp_path)
    settings = read(ACL_DATA_DIR="here", ACL_EXPORTS_DIR="~/landing", HOME="/home/somebody")
    assert settings.data_dir == tmp_path / "here"
    assert settings.exports_dir == Path("/home/somebody/landing")


def test_a_file_in_the_working_folder_adds_to_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / ".env"
    file.write_text("export ACL_SETTLE_SECONDS=5\nACL_TICKETING_SCHEMA='box office'  # quoted\n")
    with patch.dict(os.environ, {"ACL_SETTLE_SECONDS": "7", "PYTHON_DOTENV_DISABLED": ""}):
        settings = Settings.from_environment()
        assert (settings.settle_seconds, settings.ticketing_schema) == (7, "box office")
        file.write_bytes(b"ACL_TICKETING_SCHEMA=caf\xe9")
        with pytest.raises(SettingsError, match=r"\.env cannot be read"):
            Settings.from_environment()


def test_changed_settings_are_validated_and_do_not_read_the_environment(read: Read, tmp_path: Path) -> None:
    settings = read(ACL_DATA_DIR=str(tmp_path)).with_changes(settle_seconds=5)
    read(ACL_DATA_DIR="/elsewhere")
    assert settings.with_changes(memory_limit="2GB").data_dir == tmp_path
    with pytest.raises(ValueError, match="superset_url"):
        settings.with_changes(superset_url="nowhere")
