"""The event log with open connections holds what Dagster's own would, for any process that reads it."""

from __future__ import annotations

from pathlib import Path
from threading import Thread

import pytest
from dagster import AssetKey, AssetMaterialization, DagsterInstance, MaterializeResult, asset, materialize
from dagster._core.storage.event_log import SqliteEventLogStorage
from sqlalchemy import text

from acl_assets.event_log import _MOST_OPEN, OpenSqliteEventLogStorage
from acl_assets.settings import PROJECT_DIR


@asset
def band_count() -> MaterializeResult[None]:
    return MaterializeResult(metadata={"bands": 1421})


@pytest.fixture
def instance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DagsterInstance:
    """An instance as `make run` and `make dev` set it up."""
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    parts = [PROJECT_DIR / "dagster.yaml", PROJECT_DIR / "deploy" / "sqlite" / "event_log.yaml"]
    (tmp_path / "dagster.yaml").write_text("".join(part.read_text() for part in parts))
    return DagsterInstance.from_config(str(tmp_path))


def test_the_projects_instance_uses_it(instance: DagsterInstance) -> None:
    """Named wrongly in dagster.yaml, every refresh would silently cost seconds more."""
    assert isinstance(instance.event_log_storage, OpenSqliteEventLogStorage)


def test_dagsters_own_storage_reads_what_it_wrote(instance: DagsterInstance, tmp_path: Path) -> None:
    """Whoever takes it out of dagster.yaml keeps the history; and the web server reads while a run writes."""
    run = materialize([band_count], instance=instance)
    own = SqliteEventLogStorage(str(tmp_path / "history" / "runs"))
    events = [entry.dagster_event_type for entry in own.get_logs_for_run(run.run_id)]
    assert events == [entry.dagster_event_type for entry in instance.all_logs(run.run_id)]
    assert len(events) > 5
    record = own.get_asset_records([AssetKey("band_count")])[0]
    materialization = record.asset_entry.last_materialization
    assert materialization is not None
    assert materialization.asset_materialization is not None
    assert materialization.asset_materialization.metadata["bands"].value == 1421


def test_it_reads_what_dagsters_own_storage_wrote(instance: DagsterInstance, tmp_path: Path) -> None:
    """An installation that starts to use it keeps its history too."""
    own = DagsterInstance.local_temp(str(tmp_path))
    run = materialize([band_count], instance=own)
    assert [entry.message for entry in instance.all_logs(run.run_id)] == [
        entry.message for entry in own.all_logs(run.run_id)
    ]


def test_it_keeps_only_a_few_databases_open(instance: DagsterInstance) -> None:
    """The web server reads hundreds of runs, each in a database of its own, and must not run out of files."""
    runs = [materialize([band_count], instance=instance).run_id for _ in range(_MOST_OPEN + 2)]
    storage = instance.event_log_storage
    assert isinstance(storage, OpenSqliteEventLogStorage)
    assert len(storage._engines) == _MOST_OPEN
    assert all(instance.all_logs(run_id) for run_id in runs)


def test_threads_take_turns(instance: DagsterInstance) -> None:
    """Daemon and web server write from many threads; none may lose an event or meet a closed connection."""
    key = AssetKey("band_count")

    def report() -> None:
        for bands in range(10):
            instance.report_runless_asset_event(AssetMaterialization(key, metadata={"bands": bands}))

    threads = [Thread(target=report) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(instance.fetch_materializations(key, limit=100).records) == 40


def test_a_table_that_was_found_is_not_looked_for_again(instance: DagsterInstance) -> None:
    """Every check's event asks for one; one that is missing may still come with `dagster instance migrate`."""
    storage = instance.event_log_storage
    assert isinstance(storage, OpenSqliteEventLogStorage)
    assert storage.has_table("asset_check_executions")
    assert not storage.has_table("table_to_come")
    with storage.index_connection() as connection:
        connection.execute(text("create table table_to_come (id integer)"))
        connection.execute(text("drop table asset_check_executions"))
    assert storage.has_table("asset_check_executions")
    assert storage.has_table("table_to_come")
