"""The refresh as people start it, stop it, select parts of it and run two at a time."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pytest
from dagster import DagsterEventType, DagsterInstance
from refreshes import (
    LATER,
    MEASURED_CHILDREN,
    Refreshed,
    environment,
    land_batch,
    published_batches,
    published_rows,
    refresh,
    sha256,
    wait_until,
)

from acl_assets.settings import PROJECT_DIR, Settings
from acl_assets.util.refresh_lock import RefreshLock

pytestmark = pytest.mark.slow
EXHAUSTIVE = pytest.mark.exhaustive

ONE_MODEL = 'key:"data_products/band_sales_by_venue"'
FOREIGN = {
    "DBT_EMPTY": "true",
    "DBT_ENGINE_EMPTY": "true",
    "DBT_EXCLUDE_RESOURCE_TYPES": "test",
    "DBT_INDIRECT_SELECTION": "empty",
    "DBT_FULL_REFRESH": "true",
    "DBT_TARGET": "nowhere",
    "DBT_PROFILE": "nobody",
    "DBT_PROFILES_DIR": "/nowhere",
    "DBT_PROJECT_DIR": "/nowhere",
    "DBT_STORE_FAILURES": "false",
    "DBT_QUIET": "true",
    "DBT_LOG_LEVEL": "none",
}
NO_SUCH_MODEL = 'key:"data_products/no_such_model"'
MATERIALIZE = [sys.executable, "-m", "dagster", "asset", "materialize", "--select", "*", "-m", "acl_assets.definitions"]


@dataclass
class StartedRefresh:
    """A refresh in a process of its own, with what it has printed so far."""

    process: subprocess.Popen[bytes]
    log_file: Path
    instance: DagsterInstance

    @property
    def log(self) -> str:
        return self.log_file.read_text(errors="replace")


StartRefresh = Callable[..., StartedRefresh]
Moment = Callable[[Settings, StartedRefresh], bool]


@pytest.fixture
def start(published: Settings, instance: DagsterInstance, tmp_path: Path) -> Iterator[StartRefresh]:
    """Starts a command over the published festival and the test's Dagster instance."""
    started: list[StartedRefresh] = []

    def run(command: Sequence[str] = MATERIALIZE, without: str | None = None) -> StartedRefresh:
        log_file = tmp_path / f"refresh-{len(started)}.log"
        with log_file.open("wb") as stream:
            process = subprocess.Popen(
                command,
                cwd=PROJECT_DIR,
                env={
                    name: value
                    for name, value in environment(published, Path(instance.root_directory)).items()
                    if name not in (without, MEASURED_CHILDREN)
                },
                stdout=stream,
                stderr=subprocess.STDOUT,
            )
        started.append(StartedRefresh(process, log_file, instance))
        return started[-1]

    yield run
    for refreshing in started:
        refreshing.process.kill()
        refreshing.process.wait()


# As a whole ---------------------------------------------------------------------------------------------------


def test_one_run_takes_a_batch_to_the_report(published: Settings, first_refresh: Refreshed) -> None:
    """From the files of the export to what people look at; every ticket arrives, with its dollars."""
    assert first_refresh.metadata["published_warehouse"]["published"] is True
    assert published.report_file.read_text().startswith("<!")
    exported = duckdb.sql(
        f"select count(*), sum(price) from '{published.exports_dir / 'first' / 'tickets.parquet'}'"
    ).fetchall()
    assert published_rows(published, "select count(*), sum(ticket_price) from star_schema.fct_ticket_sales") == exported
    assert (
        published_rows(published, "select sum(tickets_sold), sum(revenue) from data_products.ticket_sales_over_time")
        == exported
    )


def test_without_a_batch_the_refresh_says_what_to_do(settings: Settings) -> None:
    """A fresh clone, and somebody who pressed the button."""
    refreshed = refresh(settings)
    assert not refreshed.success
    assert refreshed.failed_steps == {"source_tables"}
    assert f"No complete full export batch in {settings.exports_dir}" in refreshed.errors
    assert "make run" in refreshed.errors


@pytest.mark.parametrize("command", [MATERIALIZE, pytest.param(["dg", "launch", "--assets", "*"], marks=EXHAUSTIVE)])
def test_command_line_refresh_serves_readers_and_ignores_dbt_variables(
    published: Settings, start: StartRefresh, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    """As in continuous integration, there is no DAGSTER_HOME. DBT_EMPTY alone would publish empty tables."""
    audited = "select asset_key, check_name from publication.audit_results order by all"
    before = published_rows(published, audited)
    for name, value in FOREIGN.items():
        monkeypatch.setenv(name, value)
    land_batch(published, "second", exported_at=LATER, seed=21)
    refreshing = start(command, without="DAGSTER_HOME")
    answers = set()
    while refreshing.process.poll() is None:
        answers.update(
            published_rows(
                published,
                "select (select batch_id from publication.export_batches), "
                "(select count(*) from star_schema.fct_ticket_sales) = "
                "(select row_count from publication.source_tables where table_name = 'tickets')",
            )
        )
        time.sleep(0.05)
    assert refreshing.process.returncode == 0, refreshing.log
    assert ("first", True) in answers
    assert answers <= {("first", True), ("second", True)}
    assert published_batches(published) == ["second"]
    assert published_rows(published, audited) == before


@pytest.mark.parametrize(
    "command",
    [
        [*MATERIALIZE[:6], NO_SUCH_MODEL, *MATERIALIZE[7:]],
        pytest.param(["dg", "launch", "--assets", NO_SUCH_MODEL], marks=EXHAUSTIVE),
    ],
    ids=["dagster", "dg"],
)
def test_selection_that_matches_nothing_fails_and_publishes_nothing(
    published: Settings, start: StartRefresh, command: list[str]
) -> None:
    """Dagster takes an empty selection for everything."""
    before = sha256(published.published_file)
    land_batch(published, "second", exported_at=LATER, seed=21)
    refreshing = start(command)
    assert refreshing.process.wait() != 0
    assert "The selection of this run matches no asset" in refreshing.log
    assert "'*' selects every asset" in refreshing.log
    assert not [
        run for run in refreshing.instance.get_runs() if refreshing.instance.get_run_stats(run.run_id).steps_succeeded
    ]
    assert sha256(published.published_file) == before


def test_selection_that_matches_runs_from_the_command_line(published: Settings, start: StartRefresh) -> None:
    published.report_file.unlink()
    refreshing = start(["dg", "launch", "--assets", 'key:"all_stars_report"'])
    assert refreshing.process.wait() == 0, refreshing.log
    assert published.report_file.exists()


# In part ------------------------------------------------------------------------------------------------------


def test_one_model_is_built_without_publishing_and_says_so(published: Settings) -> None:
    """Trying a model out must not change what people read."""
    before = sha256(published.published_file)
    refreshed = refresh(published, select=ONE_MODEL)
    assert refreshed.success, refreshed.errors
    assert set(refreshed.metadata) == {"data_products/band_sales_by_venue"}
    said = refreshed.metadata["data_products/band_sales_by_venue"]["publication"]
    assert said == f"nothing: published_warehouse is not selected; the build stays in {published.build_file}"
    assert sha256(published.published_file) == before


def test_one_model_alone_cannot_be_built_where_nothing_is_there(landed: Settings) -> None:
    """The error says what to materialize first instead of naming a missing table."""
    refreshed = refresh(landed, select=ONE_MODEL)
    assert not refreshed.success
    assert "There are no source tables" in refreshed.errors
    assert "--select '*'" in refreshed.errors


def test_some_models_of_a_new_batch_are_not_published_among_those_of_the_old(published: Settings) -> None:
    """Each figure would be right, and the file as a whole wrong."""
    before = sha256(published.published_file)
    land_batch(published, "second", exported_at=LATER, seed=21)
    refreshed = refresh(published, select=f'key:"festival/*" or {ONE_MODEL} or key:"published_warehouse"')
    assert refreshed.failed_steps == {"published_warehouse"}
    assert "mixture of two states" in refreshed.errors
    assert sha256(published.published_file) == before


# Stopped ------------------------------------------------------------------------------------------------------


def logged(text: str) -> Moment:
    """The moment at which a refresh has printed a text."""
    return lambda settings, refreshing: text in refreshing.log


def succeeded(step: str) -> Moment:
    """The moment at which a step has succeeded."""
    return lambda settings, refreshing: any(
        entry.step_key == step
        for run in refreshing.instance.get_runs()
        for entry in refreshing.instance.all_logs(run.run_id, of_type=DagsterEventType.STEP_SUCCESS)
    )


MOMENTS: dict[str, Moment] = {
    "while tickets are converted": lambda settings, refreshing: any(
        settings.source_tables_dir.glob("*.unfinished/tickets.parts/0.parquet")
    ),
    "while models are built": logged("OK created sql table model star_schema.fct_ticket_sales"),
    "right before the swap": succeeded("source_row_counts"),
}


@pytest.mark.parametrize(
    "moment",
    [moment if moment == "while models are built" else pytest.param(moment, marks=EXHAUSTIVE) for moment in MOMENTS],
)
def test_killed_refresh_leaves_the_published_file_and_the_next_one_succeeds(
    published: Settings, start: StartRefresh, moment: str
) -> None:
    """SIGKILL ends the run and orphans its dbt process; nobody has to clean up."""
    land_batch(published, "second", exported_at=LATER, scale=0.02, seed=21, form="csv.gz")
    before = sha256(published.published_file)
    refreshing = start()
    wait_until(lambda: MOMENTS[moment](published, refreshing), moment, every_seconds=0.002)
    refreshing.process.send_signal(signal.SIGKILL)
    assert refreshing.process.wait() == -signal.SIGKILL
    assert sha256(published.published_file) == before
    refreshed = refresh(published)
    assert refreshed.success, refreshed.errors
    assert published_batches(published) == ["second"]
    left_over = {path.name for path in published.build_dir.iterdir()} - {"refresh.lock", "dbt.lock", "dbt"}
    assert left_over == set()


# Two at a time ------------------------------------------------------------------------------------------------


@EXHAUSTIVE
def test_two_refreshes_at_once_take_turns(published: Settings, start: StartRefresh) -> None:
    """The second waits until the first has ended."""
    land_batch(published, "second", exported_at=LATER, seed=21)
    command = [*MATERIALIZE[:6], 'key:"festival/*"', *MATERIALIZE[7:]]
    refreshes = [start(command), start(command)]
    assert [refreshing.process.wait() for refreshing in refreshes] == [0, 0]
    assert sum("Waiting for another refresh to end" in refreshing.log for refreshing in refreshes) == 1


def test_a_refresh_that_waits_too_long_fails_clearly(published: Settings) -> None:
    """The message names the holder; nothing has been touched."""
    before = sha256(published.published_file)
    lock_file = str(published.refresh_lock_file)
    other = RefreshLock(lock_file=lock_file)
    other.acquire("the-other-run", lambda message: None)
    try:
        refreshed = refresh(published, refresh_lock=RefreshLock(lock_file=lock_file, wait_seconds=0.2))
    finally:
        other.release()
    assert refreshed.failed_steps == {"source_tables"}
    assert "Another refresh (run the-other-run" in refreshed.errors
    assert sha256(published.published_file) == before


def test_a_run_gives_the_lock_back_when_it_fails(settings: Settings) -> None:
    """Otherwise the daemon's next run would wait for a run that ended long ago."""
    assert not refresh(settings).success
    RefreshLock(lock_file=str(settings.refresh_lock_file), wait_seconds=0).acquire("next", lambda message: None)
