"""Settings come from ACL_* variables, have defaults that need nothing, and name what they cannot use."""

import traceback
from dataclasses import replace
from pathlib import Path

import pytest

from acl_assets.settings import PROJECT_DIR, Settings, SettingsError


def test_defaults_need_no_environment() -> None:
    settings = Settings.from_environment({})
    assert settings.data_dir == PROJECT_DIR / "data"
    assert settings.exports_dir == PROJECT_DIR / "data" / "exports"
    assert settings.settle_seconds == 60
    assert settings.dbt_target == "duckdb"
    assert settings.memory_limit is None


def test_an_empty_variable_is_an_unset_one() -> None:
    """That is how a line of a .env file or a CI variable is switched off."""
    names = ["ACL_DATA_DIR", "ACL_EXPORTS_DIR", "ACL_SETTLE_SECONDS", "ACL_DBT_TARGET", "ACL_MEMORY_LIMIT"]
    assert Settings.from_environment(dict.fromkeys(names, "")) == Settings.from_environment({})


def test_reads_its_variables(tmp_path: Path) -> None:
    environment = {
        "ACL_DATA_DIR": str(tmp_path / "data"),
        "ACL_EXPORTS_DIR": str(tmp_path / "landing"),
        "ACL_SETTLE_SECONDS": "0.5",
        "ACL_DBT_TARGET": "spark",
        "ACL_SPARK_REMOTE": "sc://127.0.0.1:15002/;token=geheim",
        "ACL_SPARK_PUBLISHED_ROWS": "1000",
        "ACL_MEMORY_LIMIT": "2GB",
    }
    settings = Settings.from_environment(environment)
    assert settings.exports_dir == tmp_path / "landing"
    assert (settings.settle_seconds, settings.dbt_target, settings.memory_limit) == (0.5, "spark", "2GB")
    assert (settings.spark_remote, settings.spark_published_rows) == ("sc://127.0.0.1:15002/;token=geheim", 1000)
    assert "geheim" not in repr(settings)


@pytest.mark.parametrize("remote", ["", "spark://127.0.0.1:7077"])
def test_spark_is_not_chosen_without_saying_where_it_is(remote: str) -> None:
    """dbt would say so too, when everything before it is done."""
    with pytest.raises(SettingsError, match=r"needs ACL_SPARK_REMOTE, .* such as sc://127\.0\.0\.1:15002"):
        Settings.from_environment({"ACL_DBT_TARGET": "spark", "ACL_SPARK_REMOTE": remote})


def test_refuses_an_engine_there_is_not() -> None:
    with pytest.raises(SettingsError, match="ACL_DBT_TARGET='postgres' is no engine; set it to duckdb or spark"):
        Settings.from_environment({"ACL_DBT_TARGET": "postgres"})


def test_reads_where_and_how_to_extract() -> None:
    assert Settings.from_environment({}).ticketing_dsn is None
    settings = Settings.from_environment(
        {
            "ACL_TICKETING_DSN": "postgresql://primary/ticketing",
            "ACL_TICKETING_STANDBY_DSN": "postgresql://standby/ticketing",
            "ACL_TICKETING_SCHEMA": "box_office",
            "ACL_EXTRACT_MB_PER_S": "0",
            "ACL_FULL_EXTRACT_DAYS": "1.5",
        }
    )
    assert settings.ticketing_dsn == "postgresql://primary/ticketing"
    assert settings.ticketing_standby_dsn == "postgresql://standby/ticketing"
    assert (settings.ticketing_schema, settings.extract_mb_per_s, settings.full_extract_days) == ("box_office", 0, 1.5)


SECRETS = {
    "ACL_TICKETING_DSN": "postgresql://me:geheim@db/ticketing",
    "ACL_TICKETING_STANDBY_DSN": "postgresql://me:ge@heim@db/ticketing",
    "ACL_SPARK_REMOTE": "sc://127.0.0.1:15002/;token=geheim",
    "ACL_SUPERSET_PASSWORD": "geheim",
}


def test_the_representation_shows_no_secret() -> None:
    """Settings appear in logs and error messages."""
    settings = Settings.from_environment(SECRETS)
    assert "heim" not in repr(settings)
    assert "heim" not in repr(replace(settings, superset_url="http://me:geheim@127.0.0.1:8088"))


REFUSED = [
    ("ACL_SUPERSET_URL", "http://me:geheim@127.0.0.1:8088"),
    ("ACL_SUPERSET_URL", "https://geheim@superset.example.org"),
    ("ACL_SUPERSET_URL", "https://me:1/geheim@superset.example.org"),
    ("ACL_SUPERSET_URL", "https://superset.example.org/?token=geheim"),
    ("ACL_SUPERSET_URL", "https://superset.example.org:geheim/"),
    ("ACL_SUPERSET_URL", "https://me:geheim"),
    ("ACL_SUPERSET_URL", "me:geheim@127.0.0.1:8088"),
    ("ACL_SUPERSET_URL", "127.0.0.1:8088"),
    ("ACL_DATA_DIR", "s3://key:geheim@bucket/acl"),
    ("ACL_DATA_DIR", "s3://geheim@bucket"),
    ("ACL_DATA_DIR", "s3://key:ge/heim@bucket/acl"),
    ("ACL_DATA_DIR", "s3://bucket/acl?X-Amz-Signature=geheim"),
    ("ACL_DATA_DIR", "s3://bucket/acl#geheim"),
    ("ACL_EXPORTS_DIR", "https://key:geheim@bucket.example.org/acl"),
    ("ACL_EXPORTS_DIR", "gs://bucket/acl"),
    ("ACL_EXPORTS_DIR", "s3://"),
    ("ACL_EXPORTS_DIR", "s3:///"),
]


@pytest.mark.parametrize(("name", "text"), REFUSED)
def test_an_address_that_is_refused_is_not_repeated(name: str, text: str) -> None:
    """It may hold a password, also in the wrong place."""
    with pytest.raises(SettingsError, match=rf"^{name} (is|has) .* Set it to ") as raised:
        Settings.from_environment({name: text})
    assert "heim" not in "".join(traceback.format_exception(raised.value))


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:8088", "https://superset.example.org/", "http://[::1]:8088", "https://bi.example.org/acl"]
)
def test_accepts_the_address_of_a_superset(url: str) -> None:
    assert Settings.from_environment({"ACL_SUPERSET_URL": url}).superset_url == url


@pytest.mark.parametrize(
    "url", ["s3://bucket", "s3://my.bucket-2/acl/it's @ [work]", "s3://arn:aws:s3:eu-west-1:1234:accesspoint/acl/data"]
)
def test_accepts_buckets_and_folders_in_them(url: str) -> None:
    assert Settings.from_environment({"ACL_EXPORTS_DIR": url}).exports_dir == url


@pytest.mark.parametrize("folder", ["/a\\b", "/a?b/c"])
def test_data_folder_that_duckdb_cannot_write_to_is_refused(folder: str) -> None:
    with pytest.raises(SettingsError, match=r"DuckDB cannot write below.*Set ACL_DATA_DIR to another folder"):
        Settings.from_environment({"ACL_DATA_DIR": folder})
    with pytest.raises(SettingsError, match=r"DuckDB cannot write below.*Set ACL_WORK_DIR to another folder"):
        Settings.from_environment({"ACL_DATA_DIR": "s3://bucket/acl", "ACL_WORK_DIR": folder})


def test_reads_which_superset_to_keep_in_step() -> None:
    unset = Settings.from_environment({})
    assert (unset.superset_url, unset.superset_user, unset.superset_password) == (None, "admin", None)
    settings = Settings.from_environment(
        {
            "ACL_SUPERSET_URL": "https://superset.example.org/",
            "ACL_SUPERSET_USER": "robot",
            "ACL_SUPERSET_PASSWORD": "geheim",
        }
    )
    assert (settings.superset_url, settings.superset_user) == ("https://superset.example.org/", "robot")
    assert settings.superset_password == "geheim"  # noqa: S105 # nobody's
    assert "geheim" not in repr(settings)


@pytest.mark.parametrize(
    ("name", "unit"), [("ACL_EXTRACT_MB_PER_S", "megabytes a second"), ("ACL_FULL_EXTRACT_DAYS", "days")]
)
def test_refuses_what_is_no_number_of_its_unit(name: str, unit: str) -> None:
    with pytest.raises(SettingsError, match=f"{name}='fast' is not a number of {unit}"):
        Settings.from_environment({name: "fast"})


def test_everything_written_lies_below_the_data_folder(tmp_path: Path) -> None:
    settings = Settings.from_environment({"ACL_DATA_DIR": str(tmp_path)})
    assert settings.exports_dir == tmp_path / "exports"
    assert settings.source_tables_dir == tmp_path / "source_tables"
    assert settings.build_dir == tmp_path / "build"
    assert settings.build_file == tmp_path / "build" / "acl.duckdb"
    assert settings.published_file == tmp_path / "published" / "acl.duckdb"
    assert settings.report_file == tmp_path / "report" / "index.html"


def test_reads_the_process_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ACL_DATA_DIR", str(tmp_path))
    assert Settings.from_environment().data_dir == tmp_path


def test_what_can_be_on_object_storage_is_below_the_url(tmp_path: Path) -> None:
    """DuckDB files, locks and the report are files of a machine; the folder for them is a setting of its own."""
    settings = Settings.from_environment({"ACL_DATA_DIR": "s3://bucket/acl/", "ACL_WORK_DIR": str(tmp_path)})
    assert settings.exports_dir == "s3://bucket/acl/exports"
    assert settings.source_tables_url == "s3://bucket/acl/source_tables"
    assert settings.data_dir == tmp_path
    assert settings.published_file == tmp_path / "published" / "acl.duckdb"
    assert Settings.from_environment({"ACL_DATA_DIR": "s3://bucket"}).data_dir == PROJECT_DIR / "data"


def test_the_landing_zone_alone_can_be_on_object_storage(tmp_path: Path) -> None:
    settings = Settings.from_environment({"ACL_DATA_DIR": str(tmp_path), "ACL_EXPORTS_DIR": "s3://bucket/landing"})
    assert settings.exports_dir == "s3://bucket/landing"
    assert settings.source_tables_url is None
    assert settings.extracts_dir == tmp_path / "extracts"


def test_dbt_builds_in_the_folder_of_this_machine(tmp_path: Path) -> None:
    """Where the source tables are is passed to dbt by the step that knows which batch chain is current."""
    variables = {"ACL_DATA_DIR": "s3://bucket/acl", "ACL_WORK_DIR": str(tmp_path)}
    assert Settings.from_environment(variables).dbt_variables == {"ACL_DATA_DIR": str(tmp_path)}


def test_refuses_a_work_folder_that_is_no_folder() -> None:
    with pytest.raises(SettingsError, match=r"ACL_WORK_DIR is a URL\. Set it to a folder") as raised:
        Settings.from_environment({"ACL_DATA_DIR": "s3://bucket/acl", "ACL_WORK_DIR": "s3://me:geheim@bucket/work"})
    assert "geheim" not in str(raised.value)


@pytest.mark.parametrize("folder_name", ["acl?", "acl\\1"])
def test_refuses_a_folder_in_which_no_warehouse_can_be_built(tmp_path: Path, folder_name: str) -> None:
    """dbt would fail after the conversion, with an error in some SQL."""
    folder = str(tmp_path / folder_name)
    for name, variables in (
        ("ACL_DATA_DIR", {"ACL_DATA_DIR": folder}),
        ("ACL_WORK_DIR", {"ACL_DATA_DIR": "s3://bucket", "ACL_WORK_DIR": folder}),
    ):
        with pytest.raises(SettingsError, match=rf"its path contains .*Set {name} to another folder"):
            Settings.from_environment(variables)


def test_paths_are_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Dagster runs its steps in other processes, which may stand in other folders."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/somebody")
    settings = Settings.from_environment({"ACL_DATA_DIR": "here", "ACL_EXPORTS_DIR": "~/landing"})
    assert settings.data_dir == tmp_path / "here"
    assert settings.exports_dir == Path("/home/somebody/landing")


@pytest.mark.parametrize("text", ["soon", "-1", "nan", "inf", "1 minute"])
def test_refuses_a_settle_time_that_is_no_number_of_seconds(text: str) -> None:
    with pytest.raises(SettingsError, match=f"ACL_SETTLE_SECONDS='{text}' is not a number of seconds"):
        Settings.from_environment({"ACL_SETTLE_SECONDS": text})


@pytest.mark.parametrize(("text", "seconds"), [("0", 0.0), ("90", 90.0), ("1e2", 100.0)])
def test_accepts_any_settle_time_from_zero(text: str, seconds: float) -> None:
    assert Settings.from_environment({"ACL_SETTLE_SECONDS": text}).settle_seconds == seconds
