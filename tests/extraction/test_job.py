"""The extract in Dagster: what it records, how it fails, and what it is in the graph."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import psutil
import pytest
from dagster import DagsterInstance, DefaultScheduleStatus, ExecuteInProcessResult
from extracts import folders, landed_chain
from postgres import execute
from refreshes import wait_until

from acl_assets.asset_keys import ticketing_key
from acl_assets.definitions import build_definitions
from acl_assets.settings import Settings
from acl_assets.source_schema import SOURCE_TABLES


def run_extract(settings: Settings, instance: DagsterInstance, **config: Any) -> ExecuteInProcessResult:
    return (
        build_definitions(settings)
        .resolve_job_def("extract")
        .execute_in_process(
            instance=instance,
            raise_on_error=False,
            run_config={"ops": {"extract_tables": {"config": config}}},
        )
    )


def error_of(result: ExecuteInProcessResult) -> str:
    (failure,) = [event for event in result.all_events if event.is_step_failure]
    assert failure.step_failure_data.error is not None
    return failure.step_failure_data.error.message


def messages(instance: DagsterInstance, result: ExecuteInProcessResult) -> list[str]:
    return [entry.user_message for entry in instance.all_logs(result.run_id)]


@pytest.mark.server
def test_the_job_lands_a_batch_and_tells_what_it_saw(
    extractable: Settings, ticketing_dsn: str, instance: DagsterInstance
) -> None:
    result = run_extract(extractable, instance, mb_per_second=0)
    assert result.success
    batch = landed_chain(extractable).newest
    told = messages(instance, result)
    assert any(message.startswith("tickets: ") and "rows read (100%)" in message for message in told)
    for table in SOURCE_TABLES:
        (event,) = instance.fetch_observations(ticketing_key(table), limit=5).records
        assert event.asset_observation is not None
        metadata = {name: value.value for name, value in event.asset_observation.metadata.items()}
        ((rows,),) = execute(ticketing_dsn, f"select count(*) from {table}")
        assert (metadata["dagster/row_count"], metadata["rows_in_batch"]) == (rows, rows)
        assert (metadata["batch_id"], metadata["kind"]) == (batch.batch_id, "full")
        assert metadata["full_because"] == "no full batch has landed yet"
        assert metadata["snapshot"] == batch.source_snapshot
        assert ("sum_of_price" in metadata) is (table == "tickets")


@pytest.mark.server
def test_the_job_takes_a_full_batch_when_asked(extractable: Settings, instance: DagsterInstance) -> None:
    run_extract(extractable, instance)
    assert landed_chain(extractable).newest.kind == "full"
    run_extract(extractable, instance)
    assert landed_chain(extractable).newest.kind == "incremental"
    run_extract(extractable, instance, full=True)
    assert landed_chain(extractable).newest.kind == "full"


def test_without_an_address_the_job_says_which_setting_is_missing(
    settings: Settings, instance: DagsterInstance
) -> None:
    assert "ACL_TICKETING_DSN is not set" in error_of(run_extract(settings, instance))


@pytest.mark.parametrize(
    ("address", "error"),
    [
        ("postgresql://acl_export:geheim@127.0.0.1:1/ticketing", "to 127.0.0.1:1/ticketing (user acl_export)"),
        ("postgresql://acl_export:ge@heim@127.0.0.1:1/ticketing", "cannot be read: it has an @ that does not end"),
        ("postgresql://acl_export@127.0.0.1:geheim/ticketing", "cannot be read: its port has characters"),
    ],
)
def test_no_password_reaches_the_event_log(
    settings: Settings, instance: DagsterInstance, address: str, error: str
) -> None:
    result = run_extract(replace(settings, ticketing_dsn=address), instance)
    assert error in error_of(result)
    assert "heim" not in "".join(entry.to_json() for entry in instance.all_logs(result.run_id))


@contextmanager
def while_tickets_are_read(settings: Settings, act: Any) -> Iterator[None]:
    """Act as soon as the extract's process has begun to write the last table."""
    failed: list[BaseException] = []

    def wait_and_act() -> None:
        try:
            wait_until(lambda: any(settings.exports_dir.glob("*/tickets.parquet")), "tickets are read")
            act()
        except BaseException as error:
            failed.append(error)

    acting = threading.Thread(target=wait_and_act)
    acting.start()
    yield
    acting.join()
    assert failed == []


def extracting_process() -> psutil.Process:
    (process,) = [child for child in psutil.Process().children() if "processes.py" in " ".join(child.cmdline())]
    return process


@pytest.mark.server
def test_a_killed_process_fails_the_run_and_leaves_nothing(extractable: Settings, instance: DagsterInstance) -> None:
    with while_tickets_are_read(extractable, lambda: extracting_process().kill()):
        result = run_extract(extractable, instance, mb_per_second=0.02)
    assert "ended with exit code -9 before it had answered" in error_of(result)
    assert folders(extractable) == []
    assert run_extract(extractable, instance).success


@pytest.mark.server
def test_a_cancelled_run_ends_the_process_and_leaves_nothing(extractable: Settings, instance: DagsterInstance) -> None:
    """Dagster cancels a run by interrupting its process."""
    processes: list[psutil.Process] = []

    def cancel() -> None:
        processes.append(extracting_process())
        os.kill(os.getpid(), signal.SIGINT)

    with while_tickets_are_read(extractable, cancel):
        result = run_extract(extractable, instance, mb_per_second=0.02)
    assert not result.success
    assert not processes[0].is_running()
    assert folders(extractable) == []
    assert run_extract(extractable, instance).success


def test_the_schedule_runs_the_job_at_night_in_austin_once_it_is_switched_on() -> None:
    schedule = build_definitions().resolve_schedule_def("nightly_extract")
    assert schedule.job_name == "extract"
    assert (schedule.cron_schedule, schedule.execution_timezone) == ("30 4 * * *", "America/Chicago")
    assert schedule.default_status == DefaultScheduleStatus.STOPPED


def test_the_tables_of_the_source_are_shown_and_never_materialized() -> None:
    """They belong to the box office: the refresh starts behind them."""
    definitions = build_definitions()
    graph = definitions.resolve_asset_graph()
    refreshed = definitions.resolve_job_def("refresh").asset_layer.selected_asset_keys
    for table in SOURCE_TABLES:
        key = ticketing_key(table)
        assert graph.get(key).is_external
        assert key not in refreshed
        assert {child.to_user_string() for child in graph.get(key).child_keys} == {f"festival/{table}"}
