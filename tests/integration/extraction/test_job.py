"""The extract in Dagster: its metadata and its failures."""

import os
import re
import signal
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psutil
import pytest
from dagster import DagsterInstance, ExecuteInProcessResult
from extracts import folders
from landing_zones import chain_at
from postgres import execute
from refreshes import wait_until

from acl_assets.asset_keys import ticketing_key
from acl_assets.definitions import build_definitions
from acl_assets.settings import Settings
from acl_assets.source_schema import SOURCE_TABLES

pytestmark = pytest.mark.server


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


def test_the_job_lands_a_batch_and_tells_what_it_saw(
    extractable: Settings, ticketing_dsn: str, instance: DagsterInstance
) -> None:
    run_extract(extractable, instance)
    result = run_extract(extractable, instance, mb_per_second=0, full=True)
    assert result.success
    batch = chain_at(extractable.exports_dir).newest
    told = [entry.user_message for entry in instance.all_logs(result.run_id)]
    assert any(re.fullmatch(r"tickets: ([\d,]+) of \1 rows read in .* s", message) for message in told)
    for table in SOURCE_TABLES:
        (event,) = instance.fetch_observations(ticketing_key(table), limit=1).records
        assert event.asset_observation is not None
        metadata = {name: value.value for name, value in event.asset_observation.metadata.items()}
        ((rows,),) = execute(ticketing_dsn, f"select count(*) from {table}")
        assert (metadata["dagster/row_count"], metadata["rows_in_batch"]) == (rows, rows)
        assert (metadata["batch_id"], metadata["kind"]) == (batch.batch_id, "full")
        assert metadata["full_because"] == "it was asked for"
        assert metadata["snapshot"] == batch.source_snapshot
        assert ("sum_of_price" in metadata) is (table == "tickets")


@pytest.mark.parametrize("pace", [-1.0, float("nan")])
def test_pace_that_cannot_be_kept_is_one_error_with_what_to_do(
    pace: float, settings: Settings, instance: DagsterInstance
) -> None:
    message = error_of(run_extract(settings, instance, mb_per_second=pace))
    assert f"Failure: The run config's mb_per_second is {pace}. Set it to 0 or more, or leave it out." in message


def test_no_password_reaches_the_event_log(settings: Settings, instance: DagsterInstance) -> None:
    assert "ACL_TICKETING_DSN is not set" in error_of(run_extract(settings, instance))
    address = "postgresql://acl_export:geheim@127.0.0.1:1/ticketing"
    result = run_extract(settings.with_changes(ticketing_dsn=address), instance)
    assert "to 127.0.0.1:1/ticketing (user acl_export)" in error_of(result)
    assert "geheim" not in "".join(entry.to_json() for entry in instance.all_logs(result.run_id))


@pytest.mark.parametrize("end", ["killed", "cancelled"])
def test_extract_that_is_ended_fails_the_run_and_leaves_nothing(
    extractable: Settings, instance: DagsterInstance, end: str
) -> None:
    """Dagster cancels a run by interrupting its process."""
    processes: list[psutil.Process] = []

    def act() -> None:
        wait_until(lambda: any(extractable.exports_dir.glob("*/tickets.parquet")), "tickets are read")
        children = psutil.Process().children()
        processes.extend(child for child in children if "multiprocessing.spawn" in " ".join(child.cmdline()))
        if end == "killed":
            processes[0].kill()
        else:
            os.kill(os.getpid(), signal.SIGINT)

    with ThreadPoolExecutor(1) as pool:
        acting = pool.submit(act)
        result = run_extract(extractable, instance, mb_per_second=0.1)
    acting.result()
    assert not result.success
    assert end == "cancelled" or "ended before it had answered" in error_of(result)
    assert not processes[0].is_running()
    assert folders(extractable) == []
    assert run_extract(extractable, instance).success
