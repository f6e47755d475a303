"""Landing batches and refreshing from them, with the real simulator and the real Dagster definitions."""

import hashlib
import os
import shutil
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from dagster import (
    AssetCheckSeverity,
    AssetSelection,
    DagsterInstance,
    Definitions,
    ExecuteInProcessResult,
    JobDefinition,
    MetadataValue,
)

from acl_assets.definitions import build_definitions
from acl_assets.settings import PROJECT_DIR, Settings
from acl_assets.simulator.batch import BatchFormat, write_batch, write_incremental_batch, write_plain_batch
from acl_assets.simulator.sales import DEFAULT_EXPORTED_AT, TicketingHistory

SMALL = 0.001
"""The scale of test festivals: all of the years, some thousand tickets."""

LATER = DEFAULT_EXPORTED_AT + timedelta(days=1)
"""When the batch after the first one was exported."""

WEEKS_LATER = DEFAULT_EXPORTED_AT + timedelta(weeks=3)
"""When an incremental batch was exported that brings tickets to a small festival too."""

MEASURED_CHILDREN = "COVERAGE_PROCESS_CONFIG"
"""The variable that has coverage measure child processes. Those of a refresh are dbt, which takes half as long again
then, and processes that call what tests of their own cover; one that is killed leaves a broken file behind."""


CheckName = tuple[str, str]
"""A check by its asset, as `layer/name`, and its name."""


@dataclass(frozen=True)
class Refreshed:
    """The result of a run.

    `failed_checks` failed with severity ERROR, `warnings` with WARN. `check_results` are description and metadata of
    every evaluated check, `metadata` those of every materialized asset. `errors` are the messages of failed steps with
    those of their causes. `skipped_steps` were never tried.
    """

    run_id: str
    success: bool
    failed_checks: frozenset[CheckName]
    warnings: frozenset[CheckName]
    check_results: Mapping[CheckName, tuple[str | None, Mapping[str, Any]]] = field(repr=False)
    errors: str
    failed_steps: frozenset[str]
    skipped_steps: frozenset[str]
    metadata: Mapping[str, Mapping[str, Any]] = field(repr=False)
    log: str = field(repr=False)


@dataclass(frozen=True)
class Festival:
    """An installation that refreshed once, from the batch `first`: where, to be copied, and the result."""

    data_dir: Path
    refreshed: Refreshed


def festival_settings(data_dir: Path) -> Settings:
    """Settings of an installation of its own, in which folders without a manifest count at once."""
    return Settings(data_dir=data_dir, exports_dir=data_dir / "exports", settle_seconds=0.0)


def land_batch(
    settings: Settings,
    batch_id: str = "first",
    *,
    exported_at: datetime = DEFAULT_EXPORTED_AT,
    scale: float = SMALL,
    seed: int = 20,
    form: BatchFormat = "parquet",
) -> Path:
    """Land a simulated full batch with its manifest, and return its folder."""
    return write_batch(settings.exports_dir, batch_id, TicketingHistory(scale, seed, exported_at), form)


def land_increment(
    settings: Settings,
    batch_id: str = "second",
    *,
    after: str = "first",
    since: datetime = DEFAULT_EXPORTED_AT,
    exported_at: datetime = WEEKS_LATER,
    scale: float = SMALL,
    change: Callable[[str, pa.Table], pa.Table] = lambda table, rows: rows,
) -> Path:
    """Land what a festival sold since the batch before, and every row that `change` has changed."""
    later = ((table, change(table, rows)) for table, rows in TicketingHistory(scale, exported_at=exported_at).stream())
    earlier = TicketingHistory(scale, exported_at=since).stream()
    return write_incremental_batch(settings.exports_dir / after, batch_id, earlier, later, exported_at)


def land_plain_batch(
    settings: Settings, batch_id: str = "first", *, exported_at: datetime = DEFAULT_EXPORTED_AT, seed: int = 20
) -> Path:
    """Land six simulated CSV files without a manifest, and return their folder."""
    return write_plain_batch(settings.exports_dir, batch_id, TicketingHistory(SMALL, seed, exported_at))


def refresh(
    settings: Settings,
    *,
    instance: DagsterInstance | None = None,
    select: str | None = None,
    with_report: bool = False,
    run_config: Mapping[str, Any] | None = None,
    **resources: Any,
) -> Refreshed:
    """Run the refresh job, or the part of it that a selection such as `key:"festival/tickets"` names.

    The report takes a quarter of the time of a small refresh, so it is only made where a test looks at it.
    """
    definitions = build_definitions(settings, **resources) if resources else _definitions(settings)
    with (
        pytest.MonkeyPatch.context() as patch,
        nullcontext(instance) if instance else DagsterInstance.ephemeral() as used,
        warnings.catch_warnings(),
    ):
        # dagster-dbt uses deprecated parts of Dagster itself; this project must not.
        warnings.filterwarnings("error", category=DeprecationWarning, module=r"acl_assets\.")
        patch.delenv(MEASURED_CHILDREN, raising=False)
        without_report = AssetSelection.all() - AssetSelection.assets("all_stars_report")
        selection = AssetSelection.from_string(select) if select else without_report
        is_whole = select is None and with_report
        result = definitions.resolve_job_def("refresh").execute_in_process(
            instance=used,
            raise_on_error=False,
            run_config=run_config,
            asset_selection=None if is_whole else list(selection.resolve(definitions.resolve_asset_graph())),
        )
        return _describe(used, result)


@cache
def _definitions(settings: Settings) -> Definitions:
    return build_definitions(settings)


def refresh_job() -> JobDefinition:
    """The refresh job with the settings of the environment, for what must be able to load the job by name."""
    return build_definitions().resolve_job_def("refresh")


def _describe(instance: DagsterInstance, result: ExecuteInProcessResult) -> Refreshed:
    evaluations = result.get_asset_check_evaluations()
    failed = [evaluation for evaluation in evaluations if not evaluation.passed]
    failures = [event for event in result.all_events if event.is_step_failure]
    started = {event.step_key for event in result.all_events if event.is_step_start}
    return Refreshed(
        run_id=result.run_id,
        success=result.success,
        failed_checks=_names(check for check in failed if check.severity == AssetCheckSeverity.ERROR),
        warnings=_names(check for check in failed if check.severity == AssetCheckSeverity.WARN),
        check_results={
            (check.asset_key.to_user_string(), check.check_name): (check.description, _values(check.metadata))
            for check in evaluations
        },
        errors="\n".join(_error_text(event.step_failure_data.error) for event in failures),
        failed_steps=frozenset(str(event.step_key) for event in failures),
        skipped_steps=frozenset({node.name for node in result.job_def.nodes} - started),
        metadata={
            event.asset_key.to_user_string(): _values(event.step_materialization_data.materialization.metadata)
            for event in result.get_asset_materialization_events()
            if event.asset_key
        },
        log="\n".join(entry.user_message for entry in instance.all_logs(result.run_id)),
    )


def _names(checks: Any) -> frozenset[tuple[str, str]]:
    return frozenset((check.asset_key.to_user_string(), check.check_name) for check in checks)


def _values(metadata: Mapping[str, MetadataValue[Any]]) -> dict[str, Any]:
    return {name: value.value for name, value in metadata.items()}


def _error_text(error: Any) -> str:
    text = ""
    while error is not None:
        text += error.message
        error = error.cause
    return text


def copy_installation(template: Path, data_dir: Path) -> None:
    """Copy another installation's data into `data_dir`, and keep other files there."""
    shutil.copytree(template, data_dir, symlinks=True, dirs_exist_ok=True)


def sha256(file: Path) -> str:
    """The SHA-256 of a file's bytes."""
    return hashlib.sha256(file.read_bytes()).hexdigest()


def published_rows(settings: Settings, query: str) -> list[tuple[Any, ...]]:
    """Rows a reader of the published file gets."""
    with duckdb.connect(str(settings.published_file), read_only=True) as connection:
        return connection.execute(query).fetchall()


def published_batches(settings: Settings) -> list[str]:
    """Ids of the batches the published file was made from."""
    return [batch for (batch,) in published_rows(settings, "select batch_id from publication.export_batches")]


def environment(settings: Settings, dagster_home: Path | None = None) -> dict[str, str]:
    """Environment variables under which a process of its own uses these settings and this Dagster instance."""
    variables = {
        **os.environ,
        "ACL_DATA_DIR": str(settings.data_dir),
        "ACL_EXPORTS_DIR": str(settings.exports_dir),
        "ACL_SETTLE_SECONDS": str(settings.settle_seconds),
        "PATH": f"{PROJECT_DIR / '.venv' / 'bin'}{os.pathsep}{os.environ['PATH']}",
    }
    if dagster_home is not None:
        variables["DAGSTER_HOME"] = str(dagster_home)
    return variables


def dagster_home(folder: Path) -> Path:
    """Make a folder the home of a Dagster instance configured as the project's own, and return it."""
    folder.mkdir(parents=True)
    shutil.copy(PROJECT_DIR / "dagster.yaml", folder)
    return folder


@contextmanager
def open_instance(home: Path) -> Iterator[DagsterInstance]:
    """Open the Dagster instance of a home, which its configuration may refer to by DAGSTER_HOME."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DAGSTER_HOME", str(home))
        with DagsterInstance.from_config(str(home)) as instance:
            yield instance


def wait_until(
    happened: Callable[[], bool], what: str, at_most_seconds: float = 300.0, every_seconds: float = 0.05
) -> None:
    """Wait until something has happened, looking every so often.

    Raises:
        TimeoutError: it has not happened in time.
    """
    deadline = time.monotonic() + at_most_seconds
    while not happened():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {at_most_seconds:.0f} s in vain until {what}")
        time.sleep(every_seconds)
